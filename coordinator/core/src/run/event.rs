//! What happens to a run, and what is to be done about it.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{
    ClusterName, EffectId, Millis, NodeKey, NodeName, Outcome, RunId, Section, signed::Proof,
};
use serde::{Deserialize, Serialize};

use super::{Change, CheckResult, Disrupted, JournalRef};
use crate::{
    inventory::Seen,
    moves::{MoveEnd, MoveOrder},
    observe::Observed,
    recipe::Check,
};

/// What became of a change that a run takes back, seen when its turn came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Determined {
    /// It is there.
    There {
        /// See [`crate::plan::UndoOf`].
        half_way: bool,
        /// See [`crate::plan::UndoOf`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<RunId>,
    },
    /// There is nothing to take back, or it cannot be.
    Gone {
        /// Why.
        why: String,
    },
}

/// What happened. The record is a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The run was accepted.
    Started {},
    /// The run before it is closed.
    Unqueued {},
    /// The turn of a run that takes another one back has come, and that one is over: what became of its changes.
    /// Comes before [`Event::Unqueued`].
    Determined {
        /// By index of the node.
        changes: BTreeMap<usize, Determined>,
    },
    /// Time passed.
    Tick {},
    /// A coordinator has taken the run over; what was being looked at is looked at again.
    Restarted {},
    /// A person put this coordinator in the place of another one that agents obeyed: its store may be older
    /// than what was done. Else as [`Event::Restarted`].
    Restored {
        /// Who.
        by: String,
        /// The epoch that this coordinator had.
        from: u64,
        /// The epoch that it has now: above every one that an agent reported.
        to: u64,
        /// Which agents obeyed somebody else, and the epoch that each reported.
        reported: BTreeMap<NodeName, u64>,
    },
    /// A node's agent has opened its stream.
    AgentConnected {
        /// Which.
        node: NodeName,
        /// Its identity: of another key it is not the node that the plan means.
        key: NodeKey,
        /// Its journal.
        journal: JournalRef,
    },
    /// An answer to [`Effect::Look`].
    Looked {
        /// Index of the node.
        node: usize,
        /// Which round.
        round: u64,
        /// What each check says.
        results: Vec<CheckResult>,
        /// What runs there.
        seen: Seen,
        /// Who else is out of service in this node's failure domain.
        disrupted: Vec<Disrupted>,
    },
    /// A section ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// An outcome came that is not signed by its node's key. It changes nothing; its effect stays open.
    OutcomeRefused {
        /// Of which effect.
        effect: EffectId,
        /// Why it is not believed.
        why: String,
    },
    /// A section was never begun and never will be from that dispatch. For a section that changes nothing
    /// in service this is harmless; for one that does, its node goes back to its gate.
    Lapsed {
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
    },
    /// A section is in its agent's journal.
    Accepted {
        /// Which.
        effect: EffectId,
    },
    /// The answer to a question about a section: its agent's journal does not know of it. It was never accepted; or
    /// it was, and the journal is an older copy, and nothing tells how far the section came.
    NotKnown {
        /// Which.
        effect: EffectId,
    },
    /// The agent will not do it: fence, policy of the link, unreadable section.
    Declined {
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
    },
    /// What a move waits for.
    MoveWaits {
        /// Which order's.
        effect: EffectId,
        /// For what: `pods of shop/cart to leave`.
        what: String,
        /// The blocker by its name.
        because: String,
    },
    /// A node's moves ended.
    Moved {
        /// Which order's.
        effect: EffectId,
        /// How.
        end: MoveEnd,
    },
    /// What was measured from outside since the node's change was handed out. Comes before the look that finds it well.
    Measured {
        /// Index of the node.
        node: usize,
        /// Which round of looks it belongs to.
        round: u64,
        /// What each observer has seen.
        seen: Vec<Observed>,
    },
    /// What failed in a Kubernetes cluster before the run changed any of its Nodes: not the run's doing. Counts once
    /// for each cluster.
    FailedBefore {
        /// Drydock's name of the cluster.
        cluster: ClusterName,
        /// What fails, each by its digest.
        keys: Vec<String>,
        /// For people, one line a cause.
        said: Vec<String>,
    },
    /// An operator paused the run.
    Paused {
        /// Who.
        by: String,
    },
    /// An operator lets it go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// An operator ends it.
    Aborted {
        /// Who.
        by: String,
    },
    /// An operator lets a wave begin.
    Approved {
        /// Who.
        by: String,
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
    },
    /// An operator changes what the plan allows to be changed.
    Amended {
        /// Who.
        by: String,
        /// What.
        change: Change,
    },
    /// An operator leaves a node out that nothing was changed on.
    NodeSkipped {
        /// Who.
        by: String,
        /// Index of the node.
        node: usize,
    },
    /// An operator gives a node longer.
    Extended {
        /// Who.
        by: String,
        /// Index of the node.
        node: usize,
        /// How much longer than its present deadline.
        more: Millis,
    },
}

/// An event as it stands in the record: with what it meant when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recorded {
    /// Itself.
    pub event: Event,
    /// At which node.
    pub node: Option<NodeName>,
    /// One line for people.
    pub text: String,
    /// For an outcome: who signed it, and by which digest its exact bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What is to be done outside, after the state is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand a section to a node's agent. Durable before it is sent; asked about after a restart.
    Dispatch {
        /// The section; its effect id names it.
        section: Box<Section>,
    },
    /// Ask a node's agent what became of a section; nothing is sent again before it has answered.
    Ask {
        /// Whom.
        node: NodeName,
        /// About which.
        effect: EffectId,
    },
    /// Look, and answer with [`Event::Looked`].
    Look {
        /// Index of the node.
        node: usize,
        /// Which round.
        round: u64,
        /// What is looked at, beside what runs there.
        checks: Vec<Check>,
    },
    /// Carry out a node's moves, or end what is under way.
    Move(MoveOrder),
    /// The run is closed: agents may forget these effects.
    Forget {
        /// Which, at whom.
        effects: Vec<(NodeName, Vec<EffectId>)>,
    },
}
