//! What keeps the next node of a wave in service: a window that is shut, an approval that nobody gave.

use alloc::{
    format,
    string::{String, ToString},
    vec,
};

use drydock_types::Millis;

use super::world::World;
use crate::{
    Now,
    bundle::Bundle,
    inventory::Role,
    plan::tests::fixture::*,
    plan_file::{Allow, ApprovalBy, ApprovalSpec, Day, TimeOfDay, WindowSpec},
    run::{Change, Event, WaitFor},
    run_view::{self, Live},
    view::{Phase, RunStatus, WaitingView},
};

/// 2026-11-28, a Saturday, at this time in UTC.
fn saturday(hour: u64, minute: u64) -> u64 {
    1_795_824_000_000 + (hour * 60 + minute) * 60_000
}

/// The usual run on a Saturday, with this window (UTC), its nodes foreseen to take ten minutes.
fn windowed(from: &str, to: &str, now_ms: u64) -> World {
    let mut bundle = usual();
    let time = |text| TimeOfDay::parse(text).unwrap();
    let (from, to, days, time_zone) = (time(from), time(to), vec![Day::Sat], "UTC".to_string());
    bundle.plan.spec.window = Some(WindowSpec { days, from, to, time_zone });
    bundle.plan.spec.allow = vec![Allow::Window, Allow::Soak];
    begin(&bundle, now_ms)
}

fn begin(bundle: &Bundle, now_ms: u64) -> World {
    let mut world = World::of(bundle, &inventory(3));
    world.now = Now { wall_ms: now_ms, ..world.now };
    world.run.planned_ms.insert(0, 600_000);
    world.first = world.run.clone();
    world.tell(Event::Started {});
    world
}

fn approved(by: ApprovalBy) -> World {
    let mut bundle = usual();
    let within = Millis::secs(3600);
    bundle.plan.spec.stages[0].waves[0].approval = Some(ApprovalSpec { by, within });
    bundle.plan.spec.allow = vec![Allow::Soak];
    begin(&bundle, saturday(12, 0))
}

fn approve(world: &mut World, by: &str) {
    world.tell(Event::Approved { by: by.to_string(), stage: 0, wave: 0 });
}

fn why(world: &World) -> WaitingView {
    run_view::view(&world.run, &Live::default(), vec![], world.now).waiting.unwrap()
}

fn opens(world: &World) -> (Option<u64>, String) {
    match &world.run.waiting.as_ref().unwrap().what {
        WaitFor::Window { opens_ms, because } => (*opens_ms, because.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn outside_the_window_nodes_are_staged_and_nobody_leaves_service() {
    let mut world = windowed("22:00", "04:00", saturday(12, 0));
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    assert_eq!(opens(&world), (Some(saturday(22, 0)), "it opens sat 2026-11-28 22:00 (UTC)".to_string()));
    let why = why(&world);
    assert_eq!((why.since_unix_ms, why.left_ms), (saturday(12, 0), Some(10 * 3600 * 1000)));
    assert!(why.can.iter().any(|it| it.command == "drydock run amend 12 window=none"), "{:?}", why.can);
    // The wall clock is read again at least every 30 s, and nothing else happens.
    assert_eq!(world.run.next_wake_ms(), Some(world.now.clock_ms + 30_000));
    for _ in 0..20 {
        world.tick(30_000);
        assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Running, Phase::Staged));
    }
    assert_eq!(world.run.waiting.as_ref().unwrap().since.wall_ms, saturday(12, 0));
}

#[test]
fn it_begins_when_the_window_opens_to_the_millisecond() {
    let mut world = windowed("22:00", "04:00", saturday(21, 59) + 50_000);
    world.stage_all();
    assert_eq!(world.run.next_wake_ms(), Some(world.now.clock_ms + 10_000));
    world.tick(9_999);
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    world.tick(1);
    assert_eq!((world.phase("ctl-2"), &world.run.waiting), (Phase::Gating, &None));
}

#[test]
fn a_node_that_would_not_be_done_before_it_shuts_is_not_begun() {
    let mut world = windowed("12:00", "13:00", saturday(12, 50) + 1);
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    let (opens_ms, because) = opens(&world);
    assert_eq!(opens_ms, Some(saturday(12, 0) + 7 * 24 * 3600 * 1000));
    assert_eq!(because, "it shuts sat 2026-11-28 13:00 (UTC), and a node takes about 10m");
    let mut world = windowed("12:00", "13:00", saturday(12, 50));
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn a_node_at_its_gate_stays_when_the_window_shuts_and_one_that_was_changed_comes_to_its_end() {
    let mut world = windowed("12:00", "13:00", saturday(12, 0));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.pass(3_600_000);
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Role::Follower));
    world.tick(10_000);
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Done, Phase::Staged));
    // And one that stood at its gate.
    let mut world = windowed("12:00", "13:00", saturday(12, 0));
    world.stage_all();
    let answer = world.clear("ctl-2", seen_old(Role::Follower));
    world.now.wall_ms = saturday(13, 0);
    world.tell(answer);
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Staged, RunStatus::Running));
    assert!(world.sent().is_empty());
}

#[test]
fn a_node_that_was_protected_and_finds_the_window_shut_goes_back() {
    let mut world = windowed("12:00", "13:00", saturday(12, 45));
    world.stage_all();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Protecting);
    // What it takes is longer than what is left, but it has begun.
    world.pass(10 * 60_000);
    world.done("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Rechecking);
    world.pass(5 * 60_000);
    world.tell(Event::Tick {});
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    assert_eq!(opens(&world).0, Some(saturday(12, 0) + 7 * 24 * 3600 * 1000));
}

#[test]
fn a_wall_clock_that_jumps_moves_no_deadline_and_what_it_shows_is_judged_anew() {
    let mut world = windowed("22:00", "04:00", saturday(21, 0));
    world.stage_all();
    // An hour ahead: it seems to be open, and the clock says so for as long as it is believed.
    world.now.wall_ms = saturday(22, 0);
    world.tick(30_000);
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    let deadline_ms = world.node("ctl-2").deadline_ms;
    // And back: the node at its gate stays in service, and its wait is visible again.
    world.now.wall_ms = saturday(21, 1);
    world.tell(Event::Tick {});
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    assert_eq!(opens(&world).0, Some(saturday(22, 0)));
    assert!(deadline_ms.is_some_and(|at| at > world.now.clock_ms), "{deadline_ms:?}");
}

#[test]
fn a_window_that_is_never_open_for_as_long_as_a_node_takes_holds_the_run() {
    let mut world = windowed("12:00", "12:09", saturday(11, 0));
    world.stage_all();
    assert_eq!(world.reason(), "the window is too short for a node of wave etcd/members");
    let hold = world.run.hold.clone().unwrap();
    assert_eq!(hold.happened, "sat 12:00 to 12:09 (UTC) is open for 9m, and a node is foreseen to take 10m");
    assert!(hold.node.is_none());
    // Without the window it goes on.
    world.tell(Event::Amended { by: "bert".to_string(), change: Change::NoWindow {} });
    world.resume();
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn nobody_begins_before_the_wave_is_approved() {
    let mut world = approved(ApprovalBy::Anybody);
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    let why = why(&world);
    assert_eq!(why.left_ms, Some(3_600_000));
    let approve_it =
        format!("drydock run approve 12 --wave etcd/members --digest {}", world.run.plan.digest.short());
    assert!(why.can.iter().any(|it| it.command == approve_it), "{:?}", why.can);
    approve(&mut world, "anna");
    assert_eq!((world.phase("ctl-2"), &world.run.waiting), (Phase::Gating, &None));
}

#[test]
fn who_started_the_run_is_not_somebody_else() {
    let mut world = approved(ApprovalBy::SomebodyElse);
    world.stage_all();
    approve(&mut world, "anna");
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    approve(&mut world, "bert");
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn an_approval_that_nobody_gives_holds_the_run_and_resuming_waits_anew() {
    let mut world = approved(ApprovalBy::Anybody);
    world.stage_all();
    world.tick(3_599_999);
    assert_eq!(world.run.status, RunStatus::Running);
    world.tick(1);
    assert_eq!(world.reason(), "nobody approved wave etcd/members within 1h");
    let again = world.now.clock_ms + 5000;
    world.pass(5000);
    world.resume();
    assert_eq!(world.run.status, RunStatus::Running);
    assert_eq!(world.run.next_wake_ms(), Some(again + 3_600_000));
    approve(&mut world, "anna");
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn what_is_amended_must_be_approved_anew_and_who_stands_at_a_gate_stays() {
    let mut world = approved(ApprovalBy::Anybody);
    world.stage_all();
    approve(&mut world, "bert");
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    let answer = world.clear("ctl-2", seen_old(Role::Follower));
    let change = Change::Soak { stage: 0, wave: 0, soak: Millis::secs(1) };
    world.tell(Event::Amended { by: "anna".to_string(), change });
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    world.tell(answer);
    assert!(world.sent().is_empty());
    assert!(matches!(world.run.waiting.as_ref().unwrap().what, WaitFor::Approval { .. }));
    approve(&mut world, "bert");
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn a_restart_keeps_how_long_an_approval_has_been_waited_for() {
    let mut world = approved(ApprovalBy::Anybody);
    world.stage_all();
    world.pass(1_800_000);
    world.tell(Event::Restarted {});
    assert_eq!(why(&world).left_ms, Some(1_800_000));
}
