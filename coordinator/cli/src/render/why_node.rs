//! `drydock why NODE`: what keeps a node where it is.

use drydock_core::view::{NodeInRunView, RunStatus, WhyNodeView};

use super::{Canvas, Line, Page, Paint, hold, run, time, why};

/// The whole answer: does it count, what it waits for in each run, what stands on record.
pub(crate) fn page(view: &WhyNodeView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    head(view, &mut page, canvas);
    for part in &view.runs {
        page.gap();
        in_run(view, part, &mut page, canvas);
    }
    if view.runs.is_empty() {
        page.gap();
        page.line(Line::of("  No open run has it."));
    }
    if !view.on_record.is_empty() {
        page.gap();
        page.line(Line::of("  ").plus("On record", Paint::Dim));
        for item in &view.on_record {
            page.hanging(Line::of("    "), &item.what, Paint::Plain, canvas);
            if let Some(command) = &item.command {
                page.line(Line::of("      until  ").plus(command, Paint::Bold));
            }
        }
    }
    page.gap();
    hold::commands("You can", 16, &view.can, &mut page, canvas);
    page
}

fn head(view: &WhyNodeView, page: &mut Page, canvas: Canvas) {
    let name = Line::of("Node ").plus(view.node.as_str(), Paint::Bold);
    let since = time::ago(view.since_unix_ms, view.now_unix_ms);
    let agent = if view.connected {
        format!("its agent connected {since}")
    } else {
        format!("its agent was last heard {since}")
    };
    match (&view.uncounted, view.out_of_service.as_slice()) {
        (Some(why), _) => page.hanging(name.and(" is "), &format!("{why}; {agent}."), Paint::Plain, canvas),
        (None, []) => {
            page.line(name.and(format!(" is in service as far as Drydock knows; {agent}.")));
        }
        (None, causes) => {
            let what = format!("{}; {agent}.", causes.join("; "));
            page.hanging(name.and(" counts as out of service: "), &what, Paint::Plain, canvas);
        }
    }
}

fn in_run(view: &WhyNodeView, part: &NodeInRunView, page: &mut Page, canvas: Canvas) {
    let now = view.now_unix_ms;
    let (word, paint) = run::status(part.status);
    let head =
        Line::of("  Run ").plus(part.run.to_string(), Paint::Bold).and(format!(" ({}) is ", part.name));
    let mut at = format!(
        "; {} has been {} there for {}",
        part.component,
        part.phase.word(),
        time::rough(now.saturating_sub(part.since_unix_ms))
    );
    if !part.note.is_empty() && part.hold.is_none() {
        at.push_str(&format!(": {}", part.note));
    }
    page.hanging(head.plus(word, paint), &at, Paint::Plain, canvas);
    let mut fields = Vec::new();
    if let Some(held) = &part.hold {
        let at = held.node.as_ref().map(|node| format!("at {node}: ")).unwrap_or_default();
        fields.push(("On hold", format!("{at}{}", hold::sentence(&held.reason))));
        fields.push(("What happened", held.happened.clone()));
        fields.push(("State now", held.state_now.clone()));
    } else if let Some(waiting) = &part.waiting {
        fields.extend(why::fields(waiting, now));
    } else if part.phase.is_at_work() {
        fields.push(("Waiting for", "nothing: it is at work".to_owned()));
    }
    if let Some(out) = &part.outage {
        fields.push(("Outage", run::outage(out, now)));
    }
    page.fields(&fields, canvas);
    let commands = part.hold.as_ref().map(|hold| &hold.next).or(part.waiting.as_ref().map(|it| &it.can));
    let label = if part.status == RunStatus::Held { "Next" } else { "You can" };
    commands.into_iter().for_each(|list| hold::commands(label, 16, list, page, canvas));
}

#[cfg(test)]
mod tests {
    use drydock_core::view::{CommandView, OnRecordView, Phase};
    use drydock_types::ComponentName;

    use super::*;
    use crate::render::samples::{self, WIDE};

    fn view() -> WhyNodeView {
        let run = samples::waiting_run();
        WhyNodeView {
            node: samples::node_name("ctl-3"),
            now_unix_ms: run.now_unix_ms,
            connected: true,
            since_unix_ms: run.now_unix_ms - 3_600_000,
            out_of_service: vec!["run 41 left etcd in doubt there".into()],
            uncounted: None,
            runs: vec![NodeInRunView {
                run: 42,
                name: run.name,
                status: RunStatus::Running,
                component: ComponentName::parse("etcd").unwrap(),
                phase: Phase::Gating,
                since_unix_ms: run.now_unix_ms - 372_000,
                note: String::new(),
                outage: None,
                waiting: run.waiting,
                hold: None,
            }],
            on_record: vec![OnRecordView {
                what: "run 41 left etcd in doubt here (silent); counted as out of service".into(),
                command: Some("drydock node release ctl-3 --doubt=etcd".into()),
            }],
            can: vec![CommandView {
                does: "the node itself".into(),
                command: "drydock node show ctl-3".into(),
            }],
        }
    }

    #[test]
    fn a_node_says_what_it_waits_for_what_stands_on_record_and_the_commands() {
        let want = "\
Node ctl-3 counts as out of service: run 41 left etcd in doubt there; its agent connected 1 h ago.

  Run 42 (etcd-3.5.16) is running; etcd has been gating there for 6 min 12 s
  Waiting for   etcdQuorum to be clear on ctl-3
  Because       member ctl-1 is 8,112 entries behind; 5,000 are allowed
  Seen          4 s ago
  Until         22:19Z (in 8 min); then the run holds at this node
  You can       drydock node show ctl-1   see the node
                drydock run pause 42      stop here

  On record
    run 41 left etcd in doubt here (silent); counted as out of service
      until  drydock node release ctl-3 --doubt=etcd

  You can       drydock node show ctl-3   the node itself
";
        assert_eq!(page(&view(), WIDE).to_text(WIDE), want);
    }

    #[test]
    fn what_no_command_ends_as_it_is_stands_in_words_alone() {
        let mut view = view();
        let what = "two machines hold this identity: say which one is the node".to_owned();
        view.on_record.push(OnRecordView { what, command: None });
        let text = page(&view, WIDE).to_text(WIDE);
        assert!(text.contains("--doubt=etcd\n    two machines hold this identity"), "{text}");
        assert_eq!(text.matches("      until  ").count(), 1, "{text}");
    }

    #[test]
    fn a_hold_is_told_with_its_node_and_its_commands() {
        let mut view = view();
        let held = samples::held_run();
        let part = &mut view.runs[0];
        (part.status, part.phase, part.waiting, part.hold) =
            (RunStatus::Held, Phase::RolledBack, None, held.hold);
        let text = page(&view, WIDE).to_text(WIDE);
        assert!(text.contains("  On hold         at ctl-3: ctl-3 did not come back"), "{text}");
        assert!(text.contains("drydock run resume 42"), "{text}");
    }

    #[test]
    fn a_node_that_nothing_keeps_says_so() {
        let mut view = view();
        (view.out_of_service, view.runs, view.on_record) = (Vec::new(), Vec::new(), Vec::new());
        let text = page(&view, WIDE).to_text(WIDE);
        assert!(text.starts_with("Node ctl-3 is in service as far as Drydock knows"), "{text}");
        assert!(text.contains("No open run has it."), "{text}");
        view.uncounted = Some("set aside".into());
        assert!(page(&view, WIDE).to_text(WIDE).starts_with("Node ctl-3 is set aside; its agent"));
    }
}
