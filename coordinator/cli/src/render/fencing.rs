//! `drydock takeover`: whom agents obey, and what they say of their journals.

use drydock_core::view::{FencedAgentView, FencedView, TakeOverView};

use super::{Canvas, Line, Page, Paint, time};

/// As many sections of one journal as a person reads; the rest are counted.
const READ: usize = 5;

/// The situation, or what was done about it.
pub(crate) fn page(view: &TakeOverView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    match view {
        TakeOverView::Obeyed { epoch } => {
            page.line(Line::of(format!(
                "No agent has said that it obeys another coordinator than this one (epoch {epoch}): there is nothing to take over."
            )));
        }
        TakeOverView::Fenced(view) => fenced(view, &mut page, canvas),
        TakeOverView::TakenOver(view) => {
            page.line(Line::of("Taken over: ").plus(
                format!(
                    "agents obey epoch {} of this coordinator from now on (it was {}).",
                    view.to, view.from
                ),
                Paint::Good,
            ));
            let runs: Vec<String> = view.runs.iter().map(|run| format!("run {run}")).collect();
            if !runs.is_empty() {
                let what = format!(
                    "{} {} taken up again: every open section is asked about, nothing is sent twice. A node whose journal \
                     holds what this record does not know is held for you.",
                    runs.join(", "),
                    if runs.len() == 1 { "is" } else { "are" }
                );
                page.hanging(Line::of(""), &what, Paint::Plain, canvas);
            }
            page.line(Line::of("Next:  ").plus("drydock node list && drydock why", Paint::Bold));
        }
    }
    page
}

fn fenced(view: &FencedView, page: &mut Page, canvas: Canvas) {
    let many = time::count(view.agents.len(), "agent obeys", "agents obey");
    let head = format!(
        "This coordinator (epoch {}) is fenced: {many} another one, of epoch {}, as it has known since {}.",
        view.epoch,
        view.obeyed_epoch,
        time::date_clock(view.since_unix_ms)
    );
    page.hanging(Line::of(""), &head, Paint::Bad, canvas);
    let what = "It hands out nothing, to nobody, and its runs stay as they are.";
    page.hanging(Line::of(""), what, Paint::Plain, canvas);
    page.gap();
    for agent in &view.agents {
        let head = Line::of("  ").plus(agent.node.to_string(), Paint::Bold).and("   ");
        page.hanging(head, &obeys(agent), Paint::Plain, canvas);
        let journal = journal(agent);
        page.hanging(Line::of("     "), &journal, Paint::Dim, canvas);
    }
    page.gap();
    if let Some(alive) = &view.alive {
        let head = Line::of("  ").plus("✗ ", Paint::Bad);
        let what = format!("{alive}. Two coordinators must not both work.");
        page.hanging(head, &what, Paint::Plain, canvas);
        let next = "if that one shall go on, stop this one; if this one shall, stop that one, wait a minute, and look again";
        page.hanging(Line::of("    → "), next, Paint::Plain, canvas);
        return;
    }
    let next =
        "Next:  make sure that the other coordinator does not run any more and never will on its store. Then";
    page.hanging(Line::of(""), next, Paint::Plain, canvas);
    let command = format!("drydock takeover --confirm {}", view.obeyed_epoch);
    let does = format!("   this one goes on, with epoch {}", view.next_epoch);
    page.line(Line::of("       ").plus(command, Paint::Bold).and(does));
}

fn obeys(agent: &FencedAgentView) -> String {
    let heard = match agent.heard_ms_ago {
        Some(ago) => format!("heard it {} ago", time::rough(ago)),
        None => "has not heard it since its own start".to_string(),
    };
    let instance: String = agent.instance.chars().take(8).collect();
    format!(
        "obeys epoch {} of {instance}, said so first at {} and last at {}; {heard}",
        agent.epoch,
        time::clock_seconds(agent.first_unix_ms),
        time::clock_seconds(agent.last_unix_ms)
    )
}

fn journal(agent: &FencedAgentView) -> String {
    let id: String = agent.journal.chars().take(8).collect();
    let mut told = format!("journal {id}, {} records", agent.journal_length);
    for (what, list) in [("at work", &agent.at_work), ("ended", &agent.ended)] {
        if list.is_empty() {
            continue;
        }
        let more = list.len().saturating_sub(READ);
        let more = if more > 0 { format!(", {more} more") } else { String::new() };
        let shown: Vec<&str> = list.iter().take(READ).map(String::as_str).collect();
        told.push_str(&format!("; {what}: {}{more}", shown.join(", ")));
    }
    if agent.at_work.is_empty() && agent.ended.is_empty() {
        told.push_str("; nothing in it that changed the node");
    }
    told
}

#[cfg(test)]
mod tests {
    use drydock_core::view::TakenOverView;
    use drydock_types::NodeName;

    use super::*;
    use crate::render::samples::{FILE, NARROW, START};

    fn fenced(alive: Option<String>) -> TakeOverView {
        let agent = FencedAgentView {
            node: NodeName::parse("ctl-1").unwrap(),
            epoch: 7,
            instance: "ab".repeat(16),
            first_unix_ms: START,
            last_unix_ms: START + 5000,
            heard_ms_ago: Some(240_000),
            journal: "cd".repeat(16),
            journal_length: 31,
            at_work: Vec::new(),
            ended: vec!["0707 swapBinary, restartUnit: done".into()],
        };
        TakeOverView::Fenced(FencedView {
            epoch: 5,
            instance: "ef".repeat(16),
            obeyed_epoch: 7,
            since_unix_ms: START,
            alive,
            next_epoch: 8,
            agents: vec![agent],
        })
    }

    #[test]
    fn the_evidence_ends_with_the_command_that_takes_over_on_it() {
        let text = page(&fenced(None), FILE).to_text(FILE);
        for part in [
            "This coordinator (epoch 5) is fenced: 1 agent obeys another one, of epoch 7",
            "ctl-1   obeys epoch 7 of abababab",
            "heard it 4 min ago",
            "journal cdcdcdcd, 31 records; ended: 0707 swapBinary, restartUnit: done",
            "drydock takeover --confirm 7   this one goes on, with epoch 8",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let narrow = page(&fenced(None), NARROW).to_text(NARROW);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }

    #[test]
    fn no_command_is_offered_while_the_other_is_alive() {
        let text = page(&fenced(Some("the coordinator of epoch 7 is alive".into())), FILE).to_text(FILE);
        assert!(text.contains("is alive. Two coordinators must not both work"), "{text}");
        assert!(!text.contains("--confirm"), "{text}");
    }

    #[test]
    fn a_take_over_says_what_is_taken_up_again() {
        let view = TakeOverView::TakenOver(TakenOverView { from: 5, to: 8, runs: vec![3] });
        let text = page(&view, FILE).to_text(FILE);
        assert!(text.contains("agents obey epoch 8") && text.contains("run 3 is taken up again"), "{text}");
    }
}
