//! What is measured from outside while a node is changed: how long somebody else would have waited for an answer.
//!
//! An agent knows how long its unit was down. Whether the service answered meanwhile, at another server perhaps, only
//! somebody who asks it knows.
//!
//! What was seen stands in the order of the recipe's observers: two of one kind are told apart by that.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::Millis;
use serde::{Deserialize, Serialize};

pub mod reach;

pub use self::reach::Reach;

/// So many observers of one node's change.
pub const MOST: usize = 8;

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

impl Observer {
    /// What it must keep beyond its form; what is wrong, and what to write.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn is_one(&self) -> Result<(), (String, &'static str)> {
        match self {
            Self::ControlPlane(_) => Ok(()),
            Self::Reach(of) => of.is_one(),
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

/// What an observer has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observed {
    /// Which, by its name.
    pub observer: String,
    /// Of what: `the API of prod`.
    pub what: String,
    /// As a whole: nobody answered; where `each` is to, the one that did not for the longest. `Err`: why there is no figure.
    pub whole: Result<Gap, String>,
    /// Each of the parts is to answer, and not one of them for all.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub each: bool,
    /// Nobody asked for a part of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<Interruption>,
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
        let told = match &self.whole {
            Err(why) => return format!("{what} was not measured: {why}"),
            Ok(whole) if self.parts.len() < 2 => whole.line(),
            Ok(whole) => {
                let parts: Vec<String> =
                    self.parts.iter().map(|part| format!("{}: {}", part.name, part.gap.line())).collect();
                let all = match (whole.longest_ms, self.each) {
                    (0, true) => "each answered every question".to_string(),
                    (0, false) => "somebody answered at every moment".to_string(),
                    (ms, true) => format!("one did not answer for {}", Millis(ms)),
                    (ms, false) => format!("nobody answered for {}", Millis(ms)),
                };
                format!("{all} ({})", parts.join(", "))
            }
        };
        match &self.interrupted {
            None => format!("{what}: {told}"),
            Some(of) => format!("{what}: measured with an interruption of {}: {told}", Millis(of.unseen_ms)),
        }
    }
}

/// Nobody asked for a while: whether anybody would have answered then is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interruption {
    /// For how long, all of them together.
    pub unseen_ms: u64,
    /// How many there were.
    pub times: u32,
}

impl Interruption {
    /// How long a gap may have been at worst, where the longest that was seen is this: one may have gone on all the time in
    /// which nobody looked, and run into another one on either side of it.
    #[must_use]
    pub const fn at_worst_ms(&self, longest_seen_ms: u64) -> u64 {
        let seen = longest_seen_ms.saturating_mul(self.times as u64 + 1);
        self.unseen_ms.saturating_add(seen)
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

impl Gap {
    fn line(&self) -> String {
        let Self { longest_ms, asked, answered } = self;
        match longest_ms {
            0 => format!("{answered} of {asked} questions answered"),
            ms => format!("no answer for {}, {answered} of {asked} questions answered", Millis(*ms)),
        }
    }
}
