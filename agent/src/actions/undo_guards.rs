//! May a section still be taken back? Judged when undo is wanted, on evidence taken then.

use drydock_types::{Section, step::UndoGuard};

use crate::{
    etcd::{EtcdAccess, known::Known, risen::not_risen, spare::quorum_without_this},
    host::Host,
};

/// Ok when the guard holds.
///
/// # Errors
/// When it does not hold, or cannot be seen: the reason, for a person.
pub async fn holds(host: &Host, section: &Section, guard: &UndoGuard) -> Result<(), String> {
    match guard {
        UndoGuard::EtcdClusterNotRisen {} => {
            let access = EtcdAccess::of(&host.policy);
            not_risen(&access, &Known::in_state(&host.state_dir), section.from.as_ref()).await
        }
        UndoGuard::EtcdQuorumWithoutThis {} => {
            let access = EtcdAccess::of(&host.policy);
            quorum_without_this(&access, &Known::in_state(&host.state_dir)).await
        }
    }
}
