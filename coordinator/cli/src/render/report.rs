//! `run report`: what was planned and what came of it, in Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use drydock_core::view::{Phase, RunNodeView, RunStatus, RunView};
use drydock_types::{NodeName, Version, outcome::Evidence};

use super::{node_of_run, rollback, run, time};

/// The whole report. A text in a table's cell has its `|` escaped.
pub(crate) fn markdown(view: &RunView) -> String {
    let mut out = String::new();
    let to = if view.undoes.is_some() { "back to" } else { "to" };
    title(view, to, &mut out);
    summary(view, &mut out);
    decisions(view, &mut out);
    failed_before(view, &mut out);
    for stage in &view.stages {
        for wave in &stage.waves {
            let _ =
                writeln!(out, "\n## {} / {}: {} {to} {}\n", stage.name, wave.name, stage.component, stage.to);
            table(&wave.nodes, &mut out);
            if let Some(text) = &wave.point_of_no_return {
                let _ = writeln!(out, "\nPoint of no return: {text}");
            }
        }
    }
    evidence(view, &mut out);
    wrong(view, &mut out);
    events(view, &mut out);
    out
}

fn title(view: &RunView, to: &str, out: &mut String) {
    let nodes = time::count(run::total(view), "node", "nodes");
    let versions: Vec<String> =
        view.stages.iter().map(|stage| format!("{} {}", stage.component, stage.to)).collect();
    let end = view.ended_unix_ms.unwrap_or(view.now_unix_ms);
    let until = match (view.ended_unix_ms, time::date(end) == time::date(view.started_unix_ms)) {
        (None, _) => "now".to_owned(),
        (Some(end), true) => time::clock(end),
        (Some(end), false) => time::date_clock(end),
    };
    let planned = planned_ms(view).map(|ms| format!(", planned {}", time::rough(ms))).unwrap_or_default();
    let _ = writeln!(
        out,
        "# Run {}: {}, {nodes} {to} {}, {} – {until} ({}{planned})\n",
        view.number,
        view.file,
        versions.join(", "),
        time::date_clock(view.started_unix_ms),
        time::rough(end.saturating_sub(view.started_unix_ms)),
    );
}

/// The sum of what was planned, where every node has it.
fn planned_ms(view: &RunView) -> Option<u64> {
    run::nodes(view).filter(|node| node.phase != Phase::Skipped).map(|node| node.planned_ms).sum()
}

fn summary(view: &RunView, out: &mut String) {
    let count = |phase| run::in_phase(view, phase);
    let open = run::nodes(view).filter(|node| !node.phase.is_ended()).count();
    let _ = writeln!(
        out,
        "{} done · {} skipped · {} rolled back · {} held · {open} not finished",
        count(Phase::Done),
        count(Phase::Skipped),
        count(Phase::RolledBack),
        count(Phase::Held),
    );
    if let Some((ms, node)) = run::nodes(view).filter_map(|n| Some((n.out_of_service_ms?, &n.node))).max() {
        let _ = writeln!(out, "Longest time a node was out of service {} ({node})", time::measured(ms));
    }
    for line in from_outside(view) {
        let _ = writeln!(out, "{line}");
    }
    let state = match (view.status, &view.hold, &view.stopped_by) {
        (RunStatus::Held, Some(hold), _) => format!("on hold: {}", hold.reason),
        (status, _, Some(who)) => format!("{} by {who}", run::status(status).0),
        (status, ..) => run::status(status).0.to_owned(),
    };
    let _ = writeln!(out, "State: {state}");
    if let Some(others) = rollback::of(view) {
        let _ = writeln!(out, "Rollback: {others}");
    }
    let _ = writeln!(
        out,
        "Record: plan {} (digest {}), run id {}, started by {}",
        view.name, view.digest, view.id, view.started_by
    );
}

/// For how long nobody outside had an answer at worst, of each thing that was measured. What other nodes were asked to watch is
/// another thing at each node: of all of it the worst is told here, and each with what was seen at its node.
fn from_outside(view: &RunView) -> Vec<String> {
    let mut worst: BTreeMap<&str, (u64, &NodeName, &str)> = BTreeMap::new();
    let mut absent: BTreeMap<&str, usize> = BTreeMap::new();
    let mut broken: BTreeMap<&str, usize> = BTreeMap::new();
    for node in run::nodes(view) {
        for seen in &node.observed {
            let of = if seen.each { "what other nodes watched" } else { &seen.what };
            if seen.interrupted.is_some() {
                *broken.entry(of).or_default() += 1;
            }
            match &seen.whole {
                Ok(gap) => {
                    let here = (gap.longest_ms, &node.node, seen.what.as_str());
                    let longest = worst.entry(of).or_insert(here);
                    *longest = (*longest).max(here);
                }
                Err(_) => *absent.entry(&seen.observer).or_default() += 1,
            }
        }
    }
    let measured = worst.into_iter().map(|(of, (ms, node, what))| {
        let which = if of == what { String::new() } else { format!(", {what}") };
        let told = match (ms, broken.get(of)) {
            (0, None) => "answered at every moment".to_owned(),
            (0, Some(_)) => "answered whenever it was asked".to_owned(),
            (ms, _) => format!("did not answer for {} at the longest ({node}{which})", time::measured(ms)),
        };
        let interrupted = broken.get(of).map(|nodes| {
            format!("; measured with an interruption at {}", time::count(*nodes, "node", "nodes"))
        });
        format!("Measured from outside: {of} {told}{}", interrupted.unwrap_or_default())
    });
    let absent = absent.into_iter().map(|(observer, nodes)| {
        format!("Not measured: {observer} on {}", time::count(nodes, "node", "nodes"))
    });
    measured.chain(absent).collect()
}

/// What operators changed and who approved what. The events below have it too, but of a long run not all of them
/// are shown.
fn decisions(view: &RunView, out: &mut String) {
    if view.amendments.is_empty() && view.approvals.is_empty() {
        return;
    }
    out.push_str("\n## Decided meanwhile\n\n");
    for made in &view.amendments {
        let (from, to) = (made.from.short(), made.to.short());
        let (what, by, at) = (&made.what, &made.by, time::date_clock(made.unix_ms));
        let _ = writeln!(out, "- {what}, by {by}, {at}: digest {from} → {to}");
    }
    for given in &view.approvals {
        let stands = if given.stands { "" } else { ", amended since" };
        let (wave, by, at) = (&given.wave, &given.by, time::date_clock(given.unix_ms));
        let _ =
            writeln!(out, "- wave {wave} approved by {by}, {at}: digest {}{stands}", given.digest.short());
    }
}

/// What failed in clusters before anything was changed: whoever looks for a cause later does not look for it here.
fn failed_before(view: &RunView, out: &mut String) {
    for before in &view.failed_before {
        let _ = writeln!(out, "\n## Failing in the cluster {} before this run\n", before.cluster);
        if before.said.is_empty() {
            out.push_str("Nothing.\n");
        }
        for said in &before.said {
            let _ = writeln!(out, "- {said}");
        }
    }
}

fn table(nodes: &[RunNodeView], out: &mut String) {
    out.push_str("| node | end | before | after | planned | actual | out of service | note |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for node in nodes {
        let version =
            |version: Option<&Version>| version.map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let length = |ms: Option<u64>, say: fn(u64) -> String| ms.map_or_else(|| "–".to_owned(), say);
        let cells = [
            node.node.to_string(),
            node.phase.word().to_owned(),
            version(node.from.as_ref()),
            version(node.now.as_ref()),
            length(node.planned_ms, time::rough),
            length(run::took_ms(node).filter(|_| node.phase != Phase::Skipped), time::rough),
            length(node.out_of_service_ms, time::measured),
            node.note.replace('|', "\\|"),
        ];
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

fn evidence(view: &RunView, out: &mut String) {
    let seen: Vec<&RunNodeView> =
        run::nodes(view).filter(|node| !node.evidence.is_empty() || !node.observed.is_empty()).collect();
    if seen.is_empty() {
        return;
    }
    out.push_str("\n## What was seen\n");
    for node in seen {
        let _ = writeln!(out, "\n- **{}**", node.node);
        for seen in &node.observed {
            let _ = writeln!(out, "  - from outside: {}", seen.line());
        }
        for item in &node.evidence {
            let _ = writeln!(out, "  - {}", node_of_run::evidence(item));
            // On screens a digest is cut; the record has it whole.
            if let Evidence::Running(unit) = item {
                let _ = writeln!(out, "    sha256:{}", unit.exe_sha256);
            }
        }
    }
}

fn wrong(view: &RunView, out: &mut String) {
    out.push_str("\n## What went wrong\n\n");
    let mut nothing = true;
    for node in run::nodes(view) {
        if let Some(failure) = &node.failure {
            nothing = false;
            let _ = writeln!(out, "- **{}** at {}: {}", node.node, failure.step, failure.what);
            failure.next.iter().for_each(|next| {
                let _ = writeln!(out, "  - next: {next}");
            });
            for line in &failure.log {
                let _ = writeln!(out, "      {line}");
            }
        }
    }
    if nothing {
        out.push_str("Nothing.\n");
    }
}

fn events(view: &RunView, out: &mut String) {
    if view.log.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Record, the last {}\n", time::count(view.log.len(), "event", "events"));
    for line in &view.log {
        let node = line.node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default();
        let _ = writeln!(out, "- {} {} {node}{}", line.seq, time::clock_seconds(line.unix_ms), line.text);
    }
}

#[cfg(test)]
mod tests {
    use drydock_core::{
        observe::{Gap, Interruption, Observed},
        view::{AmendmentView, ApprovalView, FailedBeforeView},
    };
    use drydock_types::ClusterName;

    use super::*;
    use crate::render::samples;

    #[test]
    fn a_report_begins_with_the_answer() {
        let text = markdown(&samples::done_run());
        let want = format!(
            "\
# Run 42: etcd.yaml, 3 nodes to etcd 3.5.16, 2026-11-20 22:04Z – 22:06Z (1 min 45 s, planned 1 min 39 s)

3 done · 0 skipped · 0 rolled back · 0 held · 0 not finished
Longest time a node was out of service 1.4 s (ctl-1)
State: done
Record: plan etcd-3.5.16 (digest {}), run id {}, started by alice

## etcd / members: etcd to 3.5.16

| node | end | before | after | planned | actual | out of service | note |
|---|---|---|---|---|---|---|---|
| ctl-2 | done | 3.4.23 | 3.5.16 | 33 s | 33 s | 1.2 s |  |
| ctl-3 | done | 3.4.23 | 3.5.16 | 33 s | 34 s | 1.3 s |  |
| ctl-1 | done | 3.4.23 | 3.5.16 | 33 s | 35 s | 1.4 s |  |

Point of no return: when",
            "07".repeat(32),
            "04".repeat(16)
        );
        assert!(text.starts_with(&want), "{text}");
        assert!(text.contains("\n## What went wrong\n\nNothing.\n"), "{text}");
        assert!(text.contains("  - etcd.service runs inode 131077, sha256:09090909 in memory"), "{text}");
        assert!(text.contains(&format!("    sha256:{}\n", "09".repeat(32))), "{text}");
    }

    #[test]
    fn a_report_names_what_was_decided_meanwhile_however_long_the_record_is() {
        let mut view = samples::done_run();
        let digests = [view.digest, drydock_types::Sha256([8; 32])];
        let unix_ms = view.started_unix_ms;
        let what = "soak of etcd/members from 30s to 5s".to_owned();
        view.amendments =
            vec![AmendmentView { by: "alice".into(), unix_ms, what, from: digests[1], to: digests[0] }];
        let approval = |by: &str, digest, stands| ApprovalView {
            wave: "etcd/members".into(),
            by: by.into(),
            unix_ms,
            digest,
            stands,
        };
        view.approvals = vec![approval("bob", digests[1], false), approval("carl", digests[0], true)];
        let text = markdown(&view);
        let want = "
## Decided meanwhile

- soak of etcd/members from 30s to 5s, by alice, 2026-11-20 22:04Z: digest 08080808 → 07070707
- wave etcd/members approved by bob, 2026-11-20 22:04Z: digest 08080808, amended since
- wave etcd/members approved by carl, 2026-11-20 22:04Z: digest 07070707
";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn a_report_names_what_failed_before_the_run_and_is_not_its_doing() {
        let mut view = samples::done_run();
        assert!(!markdown(&view).contains("before this run"));
        let failed = |cluster: &str, said: &[&str]| FailedBeforeView {
            cluster: ClusterName::parse(cluster).unwrap(),
            said: said.iter().map(ToString::to_string).collect(),
        };
        let said =
            ["pod shop/queue-0 for 3 d: the image registry.example/queue:7 is not there", "and 4 more"];
        view.failed_before = vec![failed("prod", &said), failed("test", &[])];
        let text = markdown(&view);
        let want = "
## Failing in the cluster prod before this run

- pod shop/queue-0 for 3 d: the image registry.example/queue:7 is not there
- and 4 more

## Failing in the cluster test before this run

Nothing.

## etcd / members: etcd to 3.5.16
";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn a_report_says_for_how_long_nobody_outside_had_an_answer_and_what_was_not_measured() {
        let mut view = samples::done_run();
        let seen = |whole: Result<u64, &str>| Observed {
            observer: "controlPlane".into(),
            each: false,
            interrupted: None,
            what: if whole.is_ok() { "the API of prod".into() } else { "controlPlane".into() },
            whole: whole
                .map(|longest_ms| Gap { longest_ms, asked: 90, answered: 80 })
                .map_err(ToString::to_string),
            lost: whole.is_err(),
            parts: Vec::new(),
        };
        let nodes = &mut view.stages[0].waves[0].nodes;
        nodes[0].observed = vec![seen(Ok(0))];
        assert!(
            markdown(&view).contains("Measured from outside: the API of prod answered at every moment\n")
        );
        let nodes = &mut view.stages[0].waves[0].nodes;
        nodes[1].observed = vec![seen(Ok(2_300))];
        nodes[2].observed = vec![seen(Err("the coordinator was started anew meanwhile"))];
        let text = markdown(&view);
        let want = "
Measured from outside: the API of prod did not answer for 2.3 s at the longest (ctl-3)
Not measured: controlPlane on 1 node
State: done";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn of_what_other_nodes_watched_the_worst_comes_first_and_each_stands_with_its_node() {
        let mut view = samples::done_run();
        let seen = |what: &str, longest_ms, interrupted| Observed {
            observer: "reach".into(),
            what: what.into(),
            whole: Ok(Gap { longest_ms, asked: 90, answered: 80 }),
            each: true,
            interrupted,
            lost: false,
            parts: Vec::new(),
        };
        let nodes = &mut view.stages[0].waves[0].nodes;
        nodes[0].observed = vec![seen("10.0.0.1 (ping) from net-1", 0, None)];
        nodes[1].observed = vec![seen("10.0.0.2 (ping) from net-1", 1_200, None)];
        let broken = Some(Interruption { unseen_ms: 4_000, times: 1 });
        nodes[2].observed = vec![seen("10.0.0.3 (ping) from net-1", 0, broken)];
        let text = markdown(&view);
        let want = "Measured from outside: what other nodes watched did not answer for 1.2 s at the longest (ctl-3, 10.0.0.2 (ping) from net-1); measured with an interruption at 1 node\n";
        assert!(text.contains(want), "{text}");
        let each = "  - from outside: 10.0.0.3 (ping) from net-1: measured with an interruption of 4s: 80 of 90 questions answered\n";
        assert!(text.contains(each), "{text}");
        view.stages[0].waves[0].nodes[1].observed.clear();
        let text = markdown(&view);
        assert!(text.contains("what other nodes watched answered whenever it was asked; measured"), "{text}");
    }

    #[test]
    fn the_report_of_a_rollback_says_what_it_went_back_to_and_of_which_run() {
        let mut view = samples::done_run();
        view.undoes = Some(41);
        let text = markdown(&view);
        for line in [
            "# Run 42: etcd.yaml, 3 nodes back to etcd 3.5.16, ",
            "Rollback: takes run 41 back",
            "etcd back to",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn a_report_of_a_held_run_says_why_and_what_went_wrong() {
        let mut view = samples::held_run();
        view.stages[0].waves[0].nodes[1].note = "a|b".into();
        let text = markdown(&view);
        assert!(
            text.starts_with("# Run 42: etcd.yaml, 3 nodes to etcd 3.5.16, 2026-11-20 22:04Z – now (45 s, "),
            "{text}"
        );
        assert!(text.contains("State: on hold: ctl-3 did not come back with etcd 3.5.16"), "{text}");
        assert!(
            text.contains(
                "- **ctl-3** at restartUnit: etcd.service exited 1 four times in 8 s\n  - next: free the port"
            ),
            "{text}"
        );
        assert!(text.contains("| a\\|b |\n"), "{text}");
    }
}
