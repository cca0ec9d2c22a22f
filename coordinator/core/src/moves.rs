//! Moves: what the coordinator itself does to the outside, so that a node can leave service and come back.
//!
//! Data, as recipes write it; what carries them out is the coordinator's. A move leaves marks on other people's
//! objects (a cordon), and takes only its own back.

use alloc::{string::String, vec::Vec};

use drydock_types::{EffectId, NodeName, RunId};
use serde::{Deserialize, Serialize};

/// One of a recipe's `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Move {
    /// The node's pods are evicted from the Kubernetes node that it is, which is cordoned before.
    KubernetesDrain(KubernetesDrain),
}

impl Move {
    /// Its name as it stands in a recipe, and of the check that asks whether it can be done or is still done.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::KubernetesDrain(_) => "kubernetesDrain",
        }
    }
}

/// Configuration of `kubernetesDrain`: what may be lost, each by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesDrain {
    /// Pods that nobody puts anywhere else: evicted, they are gone.
    #[serde(default)]
    pub bare_pods: Word,
    /// Pods with `emptyDir` volumes: what stands in them is gone.
    #[serde(default)]
    pub empty_dir: Word,
    /// Pods whose volume binds them to this node: they wait until it is back.
    #[serde(default)]
    pub local_volumes: Word,
    /// Pods that fit on no other node: they wait until it is back.
    #[serde(default)]
    pub nowhere_else: Word,
    /// The node goes down only when what was evicted is ready elsewhere.
    #[serde(default)]
    pub wait_for_replacements: bool,
}

/// Whether something may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Word {
    /// It keeps the node in service.
    #[default]
    Refuse,
    /// It may be.
    Allow,
}

/// What is to be done about a node's moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// The node leaves service: marked, then emptied.
    Leave,
    /// Our marks are taken back.
    GiveBack,
}

impl Doing {
    /// The word in effect ids and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::GiveBack => "giveBack",
        }
    }
}

/// Moves of a node that are under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Moving {
    /// Its id: what is said of another one is old.
    pub effect: EffectId,
    /// What.
    pub doing: Doing,
    /// Marks stood out there before already, as far as the run knows.
    pub was_marked: bool,
}

/// An order of the reducer about a node's moves. Durable intent before it is carried out; carried out twice it does
/// no harm, for what it finds done it does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveOrder {
    /// Index of the node.
    pub node: usize,
    /// Its name.
    pub name: NodeName,
    /// Its id.
    pub effect: EffectId,
    /// What; `None`: whatever is under way by this id ends before its next step.
    pub doing: Option<Doing>,
    /// A person has said "again" since somebody else undid what this run had marked.
    pub again: bool,
    /// Whose mark it is, where another run has left it.
    pub mark_of: Option<RunId>,
    /// The moves, in the order in which a node leaves; it is given back in reverse.
    pub moves: Vec<Move>,
}

/// How moves ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum MoveEnd {
    /// The node has left service.
    Left {
        /// What was seen of it, in one line.
        seen: String,
    },
    /// Nothing of ours is left on anybody's object.
    GivenBack {
        /// What was seen of it, in one line.
        seen: String,
    },
    /// It cannot be done as the plan has it.
    Refused {
        /// Why, with the blocker's name and what helps.
        why: String,
    },
    /// It was never begun, and nothing was marked by it: the limiter, a coordinator that stops, somebody else who is
    /// obeyed.
    NeverBegun {
        /// Why.
        why: String,
    },
    /// It was begun and not carried on.
    Lapsed {
        /// Why.
        why: String,
    },
}
