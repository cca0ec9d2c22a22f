//! Time as the core knows it: two numbers, handed in.

use serde::{Deserialize, Serialize};

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Now {
    /// The fleet's own clock in milliseconds: monotonic, persisted, stands still while no coordinator runs.
    /// Every deadline and age is counted on it; a wall clock that jumps moves none of them.
    pub clock_ms: u64,
    /// Unix time in milliseconds: for people and for windows, never for deadlines.
    pub wall_ms: u64,
}
