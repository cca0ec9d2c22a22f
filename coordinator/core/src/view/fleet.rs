//! Nodes, tokens and artifacts, and the fleet as a whole.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{ComponentName, Label, NodeKey, NodeName, Sha256, Version, probe::HostFacts};
use serde::{Deserialize, Serialize};

use crate::standing::{Decision, Standing};

view! {
    /// A one-time token, without its secret.
    pub struct TokenView {
        /// Names it for `token revoke`.
        pub id: String,
        /// For which node.
        pub node: NodeName,
        /// Labels that the node will have.
        pub labels: BTreeMap<Label, Label>,
        /// Who made it.
        pub created_by: String,
        /// When it ends.
        pub expires_unix_ms: u64,
        /// `open`, `used`, `expired`, `revoked`.
        pub state: String,
    }
}

view! {
    /// A node.
    pub struct NodeView {
        /// Its name.
        pub name: NodeName,
        /// Its identity.
        pub key: NodeKey,
        /// Set by operators.
        pub labels: BTreeMap<Label, Label>,
        /// Is its stream open?
        pub connected: bool,
        /// When the stream was opened or broke.
        pub since_unix_ms: u64,
        /// Its agent.
        pub agent_version: String,
        /// What it says of its host; never trusted as a label.
        pub facts: Option<HostFacts>,
        /// When its certificate ends.
        pub certificate_until_unix_ms: u64,
        /// The run that works on it or waits for it.
        pub run: Option<u64>,
        /// What stands on record about it, beyond any run.
        pub standing: Option<Standing>,
        /// What runs there, as seen by the last look of any plan or run.
        pub components: Vec<ComponentView>,
    }
}

view! {
    /// A component on a node.
    pub struct ComponentView {
        /// Which.
        pub component: ComponentName,
        /// The version that the running service answered.
        pub version: Option<Version>,
        /// Why there is none.
        pub problem: Option<String>,
        /// When it was seen.
        pub seen_unix_ms: u64,
    }
}

view! {
    /// An artifact in the coordinator's store.
    pub struct ArtifactView {
        /// Its digest.
        pub sha256: Sha256,
        /// Its size in bytes.
        pub size: u64,
        /// The component that its signature names.
        pub component: ComponentName,
        /// The version that its signature names.
        pub version: Version,
        /// The architecture that its signature names.
        pub arch: String,
        /// When it was added.
        pub added_unix_ms: u64,
        /// By whom.
        pub added_by: String,
    }
}

view! {
    /// What `node set-aside`, `release` and `retire` answer: durable when it is read.
    pub struct StandingView {
        /// The node.
        pub node: NodeName,
        /// Its identity.
        pub key: NodeKey,
        /// What was done, in one line.
        pub what: String,
        /// What stands on record about it now.
        pub standing: Standing,
        /// Open runs that have it.
        pub runs: Vec<u64>,
    }
}

view! {
    /// The fleet as a whole.
    pub struct FleetView {
        /// Nothing leaves service while it is there.
        pub frozen: Option<Decision>,
        /// How many nodes may leave service within an hour, where there is a limit.
        pub most_disrupted_per_hour: Option<u32>,
        /// How many did within the last hour of the fleet's clock.
        pub left_within_hour: u64,
        /// Sections that were handed out before and end by themselves: `apply on ctl-2 (run 7)`.
        pub handed_out: Vec<String>,
    }
}
