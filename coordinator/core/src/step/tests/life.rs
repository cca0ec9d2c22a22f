//! The life of a run in which nothing goes wrong but what a gate is there for.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{Millis, SectionKind, Step, UnitName, Verdict, step::BackupK3s};

use super::world::World;
use crate::{
    inventory::{Role, Seen},
    plan::tests::fixture::*,
    plan_file::Order,
    run::{Effect, Event},
    view::{Phase, RunStatus},
};

use Role::{Follower, Leader};

fn follower() -> Seen {
    seen_old(Follower)
}

fn unknown(why: &str) -> Verdict {
    Verdict::Unknown(why.to_string())
}

#[test]
fn a_run_of_three_members_takes_one_after_another_and_the_leader_last() {
    let mut world = World::usual();
    assert_eq!(
        world.sent(),
        [("ctl-2".to_string(), SectionKind::Stage), ("ctl-3".to_string(), SectionKind::Stage)],
        "the first and one behind it are staged, not the whole fleet"
    );
    world.bring_to_done("ctl-2", Follower);
    world.bring_to_done("ctl-3", Follower);
    world.bring_to_done("ctl-1", Leader);
    assert_eq!(world.run.status, RunStatus::Done);
    assert_eq!(world.run.ended, Some(world.now));
    let forgotten: Vec<_> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Forget { effects } => Some(effects.clone()),
            _ => None,
        })
        .flatten()
        .map(|(node, effects)| (node.to_string(), effects.len()))
        .collect();
    // The second and third needed no snapshot of their own.
    let expected = [("ctl-2", 3), ("ctl-3", 2), ("ctl-1", 2)].map(|(node, many)| (node.to_string(), many));
    assert_eq!(forgotten, expected);
    let from = world.run.nodes.iter().map(|node| node.from.clone());
    assert!(from.into_iter().all(|from| from == Some(version(OLD))));
}

#[test]
fn the_next_node_is_staged_while_this_one_is_at_work_and_its_gate_waits() {
    let mut world = World::usual();
    world.stage_all();
    world.bring_to_soaking("ctl-2", Follower);
    world.pass(9_999);
    world.tell(Event::Tick {});
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Soaking, Phase::Staged));
    world.tick(1);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Done, Phase::Gating));
}

#[test]
fn whoever_leads_at_its_gate_goes_behind_the_others() {
    let mut world = World::usual();
    world.stage_all();
    // Leadership moved from ctl-1 to ctl-2 since the plan was made.
    world.look_clear("ctl-2", seen_old(Leader));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Staged, Phase::Gating));
    assert!(world.node("ctl-2").deferred);
    world.bring_to_done("ctl-3", Follower);
    world.stage_all();
    // By what was seen last both led; who really does is judged at the gate.
    world.look_clear("ctl-2", seen_old(Leader));
    world.look_clear("ctl-1", follower());
    assert_eq!(world.phase("ctl-1"), Phase::Applying, "the snapshot is fresh, so it goes straight on");
    world.done("ctl-1");
    world.look_clear("ctl-1", seen_new(Follower));
    world.tick(10_000);
    world.look_clear("ctl-1", seen_new(Follower));
    world.look_clear("ctl-2", seen_old(Leader));
    assert_eq!(world.phase("ctl-2"), Phase::Applying, "nobody is left to go before it");
}

#[test]
fn leadership_that_moves_at_every_gate_does_not_keep_the_run_for_ever() {
    let mut world = World::usual();
    let mut gates = 0;
    while world.run.status == RunStatus::Running {
        world.stage_all();
        let at = world.run.nodes.iter().find(|node| node.look.is_some()).map(|node| node.name.to_string());
        let Some(at) = at else {
            world.tick(1000);
            continue;
        };
        match world.phase(&at) {
            Phase::Gating => {
                gates += 1;
                assert!(gates < 20, "deferred for ever");
                world.look_clear(&at, seen_old(Leader));
                if world.phase(&at) == Phase::Protecting {
                    world.done(&at);
                    world.look_clear(&at, seen_old(Leader));
                }
                if world.phase(&at) == Phase::Applying {
                    world.done(&at);
                }
            }
            _ => {
                world.pass(1);
                world.look_clear(&at, seen_new(Follower));
            }
        }
    }
    assert_eq!(world.run.status, RunStatus::Done);
}

#[test]
fn a_listed_order_is_kept_though_the_first_one_leads() {
    let mut bundle = bundle(vec![stage("etcd", vec![wave("members", named(&["ctl-1", "ctl-2"]))])]);
    bundle.plan.spec.stages[0].waves[0].order = Order::Listed;
    let mut world = World::of(&bundle, &inventory(2));
    world.tell(Event::Started {});
    world.stage_all();
    world.look_clear("ctl-1", seen_old(Leader));
    assert_eq!(world.phase("ctl-1"), Phase::Protecting);
}

#[test]
fn a_snapshot_is_taken_once_while_it_is_fresh_and_again_when_it_is_not() {
    let mut world = World::usual();
    world.bring_to_done("ctl-2", Follower);
    world.stage_all();
    world.pass(900_000);
    world.tell(Event::Tick {});
    let at = world.phase("ctl-3");
    assert_eq!(at, Phase::Gating);
    world.look_clear("ctl-3", follower());
    assert_eq!(world.phase("ctl-3"), Phase::Protecting, "the snapshot is older than its recipe allows");
}

#[test]
fn what_lies_on_each_node_by_itself_is_secured_there_though_another_ones_is_fresh() {
    let mut bundle = bundle(vec![stage("etcd", vec![wave("members", named(&["ctl-1", "ctl-2"]))])]);
    bundle.stages[0].recipe.spec.protect = vec![Step::BackupK3s(BackupK3s {
        unit: UnitName::parse("k3s.service").unwrap(),
        max_age: Millis::secs(900),
        within: Millis::secs(600),
        external_datastore_backed_up_by: None,
    })];
    bundle.plan.spec.stages[0].waves[0].order = Order::Listed;
    let mut world = World::of(&bundle, &inventory(2));
    world.tell(Event::Started {});
    world.bring_to_done("ctl-1", Follower);
    world.stage_all();
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Protecting, "the backup of ctl-1 holds nothing of ctl-2's");
    world.done("ctl-2");
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Applying, "its own is fresh");
}

#[test]
fn a_snapshot_is_as_old_as_its_section_and_not_as_its_report() {
    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", follower());
    world.pass(600_000);
    world.done("ctl-2");
    assert_eq!(world.run.protected_at_ms.get(&0), Some(&(world.now.clock_ms - 600_000)));
}

#[test]
fn a_second_snapshot_of_a_node_is_another_effect() {
    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", follower());
    let first = world.effect("ctl-2");
    world.done("ctl-2");
    world.pause();
    world.pass(1_000_000);
    world.resume();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Protecting);
    assert_ne!(
        world.effect("ctl-2"),
        first,
        "under the old id the agent would only tell of the old snapshot"
    );
    assert_eq!(world.node("ctl-2").attempt, 1);
}

#[test]
fn a_recipe_without_stage_protect_or_soak_goes_from_gate_to_done() {
    let mut bundle = usual();
    bundle.plan.spec.stages[0].waves[0].soak = Millis(0);
    bundle.stages[0].recipe.spec.stage.clear();
    bundle.stages[0].recipe.spec.protect.clear();
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world.look_clear("ctl-2", follower());
    assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Apply)]);
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Done, Phase::Gating));
}

#[test]
fn waves_and_stages_follow_each_other() {
    let waves = vec![wave("canary", named(&["ctl-3"])), wave("rest", named(&["ctl-2"]))];
    let mut world = World::of(&bundle(vec![stage("etcd", waves)]), &inventory(3));
    world.tell(Event::Started {});
    assert_eq!(world.sent().len(), 1, "nothing is staged beyond the wave");
    world.bring_to_done("ctl-3", Follower);
    assert_eq!(world.phase("ctl-2"), Phase::Staging);
    world.bring_to_done("ctl-2", Follower);
    assert_eq!(world.run.status, RunStatus::Done);
}

#[test]
fn a_node_that_is_there_already_at_its_gate_is_left_out_with_the_reason() {
    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Skipped);
    assert!(world.node("ctl-2").note.contains("already runs 3.5.16"));
    assert_eq!(world.phase("ctl-3"), Phase::Gating);
}

#[test]
fn a_node_with_the_new_answer_and_the_old_executable_is_not_left_out() {
    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", Seen { exe_sha256: Some(old_exe()), ..seen_new(Follower) });
    assert_eq!(world.phase("ctl-2"), Phase::Protecting, "the same version in another build is an upgrade");
}

#[test]
fn a_run_whose_nodes_are_all_left_out_is_done_at_once() {
    let mut fleet = inventory(2);
    for node in fleet.nodes.values_mut() {
        node.seen.insert(label("etcd"), seen_new(Follower));
    }
    let mut world = World::of(&usual(), &fleet);
    world.tell(Event::Started {});
    assert_eq!((world.run.status, world.effects.len()), (RunStatus::Done, 0));
}

#[test]
fn a_gate_that_is_not_clear_lets_nobody_out_and_is_looked_at_less_and_less_often() {
    let mut world = World::usual();
    world.stage_all();
    for (pause, verdict) in [
        (500, Verdict::Waiting("no leader".to_string())),
        (1000, unknown("silent")),
        (2000, Verdict::Waiting("no leader".to_string())),
        (5000, unknown("silent")),
        (5000, unknown("silent")),
    ] {
        world.look("ctl-2", follower(), verdict);
        assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Gating, 0));
        assert_eq!(world.node("ctl-2").waiting.as_ref().unwrap().what, "etcdQuorum");
        world.tick(pause - 1);
        assert_eq!(world.looks().len(), 0);
        world.tick(1);
        assert_eq!(world.looks(), ["ctl-2"]);
    }
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Protecting);
}

#[test]
fn a_check_that_was_not_answered_is_not_clear() {
    let mut world = World::usual();
    world.stage_all();
    for left in 0..2 {
        let mut event = world.clear("ctl-2", follower());
        if let Event::Looked { results, .. } = &mut event {
            results.truncate(left);
        }
        world.tell(event);
        assert_eq!(world.phase("ctl-2"), Phase::Gating);
        assert_eq!(world.node("ctl-2").waiting.as_ref().unwrap().because, "the look brought no answer to it");
        world.tick(5000);
    }
}

#[test]
fn a_version_that_is_not_known_keeps_the_gate_shut_and_a_forbidden_one_holds() {
    let mut world = World::usual();
    world.stage_all();
    for version in [None, Some(Err("refused".to_string()))] {
        world.look_clear("ctl-2", Seen { version, ..follower() });
        assert_eq!(world.phase("ctl-2"), Phase::Gating);
        world.tick(5000);
    }
    world.look_clear("ctl-2", Seen { version: Some(Ok(version("3.6.0"))), ..follower() });
    assert_eq!(world.phase("ctl-2"), Phase::Held);
    assert!(world.run.hold.as_ref().unwrap().happened.contains("do not go down"));
}

#[test]
fn the_budget_counts_everybody_else_and_not_the_node_itself() {
    let mut world = World::usual();
    world.stage_all();
    world.look_disrupted("ctl-2", follower(), &["ctl-2", "db-7"]);
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    let waiting = world.node("ctl-2").waiting.clone().unwrap();
    assert_eq!(waiting.what, "the budget");
    assert!(waiting.because.contains("db-7 (its agent is silent)") && !waiting.because.contains("ctl-2"));
    world.tick(500);
    world.look_disrupted("ctl-2", follower(), &["ctl-2"]);
    assert_eq!(world.phase("ctl-2"), Phase::Protecting);
}

#[test]
fn the_gate_is_judged_again_right_before_the_change() {
    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", follower());
    world.done("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.looks()), (Phase::Rechecking, vec!["ctl-2".to_string()]));
    world.look("ctl-2", follower(), Verdict::Waiting("a member is down".to_string()));
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Rechecking, 0));
    world.tick(500);
    world.look_disrupted("ctl-2", follower(), &["ctl-3"]);
    assert_eq!(world.sent().len(), 0);
    world.tick(1000);
    world.look_clear("ctl-2", follower());
    assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Apply)]);
}

#[test]
fn a_node_is_back_when_its_checks_its_version_and_its_executable_say_so() {
    let mut world = World::without_soak();
    world.bring_to_returning("ctl-2", &follower());
    let cases = [
        (Seen { version: Some(Ok(version(OLD))), ..seen_new(Follower) }, "the version"),
        (Seen { version: Some(Err("refused".to_string())), ..seen_new(Follower) }, "the version"),
        (Seen { version: None, ..seen_new(Follower) }, "the version"),
        (Seen { exe_sha256: Some(old_exe()), ..seen_new(Follower) }, "the running executable"),
        (Seen { exe_sha256: None, ..seen_new(Follower) }, "the running executable"),
    ];
    for (seen, lacks) in cases {
        world.look_clear("ctl-2", seen);
        assert_eq!(world.phase("ctl-2"), Phase::Returning);
        assert_eq!(world.node("ctl-2").waiting.as_ref().unwrap().what, lacks);
        world.tick(5000);
    }
    world.look("ctl-2", seen_new(Follower), unknown("ctl-3 is silent"));
    assert_eq!(world.phase("ctl-2"), Phase::Returning);
    world.tick(5000);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Done);
}

#[test]
fn a_soak_ends_after_its_time_and_only_on_a_clear_look() {
    let mut world = World::usual();
    world.bring_to_soaking("ctl-2", Follower);
    world.tick(1000);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
    world.tick(9000);
    world.look("ctl-2", seen_new(Follower), unknown("silent"));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking, "its time is over, and it is not seen to be well");
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking, "well again: a whole soak begins anew");
    world.tick(9500);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Done);
}

#[test]
fn a_node_that_is_well_and_ill_by_turns_is_held_in_the_end() {
    let mut world = World::usual();
    world.bring_to_soaking("ctl-2", Follower);
    for _ in 0..200 {
        world.tick(2000);
        if world.phase("ctl-2") != Phase::Soaking {
            break;
        }
        world.look("ctl-2", seen_new(Follower), unknown("silent"));
        world.tick(1000);
        if world.phase("ctl-2") != Phase::Soaking {
            break;
        }
        world.look_clear("ctl-2", seen_new(Follower));
    }
    assert_eq!(world.phase("ctl-2"), Phase::Held);
}

#[test]
fn a_node_that_answers_another_version_while_it_soaks_is_not_well() {
    let mut world = World::usual();
    world.bring_to_soaking("ctl-2", Follower);
    world.tick(10_000);
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
    assert_eq!(world.node("ctl-2").waiting.as_ref().unwrap().what, "the version");
}

#[test]
fn an_answer_to_an_older_question_or_one_that_came_too_late_changes_nothing() {
    let mut world = World::usual();
    world.stage_all();
    let old = world.clear("ctl-2", follower());
    world.look("ctl-2", follower(), unknown("silent"));
    world.tick(500);
    let before = world.run.clone();
    world.tell(old);
    assert_eq!(world.run, before);
    let late = world.clear("ctl-2", follower());
    world.pass(30_000);
    world.tell(late);
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    assert_eq!(world.looks(), ["ctl-2"], "the look is taken anew");
    world.look_clear("ctl-2", follower());
    assert_eq!(world.phase("ctl-2"), Phase::Protecting);
}

#[test]
fn a_look_that_nobody_answers_is_taken_again() {
    for soaking in [false, true] {
        let mut world = World::usual();
        if soaking {
            world.bring_to_soaking("ctl-2", Follower);
            world.tick(1000);
        } else {
            world.stage_all();
        }
        assert!(world.node("ctl-2").look.is_some());
        world.tick(29_999);
        assert_eq!(world.looks().len(), 0);
        world.tick(1);
        assert_eq!(world.looks(), ["ctl-2"]);
    }
}

#[test]
fn every_event_again_gives_the_same_run() {
    let mut world = World::usual();
    world.bring_to_done("ctl-2", Follower);
    world.pause();
    world.resume();
    world.bring_to_done("ctl-3", Follower);
    let replayed =
        world.log.iter().fold(world.first.clone(), |run, (event, now)| crate::step::step(run, event, *now).0);
    assert_eq!(replayed, world.run);
}

#[test]
fn the_view_shows_leaders_last_and_counts_what_is_left() {
    let mut world = World::usual();
    world.bring_to_done("ctl-2", Follower);
    let live = crate::run_view::Live::default();
    let view = crate::run_view::view(&world.run, &live, Vec::new(), world.now);
    let names: Vec<_> = view.stages[0].waves[0].nodes.iter().map(|node| node.node.to_string()).collect();
    assert_eq!(names, ["ctl-2", "ctl-3", "ctl-1"]);
    let estimate = view.estimate.unwrap();
    assert_eq!((estimate.per_node_ms, estimate.samples), (10_000, 1));
    assert_eq!(estimate.total_ms, 20_000);
    let line = crate::run_view::line(&world.run);
    assert_eq!((line.done, line.total, line.status), (1, 3, RunStatus::Running));
}
