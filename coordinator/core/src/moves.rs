//! Moves: what the coordinator itself does to the outside, so that a node can leave service and come back.
//!
//! Data, as recipes write it; what carries them out is the coordinator's. A move leaves marks on other people's
//! objects (a cordon), and takes only its own back.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

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
    /// Is what is left deleted when the time for leaving is over?
    #[must_use]
    pub const fn forces_at_deadline(&self) -> bool {
        match self {
            Self::KubernetesDrain(drain) => matches!(drain.at_deadline, AtDeadline::Force),
        }
    }

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
    /// What becomes of pods that could not be evicted in the time that the node has for leaving.
    #[serde(default, skip_serializing_if = "AtDeadline::is_hold")]
    pub at_deadline: AtDeadline,
}

/// What happens when the time for leaving is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AtDeadline {
    /// The run holds, with the list of what is left.
    #[default]
    Hold,
    /// What is left is deleted, also where its budgets forbid its eviction; the record names each with its budget.
    Force,
}

impl AtDeadline {
    /// What is not said is not written: a plan's digest is that of before there was this word.
    const fn is_hold(&self) -> bool {
        matches!(self, Self::Hold)
    }
}

/// That pods may be deleted which could not be evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Force {
    /// By the recipe's `atDeadline: force`: whoever is left, each with its own grace period.
    Plan {},
    /// By an operator's amendment: exactly these, and nobody else.
    Pods {
        /// Who said so.
        by: String,
        /// Which.
        pods: Vec<ForcedPod>,
        /// Their grace period in seconds, where it is not to be their own.
        grace_s: Option<u32>,
    },
}

/// A pod that an operator has deleted where it could not be evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForcedPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which one of that name: another one is left alone.
    pub uid: String,
    /// The budget that is passed over, `shop/cart`, where there is one.
    pub budget: Option<String>,
}

impl fmt::Display for ForcedPod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)?;
        match &self.budget {
            Some(budget) => write!(out, " past the PodDisruptionBudget {budget}"),
            None => Ok(()),
        }
    }
}

/// `n1: what cannot be evicted is deleted: shop/cart-0 past the PodDisruptionBudget shop/cart, …`, each by its name.
#[must_use]
pub fn forced_in_words(node: &NodeName, pods: &[ForcedPod], grace_s: Option<u32>) -> String {
    let pods: Vec<String> = pods.iter().map(ToString::to_string).collect();
    let grace = grace_s.map_or_else(String::new, |s| format!(", with {s} s of grace"));
    format!("{node}: what cannot be evicted is deleted{grace}: {}", pods.join(", "))
}

/// What a drain waits for when everybody has left and what replaces them is not ready elsewhere yet.
pub const REPLACEMENTS: &str = "the evicted pods' replacements to be ready";

/// The name of a look's finding that the coordinator itself runs on the node: the others of its wave go first.
pub const OWN_POD: &str = "coordinatorPod";

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
    /// What it was ordered to force: another word is another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
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
    /// What may be deleted that cannot be evicted.
    pub force: Option<Force>,
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
