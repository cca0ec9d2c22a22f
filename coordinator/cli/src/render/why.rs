//! `drydock why`: the whole answer in one command.

use drydock_core::{
    hold_kind::WaitKind,
    view::{RunLineView, RunStatus, RunView, WaitingView},
};

use super::{Canvas, Line, Page, Paint, hold, run, time};

/// What the run waits for; where it waits for nothing, what is going on.
pub(crate) fn page(view: &RunView, canvas: Canvas) -> Page {
    if let Some(hold) = hold::asks(view) {
        return hold::page(view, hold, canvas);
    }
    let mut page = Page::default();
    match (view.status, &view.waiting) {
        (RunStatus::Queued, Some(waiting)) => queued(view, waiting, &mut page, canvas),
        (RunStatus::Paused, Some(waiting)) => paused(view, waiting, &mut page, canvas),
        (RunStatus::Running | RunStatus::Aborting | RunStatus::Held, Some(waiting)) => {
            self::waiting(view, waiting, &mut page, canvas);
        }
        (RunStatus::Aborted | RunStatus::Done, _) => page.append(run::ended(view, canvas)),
        (_, None) => at_work(view, &mut page, canvas),
    }
    // Where the freeze is what is waited for, it stands above.
    let told = view.waiting.as_ref().is_some_and(|waiting| waiting.kind == WaitKind::Freeze);
    if view.frozen.is_some() && !view.status.is_closed() && !told {
        page.gap();
        run::freeze(view, &mut page);
    }
    page
}

fn waiting(view: &RunView, waiting: &WaitingView, page: &mut Page, canvas: Canvas) {
    let now = view.now_unix_ms;
    let for_ms = now.saturating_sub(waiting.since_unix_ms);
    let place = match (&waiting.node, waiting.phase) {
        (Some(node), Some(phase)) => format!(" at {node} ({})", phase.word()),
        (Some(node), None) => format!(" at {node}"),
        (None, _) => String::new(),
    };
    let number = view.number;
    let for_ms = time::rough(for_ms);
    let aborting = if view.status == RunStatus::Aborting { "is being aborted, and " } else { "" };
    page.line(Line::of(if waiting.at_work {
        format!("Run {number} {aborting}has been at work{place} for {for_ms}.")
    } else {
        format!("Run {number} {aborting}has waited {for_ms}{place}.")
    }));
    page.gap();
    details(view, waiting, page, canvas);
}

/// Waiting for, because, seen, until.
pub(crate) fn fields(waiting: &WaitingView, now: u64) -> Vec<(&'static str, String)> {
    let until = match waiting.left_ms {
        Some(left) => {
            let at = time::near(now + left, now);
            format!("{at} (in {}); then {}", time::rough(left), waiting.then)
        }
        None => waiting.then.clone(),
    };
    let mut fields = vec![("Waiting for", waiting.waiting_for.clone()), ("Because", waiting.because.clone())];
    // What an agent is at, and what a person decides, is not looked at: it is known.
    if !waiting.at_work && waiting.node.is_some() {
        fields.push(("Seen", time::ago(waiting.seen_unix_ms, now)));
    }
    if !until.is_empty() {
        fields.push(("Until", until));
    }
    fields
}

/// Beneath a heading of its own: the rows of a wait and what can be typed.
pub(crate) fn details(view: &RunView, waiting: &WaitingView, page: &mut Page, canvas: Canvas) {
    let rows: Vec<_> = fields(waiting, view.now_unix_ms).into_iter().chain(run::outages(view)).collect();
    page.fields(&rows, canvas);
    hold::commands("You can", 16, &waiting.can, page, canvas);
    // In the column of the rows above.
    let besides: Vec<(&str, String)> =
        waiting.others.iter().map(|other| ("Besides    ", other.clone())).collect();
    page.fields(&besides, canvas);
}

fn queued(view: &RunView, waiting: &WaitingView, page: &mut Page, canvas: Canvas) {
    let waited = time::rough(view.now_unix_ms.saturating_sub(view.started_unix_ms));
    page.line(Line::of(format!("Run {} has waited {waited} in the queue.", view.number)));
    page.gap();
    details(view, waiting, page, canvas);
}

fn paused(view: &RunView, waiting: &WaitingView, page: &mut Page, canvas: Canvas) {
    let by = view.stopped_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    let since = time::ago(waiting.since_unix_ms, view.now_unix_ms);
    let head = Line::of(format!("Run {} was ", view.number)).plus("paused", Paint::Warn);
    page.line(head.and(format!("{by} {since}.")));
    page.gap();
    details(view, waiting, page, canvas);
}

/// Why the run ahead has not ended yet: beneath the answer of a run that is queued behind it.
pub(crate) fn ahead(view: &RunView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.gap();
    page.append(self::page(view, canvas));
    page
}

/// Other runs that are open, a line each.
pub(crate) fn others(runs: &[RunLineView], canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.gap();
    let rows = runs.iter().map(|other| {
        let (word, paint) = run::status(other.status);
        vec![
            Line::of("Also open"),
            Line::of(format!("run {} ({}) is ", other.number, other.name)).plus(word, paint),
            Line::of(other.summary.clone()),
            Line::painted(format!("drydock why {}", other.number), Paint::Bold),
        ]
    });
    page.table(2, rows.collect(), canvas);
    page
}

fn at_work(view: &RunView, page: &mut Page, canvas: Canvas) {
    page.line(Line::of(format!("Run {} waits for nothing: it is at work.", view.number)));
    page.gap();
    let working: Vec<_> = run::nodes(view).filter(|node| run::is_at_work(node.phase)).collect();
    for node in &working {
        let text = run::doing(node, view.now_unix_ms, run::median_ms(view), false);
        page.hanging(
            Line::of("  ").plus("⟳ ", Paint::Work).plus(node.node.as_str(), Paint::Bold).and("   "),
            &text,
            Paint::Plain,
            canvas,
        );
    }
    if working.is_empty() {
        page.line(Line::of("  between two nodes"));
    }
}

#[cfg(test)]
mod tests {
    use drydock_core::view::OutageView;

    use super::*;
    use crate::render::samples::{self, FILE, NARROW, WIDE};

    fn text(view: &RunView, canvas: Canvas) -> String {
        page(view, canvas).to_text(canvas)
    }

    #[test]
    fn a_wait_is_answered_whole() {
        let want = "\
Run 42 has waited 6 min 12 s at ctl-3 (gating).

  Waiting for   etcdQuorum to be clear on ctl-3
  Because       member ctl-1 is 8,112 entries behind; 5,000 are allowed
  Seen          4 s ago
  Until         22:19Z (in 8 min); then the run holds at this node
  You can       drydock node show ctl-1   see the node
                drydock run pause 42      stop here
";
        assert_eq!(text(&samples::waiting_run(), WIDE), want);
        assert_eq!(text(&samples::waiting_run(), FILE), want);
    }

    #[test]
    fn a_wait_fits_a_narrow_terminal() {
        let got = text(&samples::waiting_run(), NARROW);
        assert!(got.lines().all(|line| line.chars().count() <= 60), "{got}");
        assert!(
            got.contains(
                "  Because       member ctl-1 is 8,112 entries behind; 5,000\n                are allowed\n"
            ),
            "{got}"
        );
    }

    #[test]
    fn a_run_that_waits_for_nothing_says_what_is_going_on() {
        let want = "\
Run 42 waits for nothing: it is at work.

  ⟳ ctl-3   applying 5 s: restartUnit · 10 s in all (median so far 33 s) · out of service 0.40 s
";
        assert_eq!(text(&samples::run(), WIDE), want);
    }

    #[test]
    fn an_agent_at_work_is_no_blocker_and_has_its_limit() {
        let mut view = samples::waiting_run();
        view.waiting.as_mut().unwrap().at_work = true;
        let text = text(&view, WIDE);
        assert!(text.starts_with("Run 42 has been at work at ctl-3 (gating) for 6 min 12 s.\n"), "{text}");
        assert!(!text.contains("Seen") && text.contains("  Until         22:19Z (in 8 min)"), "{text}");
    }

    #[test]
    fn an_accepted_outage_says_how_much_of_it_is_over_before_it_is() {
        let mut view = samples::waiting_run();
        let since = view.now_unix_ms - 130_000;
        view.stages[0].waves[0].nodes[1].outage = Some(OutageView {
            what: "etcd".into(),
            since_unix_ms: since,
            accepted_ms: 300_000,
            left_ms: Some(170_000),
        });
        let text = text(&view, WIDE);
        let want =
            "  Outage        ctl-3: etcd out 2 min 10 s of 5 min accepted; in 2 min 50 s the run holds\n";
        assert!(text.contains(want), "{text}");
        let doing = run::doing(&view.stages[0].waves[0].nodes[1], view.now_unix_ms, None, true);
        assert!(doing.contains(" · etcd out 2 min 10 s of 5 min accepted"), "{doing}");
    }

    #[test]
    fn a_queued_run_names_the_run_ahead() {
        let mut view = samples::run();
        (view.status, view.queued_behind) = (RunStatus::Queued, Some(41));
        view.waiting = Some(samples::person_wait("run 41 to end", "drydock why 41"));
        let want = "\
Run 42 has waited 45 s in the queue.

  Waiting for   run 41 to end
  Because       the reason
  Until         it ends
  You can       drydock why 41   do something
";
        assert_eq!(text(&view, WIDE), want);
    }

    #[test]
    fn a_freeze_is_told_once_and_beside_any_other_wait() {
        let mut view = samples::waiting_run();
        let (by, why) = ("alice".to_owned(), "the core router".to_owned());
        view.frozen = Some(drydock_core::standing::Decision { by, why, unix_ms: view.now_unix_ms });
        let told = |view: &RunView| text(view, WIDE).matches("The fleet is frozen").count();
        assert_eq!(told(&view), 1);
        view.waiting.as_mut().unwrap().kind = WaitKind::Freeze;
        assert_eq!(told(&view), 0);
    }

    #[test]
    fn a_paused_run_says_by_whom_and_what_is_still_handed_out() {
        let mut view = samples::run();
        (view.status, view.stopped_by) = (RunStatus::Paused, Some("bob".into()));
        view.waiting = Some(samples::person_wait("an operator", "drydock run resume 42"));
        let want = "\
Run 42 was paused by bob 5 s ago.

  Waiting for   an operator
  Because       the reason
  Until         it ends
  You can       drydock run resume 42   do something
";
        assert_eq!(text(&view, WIDE), want);
    }
}
