//! An agent as small as it can be: what `agent/src/executor.rs` promises to a coordinator, without the waiting.
//!
//! `tests` beside it takes this one and the real executor through the same sequences, and compares what they say.

use std::{collections::BTreeMap, rc::Rc};

use drydock_types::{
    EffectId, Fence, JournalId, Millis, Outcome, SectionKind, Sha256,
    outcome::{Failure, SectionResult, StepReport},
};

/// What an agent was told, and how far it is: on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) id: JournalId,
    /// Rises with everything that is written.
    pub(super) length: u64,
    pub(super) seen: Option<Fence>,
    entries: BTreeMap<EffectId, Entry>,
}

/// A section that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) payload: Sha256,
    pub(super) at: At,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// On the disk, nothing begun.
    Accepted,
    /// The intent to restart the service is on the disk.
    Begun,
    /// It failed, and that it is taken back is on the disk.
    TakenBack,
    /// Over.
    Done,
    /// Over, and as before.
    Undone,
}

impl At {
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone)
    }
}

/// What becomes of a dispatch, or what is answered to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Accepted,
    Declined { why: String, lapsed: bool },
    Ended(At),
    Unknown,
}

/// A guard of the agent that an experiment leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentLacks {
    /// It obeys whoever speaks, and says of nobody that it obeyed them.
    pub fence: bool,
    /// It does a section that it has done already again.
    pub memory: bool,
}

impl Journal {
    pub(super) fn new(id: u8) -> Self {
        Self { id: JournalId([id; 16]), length: 1, seen: None, entries: BTreeMap::new() }
    }

    /// The section that is not over.
    pub(super) fn open(&self) -> Option<(EffectId, &Entry)> {
        self.entries.iter().find(|(_, entry)| !entry.at.is_over()).map(|(effect, entry)| (*effect, entry))
    }

    pub(super) fn at(&self, effect: EffectId) -> Option<At> {
        self.entries.get(&effect).map(|entry| entry.at)
    }

    /// Sections that changed the node or may: the one at work first.
    pub(super) fn held(&self) -> Vec<(EffectId, bool)> {
        let open = self.open().map(|(effect, _)| (effect, false));
        let over = self.entries.iter().filter(|(_, entry)| entry.at.is_over());
        open.into_iter().chain(over.map(|(effect, _)| (*effect, true))).collect()
    }

    /// From now on this coordinator is obeyed. `false`: it is not.
    pub(super) fn obey(&mut self, fence: Fence, lacks: AgentLacks) -> bool {
        if self.seen == Some(fence) {
            return true;
        }
        if !fence.is_obeyed_after(self.seen.as_ref()) && !lacks.fence {
            return false;
        }
        self.seen = Some(fence);
        self.length += 1;
        true
    }

    /// A section comes in.
    pub(super) fn take(
        &mut self,
        effect: EffectId,
        fence: Fence,
        payload: Sha256,
        lapses: bool,
        lacks: AgentLacks,
    ) -> Said {
        let declined = |why: &str, lapsed| Said::Declined { why: why.to_string(), lapsed };
        if !fence.is_obeyed_after(self.seen.as_ref()) && !lacks.fence {
            return declined("another coordinator is obeyed", false);
        }
        match self.entries.get(&effect) {
            Some(entry) if entry.payload != payload => {
                return declined("it is known with another section", false);
            }
            Some(entry) if entry.at.is_over() && !lacks.memory => return Said::Ended(entry.at),
            Some(entry) if !entry.at.is_over() => return Said::Accepted,
            _ => {}
        }
        if lapses || self.open().is_some() {
            return declined("it was not begun within 5s", true);
        }
        if self.seen != Some(fence) {
            self.seen = Some(fence);
            self.length += 1;
        }
        self.entries.insert(effect, Entry { payload, at: At::Accepted });
        self.length += 1;
        Said::Accepted
    }

    /// Writes how far the open section is.
    pub(super) fn write(&mut self, effect: EffectId, at: At) {
        if let Some(entry) = self.entries.get_mut(&effect) {
            entry.at = at;
            self.length += 1;
        }
    }

    pub(super) fn stored(&self, effect: EffectId) -> Said {
        match self.at(effect) {
            None => Said::Unknown,
            Some(at) if at.is_over() => Said::Ended(at),
            Some(_) => Said::Accepted,
        }
    }

    /// What is over may go.
    pub(super) fn forget(&mut self, effects: &[EffectId]) {
        for effect in effects {
            if self.at(*effect).is_some_and(At::is_over) {
                self.entries.remove(effect);
                self.length += 1;
            }
        }
    }
}

/// A host's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    /// Its process runs.
    pub(super) alive: bool,
    pub(super) journal: Rc<Journal>,
}

/// As an agent tells of a section that is over.
pub(super) fn outcome(effect: EffectId, at: At) -> Outcome {
    let step = || StepReport { step: "restartUnit".to_string(), undo: false, took: Millis(1), error: None };
    let result = match at {
        At::Undone | At::TakenBack => SectionResult::Undone {
            failure: Failure {
                step: "restartUnit".to_string(),
                what: "the unit is failed and has no main process".to_string(),
                next: Vec::new(),
                log: Vec::new(),
            },
        },
        At::Accepted | At::Begun | At::Done => SectionResult::Done {},
    };
    Outcome {
        effect,
        result,
        steps: vec![step()],
        took: Millis(1),
        out_of_service: Some(Millis(1)),
        evidence: Vec::new(),
    }
}

/// Only sections that change the service are handed out here.
pub(super) const fn is_known(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::Apply)
}
