//! What stands in the journal: one record, one fact.

use drydock_types::{
    EffectId, Fence, Head, HeadConflict, Millis, Outcome, Sha256,
    outcome::{Evidence, Failure},
};
use serde::{Deserialize, Serialize};

use crate::actions::Note;

/// One fact. Read strictly: a journal of a newer agent is not half understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Record {
    /// The highest fence that was obeyed (rule 2).
    FenceSeen {
        /// That fence.
        fence: Fence,
    },
    /// The latest head of the coordinator's record.
    HeadSeen {
        /// That head.
        head: Head,
    },
    /// A head that was not followed, beside the one that was kept.
    HeadRefused {
        /// Both.
        conflict: HeadConflict,
    },
    /// A section was taken on. From here on it ends with an outcome, whatever happens.
    Accepted {
        /// Which effect.
        effect: EffectId,
        /// The digest of the section's bytes: the same id with other bytes is refused.
        payload: Sha256,
        /// The section's exact bytes.
        section: String,
    },
    /// A start of the agent found the section open and carries it on.
    Resumed {
        /// Which effect.
        effect: EffectId,
    },
    /// A revert is about to be armed outside of the agent: the section is commit-confirmed.
    Arming {
        /// Which effect.
        effect: EffectId,
    },
    /// A step is about to take place.
    StepBegun {
        /// Which effect.
        effect: EffectId,
        /// Which step: `steps`, then `verify`.
        index: u32,
        /// What `probe` and `undo` will need.
        note: Note,
    },
    /// A step took place.
    StepDone {
        /// Which effect.
        effect: EffectId,
        /// Which step.
        index: u32,
        /// What was seen.
        evidence: Vec<Evidence>,
        /// How long it took.
        took: Millis,
    },
    /// The section failed and is taken back. Whoever carries it on goes backwards, never forwards.
    UndoDecided {
        /// Which effect.
        effect: EffectId,
        /// What went wrong.
        failure: Failure,
    },
    /// A step is about to be taken back.
    UndoBegun {
        /// Which effect.
        effect: EffectId,
        /// Which step.
        index: u32,
        /// What tells after a crash whether it was taken back.
        note: Note,
    },
    /// A step has been taken back.
    UndoDone {
        /// Which effect.
        effect: EffectId,
        /// Which step.
        index: u32,
        /// What was seen.
        evidence: Vec<Evidence>,
        /// How long it took.
        took: Millis,
    },
    /// The end. Holds all that later questions need; the section's other records may go.
    Ended {
        /// Which effect.
        effect: EffectId,
        /// The digest of the section's bytes.
        payload: Sha256,
        /// What came of it.
        outcome: Outcome,
    },
    /// The runs of these effects are closed: their outcomes may go.
    Forgotten {
        /// Which effects.
        effects: Vec<EffectId>,
    },
}
