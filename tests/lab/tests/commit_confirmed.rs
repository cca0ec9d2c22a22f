//! Changes that can cut their node off, on real nodes: needs root and the built programs
//! (`cargo build --workspace`); `tests/run lab` does it all.
//! `cargo test -p drydock-lab --test commit_confirmed -- --ignored --nocapture --test-threads=1`
//!
//! `DRYDOCK_LAB_OUTAGE=600` lets the coordinator be away for ten minutes in place of a little more than the limit.

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root"]
fn what_cuts_its_node_off_is_taken_back_by_the_node_alone_within_its_limit() -> Result<()> {
    Scenario::CutOff.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn agents_upgrade_themselves_and_an_outage_of_the_coordinator_reverts_nobody() -> Result<()> {
    Scenario::Agents.play()
}
