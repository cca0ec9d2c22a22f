//! Tables for the driver, over the store in memory.

mod amending;
mod departures;
mod failures;
mod fenced;
mod limits;
mod moving;
mod people;
mod rollback;
mod unsigned;

use std::collections::BTreeSet;

use drydock_core::{
    inventory::{Role, Seen},
    plan::{Plan, plan},
    run::{CheckResult, JournalRef, NodeRun},
    view::Phase,
};
use drydock_types::{
    Epoch, InstanceId, JournalId, Millis, NodeKey, Outcome, RunId, Section, SectionKind, Sha256, Verdict,
    Version, document, outcome::SectionResult, probe::HostFacts,
};

use super::*;
use crate::{heard::Signed, store::memory::MemoryStore};

const FLEET: FleetId = FleetId([1; 16]);

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn key(of: &str) -> NodeKey {
    Sha256::of(of.as_bytes())
}

/// An outcome as the edge hands it on, its signature judged: here nobody looks at it again.
pub(super) fn ended(of: &str, outcome: Outcome) -> Input {
    let bytes = document::encode(&outcome);
    let signature = drydock_types::Signature::of(b"signature").unwrap();
    let signed = Signed::new(key(of), bytes, format!("certificate of {of}").into_bytes(), signature);
    Input::Outcome { node: name(of), outcome: Box::new(outcome), signed: Box::new(signed) }
}

/// A fleet of nodes with one coordinator at a time, which can be killed at any moment.
struct World {
    store: MemoryStore,
    driver: Driver<MemoryStore>,
    now: Now,
    out: Vec<Output>,
    sessions: u64,
    starts: u8,
    nodes: Vec<(NodeName, FleetNode)>,
}

impl World {
    fn of(names: &[&str]) -> Self {
        let node = |of: &&str| (name(of), FleetNode { key: key(of), labels: BTreeMap::new() });
        Self::with(names.iter().map(node).collect())
    }

    fn with(nodes: Vec<(NodeName, FleetNode)>) -> Self {
        let store = MemoryStore::new(FLEET);
        let now = Now { clock_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let mut first = store.reopen();
        let fence = first.take_over(InstanceId([0; 16])).unwrap();
        let (driver, _) = Driver::open(first, fence, now).unwrap();
        let mut world = Self { store, driver, now, out: Vec::new(), sessions: 0, starts: 0, nodes };
        world.register();
        for (of, _) in world.nodes.clone() {
            world.connect(of.as_str());
        }
        world
    }

    fn register(&mut self) {
        let nodes = self.nodes.clone();
        self.tell(Input::Registered { nodes });
    }

    fn tell(&mut self, input: Input) {
        self.out = self.driver.handle(input, self.now).unwrap();
    }

    fn agent(&mut self, of: &str, length: u64) -> Agent {
        self.sessions += 1;
        Agent {
            session: self.sessions,
            key: key(of),
            version: "0.1.0".to_string(),
            journal: JournalRef { id: JournalId([1; 16]), length },
            steps: BTreeSet::new(),
            requirements: BTreeSet::new(),
            facts: HostFacts::default(),
        }
    }

    fn connect(&mut self, of: &str) -> u64 {
        let agent = self.agent(of, 10);
        let session = agent.session;
        self.tell(Input::Connected { node: name(of), agent: Box::new(agent) });
        session
    }

    /// The coordinator dies and another one takes the store over. Nobody is connected.
    fn restart(&mut self) {
        self.starts += 1;
        let mut next = self.store.reopen();
        let fence = next.take_over(InstanceId([self.starts; 16])).unwrap();
        let (driver, out) = Driver::open(next, fence, self.now).unwrap();
        self.driver = driver;
        self.out = out;
    }

    fn start(&mut self, plan: Plan) -> u64 {
        let id = RunId([u8::try_from(self.driver.last_run).unwrap() + 1; 16]);
        let (number, _, out) = self.driver.start_run(plan, "anna", false, id, self.now).unwrap();
        self.out = out;
        number
    }

    fn control(&mut self, run: u64, verb: ControlVerb) {
        self.out = self.driver.control(run, verb, "bert", self.now).unwrap().1;
    }

    fn tick(&mut self, ms: u64) {
        self.now.clock_ms += ms;
        self.now.wall_ms += ms;
        self.tell(Input::Tick);
    }

    fn run(&self, number: u64) -> &Run {
        &self.driver.runs[&number]
    }

    fn phase(&self, number: u64, of: &str) -> Phase {
        self.run(number).nodes.iter().find(|node| node.name.as_str() == of).unwrap().phase
    }

    /// Sections sent in the last outputs.
    fn sent(&self) -> Vec<(String, SectionKind)> {
        let section = |output: &Output| match output {
            Output::Dispatch { section, .. } => {
                let section: Section = document::decode("section", section).unwrap();
                Some((section.node.to_string(), section.kind))
            }
            _ => None,
        };
        self.out.iter().filter_map(section).collect()
    }

    fn asks(&self) -> Vec<String> {
        let ask = |output: &Output| match output {
            Output::Ask { node, .. } => Some(node.to_string()),
            _ => None,
        };
        self.out.iter().filter_map(ask).collect()
    }

    fn open(&self, number: u64, of: &str) -> EffectId {
        let node = self.run(number).nodes.iter().find(|node| node.name.as_str() == of).unwrap();
        node.open.as_ref().unwrap().effect
    }

    fn done(&mut self, number: u64, of: &str) {
        let effect = self.open(number, of);
        self.tell(ended(of, outcome(effect)));
    }

    /// The answer to the look that is asked for at a node.
    fn look(&mut self, number: u64, of: &str, verdict: Verdict) {
        let run = self.run(number);
        let index = run.nodes.iter().position(|node| node.name.as_str() == of).unwrap();
        let round = run.nodes[index].look.as_ref().unwrap().round;
        let results = vec![CheckResult { check: "health".to_string(), verdict }];
        let seen = Seen { version: None, exe_sha256: None, role: Some(Role::Follower), down: false };
        self.tell(Input::Looked { run: number, node: index, round, results, seen });
    }

    fn clear(&mut self, number: u64, of: &str) {
        self.look(number, of, Verdict::Clear);
    }
}

fn outcome(effect: EffectId) -> Outcome {
    let result = SectionResult::Done {};
    Outcome { effect, result, steps: Vec::new(), took: Millis(1), out_of_service: None, evidence: Vec::new() }
}

/// A plan over these nodes: nothing is staged, `health` is the gate, one section changes nothing.
fn plan_over(driver: &Driver<MemoryStore>, names: &[&str], budget: serde_json::Value) -> Plan {
    let file = serde_json::json!({
        "apiVersion": "drydock/v1", "kind": "Plan", "metadata": {"name": "p"},
        "spec": {"budget": budget, "stages": [{
            "name": "s", "component": "thing", "recipe": "thing", "to": "2.0",
            "waves": [{"name": "w", "nodes": {"names": names}}],
        }]},
    });
    let health = serde_json::json!({"health": {"probe": {"tcp": {"address": "127.0.0.1:1"}}}});
    let recipe = serde_json::json!({
        "apiVersion": "drydock/v1", "kind": "Recipe", "metadata": {"name": "thing", "summary": "x"},
        "spec": {"detect": {}, "gate": [health], "apply": [{"nothing": {}}], "returned": [health]},
    });
    let bundle = serde_json::json!({
        "file": "p.yaml", "plan": file, "stages": [{"stage": "s", "recipe": recipe, "artifact": null}],
    });
    let bundle = document::decode("bundle", &document::encode(&bundle)).unwrap();
    let now = Now { clock_ms: 0, wall_ms: 0 };
    plan(&bundle, &driver.inventory(now)).unwrap().0
}

fn usual(driver: &Driver<MemoryStore>, names: &[&str]) -> Plan {
    plan_over(driver, names, serde_json::json!({}))
}

/// `a` is at its change, `b` waits.
fn applying() -> World {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.clear(1, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
    world
}

#[test]
fn a_section_goes_out_only_after_it_is_in_the_store() {
    let world = applying();
    let stored = world.store.load().unwrap();
    assert_eq!(stored.effects.len(), 1);
    assert_eq!(stored.effects[0].effect, world.open(1, "a"));
    let Output::Dispatch { section, .. } = &world.out[0] else { panic!("{:?}", world.out) };
    assert_eq!(section, &stored.effects[0].section, "to the byte");
    let run = rows::read(&stored.runs[0]).unwrap();
    assert_eq!(run.nodes[0].phase, Phase::Applying);
}

#[test]
fn a_store_that_takes_nothing_lets_nothing_out_and_stops_the_driver() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let full = StoreError::Full { path: "x".to_string(), wanted_bytes: 1, free_bytes: 0 };
    world.driver.store.fail_next_commit(full);
    let before = world.run(1).clone();
    let round = before.nodes[0].look.as_ref().unwrap().round;
    let look = || Input::Looked {
        run: 1,
        node: 0,
        round,
        results: vec![CheckResult { check: "health".to_string(), verdict: Verdict::Clear }],
        seen: Seen { version: None, exe_sha256: None, role: None, down: false },
    };
    assert!(matches!(world.driver.handle(look(), world.now), Err(StoreError::Full { .. })));
    assert_eq!(world.run(1), &before, "nothing of it happened");
    assert!(world.driver.has_failed());
    // The disk has room again, but this coordinator does nothing more.
    assert!(world.driver.handle(look(), world.now).is_err());
    assert!(world.store.load().unwrap().effects.is_empty());
}

#[test]
fn a_store_that_somebody_else_took_over_lets_nothing_out() {
    let mut world = World::of(&["a"]);
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.store.reopen().take_over(InstanceId([9; 16])).unwrap();
    let result = world.driver.control(1, ControlVerb::Pause, "bert", world.now);
    assert!(matches!(result, Err(OperatorError::Store(StoreError::TakenOver { .. }))));
    assert!(world.driver.has_failed());
}

#[test]
fn after_a_restart_an_open_effect_is_asked_about_before_anything_is_sent() {
    let mut world = applying();
    let effect = world.open(1, "a");
    world.restart();
    assert_eq!((world.sent().len(), world.asks().len()), (0, 0));
    world.register();
    world.tick(5000);
    assert_eq!(world.sent().len(), 0, "nobody is connected");
    world.connect("b");
    assert_eq!((world.sent().len(), world.asks().len()), (0, 0));
    world.connect("a");
    assert_eq!((world.sent().len(), world.asks()), (0, vec!["a".to_string()]));
    assert_eq!(world.open(1, "a"), effect);
    world.tell(Input::NotKnown { node: name("a"), effect });
    assert_eq!(world.phase(1, "a"), Phase::Staged);
    assert!(world.store.load().unwrap().effects.is_empty());
    world.tick(1000);
    assert_eq!((world.phase(1, "a"), world.sent().len()), (Phase::Gating, 0), "fresh evidence first");
    world.clear(1, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
    assert_eq!(world.open(1, "a"), effect, "the same effect: no operator has decided on another attempt");
}

#[test]
fn a_coordinator_killed_after_every_single_step_still_brings_the_run_to_its_end() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let mut applied: Vec<String> = Vec::new();
    for _ in 0..100 {
        world.restart();
        assert!(world.sent().is_empty(), "a start sends nothing");
        if world.driver.runs.is_empty() {
            break;
        }
        world.register();
        assert!(world.sent().is_empty());
        for of in ["a", "b"] {
            world.connect(of);
            assert!(world.sent().is_empty(), "nothing is sent before the agent has answered");
            for (node, effect) in world
                .out
                .drain(..)
                .filter_map(|output| match output {
                    Output::Ask { node, effect } => Some((node, effect)),
                    _ => None,
                })
                .collect::<Vec<_>>()
            {
                world.tell(ended(node.as_str(), outcome(effect)));
            }
        }
        world.tick(1000);
        let Some(run) = world.driver.runs.get(&1) else { continue };
        let asked = run.nodes.iter().find(|node| node.look.is_some()).map(|node| node.name.to_string());
        if let Some(of) = asked {
            world.clear(1, &of);
        }
        applied.extend(world.sent().into_iter().map(|(node, _)| node));
    }
    assert_eq!(applied, ["a", "b"], "each changed once, one after the other");
    assert!(world.driver.runs.is_empty());
    assert_eq!(world.driver.show(1, world.now).unwrap().status, RunStatus::Done);
    assert!(matches!(world.store.verify_chain().unwrap(), crate::store::record::RecordCheck::Whole { .. }));
}

#[test]
fn a_section_goes_to_the_stream_of_now_and_lapses_where_there_is_none() {
    let mut world = World::of(&["a", "b"]);
    let second = world.connect("a");
    world.tell(Input::Disconnected { node: name("a"), session: second - 2 });
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.clear(1, "a");
    assert!(matches!(world.out[..], [Output::Dispatch { session, .. }] if session == second));

    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.tell(Input::Disconnected { node: name("a"), session: 1 });
    world.clear(1, "a");
    assert_eq!((world.sent().len(), world.phase(1, "a")), (0, Phase::Staged));
    assert!(world.store.load().unwrap().effects.is_empty(), "it was never anybody's");
    let view = world.driver.show(1, world.now).unwrap();
    assert!(view.waiting.unwrap().because.contains("stream is not open"));
}

#[test]
fn an_older_stream_that_is_heard_of_later_does_not_replace_the_newer_one() {
    let mut world = World::of(&["a", "b"]);
    let older = world.agent("a", 10);
    let newer = world.connect("a");
    world.tell(Input::Connected { node: name("a"), agent: Box::new(older) });
    assert_eq!(world.driver.fleet.session(&name("a")), Some(newer));
}

#[test]
fn a_name_that_was_enrolled_again_inherits_nothing() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.nodes[0].1.key = key("another machine");
    world.register();
    let mut agent = world.agent("a", 0);
    agent.key = key("another machine");
    world.tell(Input::Connected { node: name("a"), agent: Box::new(agent) });
    world.clear(1, "a");
    assert_eq!(
        (world.sent().len(), world.phase(1, "a")),
        (0, Phase::Held),
        "the section is for another machine"
    );
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    assert!(hold.happened.contains("another machine was enrolled as a"), "{hold:?}");
}

#[test]
fn an_agent_whose_key_is_not_the_registered_one_is_not_connected() {
    let mut world = World::of(&["a", "b"]);
    world.tell(Input::Disconnected { node: name("a"), session: 1 });
    let mut agent = world.agent("a", 0);
    agent.key = key("thief");
    world.tell(Input::Connected { node: name("a"), agent: Box::new(agent) });
    assert_eq!(world.driver.fleet.session(&name("a")), None);
}

#[test]
fn a_journal_that_held_a_section_and_denies_it_is_an_older_one_and_the_section_is_not_sent_again() {
    for progress in [false, true] {
        let mut world = applying();
        let effect = world.open(1, "a");
        world.tell(if progress {
            Input::Progress { node: name("a"), effect, step: "swapBinary".to_string(), progress: None }
        } else {
            Input::Accepted { node: name("a"), effect }
        });
        // Longer than at the last Hello, and older than what was heard since.
        let agent = Box::new(world.agent("a", 11));
        world.tell(Input::Connected { node: name("a"), agent });
        assert_eq!(world.asks(), ["a"]);
        world.tell(Input::NotKnown { node: name("a"), effect });
        assert_eq!((world.phase(1, "a"), world.run(1).status), (Phase::Held, RunStatus::Held));
        let hold = world.run(1).hold.as_ref().unwrap();
        assert_eq!((hold.kind, world.sent().len()), (drydock_core::hold_kind::HoldKind::Undecidable, 0));
        world.tick(600_000);
        assert_eq!((world.phase(1, "a"), world.sent().len()), (Phase::Held, 0), "a person looks first");
    }
}

#[test]
fn a_restart_remembers_within_seconds_that_a_section_was_accepted() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let stored = |world: &World| rows::read(&world.store.load().unwrap().runs[0]).unwrap();
    let accepted = |run: &Run| run.nodes[0].open.as_ref().unwrap().accepted;
    world.tell(Input::Accepted { node: name("a"), effect });
    assert!(accepted(world.run(1)) && !accepted(&stored(&world)), "it is worth no commit of its own");
    world.tick(CLOCK_WRITTEN_MS);
    assert!(accepted(&stored(&world)));
    world.restart();
    world.register();
    let agent = Box::new(world.agent("a", 11));
    world.tell(Input::Connected { node: name("a"), agent });
    world.tell(Input::NotKnown { node: name("a"), effect });
    assert_eq!((world.phase(1, "a"), world.sent().len()), (Phase::Held, 0));
}

#[test]
fn a_run_that_stops_by_a_word_of_another_kind_is_told_in_the_record() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let deadline = world.run(1).nodes[0].deadline_ms.unwrap();
    world.now.clock_ms = deadline;
    let before = world.store.events(1, 100).unwrap().len();
    // Its deadline is over in the same moment: the run holds by this very word.
    world.tell(Input::Accepted { node: name("a"), effect });
    assert_eq!(world.run(1).status, RunStatus::Held);
    assert_eq!(world.store.events(1, 100).unwrap().len(), before + 1);
}

#[test]
fn words_about_an_effect_count_only_from_the_node_that_has_it() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let before = world.run(1).clone();
    let b = || name("b");
    for input in [
        ended(b().as_str(), outcome(effect)),
        Input::NotKnown { node: b(), effect },
        Input::Declined { node: b(), effect, why: "x".to_string(), lapsed: true },
        Input::Declined { node: b(), effect, why: "x".to_string(), lapsed: false },
        Input::Progress { node: b(), effect, step: "x".to_string(), progress: None },
        Input::NotKnown { node: name("a"), effect: EffectId([9; 32]) },
    ] {
        world.tell(input);
        assert_eq!((world.run(1), world.out.len()), (&before, 0));
    }
    assert!(world.driver.live.get(&1).is_none_or(|live| live.at_step.is_empty()));
}

#[test]
fn looks_of_runs_and_nodes_that_do_not_exist_are_passed_over() {
    let mut world = applying();
    let seen = || Seen { version: None, exe_sha256: None, role: None, down: false };
    for (run, node) in [(1, usize::MAX), (99, 0)] {
        world.tell(Input::Looked { run, node, round: 1, results: Vec::new(), seen: seen() });
        assert!(world.out.is_empty());
    }
}

#[test]
fn a_coordinator_that_is_stopping_hands_out_nothing_and_takes_no_run() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan.clone());
    world.tell(Input::Stopping);
    world.clear(1, "a");
    assert_eq!((world.sent().len(), world.phase(1, "a")), (0, Phase::Staged));
    let result = world.driver.start_run(plan, "anna", false, RunId([7; 16]), world.now);
    assert!(matches!(result, Err(OperatorError::Stopping)));
    world.restart();
    assert_eq!(world.run(1).status, RunStatus::Running);
}

#[test]
fn a_run_over_the_same_nodes_is_queued_and_begins_when_the_other_is_over() {
    let mut world = World::of(&["a", "b", "c"]);
    let (first, second) = (usual(&world.driver, &["a", "b"]), usual(&world.driver, &["b", "c"]));
    world.start(first);
    let refused = world.driver.start_run(second.clone(), "anna", true, RunId([9; 16]), world.now);
    assert!(matches!(refused, Err(OperatorError::WouldQueue(1))));
    assert_eq!(world.start(second), 2);
    assert_eq!((world.run(2).status, world.out.len()), (RunStatus::Queued, 0));
    world.tick(1_000_000);
    assert_eq!(world.run(2).status, RunStatus::Queued);
    world.control(1, ControlVerb::Abort);
    assert_eq!(world.run(2).status, RunStatus::Running);
    assert!(matches!(&world.out[..], [Output::Look(request)] if request.run == 2));
}

#[test]
fn a_queued_run_is_found_again_by_a_coordinator_that_starts_after_the_other_was_closed() {
    let mut world = World::of(&["a", "b"]);
    for _ in 0..2 {
        let plan = usual(&world.driver, &["a", "b"]);
        world.start(plan);
    }
    // The first is closed on disk, and the coordinator dies before it tells the second.
    let mut run = world.run(1).clone();
    run.status = RunStatus::Aborted;
    let row = rows::row(&run, &Unwritten::Everything);
    let commit = Commit { clock_ms: world.now.clock_ms, runs: vec![row], ..Commit::default() };
    world.driver.store.commit(&commit).unwrap();
    world.restart();
    assert_eq!((world.run(2).status, world.run(2).queued_behind), (RunStatus::Running, None));
}

#[test]
fn a_run_that_was_paused_in_the_queue_is_not_stuck_behind_one_that_is_over() {
    let mut world = World::of(&["a", "b"]);
    for _ in 0..2 {
        let plan = usual(&world.driver, &["a", "b"]);
        world.start(plan);
    }
    world.control(2, ControlVerb::Pause);
    world.control(1, ControlVerb::Abort);
    assert_eq!(world.run(2).status, RunStatus::Paused);
    world.control(2, ControlVerb::Resume);
    assert_eq!(world.run(2).status, RunStatus::Running);
}

#[test]
fn a_run_of_another_reducer_is_refused_at_the_start() {
    let mut world = applying();
    let mut run = world.run(1).clone();
    run.reducer = drydock_core::run::REDUCER_VERSION + 1;
    let row = rows::row(&run, &Unwritten::Everything);
    let commit = Commit { clock_ms: world.now.clock_ms, runs: vec![row], ..Commit::default() };
    world.driver.store.commit(&commit).unwrap();
    let mut next = world.store.reopen();
    let fence = next.take_over(InstanceId([9; 16])).unwrap();
    let error = Driver::open(next, fence, world.now).unwrap_err();
    assert!(error.to_string().contains(&format!("reducer {}", run.reducer)), "{error}");
}

#[test]
fn the_record_begins_with_one_start_and_a_run_is_accepted_whole() {
    let mut world = World::of(&["a", "b"]);
    for _ in 0..2 {
        let plan = usual(&world.driver, &["a", "b"]);
        world.start(plan);
    }
    for run in [1, 2] {
        let events = world.store.events(run, 100).unwrap();
        let is_start =
            |row: &&crate::store::EventRow| String::from_utf8_lossy(&row.event).contains(r#""started":{}"#);
        let starts = events.iter().filter(is_start).count();
        assert_eq!(starts, 1, "run {run}, running or queued");
    }
    // Not even a queued run is half accepted.
    let full = StoreError::Full { path: "x".to_string(), wanted_bytes: 1, free_bytes: 0 };
    world.driver.store.fail_next_commit(full);
    let plan = usual(&world.driver, &["a"]);
    assert!(world.driver.start_run(plan, "anna", false, RunId([8; 16]), world.now).is_err());
    assert_eq!((world.driver.runs.len(), world.store.runs(10).unwrap().len()), (2, 2));
}

#[test]
fn the_fleets_clock_is_written_though_nothing_happens() {
    let mut world = applying();
    for _ in 0..6 {
        world.tick(1000);
    }
    assert!(world.store.load().unwrap().clock_ms >= 1_005_000);
}

#[test]
fn looks_that_find_the_same_again_are_not_written() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let mut lines = Vec::new();
    for _ in 0..5 {
        world.look(1, "a", Verdict::Waiting("503".to_string()));
        world.tick(5000);
        lines.push(world.store.events(1, 100).unwrap().len());
    }
    assert_eq!(lines[1..], [lines[0]; 4]);
}

#[test]
fn whatever_is_written_in_parts_is_read_back_as_the_whole_run() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let stored = |world: &World| rows::read(&world.store.run(1).unwrap().unwrap()).unwrap();
    assert_eq!(&stored(&world), world.run(1));
    for why in ["503", "503", "504"] {
        world.look(1, "a", Verdict::Waiting(why.to_string()));
        world.tick(5000);
    }
    // What a look brings again is not worth a commit; the next commit of anything brings it along.
    assert_eq!(&stored(&world), world.run(1), "the clock was written");
    world.look(1, "a", Verdict::Waiting("504".to_string()));
    assert_ne!(&stored(&world), world.run(1));
    world.control(1, ControlVerb::Pause);
    assert_eq!(&stored(&world), world.run(1));
    world.control(1, ControlVerb::Resume);
    world.tick(5000);
    world.clear(1, "a");
    assert_eq!(&stored(&world), world.run(1));
    world.restart();
    world.done(1, "a");
    assert_eq!(&stored(&world), world.run(1));
}

fn zoned(nodes: &[(&str, Option<&str>)]) -> World {
    let label = |text: &str| drydock_types::Label::parse(text).unwrap();
    let node = |(of, zone): &(&str, Option<&str>)| {
        let labels = zone.iter().map(|zone| (label("zone"), label(zone))).collect();
        (name(of), FleetNode { key: key(of), labels })
    };
    World::with(nodes.iter().map(node).collect())
}

fn disrupted(world: &World, run: u64, of: &str) -> Vec<(String, String)> {
    let run = world.run(run);
    let index = run.nodes.iter().position(|node| node.name.as_str() == of).unwrap();
    let found = world.driver.fleet.disrupted_beside(run, index, &world.driver.runs, &world.driver.standings);
    found.into_iter().map(|other| (other.node.to_string(), other.why)).collect()
}

#[test]
fn silent_nodes_count_from_the_first_moment_and_only_in_their_own_domain() {
    let mut world = zoned(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    let plan = plan_over(&world.driver, &["a", "b"], serde_json::json!({"domainLabel": "zone"}));
    world.start(plan);
    assert_eq!(disrupted(&world, 1, "a"), []);
    world.tell(Input::Disconnected { node: name("c"), session: 3 });
    assert_eq!(disrupted(&world, 1, "a"), [], "c is in another zone");
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    assert_eq!(disrupted(&world, 1, "a"), [("b".to_string(), "its agent is silent".to_string())]);
    world.clear(1, "a");
    assert_eq!((world.sent().len(), world.phase(1, "a")), (0, Phase::Gating), "the budget is used up");
    world.connect("b");
    world.tick(500);
    world.clear(1, "a");
    assert_eq!(world.sent().len(), 1);

    let mut world = zoned(&[("a", Some("x")), ("b", Some("x"))]);
    let plan = plan_over(&world.driver, &["a"], serde_json::json!({"domainLabel": "zone"}));
    world.start(plan);
    world.restart();
    world.register();
    world.connect("a");
    assert_eq!(disrupted(&world, 1, "a").len(), 1, "b has not been heard since the start");
}

#[test]
fn whose_domain_is_not_known_counts_in_every_domain() {
    let mut world = zoned(&[("a", Some("x")), ("b", None), ("c", Some("y"))]);
    let plan = plan_over(&world.driver, &["a", "b"], serde_json::json!({"domainLabel": "zone"}));
    world.start(plan);
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    assert_eq!(disrupted(&world, 1, "a").len(), 1, "b may be in x");
    world.tell(Input::Disconnected { node: name("c"), session: 3 });
    assert_eq!(disrupted(&world, 1, "b").len(), 1, "b may be in y");
}

#[test]
fn without_a_domain_label_the_whole_fleet_is_one_domain() {
    let mut world = zoned(&[("a", Some("x")), ("b", Some("y"))]);
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    assert_eq!(disrupted(&world, 1, "a").len(), 1);
}

#[test]
fn nodes_that_this_run_or_another_has_out_count_and_two_runs_share_one_budget() {
    let mut world = World::of(&["a", "b", "c"]);
    let (first, second) = (usual(&world.driver, &["a", "b"]), usual(&world.driver, &["c"]));
    world.start(first);
    world.start(second);
    // Both gates were asked for before either opened.
    world.clear(1, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
    world.clear(2, "c");
    assert_eq!((world.sent().len(), world.phase(2, "c")), (0, Phase::Gating));
    assert_eq!(disrupted(&world, 2, "c"), [("a".to_string(), "run 1 is at it".to_string())]);
    // Held where the change left it, it is still out.
    let effect = world.open(1, "a");
    let mut failed = outcome(effect);
    failed.result = SectionResult::Undecidable { step: "nothing".to_string(), because: "?".to_string() };
    world.tell(ended("a", failed));
    assert_eq!(world.run(1).status, RunStatus::Held);
    assert_eq!(disrupted(&world, 2, "c").len(), 1);
    assert_eq!(disrupted(&world, 1, "b"), [("a".to_string(), "this run has not finished it".to_string())]);
}

#[test]
fn a_run_that_is_over_is_forgotten_by_its_agents_and_never_taken_up() {
    let mut world = World::of(&["a"]);
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.clear(1, "a");
    world.done(1, "a");
    world.clear(1, "a");
    assert!(world.out.is_empty(), "what changed it last is kept: a rollback would want its notes");
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.clear(2, "a");
    world.done(2, "a");
    world.clear(2, "a");
    let told = |out: &[Output]| matches!(out, [Output::Forget { node, effects }, Output::Ask { .. }] if node.as_str() == "a" && effects.len() == 1);
    assert!(told(&world.out), "{:?}", world.out);
    assert!(matches!(
        world.driver.control(1, ControlVerb::Resume, "x", world.now),
        Err(OperatorError::Closed(1))
    ));
    world.restart();
    assert!(world.driver.runs.is_empty());
    assert_eq!(world.driver.list().unwrap()[0].status, RunStatus::Done);
}

#[test]
fn an_open_run_is_listed_however_many_are_newer() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["b"]);
    world.start(plan);
    for _ in 0..101 {
        let plan = usual(&world.driver, &["a"]);
        let number = world.start(plan);
        world.control(number, ControlVerb::Abort);
    }
    let numbers: Vec<u64> = world.driver.list().unwrap().iter().map(|line| line.number).collect();
    let wanted: Vec<u64> = (3..=102).rev().chain([1]).collect();
    assert_eq!(numbers, wanted, "the newest hundred, and what is open, once");
}

#[test]
fn zero_is_the_newest_run_and_a_number_that_never_was_is_said_so() {
    let mut world = World::of(&["a"]);
    assert!(matches!(world.driver.show(0, world.now), Err(OperatorError::NoRun)));
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    assert_eq!(world.driver.show(0, world.now).unwrap().number, 1);
    assert!(matches!(world.driver.show(2, world.now), Err(OperatorError::NoSuchRun(2))));
    assert_eq!(world.driver.inventory(world.now).busy.len(), 1);
    assert_eq!(Version::parse("2.0").unwrap(), world.run(1).plan.stages[0].to);
}
