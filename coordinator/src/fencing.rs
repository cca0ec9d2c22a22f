//! Whom agents obey when it is not this coordinator, and putting this one in its place.
//!
//! A coordinator finds out by Hello: an agent says the highest fence that it obeyed. One that is above ours, or
//! of the same epoch and another instance, means that somebody else was started on a copy of this store, or
//! that this store is a copy. Then nothing further is handed out to anybody (`driver::fenced`), all streams
//! end, and agents are asked for nothing but their Hello: each says anew what it obeys, how long ago it last
//! heard it, and what its journal holds. That is the evidence on which a person takes over.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use drydock_core::{
    run::JournalRef,
    view::{FencedAgentView, FencedView},
};
use drydock_types::{Epoch, Fence, NodeKey, NodeName};

use crate::driver::{HeldEffect, clock::wall_ms};

/// Whoever spoke to an agent so recently, after this coordinator began, is taken to be alive. Longer than the
/// silence after which either side of a stream gives up.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(60);

/// What an agent said of whom it obeys.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its identity.
    pub key: NodeKey,
    /// Whom.
    pub obeys: Fence,
    /// How long ago it last heard whom it obeys; `None` when not since its start.
    pub heard_ago: Option<Duration>,
    /// Its journal.
    pub journal: JournalRef,
    /// What that holds.
    pub held: Vec<HeldEffect>,
}

#[derive(Debug)]
struct Known {
    report: Report,
    first_ms: u64,
    last_ms: u64,
    /// When the other coordinator was last heard by this agent, on our clock.
    heard_at: Option<Instant>,
}

#[derive(Debug)]
struct State {
    ours: Fence,
    /// Since when we have known, Unix milliseconds.
    since_ms: Option<u64>,
    agents: BTreeMap<NodeName, Known>,
}

/// What agents say of whom they obey.
#[derive(Debug)]
pub struct Fencing {
    began: Instant,
    state: Mutex<State>,
}

impl Fencing {
    /// Nobody has said anything yet.
    #[must_use]
    pub fn new(ours: Fence) -> Self {
        let state = State { ours, since_ms: None, agents: BTreeMap::new() };
        Self { began: Instant::now(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does anybody obey somebody else?
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.lock().since_ms.is_some()
    }

    /// An agent obeys somebody else. `true` when that is news of this coordinator: nobody had said so.
    pub fn heard(&self, node: &NodeName, report: Report) -> bool {
        let (now, now_ms) = (Instant::now(), wall_ms());
        let heard_at = report.heard_ago.and_then(|ago| now.checked_sub(ago));
        let mut state = self.lock();
        let first_ms = state.agents.get(node).map_or(now_ms, |known| known.first_ms);
        let known = Known { report, first_ms, last_ms: now_ms, heard_at };
        state.agents.insert(node.clone(), known);
        let news = state.since_ms.is_none();
        state.since_ms.get_or_insert(now_ms);
        news
    }

    /// The epochs that agents reported, and the highest of them.
    #[must_use]
    pub fn reported(&self) -> (BTreeMap<NodeName, u64>, u64) {
        let state = self.lock();
        let each = state.agents.iter().map(|(node, known)| (node.clone(), known.report.obeys.epoch.0));
        let reported: BTreeMap<_, _> = each.collect();
        let highest = reported.values().copied().max().unwrap_or_default();
        (reported, highest)
    }

    /// Forgets what machines said that are not enrolled any more. `true` when nobody is left who obeys somebody
    /// else, and somebody was.
    pub fn keep(&self, is_enrolled: impl Fn(NodeKey) -> bool) -> bool {
        let mut state = self.lock();
        state.agents.retain(|_, known| is_enrolled(known.report.key));
        state.agents.is_empty() && state.since_ms.take().is_some()
    }

    /// This coordinator took over: what was said before is of the past.
    pub fn taken_over(&self, fence: Fence) {
        *self.lock() = State { ours: fence, since_ms: None, agents: BTreeMap::new() };
    }

    /// Why the other coordinator must be taken to be alive: it spoke to an agent after we had begun, and lately.
    #[must_use]
    pub fn alive(&self) -> Option<String> {
        let state = self.lock();
        let spoke = state.agents.iter().filter_map(|(node, known)| {
            let ago = alive_ago(self.began, known.heard_at?, Instant::now())?;
            Some((node, known.report.obeys.epoch, ago))
        });
        let (node, Epoch(epoch), ago) = spoke.min_by_key(|(_, _, ago)| *ago)?;
        Some(format!(
            "the coordinator of epoch {epoch} is alive: it spoke to {node}'s agent {} s ago, after this one had begun",
            ago.as_secs()
        ))
    }

    /// The whole situation, for an operator; `None` when nobody obeys somebody else.
    #[must_use]
    pub fn view(&self) -> Option<FencedView> {
        let alive = self.alive();
        let state = self.lock();
        let since_unix_ms = state.since_ms?;
        let agents = state.agents.iter().map(|(node, known)| FencedAgentView {
            node: node.clone(),
            epoch: known.report.obeys.epoch.0,
            instance: known.report.obeys.instance.to_string(),
            first_unix_ms: known.first_ms,
            last_unix_ms: known.last_ms,
            heard_ms_ago: known.heard_at.map(|at| millis(at.elapsed())),
            journal: known.report.journal.id.to_string(),
            journal_length: known.report.journal.length,
            at_work: known.report.held.iter().filter(|held| !held.ended).map(told).collect(),
            ended: known.report.held.iter().filter(|held| held.ended).map(told).collect(),
        });
        let agents: Vec<_> = agents.collect();
        let highest = agents.iter().map(|agent| agent.epoch).max().unwrap_or_default();
        Some(FencedView {
            epoch: state.ours.epoch.0,
            instance: state.ours.instance.to_string(),
            obeyed_epoch: highest,
            since_unix_ms,
            alive,
            next_epoch: highest.max(state.ours.epoch.0).saturating_add(1),
            agents,
        })
    }

    /// The same in one line, with the command; empty when nobody obeys somebody else.
    #[must_use]
    pub fn notice(&self) -> String {
        let Some(view) = self.view() else { return String::new() };
        let names: Vec<&str> = view.agents.iter().take(8).map(|agent| agent.node.as_str()).collect();
        let more = view.agents.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "this coordinator (epoch {}) is fenced: {}{more} obey epoch {} of another one. It hands out nothing and its \
             runs stay as they are. Either its store is an older copy, or a second coordinator runs elsewhere. See \
             the evidence, and take over if this is the one that shall go on:  drydock takeover",
            view.epoch,
            names.join(", "),
            view.obeyed_epoch
        )
    }
}

fn told(held: &HeldEffect) -> String {
    format!("{} {}", held.effect.short(), held.what)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago the other was heard, if that shows that it is alive.
fn alive_ago(began: Instant, heard: Instant, now: Instant) -> Option<Duration> {
    let ago = now.saturating_duration_since(heard);
    (heard > began && ago < ALIVE_WITHIN).then_some(ago)
}

#[cfg(test)]
mod tests {
    use drydock_types::{EffectId, InstanceId, JournalId, Sha256};

    use super::*;

    fn fence(epoch: u64, instance: u8) -> Fence {
        Fence { epoch: Epoch(epoch), instance: InstanceId([instance; 16]) }
    }

    fn report(epoch: u64, heard_ago: Option<Duration>) -> Report {
        let held =
            vec![HeldEffect { effect: EffectId([7; 32]), ended: true, what: "restartUnit: done".into() }];
        let journal = JournalRef { id: JournalId([1; 16]), length: 9 };
        Report { key: Sha256::of(b"key"), obeys: fence(epoch, 2), heard_ago, journal, held }
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn the_evidence_names_who_is_obeyed_by_whom_and_the_epoch_above_all_of_them() {
        let fencing = Fencing::new(fence(3, 1));
        assert!(!fencing.is_fenced() && fencing.view().is_none() && fencing.notice().is_empty());
        assert!(fencing.heard(&node("a"), report(5, None)));
        assert!(!fencing.heard(&node("b"), report(4, None)), "no news: it was fenced before");
        let view = fencing.view().unwrap();
        assert_eq!((view.epoch, view.obeyed_epoch, view.next_epoch, view.agents.len()), (3, 5, 6, 2));
        assert_eq!(view.agents[0].ended, ["07070707 restartUnit: done"]);
        assert_eq!(fencing.reported().1, 5);
        let notice = fencing.notice();
        assert!(notice.contains("a, b obey epoch 5") && notice.ends_with("drydock takeover"), "{notice}");
        fencing.taken_over(fence(6, 3));
        assert!(!fencing.is_fenced());
    }

    #[test]
    fn whoever_spoke_after_we_had_begun_and_lately_is_alive_and_nobody_else() {
        let now = Instant::now();
        let at = |ago: u64| now.checked_sub(Duration::from_secs(ago)).unwrap();
        // The one whose backup this is spoke last before we began.
        assert_eq!(alive_ago(at(10), at(20), now), None);
        assert_eq!(alive_ago(at(10), at(5), now), Some(Duration::from_secs(5)));
        // It was stopped, and long enough ago.
        assert_eq!(alive_ago(at(500), at(61), now), None);
    }

    #[test]
    fn what_a_machine_said_that_is_not_enrolled_any_more_counts_for_nothing() {
        let fencing = Fencing::new(fence(3, 1));
        assert!(!fencing.keep(|_| false), "nobody had said anything");
        fencing.heard(&node("a"), report(4, None));
        assert!(!fencing.keep(|key| key == Sha256::of(b"key")) && fencing.is_fenced());
        assert!(fencing.keep(|_| false) && !fencing.is_fenced());
    }

    #[test]
    fn an_agent_that_has_just_heard_the_other_shows_that_it_is_alive() {
        let fencing = Fencing::new(fence(3, 1));
        fencing.heard(&node("a"), report(4, Some(Duration::ZERO)));
        assert!(fencing.alive().unwrap().contains("it spoke to a's agent"));
        fencing.heard(&node("a"), report(4, Some(Duration::from_secs(3600))));
        assert_eq!(fencing.alive(), None);
    }
}
