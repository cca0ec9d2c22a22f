//! A rehearsal on real nodes: needs root and the built programs (`cargo build --workspace`).
//! `cargo test -p drydock-lab --test rehearsal -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root"]
fn a_rehearsal_finds_what_is_in_the_way_and_changes_nothing_on_any_node() -> Result<()> {
    Scenario::Rehearse.play()
}
