//! libvirt and its guests.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Millis, UnitName, outcome::Verdict};

/// What is waited for before libvirt's daemon is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quiescence {
    /// No guest is left: no active domain and no QEMU process.
    #[default]
    Drained,
    /// Guests run and will go on running: none of them migrates, starts, or has a job, in either direction.
    RestartSafe,
}

/// A restart of libvirt's daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartLibvirt {
    /// The daemon's unit: `libvirtd.service`, or of a modular one `virtqemud.service`.
    #[serde(default = "libvirtd")]
    pub unit: UnitName,
    /// What must hold right before.
    #[serde(default)]
    pub quiescence: Quiescence,
    /// How long that is waited for.
    #[serde(default = "crate::step::ten_minutes")]
    pub wait: Millis,
    /// How long the restart may take, until every guest answers again.
    #[serde(default = "crate::step::two_minutes")]
    pub within: Millis,
}

impl Default for RestartLibvirt {
    fn default() -> Self {
        Self {
            unit: libvirtd(),
            quiescence: Quiescence::default(),
            wait: crate::step::ten_minutes(),
            within: crate::step::two_minutes(),
        }
    }
}

fn libvirtd() -> UnitName {
    UnitName::known("libvirtd.service")
}

/// How libvirt runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LibvirtKind {
    /// One daemon, `libvirtd`.
    Monolithic,
    /// One daemon a driver: `virtqemud` and others.
    Modular,
}

/// libvirt on one host, as its daemon and the process table have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LibvirtView {
    /// How it runs; told by its socket.
    pub kind: LibvirtKind,
    /// The version of the daemon that runs, in its own words, or why it does not say it.
    pub version: Result<String, String>,
    /// What happens to processes of the daemon's cgroup when it is stopped: `process` leaves guests alone.
    pub kill_mode: String,
    /// Do guests live in the daemon's own cgroup?
    pub guests_in_its_cgroup: bool,
    /// Bytes free in `/run`.
    pub run_free_bytes: u64,
    /// Bytes free in `/var/lib/libvirt`.
    pub lib_free_bytes: u64,
    /// Each guest that the daemon has as active or that has a QEMU process; or why that cannot be seen.
    pub guests: Result<Vec<Guest>, String>,
    /// Storage pools: name and whether it is active.
    pub pools: Result<Vec<(String, bool)>, String>,
    /// Networks: name and whether it is active.
    pub networks: Result<Vec<(String, bool)>, String>,
}

/// One guest of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guest {
    /// libvirt's UUID of it; empty for a QEMU that was started without one, which is nobody's that libvirt has started.
    pub uuid: String,
    /// Its name, printable.
    pub name: String,
    /// Its QEMU process; `None` where there is none.
    pub process: Option<GuestProcess>,
    /// libvirt's words: `running (booted)`, `paused (user)`; `None` for a QEMU process that the daemon does not know.
    pub state: Option<String>,
    /// A job on it: `Outgoing migration`; or why that is not known.
    pub job: Result<Option<String>, String>,
    /// Does its monitor answer? If not, what the daemon says.
    pub monitor: Result<(), String>,
}

/// A guest's QEMU process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestProcess {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot: with the number it is the same process or another one.
    pub started_ticks: u64,
    /// The version of the QEMU that it runs, as the program in its memory says it; or why that is not known.
    pub qemu: Result<String, String>,
    /// Is that program not installed any more?
    pub replaced: bool,
}

/// The least space that must be free in `/run` and in `/var/lib/libvirt`, in bytes: a daemon that cannot write its state
/// there does not come up again (with `/run` full it was seen to end in start-limit-hit).
pub const LEAST_FREE_BYTES: u64 = 16 << 20;

impl LibvirtKind {
    /// Its unit.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Monolithic => "libvirtd.service",
            Self::Modular => "virtqemud.service",
        }
    }
}

impl LibvirtView {
    /// May the daemon be restarted? What could not be seen is unknown, and never clear.
    #[must_use]
    pub fn quiescent(&self, wanted: Quiescence) -> Verdict {
        let guests = match (&self.version, &self.guests, &self.pools, &self.networks) {
            (Ok(_), Ok(guests), Ok(_), Ok(_)) => guests,
            (Err(why), ..) => return Verdict::Unknown(format!("the daemon does not say its version: {why}")),
            (_, Err(why), ..) => return Verdict::Unknown(format!("the guests cannot be seen: {why}")),
            (.., Err(why), _) => return Verdict::Unknown(format!("the pools cannot be seen: {why}")),
            (.., Err(why)) => return Verdict::Unknown(format!("the networks cannot be seen: {why}")),
        };
        for (place, free) in [("/run", self.run_free_bytes), ("/var/lib/libvirt", self.lib_free_bytes)] {
            if free < LEAST_FREE_BYTES {
                let (free, least) = (free >> 10, LEAST_FREE_BYTES >> 10);
                let what =
                    format!("{place} has {free} KiB free, and the daemon needs {least} KiB to come up");
                return Verdict::Refused(what);
            }
        }
        match wanted {
            Quiescence::Drained => drained(guests),
            Quiescence::RestartSafe if self.kill_mode != "process" => Verdict::Refused(format!(
                "KillMode of {} is {:?}: a restart could end the guests with it; it must be \"process\"",
                self.kind.unit(),
                self.kill_mode
            )),
            // An unknown goes before a wait: it would still be unknown when the wait is over.
            Quiescence::RestartSafe => {
                guests.iter().map(Guest::rests).max_by_key(weight).unwrap_or(Verdict::Clear)
            }
        }
    }
}

const fn weight(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Clear => 0,
        Verdict::Waiting(_) => 1,
        Verdict::Unknown(_) => 2,
        Verdict::Refused(_) => 3,
    }
}

fn drained(guests: &[Guest]) -> Verdict {
    let Some(first) = guests.first() else { return Verdict::Clear };
    let others = match guests.len() {
        1 => String::new(),
        more => format!(" and {} others", more - 1),
    };
    Verdict::Waiting(format!("{}{others}: still here", first.told()))
}

/// Why a guest of somebody's own will stands still; for any other reason libvirt is at work on it. (The reason is believed
/// only where it holds a restart up, never where it would let one pass: a job and a monitor are asked for all the same.)
const STANDS_STILL: [&str; 5] = [
    "paused (user)",
    "paused (I/O error)",
    "paused (watchdog)",
    "paused (crashed)",
    "paused (from snapshot)",
];

impl Guest {
    /// Its name and UUID, for a person.
    #[must_use]
    pub fn told(&self) -> String {
        match (&self.process, self.uuid.as_str()) {
            (Some(process), "") => format!("QEMU process {} without a UUID", process.pid),
            _ => format!("guest {} ({})", self.name, self.uuid),
        }
    }

    /// Would it go on as it is through a restart of the daemon?
    fn rests(&self) -> Verdict {
        let told = self.told();
        let Some(state) = self.state.as_deref() else {
            // Somebody else's, started by hand: libvirt gives each of its own a UUID.
            return match self.uuid.as_str() {
                "" => Verdict::Clear,
                _ => Verdict::Waiting(format!("{told} has a QEMU process that the daemon does not know")),
            };
        };
        if self.process.is_none() {
            return Verdict::Waiting(format!("{told} is {state} and has no QEMU process"));
        }
        if state.contains("migrating") || state.contains("post-copy") {
            return Verdict::Waiting(format!("{told} is {state}: a migration"));
        }
        match &self.job {
            Ok(None) => {}
            Ok(Some(job)) => return Verdict::Waiting(format!("{told} has a job: {job}")),
            Err(why) => return Verdict::Unknown(format!("{told}: its job cannot be seen: {why}")),
        }
        if let Err(why) = &self.monitor {
            return Verdict::Waiting(format!("{told}: its monitor is not free: {why}"));
        }
        if state == "running" || state.starts_with("running (") || STANDS_STILL.contains(&state) {
            return Verdict::Clear;
        }
        Verdict::Waiting(format!("{told} is {state}"))
    }
}

#[cfg(test)]
mod tests;
