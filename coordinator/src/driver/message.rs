//! What the driver is told, and what it wants done.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    inventory::Seen,
    moves::{Force, Move, MoveEnd, MoveOrder},
    observe::{Observed, Observer},
    recipe::{Check, Detect},
    run::{CheckResult, SoakLook},
};
use drydock_types::{ClusterName, EffectId, Fence, FleetId, Millis, NodeKey, NodeName, Outcome, RunId};

use super::{Agent, FleetNode, HeldEffect};
use crate::heard::Signed;

/// What fails in a Kubernetes cluster already: see [`drydock_core::run::Event::FailedBefore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedBefore {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Each by its digest.
    pub keys: Vec<String>,
    /// For people.
    pub said: Vec<String>,
}

/// What happened, as the driver is told.
#[derive(Debug)]
pub enum Input {
    /// A node's agent has said Hello.
    Connected {
        /// Which.
        node: NodeName,
        /// What it says of itself.
        agent: Box<Agent>,
    },
    /// A stream ended.
    Disconnected {
        /// Which node's.
        node: NodeName,
        /// Which stream.
        session: u64,
    },
    /// A section is in its agent's journal.
    Accepted {
        /// At whom.
        node: NodeName,
        /// Which.
        effect: EffectId,
    },
    /// An agent will not begin a section.
    Declined {
        /// Who.
        node: NodeName,
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
        /// It came too late, rather than being refused.
        lapsed: bool,
    },
    /// How far an agent is.
    Progress {
        /// Who.
        node: NodeName,
        /// In which section.
        effect: EffectId,
        /// At which step.
        step: String,
        /// Bytes done and in all.
        progress: Option<(u64, u64)>,
    },
    /// A section ended.
    Outcome {
        /// At whom.
        node: NodeName,
        /// How: bounded, for the run's state.
        outcome: Box<Outcome>,
        /// The same as its node signed it, for the record. Whoever tells it has judged the signature.
        signed: Box<Signed>,
    },
    /// An outcome came that is not signed by its node's key.
    OutcomeRefused {
        /// From whom.
        node: NodeName,
        /// On which stream.
        session: u64,
        /// Of which effect.
        effect: EffectId,
        /// Why it is not believed.
        why: String,
    },
    /// The answer to a question about an effect: its journal has never accepted it.
    NotKnown {
        /// Who.
        node: NodeName,
        /// Which.
        effect: EffectId,
    },
    /// A look that was asked for.
    Looked {
        /// Of which run.
        run: u64,
        /// Index of the node in the run.
        node: usize,
        /// Which round.
        round: u64,
        /// What each check says.
        results: Vec<CheckResult>,
        /// What runs there.
        seen: Seen,
    },
    /// What fails in a Kubernetes cluster before any node of a run was changed. Told before the look that found it.
    FailedBefore {
        /// Of which run.
        run: u64,
        /// What.
        found: FailedBefore,
    },
    /// What a node's moves wait for.
    MoveWaits {
        /// Of which run.
        run: u64,
        /// Which order.
        effect: EffectId,
        /// For what.
        what: String,
        /// The blocker by its name.
        because: String,
    },
    /// A node's moves ended.
    Moved {
        /// Of which run.
        run: u64,
        /// Which order.
        effect: EffectId,
        /// How.
        end: MoveEnd,
    },
    /// What was measured from outside up to a look that is about to be told.
    Measured {
        /// Of which run.
        run: u64,
        /// Index of the node.
        node: usize,
        /// Which round of looks.
        round: u64,
        /// What each observer has seen.
        seen: Vec<Observed>,
    },
    /// A node was enrolled, labelled or removed.
    Registered {
        /// All of them.
        nodes: Vec<(NodeName, FleetNode)>,
    },
    /// What an agent's journal holds of sections that changed its node: told before its stream opens.
    Held {
        /// Which node.
        node: NodeName,
        /// What.
        effects: Vec<HeldEffect>,
    },
    /// An agent obeys another coordinator: nothing further is handed out, to nobody, and runs stay as they are.
    Fenced {
        /// Whom.
        by: Fence,
    },
    /// The coordinator is stopping: nothing further is handed out.
    Stopping,
    /// Time passed.
    Tick,
}

impl Input {
    /// Could a run change by it? Who is there and who is registered is news also to a coordinator that is fenced.
    pub(super) const fn moves_runs(&self) -> bool {
        !matches!(
            self,
            Self::Disconnected { .. }
                | Self::Registered { .. }
                | Self::Held { .. }
                | Self::Fenced { .. }
                | Self::Stopping
        )
    }
}

/// What is to be done, after it is on disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a section.
    Dispatch {
        /// To whom.
        node: NodeName,
        /// On which stream; a later one must not get it.
        session: u64,
        /// Its id.
        effect: EffectId,
        /// Its exact bytes.
        section: Vec<u8>,
    },
    /// Ask what became of an effect.
    Ask {
        /// Whom.
        node: NodeName,
        /// About which.
        effect: EffectId,
    },
    /// Look.
    Look(Box<LookRequest>),
    /// Carry out a node's moves, or end what is under way.
    Move(Box<MoveRequest>),
    /// Measure from outside from now on; comes before the section that changes the node.
    Observe(Box<ObserveRequest>),
    /// Records that an agent may forget.
    Forget {
        /// Who.
        node: NodeName,
        /// Which.
        effects: Vec<EffectId>,
    },
}

/// Moves that the driver wants carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveRequest {
    /// Of which run, by its number.
    pub run: u64,
    /// The run's id, for marks.
    pub run_id: RunId,
    /// The fleet, for marks.
    pub fleet: FleetId,
    /// Whose order it is.
    pub fence: Fence,
    /// The node's identity.
    pub key: NodeKey,
    /// What.
    pub order: MoveOrder,
}

/// What the driver wants measured while a node is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserveRequest {
    /// Of which run, by its number.
    pub run: u64,
    /// Index of the node.
    pub index: usize,
    /// Its name.
    pub node: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// The run's id: what an agent watches has a name by it.
    pub run_id: RunId,
    /// When the change was handed out, on the fleet's clock.
    pub from_ms: u64,
    /// It was begun by a coordinator before this one, and at least so long before now.
    pub going_on_for_ms: Option<u64>,
    /// What.
    pub observers: Vec<Observer>,
    /// After so long nobody asks for it any more.
    pub at_most: Millis,
}

/// A look that the driver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookRequest {
    /// Of which run.
    pub run: u64,
    /// Index of the node in the run.
    pub index: usize,
    /// Which round.
    pub round: u64,
    /// The node.
    pub node: NodeName,
    /// The node is about to leave service, rather than coming back.
    pub before: bool,
    /// What runs there.
    pub detect: Detect,
    /// What must hold.
    pub checks: Vec<Check>,
    /// How it leaves service: whether that can be done, or is done still, is looked at as well. The result of each
    /// has its move's name.
    pub moves: Vec<Move>,
    /// It has left service by them.
    pub drained: bool,
    /// See [`MoveOrder::again`].
    pub again: bool,
    /// See [`MoveOrder::force`].
    pub force: Option<Force>,
    /// For marks.
    pub run_id: RunId,
    /// For marks.
    pub fleet: FleetId,
    /// The node's identity.
    pub key: NodeKey,
    /// Nobody is about to leave: what else can be asked without changing anything is asked.
    pub rehearses: bool,
    /// What must hold as well while it soaks, and where; the result of each has the name that
    /// [`SoakLook::name`] gives it.
    pub soak: Vec<SoakLook>,
    /// How long it has been soaking, in milliseconds.
    pub soaking_ms: u64,
    /// All nodes of the stage, and how to see what runs there: where a cluster's other members are.
    pub peers: Vec<(NodeName, Detect)>,
    /// The version to reach.
    pub to: drydock_types::Version,
    /// Outages that the plan accepts by name.
    pub outages: Vec<String>,
    /// No minor may be left out.
    pub one_minor_at_a_time: bool,
    /// What has been measured from outside since its change was handed out, to be told when all else is clear.
    pub observe: Vec<Observer>,
    /// When the run began, in Unix time by the coordinator's clock.
    pub began_unix_ms: u64,
    /// See [`drydock_core::run::Run::failed_before`].
    pub failed_before: BTreeMap<ClusterName, Vec<String>>,
    /// The node has not left yet, and a check of the stage will have to know what failed before: it is looked at now,
    /// whatever the checks of this very look are, unless a Node of the same cluster is among those that were `changed`.
    pub notes_failures: bool,
    /// Nodes that the run has marked or changed, this one included, whatever became of them.
    pub changed: BTreeSet<NodeKey>,
    /// The identities of the stage's nodes.
    pub keys: BTreeMap<NodeName, NodeKey>,
}
