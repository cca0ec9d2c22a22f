//! Marks in a cluster.

use drydock_kubernetes::marks::{Marked, Said};

use super::{Canvas, Line, Page, Paint};
use crate::commands::marks::ReleasedView;

/// `marks list`.
pub(crate) fn list(marks: &[Marked], again: &str, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if marks.is_empty() {
        page.line(Line::of("No Node of this cluster has a mark of Drydock."));
        return page;
    }
    for (at, marked) in marks.iter().enumerate() {
        if at > 0 {
            page.gap();
        }
        one(marked, &mut page, canvas);
    }
    page.gap();
    if let Some(first) = marks.iter().find(|marked| marked.mark.is_some() && marked.hands.is_empty()) {
        let release = format!("drydock marks release {} {again}", first.kube_node);
        page.line(Line::of("Next:  ").plus(release, Paint::Bold));
    }
    let note = "A run that is still at work takes its marks back by itself; see `drydock why` where there is a coordinator.";
    page.hanging(Line::of("       "), note, Paint::Dim, canvas);
    page
}

/// What `marks release` would do.
pub(crate) fn before(marked: &Marked, again: &str, canvas: Canvas) -> Page {
    let mut page = Page::default();
    one(marked, &mut page, canvas);
    page.gap();
    if marked.mark.is_some() && marked.hands.is_empty() {
        page.line(Line::of(match (marked.cordoned, was_cordoned(marked)) {
            (true, false) => "It would be uncordoned, and its mark taken off.",
            (true, true) => "Its mark would be taken off; it stays cordoned, as it was before Drydock came.",
            (false, _) => "Somebody has uncordoned it; its mark would be taken off.",
        }));
        let release = format!("drydock marks release {} {again} --yes", marked.kube_node);
        page.line(Line::of("Next:  ").plus(release, Paint::Bold));
    }
    page
}

/// What `marks release` did.
pub(crate) fn released(view: &ReleasedView) -> Page {
    let mut page = Page::default();
    page.line(Line::painted("✓ ", Paint::Good).and(format!("{}.", capital(&view.what))));
    page.line(
        Line::of("Where there is a coordinator, tell it:  ")
            .plus(format!("drydock node release {} --marks", view.mark.node), Paint::Bold),
    );
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn was_cordoned(marked: &Marked) -> bool {
    marked.mark.as_ref().is_some_and(|mark| mark.was_cordoned)
}

fn one(marked: &Marked, page: &mut Page, canvas: Canvas) {
    let now = if marked.cordoned { "cordoned now" } else { "not cordoned now" };
    let head = Line::of("Node ").plus(&marked.kube_node, Paint::Bold);
    page.line(head.plus(format!("   {now}"), Paint::Dim));
    let mut fields = Vec::new();
    if let Some(Said { fleet, run, node, epoch, was_cordoned }) = &marked.mark {
        fields.push(("Is", format!("{node} of the fleet {fleet}")));
        fields.push(("Marked for", format!("run {run}, by the coordinator of epoch {}", epoch.0)));
        let before = if *was_cordoned { "cordoned by somebody else" } else { "in service" };
        fields.push(("Before", before.to_owned()));
    }
    if let Some(why) = &marked.illegible {
        let (key, name) = (drydock_kubernetes::mark::KEY, &marked.kube_node);
        let helps = format!(
            "it cannot be read ({why}): another version of Drydock may have set it; if nobody needs it, \
             kubectl annotate node {name} {key}-"
        );
        fields.push(("Mark", helps));
    }
    if let Some(since) = &marked.since {
        fields.push(("Since", since.clone()));
    }
    for hand in &marked.hands {
        fields.push(("Beside it", hand.clone()));
    }
    page.fields(&fields, canvas);
}

#[cfg(test)]
mod tests {
    use drydock_types::{Epoch, FleetId, NodeName, RunId};

    use super::*;

    fn text(page: &Page) -> String {
        page.to_text(Canvas { width: None, color: false })
    }

    fn marked(was_cordoned: bool) -> Marked {
        let (fleet, run) = (FleetId([1; 16]), RunId([2; 16]));
        let node = NodeName::parse("ctl-1").unwrap();
        Marked {
            kube_node: "k-1".to_owned(),
            cordoned: true,
            mark: Some(Said { fleet, run, node, epoch: Epoch(7), was_cordoned }),
            illegible: None,
            since: Some("2026-11-21T03:00:00Z".to_owned()),
            hands: Vec::new(),
        }
    }

    #[test]
    fn a_list_says_whose_each_mark_is_and_what_was_before_and_how_one_is_taken_back() {
        let illegible = Marked {
            kube_node: "k-2".to_owned(),
            mark: None,
            illegible: Some("missing field `run`".to_owned()),
            ..marked(false)
        };
        let text = text(&list(&[marked(true), illegible], "--kubeconfig k.yaml", canvas()));
        for word in [
            "Node k-1   cordoned now",
            "ctl-1 of the fleet 0101",
            "run 0202",
            "epoch 7",
            "cordoned by somebody else",
            "2026-11-21T03:00:00Z",
            "missing field `run`",
            "kubectl annotate node k-2 drydock/mark-",
            "drydock marks release k-1 --kubeconfig k.yaml",
        ] {
            assert!(text.contains(word), "{word}\n{text}");
        }
    }

    fn canvas() -> Canvas {
        Canvas { width: None, color: false }
    }

    #[test]
    fn before_it_is_done_it_says_what_will_be_and_nothing_is_offered_beside_another_hand() {
        let said = text(&before(&marked(false), "--kubeconfig k.yaml", canvas()));
        assert!(said.contains("It would be uncordoned"), "{said}");
        assert!(said.contains("drydock marks release k-1 --kubeconfig k.yaml --yes"), "{said}");
        let said = text(&before(&marked(true), "", canvas()));
        assert!(said.contains("it stays cordoned"), "{said}");
        let beside = Marked { hands: vec!["kured reboots it".to_owned()], ..marked(false) };
        let said = text(&before(&beside, "", canvas()));
        assert!(said.contains("kured reboots it") && !said.contains("--yes"), "{said}");
    }
}
