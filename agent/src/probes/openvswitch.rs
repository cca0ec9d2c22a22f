//! Open vSwitch.

use drydock_types::openvswitch::OpenvswitchView;

use crate::{actions::Problem, host::Host, openvswitch};

/// Looks. The whole look is one answer: a bridge that does not tell its flows is an error.
///
/// # Errors
/// When it could not be seen.
pub async fn look(_host: &Host) -> Result<OpenvswitchView, Problem> {
    openvswitch::look().await.map(|seen| seen.view)
}
