//! Checks of a hypervisor: its packages, libvirt, Open vSwitch, OVN. One file each; here they are observed.

mod libvirt;
mod openvswitch;
mod ovn;
mod packages;

use drydock_core::recipe::{LibvirtQuiescence, OpenvswitchCheck, OvnControllerCheck, PackagesCheck};
use drydock_types::{
    NodeName, Verdict,
    probe::{Observation, Probe},
};

use super::{PROBE_DEADLINE, Scene};

/// What the node's agent answers; or why it does not.
async fn observe(scene: &Scene<'_>, node: &NodeName, probe: Probe) -> Result<Observation, String> {
    scene.sessions.observe(node, &probe, PROBE_DEADLINE).await
}

fn another() -> Verdict {
    Verdict::Unknown("the agent answered another question".to_owned())
}

pub(super) async fn packages(scene: &Scene<'_>, node: &NodeName, config: PackagesCheck) -> Verdict {
    match observe(scene, node, Probe::Packages {}).await {
        Ok(Observation::Packages(view)) => packages::judge(&view, config),
        Ok(_) => another(),
        Err(why) => Verdict::Unknown(why),
    }
}

pub(super) async fn libvirt(scene: &Scene<'_>, node: &NodeName, config: LibvirtQuiescence) -> Verdict {
    match observe(scene, node, Probe::Libvirt {}).await {
        Ok(Observation::Libvirt(view)) => libvirt::judge(&view, config),
        Ok(_) => another(),
        Err(why) => Verdict::Unknown(why),
    }
}

pub(super) async fn openvswitch(scene: &Scene<'_>, node: &NodeName, config: OpenvswitchCheck) -> Verdict {
    match observe(scene, node, Probe::Openvswitch {}).await {
        Ok(Observation::Openvswitch(view)) => openvswitch::judge(&view, config),
        Ok(_) => another(),
        Err(why) => Verdict::Unknown(why),
    }
}

pub(super) async fn ovn(scene: &Scene<'_>, node: &NodeName, config: OvnControllerCheck) -> Verdict {
    match observe(scene, node, Probe::Ovn {}).await {
        Ok(Observation::Ovn(view)) => ovn::judge(&view, config),
        Ok(_) => another(),
        Err(why) => Verdict::Unknown(why),
    }
}
