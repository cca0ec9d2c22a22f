//! What `run rollback` answers, and how a run and its rollback name each other.

use drydock_core::view::{RollbackNodeView, RollbackView, RunView};

use super::{Canvas, Line, Page, Paint};

/// The new run's number, and what it will do, in order.
pub(crate) fn page(view: &RollbackView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let number = view.number;
    page.line(
        Line::of("Run ")
            .plus(number.to_string(), Paint::Bold)
            .and(format!(" takes run {} back, one node at a time:", view.undoes)),
    );
    for (place, node) in view.nodes.iter().enumerate() {
        page.hanging(Line::of(format!("  {}. ", place + 1)), &step(node), Paint::Plain, canvas);
    }
    for left in &view.left_out {
        page.hanging(
            Line::of("  –  "),
            &format!("{} ({}): {}", left.node, left.stage, left.why),
            Paint::Dim,
            canvas,
        );
    }
    if let Some(other) = view.queued_behind {
        let because = if view.aborted && other == view.undoes {
            format!(
                "Run {other} was aborted for it and brings to an end what it has begun; then this one begins by itself."
            )
        } else {
            format!("It is queued behind run {other} and begins by itself.")
        };
        page.hanging(Line::default(), &because, Paint::Plain, canvas);
    } else if view.aborted {
        page.line(Line::of(format!("Run {} was aborted for it.", view.undoes)));
    }
    page.line(Line::of("Follow it:  ").plus(format!("drydock run watch {number}"), Paint::Bold));
    page
}

fn step(node: &RollbackNodeView) -> String {
    let RollbackNodeView { node, component, from, to, note } = node;
    let to = to.as_ref().map_or_else(|| "what ran before".to_string(), ToString::to_string);
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    format!("{node}: {component} {from} back to {to}{note}")
}

/// `takes run 41 back`, `taken back by run 42`
pub(crate) fn of(view: &RunView) -> Option<String> {
    let undoes = view.undoes.map(|run| format!("takes run {run} back (drydock run show {run})"));
    let by: Vec<String> = view.undone_by.iter().map(ToString::to_string).collect();
    let undone = by.last().map(|last| {
        let runs = if by.len() == 1 { "run" } else { "runs" };
        format!("taken back by {runs} {} (drydock run show {last})", by.join(", "))
    });
    let both: Vec<String> = undoes.into_iter().chain(undone).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

#[cfg(test)]
mod tests {
    use drydock_core::view::SkippedView;
    use drydock_types::{ComponentName, Label, NodeName, Version};

    use super::*;
    use crate::render::samples::{self, WIDE};

    fn view() -> RollbackView {
        let node = |name: &str, note: &str| RollbackNodeView {
            node: NodeName::parse(name).unwrap(),
            component: ComponentName::parse("etcd").unwrap(),
            from: Version::parse("3.5.16").unwrap(),
            to: Some(Version::parse("3.4.23").unwrap()),
            note: note.to_string(),
        };
        RollbackView {
            number: 42,
            undoes: 41,
            aborted: true,
            queued_behind: Some(41),
            nodes: vec![
                node("ctl-3", "left half-way; taken back without the gate if it is down"),
                node("ctl-2", ""),
            ],
            left_out: vec![SkippedView {
                node: NodeName::parse("ctl-1").unwrap(),
                stage: Label::parse("etcd").unwrap(),
                why: "it is back on what it ran before".to_string(),
            }],
        }
    }

    #[test]
    fn a_rollback_says_what_it_will_do_in_order_and_how_to_follow_it() {
        let text = page(&view(), WIDE).to_text(WIDE);
        for line in [
            "Run 42 takes run 41 back, one node at a time:",
            "1. ctl-3: etcd 3.5.16 back to 3.4.23; left half-way; taken back without the gate if it is down",
            "2. ctl-2: etcd 3.5.16 back to 3.4.23",
            "ctl-1 (etcd): it is back on what it ran before",
            "Run 41 was aborted for it",
            "drydock run watch 42",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn both_runs_name_each_other() {
        let mut run = samples::run();
        assert_eq!(of(&run), None);
        run.undoes = Some(41);
        assert_eq!(of(&run).unwrap(), "takes run 41 back (drydock run show 41)");
        (run.undoes, run.undone_by) = (None, vec![43, 44]);
        assert_eq!(of(&run).unwrap(), "taken back by runs 43, 44 (drydock run show 44)");
    }
}
