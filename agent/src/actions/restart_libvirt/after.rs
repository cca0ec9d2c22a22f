//! Seeing that a restart of the daemon was one of the daemon alone.

use std::{collections::BTreeMap, time::Duration};

use drydock_types::{
    UnitName,
    libvirt::{Guest, LibvirtView, RestartLibvirt},
    outcome::Evidence,
};
use tokio::time::{Instant, sleep};

use crate::{
    actions::Problem,
    host::Host,
    libvirt::{self, before::Before, before::Triple},
    sys::{
        still,
        units::{LOOK_AGAIN, UnitInfo, UnitsError},
    },
};

/// Units that guests live by, or that would shut them down. The daemons of a modular libvirt are not among them: they end by
/// themselves when they are idle, and come by their sockets. Nor are sockets: a restart opens those that were closed.
const OTHERS: [&str; 8] = [
    "virtlogd.service",
    "virtlockd.service",
    "libvirt-guests.service",
    "nova-compute.service",
    "openvswitch-switch.service",
    "ovs-vswitchd.service",
    "ovsdb-server.service",
    "ovn-controller.service",
];

/// The daemon itself, or one of a modular libvirt's others, which come and go as they are needed. (Of these, the ones that guests
/// live by are compared apart.)
pub(super) fn is_its_own(name: &str, daemon: &str) -> bool {
    name == daemon || (name.starts_with("virt") && name.ends_with("d.service"))
}

/// The invocations of those that are up, and of what would stop along with the daemon.
pub(super) async fn others(host: &Host, daemon: &UnitInfo) -> Result<BTreeMap<String, String>, Problem> {
    let mut found = BTreeMap::new();
    let along = daemon.stops_with.iter().map(String::as_str);
    for name in OTHERS.into_iter().chain(along).filter(|name| *name != daemon.id) {
        // Only services have names of this kind.
        let Ok(unit) = UnitName::parse(name) else { continue };
        match host.units.load(&unit).await {
            Ok(info) if info.active_state == "active" => drop(found.insert(info.id, info.invocation_id)),
            Ok(_) | Err(UnitsError::NotFound { .. } | UnitsError::NotLoaded { .. }) => {}
            Err(error) => return Err(Problem::new(error.to_string())),
        }
    }
    Ok(found)
}

/// Waits until all is as it was. A guest that is another process or none is not waited for: it will not come back.
pub(super) async fn as_before(
    host: &Host,
    config: &RestartLibvirt,
    before: &Before,
) -> Result<Vec<Evidence>, Problem> {
    let until = Instant::now() + Duration::from_millis(config.within.0);
    loop {
        let not_yet = match libvirt::look(host).await {
            Ok(seen) => {
                let changed = before.compare(&seen.view);
                // Judged once the daemon is back with all the rest: only then does it know how one has ended.
                if changed.not_yet.is_empty() {
                    let ended = ended(&changed.gone).await?;
                    untouched(&before.others, &others(host, &seen.unit).await?)?;
                    return Ok(vec![evidence(&seen.view, before.guests.len() - ended)]);
                }
                changed.not_yet.join("; ")
            }
            Err(problem) => problem.what,
        };
        if Instant::now() >= until {
            return Err(Problem::new(format!(
                "{not_yet}, still {} after {} was restarted",
                config.within, config.unit
            ))
            .next(format!("virsh -c qemu:///system list --all; journalctl -u {} -e", config.unit)));
        }
        still::waits(&not_yet);
        sleep(LOOK_AGAIN * 4).await;
    }
}

/// How many were ended by somebody meanwhile. Any other end is one of ours until a person has looked.
async fn ended(gone: &[Triple]) -> Result<usize, Problem> {
    for triple in gone {
        let how = libvirt::end_of(&triple.uuid).await;
        if !by_its_owner(&how) {
            return Err(Problem::new(format!(
                "guest {} ({}) was process {} before the restart and is not any more; the daemon says: {how}",
                triple.name, triple.uuid, triple.pid
            ))
            .next(format!("virsh -c qemu:///system domstate --reason {}", triple.uuid))
            .next(format!("less /var/log/libvirt/qemu/{}.log", triple.name)));
        }
    }
    Ok(gone.len())
}

/// It shut itself down, or somebody had it ended.
fn by_its_owner(how: &str) -> bool {
    matches!(how, "shut off (shutdown)" | "shut off (destroyed)")
}

fn untouched(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Result<(), Problem> {
    let moved = before.iter().find(|(unit, invocation)| now.get(*unit) != Some(invocation));
    let Some((unit, _)) = moved else { return Ok(()) };
    let how = if now.contains_key(unit) { "was started anew" } else { "is not up any more" };
    Err(Problem::new(format!("{unit} {how} beside the restart of libvirt's daemon"))
        .next(format!("systemctl status {unit}; journalctl -u {unit} -e")))
}

fn evidence(view: &LibvirtView, guests: usize) -> Evidence {
    let mut qemu: BTreeMap<String, u64> = BTreeMap::new();
    let all: &[Guest] = view.guests.as_deref().unwrap_or_default();
    for process in all.iter().filter_map(|guest| guest.process.as_ref()) {
        let version = process.qemu.clone().unwrap_or_else(|why| format!("not known: {why}"));
        *qemu.entry(version).or_default() += 1;
    }
    Evidence::GuestsKept {
        guests: u64::try_from(guests).unwrap_or(u64::MAX),
        version: view.version.clone().unwrap_or_default(),
        qemu: qemu.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::before::tests::{guest, view};

    #[test]
    fn only_an_end_that_somebody_wanted_is_let_pass() {
        assert!(by_its_owner("shut off (shutdown)") && by_its_owner("shut off (destroyed)"));
        for how in ["shut off (crashed)", "shut off (failed)", "shut off (unknown)", "running (booted)", ""] {
            assert!(!by_its_owner(how), "{how}");
        }
    }

    #[test]
    fn a_unit_beside_it_that_was_started_anew_or_has_ended_is_named() {
        let units =
            |invocation: &str| BTreeMap::from([("virtlogd.service".to_owned(), invocation.to_owned())]);
        assert_eq!(untouched(&units("a"), &units("a")), Ok(()));
        assert!(
            untouched(&units("a"), &units("b"))
                .unwrap_err()
                .what
                .contains("virtlogd.service was started anew")
        );
        assert!(untouched(&units("a"), &BTreeMap::new()).unwrap_err().what.contains("not up any more"));
        assert_eq!(untouched(&BTreeMap::new(), &units("a")), Ok(()));
    }

    #[test]
    fn the_daemons_of_a_modular_libvirt_come_and_go_and_nobody_else_does() {
        for own in ["libvirtd.service", "virtqemud.service", "virtnetworkd.service"] {
            assert!(is_its_own(own, "libvirtd.service"), "{own}");
        }
        for other in ["libvirt-guests.service", "nova-compute.service", "virtual-router.service"] {
            assert!(!is_its_own(other, "libvirtd.service"), "{other}");
        }
    }

    #[test]
    fn evidence_counts_guests_by_the_qemu_that_they_run() {
        let mut old = guest("a", 1);
        old.process.as_mut().unwrap().qemu = Ok("7.2.0".into());
        let evidence = evidence(&view(vec![old, guest("b", 2), guest("c", 3)]), 3);
        let qemu = vec![("7.2.0".to_owned(), 1), ("7.2.22".to_owned(), 2)];
        assert_eq!(evidence, Evidence::GuestsKept { guests: 3, version: "9.0.0".into(), qemu });
    }
}
