//! `drydock why`: the whole answer in one command.

use drydock_core::view::{CommandView, RunStatus, RunView, WaitingView};

use super::{Canvas, Line, Page, Paint, hold, run, time};

/// What the run waits for; where it waits for nothing, what is going on.
pub(crate) fn page(view: &RunView, canvas: Canvas) -> Page {
    if let (RunStatus::Held, Some(hold)) = (view.status, &view.hold) {
        return hold::page(view, hold, canvas);
    }
    let mut page = Page::default();
    match (view.status, &view.waiting) {
        (RunStatus::Queued, _) => queued(view, &mut page, canvas),
        (RunStatus::Paused, _) => paused(view, &mut page, canvas),
        (RunStatus::Running | RunStatus::Aborting | RunStatus::Held, Some(waiting)) => {
            self::waiting(view, waiting, &mut page, canvas);
        }
        (RunStatus::Running | RunStatus::Aborting | RunStatus::Held, None) => {
            at_work(view, &mut page, canvas)
        }
        (RunStatus::Aborted | RunStatus::Done, _) => {
            page.append(run::ended(view, canvas));
            page.line(Line::of("It waits for nothing."));
        }
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
    page.line(Line::of(format!("Run {} has waited {}{place}.", view.number, time::rough(for_ms))));
    page.gap();
    page.fields(&fields(waiting, now), canvas);
    hold::commands("You can", 16, &waiting.can, page, canvas);
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
    let mut fields = vec![
        ("Waiting for", waiting.waiting_for.clone()),
        ("Because", waiting.because.clone()),
        ("Seen", time::ago(waiting.seen_unix_ms, now)),
    ];
    if !until.is_empty() {
        fields.push(("Until", until));
    }
    fields
}

fn can(does: &str, command: String) -> CommandView {
    CommandView { does: does.to_owned(), command }
}

fn queued(view: &RunView, page: &mut Page, canvas: Canvas) {
    let waited = time::rough(view.now_unix_ms.saturating_sub(view.started_unix_ms));
    page.line(Line::of(format!("Run {} has waited {waited} in the queue.", view.number)));
    page.gap();
    let ahead = view.queued_behind.map_or_else(|| "another run".to_owned(), |ahead| format!("run {ahead}"));
    let fields = [
        ("Waiting for", format!("{ahead} to end")),
        ("Because", "both work on the same nodes".to_owned()),
        ("Until", format!("{ahead} ends; then this one begins by itself")),
    ];
    page.fields(&fields, canvas);
    let mut list = Vec::new();
    if let Some(ahead) = view.queued_behind {
        list.push(can("see what that one waits for", format!("drydock why {ahead}")));
    }
    list.push(can("give up the place in the queue", format!("drydock run abort {}", view.number)));
    hold::commands("You can", 16, &list, page, canvas);
}

fn paused(view: &RunView, page: &mut Page, canvas: Canvas) {
    let by = view.stopped_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    page.line(Line::of(format!("Run {} is ", view.number)).plus("paused", Paint::Warn).and(format!("{by}.")));
    page.gap();
    let handed_out = match view.handed_out.as_slice() {
        [] => "nothing is handed out; nothing changes until it is resumed".to_owned(),
        list => format!("{} (handed out before, ends by itself)", list.join(", ")),
    };
    page.fields(&[("Waiting for", "an operator".to_owned()), ("State now", handed_out)], canvas);
    let list = [
        can("go on", format!("drydock run resume {}", view.number)),
        can("end it", format!("drydock run abort {}", view.number)),
    ];
    hold::commands("You can", 16, &list, page, canvas);
}

fn at_work(view: &RunView, page: &mut Page, canvas: Canvas) {
    page.line(Line::of(format!("Run {} waits for nothing: it is at work.", view.number)));
    page.gap();
    let working: Vec<_> = run::nodes(view).filter(|node| run::is_at_work(node.phase)).collect();
    for node in &working {
        let text = run::doing(node, view.now_unix_ms, run::median_ms(view));
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
    fn a_queued_run_names_the_run_ahead() {
        let mut view = samples::run();
        (view.status, view.queued_behind) = (RunStatus::Queued, Some(41));
        let want = "\
Run 42 has waited 45 s in the queue.

  Waiting for   run 41 to end
  Because       both work on the same nodes
  Until         run 41 ends; then this one begins by itself
  You can       drydock why 41         see what that one waits for
                drydock run abort 42   give up the place in the queue
";
        assert_eq!(text(&view, WIDE), want);
    }

    #[test]
    fn a_paused_run_says_by_whom_and_what_is_still_handed_out() {
        let mut view = samples::run();
        (view.status, view.stopped_by) = (RunStatus::Paused, Some("bob".into()));
        let want = "\
Run 42 is paused by bob.

  Waiting for   an operator
  State now     apply on ctl-3 (handed out before, ends by itself)
  You can       drydock run resume 42   go on
                drydock run abort 42    end it
";
        assert_eq!(text(&view, WIDE), want);
    }
}
