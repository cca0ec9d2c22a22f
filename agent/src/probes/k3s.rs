//! What K3s is on this node, by its unit's settings.

use drydock_types::{UnitName, probe::K3sView};

use crate::{actions::Problem, host::Host, k3s::K3s, sys::blocking};

/// Looks at a unit of the policy.
///
/// # Errors
/// When this host has no K3s as its installer sets it up, or its settings cannot be read.
pub async fn look(host: &Host, unit: &UnitName) -> Result<K3sView, Problem> {
    let k3s = K3s::look(host, unit).await?;
    blocking(move || k3s.view()).await
}
