//! `drydock takeover`: whom agents obey, and what was done about it.

use alloc::{string::String, vec::Vec};

use drydock_types::NodeName;
use serde::{Deserialize, Serialize};

view! {
    /// A coordinator that agents do not obey, and what they say.
    pub struct FencedView {
        /// Its epoch.
        pub epoch: u64,
        /// Its instance.
        pub instance: String,
        /// The highest epoch that an agent obeys.
        pub obeyed_epoch: u64,
        /// Since when this is known.
        pub since_unix_ms: u64,
        /// Why the other coordinator is taken to be alive, where it is.
        pub alive: Option<String>,
        /// The epoch that taking over would give.
        pub next_epoch: u64,
        /// What each agent that obeys somebody else says.
        pub agents: Vec<FencedAgentView>,
    }
}

view! {
    /// What an agent says of whom it obeys.
    pub struct FencedAgentView {
        /// Its node.
        pub node: NodeName,
        /// The epoch that it obeys.
        pub epoch: u64,
        /// The instance that it obeys.
        pub instance: String,
        /// When it first said so.
        pub first_unix_ms: u64,
        /// When it last said so.
        pub last_unix_ms: u64,
        /// How long ago it heard the one that it obeys; not known when not since its start.
        pub heard_ms_ago: Option<u64>,
        /// Its journal's id.
        pub journal: String,
        /// How many records that has.
        pub journal_length: u64,
        /// Sections at work there.
        pub at_work: Vec<String>,
        /// Sections that changed the node and whose outcome the journal keeps.
        pub ended: Vec<String>,
    }
}

view! {
    /// What a take-over did.
    pub struct TakenOverView {
        /// The epoch before.
        pub from: u64,
        /// The epoch now.
        pub to: u64,
        /// Open runs, which are taken up again.
        pub runs: Vec<u64>,
    }
}

/// The answer to a take-over: the situation, or what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TakeOverView {
    /// Agents obey this coordinator: there is nothing to take over.
    Obeyed {
        /// Its epoch.
        epoch: u64,
    },
    /// Agents obey another one.
    Fenced(FencedView),
    /// This coordinator is in the other's place now.
    TakenOver(TakenOverView),
}
