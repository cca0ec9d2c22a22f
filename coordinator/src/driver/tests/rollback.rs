//! Rollbacks by command, and what agents are told to keep and to forget.

use drydock_core::view::RollbackView;
use drydock_types::{AbsPath, UnitName, outcome::Failure};

use super::*;
use crate::driver::rollback::NotTakenBack;

impl World {
    fn rollback(&mut self, number: u64, only: Option<&str>) -> Result<RollbackView, OperatorError> {
        let id = RunId([u8::try_from(self.driver.last_run).unwrap() + 100; 16]);
        let only = only.map(name);
        let (view, out) = self.driver.rollback(number, only.as_ref(), "bert", id, self.now)?;
        self.out = out;
        Ok(view)
    }

    /// A run over these nodes to its end.
    fn upgraded(&mut self, names: &[&str]) -> u64 {
        let plan = usual(&self.driver, names);
        let number = self.start(plan);
        for of in names {
            self.clear(number, of);
            self.done(number, of);
            self.clear(number, of);
        }
        assert!(!self.driver.runs.contains_key(&number), "run {number} is done");
        number
    }

    fn end(&mut self, number: u64, of: &str, result: SectionResult) {
        let effect = self.open(number, of);
        self.tell(ended(of, Outcome { result, ..outcome(effect) }));
    }

    /// Whom the last outputs tell to forget how many effects, and who is asked behind it.
    fn forgets(&self) -> Vec<(String, usize)> {
        let forget = |output: &Output| match output {
            Output::Forget { node, effects } => Some((node.to_string(), effects.len())),
            _ => None,
        };
        self.out.iter().filter_map(forget).collect()
    }

    /// Every agent that was told to forget says that it has.
    fn answer_forgets(&mut self) {
        for output in std::mem::take(&mut self.out) {
            if let Output::Ask { node, effect } = output {
                self.tell(Input::NotKnown { node, effect });
            }
        }
    }

    /// Effects that are to be forgotten and that nobody has said to be, and those that are kept.
    fn remembered(&self) -> (usize, usize) {
        let rows = self.store.load().unwrap().remembered;
        let kept = rows.iter().filter(|row| row.keeps.is_some()).count();
        (rows.len() - kept, kept)
    }

    fn change_of(&self, number: u64, of: &str) -> EffectId {
        let run = rows::read(&self.store.run(number).unwrap().unwrap()).unwrap();
        run.nodes.iter().find(|node| node.name.as_str() == of).unwrap().last_change.unwrap().effect
    }

    fn undoes(&self) -> Vec<Option<EffectId>> {
        let section = |output: &Output| match output {
            Output::Dispatch { section, .. } => {
                Some(document::decode::<Section>("section", section).unwrap().undoes)
            }
            _ => None,
        };
        self.out.iter().filter_map(section).collect()
    }
}

fn failure() -> Failure {
    Failure { step: "nothing".to_string(), what: "it failed".to_string(), next: vec![], log: vec![] }
}

fn left_alone() -> SectionResult {
    SectionResult::LeftAlone { failure: failure(), because: "the plan says so".to_string() }
}

fn names(view: &RollbackView) -> Vec<&str> {
    view.nodes.iter().map(|node| node.node.as_str()).collect()
}

fn refusal(result: Result<RollbackView, OperatorError>) -> NotTakenBack {
    match result {
        Err(OperatorError::NotTakenBack(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_run_is_taken_back_by_a_new_one_last_out_first_one_at_a_time() {
    let mut world = World::of(&["a", "b"]);
    assert_eq!(world.upgraded(&["a", "b"]), 1);
    let view = world.rollback(1, None).unwrap();
    assert_eq!((view.number, view.undoes, view.aborted, view.queued_behind), (2, 1, false, None));
    assert_eq!(names(&view), ["b", "a"]);
    let changes = [world.change_of(1, "b"), world.change_of(1, "a")];
    for (of, change) in ["b", "a"].into_iter().zip(changes) {
        world.clear(2, of);
        assert_eq!(world.sent(), [(of.to_string(), SectionKind::Undo)]);
        assert_eq!(world.undoes(), [Some(change)]);
        world.done(2, of);
        assert_eq!(world.sent(), [], "the next one waits until it is back");
        world.clear(2, of);
    }
    assert!(world.driver.runs.is_empty());
    let (first, back) = (world.driver.show(1, world.now).unwrap(), world.driver.show(2, world.now).unwrap());
    assert_eq!((first.undone_by, first.undoes), (vec![2], None));
    assert_eq!((back.undoes, back.status), (Some(1), RunStatus::Done));
}

#[test]
fn one_node_of_a_run_is_taken_back_and_the_others_can_be_later() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a", "b"]);
    let view = world.rollback(1, Some("a")).unwrap();
    assert_eq!(names(&view), ["a"]);
    world.clear(2, "a");
    world.done(2, "a");
    world.clear(2, "a");
    let why = refusal(world.rollback(1, Some("a")));
    assert!(matches!(why, NotTakenBack::Nothing(_)), "{why}");
    assert!(why.to_string().contains("a: it is back on what it ran before"), "{why}");
    assert_eq!(names(&world.rollback(1, Some("b")).unwrap()), ["b"]);
    assert_eq!(world.driver.show(1, world.now).unwrap().undone_by, [2, 3]);
}

#[test]
fn a_run_of_which_a_node_was_taken_back_alone_is_taken_back_without_that_node() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a", "b"]);
    world.rollback(1, Some("a")).unwrap();
    world.clear(2, "a");
    world.done(2, "a");
    world.clear(2, "a");
    let view = world.rollback(1, None).unwrap();
    assert_eq!(names(&view), ["b"]);
    let left: Vec<_> = view.left_out.iter().map(|left| (left.node.as_str(), left.why.as_str())).collect();
    assert_eq!(left, [("a", "it is back on what it ran before")]);
    world.clear(3, "b");
    world.done(3, "b");
    world.clear(3, "b");
    let why = refusal(world.rollback(1, None)).to_string();
    assert!(why.contains("nothing to take back") && why.contains("; b: it is back"), "{why}");
}

#[test]
fn what_an_aborted_rollback_left_half_way_is_half_way_for_the_next_one() {
    let mut world = World::of(&["a"]);
    world.upgraded(&["a"]);
    world.rollback(1, None).unwrap();
    world.clear(2, "a");
    world.end(2, "a", left_alone());
    world.control(2, ControlVerb::Abort);
    assert_eq!(names(&world.rollback(1, None).unwrap()), ["a"]);
    assert!(world.run(3).nodes[0].half_way);
    look_at(&mut world, 3, None, Verdict::Refused("it is down".to_string()));
    assert_eq!(
        world.sent(),
        [("a".to_string(), SectionKind::Undo)],
        "its gate would only tell that it is down"
    );
}

#[test]
fn what_a_later_run_changed_and_took_back_again_has_no_notes_left() {
    let mut world = World::of(&["a"]);
    world.upgraded(&["a"]);
    assert_eq!(world.upgraded(&["a"]), 2);
    world.rollback(2, None).unwrap();
    world.clear(3, "a");
    world.done(3, "a");
    world.clear(3, "a");
    let why = refusal(world.rollback(1, None));
    assert!(matches!(why, NotTakenBack::Forgotten { run: 1, .. }), "{why}");
    assert!(why.to_string().contains("told to forget"), "{why}");
}

#[test]
fn an_open_run_is_aborted_first_and_what_became_of_it_is_seen_when_the_turn_comes() {
    let results = [
        (SectionResult::Done {}, Some("b")),
        (left_alone(), Some("b")),
        (SectionResult::Failed { failure: failure() }, Some("a")),
    ];
    for (result, first) in results {
        let mut world = World::of(&["a", "b", "c"]);
        let plan = usual(&world.driver, &["a", "b", "c"]);
        world.start(plan);
        world.clear(1, "a");
        world.done(1, "a");
        world.clear(1, "a");
        world.clear(1, "b");
        let view = world.rollback(1, None).unwrap();
        assert_eq!((view.aborted, view.queued_behind), (true, Some(1)));
        assert_eq!(names(&view), ["b", "a"], "nothing was changed on c");
        assert_eq!((world.run(1).status, world.run(2).status), (RunStatus::Aborting, RunStatus::Queued));
        let done = result == SectionResult::Done {};
        world.end(1, "b", result.clone());
        if done {
            world.clear(1, "b");
        }
        assert!(!world.driver.runs.contains_key(&1));
        assert_eq!(world.run(2).status, RunStatus::Running);
        let looked = world.run(2).nodes.iter().find(|node| node.look.is_some());
        assert_eq!(looked.map(|node| node.name.as_str()), first, "{result:?}");
        let half_way = world.run(2).nodes.iter().any(|node| node.half_way);
        assert_eq!(half_way, result == left_alone());
    }
}

#[test]
fn a_rollback_that_waits_in_the_queue_survives_a_restart_and_still_sees_what_became_of_the_other() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.clear(1, "a");
    world.rollback(1, None).unwrap();
    let effect = world.open(1, "a");
    world.restart();
    world.register();
    world.connect("a");
    world.connect("b");
    world.tell(ended("a", Outcome { result: left_alone(), ..outcome(effect) }));
    assert!(!world.driver.runs.contains_key(&1));
    assert!(world.run(2).nodes.iter().any(|node| node.half_way), "{:?}", world.run(2).status);
}

/// A node was left half-way by a run that was aborted, another one is silent, and the first is to be taken back.
/// What a look sees of it is its unit's process.
fn left_half_way_beside_a_silent_one() -> World {
    let mut world = World::of(&["a", "b"]);
    let mut plan = usual(&world.driver, &["a", "b"]);
    plan.stages[0].recipe.spec.detect.unit = Some("thing.service".parse().unwrap());
    world.start(plan);
    world.clear(1, "a");
    world.end(1, "a", left_alone());
    world.control(1, ControlVerb::Abort);
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    assert_eq!(names(&world.rollback(1, None).unwrap()), ["a"]);
    world
}

/// The same as [`World::look`] at the first node, with the process that runs there, or the word that there is none.
fn look_at(world: &mut World, number: u64, process: Option<Sha256>, verdict: Verdict) {
    let round = world.run(number).nodes[0].look.as_ref().unwrap().round;
    let results = vec![CheckResult { check: "health".to_string(), verdict }];
    let seen = Seen { version: None, exe_sha256: process, role: None, down: process.is_none() };
    world.tell(Input::Looked { run: number, node: 0, round, results, seen });
}

#[test]
fn a_node_that_is_half_way_and_down_is_taken_back_in_its_own_slot_and_its_gate_asks_every_node_of_the_stage()
{
    let mut world = left_half_way_beside_a_silent_one();
    let asked = world.out.iter().find_map(|output| match output {
        Output::Look(request) => Some(request.peers.len()),
        _ => None,
    });
    assert_eq!(asked, Some(2));
    world.driver.freeze("anna", "a storm", world.now).unwrap();
    look_at(&mut world, 2, None, Verdict::Refused("it is down".to_string()));
    assert_eq!(
        world.sent(),
        [("a".to_string(), SectionKind::Undo)],
        "b is out too, and nobody more is for this"
    );
}

#[test]
fn a_node_that_is_half_way_and_serves_leaves_service_by_being_taken_back() {
    let mut world = left_half_way_beside_a_silent_one();
    look_at(&mut world, 2, Some(Sha256([7; 32])), Verdict::Waiting("not well".to_string()));
    assert_eq!((world.sent().len(), world.run(2).nodes[0].phase), (0, Phase::Gating), "its gate is asked");
    world.now.clock_ms += 1000;
    world.tell(Input::Tick);
    // Nothing was seen of its process: it is not known to be down.
    world.look(2, "a", Verdict::Waiting("not well".to_string()));
    assert_eq!((world.sent().len(), world.run(2).nodes[0].phase), (0, Phase::Gating));
    world.now.clock_ms += 1000;
    world.tell(Input::Tick);
    look_at(&mut world, 2, Some(Sha256([7; 32])), Verdict::Clear);
    let because = world.run(2).nodes[0].waiting.as_ref().unwrap().because.clone();
    assert!(world.sent().is_empty() && because.contains('b'), "the budget is full with b: {because}");
    world.connect("b");
    world.driver.freeze("anna", "a storm", world.now).unwrap();
    world.now.clock_ms += 1000;
    world.tell(Input::Tick);
    look_at(&mut world, 2, Some(Sha256([7; 32])), Verdict::Clear);
    assert_eq!((world.sent().len(), world.run(2).nodes[0].phase), (0, Phase::Staged), "a freeze keeps it");
}

#[test]
fn a_run_that_changed_nothing_is_not_taken_back_and_goes_on() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let why = refusal(world.rollback(1, None));
    assert!(why.to_string().contains("changed nothing"), "{why}");
    assert_eq!(world.run(1).status, RunStatus::Running, "a refused rollback aborts nothing");
    let why = refusal(world.rollback(1, Some("z")));
    assert!(why.to_string().contains("no node z"), "{why}");
    assert!(matches!(world.rollback(7, None), Err(OperatorError::NoSuchRun(7))));
}

#[test]
fn what_a_later_run_has_changed_since_is_never_taken_along() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a", "b"]);
    world.upgraded(&["b"]);
    let why = refusal(world.rollback(1, None));
    assert!(
        matches!(&why, NotTakenBack::ChangedSince { later: 2, node, .. } if node.as_str() == "b"),
        "{why}"
    );
    assert!(why.to_string().contains("drydock run rollback 2"), "{why}");
    assert_eq!(names(&world.rollback(1, Some("a")).unwrap()), ["a"]);

    // Also while the later one is open, and while a rollback of the same run is.
    let why = refusal(world.rollback(1, Some("a")));
    assert!(matches!(why, NotTakenBack::Wanted { other: 3, .. }), "{why}");
    assert!(why.to_string().contains("takes run 1 back already"), "{why}");
}

#[test]
fn a_rollback_of_another_machine_of_the_same_name_is_refused() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a", "b"]);
    world.nodes[0].1.key = key("another machine");
    world.register();
    let why = refusal(world.rollback(1, None));
    assert!(matches!(&why, NotTakenBack::AnotherMachine { node, .. } if node.as_str() == "a"), "{why}");
    assert_eq!(names(&world.rollback(1, Some("b")).unwrap()), ["b"]);
}

#[test]
fn the_last_change_is_kept_until_a_later_run_changed_the_component_or_took_it_back() {
    let mut world = World::of(&["a"]);
    world.upgraded(&["a"]);
    assert_eq!((world.remembered(), world.forgets().len()), ((0, 1), 0), "its notes are kept");
    let first = world.change_of(1, "a");
    // A later run that changes nothing there leaves it.
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.control(2, ControlVerb::Abort);
    assert_eq!(world.remembered(), (0, 1));
    world.upgraded(&["a"]);
    assert_eq!((world.remembered(), world.forgets()), ((1, 1), vec![("a".to_string(), 1)]));
    assert!(
        matches!(&world.out[..], [Output::Forget { effects, .. }, Output::Ask { .. }] if effects == &[first])
    );
    world.answer_forgets();
    assert_eq!(world.remembered(), (0, 1));
    // Taken back: neither the change nor its undo is needed any more.
    world.rollback(3, None).unwrap();
    world.clear(4, "a");
    world.done(4, "a");
    world.clear(4, "a");
    assert_eq!((world.remembered(), world.forgets()), ((2, 0), vec![("a".to_string(), 2)]));
    world.answer_forgets();
    assert_eq!(world.remembered(), (0, 0));
}

#[test]
fn what_nothing_tells_the_end_of_is_not_kept_and_neither_is_what_came_before() {
    let mut world = World::of(&["a"]);
    world.upgraded(&["a"]);
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.clear(2, "a");
    world.end(2, "a", SectionResult::Undecidable { step: "nothing".to_string(), because: "?".to_string() });
    world.control(2, ControlVerb::Abort);
    assert_eq!(world.remembered(), (2, 0));
}

#[test]
fn an_agent_that_was_away_is_told_to_forget_when_it_is_back_and_until_it_has() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a"]);
    // Its next change ends while it is away from the moment of the end on.
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.clear(2, "a");
    world.done(2, "a");
    let session = world.driver.fleet.session(&name("a")).unwrap();
    world.tell(Input::Disconnected { node: name("a"), session });
    world.clear(2, "a");
    assert!(world.driver.runs.is_empty());
    assert_eq!((world.forgets().len(), world.remembered()), (0, (1, 1)));
    world.restart();
    world.register();
    assert_eq!(world.remembered(), (1, 1), "it is in the store");
    world.connect("b");
    assert_eq!(world.forgets(), []);
    for _ in 0..2 {
        world.connect("a");
        assert_eq!(world.forgets(), [("a".to_string(), 1)], "told again until it says that it has");
    }
    world.answer_forgets();
    assert_eq!(world.remembered(), (0, 1));
    world.connect("a");
    assert_eq!(world.forgets(), []);
}

#[test]
fn an_answer_that_nobody_asked_for_or_of_another_machine_forgets_nothing() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a"]);
    world.upgraded(&["a"]);
    let effect = world.change_of(1, "a");
    world.tell(Input::NotKnown { node: name("b"), effect });
    world.tell(Input::NotKnown { node: name("a"), effect: EffectId([9; 32]) });
    assert_eq!(world.remembered(), (1, 1));
    // What is kept is kept, whatever an agent says of it.
    let kept = world.change_of(2, "a");
    world.tell(Input::NotKnown { node: name("a"), effect: kept });
    assert_eq!(world.remembered(), (1, 1));
    world.tell(Input::NotKnown { node: name("a"), effect });
    assert_eq!(world.remembered(), (0, 1));
}

#[test]
fn what_the_journal_of_a_node_holds_that_is_registered_no_longer_is_of_no_concern() {
    let mut world = World::of(&["a", "b"]);
    world.upgraded(&["a", "b"]);
    assert_eq!(world.remembered(), (0, 2));
    world.nodes.remove(0);
    world.register();
    assert_eq!(world.remembered(), (0, 1));
}

#[test]
fn a_version_that_was_taken_back_is_quarantined_and_one_that_failed_is_not_tried_again_unasked() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.clear(1, "a");
    world.end(1, "a", SectionResult::Undone { failure: failure() });
    world.clear(1, "a");
    assert_eq!((world.run(1).status, world.phase(1, "a")), (RunStatus::Held, Phase::RolledBack));
    // Resumed without a release it holds again at once, with that reason.
    world.control(1, ControlVerb::Resume);
    world.clear(1, "a");
    assert_eq!(world.run(1).status, RunStatus::Held);
    let hold = world.run(1).hold.as_ref().unwrap();
    assert!(hold.happened.contains("thing 2.0 is quarantined on a since run 1"), "{hold:?}");
    assert!(hold.happened.contains("drydock node release a"), "{hold:?}");

    let mut world = World::of(&["a"]);
    world.upgraded(&["a"]);
    world.rollback(1, None).unwrap();
    world.clear(2, "a");
    world.done(2, "a");
    world.clear(2, "a");
    let standing = world.driver.standings.of(key("a")).unwrap();
    let bad: Vec<_> = standing.quarantined.iter().map(|bad| (bad.version.to_string(), bad.run)).collect();
    assert_eq!(bad, [("2.0".to_string(), 2)]);
    world.restart();
    assert!(world.driver.standings.of(key("a")).is_some(), "it is remembered");
}

/// Two nodes upgraded by a change that they confirmed themselves, and what a rollback by command says to that.
fn confirmed_by_its_nodes(recipe: &str, known: bool) -> (World, drydock_core::plan::undo::Confirmed) {
    let mut world = World::of(&["a", "b"]);
    let mut plan = usual(&world.driver, &["a", "b"]);
    let spec = &mut plan.stages[0].recipe;
    spec.metadata.name = recipe.parse().unwrap();
    spec.spec.detect.unit = Some(UnitName::parse("thing.service").unwrap());
    spec.spec.detect.path = Some(AbsPath::parse("/opt/thing/bin/thing").unwrap());
    let witness = vec!["10.0.0.1:22".to_string(), "*:22".to_string()];
    spec.spec.commit_confirmed =
        Some(drydock_types::section::CommitConfirmed { within: Millis::secs(30), witness });
    let number = world.start(plan);
    for (index, of) in ["a", "b"].into_iter().enumerate() {
        // What answers at the gate is what a plan back names.
        let round = world.run(number).nodes[index].look.as_ref().unwrap().round;
        let results = vec![CheckResult { check: "health".to_string(), verdict: Verdict::Clear }];
        let version = known.then(|| Ok(Version::parse("1.0").unwrap()));
        let seen = Seen { version, exe_sha256: None, role: None, down: false };
        world.tell(Input::Looked { run: number, node: index, round, results, seen });
        world.done(number, of);
        world.clear(number, of);
    }
    let sent = world.store.load().unwrap().effects.len();
    let refused = refusal(world.rollback(number, None));
    assert_eq!(world.store.load().unwrap().effects.len(), sent, "nothing was begun");
    assert_eq!(world.driver.last_run, number, "there is no run that would hold at the agent's refusal");
    match refused {
        NotTakenBack::Nothing(drydock_core::plan::undo::UndoError::Confirmed(why)) => (world, *why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_that_its_nodes_confirmed_is_not_taken_back_by_command_and_the_plan_that_goes_back_can_be_read() {
    let (mut world, why) = confirmed_by_its_nodes("drydock-agent", true);
    assert_eq!(why.nodes, [name("a"), name("b")]);
    assert!(!why.open && !why.others, "{why:?}");
    let told = why.to_string();
    for word in ["commitConfirmed", "drydock rehearse back-1.yaml", "drydock run start back-1.yaml --wait"] {
        assert!(told.contains(word), "{told}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("back-1.yaml");
    std::fs::write(&path, &why.plan).unwrap();
    let read = crate::files::load_plan(&path).unwrap_or_else(|wrong| panic!("{wrong}\n{}", why.plan));
    let stage = &read.plan.spec.stages[0];
    assert!(stage.allow_downgrade && stage.with.contains_key("witness"), "{stage:?}");
    for given in ["unit", "path"] {
        assert!(
            stage.with.contains_key(given),
            "{given} as it was in the run, and not the recipe's own: {stage:?}"
        );
    }
    assert_eq!(stage.to.to_string(), "1.0");
    assert_eq!(stage.waves[0].nodes.names, [name("a"), name("b")]);

    // Of one node alone the same is said, of that node.
    let NotTakenBack::Nothing(one) = refusal(world.rollback(1, Some("b"))) else {
        panic!("refused otherwise")
    };
    let one = one.to_string();
    assert!(one.contains("names: [b]") && !one.contains("names: [a"), "{one}");
}

#[test]
fn where_the_recipe_is_the_operators_own_the_plan_says_what_is_to_be_put_in() {
    let (_, why) = confirmed_by_its_nodes("mine", false);
    assert!(why.plan.contains("recipe: mine   # as in the plan of run 1"), "{}", why.plan);
    // What ran before is not known: a file that was not filled in is refused with the place.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("back-1.yaml");
    std::fs::write(&path, &why.plan).unwrap();
    let wrong = crate::files::load_plan(&path).unwrap_err().to_string();
    assert!(wrong.contains("VERSION") && wrong.contains("put it in"), "{wrong}");
}
