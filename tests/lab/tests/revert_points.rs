//! Agent and reverter killed at the writes and units of a revert, on a real node: needs root and an agent that is built
//! with its failpoints, named by `DRYDOCK_AGENT`; `tests/run --all` does it all. By hand:
//! `cargo build --profile failpoints -p drydock-agent --features failpoints` and
//! `DRYDOCK_AGENT=$PWD/target/failpoints/drydock-agent cargo lab etcd --variant revert-points`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root and an agent with failpoints"]
fn a_revert_whose_agent_or_reverter_is_killed_anywhere_ends_confirmed_or_taken_back() -> Result<()> {
    Scenario::RevertPoints.play()
}
