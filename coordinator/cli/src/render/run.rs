//! `run show`, `run list`, what `run start` and `run pause` answer, and how a run ended.

use drydock_core::view::{
    ControlView, OutageView, Phase, RunLineView, RunNodeView, RunStatus, RunView, RunWaveView, StartedView,
};

use super::{
    Canvas, Line, Page, Paint, hold,
    plan::{self, change},
    rollback, standing, time, why,
};

/// Every node of a run, in order.
pub(crate) fn nodes(view: &RunView) -> impl Iterator<Item = &RunNodeView> {
    view.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes)
}

/// Nodes in this phase.
pub(crate) fn in_phase(view: &RunView, phase: Phase) -> usize {
    nodes(view).filter(|node| node.phase == phase).count()
}

/// Nodes that are not left out.
pub(crate) fn total(view: &RunView) -> usize {
    nodes(view).filter(|node| node.phase != Phase::Skipped).count()
}

/// Is something being done to, or looked at on, the node?
pub(crate) const fn is_at_work(phase: Phase) -> bool {
    matches!(phase, Phase::Staging) || phase.is_at_work()
}

/// How long the node took from its gate to its end.
pub(crate) fn took_ms(node: &RunNodeView) -> Option<u64> {
    Some(node.ended_unix_ms?.saturating_sub(node.began_unix_ms?))
}

/// The median of the nodes that are done.
pub(crate) fn median_ms(view: &RunView) -> Option<u64> {
    let mut took: Vec<u64> =
        nodes(view).filter(|node| node.phase == Phase::Done).filter_map(took_ms).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// The word on screens, and its paint.
pub(crate) const fn status(status: RunStatus) -> (&'static str, Paint) {
    match status {
        RunStatus::Queued => ("queued", Paint::Dim),
        RunStatus::Running => ("running", Paint::Work),
        RunStatus::Paused => ("paused", Paint::Warn),
        RunStatus::Held => ("on hold", Paint::Bad),
        RunStatus::Aborting => ("aborting", Paint::Warn),
        RunStatus::Aborted => ("aborted", Paint::Warn),
        RunStatus::Done => ("done", Paint::Good),
    }
}

/// The sign before a node's name.
pub(crate) const fn sign(phase: Phase) -> (&'static str, Paint) {
    match phase {
        Phase::Pending => ("·", Paint::Dim),
        Phase::Staged => ("◌", Paint::Work),
        Phase::Staging
        | Phase::Gating
        | Phase::Protecting
        | Phase::Draining
        | Phase::Rechecking
        | Phase::Applying
        | Phase::Returning
        | Phase::Releasing
        | Phase::Soaking => ("⟳", Paint::Work),
        Phase::Done => ("✓", Paint::Good),
        Phase::RolledBack => ("↶", Paint::Warn),
        Phase::Held => ("✗", Paint::Bad),
        Phase::Skipped => ("–", Paint::Dim),
    }
}

/// `applying 5 s: restartUnit · 10 s in all (median so far 33 s) · out of service 0.40 s`
///
/// What is `said` beside it already is not said again.
pub(crate) fn doing(node: &RunNodeView, now: u64, median: Option<u64>, said: bool) -> String {
    let since_ms = now.saturating_sub(node.since_unix_ms);
    let in_phase = time::rough(since_ms);
    let mut parts = vec![match (node.phase, &node.step) {
        (Phase::Soaking, _) if since_ms > node.soak_ms => {
            format!("soaking {in_phase}: {} are over, the last look is due", time::rough(node.soak_ms))
        }
        (Phase::Soaking, _) => format!("soaking {in_phase} of {}", time::rough(node.soak_ms)),
        (phase, Some(step)) => format!("{} {in_phase}: {step}", phase.word()),
        (phase, None) => format!("{} {in_phase}", phase.word()),
    }];
    if let Some((done, all)) = node.progress.filter(|(_, all)| *all > 0) {
        let percent = done.min(all).saturating_mul(100) / all;
        parts.push(format!("{} of {} ({percent} %)", time::bytes(done), time::bytes(all)));
    }
    if let Some(began) = node.began_unix_ms {
        let all = time::rough(now.saturating_sub(began));
        let against = median.map(|ms| format!(" (median so far {})", time::rough(ms))).unwrap_or_default();
        parts.push(format!("{all} in all{against}"));
    }
    if let Some(out) = node.out_of_service_ms {
        parts.push(format!("out of service {}", time::measured(out)));
    }
    parts.extend(node.outage.as_ref().map(|out| outage(out, now)));
    if node.attempt > 1 {
        parts.push(format!("attempt {}", node.attempt));
    }
    if !node.note.is_empty() && !said {
        parts.push(node.note.clone());
    }
    parts.join(" · ")
}

/// `etcd out 2 min 10 s of 5 min accepted`
pub(crate) fn outage(out: &OutageView, now: u64) -> String {
    let lasted = time::rough(now.saturating_sub(out.since_unix_ms));
    format!("{} out {lasted} of {} accepted", out.what, time::rough(out.accepted_ms))
}

/// Services that are out with the plan's leave, and how long they may be yet.
pub(crate) fn outages(view: &RunView) -> Vec<(&'static str, String)> {
    let one = |node: &RunNodeView| {
        let out = node.outage.as_ref()?;
        let left = out.left_ms.map(|left| format!("; in {} the run holds", time::rough(left)));
        let said = outage(out, view.now_unix_ms);
        Some(("Outage", format!("{}: {said}{}", node.node, left.unwrap_or_default())))
    };
    nodes(view).filter_map(one).collect()
}

/// Does the wait that is shown with the run tell what this node waits for?
pub(crate) fn is_told(view: &RunView, node: &RunNodeView) -> bool {
    let told = view.waiting.as_ref().filter(|waiting| !waiting.at_work);
    told.is_some_and(|waiting| waiting.node.as_ref() == Some(&node.node))
}

/// `run show`.
pub(crate) fn page(view: &RunView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    match hold::asks(view) {
        Some(hold) => page.append(hold::page(view, hold, canvas)),
        None => heading(view, &mut page, canvas),
    }
    page.gap();
    for stage in &view.stages {
        for wave in &stage.waves {
            let head = Line::of("  ").plus(format!("{} / {}", stage.name, wave.name), Paint::Bold);
            page.line(head.and(format!("   {} to {}", stage.component, stage.to)));
            wave_nodes(view, wave, &mut page, canvas);
        }
    }
    standing::changes(view, &mut page, canvas);
    // An agent at work stands above, with what it is at.
    if let Some(waiting) = view.waiting.as_ref().filter(|waiting| !waiting.at_work) {
        page.gap();
        why::details(view, waiting, &mut page, canvas);
    }
    page.gap();
    let what = format!("  digest {} · run id {} · started {}", view.digest.short(), view.id, started(view));
    page.line(Line::painted(what, Paint::Dim));
    page
}

fn started(view: &RunView) -> String {
    format!("{} by {}", time::date_clock(view.started_unix_ms), view.started_by)
}

fn heading(view: &RunView, page: &mut Page, canvas: Canvas) {
    let (word, paint) = status(view.status);
    let done = in_phase(view, Phase::Done);
    let until = view.ended_unix_ms.unwrap_or(view.now_unix_ms);
    let took = time::rough(until.saturating_sub(view.started_unix_ms));
    let mut rest = vec![
        view.file.clone(),
        format!("{done} of {} done", time::count(total(view), "node", "nodes")),
        took,
    ];
    if let Some(left) = view.estimate.as_ref().filter(|_| !view.status.is_closed()) {
        rest.push(format!("about {} left", time::rough(left.total_ms)));
    }
    if let Some(ahead) = view.queued_behind.filter(|_| !view.status.is_closed()) {
        rest.push(format!("behind run {ahead}"));
    }
    if let Some(who) = &view.stopped_by {
        rest.push(format!("by {who}"));
    }
    let head = Line::of(format!("Run {} is ", view.number)).plus(word, paint).and(": ");
    page.hanging(head, &rest.join(" · "), Paint::Plain, canvas);
    freeze(view, page);
    if let Some(others) = rollback::of(view) {
        page.line(Line::painted(format!("  {others}"), Paint::Dim));
    }
    for section in &view.handed_out {
        page.line(Line::painted(format!("  handed out: {section}"), Paint::Dim));
    }
}

/// While the fleet is frozen every view of a run that is not over says so.
pub(crate) fn freeze(view: &RunView, page: &mut Page) {
    if let Some(said) = view.frozen.as_ref().filter(|_| !view.status.is_closed()) {
        page.line(standing::frozen(said, view.now_unix_ms));
    }
}

fn wave_nodes(view: &RunView, wave: &RunWaveView, page: &mut Page, canvas: Canvas) {
    // What stands above as the reason of the hold is not said again.
    let said = hold::asks(view).map(|hold| hold.reason.as_str());
    let rows = wave.nodes.iter().map(|node| {
        let (mark, paint) = sign(node.phase);
        vec![
            Line::painted(mark, paint).and(" ").plus(node.node.as_str(), Paint::Bold),
            Line::painted(node.phase.word(), paint),
            Line::of(versions(node)),
            Line::of(node_times(view, node, said)),
        ]
    });
    page.table(4, rows.collect(), canvas);
}

/// `3.4.23 → 3.5.16`; of a node that is left out what it runs.
fn versions(node: &RunNodeView) -> String {
    match (node.phase, node.now.as_ref().or(node.from.as_ref())) {
        (Phase::Skipped, Some(runs)) => runs.to_string(),
        (Phase::Skipped, None) => "unknown".to_owned(),
        _ => change(node.from.as_ref(), &node.to),
    }
}

fn node_times(view: &RunView, node: &RunNodeView, said: Option<&str>) -> String {
    if is_at_work(node.phase) {
        return doing(node, view.now_unix_ms, None, is_told(view, node));
    }
    let mut parts = Vec::new();
    if let Some(took) = took_ms(node).filter(|_| node.phase != Phase::Skipped) {
        parts.push(time::rough(took));
    }
    if let Some(out) = node.out_of_service_ms {
        parts.push(format!("out of service {}", time::measured(out)));
    }
    if let Some(role) = node.role.as_ref().filter(|_| !node.phase.is_ended()) {
        parts.push(role.clone());
    }
    if !node.note.is_empty() && said != Some(node.note.as_str()) {
        parts.push(node.note.clone());
    }
    parts.join(" · ")
}

/// `1 of 4 nodes upgraded, 1 rolled back, 2 left as they were`: what became of the nodes of a run that was ended early.
fn became(view: &RunView) -> String {
    let count = |phase| in_phase(view, phase);
    let (done, back, held) = (count(Phase::Done), count(Phase::RolledBack), count(Phase::Held));
    let rest = total(view) - done - back - held;
    let others = [(back, "rolled back"), (held, "held"), (rest, "left as they were")];
    let others = others.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}"));
    let nodes = time::count(total(view), "node", "nodes");
    std::iter::once(format!("{done} of {nodes} {}", ended_as(view))).chain(others).collect()
}

/// What became of the nodes that are done.
const fn ended_as(view: &RunView) -> &'static str {
    if view.undoes.is_some() { "taken back" } else { "upgraded" }
}

/// The last lines of a run that is over: what `run watch` ends with.
pub(crate) fn ended(view: &RunView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let (word, paint) = status(view.status);
    let done = format!("{} of {}", in_phase(view, Phase::Done), time::count(total(view), "node", "nodes"));
    let until = view.ended_unix_ms.unwrap_or(view.now_unix_ms);
    let took = time::rough(until.saturating_sub(view.started_unix_ms));
    let (verb, by) = match (view.status, &view.stopped_by) {
        (RunStatus::Aborted, Some(who)) => ("was", format!(" by {who}")),
        (RunStatus::Aborted, None) => ("was", String::new()),
        _ => ("is", String::new()),
    };
    let longest = nodes(view).filter_map(|node| Some((node.out_of_service_ms?, &node.node))).max();
    let longest = longest
        .map(|(ms, node)| format!("; longest time a node was out of service {} ({node})", time::measured(ms)))
        .unwrap_or_default();
    let head = Line::of(format!("Run {} {verb} ", view.number)).plus(word, paint).and(format!("{by}: "));
    let what = match total(view) {
        0 => format!("nothing was to be done; {}", left_out(view)),
        _ if view.status == RunStatus::Aborted => format!("{}, after {took}{longest}", became(view)),
        _ if in_phase(view, Phase::Skipped) == 0 => format!("{done} {} in {took}{longest}", ended_as(view)),
        _ => format!("{done} {} in {took}{longest}; {}", ended_as(view), left_out(view)),
    };
    page.hanging(head, &format!("{what}."), Paint::Plain, canvas);
    page.line(Line::of("Report:  ").plus(format!("drydock run report {}", view.number), Paint::Bold));
    page
}

/// `3 nodes left out: already runs 3.5.16`, for each reason.
fn left_out(view: &RunView) -> String {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for node in nodes(view).filter(|node| node.phase == Phase::Skipped) {
        match reasons.iter_mut().find(|(why, _)| *why == node.note) {
            Some((_, count)) => *count += 1,
            None => reasons.push((&node.note, 1)),
        }
    }
    let said = reasons
        .iter()
        .map(|(why, count)| format!("{} left out: {why}", time::count(*count, "node", "nodes")));
    said.collect::<Vec<_>>().join("; ")
}

/// `run list`.
pub(crate) fn list(runs: &[RunLineView], now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if runs.is_empty() {
        page.line(Line::of("There is no run yet."));
        page.line(Line::of("Next:  ").plus("drydock plan FILE", Paint::Bold));
        return page;
    }
    let head = ["run", "plan", "status", "nodes", "started", "took", "by", ""];
    let mut rows = vec![head.map(|text| Line::painted(text, Paint::Dim)).into()];
    rows.extend(runs.iter().map(|run| {
        let (word, paint) = status(run.status);
        let took = run.ended_unix_ms.unwrap_or(now).saturating_sub(run.started_unix_ms);
        vec![
            Line::painted(run.number.to_string(), Paint::Bold),
            Line::of(run.name.to_string()),
            Line::painted(word, paint),
            Line::of(format!("{}/{}", run.done, run.total)),
            Line::of(time::near(run.started_unix_ms, now)),
            Line::of(time::rough(took)),
            Line::of(&run.started_by),
            Line::of(&run.summary),
        ]
    }));
    page.table(0, rows, canvas);
    page
}

/// What `run start` answers once the run is accepted for good.
pub(crate) fn started_page(view: &StartedView) -> Page {
    let mut page = Page::default();
    if plan::nothing_to_do(&view.plan) && view.queued_behind.is_none() {
        let there = time::count(view.plan.skipped.len(), "node is", "nodes are");
        let done = Line::of(format!("Run {} ", view.number)).plus("is done", Paint::Good);
        page.line(done.and(format!(": nothing to do. {there} left out, and no other is named:")));
        page.append(plan::left_out(&view.plan));
        return page;
    }
    let nodes: usize = view.plan.stages.iter().flat_map(|s| &s.waves).map(|wave| wave.nodes.len()).sum();
    let about = view.plan.estimate.as_ref().map(|e| format!(", about {}", time::rough(e.total_ms)));
    let what =
        format!("{}, {}{}", view.plan.name, time::count(nodes, "node", "nodes"), about.unwrap_or_default());
    let run = Line::of(format!("Run {} ", view.number));
    page.line(match view.queued_behind {
        Some(ahead) => run
            .plus("is queued", Paint::Warn)
            .and(format!(" behind run {ahead} over the same nodes: {what}. It begins by itself.")),
        None => run.plus("started", Paint::Good).and(format!(": {what}.")),
    });
    let next = format!("drydock run watch {}", view.number);
    page.line(Line::of("Next:  ").plus(next, Paint::Bold));
    page
}

/// What `run pause`, `resume` and `abort` answer: durable when it is read.
pub(crate) fn control(view: &ControlView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let (word, paint) = status(view.status);
    let means = match view.status {
        RunStatus::Paused => ": nothing further is handed out",
        RunStatus::Aborting => ": no further node begins; the one at work is brought to an end",
        RunStatus::Running => ": it goes on",
        RunStatus::Aborted | RunStatus::Done | RunStatus::Queued | RunStatus::Held => "",
    };
    page.line(Line::of(format!("Run {} is ", view.number)).plus(word, paint).and(format!("{means}.")));
    if matches!(view.status, RunStatus::Paused | RunStatus::Aborting | RunStatus::Aborted) {
        let list = if view.handed_out.is_empty() { "nothing".to_owned() } else { view.handed_out.join(", ") };
        let ends = if view.handed_out.is_empty() { "" } else { " (ends by itself)" };
        page.fields(&[("Already handed out", format!("{list}{ends}"))], canvas);
    }
    let next = match view.status {
        RunStatus::Paused => format!("drydock run resume {}", view.number),
        RunStatus::Aborted | RunStatus::Done => format!("drydock run report {}", view.number),
        RunStatus::Running | RunStatus::Aborting | RunStatus::Queued | RunStatus::Held => {
            format!("drydock run watch {}", view.number)
        }
    };
    page.line(Line::of("Next:  ").plus(next, Paint::Bold));
    page
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
