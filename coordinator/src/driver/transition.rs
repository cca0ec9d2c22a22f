//! One event of one run: the reducer's word, what follows from it at once, one commit, and only then the outputs.

use std::{borrow::Cow, collections::VecDeque};

use drydock_core::{
    Now,
    inventory::Seen,
    moves::{Doing, MoveEnd, MoveOrder, Moving},
    run::{Effect, Event, NodeRun, Run},
    run_view,
    view::Phase,
};
use drydock_types::{EffectId, NodeKey, SectionKind, document};

use super::{
    Driver, MoveRequest, Output, limiter,
    looks::{look_request, looked_at},
    observing,
    rows::{self, Unwritten, is_durable},
    standings, told,
};
use crate::{
    heard::Signed,
    store::{Commit, ComponentRow, EffectRow, LetOutRow, NewEvent, RunStore, SampleRow, StoreError},
};

/// What a transition comes to, before it is written.
struct Decided {
    run: Run,
    commit: Commit,
    outputs: Vec<Output>,
    standing: standings::Changes,
}

impl<S: RunStore> Driver<S> {
    /// One event, and those that follow from it at once, in one commit. Outputs come after the commit.
    pub(super) fn transition(
        &mut self,
        number: u64,
        event: Event,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        self.transition_signed(number, event, None, now)
    }

    /// The same, with what a node signed of the event.
    pub(super) fn transition_signed(
        &mut self,
        number: u64,
        event: Event,
        signed: Option<Signed>,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some(before) = self.runs.get(&number).cloned() else { return Ok(Vec::new()) };
        // What a stream or a person ends is not waited for by the limiter either.
        let settles = matches!(event, Event::AgentConnected { .. } | Event::Aborted { .. });
        let Decided { run, mut commit, outputs, standing } = self.decide(&before, event, signed, now);
        let unwritten = self.unwritten.entry(number).or_insert(Unwritten::Everything);
        unwritten.note(&before, &run);
        let changed = is_durable(&before, &run) || !standing.is_empty();
        if changed || !commit.events.is_empty() || !commit.open.is_empty() {
            commit.runs.push(rows::row(&run, unwritten));
            standing.write(&mut commit, now);
            self.write(&commit)?;
            self.unwritten.insert(number, Unwritten::nothing());
        }
        self.standings.take(standing);
        self.remembered.take(&commit);
        self.limiter.note(&commit);
        if settles {
            commit.close.iter().for_each(|effect| self.limiter.heard(*effect));
        }
        self.departures.note(&run, &outputs);
        told::tell(&before, &run);
        self.changes += 1;
        self.keep(run, outputs, now)
    }

    /// The reducer's word on an event, and on what follows from it at once. Nothing of it has happened yet.
    fn decide(&self, before: &Run, event: Event, mut signed: Option<Signed>, now: Now) -> Decided {
        let (mut was, mut run) = (Cow::Borrowed(before), before.clone());
        let mut commit = Commit { clock_ms: now.clock_ms, ..Commit::default() };
        let (mut outputs, mut standing) = (Vec::new(), standings::Changes::default());
        let mut pending = VecDeque::from([event]);
        while let Some(mut event) = pending.pop_front() {
            if let Event::Looked { node, disrupted, .. } = &mut event {
                // Counted when it is judged: within this very transition somebody may have left.
                *disrupted = self.disrupted_beside(&run, *node);
            }
            let (next, effects) = (self.reducer)(run, &event, now);
            run = next;
            if is_worth_a_line(&was, &run, &event) {
                let mut recorded = run_view::record(&was, &run, &event);
                if let Some(signed) = signed.take() {
                    recorded.proof = Some(signed.proof);
                    commit.documents.extend([signed.outcome, signed.certificate]);
                }
                let event = document::encode(&recorded);
                commit.events.push(NewEvent { run: run.number, wall_ms: now.wall_ms, event });
            }
            self.standings.follow(&mut standing, &was, &run, &event, now);
            for effect in effects {
                self.take_effect(&run, effect, now, &mut commit, &mut outputs, &mut pending);
            }
            if !pending.is_empty() {
                was = Cow::Owned(run.clone());
            }
        }
        note_ends(before, &run, now, &mut commit);
        Decided { run, commit, outputs, standing }
    }

    /// After the commit: the run as it is now, or whoever waits behind it when it is closed.
    fn keep(&mut self, run: Run, mut outputs: Vec<Output>, now: Now) -> Result<Vec<Output>, StoreError> {
        let number = run.number;
        if !run.status.is_closed() {
            self.runs.insert(number, run);
            return Ok(outputs);
        }
        self.limiter.closed(&run);
        outputs.extend(self.tell_to_forget(&run));
        self.runs.remove(&number);
        self.unwritten.remove(&number);
        self.live.remove(&number);
        outputs.extend(self.begin_queued(now)?);
        Ok(outputs)
    }

    fn take_effect(
        &self,
        run: &Run,
        effect: Effect,
        now: Now,
        commit: &mut Commit,
        outputs: &mut Vec<Output>,
        pending: &mut VecDeque<Event>,
    ) {
        match effect {
            Effect::Dispatch { section } => {
                let effect = section.effect;
                let session =
                    run.with_open(effect).and_then(|node| self.fleet.session_of(&section.node, node.key));
                let session = session.filter(|_| !self.stopping && self.fenced.is_none());
                let Some(session) = session else {
                    let why = if self.stopping {
                        "the coordinator is stopping"
                    } else if self.fenced.is_some() {
                        "agents obey another coordinator"
                    } else {
                        "its agent's stream is not open"
                    };
                    pending.push_back(Event::Lapsed { effect, why: why.to_string() });
                    return;
                };
                let judged = match run.with_open(effect) {
                    Some(node) => self.let_out(run, node, section.kind, now, commit),
                    None => Err("nobody has it open".to_string()),
                };
                match judged {
                    Ok(row) => commit.let_out.extend(row),
                    Err(why) => return pending.push_back(Event::Lapsed { effect, why }),
                }
                outputs.extend(observing::begins(run, &section));
                let (node, section) = (section.node.clone(), document::encode(&section));
                commit.open.push(EffectRow {
                    effect,
                    run: run.number,
                    node: node.clone(),
                    section: section.clone(),
                });
                outputs.push(Output::Dispatch { node, session, effect, section });
            }
            Effect::Ask { node, effect } => {
                // Another machine of that name cannot know; the stream of the right one brings the question up.
                let right =
                    run.with_open(effect).is_some_and(|of| self.fleet.session_of(&node, of.key).is_some());
                if right {
                    outputs.push(Output::Ask { node, effect });
                }
            }
            Effect::Look { node: index, round, checks } => match look_request(run, index, round, checks) {
                Some(request) => outputs.push(Output::Look(Box::new(request))),
                None => {
                    let mut seen = Seen { version: None, exe_sha256: None, role: None, down: false };
                    let mut results = self.fleet.own_connection(run, index);
                    results.extend(self.own_checks(run, index, &seen, now));
                    self.doubt(run, index, &mut results, &mut seen);
                    pending.push_back(looked_at(index, round, results, seen));
                }
            },
            Effect::Move(order) => self.take_move(run, order, now, commit, outputs, pending),
            // What may go, and what a rollback would want, is told when it is on disk, and until it is heard.
            Effect::Forget { effects: _ } => self.remembered.close(run, commit),
        }
    }

    /// A node leaves service by moves, or is given back. Leaving is judged by the limiter like the change that it is
    /// for; giving back, and stopping, never are.
    fn take_move(
        &self,
        run: &Run,
        order: MoveOrder,
        now: Now,
        commit: &mut Commit,
        outputs: &mut Vec<Output>,
        pending: &mut VecDeque<Event>,
    ) {
        let effect = order.effect;
        let mut lapse = |why: String| {
            pending.push_back(Event::Moved { effect, end: MoveEnd::NeverBegun { why } });
        };
        if order.doing.is_some() && self.stopping {
            return lapse("the coordinator is stopping".to_string());
        }
        if order.doing.is_some() && self.fenced.is_some() {
            return lapse("agents obey another coordinator".to_string());
        }
        if order.doing == Some(Doing::Leave) {
            match self.let_out(run, &run.nodes[order.node], run.change_kind(), now, commit) {
                Ok(row) => commit.let_out.extend(row),
                Err(why) => return lapse(why),
            }
        }
        outputs.push(self.move_request(run, order));
    }

    fn move_request(&self, run: &Run, order: MoveOrder) -> Output {
        Output::Move(Box::new(MoveRequest {
            run: run.number,
            run_id: order.mark_of.unwrap_or(run.id),
            fleet: self.fleet_id,
            fence: self.fence,
            key: run.nodes[order.node].key,
            order,
        }))
    }

    /// Whatever is under way outside ends before its next step.
    pub(super) fn stop_moves(&self) -> Vec<Output> {
        self.stopping(|_, _| true)
    }

    /// Nobody leaves service any more, or not this node: drains that are under way end, and say why. What is marked stays
    /// so, and what is being given back goes on.
    ///
    /// # Errors
    /// When the store says no.
    pub(super) fn stop_drains(
        &mut self,
        only: Option<NodeKey>,
        why: &str,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let leaves = |node: &NodeRun, moving: &Moving| {
            moving.doing == Doing::Leave && only.is_none_or(|key| node.key == key)
        };
        let mut outputs = self.stopping(leaves);
        let ended: Vec<(u64, EffectId)> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Move(request) => Some((request.run, request.order.effect)),
                _ => None,
            })
            .collect();
        for (run, effect) in ended {
            let end = MoveEnd::Lapsed { why: why.to_string() };
            outputs.extend(self.transition(run, Event::Moved { effect, end }, now)?);
        }
        Ok(outputs)
    }

    fn stopping(&self, wanted: impl Fn(&NodeRun, &Moving) -> bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        for run in self.runs.values() {
            for (node, of) in run.nodes.iter().enumerate() {
                let Some(moving) = of.moving.as_ref().filter(|moving| wanted(of, moving)) else { continue };
                let (name, effect) = (of.name.clone(), moving.effect);
                let order = MoveOrder {
                    node,
                    name,
                    effect,
                    doing: None,
                    again: false,
                    mark_of: None,
                    force: None,
                    moves: Vec::new(),
                };
                outputs.push(self.move_request(run, order));
            }
        }
        outputs
    }

    /// The limiter's word on a section.
    fn let_out(
        &self,
        run: &Run,
        node: &NodeRun,
        kind: SectionKind,
        now: Now,
        commit: &Commit,
    ) -> Result<Option<LetOutRow>, String> {
        let wants = limiter::Wants { run, node, kind, commit };
        let around = limiter::Around { fleet: &self.fleet, standings: &self.standings, runs: &self.runs };
        let judged = self.limiter.judge(&wants, &around, now);
        if let Err(why) = &judged {
            tracing::warn!(run = run.number, node = %node.name, %why, "the limiter let a section not out");
        }
        judged
    }
}

/// Closes effects that ended, keeps what was seen, and how long finished nodes took.
fn note_ends(before: &Run, run: &Run, now: Now, commit: &mut Commit) {
    for (was, is) in before.nodes.iter().zip(&run.nodes) {
        let ended = was.open.as_ref().filter(|open| is.open.as_ref() != Some(*open));
        commit.close.extend(ended.map(|open| open.effect));
        let stage = run.stage_of(is);
        if is.seen != was.seen
            && let Some(version) = is.seen.as_ref().and_then(|seen| seen.version.clone())
        {
            let (node, component) = (is.name.clone(), stage.component.clone());
            commit.components.push(ComponentRow { node, component, version, seen_ms: now.wall_ms });
        }
        if is.phase == Phase::Done && was.phase != Phase::Done {
            let began = is.began.map_or(now.clock_ms, |at| at.clock_ms);
            commit.samples.push(SampleRow {
                recipe: stage.recipe_digest,
                component: stage.component.clone(),
                took_ms: now.clock_ms.saturating_sub(began),
            });
        }
    }
    // An effect that was opened and lapsed within this very transition was never anybody's.
    commit.open.retain(|row| run.with_open(row.effect).is_some());
}

/// Time that passes and looks that find the same again are not events.
fn is_worth_a_line(was: &Run, is: &Run, event: &Event) -> bool {
    match event {
        Event::Started {} | Event::Restored { .. } => true,
        Event::Tick {} | Event::Accepted { .. } => is_durable(was, is),
        Event::Looked { node, .. } => {
            let told = |run: &Run| {
                run.nodes.get(*node).map(|node| {
                    let waiting =
                        node.waiting.as_ref().map(|waiting| (waiting.what.clone(), waiting.because.clone()));
                    (node.phase, waiting)
                })
            };
            // A deadline that was over by then may have stopped the run at another node.
            let stopped = || was.hold != is.hold || was.holds_behind != is.holds_behind;
            let moved = || was.nodes.iter().zip(&is.nodes).any(|(was, is)| was.phase != is.phase);
            told(was) != told(is) || stopped() || moved()
        }
        Event::AgentConnected { node, .. } => {
            // Not the coming and going of nodes that nothing was handed to: a record must not grow by it.
            let told = |was: &NodeRun, is: &NodeRun| {
                (&was.name == node && was.open.is_some()) || was.phase != is.phase
            };
            was.nodes.iter().zip(&is.nodes).any(|(was, is)| told(was, is))
        }
        // What a move waits for is told anew as often as it changes; the record has how it ended.
        Event::MoveWaits { .. } => false,
        // What cannot be taken back for the same reason again is tried again, and not told again.
        Event::Moved { end: MoveEnd::Lapsed { .. } | MoveEnd::NeverBegun { .. }, .. } => {
            let told = |node: &NodeRun| (node.phase, node.waiting.as_ref().map(|it| it.because.clone()));
            was.nodes.iter().zip(&is.nodes).any(|(was, is)| told(was) != told(is))
        }
        _ => was != is,
    }
}
