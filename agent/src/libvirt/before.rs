//! What stood right before a restart, kept in a file: of a host with thousands of guests it is more than a note in the
//! journal takes. Written before the restart begins, so that after a crash of the agent it is there to compare with.

use std::{collections::BTreeMap, path::PathBuf};

use drydock_types::{
    EffectId,
    libvirt::{Guest, LibvirtView},
};
use serde::{Deserialize, Serialize};

use crate::{actions::Problem, host::Host, sys::files::kept};

/// Below the agent's state directory.
const DIR: &str = "libvirt";
/// The largest such file: 8192 guests at some 150 bytes are 1.2 MB.
const MAX_BYTES: u64 = 8 << 20;
/// So many changes' files are kept: a way back may come after another change.
const KEPT: usize = 8;

/// Right before a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Before {
    /// The invocation that was to end.
    pub invocation: String,
    /// Each guest with a process.
    pub guests: Vec<Triple>,
    /// Storage pools, and whether each was active.
    pub pools: Vec<(String, bool)>,
    /// Networks, and whether each was active.
    pub networks: Vec<(String, bool)>,
    /// Other units that must not be touched, with their invocations.
    pub others: BTreeMap<String, String>,
}

/// One guest's process: the same three are the same process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Triple {
    /// libvirt's UUID of the guest; empty where QEMU was started without one.
    pub uuid: String,
    /// Its name, for a person.
    pub name: String,
    /// The number of its process.
    pub pid: u32,
    /// When that was started.
    pub started_ticks: u64,
}

/// What is not as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Guests whose process is not there any more.
    pub gone: Vec<Triple>,
    /// What else is wrong and may still come right: a guest that does not answer yet, a pool that is not active yet.
    pub not_yet: Vec<String>,
}

impl Before {
    /// Of what was seen.
    ///
    /// # Errors
    /// When a part of it was not.
    pub fn of(
        view: &LibvirtView,
        invocation: &str,
        others: BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let unseen = |what: &str, why: &String| Problem::new(format!("the {what} cannot be seen: {why}"));
        let guests = view.guests.as_ref().map_err(|why| unseen("guests", why))?;
        Ok(Self {
            invocation: invocation.to_owned(),
            guests: guests.iter().filter_map(Triple::of).collect(),
            pools: view.pools.clone().map_err(|why| unseen("pools", &why))?,
            networks: view.networks.clone().map_err(|why| unseen("networks", &why))?,
            others,
        })
    }

    /// Compared with what is there now.
    #[must_use]
    pub fn compare(&self, view: &LibvirtView) -> Changed {
        let mut changed = Changed::default();
        if let Err(why) = &view.version {
            changed.not_yet.push(format!("the daemon does not answer: {why}"));
        }
        match &view.guests {
            Ok(guests) => self.guests_in(guests, &mut changed),
            Err(why) => changed.not_yet.push(format!("the guests cannot be seen: {why}")),
        }
        for (what, before, now) in
            [("pool", &self.pools, &view.pools), ("network", &self.networks, &view.networks)]
        {
            match now {
                Err(why) => changed.not_yet.push(format!("the {what}s cannot be seen: {why}")),
                Ok(now) => changed.not_yet.extend(
                    before
                        .iter()
                        .filter(|was| was.1 && !now.contains(was))
                        .map(|(name, _)| format!("{what} {name} was active and is not any more")),
                ),
            }
        }
        changed
    }

    fn guests_in(&self, guests: &[Guest], changed: &mut Changed) {
        let now: BTreeMap<(u32, u64), &Guest> = guests
            .iter()
            .filter_map(|guest| guest.process.as_ref().map(|it| ((it.pid, it.started_ticks), guest)))
            .collect();
        for triple in &self.guests {
            let Some(guest) =
                now.get(&(triple.pid, triple.started_ticks)).filter(|it| it.uuid == triple.uuid)
            else {
                changed.gone.push(triple.clone());
                continue;
            };
            match (&guest.state, &guest.monitor) {
                _ if guest.uuid.is_empty() => {}
                (None, _) => changed.not_yet.push(format!("the daemon does not know {}", guest.told())),
                (Some(_), Err(why)) => {
                    changed.not_yet.push(format!("{} does not answer: {why}", guest.told()))
                }
                (Some(_), Ok(())) => {}
            }
        }
    }

    /// Kept, on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, host: &Host, effect: EffectId) -> Result<(), Problem> {
        let path = file(host, effect);
        let dir = host.state_dir.join(DIR);
        let written = kept::write(&path, self).and_then(|_| kept::prune(&dir, KEPT, &name(effect)));
        written.map_err(|error| {
            Problem::new(format!(
                "what stands before the restart cannot be kept in {}: {error}",
                path.display()
            ))
            .next(format!("df -h {}", host.state_dir.display()))
        })
    }

    /// As it was kept; `None` when no restart was begun.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn kept(host: &Host, effect: EffectId) -> Result<Option<Self>, Problem> {
        let path = file(host, effect);
        let read = kept::read(&path, MAX_BYTES).map_err(|error| {
            Problem::new(format!(
                "what stood before the restart cannot be read from {}: {error}",
                path.display()
            ))
        })?;
        Ok(read.map(|(before, _)| before))
    }
}

impl Triple {
    fn of(guest: &Guest) -> Option<Self> {
        let process = guest.process.as_ref()?;
        Some(Self {
            uuid: guest.uuid.clone(),
            name: guest.name.clone(),
            pid: process.pid,
            started_ticks: process.started_ticks,
        })
    }
}

fn file(host: &Host, effect: EffectId) -> PathBuf {
    host.state_dir.join(DIR).join(name(effect))
}

fn name(effect: EffectId) -> String {
    format!("{effect}.json")
}

#[cfg(test)]
pub(crate) mod tests {
    use drydock_types::libvirt::{GuestProcess, LibvirtKind};

    use super::*;

    pub(crate) fn guest(uuid: &str, pid: u32) -> Guest {
        Guest {
            uuid: uuid.into(),
            name: "g1".into(),
            process: Some(GuestProcess { pid, started_ticks: 7, qemu: Ok("7.2.22".into()), replaced: false }),
            state: Some("running (booted)".into()),
            job: Ok(None),
            monitor: Ok(()),
        }
    }

    pub(crate) fn view(guests: Vec<Guest>) -> LibvirtView {
        LibvirtView {
            kind: LibvirtKind::Monolithic,
            version: Ok("9.0.0".into()),
            kill_mode: "process".into(),
            guests_in_its_cgroup: true,
            run_free_bytes: 1 << 30,
            lib_free_bytes: 1 << 30,
            guests: Ok(guests),
            pools: Ok(vec![("p".into(), true), ("q".into(), false)]),
            networks: Ok(vec![("default".into(), false)]),
        }
    }

    #[test]
    fn the_same_processes_are_the_same_and_another_one_is_not() {
        let before = Before::of(&view(vec![guest("u", 1)]), "i", BTreeMap::new()).unwrap();
        assert_eq!(before.compare(&view(vec![guest("u", 1), guest("new", 2)])), Changed::default());
        assert_eq!(before.compare(&view(vec![guest("u", 2)])).gone.len(), 1);
        assert_eq!(before.compare(&view(vec![guest("other", 1)])).gone.len(), 1);
        let mut later = guest("u", 1);
        later.process.as_mut().unwrap().started_ticks = 8;
        assert_eq!(before.compare(&view(vec![later])).gone.len(), 1);
    }

    #[test]
    fn a_guest_that_is_not_known_or_does_not_answer_yet_is_waited_for() {
        let before = Before::of(&view(vec![guest("u", 1)]), "i", BTreeMap::new()).unwrap();
        for now in [
            view(vec![Guest { state: None, ..guest("u", 1) }]),
            view(vec![Guest { monitor: Err("occupied".into()), ..guest("u", 1) }]),
            LibvirtView { guests: Err("no".into()), ..view(vec![]) },
            LibvirtView { version: Err("no".into()), ..view(vec![guest("u", 1)]) },
            LibvirtView { pools: Ok(vec![("p".into(), false)]), ..view(vec![guest("u", 1)]) },
            LibvirtView { networks: Err("no".into()), ..view(vec![guest("u", 1)]) },
        ] {
            let changed = before.compare(&now);
            assert_eq!((changed.gone.len(), changed.not_yet.len()), (0, 1), "{changed:?}");
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libvirt/x.json");
        let before = Before::of(&view(vec![guest("u", 1)]), "i", BTreeMap::new()).unwrap();
        let digest = kept::write(&path, &before).unwrap();
        assert_eq!(kept::read(&path, MAX_BYTES).unwrap(), Some((before, digest)));
    }

    #[test]
    fn what_was_not_seen_cannot_be_compared_with() {
        let unseen = LibvirtView { guests: Err("no".into()), ..view(vec![]) };
        assert!(Before::of(&unseen, "i", BTreeMap::new()).is_err());
    }
}
