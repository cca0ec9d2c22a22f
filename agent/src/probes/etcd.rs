//! The local etcd member, and every other one as seen from here.

use drydock_types::probe::EtcdView;

use crate::{
    actions::Problem,
    etcd::{EtcdAccess, known::Known, survey::survey},
    host::Host,
};

/// Looks, within five seconds. What could not be seen stands in the view as the reason why.
///
/// # Errors
/// Never as a whole; probes share this form.
pub async fn look(host: &Host) -> Result<EtcdView, Problem> {
    let access = EtcdAccess::of(&host.policy);
    Ok(survey(&access, &Known::in_state(&host.state_dir)).await.view)
}
