//! Drydock upgrades real hypervisors under their running guests: needs root and the built programs
//! (`cargo build --workspace`); `tests/run --all lab` does it all.
//! `cargo test -p drydock-lab --test hypervisor_waves -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes: needs root"]
fn libvirt_switch_and_controller_of_three_nodes_go_there_and_back_as_gently_as_by_hand() -> Result<()> {
    Scenario::Hypervisor.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn packages_that_fail_remove_are_locked_or_were_changed_leave_guests_and_dpkg_whole() -> Result<()> {
    Scenario::HypervisorPackages.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_restart_of_libvirt_waits_for_a_migration_and_for_room_and_lets_a_paused_guest_be() -> Result<()> {
    Scenario::HypervisorRest.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn an_agent_killed_while_flows_are_held_back_is_mended_by_itself_or_by_the_reverter() -> Result<()> {
    Scenario::HypervisorReload.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn flows_that_a_reload_loses_are_told_again_at_once_and_the_run_holds() -> Result<()> {
    Scenario::HypervisorLostFlows.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn a_node_whose_own_address_lies_on_a_bridge_comes_back_alone_from_a_version_that_cuts_it_off() -> Result<()>
{
    Scenario::HypervisorManagement.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn an_ovn_controller_that_never_catches_up_is_named_and_taken_back() -> Result<()> {
    Scenario::HypervisorCatchUp.play()
}

#[test]
#[ignore = "boots nodes: needs root"]
fn what_is_wrong_with_a_hypervisor_is_named_with_its_age_and_what_to_do_until_it_is_mended() -> Result<()> {
    Scenario::HypervisorCheck.play()
}
