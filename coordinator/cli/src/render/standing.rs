//! What stands on record about nodes and the fleet, and what was changed about a live run.

use drydock_core::{
    standing::Decision,
    view::{AmendedView, FleetView, RunStatus, RunView, StandingView},
};
use drydock_proto::operator::stand_node_request::Verb;

use super::{Canvas, Line, Page, Paint, time};

/// What `node set-aside`, `release` and `retire` answer.
pub(crate) fn page(view: &StandingView, verb: Verb, canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.hanging(Line::default(), &format!("{}.", view.what), Paint::Plain, canvas);
    for line in view.standing.lines().into_iter().filter(|_| verb != Verb::Retire) {
        page.hanging(Line::of("  "), &line, Paint::Dim, canvas);
    }
    let node = &view.node;
    for run in &view.runs {
        let what = match verb {
            Verb::Retire => format!("Run {run} has {node} and will hold at it:  "),
            _ => format!("Run {run} has {node}:  "),
        };
        page.line(Line::of(what).plus(format!("drydock why {run}"), Paint::Bold));
    }
    let next = match verb {
        Verb::SetAside => format!("drydock node release {node} --aside"),
        Verb::Retire => format!("drydock token create {node}"),
        Verb::Release | Verb::Unspecified => format!("drydock node show {node}"),
    };
    let does = match verb {
        Verb::SetAside => "   when it may be worked on again",
        Verb::Retire => "   a machine that is to have the name; it inherits nothing",
        Verb::Release | Verb::Unspecified => "",
    };
    page.line(Line::of("Next:  ").plus(next, Paint::Bold).and(does));
    page
}

/// `The fleet is frozen since 22:04Z by alice: the core router is being replaced.`
pub(crate) fn frozen(said: &Decision, now: u64) -> Line {
    let Decision { by, why, unix_ms } = said;
    let head = Line::of("The fleet is ").plus("frozen", Paint::Warn);
    head.and(format!(" since {} by {by}: {why}. Nobody leaves service until  ", time::near(*unix_ms, now)))
        .plus("drydock thaw", Paint::Bold)
}

/// What `freeze` and `thaw` answer.
pub(crate) fn fleet(view: &FleetView, now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    match &view.frozen {
        Some(said) => page.line(frozen(said, now)),
        None => page.line(Line::of("The fleet is not frozen: nodes leave service as their runs say.")),
    }
    let mut fields = Vec::new();
    if view.frozen.is_some() && !view.handed_out.is_empty() {
        fields.push(("Already handed out", format!("{} (ends by itself)", view.handed_out.join(", "))));
    }
    if let Some(most) = view.most_disrupted_per_hour {
        let left = time::count(usize::try_from(view.left_within_hour).unwrap_or(usize::MAX), "node", "nodes");
        fields.push(("Within the last hour", format!("{left} left service; {most} is the most")));
    }
    page.fields(&fields, canvas);
    page
}

/// What `run approve`, `amend`, `skip` and `extend` answer.
pub(crate) fn amended(view: &AmendedView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.line(Line::of(format!("Run {}: {}.", view.number, view.what)));
    let mut fields = Vec::new();
    if view.from != view.to {
        fields.push(("Digest", format!("{} → {}", view.from.short(), view.to.short())));
    }
    if !view.nodes.is_empty() {
        let names: Vec<&str> = view.nodes.iter().map(drydock_types::NodeName::as_str).collect();
        fields.push(("Nodes", names.join(", ")));
    }
    page.fields(&fields, canvas);
    let next = match view.status {
        RunStatus::Held => format!("drydock run resume {}", view.number),
        _ => format!("drydock why {}", view.number),
    };
    page.line(Line::of("Next:  ").plus(next, Paint::Bold));
    page
}

/// What operators changed about a run and who approved what: beneath its nodes.
pub(crate) fn changes(view: &RunView, page: &mut Page, canvas: Canvas) {
    let now = view.now_unix_ms;
    let amended = view.amendments.iter().map(|made| {
        let digests = format!("digest {} → {}", made.from.short(), made.to.short());
        (
            "Amended",
            format!("{} · by {} at {} · {digests}", made.what, made.by, time::near(made.unix_ms, now)),
        )
    });
    let approved = view.approvals.iter().map(|given| {
        let stands = if given.stands { "" } else { " · amended since, so it is asked for anew" };
        let digest = given.digest.short();
        (
            "Approved",
            format!(
                "{} · by {} at {} · digest {digest}{stands}",
                given.wave,
                given.by,
                time::near(given.unix_ms, now)
            ),
        )
    });
    let fields: Vec<(&str, String)> = amended.chain(approved).collect();
    if !fields.is_empty() {
        page.gap();
        page.fields(&fields, canvas);
    }
}

#[cfg(test)]
mod tests {
    use drydock_core::{
        standing::Standing,
        view::{AmendmentView, ApprovalView},
    };
    use drydock_types::Sha256;

    use super::*;
    use crate::render::samples::{self, FILE};

    fn said() -> Decision {
        Decision { by: "alice".into(), why: "router work".into(), unix_ms: samples::START }
    }

    #[test]
    fn a_frozen_fleet_says_by_whom_why_and_what_ends_it() {
        let mut view = FleetView {
            frozen: Some(said()),
            most_disrupted_per_hour: Some(3),
            left_within_hour: 1,
            handed_out: vec!["apply on ctl-3 (run 42)".into()],
        };
        let want = "\
The fleet is frozen since 22:04Z by alice: router work. Nobody leaves service until  drydock thaw
  Already handed out     apply on ctl-3 (run 42) (ends by itself)
  Within the last hour   1 node left service; 3 is the most
";
        assert_eq!(fleet(&view, samples::START, FILE).to_text(FILE), want);
        view.frozen = None;
        assert!(fleet(&view, samples::START, FILE).to_text(FILE).starts_with("The fleet is not frozen"));
    }

    #[test]
    fn a_decision_about_a_node_names_the_runs_that_have_it_and_the_way_back() {
        let standing = Standing { set_aside: Some(said()), ..Standing::new(samples::node_name("ctl-3")) };
        let view = StandingView {
            node: samples::node_name("ctl-3"),
            key: Sha256([1; 32]),
            what: "ctl-3 was set aside by alice: router work".into(),
            standing,
            runs: vec![42],
        };
        let text = page(&view, Verb::SetAside, FILE).to_text(FILE);
        assert!(text.starts_with("ctl-3 was set aside by alice: router work.\n"), "{text}");
        assert!(text.contains("drydock why 42") && text.contains("drydock node release ctl-3"), "{text}");
        let text = page(&view, Verb::Retire, FILE).to_text(FILE);
        assert!(text.contains("will hold at it") && text.contains("drydock token create ctl-3"), "{text}");
    }

    #[test]
    fn amendments_and_approvals_stand_with_who_and_both_digests() {
        let mut view = samples::run();
        view.amendments = vec![AmendmentView {
            what: "soak of etcd/members from 10s to 1m".into(),
            by: "bob".into(),
            unix_ms: samples::START,
            from: Sha256([1; 32]),
            to: Sha256([2; 32]),
        }];
        view.approvals = vec![ApprovalView {
            wave: "etcd/members".into(),
            by: "carol".into(),
            unix_ms: samples::START,
            digest: Sha256([1; 32]),
            stands: false,
        }];
        let mut page = Page::default();
        changes(&view, &mut page, FILE);
        let text = page.to_text(FILE);
        assert!(text.contains("by bob at 22:04Z · digest 01010101 → 02020202"), "{text}");
        assert!(text.contains("by carol") && text.contains("asked for anew"), "{text}");
    }
}
