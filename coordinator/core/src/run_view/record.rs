//! An event as it stands in the record: one line for people.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{EffectId, NodeName};

use crate::{
    moves::MoveEnd,
    observe::Observed,
    run::{CheckResult, Determined, Event, NodeRun, Recorded, Run},
};

/// An event as it stands in the record: what it changed, in one line.
#[must_use]
pub fn record(was: &Run, is: &Run, event: &Event) -> Recorded {
    let (node, text) = narrate(was, is, event);
    Recorded { event: event.clone(), node, text, proof: None }
}

/// What a take-over was, in one line.
#[must_use]
pub fn restored(by: &str, from: u64, to: u64, reported: &BTreeMap<NodeName, u64>) -> String {
    let agents: Vec<String> = reported.iter().map(|(node, epoch)| format!("{node} epoch {epoch}")).collect();
    format!(
        "restored: {by} put this coordinator in the place of another one, from epoch {from} to {to}; agents reported: {}",
        agents.join(", ")
    )
}

fn narrate(was: &Run, is: &Run, event: &Event) -> (Option<NodeName>, String) {
    match event {
        Event::Started {} => (None, format!("started by {}", is.started_by)),
        Event::Unqueued {} => (None, "the run before it is closed; its turn".to_string()),
        Event::Determined { changes } => {
            let gone = |change: &&Determined| matches!(change, Determined::Gone { .. });
            let (all, gone) = (changes.len(), changes.values().filter(gone).count());
            (None, format!("{} of {all} changes are there to be taken back", all - gone))
        }
        Event::Tick {} => match moved(was, is) {
            Some((node, text)) => (Some(node), text),
            None => (None, "time passed".to_string()),
        },
        Event::Restarted {} => {
            (None, "a coordinator took the run over; everything is looked at again".to_string())
        }
        Event::Restored { by, from, to, reported } => (None, restored(by, *from, *to, reported)),
        Event::AgentConnected { node, .. } => (Some(node.clone()), "its agent opened its stream".to_string()),
        Event::Looked { node, results, .. } => looked(was, is, *node, results),
        Event::Ended { outcome } => {
            let text = |kind: &str| format!("{kind} section {}", outcome.result.word());
            about(was, is, outcome.effect, &text)
        }
        Event::OutcomeRefused { effect, why } => {
            about(was, is, *effect, &|kind| format!("{kind} section: {why}"))
        }
        Event::Accepted { effect } => about(was, is, *effect, &|kind| format!("{kind} section accepted")),
        Event::NotKnown { effect } => {
            let accepted =
                was.with_open(*effect).and_then(|node| node.open.as_ref()).is_some_and(|open| open.accepted);
            let text = if accepted {
                "was in its agent's journal, which does not know of it any more"
            } else {
                "lapsed: its agent never accepted it"
            };
            about(was, is, *effect, &|kind| format!("{kind} section {text}"))
        }
        Event::Lapsed { effect, why } => {
            about(was, is, *effect, &|kind| format!("{kind} section lapsed: {why}"))
        }
        Event::Declined { effect, why } => {
            about(was, is, *effect, &|kind| format!("{kind} section declined: {why}"))
        }
        Event::MoveWaits { effect, what, because } => {
            moved_at(was, is, *effect, &format!("waits for {what}: {because}"))
        }
        Event::Moved { effect, end } => {
            let text = match end {
                MoveEnd::Left { seen } => format!("left service: {seen}"),
                MoveEnd::GivenBack { seen } => format!("given back: {seen}"),
                MoveEnd::Refused { why } => format!("its moves were refused: {why}"),
                MoveEnd::NeverBegun { why } => format!("its moves were not begun: {why}"),
                MoveEnd::Lapsed { why } => format!("its moves were not carried on: {why}"),
            };
            moved_at(was, is, *effect, &text)
        }
        Event::FailedBefore { cluster, said, .. } => {
            let what = if said.is_empty() { "nothing".to_string() } else { said.join("; ") };
            (None, format!("failing in the cluster {cluster} before this run, and not its doing: {what}"))
        }
        Event::Measured { node, seen, .. } => {
            let lines: Vec<String> = seen.iter().map(Observed::line).collect();
            let name = is.nodes.get(*node).map(|node| node.name.clone());
            (name, format!("measured from outside: {}", lines.join("; ")))
        }
        Event::Paused { by } => (None, format!("paused by {by}")),
        Event::Resumed { by } => (None, format!("resumed by {by}")),
        Event::Aborted { by } => (None, format!("aborted by {by}")),
        Event::Approved { by, stage, wave } => {
            let place =
                is.plan.stages.get(*stage).and_then(|of| Some((&of.name, &of.waves.get(*wave)?.name)));
            (
                None,
                place.map_or_else(String::new, |(stage, wave)| {
                    format!("wave {stage}/{wave} approved by {by}")
                }),
            )
        }
        Event::Amended { by, .. } => {
            let what = is.amendments.last().map_or("nothing", |amendment| amendment.what.as_str());
            (None, format!("amended by {by}: {what}"))
        }
        Event::NodeSkipped { by, node } => {
            (is.nodes.get(*node).map(|node| node.name.clone()), format!("left out by {by}"))
        }
        Event::Extended { by, node, more } => {
            (is.nodes.get(*node).map(|node| node.name.clone()), format!("given {more} more by {by}"))
        }
    }
}

/// The first node whose phase changed, and where it is now.
fn moved(was: &Run, is: &Run) -> Option<(NodeName, String)> {
    let changed = was.nodes.iter().zip(&is.nodes).find(|(was, is)| was.phase != is.phase);
    changed.map(|(_, node)| (node.name.clone(), format!("now {}", node.phase.word())))
}

fn about(was: &Run, is: &Run, effect: EffectId, text: &dyn Fn(&str) -> String) -> (Option<NodeName>, String) {
    let opened =
        |node: &NodeRun| node.open.as_ref().filter(|_| node.has_open(effect)).map(|open| open.kind.as_str());
    let found =
        was.nodes.iter().zip(&is.nodes).find_map(|(was, is)| Some((opened(was).or_else(|| opened(is))?, is)));
    match found {
        Some((kind, node)) => (Some(node.name.clone()), format!("{}; now {}", text(kind), node.phase.word())),
        None => (None, text("a")),
    }
}

fn moved_at(was: &Run, is: &Run, effect: EffectId, text: &str) -> (Option<NodeName>, String) {
    let moving = |node: &NodeRun| node.moving.as_ref().is_some_and(|moving| moving.effect == effect);
    match was.nodes.iter().zip(&is.nodes).find(|(was, _)| moving(was)) {
        Some((_, node)) => (Some(node.name.clone()), format!("{text}; now {}", node.phase.word())),
        None => (None, text.to_string()),
    }
}

fn looked(was: &Run, is: &Run, index: usize, results: &[CheckResult]) -> (Option<NodeName>, String) {
    let Some((before, node)) = was.nodes.get(index).zip(is.nodes.get(index)) else {
        return (None, "looked at a node that is not there".to_string());
    };
    let unclear = results.iter().find(|result| !result.verdict.is_clear());
    let text = match (unclear, &node.waiting) {
        (Some(result), _) => format!("{}: {}", result.check, result.verdict.reason().unwrap_or_default()),
        (None, Some(waiting)) => format!("waits for {}: {}", waiting.what, waiting.because),
        (None, None) if before.phase == node.phase => format!("clear while {}", node.phase.word()),
        (None, None) => {
            let note = if node.note.is_empty() { String::new() } else { format!(" ({})", node.note) };
            format!("clear while {}; now {}{note}", before.phase.word(), node.phase.word())
        }
    };
    (Some(node.name.clone()), text)
}
