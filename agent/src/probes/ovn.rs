//! ovn-controller.

use drydock_types::openvswitch::OvnView;

use crate::{actions::Problem, host::Host};

/// Looks.
///
/// # Errors
/// When it could not be seen.
pub async fn look(_host: &Host) -> Result<OvnView, Problem> {
    Err(Problem::new("this build of the agent cannot look at that"))
}
