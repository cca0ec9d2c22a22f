//! `drydock plan`: everything that will happen, before anything does.

use drydock_core::view::{EstimateView, FindingView, PlanNodeView, PlanView, PlanWaveView};
use drydock_types::{NodeName, Version};

use super::{Canvas, Line, Page, Paint, time};

/// The whole plan. `file` is what the operator typed: it stands in the commands at the end.
pub(crate) fn page(view: &PlanView, file: &str, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let nodes: usize = view.stages.iter().flat_map(|stage| &stage.waves).map(|wave| wave.nodes.len()).sum();
    let head = Line::of("Plan ").plus(view.name.to_string(), Paint::Bold);
    let rest = format!(
        "· digest {} · {} in {} · nothing has been changed",
        view.digest.short(),
        time::count(nodes, "node", "nodes"),
        time::count(view.stages.len(), "stage", "stages"),
    );
    page.hanging(head.and(" "), &rest, Paint::Plain, canvas);
    page.gap();
    stages(view, &mut page, canvas);
    around(view, nodes, &mut page, canvas);
    if nothing_to_do(view) && view.blockers.is_empty() {
        page.gap();
        page.line(Line::of("Nothing to do: no node is left that this plan would change."));
        return page;
    }
    if !view.blockers.is_empty() || !view.warnings.is_empty() {
        page.gap();
        findings(&view.blockers, ("✗ ", Paint::Bad), &mut page, canvas);
        findings(&view.warnings, ("! ", Paint::Warn), &mut page, canvas);
    }
    page.gap();
    next(view, file, &mut page, canvas);
    page
}

/// Is no node left that it would change?
pub(crate) fn nothing_to_do(view: &PlanView) -> bool {
    view.stages.iter().flat_map(|stage| &stage.waves).all(|wave| wave.nodes.is_empty())
}

/// Why nodes are left out, and which: one line a reason, in the order in which they come.
fn reasons(view: &PlanView) -> Vec<(String, Vec<&NodeName>)> {
    let mut reasons: Vec<(String, Vec<&NodeName>)> = Vec::new();
    for skipped in &view.skipped {
        let stage = if view.stages.len() > 1 { format!(" (stage {})", skipped.stage) } else { String::new() };
        let why = format!("{}{stage}", skipped.why);
        match reasons.iter_mut().find(|(said, _)| *said == why) {
            Some((_, nodes)) => nodes.push(&skipped.node),
            None => reasons.push((why, vec![&skipped.node])),
        }
    }
    reasons
}

/// `node-1, node-2   already run 1.1.0`
pub(crate) fn left_out(view: &PlanView) -> Page {
    let mut page = Page::default();
    for (why, nodes) in reasons(view) {
        page.line(Line::of(format!("  {}   {why}", names(&nodes))));
    }
    page
}

/// As many names as a person reads; the rest are counted.
fn names(nodes: &[&NodeName]) -> String {
    const READ: usize = 8;
    let mut names: Vec<String> = nodes.iter().take(READ).map(ToString::to_string).collect();
    if nodes.len() > READ {
        names.push(format!("… {} more", nodes.len() - READ));
    }
    names.join(", ")
}

/// Only what stops the plan: for `run start`.
pub(crate) fn blockers(view: &PlanView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let many = time::count(view.blockers.len(), "blocker", "blockers");
    page.line(Line::of(format!("Plan {} has {many}; no run was started.", view.name)));
    page.gap();
    findings(&view.blockers, ("✗ ", Paint::Bad), &mut page, canvas);
    page
}

fn next(view: &PlanView, file: &str, page: &mut Page, canvas: Canvas) {
    if !view.blockers.is_empty() {
        let many = time::count(view.blockers.len(), "blocker", "blockers");
        let head = Line::of(format!("{many}: no run is started while there is one. Look again:  "));
        page.line(head.plus(format!("drydock plan {file}"), Paint::Bold));
        return;
    }
    let [rehearse, start] = ["drydock rehearse", "drydock run start"].map(|verb| format!("{verb} {file}"));
    let head = Line::of("Next:  ").plus(rehearse, Paint::Bold);
    let beside = head.width() + 3 + start.chars().count();
    // A command is never broken: it is there to be copied.
    if canvas.width.is_none_or(|width| beside <= width) {
        page.line(head.and("   ").plus(start, Paint::Bold));
    } else {
        page.line(head);
        page.line(Line::of("       ").plus(start, Paint::Bold));
    }
}

/// What should be known of a plan that is started all the same.
pub(crate) fn warnings(view: &PlanView, page: &mut Page, canvas: Canvas) {
    findings(&view.warnings, ("! ", Paint::Warn), page, canvas);
}

fn stages(view: &PlanView, page: &mut Page, canvas: Canvas) {
    let mut number = 0;
    for stage in &view.stages {
        for wave in &stage.waves {
            let head = Line::of("  ").plus(format!("{} / {}", stage.name, wave.name), Paint::Bold).and("   ");
            page.hanging(head, &wave.manner, Paint::Plain, canvas);
            nodes(wave, &mut number, page, canvas);
            sections(wave, page, canvas);
            if let Some(text) = &wave.point_of_no_return {
                let text = format!("point of no return: {text}");
                page.hanging(Line::of("       ").plus("─ ", Paint::Warn), &text, Paint::Plain, canvas);
            }
            page.gap();
        }
    }
}

fn nodes(wave: &PlanWaveView, number: &mut usize, page: &mut Page, canvas: Canvas) {
    let rows = wave.nodes.iter().map(|node| {
        *number += 1;
        let name = Line::of(format!("{number:>3}  ")).plus(node.node.to_string(), Paint::Bold);
        vec![name, Line::of(change(node.from.as_ref(), &node.to)), Line::of(&node.note)]
    });
    page.table(2, rows.collect(), canvas);
}

/// `3.4.23 → 3.5.16`
pub(crate) fn change(from: Option<&Version>, to: &Version) -> String {
    from.map_or_else(|| format!("unknown → {to}"), |from| format!("{from} → {to}"))
}

/// What each node is sent: once, and apart for a node that is sent something else.
fn sections(wave: &PlanWaveView, page: &mut Page, canvas: Canvas) {
    let Some(usual) = wave.nodes.first().map(|node| &node.sections).filter(|list| !list.is_empty()) else {
        return;
    };
    let mut show = |who: &str, list: &[String]| {
        for (i, section) in list.iter().enumerate() {
            let head = if i == 0 { who } else { "" };
            page.hanging(Line::of("       ").plus(head, Paint::Dim).pad_to(20), section, Paint::Dim, canvas);
        }
    };
    show("each node", usual);
    let others = wave.nodes.iter().filter(|node: &&PlanNodeView| node.sections != *usual);
    others.for_each(|node| show(node.node.as_str(), &node.sections));
}

/// Skipped, budget, estimate.
fn around(view: &PlanView, nodes: usize, page: &mut Page, canvas: Canvas) {
    let mut rows = Vec::new();
    let mut label = "Skipped";
    for (why, nodes) in reasons(view) {
        rows.push((label, format!("{}   {why}", names(&nodes))));
        label = "";
    }
    label = "Budget";
    for line in &view.budget {
        rows.push((label, line.clone()));
        label = "";
    }
    if let Some(window) = &view.window {
        rows.push(("Window", window.clone()));
    }
    if nodes > 0 {
        rows.push(("Estimate", estimate(view.estimate.as_ref(), nodes)));
    }
    page.fields(&rows, canvas);
}

fn estimate(estimate: Option<&EstimateView>, nodes: usize) -> String {
    let Some(estimate) = estimate else {
        return "nothing to judge by yet: no node of this fleet has taken these steps".to_owned();
    };
    let samples = usize::try_from(estimate.samples).unwrap_or(usize::MAX);
    let (total, per_node) = (time::rough(estimate.total_ms), time::rough(estimate.per_node_ms));
    let samples = time::count(samples, "earlier node", "earlier nodes");
    // Where nodes go together the whole takes less than all of them one after another.
    let serial_ms = estimate.per_node_ms.saturating_mul(u64::try_from(nodes).unwrap_or(u64::MAX));
    if estimate.total_ms.saturating_add(estimate.per_node_ms) <= serial_ms {
        return format!(
            "about {total} ({nodes} nodes of {per_node}, some together, from {samples} on this fleet)"
        );
    }
    format!("about {total} ({nodes} × {per_node}, from {samples} on this fleet)")
}

fn findings(list: &[FindingView], sign: (&str, Paint), page: &mut Page, canvas: Canvas) {
    let column =
        4 + list.iter().filter_map(|f| f.node.as_ref()).map(|n| n.as_str().len() + 3).max().unwrap_or(0);
    for finding in list {
        let name = finding.node.as_ref().map(ToString::to_string).unwrap_or_default();
        let head = Line::of("  ").plus(sign.0, sign.1).plus(name, Paint::Bold).pad_to(column);
        page.hanging(head, &finding.what, Paint::Plain, canvas);
        if !finding.next.is_empty() {
            let head = Line::of(" ".repeat(column)).plus("→ ", Paint::Dim);
            page.hanging(head, &finding.next, Paint::Plain, canvas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, FILE, NARROW, WIDE};

    #[test]
    fn a_plan_shows_everything_that_will_happen() {
        let text = page(&samples::plan(), "etcd.yaml", WIDE).to_text(WIDE);
        let want = "\
Plan etcd-3.5.16 · digest 07070707 · 3 nodes in 1 stage · nothing has been changed

  etcd / members   one at a time, followers first, soak 10s, on failure: roll this node back, then hold
    1  ctl-2   3.4.23 → 3.5.16   follower
    2  ctl-3   3.4.23 → 3.5.16   follower
    3  ctl-1   3.4.23 → 3.5.16   leader now; leadership moves first
       each node    stage: fetchArtifact, checkSwap
                    protect: snapshotEtcd
                    apply: moveEtcdLeader, swapBinary, restartUnit
       ─ point of no return: when ctl-1 is upgraded the cluster's version becomes 3.5; after that 3.4 cannot come back
         except from the snapshot

  Skipped    ctl-4   not a member of this cluster
  Budget     1 node out of service in each zone
             zone b already has one (edge-7: agent silent for 12 min)
  Estimate   about 1 min 40 s (3 × 33 s, from 6 earlier nodes on this fleet)

Next:  drydock rehearse etcd.yaml   drydock run start etcd.yaml
";
        assert_eq!(text, want);
    }

    #[test]
    fn a_plan_with_blockers_names_them_and_offers_no_start() {
        let text = page(&samples::blocked_plan(), "etcd.yaml", WIDE).to_text(WIDE);
        let want = "\
  Estimate   nothing to judge by yet: no node of this fleet has taken these steps

  ✗ ctl-3   the agent is silent for 12 min
            → see why on the node: systemctl status drydock-agent
  ! the whole fleet is one failure domain
    → name the label that tells zones apart under budget.domainLabel

1 blocker: no run is started while there is one. Look again:  drydock plan etcd.yaml
";
        assert!(text.ends_with(want), "{text}");
        let short = blockers(&samples::blocked_plan(), WIDE).to_text(WIDE);
        let want = "\
Plan etcd-3.5.16 has 1 blocker; no run was started.

  ✗ ctl-3   the agent is silent for 12 min
            → see why on the node: systemctl status drydock-agent
";
        assert_eq!(short, want);
    }

    #[test]
    fn a_plan_fits_a_narrow_terminal() {
        let text = page(&samples::plan(), "etcd.yaml", NARROW).to_text(NARROW);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        let want = "\
Plan etcd-3.5.16 · digest 07070707 · 3 nodes in 1 stage ·
                 nothing has been changed

  etcd / members   one at a time, followers first, soak 10s,
                   on failure: roll this node back, then
                   hold
    1  ctl-2   3.4.23 → 3.5.16   follower
    2  ctl-3   3.4.23 → 3.5.16   follower
    3  ctl-1   3.4.23 → 3.5.16   leader now; leadership
                                 moves first
";
        assert!(text.starts_with(want), "{text}");
    }

    #[test]
    fn in_a_file_nothing_is_wrapped_and_nothing_is_coloured() {
        let text = page(&samples::plan(), "etcd.yaml", FILE).to_text(FILE);
        assert!(
            text.contains("cannot come back except from the snapshot\n") && !text.contains('\x1b'),
            "{text}"
        );
    }

    #[test]
    fn a_node_that_is_sent_something_else_is_shown_apart() {
        let mut view = samples::plan();
        view.stages[0].waves[0].nodes[2].sections.pop();
        let text = page(&view, "etcd.yaml", FILE).to_text(FILE);
        assert!(text.contains("       ctl-1        stage: fetchArtifact, checkSwap\n                    protect: snapshotEtcd\n       ─"), "{text}");
    }
}
