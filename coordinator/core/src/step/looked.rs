//! What a look means for the node that it was taken at.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Millis, NodeName, SectionKind, Sha256, Verdict, Version};

use super::{
    LOOK_AGAIN_MS, STOOD_BACK_MS,
    advance::{dispatch, is_at_work, is_lost},
    begin::{is_barred, out_beside},
    control::phase_deadline,
    ended::enter_returning,
    hold::{HoldBecause, hold},
    moves::{self, come_back},
    observe, outage,
    soak::soak,
};
use crate::{
    Now,
    hold_kind::HoldKind,
    inventory::{Role, Seen},
    moves::{Move, OWN_POD},
    plan::PlanStage,
    plan_file::Order,
    recipe::Check,
    run::{CheckResult, Disrupted, Effect, Left, Look, LookFor, NodeRun, Run},
    standing, version_path,
    view::{Phase, RunStatus},
};

/// An answer to a look.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a> {
    pub(super) node: usize,
    pub(super) round: u64,
    pub(super) results: &'a [CheckResult],
    pub(super) seen: &'a Seen,
    pub(super) disrupted: &'a [Disrupted],
}

pub(super) fn looked(run: &mut Run, answer: &Looked<'_>, now: Now, effects: &mut Vec<Effect>) {
    let Some(node) = run.nodes.get_mut(answer.node) else { return };
    // An answer that comes too late tells of another time; the look is taken anew.
    let answered = |look: &mut Look| look.round == answer.round && !is_lost(look, now);
    let Some(look) = node.look.take_if(answered) else { return };
    node.seen = Some(answer.seen.clone());
    match look.purpose {
        LookFor::Gate | LookFor::Recheck => gate(run, answer, look.purpose, now, effects),
        LookFor::Returned => returned(run, answer, now),
        LookFor::Soak => soak(run, answer, &look, now),
    }
}

/// The first thing that is not clear, by its name. A check that has no answer is not clear.
fn first_unclear(checks: &[Check], results: &[CheckResult]) -> Option<(String, Verdict)> {
    if let Some(unclear) = results.iter().find(|result| !result.verdict.is_clear()) {
        return Some((unclear.check.clone(), unclear.verdict.clone()));
    }
    let asked = |name: &str| checks.iter().filter(|check| check.name() == name).count();
    let answered = |name: &str| results.iter().filter(|result| result.check == name).count();
    let missing = checks.iter().map(Check::name).find(|name| answered(name) < asked(name))?;
    Some((missing.to_string(), Verdict::Unknown("the look brought no answer to it".to_string())))
}

/// A move of which nobody said whether it can be done, or is done still.
fn unanswered(drain: &[Move], results: &[CheckResult]) -> Option<(String, Verdict)> {
    let asked = |name: &str| drain.iter().filter(|of| of.name() == name).count();
    let answered = |name: &str| results.iter().filter(|result| result.check == name).count();
    let missing = drain.iter().find(|of| answered(of.name()) < asked(of.name()))?;
    Some((missing.name().to_string(), Verdict::Unknown("the look brought no answer to it".to_string())))
}

fn gate(run: &mut Run, answer: &Looked<'_>, purpose: LookFor, now: Now, effects: &mut Vec<Effect>) {
    let index = answer.node;
    if run.status != RunStatus::Running {
        // Paused or aborting since the question was asked: nothing leaves service on this answer.
        run.nodes[index].enter(Phase::Staged, now);
        return;
    }
    if skip_if_already_there(run, index, now) || defer_if_leading(run, index, now) {
        return;
    }
    if is_barred(run, index, now) {
        run.nodes[index].enter(Phase::Staged, now);
        return;
    }
    if let Some(stays) = answer.results.iter().find(|result| stays_in_service(result)) {
        let (what, because) = (stays.check.clone(), stays.verdict.reason().unwrap_or_default().to_string());
        return stand_back(run, index, &what, &because, now);
    }
    if let_others_go_first(run, answer, now) {
        return;
    }
    let there_again = came_back_in(run, answer);
    // Somebody uncordoned it, or a new pod has landed: all else is judged as if nothing had.
    let rest: Vec<CheckResult>;
    let answer = match &there_again {
        Some(_) => {
            rest = but_the_moves(run, answer);
            &Looked { results: &rest, ..*answer }
        }
        None => answer,
    };
    match (judge_gate(run, answer), there_again) {
        (Gate::Open, Some(because)) => moves::leave_again(run, index, &because, now),
        (Gate::Open, None) => open(run, index, purpose, now, effects),
        (Gate::Shut { what, because }, _) => look_again(run, index, &what, &because, now),
        (Gate::Refused { what, because }, _) => {
            let name = run.nodes[index].name.clone();
            let because = HoldBecause {
                kind: HoldKind::GateRefused,
                reason: format!("{what} forbids to take {name} out of service"),
                happened: because,
                state_now: match run.nodes[index].marked {
                    true => format!("nothing was changed on {name}"),
                    false => format!("nothing was changed on {name}: it is in service"),
                },
                resume_at: Phase::Staged,
                next_attempt: false,
            };
            hold(run, index, because, now);
        }
    }
}

/// What had left a drained node, and is there again.
fn came_back_in(run: &Run, answer: &Looked<'_>) -> Option<String> {
    let node = &run.nodes[answer.node];
    let drain = &run.stage_of(node).recipe.spec.drain;
    let of_move = |result: &&CheckResult| drain.iter().any(|of| of.name() == result.check);
    let mut of_moves = answer.results.iter().filter(of_move).filter(|_| node.drained);
    of_moves.find_map(|result| match &result.verdict {
        Verdict::Waiting(because) => Some(because.clone()),
        Verdict::Clear | Verdict::Refused(_) | Verdict::Unknown(_) => None,
    })
}

/// The results, with what waits at its moves taken for clear.
fn but_the_moves(run: &Run, answer: &Looked<'_>) -> Vec<CheckResult> {
    let drain = &run.stage_of(&run.nodes[answer.node]).recipe.spec.drain;
    let mut results = answer.results.to_vec();
    for result in &mut results {
        let of_move = drain.iter().any(|of| of.name() == result.check);
        if of_move && matches!(result.verdict, Verdict::Waiting(_)) {
            result.verdict = Verdict::Clear;
        }
    }
    results
}

/// Does something that holds for the whole fleet keep everybody in service? It is no matter of this gate, and
/// its deadline does not run meanwhile.
fn stays_in_service(result: &CheckResult) -> bool {
    standing::KEEPS_IN_SERVICE.contains(&result.check.as_str()) && !result.verdict.is_clear()
}

/// The node stays in service, and stands at its gate again after a while.
fn stand_back(run: &mut Run, index: usize, what: &str, because: &str, now: Now) {
    let node = &mut run.nodes[index];
    let waiting = node.waiting.take();
    node.enter(Phase::Staged, now);
    node.waiting = waiting;
    node.wait_for(what, because, now);
    node.not_before_ms = now.clock_ms.saturating_add(STOOD_BACK_MS);
    // Nor does that of one that is marked, and was on its way out.
    node.drain_by_ms = None;
}

enum Gate {
    Open,
    Shut { what: String, because: String },
    Refused { what: String, because: String },
}

fn judge_gate(run: &Run, answer: &Looked<'_>) -> Gate {
    let node = &run.nodes[answer.node];
    let stage = run.stage_of(node);
    if node.half_way && answer.seen.down {
        return judge_down(&stage.recipe.spec.gate, answer);
    }
    let unmoved = run.leaves_by_moves(node).then(|| unanswered(&stage.recipe.spec.drain, answer.results));
    let unclear = first_unclear(&stage.recipe.spec.gate, answer.results);
    if let Some((what, verdict)) = unclear.or(unmoved.flatten()) {
        let because = verdict.reason().unwrap_or_default().to_string();
        return match verdict {
            Verdict::Refused(_) => Gate::Refused { what, because },
            _ => Gate::Shut { what, because },
        };
    }
    match &answer.seen.version {
        Some(Err(why)) => {
            let what = "the running version".to_string();
            return Gate::Shut { what, because: format!("{} does not say it: {why}", stage.component) };
        }
        // A way back is judged by what ran before, on the node itself, and not by the recipe's way forwards.
        Some(Ok(from)) if run.plan.undoes.is_some() => {
            if let Some(because) = changed_since(run, node, from) {
                return Gate::Refused { what: "the running version".to_string(), because };
            }
        }
        Some(Ok(from)) => {
            let hop =
                version_path::judge(from, &stage.to, &stage.recipe.spec.versions, stage.allow_downgrade);
            if let Err(because) = hop {
                return Gate::Refused { what: "versionSkew".to_string(), because };
            }
        }
        None if stage.recipe.spec.detect.version.is_some() => {
            let what = "the running version".to_string();
            return Gate::Shut { what, because: format!("{} was not asked for it", stage.component) };
        }
        None => {}
    }
    // Somebody who is out of service already may be worked on in the slot that they occupy.
    let ours = out_beside(run, answer.node).into_iter().map(|name| (name, "this run has not finished it"));
    let mut others: BTreeMap<&NodeName, &str> = ours.collect();
    others.extend(answer.disrupted.iter().map(|other| (&other.node, other.why.as_str())));
    others.remove(&node.name);
    if others.len() >= run.plan.budget.per_failure_domain as usize {
        let names: Vec<_> = others.iter().map(|(other, why)| format!("{other} ({why})")).collect();
        let because = format!("out of service already: {}", names.join(", "));
        return Gate::Shut { what: "the budget".to_string(), because };
    }
    Gate::Open
}

/// A node that was left half-way and is down by a change of ours: the recipe's checks would only tell that, and it
/// is worked on in the slot of the budget that it occupies. What the driver adds to them (set aside, retired)
/// still counts. One that was left half-way and serves is taken out of service by being taken back: it has the gate
/// of an upgrade.
fn judge_down(gate: &[Check], answer: &Looked<'_>) -> Gate {
    let of_recipe = |result: &&CheckResult| gate.iter().any(|check| check.name() == result.check);
    let unclear = answer.results.iter().filter(|result| !of_recipe(result));
    match unclear.into_iter().find(|result| !result.verdict.is_clear()) {
        None => Gate::Open,
        Some(CheckResult { check, verdict: Verdict::Refused(because) }) => {
            Gate::Refused { what: check.clone(), because: because.clone() }
        }
        Some(CheckResult { check, verdict }) => {
            let because = verdict.reason().unwrap_or_default().to_string();
            Gate::Shut { what: check.clone(), because }
        }
    }
}

/// What runs is neither what the other run put there nor what ran before: the undo would take somebody else's
/// change with it.
fn changed_since(run: &Run, node: &NodeRun, runs: &Version) -> Option<String> {
    let stage = run.stage_of(node);
    let known = runs == &stage.to || run.wanted(node) == Some(runs);
    let of = run.plan.undoes.unwrap_or_default();
    (!known).then(|| {
        format!(
            "{} answers {runs}; run {of} had put {} there, so somebody else has changed it since",
            stage.component, stage.to
        )
    })
}

/// By the digest in memory and the service's own answer, never by the file.
fn skip_if_already_there(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let stage = run.stage_of(node);
    let artifact = stage.artifact.as_ref().map(|artifact| artifact.sha256);
    let already = match run.plan.undoes {
        Some(_) => is_back_already(run, node, artifact),
        None => node.seen.as_ref().is_some_and(|seen| seen.is_already(&stage.to, artifact)),
    };
    if already && run.change_was_sent(node) {
        // Perhaps by our own doing: then it must be well and stay so, like every node that was changed.
        enter_returning(run, index, now);
    } else if already {
        let version = run.wanted(node).unwrap_or(&stage.to);
        let note = format!("already runs {version} (by its own answer and the executable in memory)");
        run.nodes[index].note = note;
        come_back(run, index, Phase::Skipped, now);
    }
    already
}

/// Does what ran before run again? Not where the node was left half-way: what lies on the disk may be otherwise.
fn is_back_already(run: &Run, node: &NodeRun, artifact: Option<Sha256>) -> bool {
    let Some((seen, to)) = node.seen.as_ref().zip(run.wanted(node)) else { return false };
    // The same version can have been built twice: the new one must not be what is in memory.
    let new_one = artifact.is_some() && seen.exe_sha256 == artifact;
    !node.half_way && seen.answered() == Some(to) && !new_one
}

/// Whoever leads goes last, while there is somebody to go before it.
fn defer_if_leading(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let leads = node.seen.as_ref().and_then(|seen| seen.role) == Some(Role::Leader);
    if !leads || node.unsettled.is_some() || node.marked || run.wave_of(node).order != Order::FollowersFirst {
        return false;
    }
    let (stage, wave) = (node.stage, node.wave);
    let waits = |other: &NodeRun| {
        (other.stage, other.wave) == (stage, wave)
            && !other.gave_way
            // Who goes last of all goes behind the leader too: each would wait for the other.
            && !other.hosts_coordinator
            && matches!(other.phase, Phase::Pending | Phase::Staging | Phase::Staged)
    };
    let mut somebody_else = false;
    for (_, other) in run.nodes.iter_mut().enumerate().filter(|(other, node)| *other != index && waits(node))
    {
        // One leads at a time: whoever was seen leading before leads no longer.
        other.deferred = false;
        somebody_else = true;
    }
    // Whoever left together with it is waited for as well: the leader goes alone.
    let beside = |(other, node): (usize, &NodeRun)| other != index && is_at_work(node.phase);
    if !somebody_else && run.nodes.iter().enumerate().any(beside) {
        run.nodes[index].enter(Phase::Staged, now);
        run.nodes[index].deferred = true;
        return true;
    }
    if somebody_else {
        let node = &mut run.nodes[index];
        node.enter(Phase::Staged, now);
        node.deferred = true;
        node.gave_way = true;
        node.note = "leads now, so the others go first".to_string();
    }
    somebody_else
}

/// Where the coordinator itself runs, nobody leaves while there is somebody to go before it: evicted, it could not give
/// the node back. When nobody is left, the gate says what to do about it.
fn let_others_go_first(run: &mut Run, answer: &Looked<'_>, now: Now) -> bool {
    let index = answer.node;
    let hosts = answer.results.iter().find(|result| result.check == OWN_POD && !result.verdict.is_clear());
    run.nodes[index].hosts_coordinator = hosts.is_some();
    let Some(hosts) = hosts.filter(|_| !run.nodes[index].marked) else { return false };
    let because = hosts.verdict.reason().unwrap_or_default().to_string();
    let (stage, wave) = (run.nodes[index].stage, run.nodes[index].wave);
    let mut somebody_else = false;
    for (_, node) in run.nodes.iter_mut().enumerate().filter(|(other, _)| *other != index) {
        let waits = matches!(node.phase, Phase::Pending | Phase::Staging | Phase::Staged);
        if waits && (node.stage, node.wave) == (stage, wave) {
            // It runs in one place at a time: wherever it was seen before, it is no longer.
            node.hosts_coordinator = false;
            somebody_else = true;
        }
        somebody_else |= is_at_work(node.phase);
    }
    if somebody_else {
        let node = &mut run.nodes[index];
        node.enter(Phase::Staged, now);
        node.wait_for("the other nodes of its wave, which go first", &because, now);
    }
    somebody_else
}

/// The gate is open: protect first where the recipe says so and it is not fresh, else change.
fn open(run: &mut Run, index: usize, purpose: LookFor, now: Now, effects: &mut Vec<Effect>) {
    let node = &run.nodes[index];
    let stage = run.stage_of(node);
    let fresh =
        run.protected_at(node).is_some_and(|at| now.clock_ms.saturating_sub(at) < protect_max_age(stage).0);
    // The snapshot of before the change is what a way back would need; one of now says nothing new.
    let protects = run.plan.undoes.is_none() && !stage.recipe.spec.protect.is_empty();
    let needs_protection = protects && purpose == LookFor::Gate && !fresh;
    let kind = if needs_protection { SectionKind::Protect } else { run.change_kind() };
    let from = node.seen.as_ref().and_then(Seen::answered).cloned().or_else(|| node.from.clone());
    let sent_before = node.effects.contains(&run.effect_id(node, SectionKind::Apply));
    if sent_before && from != node.from {
        return changed_meanwhile(run, index, from.as_ref(), now);
    }
    if !needs_protection && !moves::is_out(run, node) {
        return moves::leave(run, index, now);
    }
    let node = &mut run.nodes[index];
    node.note.clear();
    node.from = from;
    node.enter(if needs_protection { Phase::Protecting } else { Phase::Applying }, now);
    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
    if !needs_protection {
        outage::begins(run, index, now);
        observe::begins(run, index, now);
    }
    dispatch(run, index, kind, now, effects);
}

/// Its change was handed out once and not begun, and now something else runs there. Under the same effect
/// id an agent refuses another section, and whoever changed the node should be heard first.
fn changed_meanwhile(run: &mut Run, index: usize, seen: Option<&Version>, now: Now) {
    let (node, unknown) = (&run.nodes[index], || "an unknown version".to_string());
    let name = &node.name;
    let (was, is) = (
        node.from.as_ref().map_or_else(unknown, Version::to_string),
        seen.map_or_else(unknown, Version::to_string),
    );
    let because = HoldBecause {
        kind: HoldKind::ChangedByOthers,
        reason: format!(
            "somebody else has changed {name}: it ran {was} when its change was decided, and runs {is}"
        ),
        happened: "its apply section was handed out before, and lapsed".to_string(),
        state_now: format!("{name} runs {is}; nothing of this run was changed on it"),
        resume_at: Phase::Staged,
        next_attempt: true,
    };
    hold(run, index, because, now);
}

/// How old a protection may be: the youngest age that any of its steps asks for.
fn protect_max_age(stage: &PlanStage) -> Millis {
    let age = |step: &drydock_types::Step| match step {
        drydock_types::Step::SnapshotEtcd(snapshot) => Some(snapshot.max_age),
        drydock_types::Step::BackupK3s(backup) => Some(backup.max_age),
        _ => None,
    };
    stage.recipe.spec.protect.iter().filter_map(age).min().unwrap_or(Millis(0))
}

/// Not clear, and may become so: looked at again, less often the longer it lasts.
pub(super) fn look_again(run: &mut Run, index: usize, what: &str, because: &str, now: Now) {
    let node = &mut run.nodes[index];
    let pause = LOOK_AGAIN_MS[(node.unclear as usize).min(LOOK_AGAIN_MS.len() - 1)];
    node.unclear = node.unclear.saturating_add(1);
    node.look_again_ms = Some(now.clock_ms.saturating_add(pause));
    node.wait_for(what, because, now);
}

/// Its agent left it alone, a person has put back what ran before, and it is well with that: it is rolled back.
fn taken_back_by_hand(run: &Run, node: &NodeRun, answer: &Looked<'_>) -> bool {
    let left = node.last_change.as_ref().is_some_and(|change| change.left == Left::HalfWay);
    let before = answer.seen.answered().is_some_and(|runs| Some(runs) == node.from.as_ref());
    // The old process goes on whatever lies on the disk: what was put back is seen in the file that it runs.
    let restored = match (&run.stage_of(node).artifact, answer.seen.exe_sha256) {
        (None, _) => true,
        (Some(artifact), Some(runs)) => runs != artifact.sha256,
        (Some(_), None) => run.stage_of(node).recipe.spec.detect.unit.is_none(),
    };
    let taken_back = NodeRun { undone: true, ..node.clone() };
    left && before
        && restored
        && !node.undone
        && run.plan.undoes.is_none()
        && not_well(run, &taken_back, answer).is_none()
}

/// Is it back, with what it should be running?
fn returned(run: &mut Run, answer: &Looked<'_>, now: Now) {
    let index = answer.node;
    let node = &run.nodes[index];
    let watched = run.wave_of(node).soak;
    let unwell = not_well(run, node, answer);
    if unwell.is_some() && taken_back_by_hand(run, node, answer) {
        run.nodes[index].undone = true;
        return come_back(run, index, Phase::RolledBack, now);
    }
    match unwell {
        Some((what, because)) => look_again(run, index, &what, &because, now),
        None if node.undone => come_back(run, index, Phase::RolledBack, now),
        None if watched.0 == 0 || run.status == RunStatus::Aborting => {
            come_back(run, index, Phase::Done, now);
        }
        None => come_back(run, index, Phase::Soaking, now),
    }
}

/// What a changed node lacks, by name: a check, the version that it should answer, the executable that its
/// process should be (rule 12: seen in the target).
pub(super) fn not_well(run: &Run, node: &NodeRun, answer: &Looked<'_>) -> Option<(String, String)> {
    let stage = run.stage_of(node);
    let spec = &stage.recipe.spec;
    if let Some((check, verdict)) = first_unclear(&spec.returned, answer.results) {
        return Some((check, verdict.reason().unwrap_or_default().to_string()));
    }
    let component = &stage.component;
    let wanted = if node.undone { node.from.as_ref() } else { run.wanted(node) };
    let version = match (&answer.seen.version, wanted) {
        (Some(Ok(version)), Some(wanted)) if version != wanted => {
            Some(format!("{component} answers {version}, expected {wanted}"))
        }
        (Some(Err(why)), _) => Some(format!("{component} does not say its version: {why}")),
        (None, _) if spec.detect.version.is_some() => {
            Some(format!("{component} was not asked for its version"))
        }
        _ => None,
    };
    if let Some(because) = version {
        return Some(("the version".to_string(), because));
    }
    let artifact = stage.artifact.as_ref().filter(|_| spec.detect.unit.is_some())?;
    let because = match answer.seen.exe_sha256 {
        // Whose it is, is judged when it is called rolled back.
        Some(_) if node.undone => return None,
        // An old process goes on over whatever lies on the disk, and the next start would be of that.
        None if node.undone => {
            "no process of the unit could be seen that runs what lies on the disk".to_string()
        }
        Some(runs) if run.plan.undoes.is_some() && runs == artifact.sha256 => {
            format!("{} is in memory still, which was to be taken back", runs.short())
        }
        Some(_) if run.plan.undoes.is_some() => return None,
        Some(runs) if runs == artifact.sha256 => return None,
        Some(runs) => format!("{} is in memory, expected {}", runs.short(), artifact.sha256.short()),
        None => "no process of the unit could be seen".to_string(),
    };
    Some(("the running executable".to_string(), because))
}
