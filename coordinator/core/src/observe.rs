//! What is measured from outside while a node is changed: how long somebody else would have waited for an answer.
//!
//! An agent knows how long its unit was down. Whether the service answered meanwhile, at another server perhaps, only
//! somebody who asks it knows.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Millis, reach::ReachTarget};
use serde::{Deserialize, Serialize};

/// Somebody who asks, from the moment at which a node's change is handed out until it is seen to be back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Observer {
    /// The API of the Kubernetes cluster that the node belongs to, through every endpoint that the coordinator knows.
    ControlPlane(ControlPlane),
    /// Guests and nodes, as another node reaches them.
    Reach(Reach),
}

impl Observer {
    /// Its name as it stands in a recipe.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ControlPlane(_) => "controlPlane",
            Self::Reach(_) => "reach",
        }
    }

    /// For how long nobody may answer.
    #[must_use]
    pub const fn max_gap(&self) -> Millis {
        match self {
            Self::ControlPlane(of) => of.max_gap,
            Self::Reach(of) => of.max_gap,
        }
    }
}

/// Configuration of `controlPlane`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlane {
    /// The longest time in which no endpoint may have answered. When it was longer the run holds before the next node.
    pub max_gap: Millis,
}

/// Configuration of `reach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reach {
    /// The node whose agent asks; its own policy must let it.
    pub from: String,
    /// Who is asked.
    pub to: Vec<ReachTarget>,
    /// How often.
    #[serde(default = "hundred_ms")]
    pub every: Millis,
    /// For how long one of them may not answer. When it was longer the run holds before the next node.
    pub max_gap: Millis,
}

const fn hundred_ms() -> Millis {
    Millis(100)
}

/// What an observer has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observed {
    /// Which, by its name.
    pub observer: String,
    /// Of what: `the API of prod`.
    pub what: String,
    /// As a whole: nobody answered. `Err`: why there is no figure.
    pub whole: Result<Gap, String>,
    /// There was one, or may have been, and it is gone: it lives in a coordinator's memory. Else nobody could ask at all.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub lost: bool,
    /// Each endpoint by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Observed {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let what = &self.what;
        let of = |gap: &Gap| match gap.longest_ms {
            0 => format!("{} of {} questions answered", gap.answered, gap.asked),
            ms => {
                format!("no answer for {}, {} of {} questions answered", Millis(ms), gap.answered, gap.asked)
            }
        };
        match &self.whole {
            Err(why) => format!("{what} was not measured: {why}"),
            Ok(whole) if self.parts.len() < 2 => format!("{what}: {}", of(whole)),
            Ok(whole) => {
                let parts: Vec<String> =
                    self.parts.iter().map(|part| format!("{}: {}", part.name, of(&part.gap))).collect();
                let all = match whole.longest_ms {
                    0 => "somebody answered at every moment".to_string(),
                    ms => format!("nobody answered for {}", Millis(ms)),
                };
                format!("{what}: {all} ({})", parts.join(", "))
            }
        }
    }
}

/// One endpoint of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// Which.
    pub name: String,
    /// What was seen of it.
    pub gap: Gap,
}

/// The longest time in which there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gap {
    /// From the first question that was not answered well to the first one that was, in milliseconds; 0 where all were.
    pub longest_ms: u64,
    /// How many questions were asked.
    pub asked: u64,
    /// How many of them were answered well.
    pub answered: u64,
}
