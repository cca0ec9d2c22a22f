//! Moves: in front of them the store and the limiter, and nothing is moved by whom agents do not obey.

use drydock_core::moves::{Doing, KubernetesDrain, Move, MoveEnd};

use super::*;

fn drained(world: &World, names: &[&str]) -> Plan {
    let mut plan = usual(&world.driver, names);
    plan.stages[0].recipe.spec.drain = vec![Move::KubernetesDrain(KubernetesDrain::default())];
    plan
}

impl World {
    fn orders(&self) -> Vec<(String, Option<Doing>)> {
        let order = |output: &Output| match output {
            Output::Move(request) => Some((request.order.name.to_string(), request.order.doing)),
            _ => None,
        };
        self.out.iter().filter_map(order).collect()
    }

    /// All clear at a gate, the drain too.
    fn gate(&mut self, number: u64, of: &str) {
        let run = self.run(number);
        let node = run.nodes.iter().position(|node| node.name.as_str() == of).unwrap();
        let round = run.nodes[node].look.as_ref().unwrap().round;
        let clear = |check: &str| CheckResult { check: check.to_string(), verdict: Verdict::Clear };
        let results = vec![clear("health"), clear("kubernetesDrain")];
        let seen = Seen { version: None, exe_sha256: None, role: None, down: false };
        self.tell(Input::Looked { run: number, node, round, results, seen });
    }

    fn moving(&self, number: u64, of: &str) -> EffectId {
        let node = self.run(number).nodes.iter().find(|node| node.name.as_str() == of).unwrap();
        node.moving.as_ref().unwrap().effect
    }

    fn moved(&mut self, number: u64, of: &str, end: MoveEnd) {
        let effect = self.moving(number, of);
        self.tell(Input::Moved { run: number, effect, end });
    }
}

fn leaves(of: &str) -> Vec<(String, Option<Doing>)> {
    vec![(of.to_string(), Some(Doing::Leave))]
}

/// `a` is being emptied, `b` waits.
fn draining() -> World {
    let mut world = World::of(&["a", "b"]);
    let plan = drained(&world, &["a", "b"]);
    world.start(plan);
    world.gate(1, "a");
    assert_eq!(world.orders(), leaves("a"));
    world
}

#[test]
fn a_node_is_moved_only_after_the_store_says_so_and_its_gate_is_asked_about_the_move() {
    let mut world = World::of(&["a"]);
    let plan = drained(&world, &["a"]);
    world.start(plan);
    let asked = world.out.iter().find_map(|output| match output {
        Output::Look(request) => Some((request.moves.len(), request.drained)),
        _ => None,
    });
    assert_eq!(asked, Some((1, false)));
    world.gate(1, "a");
    let run = rows::read(&world.store.load().unwrap().runs[0]).unwrap();
    assert_eq!((run.nodes[0].phase, run.nodes[0].marked), (Phase::Draining, true));
    assert_eq!(world.driver.marked_by(key("a")), Some(1));
    world.moved(1, "a", MoveEnd::Left { seen: "no pod is left there".to_string() });
    let asked = world.out.iter().find_map(|output| match output {
        Output::Look(request) => Some((request.moves.len(), request.drained)),
        _ => None,
    });
    assert_eq!(asked, Some((1, true)));
    world.gate(1, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
}

#[test]
fn what_the_limiter_counts_keeps_a_node_from_being_moved_and_nothing_is_marked() {
    let mut world = World::of(&["a", "b", "c"]);
    let plan = drained(&world, &["a"]);
    world.start(plan);
    // Of another run's node nothing has been heard: the gate that is answered here does not know of it.
    let other = usual(&world.driver, &["b"]);
    world.start(other);
    world.clear(2, "b");
    assert_eq!(world.sent().len(), 1);
    world.driver.reducer = |mut run, event, now| {
        // A planner that has no budget.
        if let Event::Looked { .. } = event {
            std::sync::Arc::make_mut(&mut run.plan).budget.per_failure_domain = 9;
        }
        let (mut run, effects) = step(run, event, now);
        std::sync::Arc::make_mut(&mut run.plan).budget.per_failure_domain = 1;
        (run, effects)
    };
    // Evidence that is older than a departure is taken anew.
    world.tick(1000);
    world.gate(1, "a");
    for _ in 0..3 {
        if world.run(1).nodes[0].look.is_some() {
            world.gate(1, "a");
        }
        assert_eq!(world.orders(), Vec::new());
        world.tick(1000);
    }
    let node = &world.run(1).nodes[0];
    assert!(!node.marked && node.moves > 0, "{node:?}");
    assert!(node.waiting.as_ref().unwrap().because.contains("the limiter counts b"), "{:?}", node.waiting);
}

#[test]
fn a_pause_is_answered_when_the_drain_is_told_to_stop() {
    let mut world = draining();
    world.control(1, ControlVerb::Pause);
    assert_eq!(world.orders(), [("a".to_string(), None)]);
    let run = rows::read(&world.store.load().unwrap().runs[0]).unwrap();
    assert_eq!((run.status, run.nodes[0].marked), (RunStatus::Paused, true));
}

#[test]
fn whom_agents_do_not_obey_moves_nothing_further() {
    let mut world = draining();
    world.tell(Input::Fenced { by: Fence { epoch: Epoch(99), instance: InstanceId([9; 16]) } });
    assert_eq!(world.orders(), [("a".to_string(), None)]);
    let mut world = draining();
    world.tell(Input::Stopping);
    assert_eq!(world.orders(), [("a".to_string(), None)]);
}

#[test]
fn after_a_restart_a_node_that_was_being_emptied_stands_at_its_gate_and_nothing_is_moved_before_that_opens() {
    let mut world = draining();
    world.restart();
    assert_eq!(world.orders(), Vec::new());
    world.register();
    world.connect("a");
    world.connect("b");
    world.tick(1000);
    assert_eq!((world.phase(1, "a"), world.orders()), (Phase::Gating, Vec::new()));
    assert!(world.run(1).nodes[0].marked, "and it counts as out of service");
    world.gate(1, "a");
    assert_eq!(world.orders(), leaves("a"));
}

#[test]
fn a_run_is_over_only_when_what_it_has_marked_is_given_back() {
    let mut world = draining();
    world.control(1, ControlVerb::Abort);
    assert_eq!(world.orders(), [("a".to_string(), None), ("a".to_string(), Some(Doing::GiveBack))]);
    assert!(world.driver.runs.contains_key(&1));
    world.moved(1, "a", MoveEnd::GivenBack { seen: "it is uncordoned".to_string() });
    assert!(!world.driver.runs.contains_key(&1));
}

#[test]
fn a_freeze_ends_a_drain_at_once_and_says_why() {
    let mut world = draining();
    let (_, out) = world.driver.freeze("anna", "the core router", world.now).unwrap();
    world.out = out;
    assert_eq!(world.orders(), [("a".to_string(), None)]);
    let node = &world.run(1).nodes[0];
    assert!(node.marked && node.moving.is_none(), "{node:?}");
    assert!(node.waiting.as_ref().unwrap().because.contains("the core router"), "{:?}", node.waiting);
    // Of a node that is set aside nothing is moved either, and others go on.
    let mut world = draining();
    assert!(world.driver.set_aside(&name("b"), "anna", "disk", world.now).unwrap().1.is_empty());
    let (_, out) = world.driver.set_aside(&name("a"), "anna", "disk", world.now).unwrap();
    world.out = out;
    assert_eq!(world.orders(), [("a".to_string(), None)]);
}

#[test]
fn a_mark_that_a_run_leaves_stands_on_record_and_counts_until_it_is_taken_back() {
    let mut world = draining();
    world.control(1, ControlVerb::Abort);
    world.moved(1, "a", MoveEnd::Refused { why: "nodes is forbidden".to_string() });
    assert!(!world.driver.runs.contains_key(&1), "an abort does not wait for what is refused");
    let standing = world.driver.standings.of(key("a")).unwrap().clone();
    assert_eq!(standing.marks.len(), 1);
    assert_eq!((world.driver.marked_by(key("a")), world.driver.marked_by(key("b"))), (Some(1), None));
    assert!(standing.lines()[0].contains("drydock node release a --marks"), "{:?}", standing.lines());
    // Over a restart, and against every other run.
    world.restart();
    world.register();
    world.connect("a");
    world.connect("b");
    let plan = usual(&world.driver, &["b"]);
    let number = world.start(plan);
    world.clear(number, "b");
    assert!(world.sent().is_empty());
    let waiting = world.run(number).nodes[0].waiting.clone().unwrap();
    assert!(waiting.because.contains("run 1 left it marked as leaving service"), "{waiting:?}");
    let release = drydock_core::standing::Release { marks: true, ..Default::default() };
    world.driver.release(&name("a"), &release, "anna", world.now).unwrap();
    world.tick(1000);
    world.clear(number, "b");
    assert_eq!(world.sent(), [("b".to_string(), SectionKind::Apply)]);
}

#[test]
fn a_node_that_leaves_by_moves_makes_what_was_seen_before_it_old() {
    let mut world = World::of(&["a", "b"]);
    let plan = |world: &World, of: &str| {
        let mut plan = drained(world, &[of]);
        plan.budget.per_failure_domain = 2;
        plan
    };
    let (first, second) = (plan(&world, "a"), plan(&world, "b"));
    world.start(first);
    world.start(second);
    world.gate(1, "a");
    assert_eq!(world.orders(), leaves("a"));
    // Asked for before that.
    world.gate(2, "b");
    assert_eq!(world.orders(), Vec::new());
    assert_eq!(world.phase(2, "b"), Phase::Gating);
    world.tick(1000);
    world.gate(2, "b");
    assert_eq!(world.orders(), leaves("b"));
}
