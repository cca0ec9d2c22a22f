//! What is asked of a node or guest from another node, again and again, while something is changed.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::Millis;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ReachTarget {
    /// An ICMP echo is answered.
    Ping {
        /// An IP address; no name is looked up.
        address: String,
    },
    /// A TCP connection opens.
    Tcp {
        /// `10.0.0.7:22`.
        address: String,
    },
    /// GET answers 2xx or 3xx.
    Http {
        /// `http://10.0.0.7:8080/healthz`.
        url: String,
    },
}

/// A watch that an agent keeps. Asking for it again is how it goes on: one that nobody asks for ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReachWatch {
    /// The same text is the same watch.
    pub id: String,
    /// What is asked.
    pub target: ReachTarget,
    /// How often.
    pub every: Millis,
    /// A question without an answer after so long has none.
    pub answer_within: Millis,
    /// It ends when nobody has asked for it for so long, as the last one said who did. 0: it ends now, and one that there is
    /// not does not begin; whether the node would let it is said all the same.
    pub keep: Millis,
}

/// What a watch has seen since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReachView {
    /// How long ago it began.
    pub for_ms: u64,
    /// How many questions were asked whose answer came or is not waited for any more.
    pub asked: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// The longest time without an answer, one that still lasts included.
    pub longest_ms: u64,
}
