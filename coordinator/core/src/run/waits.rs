//! What is waited for, and why a run stopped on purpose.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{Now, hold_kind::HoldKind, plan_file::ApprovalBy, view::Phase};

/// What a run waits for before a further node of a wave leaves service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunWaiting {
    /// Index of the stage.
    pub stage: usize,
    /// Index of the wave.
    pub wave: usize,
    /// For what.
    pub what: WaitFor,
    /// Since when.
    pub since: Now,
    /// When it is judged again, on the fleet's clock.
    pub again_ms: u64,
}

/// See [`RunWaiting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum WaitFor {
    /// Somebody's word.
    Approval {
        /// Whose word counts.
        by: ApprovalBy,
        /// Until when, on the fleet's clock; then the run holds.
        deadline_ms: u64,
    },
    /// The plan's window. The one wait without a deadline: it ends when the window opens.
    Window {
        /// When it opens, in Unix time; `None` where nobody can tell.
        opens_ms: Option<u64>,
        /// Why a node cannot begin now.
        because: String,
    },
}

/// What a node waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Waiting {
    /// The check or section.
    pub what: String,
    /// The blocker by its name.
    pub because: String,
    /// Since when.
    pub since: Now,
    /// When it was last looked at.
    pub seen: Now,
}

/// Why a run stopped on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Which kind of hold it is.
    pub kind: HoldKind,
    /// Index of the node, where there is one.
    pub node: Option<usize>,
    /// From which phase.
    pub from: Phase,
    /// One sentence.
    pub reason: String,
    /// In the agent's or the check's words.
    pub happened: String,
    /// How things stand at the node.
    pub state_now: String,
    /// Since when.
    pub since: Now,
    /// Where `run resume` takes the node up again.
    pub resume_at: Phase,
    /// `run resume` is the decision that raises the attempt.
    pub next_attempt: bool,
}
