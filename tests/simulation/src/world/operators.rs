//! People: they start plans, look now and then, and decide what a run that holds asks them.

use std::collections::{BTreeMap, BTreeSet};

use drydock_coordinator::{checks, driver::ControlVerb};
use drydock_core::{
    inventory::Seen,
    plan::{Plan, plan},
    view::RunStatus,
};
use drydock_types::{Label, NodeName, RunId};

use super::{PATIENCE_MS, What, World, open_runs};
use crate::{
    coverage::Item,
    dice::Dice,
    plans,
    rules::{RunTruth, told::Told},
    shared::Mail,
};

/// How it begins when a node is said to need nothing.
pub(super) const ALREADY: &str = "already runs";
/// How long it may take to look at all nodes of a plan.
const SURVEY_MS: u64 = 20_000;
/// How often somebody looks.
const LOOKS_MS: u64 = 5000;
/// How often a run is resumed before it is ended.
const MOST_RESUMES: u32 = 8;
/// How often a plan that is blocked is tried again.
const MOST_TRIES: u32 = 4;

/// What the operators know.
pub(crate) struct Desk {
    dice: Dice,
    /// By plan: tried so often; `None` when it was started or given up.
    tries: Vec<Option<u32>>,
    /// When a hold or a pause will be decided, by run.
    decides: BTreeMap<u64, u64>,
    resumes: BTreeMap<u64, u32>,
    /// Paused on purpose until.
    paused_until: BTreeMap<u64, u64>,
    aborted_ms: BTreeMap<u64, u64>,
    pub(crate) nodes_done: u64,
}

impl Desk {
    pub(super) fn new(dice: Dice, plans: usize) -> Self {
        Self {
            dice,
            tries: vec![Some(0); plans],
            decides: BTreeMap::new(),
            resumes: BTreeMap::new(),
            paused_until: BTreeMap::new(),
            aborted_ms: BTreeMap::new(),
            nodes_done: 0,
        }
    }
}

impl Desk {
    /// 128 bits, for a run's id.
    pub(super) fn id(&mut self) -> [u8; 16] {
        self.dice.id()
    }
}

impl World {
    // ---- starting --------------------------------------------------------------------------------------------

    /// As `rpc/planning.rs` has it: every node that could be meant is looked at, then the plan is made.
    pub(super) fn start_plan(&mut self, index: usize) {
        if self.desk.tries[index].is_none() {
            return;
        }
        let first = self.first;
        let now = self.coordinators[first].now(self.now_ms());
        let Some(running) = &self.coordinators[first].running else {
            return self.soon(2000, What::Plan(index));
        };
        let bundle = match plans::bundle(&self.scenario.plans[index], index + 1) {
            Ok(bundle) => bundle,
            Err(error) => return self.broken(0, || format!("the simulation's own plan: {error}")),
        };
        let inventory = running.driver.inventory(now);
        let planned = match plan(&bundle, &inventory) {
            Ok((planned, _)) => planned,
            Err(error) => return self.broken(0, || format!("the simulation's own plan: {error}")),
        };
        let connected =
            |name: &NodeName| inventory.nodes.get(name).is_some_and(|it| it.silent_for_ms.is_none());
        let stages: Vec<_> = planned
            .stages
            .iter()
            .map(|stage| {
                let nodes = stage.waves.iter().flat_map(|wave| &wave.nodes);
                let nodes = nodes.filter(|node| connected(&node.name));
                let detect: Vec<_> = nodes.map(|it| (it.name.clone(), stage.recipe_for(it).detect)).collect();
                (stage.name.clone(), detect)
            })
            .collect();
        let (sessions, shared, start) = (running.sessions.clone(), self.shared.clone(), running.start);
        running.looks.spawn(async move {
            let mut seen = BTreeMap::new();
            for (stage, nodes) in stages {
                seen.insert(stage, checks::survey(&sessions, &nodes).await);
            }
            shared.post(Mail::Surveyed { coordinator: first, start, plan: index, seen });
        });
        // Whoever asked asks again when the coordinator died meanwhile.
        self.soon(60_000, What::Plan(index));
    }

    pub(super) fn surveyed(
        &mut self,
        index: usize,
        start: u32,
        number: usize,
        seen: &BTreeMap<Label, BTreeMap<NodeName, Seen>>,
    ) {
        let now_ms = self.now_ms();
        let now = self.coordinators[index].now(now_ms);
        let Some(tries) = self.desk.tries[number] else { return };
        let Some(running) = self.coordinators[index].running.as_mut().filter(|it| it.start == start) else {
            return;
        };
        let Ok(bundle) = plans::bundle(&self.scenario.plans[number], number + 1) else { return };
        let mut inventory = running.driver.inventory(now);
        for (stage, nodes) in seen {
            for (name, seen) in nodes {
                if let Some(node) = inventory.nodes.get_mut(name) {
                    node.seen.insert(stage.clone(), seen.clone());
                }
            }
        }
        let Ok((planned, report)) = plan(&bundle, &inventory) else { return };
        if let Some(blocker) = report.blockers.first() {
            let what = blocker.what.clone();
            self.desk.tries[number] = (tries < MOST_TRIES).then_some(tries + 1);
            self.say(|| "operator".to_string(), || format!("plan {} is blocked: {what}", number + 1));
            self.note(Item::Verb("start, blocked"));
            return;
        }
        self.accept(index, number, planned, now_ms);
    }

    fn accept(&mut self, index: usize, number: usize, planned: Plan, now_ms: u64) {
        let now = self.coordinators[index].now(now_ms);
        let id = RunId(self.desk.dice.id());
        let plan = std::sync::Arc::new(planned.clone());
        self.left_out(&planned, now_ms);
        let Some(running) = &mut self.coordinators[index].running else { return };
        // Known to the rules first: what follows from the start is judged by it.
        let truth = RunTruth {
            number: 0,
            plan,
            paused: None,
            closed: false,
            changed: BTreeMap::new(),
            let_out: BTreeSet::new(),
        };
        self.shared.lock().rules.runs.insert(id, truth);
        match running.driver.start_run(planned, "anna", false, id, now) {
            Ok((run, behind, outputs)) => {
                self.desk.tries[number] = None;
                if let Some(truth) = self.shared.lock().rules.runs.get_mut(&id) {
                    truth.number = run;
                }
                self.note(Item::Verb(if behind.is_some() { "start, queued" } else { "start" }));
                self.say(|| "operator".to_string(), || format!("starts plan {} as run {run}", number + 1));
                self.after(index, outputs, None);
            }
            Err(error) => {
                self.say(|| "operator".to_string(), || format!("plan {}: {error}", number + 1));
                self.after_operator(index);
            }
        }
    }

    /// Whoever the plan leaves out because it is there already.
    fn left_out(&self, planned: &Plan, now_ms: u64) {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        for stage in &planned.stages {
            for node in stage.waves.iter().flat_map(|wave| &wave.nodes) {
                let host = inner.ground.host(&node.name);
                let process = host.and_then(|host| inner.ground.hosts[host].process);
                // Whatever has been started since the nodes were looked at, that look cannot have seen.
                let seen = process.is_some_and(|it| it.since_ms == 0 || it.since_ms + SURVEY_MS < now_ms);
                if seen && node.skip.as_ref().is_some_and(|why| why.starts_with(ALREADY)) {
                    let told = Told { name: &node.name, evidence: None };
                    inner.rules.called_already_there(&inner.ground, stage, told, now_ms);
                }
            }
        }
    }

    /// A verb that the store did not take stops the coordinator.
    pub(super) fn after_operator(&mut self, index: usize) {
        let failed = self.coordinators[index].running.as_ref().is_some_and(|it| it.driver.has_failed());
        if failed {
            self.kill_coordinator(index, "stops: the store did not take an operator's request");
            self.soon(4000, What::CoordinatorStarts(index));
        }
    }

    // ---- deciding --------------------------------------------------------------------------------------------

    pub(super) fn control(&mut self, number: u64, verb: ControlVerb) {
        let index = self.first;
        let now_ms = self.now_ms();
        let now = self.coordinators[index].now(now_ms);
        let Some(running) = &mut self.coordinators[index].running else { return };
        let id = running.driver.runs().find(|run| run.number == number).map(|run| run.id);
        match running.driver.control(number, verb, "bert", now) {
            Ok((view, outputs)) => {
                let word = match verb {
                    ControlVerb::Pause => "pause",
                    ControlVerb::Resume => "resume",
                    ControlVerb::Abort => "abort",
                    #[allow(unreachable_patterns, reason = "verbs that have a call of their own")]
                    _ => "another verb",
                };
                self.note(Item::Verb(word));
                self.say(|| "operator".to_string(), || format!("{word} run {number}: {:?}", view.status));
                if let Some(truth) = id.and_then(|id| self.shared.lock().rules.runs.get_mut(&id).map(|_| id))
                {
                    let mut inner = self.shared.lock();
                    if let Some(truth) = inner.rules.runs.get_mut(&truth) {
                        match verb {
                            ControlVerb::Pause => {
                                truth.paused = (view.status == RunStatus::Paused).then_some(index)
                            }
                            ControlVerb::Resume => truth.paused = None,
                            _ => {}
                        }
                    }
                }
                self.after(index, outputs, None);
            }
            Err(error) => {
                self.say(|| "operator".to_string(), || format!("run {number}: {error}"));
                self.after_operator(index);
            }
        }
    }

    /// Somebody pauses a run, whichever is open.
    pub(super) fn pause_some(&mut self, for_ms: u64, chance: u64) -> bool {
        let Some(number) = self.some_run(chance) else { return false };
        let until_ms = self.now_ms() + for_ms;
        self.desk.paused_until.insert(number, until_ms);
        self.control(number, ControlVerb::Pause);
        true
    }

    pub(super) fn abort_some(&mut self, chance: u64) -> bool {
        let Some(number) = self.some_run(chance) else { return false };
        self.control(number, ControlVerb::Abort);
        true
    }

    fn some_run(&self, chance: u64) -> Option<u64> {
        let open = open_runs(&self.coordinators[self.first]);
        let at = usize::try_from(chance).unwrap_or(0) % open.len().max(1);
        open.get(at).map(|run| run.number)
    }

    /// Somebody looks at every run and does what it asks for; and sees when all is over.
    pub(super) fn desk_looks(&mut self) {
        let now_ms = self.now_ms();
        let runs: Vec<(u64, RunStatus)> =
            open_runs(&self.coordinators[self.first]).iter().map(|run| (run.number, run.status)).collect();
        for (number, status) in runs {
            match status {
                RunStatus::Held => self.decide_hold(number, now_ms),
                RunStatus::Paused => {
                    if self.desk.paused_until.get(&number).is_none_or(|until| now_ms >= *until) {
                        self.control(number, ControlVerb::Resume);
                    }
                }
                RunStatus::Aborting => {
                    let since = *self.desk.aborted_ms.entry(number).or_insert(now_ms);
                    // Said a second time it no longer waits for an agent that is long overdue.
                    if now_ms >= since + 1_200_000 {
                        self.desk.aborted_ms.insert(number, now_ms);
                        self.control(number, ControlVerb::Abort);
                    }
                }
                RunStatus::Running if self.desk.dice.chance(100) && self.waits_for_approval(number) => {
                    self.approve(number);
                }
                RunStatus::Queued | RunStatus::Running | RunStatus::Aborted | RunStatus::Done => {}
            }
        }
        // Nobody remembers having frozen it: the copy of the store did.
        if self.shared.lock().rules.frozen.is_none() && self.is_frozen() {
            self.thaw();
        }
        let alone = self.coordinators.iter().filter(|it| it.running.is_some()).count() == 1;
        let fenced =
            self.coordinators[self.first].running.as_ref().is_some_and(|it| it.driver.fenced_by().is_some());
        if alone && fenced {
            self.take_over(self.first);
        }
        if self.scenario.cluster.is_some() && self.desk.dice.chance(100) {
            (0..self.agents.len()).for_each(|host| self.take_marks_back(host));
        }
        let waiting = self.desk.tries.iter().any(Option::is_some);
        let up = self.coordinators[self.first].running.is_some();
        if up && !waiting && !self.has_open_runs() {
            self.nothing_is_left();
            self.over = true;
            return;
        }
        let calm_ms = self.scenario.calm_ms;
        if now_ms > calm_ms + PATIENCE_MS {
            let open: Vec<String> = open_runs(&self.coordinators[self.first])
                .iter()
                .map(|run| format!("run {} is {:?}", run.number, run.status))
                .collect();
            self.broken(9, || format!("two days after the last fault: {}", open.join(", ")));
        }
        // The longer nothing is asked, the less often somebody looks.
        let wait_ms = if now_ms > calm_ms + 3_600_000 { 60_000 } else { LOOKS_MS };
        self.soon(wait_ms, What::Desk);
    }

    fn waits_for_approval(&self, number: u64) -> bool {
        let open = open_runs(&self.coordinators[self.first]);
        let waves = |run: &drydock_core::run::Run| {
            run.plan.stages.iter().flat_map(|stage| &stage.waves).any(|wave| wave.approval.is_some())
        };
        open.iter().any(|run| run.number == number && waves(run))
    }

    fn decide_hold(&mut self, number: u64, now_ms: u64) {
        let thinks_ms = self.desk.dice.between(5000, 200_000);
        let at_ms = *self.desk.decides.entry(number).or_insert(now_ms + thinks_ms);
        if now_ms < at_ms {
            return;
        }
        self.desk.decides.remove(&number);
        let resumes = self.desk.resumes.entry(number).or_insert(0);
        *resumes += 1;
        let enough = *resumes > MOST_RESUMES || self.desk.dice.chance(120);
        self.control(number, if enough { ControlVerb::Abort } else { ControlVerb::Resume });
    }
}
