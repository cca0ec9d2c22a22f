//! The rules that never bend, looked at after every single step of every test.

use alloc::{collections::BTreeMap, vec::Vec};

use drydock_types::{EffectId, Section, SectionKind, document};

use super::{leaving::Leaving, moves::Moves, outages::Outages};
use crate::{
    Now,
    inventory::Seen,
    run::{CheckResult, Disrupted, Effect, Event, LookFor, NodeRun, Run},
    run_view::{self, Live},
    step::step,
    version_path,
    view::{Phase, RunStatus},
};

/// Remembers what was ever handed out.
#[derive(Default)]
pub(super) struct Rules {
    sent: BTreeMap<EffectId, (u32, Vec<u8>)>,
    leaving: Leaving,
    outages: Outages,
    moves: Moves,
}

/// One step as it was taken.
pub(super) struct Taken<'a> {
    pub(super) before: &'a Run,
    pub(super) event: &'a Event,
    pub(super) now: Now,
    pub(super) after: &'a Run,
    pub(super) effects: &'a [Effect],
}

impl Rules {
    pub(super) fn check(&mut self, taken: &Taken<'_>) {
        let Taken { before, event, now, after, effects } = taken;
        let again = step((*before).clone(), event, *now);
        assert_eq!((&again.0, again.1.as_slice()), (*after, *effects), "a step is the same each time");
        if before.status.is_closed() {
            assert_eq!((*before, effects.len()), (*after, 0), "a closed run never changes");
            return;
        }
        self.leaving.check(taken);
        self.outages.check(taken);
        self.moves.check(taken);
        attempts(before, event, after);
        for effect in *effects {
            if let Effect::Dispatch { section } = effect {
                assert_eq!(after.status, RunStatus::Running, "nothing is handed out unless it runs (rule 7)");
                self.once(after, section);
                match section.kind {
                    SectionKind::Apply => only_on_a_clear_look(taken, section),
                    SectionKind::Undo => only_what_was_there_before(taken, section),
                    SectionKind::Stage | SectionKind::Protect => {
                        assert_eq!(after.plan.undoes, None, "a rollback has nothing to stage or to protect");
                    }
                }
            }
        }
        after.nodes.iter().for_each(|node| open_fits_phase(after, node));
        waits(after);
        holds(after, *now);
        no_hot_loop(after, *now);
        let read: Run = document::decode("run", &document::encode(*after)).unwrap();
        assert_eq!(&read, *after, "what is written is read back");
    }

    /// Rule 3: an id is one attempt and one payload for ever.
    fn once(&mut self, run: &Run, section: &Section) {
        let node = run.nodes.iter().find(|node| is_of(node, section)).unwrap();
        let this = (node.attempt, document::encode(section));
        let known = self.sent.entry(section.effect).or_insert_with(|| this.clone());
        assert_eq!(known.0, this.0, "the same effect in two attempts");
        assert!(known.1 == this.1, "the same effect with two payloads: {section:?}");
    }
}

fn is_of(node: &NodeRun, section: &Section) -> bool {
    node.open.as_ref().is_some_and(|open| open.effect == section.effect)
}

pub(super) const fn is_at_work(phase: Phase) -> bool {
    use Phase::{Applying, Draining, Gating, Protecting, Rechecking, Releasing, Returning, Soaking};
    matches!(phase, Gating | Protecting | Draining | Rechecking | Applying | Returning | Releasing | Soaking)
}

fn attempts(before: &Run, event: &Event, after: &Run) {
    for (was, is) in before.nodes.iter().zip(&after.nodes) {
        let rise = is.attempt - was.attempt;
        assert!(rise <= 1);
        assert!(
            rise == 0 || matches!(event, Event::Resumed { .. }),
            "an attempt without a decision (rule 3)"
        );
    }
}

/// Rules 8, 1 and 11.
fn only_on_a_clear_look(taken: &Taken<'_>, section: &Section) {
    let Event::Looked { node, round, results, seen, disrupted } = taken.event else {
        panic!("a change without a look: {:?}", taken.event);
    };
    let (was, is) = (&taken.before.nodes[*node], &taken.after.nodes[*node]);
    assert_eq!(taken.before.plan.undoes, None, "a rollback changes nothing forwards");
    assert!(is_of(is, section), "a change of another node than the one that was looked at");
    let look = was.look.as_ref().expect("a change on an answer that nobody asked for");
    assert_eq!(look.round, *round, "a change on an answer to an older question");
    assert!(matches!(look.purpose, LookFor::Gate | LookFor::Recheck));
    assert!(taken.now.clock_ms < look.asked_ms + super::super::LOOK_LOST_MS, "a change on stale evidence");
    let stage = taken.before.stage_of(was);
    for check in &stage.recipe.spec.gate {
        let told: Vec<&CheckResult> = results.iter().filter(|result| result.check == check.name()).collect();
        assert!(!told.is_empty(), "a change without an answer to {}", check.name());
    }
    assert!(results.iter().all(|result| result.verdict.is_clear()), "a change on {results:?}");
    let others: Vec<&Disrupted> = disrupted.iter().filter(|other| other.node != was.name).collect();
    assert!(others.len() < taken.before.plan.budget.per_failure_domain as usize, "over budget: {others:?}");
    if stage.recipe.spec.detect.version.is_some() {
        let from = Seen::answered(seen).expect("a change of nobody knows what");
        let hop = version_path::judge(from, &stage.to, &stage.recipe.spec.versions, stage.allow_downgrade);
        assert!(hop.is_ok(), "a change from {from} to {}", stage.to);
        assert_eq!(section.from.as_ref(), Some(from));
    }
    let protected = stage.recipe.spec.protect.is_empty() || taken.before.protected_at(was).is_some();
    assert!(protected, "a change without a snapshot");
}

/// Rules 8, 1 and 11 for a run that takes another one back. It alone may go down, only to what ran before the very
/// change that it names, and only a node that was left half-way and is down is not asked for its gate.
fn only_what_was_there_before(taken: &Taken<'_>, section: &Section) {
    let Event::Looked { node, round, results, seen, disrupted } = taken.event else {
        panic!("an undo without a look: {:?}", taken.event);
    };
    let (was, is) = (&taken.before.nodes[*node], &taken.after.nodes[*node]);
    assert!(taken.before.plan.undoes.is_some(), "an undo in a run that takes nothing back");
    assert!(is_of(is, section), "an undo at another node than the one that was looked at");
    let planned = taken.before.undo_of(was).expect("an undo that the plan does not have");
    assert_eq!(section.undoes, Some(planned.effect));
    assert!(section.steps.is_empty() && section.verify.is_empty(), "its journal says what is taken back");
    if let Some(to) = &planned.to {
        assert_eq!(&section.to, to, "down to something that did not run before");
    }
    let look = was.look.as_ref().expect("an undo on an answer that nobody asked for");
    assert_eq!(look.round, *round, "an undo on an answer to an older question");
    assert!(taken.now.clock_ms < look.asked_ms + super::super::LOOK_LOST_MS, "an undo on stale evidence");
    let spec = &taken.before.stage_of(was).recipe.spec;
    let of_gate = |result: &CheckResult| spec.gate.iter().any(|check| check.name() == result.check);
    let down = was.half_way && seen.down;
    for result in results.iter().filter(|result| !down || !of_gate(result)) {
        assert!(result.verdict.is_clear(), "an undo on {result:?}");
    }
    if !down {
        let others: Vec<&Disrupted> = disrupted.iter().filter(|other| other.node != was.name).collect();
        assert!(
            others.len() < taken.before.plan.budget.per_failure_domain as usize,
            "over budget: {others:?}"
        );
    }
}

fn open_fits_phase(run: &Run, node: &NodeRun) {
    let kind = match node.phase {
        Phase::Staging => Some(SectionKind::Stage),
        Phase::Protecting => Some(SectionKind::Protect),
        Phase::Applying => Some(run.change_kind()),
        // Late, and held for it.
        Phase::Held => return,
        _ => None,
    };
    assert_eq!(
        node.open.as_ref().map(|open| open.kind),
        kind,
        "{} is {:?} in {:?}",
        node.name,
        node.phase,
        run.status
    );
}

/// Rule 9: whoever waits has a deadline, and somebody who will say so.
fn waits(run: &Run) {
    if !matches!(run.status, RunStatus::Running | RunStatus::Paused | RunStatus::Aborting) {
        return;
    }
    for node in &run.nodes {
        let busy = is_at_work(node.phase) || node.phase == Phase::Staging;
        assert!(!busy || node.deadline_ms.is_some(), "{} waits in {:?} for ever", node.name, node.phase);
    }
    let asked = run.hold.is_some() || run.status == RunStatus::Paused;
    assert!(run.next_wake_ms().is_some() || asked, "it {:?} and nothing will ever happen", run.status);
}

fn holds(run: &Run, now: Now) {
    assert_eq!(run.status == RunStatus::Held, run.hold.is_some() && run.status != RunStatus::Aborting);
    assert!(run.hold.is_some() || run.holds_behind.is_empty());
    for (index, node) in run.nodes.iter().enumerate() {
        let stopped = matches!(node.phase, Phase::Held | Phase::RolledBack);
        let mut holds = run.hold.iter().chain(&run.holds_behind).filter(|hold| hold.node == Some(index));
        let first = holds.next();
        assert!(holds.next().is_none(), "{} is held twice", node.name);
        if !run.status.is_closed() {
            assert_eq!(
                stopped,
                first.is_some(),
                "{} is {:?}, and its hold is {first:?}",
                node.name,
                node.phase
            );
        }
    }
    for hold in run.hold.iter().chain(&run.holds_behind) {
        assert!(!hold.reason.is_empty() && !hold.state_now.is_empty());
        assert_ne!(hold.from, Phase::Held, "from held to held tells nobody anything");
    }
    let view = run_view::view(run, &Live::default(), Vec::new(), now);
    if run.hold.is_some() {
        assert!(!view.hold.unwrap().next.is_empty(), "a hold without a command");
    }
    if let Some(waiting) = view.waiting {
        assert!(!waiting.can.is_empty() && !waiting.because.is_empty());
    }
    let _ = run_view::line(run);
}

/// A tick when it is due changes something, and soon there is nothing due at that time any more.
fn no_hot_loop(run: &Run, now: Now) {
    let Some(wake) = run.next_wake_ms() else { return };
    let at = Now { clock_ms: wake.max(now.clock_ms), ..now };
    let mut run = run.clone();
    for _ in 0..run.nodes.len() + 2 {
        let (next, _) = step(run.clone(), &Event::Tick {}, at);
        assert_ne!(next, run, "a tick that is due does nothing: a hot loop");
        run = next;
        if run.next_wake_ms().is_none_or(|next| next > at.clock_ms) {
            return;
        }
    }
    panic!("still due at {} after a tick for every node: a hot loop", at.clock_ms);
}
