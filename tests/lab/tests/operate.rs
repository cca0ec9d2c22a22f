//! A night of an operator on real nodes: needs root and the built programs (`cargo build --workspace`).
//! `cargo test -p drydock-lab --test operate -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root"]
fn every_power_of_an_operator_works_as_the_screens_offer_it_and_no_write_is_lost() -> Result<()> {
    Scenario::Operate.play()
}
