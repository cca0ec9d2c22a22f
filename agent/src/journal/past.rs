//! What is kept of sections that ended, so that their change can still be taken back.
//!
//! Only the last change of a component can be: taking back an earlier one would put a file under a service that
//! has changed since. So of each component one section is kept, until it is forgotten or another one has changed
//! the component, and all together are bounded. In memory they are places in the file.

use std::collections::BTreeMap;

use drydock_types::{ComponentName, EffectId, Section, outcome::SectionResult};

use crate::actions::Note;

/// Components whose last change is kept; the oldest goes first.
pub const MAX_CHANGES: usize = 64;
/// Bytes that their records may take. One section's are some 5 KiB, and 3 MiB at the very most.
pub const MAX_CHANGES_BYTES: u64 = 8 << 20;

/// Where a record's JSON stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) at: u64,
    pub(super) length: u32,
}

/// Where the records of a section stand that its undo will need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trail {
    pub(super) accepted: Option<Spot>,
    /// By the step's index.
    pub(super) begun: BTreeMap<u32, Spot>,
}

impl Trail {
    pub(super) fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.accepted.iter().chain(self.begun.values())
    }
}

/// The last section that changed a component, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub effect: EffectId,
    /// Of which run.
    pub run_number: u64,
    /// Its notes tell how it is taken back. Not of one whose end nothing could tell.
    pub is_told: bool,
    /// Rises with every change.
    pub(super) order: u64,
    pub(super) trail: Trail,
}

/// A section that ended, with what its undo needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The section as it was accepted.
    pub section: Section,
    /// Notes of the steps that were begun, by the step's index.
    pub notes: BTreeMap<u32, Note>,
}

/// Of each component the last change.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_component: BTreeMap<ComponentName, Change>,
    made: u64,
}

impl Changes {
    /// An apply section ended. Done, or left as it is: either has changed the component, and its notes tell what
    /// was there before. Undecidable: it may have, and nothing tells; what came before it cannot be taken back
    /// any more, and neither can it. Every other end left the component as it was.
    pub(super) fn ended(&mut self, section: &Section, trail: Trail, result: &SectionResult) {
        let is_told = match result {
            SectionResult::Done {} | SectionResult::LeftAlone { .. } => true,
            SectionResult::Undecidable { .. } => false,
            SectionResult::Refused { .. } | SectionResult::Failed { .. } | SectionResult::Undone { .. } => {
                return;
            }
        };
        self.made += 1;
        let trail = if is_told { trail } else { Trail::default() };
        let (effect, run_number) = (section.effect, section.run_number);
        let change = Change { effect, run_number, is_told, order: self.made, trail };
        self.by_component.insert(section.component.clone(), change);
        while self.by_component.len() > MAX_CHANGES || self.bytes() > MAX_CHANGES_BYTES {
            let oldest = self.in_order().first().map(|change| change.effect);
            oldest.into_iter().for_each(|oldest| self.forget(oldest));
        }
    }

    pub(super) fn forget(&mut self, effect: EffectId) {
        self.by_component.retain(|_, change| change.effect != effect);
    }

    pub(super) fn of(&self, component: &ComponentName) -> Option<&Change> {
        self.by_component.get(component)
    }

    /// Oldest first.
    pub(super) fn in_order(&self) -> Vec<&Change> {
        let mut changes: Vec<&Change> = self.by_component.values().collect();
        changes.sort_by_key(|change| change.order);
        changes
    }

    /// What they take in the file, beside the outcomes.
    pub(super) fn bytes(&self) -> u64 {
        let spots = self.by_component.values().flat_map(|change| change.trail.spots());
        spots.map(|spot| u64::from(spot.length) + super::FRAME_BYTES as u64).sum()
    }
}
