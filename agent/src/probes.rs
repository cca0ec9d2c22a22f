//! The looks: one file a probe, one arm here. Read-only, all of it.

pub mod etcd;
pub mod findings;
pub mod health;
pub mod host;
pub mod k3s;
pub mod libvirt;
pub mod openvswitch;
pub mod ovn;
pub mod packages;
pub mod reach;
pub mod rehearse;
pub mod unit;
pub mod version;
pub mod versions;

use drydock_types::probe::{Observation, Probe};

use crate::{actions::Problem, host::Host};

/// Looks. The caller bounds the time.
///
/// # Errors
/// When it could not be seen; the text says what could not, and why.
pub async fn look(host: &Host, probe: &Probe) -> Result<Observation, Problem> {
    Ok(match probe {
        Probe::Host {} => Observation::Host(host::look(host)),
        Probe::Unit { unit, path } => Observation::Unit(unit::look(host, unit, path.as_ref()).await?),
        Probe::Etcd {} => Observation::Etcd(etcd::look(host).await?),
        Probe::Version { source } => Observation::Version(version::look(host, source).await?),
        Probe::K3s { unit } => Observation::K3s(k3s::look(host, unit).await?),
        Probe::Packages {} => Observation::Packages(packages::look(host).await?),
        Probe::Libvirt {} => Observation::Libvirt(libvirt::look(host).await?),
        Probe::Openvswitch {} => Observation::Openvswitch(openvswitch::look(host).await?),
        Probe::Ovn {} => Observation::Ovn(ovn::look(host).await?),
        Probe::Reach { watch } => Observation::Reach(reach::look(host, watch).await?),
        Probe::Findings {} => Observation::Findings(findings::look(host).await?),
        Probe::Versions {} => Observation::Versions(versions::look(host).await?),
        Probe::Rehearse { section } => Observation::Rehearsed(rehearse::look(host, section).await),
        Probe::Health { probe } => Observation::Health(health::look(host, probe).await?),
        // Answered where the journal and the key are: see `link::session`.
        Probe::Record { .. } => {
            return Err(Problem::new("what is kept of the record is not looked up on the host"));
        }
    })
}
