use drydock_types::NodeName;

use super::*;
use crate::render::samples::{self, FILE, NARROW, START, WIDE, label};

#[test]
fn a_run_is_shown_with_its_nodes() {
    let want = "\
Run 42 is running: etcd.yaml · 1 of 3 nodes done · 45 s · about 56 s left
  handed out: apply on ctl-3

  etcd / members   etcd to 3.5.16
    ✓ ctl-2   done       3.4.23 → 3.5.16   33 s · out of service 1.2 s
    ⟳ ctl-3   applying   3.4.23 → 3.5.16   applying 5 s: restartUnit · 10 s in all · out of service 0.40 s
    ◌ ctl-1   staged     3.4.23 → 3.5.16   leader

  digest 07070707 · run id 04040404040404040404040404040404 · started 2026-11-20 22:04Z by alice
";
    assert_eq!(page(&samples::run(), WIDE).to_text(WIDE), want);
}

#[test]
fn a_held_run_is_shown_as_its_hold_first() {
    let text = page(&samples::held_run(), WIDE).to_text(WIDE);
    assert!(
        text.starts_with(
            "Run 42 is on hold: ctl-3 did not come back with etcd 3.5.16, and is back on 3.4.23.\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("    ↶ ctl-3   rolled back   3.4.23 → 3.5.16   45 s · out of service 0.40 s\n"),
        "{text}"
    );
}

#[test]
fn a_run_fits_a_narrow_terminal() {
    let text = page(&samples::waiting_run(), NARROW).to_text(NARROW);
    assert!(
        text.contains(
            "    ⟳ ctl-3   gating   3.4.23 → 3.5.16\n        gating 6 min 12 s · 6 min 25 s in all\n"
        ),
        "{text}"
    );
}

#[test]
fn a_run_that_is_over_says_how_and_what_it_cost() {
    let want = "\
Run 42 is done: 3 of 3 nodes upgraded in 1 min 45 s; longest time a node was out of service 1.4 s (ctl-1).
Report:  drydock run report 42
";
    assert_eq!(ended(&samples::done_run(), WIDE).to_text(WIDE), want);

    let mut view = samples::run();
    (view.status, view.stopped_by, view.ended_unix_ms) =
        (RunStatus::Aborted, Some("bob".into()), Some(START + 60_000));
    let want = "\
Run 42 was aborted by bob: 1 of 3 nodes upgraded, 2 left as they were, after 1 min; longest time a node was out of
                           service 1.2 s (ctl-2).
Report:  drydock run report 42
";
    assert_eq!(ended(&view, WIDE).to_text(WIDE), want);
}

fn line(number: u64, status: RunStatus, summary: &str) -> RunLineView {
    RunLineView {
        number,
        name: label("etcd-3.5.16"),
        status,
        summary: summary.into(),
        started_by: "alice".into(),
        started_unix_ms: START,
        ended_unix_ms: (number == 41).then_some(START + 105_000),
        done: 1,
        total: 3,
    }
}

#[test]
fn runs_are_listed_one_a_line() {
    let runs = [line(42, RunStatus::Held, "ctl-3 did not come back"), line(41, RunStatus::Done, "")];
    let want = "\
run   plan          status    nodes   started   took         by
42    etcd-3.5.16   on hold   1/3     22:04Z    2 min        alice   ctl-3 did not come back
41    etcd-3.5.16   done      1/3     22:04Z    1 min 45 s   alice
";
    assert_eq!(list(&runs, START + 120_000, FILE).to_text(FILE), want);
    assert_eq!(list(&[], START, FILE).to_text(FILE), "There is no run yet.\nNext:  drydock plan FILE\n");
}

#[test]
fn a_start_says_the_number_and_whether_it_is_queued() {
    let mut view =
        StartedView { number: 42, plan: samples::plan(), queued_behind: None, warnings: Vec::new() };
    let want = "Run 42 started: etcd-3.5.16, 3 nodes, about 1 min 40 s.\nNext:  drydock run watch 42\n";
    assert_eq!(started_page(&view).to_text(FILE), want);
    view.queued_behind = Some(41);
    let text = started_page(&view).to_text(FILE);
    assert!(text.starts_with("Run 42 is queued behind run 41 over the same nodes: etcd-3.5.16, 3 nodes, about 1 min 40 s. It begins by itself.\n"), "{text}");
}

#[test]
fn a_start_with_nothing_to_do_says_so_and_why() {
    let mut plan = samples::plan();
    plan.stages[0].waves[0].nodes.clear();
    let view = StartedView { number: 42, plan, queued_behind: None, warnings: Vec::new() };
    let want = "\
Run 42 is done: nothing to do. 1 node is left out, and no other is named:
  ctl-4   not a member of this cluster
";
    assert_eq!(started_page(&view).to_text(FILE), want);
}

#[test]
fn nodes_that_were_left_out_are_told_with_each_reason_and_with_what_they_run() {
    let mut view = samples::done_run();
    for (node, why) in view.stages[0].waves[0].nodes.iter_mut().zip(["not asked for", "left out by alice"]) {
        (node.phase, node.note) = (Phase::Skipped, why.into());
    }
    let text = ended(&view, FILE).to_text(FILE);
    assert!(text.contains("; 1 node left out: not asked for; 1 node left out: left out by alice."), "{text}");
    view.stages[0].waves[0].nodes[0].now = view.stages[0].waves[0].nodes[0].from.clone();
    let text = page(&view, WIDE).to_text(WIDE);
    assert!(text.contains("– ctl-2   skipped   3.4.23 "), "{text}");
    assert!(text.contains("not asked for") && !text.contains("ctl-2   skipped   3.4.23 →"), "{text}");
}

#[test]
fn a_run_that_cannot_be_ended_by_itself_is_shown_as_what_it_asks() {
    let mut view = samples::held_run();
    view.status = RunStatus::Aborting;
    let text = page(&view, WIDE).to_text(WIDE);
    assert!(text.starts_with("Run 42 cannot end by itself: ctl-3 did not come back"), "{text}");
    // Its section has ended: nobody is asked.
    view.handed_out.clear();
    let text = page(&view, WIDE).to_text(WIDE);
    assert!(text.starts_with("Run 42 is aborting: etcd.yaml"), "{text}");
}

#[test]
fn a_pause_lists_what_was_already_handed_out() {
    let view = |status, handed_out: &[&str]| ControlView {
        number: 42,
        status,
        handed_out: handed_out.iter().map(ToString::to_string).collect(),
    };
    let want = "\
Run 42 is paused: nothing further is handed out.
  Already handed out   apply on ctl-3 (ends by itself)
Next:  drydock run resume 42
";
    assert_eq!(control(&view(RunStatus::Paused, &["apply on ctl-3"]), FILE).to_text(FILE), want);
    let want = "\
Run 42 is aborted.
  Already handed out   nothing
Next:  drydock run report 42
";
    assert_eq!(control(&view(RunStatus::Aborted, &[]), FILE).to_text(FILE), want);
    let want = "Run 42 is running: it goes on.\nNext:  drydock run watch 42\n";
    assert_eq!(control(&view(RunStatus::Running, &["x"]), FILE).to_text(FILE), want);
}

#[test]
fn the_median_is_of_the_nodes_that_are_done() {
    assert_eq!(median_ms(&samples::run()), Some(33_000));
    assert_eq!(median_ms(&samples::done_run()), Some(34_000));
    let mut none = samples::run();
    none.stages[0].waves[0].nodes.remove(0);
    assert_eq!(median_ms(&none), None);
}

#[test]
fn a_fetch_shows_its_bytes() {
    let mut node = samples::done_node();
    node.node = NodeName::parse("ctl-1").unwrap();
    (node.phase, node.step, node.progress) =
        (Phase::Staging, Some("fetchArtifact".into()), Some((5_875_000, 23_500_000)));
    (node.began_unix_ms, node.out_of_service_ms, node.attempt) = (None, None, 2);
    assert_eq!(
        doing(&node, START + 35_000, None, false),
        "staging 2 s: fetchArtifact · 5.8 MB of 23.5 MB (25 %) · attempt 2"
    );
}

#[test]
fn a_soak_that_is_longer_than_it_need_be_says_so() {
    let mut node = samples::done_node();
    (node.phase, node.began_unix_ms, node.out_of_service_ms) = (Phase::Soaking, None, None);
    let at = node.since_unix_ms;
    assert_eq!(doing(&node, at + 4_000, None, false), "soaking 4 s of 10 s");
    assert_eq!(doing(&node, at + 50_000, None, false), "soaking 50 s: 10 s are over, the last look is due");
}
