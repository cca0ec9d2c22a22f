//! `drydock rehearse`: what would stop the run, what should be known, how long it takes.

use drydock_core::view::{FoundView, RehearsalView, StartedView};

use super::{Canvas, Line, Page, Paint, plan, time, watch};

/// As many names as a person reads; the rest are counted.
const READ: usize = 6;

/// `hv-07  ━━━━━╸──────  17 of 48 nodes looked at`
pub(crate) fn progress(node: &str, done: u64, total: u64) -> Line {
    let percent =
        (done * 100).checked_div(total).map_or(100, |percent| usize::try_from(percent).unwrap_or(100));
    let bar = watch::bar(percent, 100, 24);
    Line::of("").join(bar).and(format!("  {done} of {total} nodes looked at, last {node}"))
}

/// The whole rehearsal. `file` is what the operator typed: it stands in the commands at the end.
pub(crate) fn page(view: &RehearsalView, file: &str, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let (blockers, warnings) = (
        time::count(view.blockers.len(), "blocker", "blockers"),
        time::count(view.warnings.len(), "warning", "warnings"),
    );
    let head = format!(
        "Rehearsed {} of {} in {} · {blockers}, {warnings} · nothing has been changed",
        view.looked,
        time::count(usize::try_from(view.nodes).unwrap_or(usize::MAX), "node", "nodes"),
        time::measured(view.took_ms),
    );
    page.hanging(Line::of(""), &head, Paint::Plain, canvas);
    if !view.blockers.is_empty() || !view.warnings.is_empty() {
        page.gap();
        found(&view.blockers, ("✗ ", Paint::Bad), &mut page, canvas);
        found(&view.warnings, ("! ", Paint::Warn), &mut page, canvas);
    }
    if !view.notes.is_empty() || !view.skipped.is_empty() {
        page.gap();
    }
    for note in &view.notes {
        page.hanging(Line::of("  · "), note, Paint::Plain, canvas);
    }
    for skipped in &view.skipped {
        let what = format!("left out of {}: {}", skipped.stage, skipped.why);
        page.hanging(
            Line::of("  · ").plus(skipped.node.to_string(), Paint::Bold).and("   "),
            &what,
            Paint::Plain,
            canvas,
        );
    }
    page.gap();
    page.hanging(Line::of(""), &outlook(view), Paint::Plain, canvas);
    let next = match view.blockers.is_empty() {
        true => Line::of("Next:  ").plus(format!("drydock run start {file}"), Paint::Bold),
        false => Line::of("Rehearse again when they are seen to:  ")
            .plus(format!("drydock rehearse {file}"), Paint::Bold),
    };
    page.line(next);
    page
}

/// `45 nodes would go through. Estimate 3 h 10 min (2 h 40 min to 4 h 05 min); the window is 6 h.`
fn outlook(view: &RehearsalView) -> String {
    let clear = usize::try_from(view.clear).unwrap_or(usize::MAX);
    let mut told = match view.nodes {
        0 => "No node is left that this plan would change.".to_string(),
        _ => format!("{} would go through.", time::count(clear, "node", "nodes")),
    };
    match &view.estimate {
        Some(estimate) => {
            let samples = usize::try_from(estimate.samples).unwrap_or(usize::MAX);
            let range = view
                .range_ms
                .map(|(least, most)| format!(" ({} to {})", time::rough(least), time::rough(most)));
            told.push_str(&format!(
                " Estimate {}{}, from {}",
                time::rough(estimate.total_ms),
                range.unwrap_or_default(),
                time::count(samples, "earlier node", "earlier nodes")
            ));
        }
        None => {
            told.push_str(" Estimate: nothing to judge by yet, no node of this fleet has taken these steps")
        }
    }
    match &view.window {
        Some(window) => match window.longest_ms {
            Some(ms) => told.push_str(&format!("; the window is {} ({}).", time::rough(ms), window.words)),
            None => told.push_str(&format!("; the window never shuts ({}).", window.words)),
        },
        None => told.push('.'),
    }
    told
}

fn found(list: &[FoundView], sign: (&str, Paint), page: &mut Page, canvas: Canvas) {
    let column = 4 + list.iter().map(|found| names(found).chars().count() + 3).max().unwrap_or(0).min(40);
    for found in list {
        let head =
            Line::of("  ").plus(sign.0, sign.1).plus(names(found), Paint::Bold).and("   ").pad_to(column);
        page.hanging(head, &found.what, Paint::Plain, canvas);
        if !found.next.is_empty() {
            page.hanging(
                Line::of(" ".repeat(column)).plus("→ ", Paint::Dim),
                &found.next,
                Paint::Plain,
                canvas,
            );
        }
    }
}

fn names(found: &FoundView) -> String {
    let more = found.nodes.len().saturating_sub(READ);
    let mut names: Vec<String> = found.nodes.iter().take(READ).map(ToString::to_string).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() { "the plan".to_string() } else { names.join(", ") }
}

/// Of a start: what the plan warns of, that it was not rehearsed, or what changed since. Nothing where there is
/// nothing to say.
pub(crate) fn since(view: &StartedView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    plan::warnings(&view.plan, &mut page, canvas);
    for warning in &view.warnings {
        let name = warning.node.as_ref().map(|node| format!("{node}   ")).unwrap_or_default();
        let head = Line::of("  ").plus("! ", Paint::Warn).plus(name, Paint::Bold);
        page.hanging(head, &warning.what, Paint::Plain, canvas);
    }
    if let Some(warning) = view.warnings.first() {
        page.line(Line::of("    → ").plus(warning.next.clone(), Paint::Bold));
    }
    page
}

#[cfg(test)]
mod tests {
    use drydock_core::view::{EstimateView, FindingView, WindowFitView};
    use drydock_types::{NodeName, Sha256};

    use super::*;
    use crate::render::samples::{self, FILE, WIDE};

    fn at(nodes: &[&str], what: &str, next: &str) -> FoundView {
        let nodes = nodes.iter().map(|node| NodeName::parse(node).unwrap()).collect();
        FoundView { nodes, check: "x".into(), what: what.into(), next: next.into() }
    }

    fn view() -> RehearsalView {
        RehearsalView {
            name: "hosts".into(),
            digest: Sha256([7; 32]),
            nodes: 48,
            looked: 48,
            took_ms: 9_000,
            clear: 46,
            blockers: vec![
                at(&["hv-19"], "PodDisruptionBudget shop/cart allows 0 disruptions", "scale shop/cart up"),
                at(&["hv-31"], "/var/lib/drydock has 210 MiB free, 640 MiB needed", ""),
            ],
            warnings: vec![at(
                &["hv-02", "hv-11"],
                "unattended-upgrades is enabled; it can start inside the window",
                "",
            )],
            notes: vec!["wave hosts/canary waits for the approval of an operator, for 2h at most".into()],
            skipped: Vec::new(),
            estimate: Some(EstimateView { total_ms: 11_400_000, per_node_ms: 237_500, samples: 12 }),
            range_ms: Some((9_600_000, 14_700_000)),
            window: Some(WindowFitView {
                words: "sat 22:00 to 04:00 (UTC)".into(),
                longest_ms: Some(21_600_000),
            }),
        }
    }

    #[test]
    fn a_rehearsal_says_what_stops_it_first_and_how_long_it_takes_last() {
        let text = page(&view(), "hosts.yaml", WIDE).to_text(WIDE);
        let want = "\
Rehearsed 48 of 48 nodes in 9.0 s · 2 blockers, 1 warning · nothing has been changed

  ✗ hv-19   PodDisruptionBudget shop/cart allows 0 disruptions
            → scale shop/cart up
  ✗ hv-31   /var/lib/drydock has 210 MiB free, 640 MiB needed
  ! hv-02, hv-11   unattended-upgrades is enabled; it can start inside the window

  · wave hosts/canary waits for the approval of an operator, for 2h at most

46 nodes would go through. Estimate 3 h 10 min (2 h 40 min to 4 h 05 min), from 12 earlier nodes; the window is 6 h (sat
22:00 to 04:00 (UTC)).
Rehearse again when they are seen to:  drydock rehearse hosts.yaml
";
        assert_eq!(text, want);
    }

    #[test]
    fn a_clear_rehearsal_offers_the_start() {
        let clear = RehearsalView { blockers: Vec::new(), warnings: Vec::new(), ..view() };
        let text = page(&clear, "hosts.yaml", FILE).to_text(FILE);
        assert!(text.ends_with("Next:  drydock run start hosts.yaml\n"), "{text}");
        assert!(text.contains("0 blockers, 0 warnings"), "{text}");
    }

    #[test]
    fn a_start_that_was_not_rehearsed_says_so_with_the_command() {
        let next = "drydock rehearse etcd.yaml".to_string();
        let warning = |node: Option<&str>, what: &str| FindingView {
            node: node.map(|node| NodeName::parse(node).unwrap()),
            what: what.into(),
            next: next.clone(),
        };
        let warnings =
            vec![warning(None, "this plan was not rehearsed"), warning(Some("ctl-4"), "it is new")];
        let view = StartedView { number: 1, plan: samples::plan(), queued_behind: None, warnings };
        let want =
            "  ! this plan was not rehearsed\n  ! ctl-4   it is new\n    → drydock rehearse etcd.yaml\n";
        assert_eq!(since(&view, FILE).to_text(FILE), want);
    }

    #[test]
    fn the_bar_says_how_many() {
        let text = progress("hv-07", 12, 48).to_text(false);
        assert!(text.ends_with("12 of 48 nodes looked at, last hv-07"), "{text}");
    }
}
