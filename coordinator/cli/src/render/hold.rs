//! A hold: what happened, how things stand, and the commands that go on.

use drydock_core::view::{CommandView, HoldView, RunStatus, RunView};
use drydock_types::NodeName;

use super::{Canvas, Line, Page, Paint, run, time};

/// `drydock run show` of a held run, and the last words of `run watch`.
pub(crate) fn page(view: &RunView, hold: &HoldView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let how = match view.status {
        RunStatus::Aborting => "cannot end by itself: ",
        _ => "is on hold: ",
    };
    let text = format!("Run {} {how}{}", view.number, sentence(&hold.reason));
    page.hanging(Line::default(), &text, Paint::Bold, canvas);
    page.gap();
    let mut fields = vec![("What happened", hold.happened.clone())];
    let place = hold.node.as_ref().map_or_else(|| "On the node".to_owned(), |node| format!("On {node}"));
    fields.extend(hold.on_the_node.iter().map(|text| (place.as_str(), text.clone())));
    fields.push(("State now", hold.state_now.clone()));
    fields.extend(run::outages(view));
    if let Some(evidence) = evidence(view, hold) {
        fields.push(("Evidence", evidence));
    }
    fields.push(("Since", time::ago(hold.since_unix_ms, view.now_unix_ms)));
    // Texts and the commands below stand in one column.
    let column = 2 + fields.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) + 3;
    page.fields(&fields, canvas);
    commands("Next", column, &hold.next, &mut page, canvas);
    page
}

/// The hold for which a person must act, while there is one: a run that is being aborted may have one too,
/// when it cannot end without one.
pub(crate) fn asks(view: &RunView) -> Option<&HoldView> {
    let hold = view.hold.as_ref()?;
    let still_out = |node: &NodeName| view.handed_out.iter().any(|out| out.ends_with(&format!(" on {node}")));
    match view.status {
        RunStatus::Held => Some(hold),
        RunStatus::Aborting => hold.node.as_ref().is_some_and(still_out).then_some(hold),
        RunStatus::Queued | RunStatus::Running | RunStatus::Paused | RunStatus::Aborted | RunStatus::Done => {
            None
        }
    }
}

/// Ends with a full stop, once.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// `events 318 … 331, unit log 40 lines:  drydock run show 42 --node ctl-3`
fn evidence(view: &RunView, hold: &HoldView) -> Option<String> {
    let node = hold.node.as_ref()?;
    let seqs = || view.log.iter().filter(|line| line.node.as_ref() == Some(node)).map(|line| line.seq);
    let events = match (seqs().min(), seqs().max()) {
        (Some(first), Some(last)) if first < last => Some(format!("events {first} … {last}")),
        (Some(only), _) => Some(format!("event {only}")),
        _ => None,
    };
    let log =
        (!hold.log.is_empty()).then(|| format!("unit log {}", time::count(hold.log.len(), "line", "lines")));
    let what: Vec<String> = events.into_iter().chain(log).collect();
    let command = format!("drydock run show {} --node {node}", view.number);
    Some(if what.is_empty() { command } else { format!("{}:  {command}", what.join(", ")) })
}

/// Commands that can be copied, one a line, each with what it does.
pub(crate) fn commands(label: &str, column: usize, list: &[CommandView], page: &mut Page, canvas: Canvas) {
    let widest = list.iter().map(|item| item.command.chars().count()).max().unwrap_or(0);
    let wanted = column + widest + 3 + list.iter().map(|item| item.does.chars().count()).max().unwrap_or(0);
    let beside = canvas.width.is_none_or(|width| wanted <= width);
    for (i, item) in list.iter().enumerate() {
        let head = Line::of("  ").plus(if i == 0 { label } else { "" }, Paint::Dim).pad_to(column);
        if beside {
            page.line(head.plus(&item.command, Paint::Bold).pad_to(column + widest + 3).and(&item.does));
        } else {
            // A command is never broken: it is there to be copied.
            page.line(head.plus(&item.command, Paint::Bold));
            page.hanging(Line::of(" ".repeat(column + 2)), &item.does, Paint::Dim, canvas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, FILE, NARROW, WIDE};

    fn text(canvas: Canvas) -> String {
        let view = samples::held_run();
        let hold = view.hold.clone().unwrap();
        page(&view, &hold, canvas).to_text(canvas)
    }

    #[test]
    fn a_hold_says_what_happened_how_things_stand_and_what_to_type() {
        let want = "\
Run 42 is on hold: ctl-3 did not come back with etcd 3.5.16, and is back on 3.4.23.

  What happened   etcd.service exited 1 four times in 8 s: \"listen tcp 10.99.0.3:2380: address already in use\"
  On ctl-3        free the port, then try this node again
  State now       3 of 3 members healthy on 3.4.23; nothing of ours is left on ctl-3; 3.5.16 is quarantined there
  Evidence        event 321, unit log 1 line:  drydock run show 42 --node ctl-3
  Since           just now
  Next            drydock run resume 42   try this node again
                  drydock run abort 42    leave it here: ctl-2 stays on 3.5.16
";
        assert_eq!(text(WIDE), want);
        assert_eq!(text(FILE), want);
    }

    #[test]
    fn in_a_narrow_terminal_texts_wrap_and_commands_do_not() {
        let want = "\
  Next            drydock run resume 42
                    try this node again
                  drydock run abort 42
                    leave it here: ctl-2 stays on 3.5.16
";
        let got = text(NARROW);
        assert!(got.ends_with(want), "{got}");
    }
}
