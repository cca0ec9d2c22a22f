//! Changes that could have cut their nodes off, and were confirmed by the nodes themselves. Taken back by an undo
//! section nothing would be armed around them; a plan to the old version is armed as the change itself was.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{cmp::Reverse, fmt};

use drydock_types::{NodeName, Version};

use super::{Standing, standing};
use crate::{plan::PlanStage, run::Run};

/// The recipe whose parameters are known here: what they were filled with is told again.
const AGENT: &str = "drydock-agent";
/// Nodes that are named in one plan; what is more is said by its number.
const NAMED: usize = 40;

/// Why a run is not taken back by command, with the plan that goes back in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The run.
    pub run: u64,
    /// It is not over: it has to be ended first.
    pub open: bool,
    /// Other nodes of it can be taken back by command.
    pub others: bool,
    /// The nodes, in the plan's order.
    pub nodes: Vec<NodeName>,
    /// A plan file.
    pub plan: String,
}

impl fmt::Display for Confirmed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, open, others, nodes, plan } = self;
        let shown: Vec<&str> = nodes.iter().take(NAMED).map(NodeName::as_str).collect();
        let more = nodes.len().saturating_sub(shown.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        write!(
            out,
            "what run {run} changed on {}{more} could have cut the node off and was confirmed by the node itself \
             (commitConfirmed): an undo by command would arm nothing, and a node that it cuts off would stay cut off. \
             Nothing was begun. Go back by a plan to the old version, armed as the change was; put this into \
             back-{run}.yaml:\n\n{plan}\nand then",
            shown.join(", "),
        )?;
        if *open {
            write!(out, ", run {run} being over (drydock run abort {run})")?;
        }
        write!(out, ":\n\n  drydock rehearse back-{run}.yaml\n  drydock run start back-{run}.yaml --wait\n")?;
        if *others {
            write!(
                out,
                "\nOther nodes of run {run} go back by command: drydock run rollback {run} --node NODE\n"
            )?;
        }
        Ok(())
    }
}

/// Is there something among what is asked for that only such a plan takes back?
pub(super) fn way_back(run: &Run, only: Option<&NodeName>) -> Option<Confirmed> {
    let is_candidate = |node: &&crate::run::NodeRun| matches!(standing(node), Standing::Candidate { .. });
    let asked = |node: &&crate::run::NodeRun| only.is_none_or(|only| node.name == *only);
    let confirmed = |stage: &PlanStage| stage.recipe.spec.commit_confirmed.is_some();
    let mut groups: Vec<(usize, Option<&Version>, Vec<&NodeName>)> = Vec::new();
    let there = || run.nodes.iter().filter(is_candidate);
    // A node that has both kinds is refused by command as a whole, and goes back by the plan as a whole.
    let by_plan: BTreeSet<&NodeName> =
        there().filter(|node| confirmed(run.stage_of(node))).map(|node| &node.name).collect();
    for node in there().filter(asked).filter(|node| by_plan.contains(&node.name)) {
        let from = node.from.as_ref();
        match groups.iter_mut().find(|group| group.0 == node.stage && group.1 == from) {
            Some(group) => group.2.push(&node.name),
            None => groups.push((node.stage, from, [&node.name].into())),
        }
    }
    if groups.is_empty() {
        return None;
    }
    // What was changed last goes back first.
    groups.sort_by_key(|group| Reverse(group.0));
    let stages: Vec<String> = groups
        .iter()
        .enumerate()
        .map(|(number, (stage, from, nodes))| fragment(run, number, &run.plan.stages[*stage], *from, nodes))
        .collect();
    let mut nodes: Vec<&NodeName> = Vec::new();
    for name in groups.iter().flat_map(|group| &group.2) {
        if !nodes.contains(name) {
            nodes.push(name);
        }
    }
    let head = "apiVersion: drydock/v1\nkind: Plan\nmetadata: {name: back-";
    Some(Confirmed {
        run: run.number,
        open: !run.status.is_closed(),
        others: there().any(|node| !by_plan.contains(&node.name)),
        nodes: nodes.into_iter().cloned().collect(),
        plan: format!("{head}{}}}\nspec:\n  stages:\n{}", run.number, stages.concat()),
    })
}

fn fragment(
    run: &Run,
    number: usize,
    stage: &PlanStage,
    from: Option<&Version>,
    nodes: &[&NodeName],
) -> String {
    let component = &stage.component;
    let name = &stage.recipe.metadata.name;
    let recipe = match (&stage.recipe.spec.commit_confirmed, name.as_str()) {
        (Some(wanted), AGENT) => {
            let witness: Vec<String> = wanted.witness.iter().map(|of| format!("{of:?}")).collect();
            let witness = format!("witness: [{}]", witness.join(", "));
            let detect = &stage.recipe.spec.detect;
            let unit = detect.unit.as_ref().map(|unit| format!("unit: {:?}", unit.as_str()));
            let path = detect.path.as_ref().map(|path| format!("path: {:?}", path.as_str()));
            let within = format!("within: {}", wanted.within);
            let with: Vec<String> = [Some(within), Some(witness), unit, path].into_iter().flatten().collect();
            format!("      recipe: {name}\n      with: {{{}}}\n", with.join(", "))
        }
        _ => format!("      recipe: {name}   # as in the plan of run {}, and with its `with:`\n", run.number),
    };
    let (to, remark) = match from {
        Some(from) => (from.to_string(), String::new()),
        None => ("VERSION".to_string(), "   # what ran before is not known: put it in".to_string()),
    };
    let artifact = match stage.artifact {
        Some(_) => format!("      artifact: {{path: ./{component}-{to}}}   # the signed file of {to}\n"),
        None => String::new(),
    };
    let shown: Vec<&str> = nodes.iter().take(NAMED).map(|name| name.as_str()).collect();
    let more = nodes.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!("   # and {more} more") };
    format!(
        "    - name: back-{}\n      component: {component}\n{recipe}      to: \"{to}\"{remark}\n      allowDowngrade: \
         true\n{artifact}      waves:\n        - name: all\n          nodes: {{names: [{}]}}{more}\n",
        number + 1,
        shown.join(", ")
    )
}
