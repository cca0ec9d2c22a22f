//! Every run beside what it was: what is new is looked at by the rules.

use drydock_core::{
    plan::PlanStage,
    run::Run,
    run_view::Live,
    view::{Phase, RunStatus},
};
use drydock_types::RunId;

use super::{World, operators::ALREADY};
use crate::{
    coordinator::Known,
    coverage::Item,
    rules::{RunTruth, decided::Evidence, marks::Hand, told::Told},
    shared::Inner,
};

/// What operators are told of a node.
struct Called<'a> {
    phase: Phase,
    note: &'a str,
    /// The run takes another one back.
    undoes: bool,
    run: RunId,
}

impl Inner {
    /// Held against what is; how many more nodes are done by it.
    fn called(&mut self, stage: &PlanStage, told: Told<'_>, called: &Called<'_>, now_ms: u64) -> u64 {
        if matches!(called.phase, Phase::Done | Phase::RolledBack | Phase::Skipped) {
            self.rules.called_through(told.name, called.run, now_ms);
        }
        match called.phase {
            Phase::Done if called.undoes => {
                self.rules.called_rolled_back(&self.ground, stage, told, now_ms);
            }
            Phase::Done => {
                self.rules.called_done(&self.ground, stage, told, now_ms);
                return 1;
            }
            Phase::RolledBack => self.rules.called_rolled_back(&self.ground, stage, told, now_ms),
            Phase::Skipped if !called.undoes && called.note.starts_with(ALREADY) => {
                self.rules.called_already_there(&self.ground, stage, told, now_ms);
            }
            _ => {}
        }
        0
    }
}

impl World {
    /// Every run beside what it was: what is new is looked at by the rules.
    pub(super) fn compare(&mut self, index: usize, evidence: Option<&Evidence>) {
        let now_ms = self.now_ms();
        let now = self.coordinators[index].now(now_ms);
        let Some(running) = &mut self.coordinators[index].running else { return };
        let changes = running.driver.changes();
        if std::mem::replace(&mut running.changes, changes) == changes {
            return;
        }
        let mut inner = self.shared.lock();
        inner.see_cluster(Hand::Others, now_ms);
        let inner = &mut *inner;
        let (mut nodes_done, fenced) = (0, running.driver.fenced_by());
        for run in running.driver.runs() {
            let truth = inner.rules.runs.entry(run.id).or_insert_with(|| RunTruth::of(run));
            truth.number = run.number;
            let before = running.known.get(&run.number);
            if fenced.is_none() {
                inner.rules.waits_are_decided(run, before, now, now_ms);
            }
            if before.is_some_and(|before| is_same(before, run)) {
                continue;
            }
            for (node, is) in run.nodes.iter().enumerate() {
                let was = before.map(|before| before.phases[node]);
                if was == Some(is.phase) {
                    continue;
                }
                if let Some(was) = was {
                    inner.coverage.note(Item::Phase(was.word(), is.phase.word()));
                    inner.story.say(now_ms, || {
                        (
                            is.name.to_string(),
                            format!("run {}: {} → {}", run.number, was.word(), is.phase.word()),
                        )
                    });
                }
                if is.phase == Phase::Done {
                    inner.rules.called_done.insert((index, run.number, is.name.clone()));
                }
                if was.is_some() {
                    let told = Told { name: &is.name, evidence };
                    let undoes = run.plan.undoes.is_some();
                    let called = Called { phase: is.phase, note: &is.note, undoes, run: run.id };
                    nodes_done += inner.called(run.stage_of(is), told, &called, now_ms);
                }
            }
            if before.is_none_or(|before| before.status != run.status) {
                inner.coverage.note(Item::Status(status(run.status)));
                inner.story.say(now_ms, || {
                    ("coordinator".to_string(), format!("run {} is {:?}", run.number, run.status))
                });
            }
            if let Some(hold) = &run.hold {
                inner.coverage.note(Item::Hold(hold.from.word(), hold.resume_at.word()));
                if before.is_none_or(|before| before.holds == 0) {
                    inner.story.say(now_ms, || {
                        (
                            "coordinator".to_string(),
                            format!("run {} holds: {} ({})", run.number, hold.reason, hold.happened),
                        )
                    });
                }
            }
            // The whole of what operators see is made for it: looked at whenever there is something to say, and now
            // and then where there is not.
            let says =
                run.status != RunStatus::Running || run.nodes.iter().any(|node| node.waiting.is_some());
            if says || changes.is_multiple_of(16) {
                inner.rules.says_what_it_waits_for(run, &Live::default(), now, now_ms);
            }
            running.known.insert(run.number, known(run));
        }
        self.desk.nodes_done += nodes_done;
        let open: Vec<u64> = running.driver.runs().map(|run| run.number).collect();
        let closed: Vec<u64> =
            running.known.keys().filter(|number| !open.contains(number)).copied().collect();
        for number in closed {
            let known = running.known.remove(&number);
            let Ok(view) = running.driver.show(number, now) else { continue };
            inner.coverage.note(Item::Status(status(view.status)));
            inner.story.say(now_ms, || {
                ("coordinator".to_string(), format!("run {number} is {:?}, and over", view.status))
            });
            let plan = inner.rules.runs.get_mut(&view.id).map(|truth| {
                truth.closed = true;
                std::sync::Arc::clone(&truth.plan)
            });
            inner.rules.closed(&inner.ground, &view, now_ms);
            let (Some(plan), Some(known)) = (plan, known) else { continue };
            // In the plan's order, like the run's nodes.
            let planned = plan.stages.iter().flat_map(|stage| {
                stage.waves.iter().flat_map(|wave| &wave.nodes).map(move |node| (stage, node))
            });
            for ((stage, node), was) in planned.zip(&known.phases) {
                let is = view.stages.iter().filter(|it| it.name == stage.name);
                let is =
                    is.flat_map(|it| &it.waves).flat_map(|wave| &wave.nodes).find(|it| it.node == node.name);
                let Some(is) = is.filter(|is| is.phase != *was) else { continue };
                inner.coverage.note(Item::Phase(was.word(), is.phase.word()));
                if is.phase == Phase::Done {
                    inner.rules.called_done.insert((index, number, node.name.clone()));
                }
                let told = Told { name: &node.name, evidence };
                let undoes = plan.undoes.is_some();
                let called = Called { phase: is.phase, note: &is.note, undoes, run: view.id };
                self.desk.nodes_done += inner.called(stage, told, &called, now_ms);
            }
        }
    }
}

fn known(run: &Run) -> Known {
    Known {
        status: run.status,
        phases: run.nodes.iter().map(|node| node.phase).collect(),
        holds: usize::from(run.hold.is_some()) + run.holds_behind.len(),
    }
}

fn is_same(before: &Known, run: &Run) -> bool {
    let holds = usize::from(run.hold.is_some()) + run.holds_behind.len();
    before.status == run.status
        && before.holds == holds
        && before.phases.iter().zip(&run.nodes).all(|(was, is)| *was == is.phase)
}

const fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Paused => "paused",
        RunStatus::Held => "held",
        RunStatus::Aborting => "aborting",
        RunStatus::Aborted => "aborted",
        RunStatus::Done => "done",
    }
}
