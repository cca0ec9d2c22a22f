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
    plan::undo,
    plan_file::Allow,
    run::{Hold, NodeRun, Run},
    standing::{OnRecord, Standing},
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
        next.push(command(&without_that_agent(run, hold, node), abort));
    } else {
        next.extend(node.and_then(|node| look_first(run, hold, node)));
        next.push(resume(run, hold, node, live));
        let not_drained = hold.kind == HoldKind::NotDrained && run.may(Allow::Force);
        if let Some(index) = hold.node.filter(|index| not_drained && run.why_not_forced(*index).is_none()) {
            let force = format!("drydock run force {number} --node {}", run.nodes[index].name);
            next.push(command("see what is left there, and which pods could be deleted", force));
        }
        if let Some(index) = hold.node.filter(|index| run.may(Allow::Skip) && run.can_skip(*index)) {
            let name = &run.nodes[index].name;
            let skip = format!("drydock run skip {number} --node {name} && drydock run resume {number}");
            next.push(command("leave this node out and go on with the others", skip));
        }
        if let Some(node) = node.filter(|node| can_go_back(run, hold, node)) {
            let back = format!("drydock run rollback {number} --node {}", node.name);
            next.push(command("end the run, and let the agent take this node back", back));
        }
        let doubt = node
            .filter(|node| left_changed(hold, node))
            .map(|node| format!(", and {} is in doubt until a run sees it well", node.name));
        next.push(command(&format!("leave it here: {}{}", stays(run), doubt.unwrap_or_default()), abort));
        let done = run.nodes.iter().any(|node| node.phase == Phase::Done);
        if run.plan.undoes.is_none() && done && undo::goes_by_command(run, None) {
            let back = format!("drydock run rollback {number}");
            next.push(command("end the run, and take back what it changed", back));
        }
    }
    next.extend(node.map(|node| see_node(run, &node.name)));
    next
}

/// What a second abort does. Of a section that is not overdue its agent is still waited for.
fn without_that_agent(run: &Run, hold: &Hold, node: Option<&NodeRun>) -> String {
    let end = "end the run without waiting for that agent any longer";
    let outage = node.filter(|_| hold.kind == HoldKind::OutageTooLong);
    match outage.and_then(|node| run.section_patience(node)) {
        Some(patience) => format!("once its section was handed out {patience} ago: {end}"),
        None => end.to_string(),
    }
}

/// Does the node stand changed, with no section at work on it, and is not known to be well?
fn left_changed(hold: &Hold, node: &NodeRun) -> bool {
    match hold.kind {
        HoldKind::LeftAlone | HoldKind::NotBack | HoldKind::Unwell => true,
        // Held at its change it has one at work, or one that turned out never to have begun.
        HoldKind::OutageTooLong => node.open.is_none() && hold.from != Phase::Applying,
        _ => false,
    }
}

/// Was the node changed, and is the change there for its agent to take back by command?
fn can_go_back(run: &Run, hold: &Hold, node: &NodeRun) -> bool {
    let confirmed = run.stage_of(node).recipe.spec.commit_confirmed.is_some();
    let by_command = !confirmed && undo::goes_by_command(run, Some(&node.name));
    left_changed(hold, node) && by_command && !node.undone && run.plan.undoes.is_none()
}

/// Where a person has to see for themselves before anything is tried.
fn look_first(run: &Run, hold: &Hold, node: &NodeRun) -> Option<CommandView> {
    let doubtful = matches!(
        hold.kind,
        HoldKind::Undecidable | HoldKind::LeftAlone | HoldKind::ChangedByOthers | HoldKind::OutageTooLong
    );
    let unheard = hold.kind == HoldKind::OutageTooLong && node.open.is_some();
    if hold.kind == HoldKind::NotReported || unheard {
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
        (HoldKind::OutageTooLong, _) => {
            let accepted = run.stage_of(node).accepted_outage().map(|(_, length)| length).unwrap_or_default();
            format!("accept it for {accepted} more, and go on if {name} is well by then")
        }
        (_, true) => format!("try {name} again, as attempt {}", node.attempt.saturating_add(1)),
        (_, false) => format!("look at {name} again and go on if it is well"),
    };
    let standing = live.standings.get(name);
    let twins = standing.and_then(|standing| Some(standing.twins_way_on(standing.twins.as_ref()?)));
    let does = match twins {
        Some(first) => format!("two machines hold the identity of {name}; {first}. Then {does}"),
        None => does,
    };
    match standing.and_then(|standing| release(run, node, standing)) {
        Some(release) => command(&does, format!("{release} && {resume}")),
        None => command(&does, resume),
    }
}

/// The command that ends what stands on record and for which the node's gate would refuse it again; nothing else. Two
/// machines are not ended by a command that stands ready.
fn release(run: &Run, node: &NodeRun, standing: &Standing) -> Option<String> {
    let stage = run.stage_of(node);
    let bad = standing.quarantine_of(&stage.component, &stage.to).filter(|_| run.plan.undoes.is_none());
    let keeps_out = |item: &OnRecord<'_>| match item {
        OnRecord::Aside(_) => true,
        OnRecord::Quarantine(this) => Some(*this) == bad,
        OnRecord::Doubt(_) | OnRecord::Mark(_) | OnRecord::Twins(_) | OnRecord::OnlyMachine(_) => false,
    };
    let these: Vec<OnRecord<'_>> = standing.on_record().into_iter().filter(keeps_out).collect();
    standing.release_of(&these)
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
    let at_work = group(&others, Phase::is_at_work, |_| "still at work".to_string());
    let stopped = |phase| matches!(phase, Phase::Held | Phase::RolledBack);
    let stopped = group(&others, stopped, |nodes| {
        if nodes.len() == 1 { nodes[0].phase.word().to_string() } else { "held or rolled back".to_string() }
    });
    let ahead = |phase| matches!(phase, Phase::Pending | Phase::Staging | Phase::Staged);
    let ahead = group(&others, ahead, |nodes| {
        let marked = nodes.iter().any(|node| node.marked);
        if marked {
            "not changed, and marked as leaving service".to_string()
        } else {
            "not begun".to_string()
        }
    });
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
