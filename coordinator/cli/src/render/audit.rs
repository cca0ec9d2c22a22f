//! What an audit found.

use drydock_coordinator::audit::{
    AuditView,
    view::{Finding, HeadView, Standing},
};

use super::{Canvas, Line, Page, Paint};

/// `audit verify`: the answer first, then what is wrong, then by what it was judged.
pub(crate) fn page(view: &AuditView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.line(answer(view));
    for finding in &view.findings {
        page.line(Line::painted("  ✗ ", Paint::Bad).plus(mark(finding), Paint::Bold));
        page.hanging(Line::of("    "), &finding.what, Paint::Plain, canvas);
    }
    if view.more_findings > 0 {
        page.line(Line::of(format!("  … and {} more", view.more_findings)));
    }
    for remark in &view.remarks {
        page.line(Line::painted("  ! ", Paint::Warn).and(remark.as_str()));
    }
    page.gap();
    page.fields(&fields(view), canvas);
    if !view.findings.is_empty() {
        page.gap();
        page.line(Line::of("What each means and what to do stands in the guide, under \"Audit\"."));
    }
    page
}

fn answer(view: &AuditView) -> Line {
    let whose = match view.run {
        Some(run) => format!("The record of run {run}"),
        None => "The record".to_owned(),
    };
    let count = view.findings.len() as u64 + view.more_findings;
    if count == 0 {
        let head = Line::of(format!("{whose} is ")).plus("whole", Paint::Good);
        return head.and(match view.outcomes {
            0 => format!(": {}", counted(view.events, "event")),
            signed => format!(
                ": {}, {} signed by their nodes",
                counted(view.events, "event"),
                counted(signed, "outcome")
            ),
        });
    }
    let found = counted(count, "finding");
    Line::of(format!("{whose} is ")).plus("not what it should be", Paint::Bad).and(format!(": {found}"))
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn mark(finding: &Finding) -> String {
    let seq = finding.seq.map(|seq| format!(" at event {seq}")).unwrap_or_default();
    let nodes = match (&finding.node, &finding.other) {
        (Some(node), Some(other)) => format!(" ({node} and {other})"),
        (Some(node), None) => format!(" ({node})"),
        _ => String::new(),
    };
    format!("{}{seq}{nodes}", finding.kind.word())
}

fn fields(view: &AuditView) -> Vec<(&'static str, String)> {
    let fleet = view.fleet.map_or_else(|| "not known".to_owned(), |fleet| fleet.to_string());
    let known = if view.ca_known { "" } else { "  as the file says: compare it with your own" };
    let events = match view.events {
        0 => "none".to_owned(),
        _ => format!("{} to {}, the last has hash {}", view.first, view.last, view.head),
    };
    let mut fields = vec![
        ("Fleet", fleet),
        ("CA pin", format!("{}{known}", view.ca_pin)),
        ("Events", events),
        ("Held by", heads(&view.heads)),
    ];
    if !view.silent.is_empty() {
        let silent = view.silent.iter().map(|silent| format!("{} ({})", silent.node, silent.why));
        fields.push(("Not asked", silent.collect::<Vec<_>>().join(", ")));
    }
    fields
}

fn heads(heads: &[HeadView]) -> String {
    if heads.is_empty() {
        return "no agent".to_owned();
    }
    let one = |head: &HeadView| {
        let at = head.seq.map(|seq| format!(" event {seq}")).unwrap_or_default();
        match head.standing {
            Standing::Held => format!("{}{at}", head.node),
            Standing::Contradicted => format!("{}{at}, which this record does not hold", head.node),
            Standing::Before => format!("{}{at}, before this part", head.node),
            Standing::None => format!("{} nothing yet", head.node),
        }
    };
    heads.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use drydock_coordinator::audit::view::{Kind, SilentView};
    use drydock_types::{Epoch, FleetId, NodeName, Sha256};

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn view() -> AuditView {
        AuditView {
            fleet: Some(FleetId([0xab; 16])),
            ca_pin: Sha256([1; 32]),
            ca_known: true,
            run: None,
            first: 1,
            last: 12,
            head: Sha256([2; 32]),
            events: 12,
            outcomes: 4,
            heads: vec![HeadView {
                node: node("n1"),
                seq: Some(12),
                hash: Some(Sha256([2; 32])),
                epoch: Some(Epoch(1)),
                standing: Standing::Held,
            }],
            silent: vec![SilentView { node: node("n2"), why: "its agent's stream is not open".into() }],
            findings: Vec::new(),
            more_findings: 0,
            remarks: Vec::new(),
        }
    }

    const PLAIN: Canvas = Canvas { width: None, color: false };

    #[test]
    fn a_whole_record_is_said_to_be_one_with_who_holds_it_and_who_was_not_asked() {
        let text = page(&view(), PLAIN).to_text(PLAIN);
        assert!(
            text.starts_with("The record is whole: 12 events, 4 outcomes signed by their nodes\n"),
            "{text}"
        );
        assert!(
            text.contains("n1 event 12") && text.contains("n2 (its agent's stream is not open)"),
            "{text}"
        );
        assert!(text.contains(&Sha256([1; 32]).to_string()), "the CA's pin: {text}");
    }

    #[test]
    fn findings_name_event_and_nodes_and_come_before_anything_else() {
        let mut view = view();
        view.findings.push(Finding {
            kind: Kind::Disagreement,
            seq: Some(7),
            node: Some(node("n1")),
            other: Some(node("n2")),
            what: "n1 and n2 disagree".into(),
        });
        let text = page(&view, PLAIN).to_text(PLAIN);
        assert!(text.starts_with("The record is not what it should be: 1 finding\n"), "{text}");
        assert!(text.contains("✗ disagreement at event 7 (n1 and n2)\n    n1 and n2 disagree\n"), "{text}");
    }
}
