//! The frame of `run watch`: where it is, how long, what it waits for. And its lines in a file.

use drydock_core::view::{EventLineView, Phase, RunNodeView, RunStatus, RunView, RunWaveView};

use super::{Canvas, Line, Page, Paint, run, time, why};
use crate::follow;

/// What stands around the view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Time that has passed here since the view was made; the coordinator's clock is never compared with ours.
    pub(crate) since_view_ms: u64,
    /// Lines that the terminal has.
    pub(crate) height: usize,
    /// `coordinator not reachable for 4 s, trying again`
    pub(crate) trouble: Option<&'a str>,
}

/// The frame: no line is wider than the canvas, and there are fewer than the terminal has.
pub(crate) fn frame(view: &RunView, around: Around<'_>, canvas: Canvas) -> Vec<Line> {
    let now = view.now_unix_ms + around.since_view_ms;
    let mut page = Page::default();
    head(view, around, now, &mut page, canvas);
    page.line(waves(view));
    at_work(view, now, &mut page, canvas);
    waiting(view, now, &mut page, canvas);
    done(view, &mut page, canvas);
    if let Some(trouble) = around.trouble {
        page.line(Line::painted(format!("  ! {trouble}"), Paint::Warn));
    }
    let width = canvas.width.unwrap_or(usize::MAX);
    let mut lines: Vec<Line> = page.0.into_iter().map(|line| line.clip(width)).collect();
    lines.truncate(around.height.saturating_sub(2).max(1));
    if follow::exit(view).is_none() {
        lines.push(foot(view, width));
    }
    lines
}

fn head(view: &RunView, around: Around<'_>, now: u64, page: &mut Page, canvas: Canvas) {
    let who = Line::of("Run ").plus(view.number.to_string(), Paint::Bold).and(format!(
        "  {}  started {} by {}",
        view.file,
        time::clock(view.started_unix_ms),
        view.started_by
    ));
    let until = view.ended_unix_ms.unwrap_or(now);
    let mut times = time::rough(until.saturating_sub(view.started_unix_ms));
    if let Some(estimate) = &view.estimate {
        // What was left when the view was made, less what has passed since; never below zero.
        let left = estimate.total_ms.saturating_sub(around.since_view_ms);
        // Past the estimate nothing is known: then nothing is said.
        if left >= 1_000 {
            times.push_str(&format!(", about {} left", time::rough(left)));
        }
    }
    let (done, all) = (run::in_phase(view, Phase::Done), run::total(view));
    let (word, paint) = run::status(view.status);
    let columns = canvas.width.map_or(24, |width| (width / 4).min(24));
    let mut tail = bar(done, all, columns).and(format!("  {done}/{all}   {times}"));
    if view.status != RunStatus::Running {
        tail = tail.and("   ").plus(word, paint);
        if let (Some(who), RunStatus::Paused | RunStatus::Aborting) = (&view.stopped_by, view.status) {
            tail = tail.and(format!(" by {who}"));
        }
    }
    let together = who.width() + 3 + tail.width();
    if canvas.width.is_none_or(|width| together <= width) {
        page.line(who.and("   ").join(tail));
    } else {
        page.line(who);
        page.line(Line::of("  ").join(tail));
    }
}

/// `━━━━━━━╸────`: so much of it is done.
pub(crate) fn bar(done: usize, all: usize, columns: usize) -> Line {
    let full = (done * columns).checked_div(all).unwrap_or(0).min(columns);
    let (tip, rest) =
        if full > 0 && full < columns { ("╸", columns - full - 1) } else { ("", columns - full) };
    Line::painted(format!("{}{tip}", "━".repeat(full)), Paint::Good).plus("─".repeat(rest), Paint::Dim)
}

/// `canary ✓ 2   batch-1 ▶ 15 of 24   batch-2 · 22`
fn waves(view: &RunView) -> Line {
    let many_stages = view.stages.len() > 1;
    let mut line = Line::of("  ");
    for stage in &view.stages {
        for wave in &stage.waves {
            let name = if many_stages {
                format!("{}/{} ", stage.name, wave.name)
            } else {
                format!("{} ", wave.name)
            };
            line = line.and(name).join(wave_state(wave)).and("   ");
        }
    }
    line
}

fn wave_state(wave: &RunWaveView) -> Line {
    let counted = || wave.nodes.iter().filter(|node| node.phase != Phase::Skipped);
    let (all, done) = (counted().count(), counted().filter(|node| node.phase == Phase::Done).count());
    let begun = counted().any(|node| !matches!(node.phase, Phase::Pending));
    match (done, begun) {
        (done, _) if done == all => Line::painted(format!("✓ {all}"), Paint::Good),
        (done, true) => Line::painted(format!("▶ {done} of {all}"), Paint::Work),
        (_, false) => Line::painted(format!("· {all}"), Paint::Dim),
    }
}

/// Nodes at work, the one that is staged, and those that a person must look at.
fn at_work(view: &RunView, now: u64, page: &mut Page, canvas: Canvas) {
    let median = run::median_ms(view);
    let shown = |node: &&RunNodeView| !matches!(node.phase, Phase::Pending | Phase::Done | Phase::Skipped);
    let working = run::nodes(view).find(|node| run::is_at_work(node.phase) && node.phase != Phase::Staging);
    let mut before = working;
    let rows = run::nodes(view).filter(shown).map(|node| {
        let (mark, paint) = run::sign(node.phase);
        let text = match node.phase {
            Phase::Staged => {
                let turn = match (before.replace(node), view.status) {
                    (_, RunStatus::Aborting | RunStatus::Aborted) => "is left as it is".to_owned(),
                    (Some(first), _) if Some(first) == working => {
                        format!("leaves service when {} is back and soaked", first.node)
                    }
                    (Some(earlier), _) => format!("after {}", earlier.node),
                    (None, RunStatus::Paused | RunStatus::Held) => {
                        "leaves service next, when the run is resumed".to_owned()
                    }
                    (None, _) => "next to leave service".to_owned(),
                };
                format!("staged; {turn}")
            }
            phase @ (Phase::Held | Phase::RolledBack) if node.note.is_empty() => phase.word().to_owned(),
            phase @ (Phase::Held | Phase::RolledBack) => format!("{}: {}", phase.word(), node.note),
            _ => run::doing(node, now, median, run::is_told(view, node)),
        };
        vec![Line::painted(mark, paint).and(" ").plus(node.node.as_str(), Paint::Bold), Line::of(text)]
    });
    page.table(2, rows.collect(), canvas);
}

fn waiting(view: &RunView, now: u64, page: &mut Page, canvas: Canvas) {
    // An agent at work stands above, with what it is at.
    let waiting = view.waiting.as_ref().filter(|waiting| !waiting.at_work);
    if let (Some(waiting), RunStatus::Running | RunStatus::Aborting) = (waiting, view.status) {
        let ticking = now - view.now_unix_ms;
        let mut waiting = waiting.clone();
        waiting.left_ms = waiting.left_ms.map(|left| left.saturating_sub(ticking));
        page.fields(&why::fields(&waiting, now), canvas);
    }
    if let Some(ahead) = view.queued_behind.filter(|_| view.status == RunStatus::Queued) {
        page.line(Line::of(format!("  Waiting for   run {ahead} to end: both work on the same nodes")));
    }
}

/// `✓ hv-16 6 min 02 s   ✓ hv-15 5 min 40 s   … 12 more`, the latest first, as many as fit.
fn done(view: &RunView, page: &mut Page, canvas: Canvas) {
    let mut list: Vec<&RunNodeView> = run::nodes(view).filter(|node| node.phase == Phase::Done).collect();
    list.sort_by_key(|node| std::cmp::Reverse(node.ended_unix_ms));
    if list.is_empty() {
        return;
    }
    // Room for `… 1234 more` is kept free.
    let room = canvas.width.unwrap_or(120).saturating_sub(14);
    let mut line = Line::of("  ");
    let mut shown = 0;
    for node in &list {
        let took = run::took_ms(node).map(|ms| format!(" {}", time::rough(ms))).unwrap_or_default();
        let next = Line::painted("✓", Paint::Good).and(format!(" {}{took}   ", node.node));
        if shown > 0 && line.width() + next.width() > room {
            break;
        }
        line = line.join(next);
        shown += 1;
    }
    if shown < list.len() {
        line = line.plus(format!("… {} more", list.len() - shown), Paint::Dim);
    }
    page.line(line);
}

/// As much as fits; a command is there whole or not at all.
fn foot(view: &RunView, width: usize) -> Line {
    let n = view.number;
    let mut parts = vec!["Ctrl-C closes this view, the run goes on".to_owned(), format!("drydock why {n}")];
    match view.status {
        RunStatus::Paused => parts.push(format!("drydock run resume {n}")),
        RunStatus::Running | RunStatus::Queued => parts.push(format!("drydock run pause {n}")),
        RunStatus::Held | RunStatus::Aborting | RunStatus::Aborted | RunStatus::Done => {}
    }
    let mut line = Line::default();
    for part in parts {
        let gap = if line.width() == 0 { 2 } else { 3 };
        if line.width() > 0 && line.width() + gap + part.chars().count() > width {
            break;
        }
        line = line.plus(" ".repeat(gap), Paint::Plain).plus(part, Paint::Dim);
    }
    line.clip(width)
}

/// One event, one line: what a file gets.
pub(crate) fn event(line: &EventLineView) -> Line {
    let at = Line::painted(time::clock_seconds(line.unix_ms), Paint::Dim).and("  ");
    match &line.node {
        Some(node) => at.plus(node.as_str(), Paint::Bold).and("  ").and(&line.text),
        None => at.and(&line.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, NARROW, WIDE};

    const AROUND: Around<'_> = Around { since_view_ms: 0, height: 40, trouble: None };

    fn text(view: &RunView, around: Around<'_>, canvas: Canvas) -> String {
        frame(view, around, canvas).iter().map(|line| line.to_text(canvas.color) + "\n").collect()
    }

    #[test]
    fn a_frame_says_where_it_is_and_how_long() {
        let want = "\
Run 42  etcd.yaml  started 22:04Z by alice   ━━━━━━━━╸───────────────  1/3   45 s, about 56 s left
  members ▶ 1 of 3
  ⟳ ctl-3   applying 5 s: restartUnit · 10 s in all (median so far 33 s) · out of service 0.40 s
  ◌ ctl-1   staged; leaves service when ctl-3 is back and soaked
  ✓ ctl-2 33 s
  Ctrl-C closes this view, the run goes on   drydock why 42   drydock run pause 42
";
        assert_eq!(text(&samples::run(), AROUND, WIDE), want);
    }

    #[test]
    fn a_frame_ticks_between_two_views_and_says_when_nobody_answers() {
        let around = Around {
            since_view_ms: 4_000,
            trouble: Some("coordinator not reachable for 4 s, trying again"),
            ..AROUND
        };
        let got = text(&samples::run(), around, WIDE);
        assert!(got.contains("1/3   49 s, about 52 s left\n"), "{got}");
        assert!(got.contains("  ⟳ ctl-3   applying 9 s: restartUnit · 14 s in all"), "{got}");
        assert!(got.contains("\n  ! coordinator not reachable for 4 s, trying again\n"), "{got}");
    }

    #[test]
    fn past_the_estimate_and_at_the_end_nothing_is_promised() {
        let around = Around { since_view_ms: 60_000, ..AROUND };
        let got = text(&samples::run(), around, WIDE);
        assert!(got.contains("1/3   1 min 45 s\n"), "{got}");
        let got = text(&samples::done_run(), AROUND, WIDE);
        assert!(got.ends_with("✓ ctl-1 35 s   ✓ ctl-3 34 s   ✓ ctl-2 33 s\n"), "{got}");
        assert!(got.contains("3/3   1 min 45 s   done\n"), "{got}");
    }

    #[test]
    fn a_frame_says_what_the_run_waits_for() {
        let got = text(&samples::waiting_run(), AROUND, WIDE);
        let want = "\
  Waiting for   etcdQuorum to be clear on ctl-3
  Because       member ctl-1 is 8,112 entries behind; 5,000 are allowed
  Seen          4 s ago
  Until         22:19Z (in 8 min); then the run holds at this node
";
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn a_frame_fits_its_terminal_in_width_and_height() {
        let got = text(&samples::waiting_run(), Around { height: 8, ..AROUND }, NARROW);
        assert_eq!(got.lines().count(), 7, "{got}");
        assert!(got.lines().all(|line| line.chars().count() <= 60), "{got}");
        let want = "\
Run 42  etcd.yaml  started 22:04Z by alice
  ━━━━━╸─────────  1/3   7 min, about 56 s left
  members ▶ 1 of 3
";
        assert!(got.starts_with(want), "{got}");
    }

    #[test]
    fn the_nodes_that_are_done_are_counted_where_they_do_not_fit() {
        let mut view = samples::run();
        let one = samples::done_node();
        view.stages[0].waves[0].nodes = vec![one; 9];
        let got = text(&view, AROUND, NARROW);
        assert!(got.contains("  ✓ ctl-2 33 s   ✓ ctl-2 33 s   … 7 more\n"), "{got}");
    }

    #[test]
    fn a_bar_is_never_longer_than_it_may_be() {
        let shown = |done, all| bar(done, all, 6).to_text(false);
        assert_eq!(
            [shown(0, 3), shown(1, 3), shown(3, 3), shown(0, 0), shown(9, 3)],
            ["──────", "━━╸───", "━━━━━━", "──────", "━━━━━━"]
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let log = samples::run().log;
        let lines: Vec<String> = log.iter().map(|line| event(line).to_text(false)).collect();
        assert_eq!(
            lines,
            [
                "22:04:31Z  started by alice",
                "22:05:04Z  ctl-2  done: etcd 3.5.16",
                "22:05:11Z  ctl-3  apply handed out",
            ]
        );
    }
}
