//! What is measured from outside while a node is changed: when it begins, and who goes on with it.

use drydock_core::{
    Now,
    observe::Observer,
    recipe::Deadlines,
    run::{CheckResult, NodeRun, Run},
    view::Phase,
};
use drydock_types::{Millis, Section, Verdict};

use super::{ObserveRequest, Output, fleet::Fleet};

/// The name of the check that whoever is to ask is there.
const CHECK: &str = "observe";

/// A section that changes its node is handed out.
pub(super) fn begins(run: &Run, section: &Section) -> Option<Output> {
    let index = run.nodes.iter().position(|node| node.has_open(section.effect))?;
    (section.kind == run.change_kind()).then(|| request(run, index, None)).flatten()
}

/// What a coordinator before this one had begun and nobody has seen the end of.
pub(super) fn goes_on<'a>(run: &'a Run, now: Now) -> impl Iterator<Item = Output> + 'a {
    let goes_on = |node: &NodeRun| {
        let changes = node.open.as_ref().is_some_and(|open| open.kind == run.change_kind());
        (changes || node.phase == Phase::Returning).then_some(node.observed_from_ms?)
    };
    let each = run.nodes.iter().enumerate();
    each.filter_map(move |(index, node)| {
        let going_on_for_ms = now.clock_ms.saturating_sub(goes_on(node)?);
        request(run, index, Some(going_on_for_ms))
    })
}

fn request(run: &Run, index: usize, going_on_for_ms: Option<u64>) -> Option<Output> {
    let node = &run.nodes[index];
    let spec = run.recipe_of(node);
    if spec.observe.is_empty() {
        return None;
    }
    let Deadlines { apply, returned, .. } = spec.deadlines;
    Some(Output::Observe(Box::new(ObserveRequest {
        run: run.number,
        index,
        node: node.name.clone(),
        key: node.key,
        run_id: run.id,
        from_ms: node.observed_from_ms.unwrap_or_default(),
        going_on_for_ms,
        observers: spec.observe,
        // The change, its way back, and twice the return: then nobody looks at it any more.
        at_most: Millis(apply.0.saturating_add(returned.0).saturating_mul(2)),
    })))
}

/// Whoever is to ask while a node is changed is there before it leaves: that nobody could ask is not found out afterwards.
pub(super) fn askers_are_there(fleet: &Fleet, run: &Run, node: &NodeRun) -> Vec<CheckResult> {
    let observers = run.recipe_of(node).observe;
    let from = observers.iter().filter_map(|of| match of {
        Observer::Reach(of) => Some(of.from.as_str()),
        Observer::ControlPlane(_) => None,
    });
    let silent = |from: &str| {
        let name = drydock_types::NodeName::parse(from);
        match name.map(|name| fleet.session(&name)) {
            Ok(Some(_)) => None,
            Ok(None) => Some(format!(
                "it is to be watched from {from}, and the stream of {from}'s agent is not open: start drydock-agent there"
            )),
            Err(error) => Some(error.to_string()),
        }
    };
    let mut whys: Vec<String> = from.filter_map(silent).collect();
    whys.dedup();
    whys.into_iter()
        .map(|why| CheckResult { check: CHECK.to_owned(), verdict: Verdict::Unknown(why) })
        .collect()
}
