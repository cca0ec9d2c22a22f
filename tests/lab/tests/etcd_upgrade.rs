//! Drydock upgrades a real etcd cluster on real nodes, whatever happens on the way: needs root and the built
//! programs (`cargo build --workspace`); `tests/run lab` does it all.
//! `cargo test -p drydock-lab --test etcd_upgrade -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root"]
fn three_members_are_upgraded_one_by_one_under_writes_and_the_leader_last() -> Result<()> {
    Scenario::Upgrade.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn kills_of_coordinator_and_agents_in_every_phase_change_nothing_about_the_end() -> Result<()> {
    Scenario::Kills.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn an_agent_killed_between_rename_and_restart_goes_on_and_restarts_once() -> Result<()> {
    Scenario::BetweenRenameAndRestart.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_run_over_a_partitioned_member_is_refused_and_names_it() -> Result<()> {
    Scenario::PartitionedMember.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_corrupt_artifact_is_refused_before_anybody_leaves_service() -> Result<()> {
    Scenario::CorruptArtifact.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_member_that_does_not_come_back_is_undone_and_the_run_holds() -> Result<()> {
    Scenario::BrokenBinary.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_run_is_taken_back_by_command_and_refuses_to_be_past_the_point_of_no_return() -> Result<()> {
    Scenario::Rollback.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn past_the_point_of_no_return_a_failed_member_keeps_its_binary_and_the_run_holds() -> Result<()> {
    Scenario::PastNoReturn.play()
}
