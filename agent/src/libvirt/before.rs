//! What stood right before a restart, kept in a file: of a host with thousands of guests it is more than a note in the
//! journal takes. Written before the restart begins, so that after a crash of the agent it is there to compare with.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_types::{
    EffectId, Sha256,
    libvirt::{Guest, LibvirtView},
};
use serde::{Deserialize, Serialize};

use crate::{actions::Problem, host::Host};

/// The largest such file: 8192 guests at some 150 bytes are 1.2 MB.
const MAX_BYTES: u64 = 8 << 20;

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
        write(&path, self).map_err(|error| {
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
        read(&path).map_err(|error| {
            Problem::new(format!(
                "what stood before the restart cannot be read from {}: {error}",
                path.display()
            ))
        })
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
    host.state_dir.join("libvirt").join(format!("{effect}.json"))
}

/// A digest, a newline, and the JSON text that it is of.
fn write(path: &Path, before: &Before) -> io::Result<()> {
    let json = serde_json::to_vec(before)?;
    let text = [Sha256::of(&json).to_string().as_bytes(), b"\n", &json].concat();
    let dir = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = path.with_extension("json.new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    durable!("agent.libvirt.before-write", out.write_all(&text))?;
    durable!("agent.libvirt.before-sync", out.sync_all())?;
    durable!("agent.libvirt.before-rename", fs::rename(&new, path))?;
    let dir = File::open(dir)?;
    durable!("agent.libvirt.before-sync-dir", dir.sync_all())
}

fn read(path: &Path) -> io::Result<Option<Before>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    let at = text.iter().position(|byte| *byte == b'\n').filter(|_| text.len() as u64 <= MAX_BYTES);
    let Some(at) = at else { return Err(io::Error::other("it is damaged")) };
    let (digest, json) = (&text[..at], &text[at + 1..]);
    if digest != Sha256::of(json).to_string().as_bytes() {
        return Err(io::Error::other("it is damaged: its digest is another one"));
    }
    Ok(Some(serde_json::from_slice(json)?))
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
    fn what_is_kept_is_read_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libvirt/x.json");
        assert_eq!(read(&path).unwrap(), None);
        let before = Before::of(&view(vec![guest("u", 1)]), "i", BTreeMap::new()).unwrap();
        write(&path, &before).unwrap();
        write(&path, &before).unwrap();
        assert_eq!(read(&path).unwrap(), Some(before));
        let mut text = fs::read(&path).unwrap();
        let last = text.len() - 3;
        text[last] ^= 1;
        fs::write(&path, text).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn what_was_not_seen_cannot_be_compared_with() {
        let unseen = LibvirtView { guests: Err("no".into()), ..view(vec![]) };
        assert!(Before::of(&unseen, "i", BTreeMap::new()).is_err());
    }
}
