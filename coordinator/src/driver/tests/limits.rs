//! The limiter, with a planner in front of it that is wrong.

use std::cell::RefCell;

use drydock_core::run::OpenEffect;

use super::*;

thread_local! {
    /// A section of the usual kind.
    static TEMPLATE: RefCell<Option<Section>> = const { RefCell::new(None) };
}

/// Hands out every node's change whenever anything happens, whatever a budget or a gate says, and believes that
/// it is done as soon as its agent says so.
fn everything_at_once(mut run: Run, event: &Event, now: Now) -> (Run, Vec<Effect>) {
    match event {
        Event::Lapsed { effect, .. } => {
            for node in run.nodes.iter_mut().filter(|node| has(node, *effect)) {
                node.open = None;
                node.phase = Phase::Pending;
            }
            return (run, Vec::new());
        }
        Event::Ended { outcome } => {
            for node in run.nodes.iter_mut().filter(|node| has(node, outcome.effect)) {
                node.open = None;
                node.phase = Phase::Done;
            }
        }
        _ => {}
    }
    run.status = RunStatus::Running;
    let mut effects = Vec::new();
    let wants = |node: &&mut NodeRun| node.open.is_none() && node.phase != Phase::Done;
    for node in run.nodes.iter_mut().filter(wants) {
        let effect = EffectId(Sha256::of(node.name.as_str().as_bytes()).0);
        node.open =
            Some(OpenEffect { effect, kind: SectionKind::Apply, sent_ms: now.clock_ms, accepted: false });
        node.effects = vec![effect];
        node.phase = Phase::Applying;
        let mut section = TEMPLATE.with_borrow(|template| template.clone().unwrap());
        (section.effect, section.node, section.run_number) = (effect, node.name.clone(), run.number);
        effects.push(Effect::Dispatch { section: Box::new(section) });
    }
    (run, effects)
}

fn has(node: &NodeRun, effect: EffectId) -> bool {
    node.open.as_ref().is_some_and(|open| open.effect == effect)
}

/// A fleet whose planner is wrong from now on.
fn broken(mut world: World) -> World {
    let section = applying().out.iter().find_map(|output| match output {
        Output::Dispatch { section, .. } => Some(document::decode("section", section).unwrap()),
        _ => None,
    });
    TEMPLATE.set(section);
    world.driver.reducer = everything_at_once;
    world
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

/// Who is out, as the agents would count it: handed out and not reported.
#[derive(Default)]
struct Out {
    now: BTreeMap<String, EffectId>,
    most: usize,
    ever: usize,
}

impl Out {
    fn count(&mut self, world: &World) {
        for output in &world.out {
            if let Output::Dispatch { node, effect, .. } = output {
                self.now.insert(node.to_string(), *effect);
                self.ever += 1;
            }
        }
        self.most = self.most.max(self.now.len());
    }

    fn report(&mut self, world: &mut World) {
        let Some((of, effect)) = self.now.pop_first() else { return };
        world.tell(ended(&of, outcome(effect)));
        self.count(world);
    }
}

#[test]
fn a_planner_that_hands_out_everything_at_once_gets_no_more_out_than_the_budget() {
    for budget in [1_usize, 2, 3] {
        let names = names(9);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = broken(World::of(&names));
        let plan = plan_over(&world.driver, &names, serde_json::json!({"perFailureDomain": budget}));
        let mut out = Out::default();
        world.start(plan);
        out.count(&world);
        for _ in 0..200 {
            // Whatever happens, the planner wants everybody out: a person's click is as good as any event.
            world.control(1, ControlVerb::Pause);
            out.count(&world);
            if world.driver.runs.is_empty() || out.ever == names.len() {
                break;
            }
            out.report(&mut world);
        }
        assert_eq!((out.most, out.ever), (budget, 9), "never more than the budget, and in the end everybody");
    }
}

#[test]
fn runs_that_know_nothing_of_each_other_share_what_the_limiter_counts() {
    let mut world = broken(World::of(&["a", "b", "c"]));
    let mut out = Out::default();
    for of in ["a", "b", "c"] {
        let plan = usual(&world.driver, &[of]);
        world.start(plan);
        out.count(&world);
    }
    assert_eq!((out.most, out.ever), (1, 1));
    // And what was handed out before a restart still counts after it.
    world.restart();
    world.driver.reducer = everything_at_once;
    world.register();
    for of in ["a", "b", "c"] {
        world.connect(of);
        out.count(&world);
    }
    assert_eq!((out.most, out.ever), (1, 1));
}

#[test]
fn a_broken_planner_takes_nobody_out_of_a_frozen_fleet_or_who_is_set_aside() {
    let mut world = broken(World::of(&["a", "b"]));
    world.driver.freeze("bert", "x", world.now).unwrap();
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    assert!(world.sent().is_empty());
    world.driver.thaw("bert", world.now).unwrap();
    world.driver.set_aside(&name("a"), "bert", "x", world.now).unwrap();
    world.control(1, ControlVerb::Pause);
    assert_eq!(world.sent(), [("b".to_string(), SectionKind::Apply)]);
}

#[test]
fn a_broken_planner_takes_nobody_out_beside_one_that_is_silent_or_in_doubt() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let result = SectionResult::Undecidable { step: "x".to_string(), because: "y".to_string() };
    world.tell(ended("a", Outcome { result, ..outcome(effect) }));
    world.control(1, ControlVerb::Abort);
    let mut world = broken(world);
    let plan = usual(&world.driver, &["b"]);
    world.start(plan);
    assert!(world.sent().is_empty(), "a was left in doubt");

    let mut world = broken(World::of(&["a", "b"]));
    world.tell(Input::Disconnected { node: name("a"), session: 1 });
    let plan = usual(&world.driver, &["b"]);
    world.start(plan);
    assert!(world.sent().is_empty(), "a is silent");
}

#[test]
fn no_more_nodes_leave_within_an_hour_than_the_coordinator_lets_out_over_a_restart_too() {
    let mut world = World::of(&["a", "b", "c"]);
    world.driver.limit_departures(Some(2));
    let plan = usual(&world.driver, &["a", "b", "c"]);
    world.start(plan);
    for of in ["a", "b"] {
        world.clear(1, of);
        assert_eq!(world.sent().len(), 1, "{of}");
        world.done(1, of);
        world.clear(1, of);
        world.tick(60_000);
    }
    world.restart();
    world.driver.limit_departures(Some(2));
    world.register();
    for of in ["a", "b", "c"] {
        world.connect(of);
    }
    world.tick(1000);
    world.clear(1, "c");
    assert!(world.sent().is_empty());
    let wait = world.driver.show(1, world.now).unwrap().waiting.unwrap();
    assert_eq!(wait.kind, drydock_core::hold_kind::WaitKind::HourlyLimit);
    assert!(
        wait.because.contains("2 nodes left service within the last hour, and 2 is the most"),
        "{wait:?}"
    );
    // 58 minutes later the first is an hour ago; the run never held.
    world.tick(58 * 60_000);
    world.clear(1, "c");
    assert_eq!(world.sent(), [("c".to_string(), SectionKind::Apply)]);
    assert_eq!(world.driver.fleet_view(world.now).left_within_hour, 2, "b and c");
}
