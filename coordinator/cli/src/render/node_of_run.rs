//! One node of a run: what was done to it, what was seen, what went wrong. `run show --node`.

use drydock_core::view::{RunNodeView, RunView};
use drydock_types::outcome::{Evidence, RunningUnit};

use super::{Canvas, Line, Page, Paint, plan::change, run, time, watch};

/// The whole node.
pub(crate) fn page(view: &RunView, node: &RunNodeView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let (mark, paint) = run::sign(node.phase);
    let head = Line::of(format!("Run {} at ", view.number)).plus(node.node.as_str(), Paint::Bold).and(": ");
    page.line(head.plus(format!("{mark} {}", node.phase.word()), paint));
    page.gap();
    page.fields(&facts(node), canvas);
    if let Some(failure) = &node.failure {
        page.gap();
        page.fields(&[("What went wrong", format!("{}: {}", failure.step, failure.what))], canvas);
        for next in &failure.next {
            page.hanging(Line::of("  ").plus("Next", Paint::Dim).pad_to(20), next, Paint::Plain, canvas);
        }
    }
    if !node.steps.is_empty() {
        page.gap();
        page.line(Line::of("  ").plus("Steps", Paint::Dim));
        page.table(4, node.steps.iter().map(step).collect(), canvas);
    }
    list("Seen", node.evidence.iter().map(evidence).collect(), &mut page, canvas);
    let events = view.log.iter().filter(|line| line.node.as_ref() == Some(&node.node));
    list(
        "Events",
        events.map(|line| format!("{}  {}", line.seq, watch::event(line).to_text(false))).collect(),
        &mut page,
        canvas,
    );
    list("Unit log", unit_log(view, node), &mut page, canvas);
    page
}

fn facts(node: &RunNodeView) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Version", change(node.from.as_ref(), &node.to))];
    if let Some(now) = &node.now {
        facts.push(("Runs now", now.to_string()));
    }
    if let Some(role) = &node.role {
        facts.push(("Role", role.clone()));
    }
    if let Some(took) = run::took_ms(node) {
        let planned = node.planned_ms.map(|ms| format!(", planned {}", time::rough(ms))).unwrap_or_default();
        facts.push(("Took", format!("{}{planned}", time::rough(took))));
    }
    if let Some(out) = node.out_of_service_ms {
        facts.push(("Out of service", time::measured(out)));
    }
    facts.extend(node.observed.iter().map(|seen| ("From outside", seen.line())));
    if node.attempt > 1 {
        facts.push(("Attempt", node.attempt.to_string()));
    }
    if !node.note.is_empty() {
        facts.push(("Note", node.note.clone()));
    }
    facts
}

fn list(title: &str, lines: Vec<String>, page: &mut Page, canvas: Canvas) {
    if lines.is_empty() {
        return;
    }
    page.gap();
    page.line(Line::of("  ").plus(title, Paint::Dim));
    lines.iter().for_each(|line| page.hanging(Line::of("    "), line, Paint::Plain, canvas));
}

fn step(report: &drydock_types::outcome::StepReport) -> Vec<Line> {
    let undo = if report.undo { " (undo)" } else { "" };
    let error = report.error.as_deref().unwrap_or_default();
    let name = Line::of(format!("{}{undo}", report.step));
    vec![name, Line::of(time::measured(report.took.0)), Line::painted(error, Paint::Bad)]
}

/// The last lines of the unit's log: the node's own, else those of the hold at this node.
fn unit_log(view: &RunView, node: &RunNodeView) -> Vec<String> {
    let own = node.failure.as_ref().map(|failure| failure.log.clone()).unwrap_or_default();
    let hold = view.hold.as_ref().filter(|hold| hold.node.as_ref() == Some(&node.node));
    if own.is_empty() { hold.map(|hold| hold.log.clone()).unwrap_or_default() } else { own }
}

fn some(list: &[String]) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

fn short_boot(id: &str) -> String {
    id.chars().take(8).collect()
}

/// What was seen, as a sentence.
pub(crate) fn evidence(seen: &Evidence) -> String {
    match seen {
        Evidence::Artifact { sha256, size, fetched } => {
            format!(
                "artifact sha256:{} of {} verified, {} fetched",
                sha256.short(),
                time::bytes(*size),
                time::bytes(*fetched)
            )
        }
        Evidence::Swapped { path, old_sha256, new_sha256, kept } => {
            format!(
                "{path} exchanged: sha256:{} → sha256:{}; the old one is kept at {kept}",
                old_sha256.short(),
                new_sha256.short()
            )
        }
        Evidence::Running(RunningUnit { pid: 0, unit, .. }) => format!("{unit} has no main process"),
        Evidence::Running(RunningUnit { unpacked: Some(from), unit, exe_sha256, pid, .. }) => {
            format!("{unit} runs {from}, which the program sha256:{} unpacks (pid {pid})", exe_sha256.short())
        }
        Evidence::Running(unit) => format!(
            "{} runs inode {}, sha256:{} in memory (pid {}, invocation {})",
            unit.unit,
            unit.exe_inode,
            unit.exe_sha256.short(),
            unit.pid,
            unit.invocation.chars().take(8).collect::<String>()
        ),
        Evidence::Version { version, source } => format!("{source} answers {version}"),
        Evidence::Healthy { source } => format!("{source} is well"),
        Evidence::EtcdMember { member, cluster, raft_index, leader } => {
            format!("etcd member {member} of cluster {cluster} at raft index {raft_index}, leader {leader}")
        }
        Evidence::LeaderMoved { from, to } => format!("leadership moved from {from} to {to}"),
        Evidence::Confirmed { by, after } => {
            format!("confirmed {after} after its revert was armed: {by} answered")
        }
        Evidence::Reverted { at_unix_ms, after, because, restored } => {
            let after = if after.0 == 0 { String::new() } else { format!(", {after} after it was armed") };
            format!(
                "the node took its change back by itself at {}{after}: {because}; put back: {}",
                time::date_clock(*at_unix_ms),
                some(restored)
            )
        }
        Evidence::Network { lost, gained } => {
            format!("addresses, routes and rules: lost {}, gained {}", some(lost), some(gained))
        }
        Evidence::Rebooted { from, to } => {
            format!("started anew: boot {} → {}", short_boot(from), short_boot(to))
        }
        Evidence::BackedUpElsewhere { what, by } => {
            format!("{what} was not saved by this run; the plan says that it is saved by: {by}")
        }
        Evidence::PackagesStaged { packages, releases } => {
            let releases: Vec<String> =
                releases.iter().map(|it| format!("{} sha256:{}", it.suite, it.sha256.short())).collect();
            format!("{} packages fetched, of {}", packages.len(), some(&releases))
        }
        Evidence::PackagesChanged { changed, kept, held_still, stale, still } => {
            let version = |version: &Option<drydock_types::Version>| {
                version.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            let changed: Vec<String> = changed
                .iter()
                .map(|it| format!("{} {} → {}", it.name, version(&it.from), version(&it.to)))
                .collect();
            format!(
                "packages: {}; configuration kept: {}; held still: {}; processes that run what is not installed any more: {} \
                 before, {} after ({})",
                some(&changed),
                some(kept),
                some(held_still),
                stale.0,
                stale.1,
                some(still)
            )
        }
        Evidence::GuestsKept { guests, version, qemu } => {
            let qemu: Vec<String> =
                qemu.iter().map(|(version, count)| format!("{count} on QEMU {version}")).collect();
            format!("libvirt {version}: {guests} guests are the same processes as before, {}", some(&qemu))
        }
        Evidence::FlowsKept { before, after, same, version, module } => {
            let same = if *same { "the same" } else { "not the same" };
            let module = module.as_ref().map_or_else(String::new, |module| format!("; {module}"));
            format!("version {version}: {before} flows before, {after} now, {same}{module}")
        }
        Evidence::Placed { path, sha256, replaced } => {
            let replaced =
                replaced.map_or_else(String::new, |old| format!(", in place of sha256:{}", old.short()));
            format!("sha256:{} put at {path}{replaced}", sha256.short())
        }
        Evidence::Snapshot { sha256, size, revision, stored_sha256, stored_size } => format!(
            "snapshot sha256:{} of {} at revision {revision}, off the node encrypted as sha256:{} ({})",
            sha256.short(),
            time::bytes(*size),
            stored_sha256.short(),
            time::bytes(*stored_size)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, WIDE};

    #[test]
    fn a_node_is_shown_with_what_was_seen_on_it() {
        let view = samples::run();
        let want = "\
Run 42 at ctl-2: ✓ done

  Version          3.4.23 → 3.5.16
  Runs now         3.5.16
  Role             follower
  Took             33 s, planned 33 s
  Out of service   1.2 s

  Steps
    swapBinary    0.04 s
    restartUnit   1.1 s

  Seen
    etcd.service runs inode 131077, sha256:09090909 in memory (pid 4711, invocation abababab)
    etcd member 8e9e05c52164694d answers 3.5.16
    /usr/bin/etcd exchanged: sha256:01010101 → sha256:09090909; the old one is kept at /var/lib/drydock-agent/kept/etcd

  Events
    319  22:05:04Z  ctl-2  done: etcd 3.5.16
";
        assert_eq!(page(&view, run::nodes(&view).next().unwrap(), WIDE).to_text(WIDE), want);
    }

    #[test]
    fn a_node_that_failed_is_shown_with_the_log_of_its_unit() {
        let view = samples::held_run();
        let text = page(&view, run::nodes(&view).nth(1).unwrap(), WIDE).to_text(WIDE);
        let want = "
  What went wrong   restartUnit: etcd.service exited 1 four times in 8 s
  Next              free the port, then try this node again
";
        assert!(text.contains(want), "{text}");
        assert!(
            text.ends_with("  Unit log\n    listen tcp 10.99.0.3:2380: bind: address already in use\n"),
            "{text}"
        );
    }
}
