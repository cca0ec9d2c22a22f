//! A rehearsal: every check on every node of every wave, as the run would take them, and nothing is changed.
//!
//! | module | what lives there |
//! |---|---|
//! | [`fleet`] | what the fleet was when a plan was rehearsed, and what is another by now |
//! | `node` | one node: its gate, what it must be when it is back, what its agent would refuse |
//!
//! The plan is compiled as for `drydock plan`; the checks are looked at through the same `checks::look` that
//! gates use; agents judge the sections that they would be sent (`Probe::Rehearse`). What is not clear stops a
//! gate, so here it is a blocker, whatever it is: unknown is not clear. One thing only is another one by then for certain: how
//! far the servers of a cluster are, where an earlier stage of the same plan takes them on; that is a warning.

pub mod fleet;
mod node;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use drydock_core::{
    Now,
    bundle::Bundle,
    plan::{Plan, PlanStage},
    plan_file::ApprovalBy,
    run::Run,
    view::{FoundView, Phase, PlanView, RehearsalStep, RehearsalView, WindowFitView},
    window,
};
use drydock_proto::operator::Document;
use drydock_types::{ClusterName, NodeName, RunId, Sha256, document, probe::EtcdView};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tonic::Status;

use self::fleet::FleetSeen;
use crate::{
    checks,
    driver::{clock::wall_ms, look_request},
    rpc::{App, clusters, planning},
    store::registry::RehearsalRow,
};

/// Nodes that are looked at at once. Checks of the versions ask every node of the stage for each of them, and an
/// agent answers eight looks at once.
const AT_ONCE: usize = 3;

/// Where a rehearsal's steps go.
pub type Steps = mpsc::Sender<Result<Document, Status>>;

/// Rehearses, and says how far it is.
pub async fn rehearse(app: Arc<App>, bundle: Bundle, by: String, out: Steps) {
    let last = match whole(&app, &bundle, &by, &out).await {
        Ok(view) => Ok(said(&RehearsalStep::Rehearsed(Box::new(view)))),
        Err(status) => Err(status),
    };
    // An operator who went away has lost the view; what was seen is remembered.
    let _ = out.send(last).await;
}

fn said(step: &RehearsalStep) -> Document {
    Document { json: document::encode(step) }
}

async fn whole(app: &Arc<App>, bundle: &Bundle, by: &str, out: &Steps) -> Result<RehearsalView, Status> {
    let began = Instant::now();
    let (plan, view) = planning::compile(app, bundle, by).await?;
    let now = Now { clock_ms: 0, wall_ms: wall_ms() };
    // A run that is nobody's: sections and looks are made from it as from a real one, and it goes nowhere.
    let run = Run::new(0, RunId([0; 16]), app.ca.fleet(), plan.clone(), by.to_string(), now);
    let mut found = Found::of(&view);
    let bound = clusters::bound(app).await?;
    let looked = nodes(app, &run, &bound, out, &mut found).await;
    let mut notes = approvals(&plan);
    notes.extend(artifacts(app, &plan).await?);
    let range_ms = range(app, &plan, &view).await?;
    let window = window_fit(&plan, &view, &mut found);
    let policies = std::mem::take(&mut found.policies);
    let view = found.view(&run, view, Rest { looked, took_ms: millis(began), notes, range_ms, window });
    let seen = FleetSeen::of(&plan, &policies);
    remember(app, &plan, by, &view, &seen).await?;
    Ok(view)
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Looks at every node that the run would change; how many were.
async fn nodes(
    app: &Arc<App>,
    run: &Run,
    bound: &BTreeMap<NodeName, ClusterName>,
    out: &Steps,
    found: &mut Found,
) -> u64 {
    let to_do: Vec<usize> =
        (0..run.nodes.len()).filter(|at| run.nodes[*at].phase != Phase::Skipped).collect();
    let total = to_do.len() as u64;
    let mut done = 0;
    for (index, stage) in run.plan.stages.iter().enumerate() {
        let of_stage: Vec<usize> = to_do.iter().copied().filter(|at| run.nodes[*at].stage == index).collect();
        let etcd = stage_view(app, run, stage, &of_stage).await;
        let mut looks = Vec::with_capacity(of_stage.len());
        for at in &of_stage {
            looks.push(node::look(app, run, *at, bound, &etcd));
        }
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(seen) = looks.next().await {
            done += 1;
            let name = seen.node.clone();
            found.take(seen);
            let step = RehearsalStep::Looked { node: name, done, total };
            if out.send(Ok(said(&step))).await.is_err() {
                // Nobody waits for it any longer.
                return done;
            }
        }
    }
    done
}

/// What the stage's nodes see of their etcd cluster, asked once for all of them.
async fn stage_view(
    app: &App,
    run: &Run,
    stage: &PlanStage,
    nodes: &[usize],
) -> BTreeMap<NodeName, Result<EtcdView, String>> {
    let checks = stage.recipe.spec.gate.iter().chain(&stage.recipe.spec.returned).cloned().collect();
    match nodes.first().and_then(|at| look_request(run, *at, 0, checks)) {
        Some(request) => checks::etcd(&app.sessions, &request).await,
        None => BTreeMap::new(),
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    blockers: Vec<FoundView>,
    warnings: Vec<FoundView>,
    policies: BTreeMap<NodeName, Sha256>,
}

/// What is not found by looking at nodes.
struct Rest {
    looked: u64,
    took_ms: u64,
    notes: Vec<String>,
    range_ms: Option<(u64, u64)>,
    window: Option<WindowFitView>,
}

impl Found {
    /// What the plan itself says already.
    fn of(view: &PlanView) -> Self {
        let each = |list: &[drydock_core::view::FindingView]| {
            let mut found = Vec::new();
            for finding in list {
                let nodes = finding.node.iter().cloned().collect();
                let (what, next) = (finding.what.clone(), finding.next.clone());
                add(&mut found, FoundView { nodes, check: "plan".to_string(), what, next });
            }
            found
        };
        Self { blockers: each(&view.blockers), warnings: each(&view.warnings), policies: BTreeMap::new() }
    }

    fn take(&mut self, seen: node::Looked) {
        self.policies.extend(seen.policy.map(|policy| (seen.node.clone(), policy)));
        seen.blockers.into_iter().for_each(|found| add(&mut self.blockers, found));
        seen.warnings.into_iter().for_each(|found| add(&mut self.warnings, found));
    }

    fn view(mut self, run: &Run, plan: PlanView, rest: Rest) -> RehearsalView {
        let to_do: Vec<&NodeName> =
            run.nodes.iter().filter(|node| node.phase != Phase::Skipped).map(|node| &node.name).collect();
        let blocked = |name: &NodeName| self.blockers.iter().any(|found| found.nodes.contains(name));
        let whole_plan = self.blockers.iter().any(|found| found.nodes.is_empty());
        let clear = to_do.iter().filter(|name| !whole_plan && !blocked(name)).count() as u64;
        for list in [&mut self.blockers, &mut self.warnings] {
            list.iter_mut().for_each(|found| found.nodes.sort());
            list.sort_by(|a, b| a.nodes.cmp(&b.nodes));
        }
        RehearsalView {
            name: plan.name.to_string(),
            digest: plan.digest,
            nodes: to_do.len() as u64,
            looked: rest.looked,
            took_ms: rest.took_ms,
            clear,
            blockers: self.blockers,
            warnings: self.warnings,
            notes: rest.notes,
            skipped: plan.skipped,
            estimate: plan.estimate,
            range_ms: rest.range_ms,
            window: rest.window,
        }
    }
}

/// What is the same at several nodes is said once, with their names.
fn add(list: &mut Vec<FoundView>, found: FoundView) {
    let same = |known: &&mut FoundView| {
        (&known.what, &known.next) == (&found.what, &found.next) && !found.nodes.is_empty()
    };
    match list.iter_mut().find(same) {
        Some(known) => known
            .nodes
            .extend(found.nodes.into_iter().filter(|node| !known.nodes.contains(node)).collect::<Vec<_>>()),
        None => list.push(found),
    }
}

fn approvals(plan: &Plan) -> Vec<String> {
    let each = plan.stages.iter().flat_map(|stage| stage.waves.iter().map(move |wave| (stage, wave)));
    let wanted = each.filter_map(|(stage, wave)| Some((stage, wave, wave.approval?)));
    let told = wanted.map(|(stage, wave, approval)| {
        let by = match approval.by {
            ApprovalBy::Anybody => "an operator",
            ApprovalBy::SomebodyElse => "an operator who did not start the run",
        };
        format!(
            "wave {}/{} waits for the approval of {by}, for {} at most",
            stage.name, wave.name, approval.within
        )
    });
    told.collect()
}

/// Binaries that `run start` has still to send.
async fn artifacts(app: &Arc<App>, plan: &Plan) -> Result<Vec<String>, Status> {
    let mut notes = Vec::new();
    for stage in &plan.stages {
        let Some(artifact) = &stage.artifact else { continue };
        let sha256 = artifact.sha256;
        if app.blocking(move |app| app.registry.artifact(sha256)).await?.is_none() {
            let mib = artifact.size >> 20;
            notes.push(format!("the artifact of stage {} ({mib} MiB) is not in the coordinator's store yet: run start sends it", stage.name));
        }
    }
    Ok(notes)
}

/// The estimate if every node took as long as the fastest quarter did at most, and as the slowest at least.
async fn range(app: &Arc<App>, plan: &Plan, view: &PlanView) -> Result<Option<(u64, u64)>, Status> {
    let Some(estimate) = view.estimate.as_ref().filter(|estimate| estimate.per_node_ms > 0) else {
        return Ok(None);
    };
    let stages: Vec<_> =
        plan.stages.iter().map(|stage| (stage.recipe_digest, stage.component.clone())).collect();
    let samples = app.driver.with(move |driver, _| (driver.durations(&stages), Vec::new())).await;
    let mut samples = samples.map_err(crate::rpc::gone)?.map_err(|error| crate::rpc::store_failed(&error))?;
    samples.sort_unstable();
    if samples.len() < 4 {
        return Ok(None);
    }
    let at = |quarter: usize| samples.get((samples.len() - 1) * quarter / 4).copied().unwrap_or_default();
    let scale = |ms: u64| estimate.total_ms.saturating_mul(ms) / estimate.per_node_ms;
    Ok(Some((scale(at(1)), scale(at(3)))))
}

/// Does it fit into the plan's window? A node that takes longer than it is ever open never leaves service.
fn window_fit(plan: &Plan, view: &PlanView, found: &mut Found) -> Option<WindowFitView> {
    let window = plan.window.as_ref()?;
    let (words, longest_ms) = (window::in_words(window), window::longest_ms(window));
    if let (Some(longest), Some(estimate)) = (longest_ms, &view.estimate) {
        let span = drydock_types::Millis(longest);
        let next = "widen the window in the plan".to_string();
        let told = |what| FoundView { nodes: Vec::new(), check: "window".to_string(), what, next };
        if estimate.per_node_ms > longest {
            let node = drydock_types::Millis(estimate.per_node_ms);
            found.blockers.push(told(format!(
                "one node takes about {node}, and the window ({words}) is never open for longer than {span}"
            )));
        } else if estimate.total_ms > longest {
            found.warnings.push(told(format!(
                "the run takes longer than one window ({words}): it goes on in the next"
            )));
        }
    }
    Some(WindowFitView { words, longest_ms })
}

async fn remember(
    app: &Arc<App>,
    plan: &Plan,
    by: &str,
    view: &RehearsalView,
    seen: &FleetSeen,
) -> Result<(), Status> {
    if view.looked < view.nodes {
        return Ok(());
    }
    let row = RehearsalRow {
        digest: plan.digest,
        plan: plan.name.to_string(),
        at_unix_ms: wall_ms(),
        by: by.to_string(),
        blockers: view.blockers.len() as u64,
        fleet: String::from_utf8(document::encode(seen)).unwrap_or_default(),
    };
    app.blocking(move |app| app.registry.remember_rehearsal(&row)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(node: &str, what: &str) -> FoundView {
        let nodes = vec![NodeName::parse(node).unwrap()];
        FoundView { nodes, check: "health".into(), what: what.into(), next: String::new() }
    }

    #[test]
    fn what_is_the_same_at_several_nodes_is_said_once() {
        let mut list = Vec::new();
        for (node, what) in [("b", "ill"), ("a", "ill"), ("b", "ill"), ("c", "worse")] {
            add(&mut list, found(node, what));
        }
        let told: Vec<_> = list.iter().map(|found| (found.what.as_str(), found.nodes.len())).collect();
        assert_eq!(told, [("ill", 2), ("worse", 1)]);
    }
}
