//! What the journal's records add up to.

use std::collections::BTreeMap;

use drydock_types::{
    EffectId, Fence, Millis, Section, SectionKind, Sha256,
    document::decode,
    outcome::{Evidence, Failure, SectionResult},
};

use super::{
    heads::Heads,
    past::{Changes, Spot, Trail},
    record::Record,
};
use crate::actions::Note;

/// What is known of the section that is accepted and has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Which effect.
    pub effect: EffectId,
    /// The digest of the section's bytes.
    pub payload: Sha256,
    /// The section.
    pub section: Section,
    /// How far each step is that was begun, by its index (`steps`, then `verify`).
    pub steps: BTreeMap<u32, StepState>,
    /// Set from the moment on when the section is taken back.
    pub failure: Option<Failure>,
    /// How many starts of the agent have carried it on.
    pub resumed: u32,
    /// A revert was or was about to be armed.
    pub armed: bool,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// What `probe` and `undo` need.
    pub note: Note,
    /// Evidence and time taken, once it is done.
    pub done: Option<(Vec<Evidence>, Millis)>,
    /// Its undo was begun; and what tells whether it took place.
    pub undo_begun: Option<Note>,
    /// Evidence and time taken, once it is taken back.
    pub undone: Option<(Vec<Evidence>, Millis)>,
}

/// Where an outcome stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) payload: Sha256,
    /// Offset and length of the record's JSON.
    pub(super) at: u64,
    pub(super) length: u32,
}

/// All that is kept in memory: the open section whole, ended ones as places in the file.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seen: Option<Fence>,
    pub(super) heads: Heads,
    pub(super) open: Option<Open>,
    pub(super) ended: BTreeMap<EffectId, Place>,
    /// Where the open section's records stand.
    trail: Trail,
    /// What can still be taken back.
    pub(super) changes: Changes,
}

impl State {
    /// Takes in one record whose JSON lies at this place. Refuses what cannot follow on what came before.
    pub(super) fn take(&mut self, record: Record, at: u64, length: u32) -> Result<(), String> {
        match record {
            Record::FenceSeen { fence } => {
                if !fence.is_obeyed_after(self.seen.as_ref()) {
                    return Err("a fence follows that is not above the one before".into());
                }
                self.seen = Some(fence);
            }
            Record::HeadSeen { .. } | Record::HeadRefused { .. } => self.heads.read(&record)?,
            Record::Accepted { effect, payload, section } => {
                let section = decode("section", section.as_bytes()).map_err(|error| error.to_string())?;
                if let Some(open) = &self.open {
                    return Err(format!("{effect} is accepted while {} is open", open.effect));
                }
                self.trail = Trail { accepted: Some(Spot { at, length }), begun: BTreeMap::new() };
                let steps = BTreeMap::new();
                self.open =
                    Some(Open { effect, payload, section, steps, failure: None, resumed: 0, armed: false });
            }
            Record::Ended { effect, payload, outcome } => {
                if let Some(open) = self.open.take_if(|open| open.effect == effect) {
                    self.close(&open, &outcome.result);
                }
                self.ended.insert(effect, Place { payload, at, length });
            }
            Record::Forgotten { effects } => {
                let undoes = self.open.as_ref().and_then(|open| open.section.undoes);
                for effect in effects {
                    self.ended.remove(&effect);
                    // What is being taken back at this moment is needed to its end.
                    if undoes != Some(effect) {
                        self.changes.forget(effect);
                    }
                }
            }
            Record::Resumed { effect } => self.at_work(effect)?.resumed += 1,
            Record::Arming { effect } => self.at_work(effect)?.armed = true,
            Record::UndoDecided { effect, failure } => self.at_work(effect)?.failure = Some(failure),
            Record::StepBegun { effect, index, note } => {
                let state = StepState { note, done: None, undo_begun: None, undone: None };
                self.at_work(effect)?.steps.insert(index, state);
                self.trail.begun.insert(index, Spot { at, length });
            }
            Record::StepDone { effect, index, evidence, took } => {
                self.step(effect, index)?.done = Some((evidence, took));
            }
            Record::UndoBegun { effect, index, note } => {
                let open = self.at_work(effect)?;
                if open.section.kind == SectionKind::Undo {
                    // The step was begun by the section that is taken back, and its note stands there.
                    let state = StepState { note: Note::none(), done: None, undo_begun: None, undone: None };
                    open.steps.entry(index).or_insert(state);
                }
                self.step(effect, index)?.undo_begun = Some(note);
            }
            Record::UndoDone { effect, index, evidence, took } => {
                self.step(effect, index)?.undone = Some((evidence, took));
            }
        }
        Ok(())
    }

    fn close(&mut self, open: &Open, result: &SectionResult) {
        let trail = std::mem::take(&mut self.trail);
        if open.section.kind == SectionKind::Apply {
            self.changes.ended(&open.section, trail, result);
        }
        // Forgotten while it was being taken back: it was needed until now.
        if let Some(undone) = open.section.undoes.filter(|undone| !self.ended.contains_key(undone)) {
            self.changes.forget(undone);
        }
    }

    fn at_work(&mut self, effect: EffectId) -> Result<&mut Open, String> {
        match &mut self.open {
            Some(open) if open.effect == effect => Ok(open),
            _ => Err(format!("a record of {effect} stands where that section is not open")),
        }
    }

    fn step(&mut self, effect: EffectId, index: u32) -> Result<&mut StepState, String> {
        let missing = || format!("step {index} of {effect} goes on without having been begun");
        self.at_work(effect)?.steps.get_mut(&index).ok_or_else(missing)
    }
}
