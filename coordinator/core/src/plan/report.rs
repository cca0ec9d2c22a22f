//! What an operator reads before anything is done: what will happen, what stands in the way, how long.

mod clusters;
mod observers;
mod ovn;
mod waves;

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{NodeName, Step, Version, section::ArtifactLabel};

use super::{Plan, PlanNode, PlanStage, PlanWave};
use crate::{
    inventory::{Inventory, InventoryNode, Role, Seen},
    standing::Quarantined,
    version_path,
    view::{EstimateView, FindingView, PlanNodeView, PlanStageView, PlanView, PlanWaveView, SkippedView},
};

pub(super) fn report(plan: &Plan, inventory: &Inventory) -> PlanView {
    let mut view = PlanView {
        name: plan.name.clone(),
        digest: plan.digest,
        stages: Vec::new(),
        skipped: Vec::new(),
        budget: budget(plan, inventory),
        window: waves::window_line(plan, inventory),
        blockers: Vec::new(),
        warnings: Vec::new(),
        estimate: estimate(plan, inventory),
    };
    for stage in &plan.stages {
        let waves = stage.waves.iter().map(|wave| wave_view(stage, wave, &mut view.skipped)).collect();
        let (name, component) = (stage.name.clone(), stage.component.clone());
        view.stages.push(PlanStageView { name, component, waves });
        waves::look(plan, stage, inventory, &mut view);
        observers::look(plan, stage, inventory, &mut view);
        for node in stage.waves.iter().flat_map(|wave| &wave.nodes).filter(|node| node.skip.is_none()) {
            if let Some(known) = inventory.nodes.get(&node.name) {
                look_for_blockers(stage, node, known, &mut view);
            }
        }
    }
    clusters::look(plan, inventory, &mut view);
    ovn::look(plan, &mut view);
    for (run, nodes) in &inventory.busy {
        let mine = plan.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
        if mine.clone().any(|node| nodes.contains(&node.name)) {
            let next = format!("drydock run show {run}");
            view.warnings.push(FindingView {
                node: None,
                what: format!("run {run} has some of these nodes: this one is queued behind it"),
                next,
            });
        }
    }
    view
}

fn wave_view(stage: &PlanStage, wave: &PlanWave, skipped: &mut Vec<SkippedView>) -> PlanWaveView {
    let mut nodes = Vec::new();
    for node in &wave.nodes {
        match &node.skip {
            Some(why) => {
                skipped.push(SkippedView {
                    node: node.name.clone(),
                    stage: stage.name.clone(),
                    why: why.clone(),
                });
            }
            None => nodes.push(node_view(stage, wave, node)),
        }
    }
    PlanWaveView {
        name: wave.name.clone(),
        manner: waves::manner(stage, wave),
        nodes,
        point_of_no_return: point_of_no_return(stage, wave),
    }
}

fn node_view(stage: &PlanStage, wave: &PlanWave, node: &PlanNode) -> PlanNodeView {
    let role = node.seen.as_ref().and_then(|seen| seen.role);
    let others = wave.nodes.iter().filter(|other| other.skip.is_none() && other.name != node.name).count();
    let note = match role {
        Some(Role::Leader) if others > 0 => "leader now; leadership moves first".to_string(),
        Some(role) => role.word().to_string(),
        None => String::new(),
    };
    let names = |steps: &[Step]| steps.iter().map(Step::name).collect::<Vec<_>>().join(", ");
    let spec = &stage.recipe.spec;
    let gates: Vec<_> = spec.gate.iter().map(crate::recipe::Check::name).collect();
    let phases = [
        ("stage", names(&spec.stage)),
        ("gate", gates.join(", ")),
        ("protect", names(&spec.protect)),
        ("observe", observers::in_words(&stage.recipe_for(node).observe)),
        ("apply", names(&spec.apply)),
        ("verify", names(&spec.verify)),
    ];
    let sections =
        phases.iter().filter(|(_, what)| !what.is_empty()).map(|(phase, what)| format!("{phase}: {what}"));
    PlanNodeView {
        node: node.name.clone(),
        from: node.seen.as_ref().and_then(Seen::answered).cloned(),
        to: stage.to.clone(),
        note,
        sections: sections.collect(),
    }
}

/// Said in the wave in which it is passed.
#[must_use]
pub(crate) fn point_of_no_return(stage: &PlanStage, wave: &PlanWave) -> Option<String> {
    let rules = &stage.recipe.spec.versions;
    if rules.no_return_over_minor {
        return no_return_over_minor(stage, wave);
    }
    if !rules.no_return_after_last_member {
        return None;
    }
    no_return_after_last_member(stage, wave)
}

/// Before the first node that goes over a minor: each of them is past it by itself.
fn no_return_over_minor(stage: &PlanStage, wave: &PlanWave) -> Option<String> {
    let rises = |node: &PlanNode| {
        let from = node.seen.as_ref().and_then(Seen::answered).map(Version::minor);
        from.filter(|from| node.skip.is_none() && *from < stage.to.minor())
    };
    let first = stage.waves.iter().find(|wave| wave.nodes.iter().any(|node| rises(node).is_some()));
    if first.is_none_or(|first| first.name != wave.name) {
        return None;
    }
    let (node, (old_major, old_minor)) = wave.nodes.iter().find_map(|node| Some((node, rises(node)?)))?;
    let (major, minor) = stage.to.minor();
    Some(format!(
        "when the first node (as foreseen {}) is upgraded to {major}.{minor}, neither it nor any after it can go back to {old_major}.{old_minor} except from its backup",
        node.name
    ))
}

/// Before the last node of the stage's last wave, while going back is still possible.
fn no_return_after_last_member(stage: &PlanStage, wave: &PlanWave) -> Option<String> {
    let to_do = |wave: &&PlanWave| wave.nodes.iter().any(|node| node.skip.is_none());
    if stage.waves.iter().rfind(to_do).is_none_or(|last| last.name != wave.name) {
        return None;
    }
    let last = wave.nodes.iter().rfind(|node| node.skip.is_none())?;
    let all = stage.waves.iter().flat_map(|wave| &wave.nodes);
    let from = all.filter_map(|node| node.seen.as_ref()).filter_map(Seen::answered);
    let from =
        from.filter(|version| version.minor() < stage.to.minor()).min_by_key(|version| version.minor())?;
    let ((major, minor), (old_major, old_minor)) = (stage.to.minor(), from.minor());
    Some(format!(
        "when the last member (as foreseen {}) is upgraded the cluster's version becomes {major}.{minor}; after that {old_major}.{old_minor} cannot come back except from the snapshot",
        last.name
    ))
}

fn look_for_blockers(stage: &PlanStage, node: &PlanNode, known: &InventoryNode, view: &mut PlanView) {
    let name = &node.name;
    let mut block = |what: String, next: String| {
        view.blockers.push(FindingView { node: Some(name.clone()), what, next });
    };
    if let Some(ms) = known.silent_for_ms {
        let since = seconds(ms);
        block(
            format!("its agent has been silent for {since}"),
            format!("start drydock-agent on {name}, or leave it out: nodes: {{exclude: [{name}]}}"),
        );
        return;
    }
    for missing in missing_steps(stage, known) {
        block(
            format!("its agent cannot do `{missing}`, which recipe {} needs", stage.recipe.metadata.name),
            format!("upgrade drydock-agent on {name}"),
        );
    }
    if let Some(arch) = other_architecture(stage, known) {
        block(
            format!("it is {}, and the artifact is for {arch}", known.arch),
            "give the stage an artifact of the node's architecture, or leave the node out".to_string(),
        );
    }
    if let Some(artifact) = &stage.artifact
        && known.free_bytes < artifact.size.saturating_mul(2)
    {
        let (free, need) = (mib(known.free_bytes), mib(artifact.size.saturating_mul(2)));
        block(
            format!("the agent's directory has {free} MiB free, {need} MiB needed"),
            format!("free space on {name}"),
        );
    }
    if let Some((what, next)) = version_problem(stage, node) {
        block(what, next);
    }
    let here = |bad: &&Quarantined| (&bad.component, &bad.version) == (&stage.component, &stage.to);
    if let Some(bad) = known.quarantined.iter().find(here) {
        // Not a blocker: it can be released while the run waits for its turn.
        let (component, version, run, why) = (&bad.component, &bad.version, bad.run, &bad.why);
        view.warnings.push(FindingView {
            node: Some(name.clone()),
            what: format!("{component} {version} is quarantined there since run {run}, and its gate refuses it: {why}"),
            next: format!("leave it out, nodes: {{exclude: [{name}]}}, or let it go:  drydock node release {name} --quarantine {component}@{version}"),
        });
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn version_problem(stage: &PlanStage, node: &PlanNode) -> Option<(String, String)> {
    let name: &NodeName = &node.name;
    let look = format!("see what runs there: drydock node show {name}");
    let Some(seen) = &node.seen else {
        return Some(("it was not looked at, so what runs there is not known".to_string(), look));
    };
    if seen.version.is_none() && stage.recipe.spec.detect.version.is_some() {
        return Some((format!("{} was not asked for its version", stage.component), look));
    }
    match seen.version.as_ref()? {
        Err(why) => Some((format!("{} does not say its version: {why}", stage.component), look)),
        Ok(from) => {
            let why =
                version_path::judge(from, &stage.to, &stage.recipe.spec.versions, stage.allow_downgrade)
                    .err()?;
            Some((why, "correct `to:` in the plan".to_string()))
        }
    }
}

fn missing_steps<'a>(stage: &'a PlanStage, known: &InventoryNode) -> Vec<&'a str> {
    let spec = &stage.recipe.spec;
    let steps = [&spec.stage, &spec.protect, &spec.apply, &spec.verify].into_iter().flatten().map(Step::name);
    let steps = steps.filter(|step| !known.steps.contains(*step));
    let confirmed = spec.commit_confirmed.as_ref().map(|_| &crate::step::REQUIRES_CONFIRMED);
    let required = crate::step::REQUIRES.iter().chain(confirmed);
    let required = required.filter(|field| !known.requirements.contains(**field));
    let mut missing: Vec<&str> = Vec::new();
    for what in steps.chain(required.copied()) {
        if !missing.contains(&what) {
            missing.push(what);
        }
    }
    missing
}

fn other_architecture(stage: &PlanStage, known: &InventoryNode) -> Option<String> {
    let signature = &stage.artifact.as_ref()?.signature;
    let comment = signature.lines().find_map(|line| line.strip_prefix("trusted comment: "))?;
    let label = ArtifactLabel::from_comment(comment).ok()?;
    (label.arch != known.arch).then_some(label.arch)
}

/// Parts of a second say nothing about a silence.
const fn seconds(ms: u64) -> drydock_types::Millis {
    drydock_types::Millis(ms / 1000 * 1000)
}

fn budget(plan: &Plan, inventory: &Inventory) -> Vec<String> {
    let limit = plan.budget.per_failure_domain;
    let place = match &plan.budget.domain_label {
        Some(label) => format!("each {label}"),
        None => "the whole fleet".to_string(),
    };
    let nodes = if limit == 1 { "node" } else { "nodes" };
    let mut lines = vec![format!("{limit} {nodes} out of service in {place}")];
    for (name, node) in &inventory.nodes {
        if let Some(ms) = node.silent_for_ms {
            let since = seconds(ms);
            let domain = plan.budget.domain_label.as_ref().and_then(|label| node.labels.get(label));
            let place = domain.map(|domain| format!(" in {domain}")).unwrap_or_default();
            let full = if limit == 1 { "; until it is back no other node there leaves service" } else { "" };
            lines.push(format!("{name}{place} already counts: its agent has been silent for {since}{full}"));
        }
    }
    lines
}

fn estimate(plan: &Plan, inventory: &Inventory) -> Option<EstimateView> {
    let (mut total_ms, mut serial_ms) = (0u64, 0u64);
    let mut samples = u64::MAX;
    let mut nodes = 0u64;
    for stage in &plan.stages {
        let (median, count) = inventory.durations.get(&stage.name).copied()?;
        let work =
            stage.waves.iter().flat_map(|wave| &wave.nodes).filter(|node| node.skip.is_none()).count() as u64;
        for wave in &stage.waves {
            let nodes = wave.nodes.iter().filter(|node| node.skip.is_none()).count() as u64;
            let at_once = plan.at_once(wave) as u64;
            total_ms = total_ms.saturating_add(median.saturating_mul(nodes.div_ceil(at_once.max(1))));
        }
        serial_ms = serial_ms.saturating_add(median.saturating_mul(work));
        samples = samples.min(count);
        nodes += work;
    }
    let per_node_ms = serial_ms.checked_div(nodes)?;
    Some(EstimateView { total_ms, per_node_ms, samples })
}
