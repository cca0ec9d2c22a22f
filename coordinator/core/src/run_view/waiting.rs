//! What a run waits for: the most urgent of it, until when, what happens then, and what can be typed.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{Millis, NodeName};

use super::{Live, command, ends, see_node};
use crate::{
    Now,
    hold_kind::WaitKind,
    moves::Doing,
    plan_file::{Allow, ApprovalBy},
    run::{NodeRun, Run, RunWaiting, WaitFor},
    standing::checks,
    view::{CommandView, Phase, RunStatus, WaitingView},
};

/// How many other waits are told beside the most urgent one.
const OTHERS: usize = 5;

/// The most urgent thing that is not clear, and one line for each of the others.
pub(super) fn waiting(run: &Run, live: &Live, now: Now) -> Option<WaitingView> {
    match run.status {
        RunStatus::Queued => return run.queued_behind.map(|other| queued(run, other, now)),
        RunStatus::Paused => return Some(paused(run, now)),
        RunStatus::Held | RunStatus::Aborted | RunStatus::Done => return None,
        RunStatus::Running | RunStatus::Aborting => {}
    }
    let of_node = |(index, node): (usize, &NodeRun)| {
        let blocker = blocker(node, live)?;
        Some((rank(node, &blocker), until_ms(run, node).unwrap_or(u64::MAX), index, blocker))
    };
    let mut found: Vec<_> = run.nodes.iter().enumerate().filter_map(of_node).collect();
    found.sort_by_key(|(rank, until, index, _)| (*rank, *until, *index));
    let whole_run = run.waiting.as_ref().map(|waiting| of_run(run, waiting, now));
    let first_node =
        found.first().map(|(rank, _, index, blocker)| (*rank, at_node(run, *index, blocker, live, now)));
    let (mut view, rest) = match (whole_run, first_node) {
        // What keeps everybody in service goes behind whoever is out of it.
        (Some(whole), Some((rank, node))) if rank > Rank::AtWork => (whole, [Some(node)]),
        (Some(whole), Some((_, node))) => (node, [Some(whole)]),
        (Some(whole), None) => (whole, [None]),
        (None, Some((_, node))) => (node, [None]),
        (None, None) => return None,
    };
    let line = |other: WaitingView| format!("{}: {}", other.waiting_for, other.because);
    let others = rest.into_iter().flatten().map(line);
    let behind =
        found.iter().skip(1).map(|(_, _, _, blocker)| format!("{}: {}", blocker.what, blocker.because));
    let mut others: Vec<String> = others.chain(behind).collect();
    if others.len() > OTHERS {
        let more = others.len() - OTHERS;
        others.truncate(OTHERS);
        others.push(format!("and {more} more"));
    }
    view.others = others;
    Some(view)
}

/// What one node waits for: what is in its own way, else what the run waits for before it comes to this node.
pub(super) fn of_node(run: &Run, index: usize, live: &Live, now: Now) -> Option<WaitingView> {
    let node = run.nodes.get(index).filter(|node| !node.phase.is_ended())?;
    let at_work = matches!(run.status, RunStatus::Running | RunStatus::Aborting);
    match blocker(node, live).filter(|_| at_work) {
        Some(blocker) => Some(at_node(run, index, &blocker, live, now)),
        None if node.phase.is_at_work() && at_work => None,
        None => waiting(run, live, now),
    }
}

/// What is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It was changed, and something is in its way back.
    Out,
    /// It is about to leave service, and something is in its way.
    AtGate,
    /// Its agent is at work on it.
    AtWork,
    /// It has not begun.
    Ahead,
}

const fn rank(node: &NodeRun, blocker: &Blocker) -> Rank {
    match (node.phase, blocker.at_work) {
        (Phase::Pending | Phase::Staging | Phase::Staged, _) => Rank::Ahead,
        (_, true) => Rank::AtWork,
        (Phase::Gating | Phase::Rechecking, false) => Rank::AtGate,
        (_, false) => Rank::Out,
    }
}

/// When the run holds for it, on the fleet's clock.
fn until_ms(run: &Run, node: &NodeRun) -> Option<u64> {
    let patience = run.stage_of(node).recipe.spec.deadlines.gate;
    let lapsing = node.lapses.filter(|_| matches!(node.phase, Phase::Pending | Phase::Staged));
    let phase = node.deadline_ms.or_else(|| Some(lapsing?.since.clock_ms.saturating_add(patience.0)));
    phase.into_iter().chain(run.outage_until_ms(node)).min()
}

fn at_node(run: &Run, index: usize, blocker: &Blocker, live: &Live, now: Now) -> WaitingView {
    let node = &run.nodes[index];
    let name = &node.name;
    let fleet_wide = matches!(blocker.kind, WaitKind::Freeze | WaitKind::HourlyLimit);
    let left_ms = until_ms(run, node)
        .filter(|_| !fleet_wide && run.status == RunStatus::Running || node.deadline_ms.is_some())
        .map(|until| until.saturating_sub(now.clock_ms));
    let then = match (blocker.kind, left_ms) {
        (WaitKind::Freeze, _) => {
            format!("somebody thaws the fleet, and {name} goes to its gate; by itself it stays as it is")
        }
        (WaitKind::HourlyLimit, _) => {
            format!(
                "the first of those nodes left service an hour ago, and {name} goes to its gate by itself"
            )
        }
        (_, Some(_)) => format!("the run holds at {name} and asks you"),
        (_, None) => String::new(),
    };
    WaitingView {
        kind: blocker.kind,
        node: Some(name.clone()),
        phase: Some(node.phase),
        waiting_for: blocker.what.clone(),
        because: blocker.because.clone(),
        since_unix_ms: blocker.since_unix_ms,
        seen_unix_ms: blocker.seen_unix_ms.unwrap_or(now.wall_ms),
        at_work: blocker.at_work,
        left_ms,
        then,
        can: can(run, index, blocker, live),
        others: Vec::new(),
    }
}

/// What an operator can type while the run waits at this node. Only what does something in this state.
fn can(run: &Run, index: usize, blocker: &Blocker, live: &Live) -> Vec<CommandView> {
    let node = &run.nodes[index];
    let (number, name) = (run.number, &node.name);
    // Who is silent: the node itself, and whoever is named as the reason.
    let words = |text: &str, name: &NodeName| {
        text.split(|c: char| c.is_whitespace() || ",;:()".contains(c)).any(|word| word == name.as_str())
    };
    let named = |other: &NodeName| node.waiting.as_ref().is_some_and(|it| words(&it.because, other));
    let silent = live.silent.keys().filter(|other| (*other == name && node.open.is_some()) || named(other));
    let ask = |other: &NodeName| {
        command(
            &format!("type it on {other}: does its agent run?"),
            "systemctl status drydock-agent".to_string(),
        )
    };
    let mut list: Vec<CommandView> = silent.take(3).map(ask).collect();
    if blocker.kind == WaitKind::Freeze {
        list.push(command("let nodes leave service again", "drydock thaw".to_string()));
    }
    // What another run has out is said as `run 41 is at it`.
    let because = node.waiting.as_ref().map_or("", |it| it.because.as_str());
    let other = because.split("run ").skip(1).find_map(|rest| {
        let (digits, rest) = rest.split_once(' ')?;
        rest.starts_with("is at it").then(|| digits.parse::<u64>().ok()).flatten()
    });
    if let Some(other) = other.filter(|other| *other != number) {
        list.push(command(&format!("see what run {other} is at"), format!("drydock why {other}")));
    }
    let on_record = live.standings.iter().filter(|(other, _)| named(other)).take(3);
    list.extend(on_record.map(|(other, _)| {
        command(&format!("see what stands on record about {other}"), format!("drydock node show {other}"))
    }));
    list.push(see_node(run, name));
    list.extend(amend(run, index));
    if run.status == RunStatus::Running {
        list.push(command("hand out nothing new", format!("drydock run pause {number}")));
        list.push(command(&ends(run), format!("drydock run abort {number}")));
    }
    list
}

/// What the plan allows to be changed about this wait.
fn amend(run: &Run, index: usize) -> Vec<CommandView> {
    let node = &run.nodes[index];
    let (number, name) = (run.number, &node.name);
    let mut list = Vec::new();
    if run.may(Allow::Skip) && run.can_skip(index) {
        list.push(command("leave this node out", format!("drydock run skip {number} --node {name}")));
    }
    if run.may(Allow::Extend) && run.why_not_extended(index, Millis::secs(1800)).is_none() {
        list.push(command("wait longer", format!("drydock run extend {number} --node {name} 30m")));
    }
    if node.phase == Phase::Draining && run.may(Allow::Force) && run.why_not_forced(index).is_none() {
        let force = format!("drydock run force {number} --node {name}");
        list.push(command("see what is left there, and which pods could be deleted", force));
    }
    if run.may(Allow::Soak) && node.phase == Phase::Soaking {
        let place = run.place(node.stage, node.wave);
        let amend = format!("drydock run amend {number} --wave {place} soak=1m");
        list.push(command("watch for less long", amend));
    }
    list
}

/// What is in a node's way, or at work on it.
struct Blocker {
    kind: WaitKind,
    what: String,
    because: String,
    since_unix_ms: u64,
    seen_unix_ms: Option<u64>,
    at_work: bool,
}

fn blocker(node: &NodeRun, live: &Live) -> Option<Blocker> {
    if node.phase.is_ended() {
        return None;
    }
    let name = &node.name;
    if let (Some(open), Some(since)) = (&node.open, live.silent.get(name)) {
        return Some(Blocker {
            kind: WaitKind::Silent,
            what: format!("the {} section of {name} to end", open.kind.as_str()),
            because: format!(
                "the agent of {name} is silent; if it runs it goes on by itself, and reports when it is back"
            ),
            since_unix_ms: *since,
            seen_unix_ms: Some(*since),
            at_work: false,
        });
    }
    if let (Some(moving), waiting) = (&node.moving, &node.waiting) {
        let leaves = moving.doing == Doing::Leave;
        let usual = if leaves { "to leave service" } else { "to be given back" };
        return Some(Blocker {
            kind: WaitKind::Move,
            what: waiting
                .as_ref()
                .map_or_else(|| format!("{name} {usual}"), |it| format!("{} at {name}", it.what)),
            because: waiting.as_ref().map_or_else(
                || {
                    if leaves {
                        "it is being emptied"
                    } else {
                        "what this run has marked is being taken back"
                    }
                    .into()
                },
                |waiting| waiting.because.clone(),
            ),
            since_unix_ms: waiting.as_ref().map_or(node.since, |waiting| waiting.since).wall_ms,
            seen_unix_ms: waiting.as_ref().map(|waiting| waiting.seen.wall_ms),
            at_work: waiting.is_none(),
        });
    }
    if let Some(waiting) = &node.waiting {
        let (kind, what) = match waiting.what.as_str() {
            checks::FREEZE => {
                (WaitKind::Freeze, format!("the fleet to be thawed, before {name} leaves service"))
            }
            checks::HOURLY_LIMIT => {
                (WaitKind::HourlyLimit, format!("the limit of nodes an hour, before {name} leaves service"))
            }
            what if node.lapses.is_some() => (WaitKind::Lapsed, format!("{what} at {name}")),
            what => (WaitKind::Gate, format!("{what} at {name}")),
        };
        return Some(Blocker {
            kind,
            what,
            because: waiting.because.clone(),
            since_unix_ms: waiting.since.wall_ms,
            seen_unix_ms: Some(waiting.seen.wall_ms),
            at_work: false,
        });
    }
    let open = node.open.as_ref()?;
    let at = live.at_step.get(name).map(|(step, _)| format!(": {step}")).unwrap_or_default();
    Some(Blocker {
        kind: WaitKind::Section,
        what: format!("the {} section of {name} to end", open.kind.as_str()),
        because: format!("its agent is at work on it{at}"),
        since_unix_ms: node.since.wall_ms,
        seen_unix_ms: None,
        at_work: true,
    })
}

/// What keeps every further node of a wave in service.
fn of_run(run: &Run, waiting: &RunWaiting, now: Now) -> WaitingView {
    let (number, place) = (run.number, run.place(waiting.stage, waiting.wave));
    let (kind, waiting_for, because, left_ms, then, first) = match &waiting.what {
        WaitFor::Approval { by, deadline_ms } => {
            let who = match by {
                ApprovalBy::Anybody => "an operator".to_string(),
                ApprovalBy::SomebodyElse => {
                    format!("an operator other than {}, who started the run,", run.started_by)
                }
            };
            (
                WaitKind::Approval,
                format!("wave {place} to be approved"),
                format!("{who} must approve it before its first node leaves service"),
                Some(deadline_ms.saturating_sub(now.clock_ms)),
                "the run holds and asks you".to_string(),
                // With the digest that was read: a plan that is amended meanwhile is not approved unseen.
                Some(command(
                    "approve it as it stands",
                    format!(
                        "drydock run approve {number} --wave {place} --digest {}",
                        run.plan.digest.short()
                    ),
                )),
            )
        }
        WaitFor::Window { opens_ms, because } => (
            WaitKind::Window,
            format!("the window to open for wave {place}"),
            because.clone(),
            opens_ms.map(|opens| opens.saturating_sub(now.wall_ms)),
            "the next node goes to its gate by itself".to_string(),
            run.may(Allow::Window)
                .then(|| command("do without the window", format!("drydock run amend {number} window=none"))),
        ),
    };
    let mut can: Vec<CommandView> = first.into_iter().collect();
    can.push(command("hand out nothing new", format!("drydock run pause {number}")));
    can.push(command(&ends(run), format!("drydock run abort {number}")));
    WaitingView {
        kind,
        node: None,
        phase: None,
        waiting_for,
        because,
        since_unix_ms: waiting.since.wall_ms,
        seen_unix_ms: now.wall_ms,
        at_work: false,
        left_ms,
        then,
        can,
        others: Vec::new(),
    }
}

fn queued(run: &Run, other: u64, now: Now) -> WaitingView {
    WaitingView {
        kind: WaitKind::Queue,
        node: None,
        phase: None,
        waiting_for: format!("run {other} to end"),
        because: "both want some of the same nodes".to_string(),
        since_unix_ms: run.started.wall_ms,
        seen_unix_ms: now.wall_ms,
        at_work: false,
        left_ms: None,
        then: format!("run {other} is done or aborted; then run {} begins by itself", run.number),
        can: vec![
            command("see what that run waits for", format!("drydock why {other}")),
            command("take this run out of the queue", format!("drydock run abort {}", run.number)),
        ],
        others: Vec::new(),
    }
}

fn paused(run: &Run, now: Now) -> WaitingView {
    let by = run.stopped_by.as_deref().unwrap_or("an operator");
    let out = run.handed_out();
    let mut because = match out.is_empty() {
        true => format!("{by} paused it; nothing is handed out"),
        false => format!("{by} paused it; handed out before and ending by itself: {}", out.join(", ")),
    };
    let marked: Vec<&str> =
        run.nodes.iter().filter(|node| node.marked).map(|node| node.name.as_str()).collect();
    if !marked.is_empty() {
        because.push_str(&format!("; marked as leaving service meanwhile (cordoned): {}", marked.join(", ")));
    }
    WaitingView {
        kind: WaitKind::Pause,
        node: None,
        phase: None,
        waiting_for: "an operator to let it go on".to_string(),
        because,
        since_unix_ms: run.stopped.map_or(run.started.wall_ms, |at| at.wall_ms),
        seen_unix_ms: now.wall_ms,
        at_work: false,
        left_ms: None,
        then: "somebody resumes or aborts it; by itself it stays as it is".to_string(),
        can: vec![
            command("go on", format!("drydock run resume {}", run.number)),
            command(&ends(run), format!("drydock run abort {}", run.number)),
        ],
        others: Vec::new(),
    }
}
