//! Looks: what was asked for, and what an answer says.

use alloc::string::String;

use drydock_types::{NodeName, Verdict};
use serde::{Deserialize, Serialize};

use crate::recipe::Check;

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookFor {
    /// May the node leave service?
    Gate,
    /// The same, right before the change.
    Recheck,
    /// Is it back?
    Returned,
    /// Is it still well?
    Soak,
}

/// A look that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Look {
    /// Which round.
    pub round: u64,
    /// For what.
    pub purpose: LookFor,
    /// When it was asked for, on the fleet's clock. An answer that takes too long is not believed.
    pub asked_ms: u64,
}

/// A check of a soak, and where it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoakLook {
    /// On which node.
    pub node: NodeName,
    /// What.
    pub check: Check,
}

impl SoakLook {
    /// Is a result called so one of a soak check? No check's own name has a space.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        name.contains(' ')
    }

    /// How its result is called: `unit on ctl-2`, and `prometheus in the soak` for what is about all nodes.
    #[must_use]
    pub fn name(&self) -> String {
        match self.check.is_of_one_node() {
            true => alloc::format!("{} on {}", self.check.name(), self.node),
            false => alloc::format!("{} in the soak", self.check.name()),
        }
    }
}

/// One check's verdict in a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckResult {
    /// The check's name.
    pub check: String,
    /// What it says.
    pub verdict: Verdict,
}

/// A node that is out of service for whatever cause, in the failure domain of the node at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disrupted {
    /// Which.
    pub node: NodeName,
    /// Why: `its agent is silent`, `run 12 is at work there`.
    pub why: String,
}
