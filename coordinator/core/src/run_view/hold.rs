//! A hold: what happened, how things stand, and the commands that go on.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{Live, command, see_node, stays};
use crate::{
    hold_kind::HoldKind,
    inventory::Seen,
    plan_file::Allow,
    run::{Hold, NodeRun, Run},
    standing::Standing,
    view::{CommandView, HoldView, Phase, RunStatus},
};

/// Other nodes that are named one by one; more of them are counted.
const NAMED: usize = 3;

pub(super) fn hold(run: &Run, live: &Live) -> Option<HoldView> {
    let hold = run.hold.as_ref()?;
    let node = hold.node.and_then(|index| run.nodes.get(index));
    let failure = node.and_then(|node| node.failure.as_ref());
    Some(HoldView {
        kind: hold.kind,
        node: node.map(|node| node.name.clone()),
        phase: node.map(|_| hold.from),
        reason: hold.reason.clone(),
        happened: hold.happened.clone(),
        on_the_node: failure.map(|failure| failure.next.clone()).unwrap_or_default(),
        state_now: state_now(run, hold),
        since_unix_ms: hold.since.wall_ms,
        log: failure.map(|failure| failure.log.clone()).unwrap_or_default(),
        next: next(run, hold, live),
    })
}

/// What can be typed, what is usually wanted first.
fn next(run: &Run, hold: &Hold, live: &Live) -> Vec<CommandView> {
    let number = run.number;
    let node = hold.node.and_then(|index| run.nodes.get(index));
    let abort = format!("drydock run abort {number}");
    let mut next = Vec::new();
    if run.status == RunStatus::Aborting {
        next.push(command("end the run without waiting for that agent any longer", abort));
    } else {
        next.extend(node.and_then(|node| look_first(run, hold, node)));
        next.push(resume(run, hold, node, live));
        if let Some(index) = hold.node.filter(|index| run.may(Allow::Skip) && run.can_skip(*index)) {
            let name = &run.nodes[index].name;
            let skip = format!("drydock run skip {number} --node {name} && drydock run resume {number}");
            next.push(command("leave this node out and go on with the others", skip));
        }
        if let Some(node) = node.filter(|_| hold.kind == HoldKind::LeftAlone && run.plan.undoes.is_none()) {
            let back = format!("drydock run rollback {number} --node {}", node.name);
            next.push(command("end the run, and let the agent take this node back", back));
        }
        next.push(command(&format!("leave it here: {}", stays(run)), abort));
        if run.plan.undoes.is_none() && run.nodes.iter().any(|node| node.phase == Phase::Done) {
            let back = format!("drydock run rollback {number}");
            next.push(command("end the run, and take back what it changed", back));
        }
    }
    next.extend(node.map(|node| see_node(run, &node.name)));
    next
}

/// Where a person has to see for themselves before anything is tried.
fn look_first(run: &Run, hold: &Hold, node: &NodeRun) -> Option<CommandView> {
    let doubtful =
        matches!(hold.kind, HoldKind::Undecidable | HoldKind::LeftAlone | HoldKind::ChangedByOthers);
    if hold.kind == HoldKind::NotReported {
        let does = format!("type it on {}: does its agent run?", node.name);
        return Some(command(&does, "systemctl status drydock-agent".to_string()));
    }
    let unit = run.recipe_of(node).detect.unit.filter(|_| doubtful)?;
    Some(command(
        &format!("type it on {}: what runs there, and is it well?", node.name),
        format!("systemctl status {unit}"),
    ))
}

/// The command that goes on, with what must be ended before it.
fn resume(run: &Run, hold: &Hold, node: Option<&NodeRun>, live: &Live) -> CommandView {
    let resume = format!("drydock run resume {}", run.number);
    let Some(node) = node else { return command("go on", resume) };
    let name = &node.name;
    let does = match (hold.kind, hold.next_attempt) {
        (HoldKind::LeftAlone, false) => format!(
            "once {name} is well with {}, or with what it ran before: look at it again and go on",
            run.stage_of(node).to
        ),
        (HoldKind::Undecidable, _) => format!(
            "once you have seen to {name}: judge it anew, as attempt {}",
            node.attempt.saturating_add(1)
        ),
        (_, true) => format!("try {name} again, as attempt {}", node.attempt.saturating_add(1)),
        (_, false) => format!("look at {name} again and go on if it is well"),
    };
    match live.standings.get(name).filter(|standing| keeps_out(run, node, standing)) {
        Some(Standing { twins: Some(twins), .. }) if !twins.look_alike() => {
            let id = twins.machines.first().map_or("", |machine| machine.machine_id.as_str());
            command(&does, format!("drydock node release {name} --machine {id} && {resume}"))
        }
        Some(_) => command(&does, format!("drydock node release {name} && {resume}")),
        None => command(&does, resume),
    }
}

/// Would the node's gate refuse it again for what stands on record?
fn keeps_out(run: &Run, node: &NodeRun, standing: &Standing) -> bool {
    let stage = run.stage_of(node);
    standing.set_aside.is_some()
        || standing.twins.is_some()
        || (run.plan.undoes.is_none() && standing.quarantine_of(&stage.component, &stage.to).is_some())
}

/// How things stand at the node and at the others, and what else it holds for: that has its own decision after
/// this one.
fn state_now(run: &Run, hold: &Hold) -> String {
    let behind = run.holds_behind.iter().map(|other| format!("; after this it holds for: {}", other.reason));
    core::iter::once(hold.state_now.clone()).chain(others(run, hold)).chain(behind).collect()
}

/// The nodes that the hold does not speak of.
fn others(run: &Run, hold: &Hold) -> Option<String> {
    let others: Vec<&NodeRun> = run
        .nodes
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != hold.node)
        .map(|(_, node)| node)
        .collect();
    let done = group(
        &others,
        |phase| phase == Phase::Done,
        |nodes| {
            let versions = nodes
                .iter()
                .filter_map(|node| node.seen.as_ref().and_then(Seen::answered))
                .collect::<Vec<_>>();
            match versions.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other == first) => {
                    format!("done, with {first}")
                }
                _ => "done".to_string(),
            }
        },
    );
    let under_way =
        |phase: Phase| !phase.is_ended() && !matches!(phase, Phase::Pending | Phase::Staging | Phase::Staged);
    let at_work = group(&others, under_way, |_| "still at work".to_string());
    let stopped = |phase| matches!(phase, Phase::Held | Phase::RolledBack);
    let stopped = group(&others, stopped, |nodes| {
        if nodes.len() == 1 { nodes[0].phase.word().to_string() } else { "held or rolled back".to_string() }
    });
    let ahead = |phase| matches!(phase, Phase::Pending | Phase::Staging | Phase::Staged);
    let ahead = group(&others, ahead, |_| "not begun".to_string());
    let parts: Vec<String> = [done, at_work, stopped, ahead].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("; of the others {}", parts.join(", ")))
}

fn group(
    nodes: &[&NodeRun],
    belongs: impl Fn(Phase) -> bool,
    is: impl Fn(&[&NodeRun]) -> String,
) -> Option<String> {
    let here: Vec<&NodeRun> = nodes.iter().copied().filter(|node| belongs(node.phase)).collect();
    if here.is_empty() {
        return None;
    }
    let who = if here.len() <= NAMED {
        here.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" and ")
    } else {
        here.len().to_string()
    };
    Some(format!("{who} {} {}", if here.len() == 1 { "is" } else { "are" }, is(&here)))
}
