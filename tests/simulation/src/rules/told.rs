//! What operators are told, beside what is.

use drydock_core::{
    Now,
    plan::PlanStage,
    run::{NodeRun, Run},
    run_view::{self, Live},
    view::{Phase, RunStatus, RunView},
};
use drydock_types::{NodeName, SectionKind, outcome::SectionResult};

use super::{Rules, decided::Evidence};
use crate::{
    coordinator::Known,
    ground::{By, Ground},
    rules::leaving::NOTICED_MS,
};

/// How long it may take until somebody decides what is overdue: the driver is told of the time when it is due.
const DECIDED_MS: u64 = 2000;

/// What was told of a node, and the look that it was told on.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Which node.
    pub name: &'a NodeName,
    /// The look, where one was what decided it.
    pub evidence: Option<&'a Evidence>,
}

impl Told<'_> {
    /// Has somebody else done something there that it could not be told on? Whatever was there before the look
    /// began, the look saw.
    fn is_excused(&self, ground: &Ground, host: usize, now_ms: u64) -> bool {
        let evidence = self.evidence.filter(|evidence| evidence.node == self.name.as_str());
        let since_ms = evidence.map_or_else(|| now_ms.saturating_sub(NOTICED_MS), |it| it.asked_ms);
        let there = &ground.hosts[host];
        let fell = there.out.filter(|out| out.by == By::Others).map(|out| out.since_ms);
        there.others_ms.into_iter().chain(fell).any(|at| at >= since_ms)
    }
}

const fn waits(phase: Phase) -> bool {
    !phase.is_ended() && !matches!(phase, Phase::Pending | Phase::Staged)
}

impl Rules {
    /// Rule 12: whoever is called done runs what was to run, and serves.
    pub fn called_done(&mut self, ground: &Ground, stage: &PlanStage, told: Told<'_>, now_ms: u64) {
        let name = told.name;
        let Some(host) = ground.host(name) else { return };
        let there = &ground.hosts[host];
        let Some(artifact) = stage.artifact.as_ref().filter(|_| !told.is_excused(ground, host, now_ms))
        else {
            return;
        };
        let runs = there.process.map(|process| process.exe);
        if runs != Some(artifact.sha256) || !ground.serves(host, now_ms) {
            let to = &stage.to;
            self.broken(12, now_ms, || {
                format!("{name} was called done at {to}, and runs {runs:?}, out of service: {:?}", there.out)
            });
        }
    }

    /// Rule 12: whoever is left out for running what was to run does, to the byte.
    pub fn called_already_there(&mut self, ground: &Ground, stage: &PlanStage, told: Told<'_>, now_ms: u64) {
        let name = told.name;
        let Some(host) = ground.host(name) else { return };
        let Some(artifact) = stage.artifact.as_ref().filter(|_| !told.is_excused(ground, host, now_ms))
        else {
            return;
        };
        let runs = ground.hosts[host].process.map(|process| process.exe);
        let answers = runs.and_then(|runs| ground.releases.get(&runs)).map(|release| &release.answers);
        if runs != Some(artifact.sha256) || answers != Some(&stage.to) {
            let to = &stage.to;
            self.broken(12, now_ms, || {
                format!("{name} was called already at {to}, runs {runs:?} and answers {answers:?}")
            });
        }
    }

    /// Rule 10: whoever is called rolled back is as before.
    pub fn called_rolled_back(&mut self, ground: &Ground, stage: &PlanStage, told: Told<'_>, now_ms: u64) {
        let name = told.name;
        let Some(host) = ground.host(name) else { return };
        self.quarantined.insert((host, stage.to.clone()));
        let there = &ground.hosts[host];
        let Some(artifact) = stage.artifact.as_ref().filter(|_| !told.is_excused(ground, host, now_ms))
        else {
            return;
        };
        let runs = there.process.map(|process| process.exe);
        let new = Some(artifact.sha256);
        if runs == new || Some(there.file) == new || !ground.serves(host, now_ms) {
            self.broken(10, now_ms, || {
                format!("{name} was called rolled back: out of service: {:?}, runs {runs:?}", there.out)
            });
        }
    }

    /// Rule 9: a wait whose deadline has passed is decided. Rule 7: nobody goes to a gate while a run is paused.
    pub fn waits_are_decided(&mut self, run: &Run, before: Option<&Known>, now: Now, now_ms: u64) {
        let counts = matches!(run.status, RunStatus::Running | RunStatus::Paused | RunStatus::Aborting);
        let late = |deadline: u64| now.clock_ms > deadline + DECIDED_MS;
        let overdue = |node: &&NodeRun| waits(node.phase) && node.deadline_ms.is_some_and(late);
        if let Some(node) = run.nodes.iter().filter(|_| counts).find(overdue) {
            let (number, name, phase) = (run.number, node.name.clone(), node.phase);
            self.broken(9, now_ms, || {
                format!("{name} is {phase:?} in run {number} behind its deadline, and nobody holds it")
            });
        }
        // Rule 6: an outage that the plan accepts is counted, and decided when it has lasted as long as it may.
        let out = |node: &&NodeRun| {
            let accepts = !run.plan.stages[node.stage].outage.is_empty();
            // While a run is aborted nothing follows a node that only has to be seen well: its return's own deadline
            // bounds that, and held before it it would be left in doubt and never looked at again.
            let only_returns = run.status == RunStatus::Aborting && node.open.is_none();
            accepts && !only_returns && matches!(node.phase, Phase::Applying | Phase::Returning)
        };
        // Whoever comes back from a gate, because what was to run runs there already, was not let out since: its agent
        // was not told to change anything.
        let mut truth = self.runs.get_mut(&run.id);
        for node in run.nodes.iter().filter(|node| node.phase == Phase::Gating) {
            truth.as_mut().map(|truth| truth.let_out.remove(&node.name));
        }
        let truth = truth.map(|truth| &truth.let_out);
        let let_out = |node: &&NodeRun| {
            let changed = truth.is_some_and(|let_out| let_out.contains(&node.name));
            changed || node.outage.is_some() || node.phase == Phase::Applying
        };
        let too_long = |node: &&NodeRun| {
            let_out(node) && node.outage.as_ref().is_none_or(|outage| late(outage.until_ms))
        };
        if let Some(node) = run.nodes.iter().filter(|_| counts).filter(out).find(too_long) {
            let (number, name) = (run.number, node.name.clone());
            self.broken(6, now_ms, || {
                format!("{name} has been out in run {number} for longer than its plan accepts, and nobody holds it")
            });
        }
        let Some(before) =
            before.filter(|before| (before.status, run.status) == (RunStatus::Paused, RunStatus::Paused))
        else {
            return;
        };
        let mut gates = run.nodes.iter().zip(&before.phases);
        if let Some((node, _)) =
            gates.find(|(node, was)| node.phase == Phase::Gating && **was != Phase::Gating)
        {
            let (number, name) = (run.number, node.name.clone());
            self.broken(7, now_ms, || format!("{name} went to its gate while run {number} was paused"));
        }
    }

    /// Rule 9: a run that waits says for what, until when, and what can be typed; one that holds says why.
    pub fn says_what_it_waits_for(&mut self, run: &Run, live: &Live, now: Now, now_ms: u64) {
        let view = run_view::view(run, live, Vec::new(), now);
        let number = run.number;
        match run.status {
            RunStatus::Held => {
                let said =
                    view.hold.as_ref().is_some_and(|hold| !hold.reason.is_empty() && !hold.next.is_empty());
                if !said {
                    self.broken(9, now_ms, || {
                        format!("run {number} holds and says not why or not what to do")
                    });
                }
            }
            RunStatus::Paused | RunStatus::Queued => {
                let said = view.waiting.as_ref().is_some_and(|waiting| !waiting.can.is_empty());
                if !said {
                    self.broken(9, now_ms, || {
                        format!("run {number} is {:?} and says not what goes on", run.status)
                    });
                }
            }
            RunStatus::Running | RunStatus::Aborting => {
                if let Some(waiting) = &view.waiting
                    && (waiting.because.is_empty() || waiting.can.is_empty())
                {
                    let what = waiting.waiting_for.clone();
                    self.broken(9, now_ms, || {
                        format!("run {number} waits for {what:?} without a reason or a command")
                    });
                }
                let without = run.nodes.iter().find(|node| waits(node.phase) && node.deadline_ms.is_none());
                if let Some(node) = without {
                    let (name, phase) = (node.name.clone(), node.phase);
                    self.broken(9, now_ms, || {
                        format!("{name} is {phase:?} in run {number} without a deadline")
                    });
                }
                if run.next_wake_ms().is_none() && run.hold.is_none() {
                    self.broken(9, now_ms, || {
                        format!("run {number} is {:?} and nothing will ever happen to it", run.status)
                    });
                }
            }
            RunStatus::Aborted | RunStatus::Done => {}
        }
    }

    /// Rule 10, at the end of a run: whatever of ours is out of service is named.
    pub fn closed(&mut self, ground: &Ground, view: &RunView, now_ms: u64) {
        let nodes = view.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
        for node in nodes {
            let failure = node.failure.as_ref().map(|failure| format!("{failure:?}")).unwrap_or_default();
            self.marks_are_said(&node.node, view.id, &format!("{} {failure}", node.note), now_ms);
            let Some(host) = ground.host(&node.node) else { continue };
            let ours = ground.hosts[host].out.is_some_and(|out| match out.by {
                By::Us(effect) => self.intents.get(&effect).is_some_and(|intent| intent.run == view.id),
                By::Others => false,
            });
            if ours && node.note.is_empty() && node.failure.is_none() {
                let (number, name) = (view.number, node.node.clone());
                self.broken(10, now_ms, || {
                    format!("run {number} is over, {name} is out of service by it, and nothing says so")
                });
            }
        }
    }

    /// What an agent's outcome means for what may be tried again.
    pub fn ended(&mut self, host: usize, outcome: &drydock_types::Outcome) {
        let failed = matches!(
            outcome.result,
            SectionResult::Undone { .. }
                | SectionResult::LeftAlone { .. }
                | SectionResult::Undecidable { .. }
        );
        if let (true, Some(intent)) = (failed, self.intents.get(&outcome.effect)) {
            if intent.kind == SectionKind::Undo {
                self.half_undone.insert((intent.run, intent.node.clone()));
            }
            let (version, effect) = (intent.to.clone(), outcome.effect);
            self.failed_there(host, version, effect);
        }
    }
}
