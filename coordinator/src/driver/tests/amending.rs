//! What operators change in a live run, through the driver.

use super::*;

fn place(text: &str) -> Option<Place> {
    let (stage, wave) = text.split_once('/').unwrap();
    Some((stage.to_string(), wave.to_string()))
}

/// The usual plan over `a` and `b`, with more in its spec and its wave.
fn plan_with(driver: &Driver<MemoryStore>, spec: serde_json::Value, wave: serde_json::Value) -> Plan {
    let health = serde_json::json!({"health": {"probe": {"tcp": {"address": "127.0.0.1:1"}}}});
    let mut waves = serde_json::json!({"name": "w", "nodes": {"names": ["a", "b"]}});
    let mut file = serde_json::json!({
        "apiVersion": "drydock/v1", "kind": "Plan", "metadata": {"name": "p"},
        "spec": {"stages": [{"name": "s", "component": "thing", "recipe": "thing", "to": "2.0"}]},
    });
    let merge = |into: &mut serde_json::Value, from: serde_json::Value| {
        into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    };
    merge(&mut waves, wave);
    file["spec"]["stages"][0]["waves"] = serde_json::json!([waves]);
    merge(&mut file["spec"], spec);
    let recipe = serde_json::json!({
        "apiVersion": "drydock/v1", "kind": "Recipe", "metadata": {"name": "thing", "summary": "x"},
        "spec": {"detect": {}, "gate": [health], "apply": [{"nothing": {}}], "returned": [health]},
    });
    let bundle = serde_json::json!({
        "file": "p.yaml", "plan": file, "stages": [{"stage": "s", "recipe": recipe, "artifact": null}],
    });
    let bundle = document::decode("bundle", &document::encode(&bundle)).unwrap();
    plan(&bundle, &driver.inventory(Now { clock_ms: 0, wall_ms: 0 })).unwrap().0
}

fn world(spec: serde_json::Value, wave: serde_json::Value) -> World {
    let mut world = World::of(&["a", "b"]);
    let plan = plan_with(&world.driver, spec, wave);
    world.start(plan);
    world
}

fn amend(world: &mut World, asked: &Asked, by: &str) -> Result<drydock_core::view::AmendedView, String> {
    match world.driver.amend(1, asked, by, world.now) {
        Ok((view, out)) => {
            world.out = out;
            Ok(view)
        }
        Err(OperatorError::Refused(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_the_plan_does_not_allow_is_refused_by_the_name_of_the_key() {
    let mut world = world(serde_json::json!({"allow": ["extend"]}), serde_json::json!({}));
    let node = || name("a");
    for (asked, key) in [
        (Asked::Skip { node: node() }, "skip"),
        (Asked::Soak { place: None, soak: Millis::secs(1) }, "soak"),
        (Asked::Concurrency { place: None, concurrency: 2 }, "concurrency"),
        (Asked::NoWindow, "window"),
    ] {
        let before = world.run(1).clone();
        let why = amend(&mut world, &asked, "bert").unwrap_err();
        assert!(why.contains(&format!("{key} is not in its spec.allow, which has extend")), "{why}");
        assert_eq!(world.run(1), &before);
    }
}

#[test]
fn an_amended_plan_is_still_amended_after_a_restart() {
    let spec = serde_json::json!({"allow": ["soak", "concurrency", "window"], "budget": {"perFailureDomain": 2},
        "window": {"from": "00:00", "to": "00:00", "timeZone": "UTC"}});
    let mut world = world(spec, serde_json::json!({"soak": "10s"}));
    let accepted = world.run(1).plan.digest;
    let view =
        amend(&mut world, &Asked::Soak { place: place("s/w"), soak: Millis::secs(60) }, "bert").unwrap();
    assert_eq!((view.from, view.nodes.len()), (accepted, 2));
    assert_ne!(view.to, accepted);
    amend(&mut world, &Asked::Concurrency { place: None, concurrency: 2 }, "bert").unwrap();
    amend(&mut world, &Asked::NoWindow, "carl").unwrap();
    let nothing =
        amend(&mut world, &Asked::Soak { place: None, soak: Millis::secs(60) }, "bert").unwrap_err();
    assert!(nothing.contains("changes nothing"), "{nothing}");
    world.restart();
    let run = world.run(1);
    let wave = &run.plan.stages[0].waves[0];
    assert_eq!((wave.soak, wave.concurrency, &run.plan.window), (Millis::secs(60), 2, &None));
    assert_eq!((run.accepted_digest, run.amendments.len()), (accepted, 3));
    let shown = world.driver.show(1, world.now).unwrap();
    assert_eq!(shown.amendments[0].what, "soak of s/w from 10s to 1m");
    assert_eq!((shown.amendments[2].by.as_str(), shown.digest), ("carl", shown.amendments[2].to));
}

#[test]
fn a_wave_waits_for_somebody_else_and_the_proposer_s_own_word_is_no_event() {
    let wanted = serde_json::json!({"approval": {"by": "somebodyElse", "within": "1h"}});
    let mut world = world(serde_json::json!({"allow": ["soak"]}), wanted);
    world.tick(1000);
    let wait = world.driver.show(1, world.now).unwrap().waiting.unwrap();
    let digest = world.run(1).plan.digest;
    assert_eq!(wait.can[0].command, format!("drydock run approve 1 --wave s/w --digest {}", digest.short()));
    let digest = Some(digest);
    let approve = |digest| Asked::Approve { place: None, digest };
    let lines = world.store.events(1, 100).unwrap().len();
    let why = amend(&mut world, &approve(digest), "anna").unwrap_err();
    assert!(why.contains("anna started run 1") && why.contains("somebody else"), "{why}");
    let why = amend(&mut world, &approve(Some(Sha256([9; 32]))), "bert").unwrap_err();
    assert!(why.contains("look at it again"), "{why}");
    assert_eq!(world.store.events(1, 100).unwrap().len(), lines);
    amend(&mut world, &approve(digest), "bert").unwrap();
    assert!(matches!(&world.out[..], [Output::Look(_)]), "{:?}", world.out);
    assert!(world.driver.show(1, world.now).unwrap().approvals[0].stands);
    // An amendment is another plan: the word was for the one before.
    amend(&mut world, &Asked::Soak { place: None, soak: Millis::secs(60) }, "carl").unwrap();
    assert!(!world.run(1).is_approved(0, 0));
    world.tick(5000);
    assert_eq!((world.sent().len(), world.phase(1, "a")), (0, Phase::Staged));
}

#[test]
fn who_approved_a_wave_is_known_after_a_restart_while_the_run_is_open_and_when_it_is_over() {
    let mut world = world(serde_json::json!({}), serde_json::json!({"approval": {"by": "somebodyElse"}}));
    world.tick(1000);
    let digest = Some(world.run(1).plan.digest);
    amend(&mut world, &Asked::Approve { place: None, digest }, "bert").unwrap();
    world.restart();
    let both = ["anna", "bert"].map(str::to_string);
    assert!(world.driver.starters_and_approvers().unwrap().iter().eq(&both));
    world.control(1, ControlVerb::Abort);
    assert!(world.driver.runs.is_empty(), "it is over");
    assert!(world.driver.starters_and_approvers().unwrap().iter().eq(&both));
}

#[test]
fn a_wave_that_wants_no_approval_or_is_over_takes_none() {
    let mut world = world(serde_json::json!({"allow": ["soak"]}), serde_json::json!({}));
    let asked = Asked::Approve { place: place("s/w"), digest: None };
    assert!(amend(&mut world, &asked, "bert").unwrap_err().contains("wants no approval"));
    let asked = Asked::Approve { place: place("s/x"), digest: None };
    assert!(amend(&mut world, &asked, "bert").unwrap_err().contains("it has s/w"));
    world.control(1, ControlVerb::Pause);
    amend(&mut world, &Asked::Soak { place: None, soak: Millis::secs(9) }, "bert").unwrap();
    assert_eq!(world.run(1).status, RunStatus::Paused, "an amendment is no word to go on");
}

#[test]
fn a_node_is_left_out_while_nothing_was_changed_on_it_and_not_after() {
    let mut world = world(serde_json::json!({"allow": ["skip"]}), serde_json::json!({}));
    world.clear(1, "a");
    let why = amend(&mut world, &Asked::Skip { node: name("a") }, "bert").unwrap_err();
    assert!(why.contains("apply section is handed out"), "{why}");
    amend(&mut world, &Asked::Skip { node: name("b") }, "bert").unwrap();
    assert!(
        amend(&mut world, &Asked::Skip { node: name("b") }, "bert").unwrap_err().contains("left out already")
    );
    assert!(
        amend(&mut world, &Asked::Skip { node: name("x") }, "bert").unwrap_err().contains("has no node x")
    );
    world.done(1, "a");
    world.clear(1, "a");
    assert!(world.driver.runs.is_empty(), "nobody is left");
}

#[test]
fn a_held_node_that_is_left_out_lets_the_others_go_on_by_a_word() {
    let mut world = world(serde_json::json!({"allow": ["skip"]}), serde_json::json!({}));
    world.look(1, "a", Verdict::Refused("no".to_string()));
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    let skip = "drydock run skip 1 --node a && drydock run resume 1";
    assert!(hold.next.iter().any(|next| next.command == skip), "{:?}", hold.next);
    amend(&mut world, &Asked::Skip { node: name("a") }, "bert").unwrap();
    assert_eq!(world.run(1).status, RunStatus::Held, "leaving out is no word to go on");
    world.control(1, ControlVerb::Resume);
    world.clear(1, "b");
    assert_eq!(world.sent(), [("b".to_string(), SectionKind::Apply)]);
}

#[test]
fn a_deadline_is_moved_where_there_is_one() {
    let mut world = world(serde_json::json!({"allow": ["extend"]}), serde_json::json!({}));
    let more = |of: &str, more| Asked::Extend { node: name(of), more };
    let why = amend(&mut world, &more("b", Millis::secs(60)), "bert").unwrap_err();
    assert!(why.contains("no deadline"), "{why}");
    let why = amend(&mut world, &more("a", Millis(0)), "bert").unwrap_err();
    assert!(why.contains("no extension"), "{why}");
    world.look(1, "a", Verdict::Waiting("503".to_string()));
    let before = world.run(1).nodes[0].deadline_ms.unwrap();
    amend(&mut world, &more("a", Millis::secs(1800)), "bert").unwrap();
    assert_eq!(world.run(1).nodes[0].deadline_ms, Some(before + 1_800_000));
    let left = before - world.now.clock_ms;
    world.tick(left + 1000);
    assert_eq!(world.run(1).status, RunStatus::Running);
    world.tick(1_800_000);
    assert_eq!(world.run(1).status, RunStatus::Held);
    let why = amend(&mut world, &more("a", Millis::secs(60)), "bert").unwrap_err();
    assert!(why.contains("drydock run resume 1"), "{why}");
}

#[test]
fn a_longer_soak_moves_the_deadline_of_who_soaks_now() {
    let mut world = world(serde_json::json!({"allow": ["soak"]}), serde_json::json!({"soak": "10s"}));
    world.clear(1, "a");
    world.done(1, "a");
    world.clear(1, "a");
    assert_eq!(world.phase(1, "a"), Phase::Soaking);
    let before = world.run(1).nodes[0].deadline_ms.unwrap();
    amend(&mut world, &Asked::Soak { place: None, soak: Millis::secs(3600) }, "bert").unwrap();
    assert_eq!(world.run(1).nodes[0].deadline_ms, Some(before + 3_590_000));
}

/// Rule 7, through the driver: acknowledged is durable, and nothing is handed out behind it.
#[test]
fn a_pause_that_is_acknowledged_is_on_disk_and_nothing_is_handed_out_after_it() {
    let mut world = world(serde_json::json!({}), serde_json::json!({}));
    world.control(1, ControlVerb::Pause);
    let stored = rows::read(&world.store.run(1).unwrap().unwrap()).unwrap();
    assert_eq!((stored.status, stored.stopped_by.as_deref()), (RunStatus::Paused, Some("bert")));
    assert_eq!(stored.stopped, Some(world.now));
    // The answer to a look that was asked for before, ticks, streams, a restart: nothing leaves.
    for _ in 0..5 {
        if world.run(1).nodes[0].look.is_some() {
            world.clear(1, "a");
            assert!(world.sent().is_empty());
        }
        world.tick(60_000);
        assert!(world.sent().is_empty());
        world.connect("a");
        assert!(world.sent().is_empty());
    }
    world.restart();
    assert!(world.sent().is_empty());
    assert_eq!(world.run(1).status, RunStatus::Paused);
}
