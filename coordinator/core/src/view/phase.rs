//! How a run stands, and where each of its nodes is.

use serde::{Deserialize, Serialize};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunStatus {
    /// Behind another run over the same nodes.
    Queued,
    /// At work.
    Running,
    /// By an operator; a section already handed out ends by itself.
    Paused,
    /// Stopped on purpose; a person must act.
    Held,
    /// No further node; the one at work is brought to an end.
    Aborting,
    /// Ended by an operator.
    Aborted,
    /// Every node done or skipped.
    Done,
}

impl RunStatus {
    /// Is the run over for good?
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Aborted | Self::Done)
    }
}

/// Where a node is in its life within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Not begun.
    Pending,
    /// Fetching, verifying, dry checks; in service.
    Staging,
    /// Ready to leave service.
    Staged,
    /// Its gates are being looked at.
    Gating,
    /// Snapshot or backup under way.
    Protecting,
    /// Leaving service by the coordinator's moves: cordoned, and emptied.
    Draining,
    /// Gates looked at again, right before the change.
    Rechecking,
    /// The change: out of service.
    Applying,
    /// Changed (or taken back); its checks must be clear.
    Returning,
    /// Well, or left as it was: what the run has marked for it is taken back.
    Releasing,
    /// Back, and watched.
    Soaking,
    /// Upgraded, verified, back, soaked.
    Done,
    /// Taken back to what it was.
    RolledBack,
    /// Stopped; a person must act.
    Held,
    /// Left out.
    Skipped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 15] = [
        Self::Pending,
        Self::Staging,
        Self::Staged,
        Self::Gating,
        Self::Protecting,
        Self::Draining,
        Self::Rechecking,
        Self::Applying,
        Self::Returning,
        Self::Releasing,
        Self::Soaking,
        Self::Done,
        Self::RolledBack,
        Self::Held,
        Self::Skipped,
    ];

    /// The word on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Staging => "staging",
            Self::Staged => "staged",
            Self::Gating => "gating",
            Self::Protecting => "protecting",
            Self::Draining => "draining",
            Self::Rechecking => "rechecking",
            Self::Applying => "applying",
            Self::Returning => "returning",
            Self::Releasing => "releasing",
            Self::Soaking => "soaking",
            Self::Done => "done",
            Self::RolledBack => "rolled back",
            Self::Held => "held",
            Self::Skipped => "skipped",
        }
    }

    /// Is the node between its gate and the end of its soak?
    #[must_use]
    pub const fn is_at_work(self) -> bool {
        !self.is_ended() && !matches!(self, Self::Pending | Self::Staging | Self::Staged)
    }

    /// Will nothing more happen to the node by itself?
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Held | Self::Skipped)
    }
}
