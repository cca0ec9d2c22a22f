//! ovn-controller.

use drydock_types::ovn::OvnView;

use crate::{actions::Problem, host::Host, ovn};

/// Looks. What of it cannot be seen stands in the view with why.
///
/// # Errors
/// When the node is no chassis, or its own database cannot be asked.
pub async fn look(_host: &Host) -> Result<OvnView, Problem> {
    ovn::look().await
}
