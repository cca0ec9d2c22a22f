//! May a section still be taken back? Judged when undo is wanted, on evidence taken then.

use drydock_types::{Section, UnitName, probe::K3sDatastore, step::UndoGuard};

use crate::{
    etcd::{EtcdAccess, known::Known, risen::not_risen, spare::quorum_without_this},
    host::Host,
    k3s::K3s,
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
        UndoGuard::K3sMayGoBack { unit } => k3s_may_go_back(host, section, unit).await,
        UndoGuard::EtcdQuorumWithoutThis {} => {
            let access = EtcdAccess::of(&host.policy);
            quorum_without_this(&access, &Known::in_state(&host.state_dir)).await
        }
    }
}

/// An older K3s reads what a newer one of the same minor wrote. Over a minor Kubernetes converts what it stores and
/// etcd may rise: the way down leads through the backup (docs/upgrades of k3s-io/docs, "Restore").
async fn k3s_may_go_back(host: &Host, section: &Section, unit: &UnitName) -> Result<(), String> {
    same_minor(section)?;
    let k3s = K3s::look(host, unit).await.map_err(|problem| problem.what)?;
    match k3s.datastore_now().await.map_err(|problem| problem.what)? {
        K3sDatastore::EmbeddedEtcd { .. } => {
            let access = EtcdAccess::of(&host.policy);
            quorum_without_this(&access, &Known::in_state(&host.state_dir)).await
        }
        K3sDatastore::Sqlite {} | K3sDatastore::External { .. } => Ok(()),
    }
}

fn same_minor(section: &Section) -> Result<(), String> {
    let to = &section.to;
    match &section.from {
        Some(from) if from.minor() == to.minor() => Ok(()),
        Some(from) => Err(format!(
            "{from} is of another minor than {to}: a K3s server goes down a minor only by restoring the backup that was \
             taken before (docs/guide/k3s.md, \"The way back\")"
        )),
        None => Err(format!(
            "which version ran before {to} is not known, so whether it reads the datastore neither"
        )),
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{SectionKind, Version};

    use super::*;
    use crate::section;

    #[test]
    fn a_k3s_server_goes_back_within_its_minor_and_no_further() {
        let of = |from: Option<&str>, to: &str| {
            let version = |text: &str| Version::parse(text).unwrap();
            same_minor(&Section {
                from: from.map(version),
                to: version(to),
                ..section::empty(SectionKind::Apply)
            })
        };
        assert_eq!(of(Some("v1.33.4+k3s1"), "v1.33.5+k3s1"), Ok(()));
        assert_eq!(of(Some("v1.33.4+k3s1"), "v1.33.4+k3s2"), Ok(()));
        assert!(of(Some("v1.32.9+k3s1"), "v1.33.4+k3s1").unwrap_err().contains("another minor"));
        assert!(of(None, "v1.33.4+k3s1").unwrap_err().contains("not known"));
    }
}
