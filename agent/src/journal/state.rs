//! What the journal's records add up to.

use std::collections::BTreeMap;

use drydock_types::{
    EffectId, Fence, Millis, Section, Sha256,
    document::decode,
    outcome::{Evidence, Failure},
};

use super::record::Record;
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
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// What `probe` and `undo` need.
    pub note: Note,
    /// Evidence and time taken, once it is done.
    pub done: Option<(Vec<Evidence>, Millis)>,
    /// Its undo was begun.
    pub undo_begun: bool,
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
    pub(super) open: Option<Open>,
    pub(super) ended: BTreeMap<EffectId, Place>,
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
            Record::Accepted { effect, payload, section } => {
                let section = decode("section", section.as_bytes()).map_err(|error| error.to_string())?;
                if let Some(open) = &self.open {
                    return Err(format!("{effect} is accepted while {} is open", open.effect));
                }
                let steps = BTreeMap::new();
                self.open = Some(Open { effect, payload, section, steps, failure: None, resumed: 0 });
            }
            Record::Ended { effect, payload, .. } => {
                if self.open.as_ref().is_some_and(|open| open.effect == effect) {
                    self.open = None;
                }
                self.ended.insert(effect, Place { payload, at, length });
            }
            Record::Forgotten { effects } => {
                for effect in effects {
                    self.ended.remove(&effect);
                }
            }
            Record::Resumed { effect } => self.at_work(effect)?.resumed += 1,
            Record::UndoDecided { effect, failure } => self.at_work(effect)?.failure = Some(failure),
            Record::StepBegun { effect, index, note } => {
                let state = StepState { note, done: None, undo_begun: false, undone: None };
                self.at_work(effect)?.steps.insert(index, state);
            }
            Record::StepDone { effect, index, evidence, took } => {
                self.step(effect, index)?.done = Some((evidence, took));
            }
            Record::UndoBegun { effect, index } => self.step(effect, index)?.undo_begun = true,
            Record::UndoDone { effect, index, evidence, took } => {
                self.step(effect, index)?.undone = Some((evidence, took));
            }
        }
        Ok(())
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
