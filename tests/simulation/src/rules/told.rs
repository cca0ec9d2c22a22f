//! What operators are told, beside what is.

use drydock_core::{
    Now,
    plan::PlanStage,
    run::Run,
    run_view::{self, Live},
    view::{Phase, RunStatus, RunView},
};
use drydock_types::{NodeName, SectionKind, outcome::SectionResult};

use super::Rules;
use crate::{
    ground::{By, Ground},
    rules::leaving::NOTICED_MS,
};

impl Rules {
    /// Rule 12: whoever is called done runs what was to run, and serves.
    pub fn called_done(&mut self, ground: &Ground, stage: &PlanStage, name: &NodeName, now_ms: u64) {
        let Some(host) = ground.host(name) else { return };
        let there = &ground.hosts[host];
        let lately = there.others_ms.is_some_and(|at| now_ms < at + NOTICED_MS);
        let Some(artifact) = stage.artifact.as_ref().filter(|_| !lately) else { return };
        let runs = there.process.map(|process| process.exe);
        if runs != Some(artifact.sha256) || !ground.serves(host, now_ms) {
            let to = &stage.to;
            self.broken(12, now_ms, || {
                format!("{name} was called done at {to}, and runs {runs:?}, out of service: {:?}", there.out)
            });
        }
    }

    /// Rule 10: whoever is called rolled back is as before.
    pub fn called_rolled_back(&mut self, ground: &Ground, stage: &PlanStage, name: &NodeName, now_ms: u64) {
        let Some(host) = ground.host(name) else { return };
        self.quarantined.insert((host, stage.to.clone()));
        let there = &ground.hosts[host];
        let lately = there.others_ms.is_some_and(|at| now_ms < at + NOTICED_MS);
        let Some(artifact) = stage.artifact.as_ref().filter(|_| !lately) else { return };
        let runs = there.process.map(|process| process.exe);
        let new = Some(artifact.sha256);
        if runs == new || Some(there.file) == new || !ground.serves(host, now_ms) {
            self.broken(10, now_ms, || {
                format!("{name} was called rolled back: out of service: {:?}, runs {runs:?}", there.out)
            });
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
                let waits = |phase| {
                    matches!(
                        phase,
                        Phase::Staging
                            | Phase::Gating
                            | Phase::Protecting
                            | Phase::Rechecking
                            | Phase::Applying
                            | Phase::Returning
                            | Phase::Soaking
                    )
                };
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
