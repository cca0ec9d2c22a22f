//! A run's state, whole and as documents: a head, its plan, its nodes. A transition changes the head and a node
//! or two; only those are written again, however large the fleet is.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use drydock_types::{ClusterName, FleetId, RunId, Sha256};
use serde::{Deserialize, Serialize};

use super::{Amendment, Approval, Hold, NodeRun, RunWaiting};
use crate::{Now, plan::Plan, view::RunStatus};

/// Both are made of one list, so that no field of the one can be missing in the other.
macro_rules! run_and_head {
    ($($(#[$doc:meta])* pub $field:ident: $type:ty,)*) => {
        /// A run.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct Run {
            $($(#[$doc])* pub $field: $type,)*
            /// What is executed. Changes by an amendment only, and is shared by all copies of the state.
            pub plan: Arc<Plan>,
            /// In the plan's order: stage, wave, node.
            pub nodes: Vec<NodeRun>,
        }

        /// Everything of a [`Run`] but its plan and its nodes.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct RunHead {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl RunHead {
            /// The head of a run.
            #[must_use]
            pub fn of(run: &Run) -> Self {
                Self { $($field: run.$field.clone(),)* }
            }

            /// The run again.
            #[must_use]
            pub fn with(self, plan: Plan, nodes: Vec<NodeRun>) -> Run {
                Run { $($field: self.$field,)* plan: Arc::new(plan), nodes }
            }
        }
    };
}

run_and_head! {
    /// [`REDUCER_VERSION`] of the build that made it.
    pub reducer: u32,
    /// What people call it.
    pub number: u64,
    /// For ever.
    pub id: RunId,
    /// The fleet that it belongs to.
    pub fleet: FleetId,
    /// The plan's digest when the run was accepted: effect ids hold it, whatever is amended later.
    pub accepted_digest: Sha256,
    /// What operators changed since, oldest first.
    pub amendments: Vec<Amendment>,
    /// Waves that somebody approved.
    pub approvals: Vec<Approval>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started: Now,
    /// How it stands.
    pub status: RunStatus,
    /// Behind which run it waits, while it does.
    pub queued_behind: Option<u64>,
    /// Who paused or aborted it last.
    pub stopped_by: Option<String>,
    /// When.
    pub stopped: Option<Now>,
    /// When it ended.
    pub ended: Option<Now>,
    /// Why it holds, while it does.
    pub hold: Option<Hold>,
    /// Further holds, in the order in which they came. `run resume` decides one at a time: none is lost
    /// because another came first.
    pub holds_behind: Vec<Hold>,
    /// Rises with every look, so that an answer to an older question is known as such.
    pub round: u64,
    /// By stage: how long a node was foreseen to take when the run was started, where there was something to
    /// judge by.
    pub planned_ms: BTreeMap<usize, u64>,
    /// By stage: when a protect section was last done, on the fleet's clock.
    pub protected_at_ms: BTreeMap<usize, u64>,
    /// What it waits for before a further node leaves service, while that is no node's own business.
    pub waiting: Option<RunWaiting>,
    /// What failed in each Kubernetes cluster before this run changed any of its Nodes, each by its digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_before: BTreeMap<ClusterName, Vec<String>>,
    /// The same for people, one line a cause: a report shows it however long the record has become.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_before_said: BTreeMap<ClusterName, Vec<String>>,
}
