//! libvirt on this host, seen from two sides: its daemon's word (`virsh`) and the process table. A guest is what either of
//! the two has. What one of them does not show is an error and never "no guests".

pub mod before;
mod emulator;
mod parse;
mod processes;
mod virsh;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::{
    UnitName,
    libvirt::{Guest, LibvirtKind, LibvirtView},
};
use tokio::time::Instant;

use self::{
    parse::{Known, Overview},
    processes::{Processes, Qemu},
    virsh::Virsh,
};
use crate::{
    actions::Problem,
    host::Host,
    sys::{exec, files, units::UnitInfo},
};

/// How long one look may take: less than whoever asks from afar waits for its answer.
pub const WITHIN: Duration = Duration::from_secs(5);
/// The most guests that are looked at. libvirt itself is made for 4096.
const MAX_GUESTS: usize = 8192;

/// Where things are on this host.
#[derive(Debug, Clone)]
struct Places {
    virsh: PathBuf,
    proc: PathBuf,
    run: PathBuf,
    lib: PathBuf,
}

impl Places {
    fn of_this_host() -> Result<Self, Problem> {
        let virsh = exec::find("virsh")
            .ok_or_else(|| Problem::new("virsh is not installed").next("apt-get install libvirt-clients"))?;
        let [proc, run, lib] = ["/proc", "/run", "/var/lib/libvirt"].map(PathBuf::from);
        Ok(Self { virsh, proc, run, lib })
    }
}

/// What a look found: the view, and the unit as it was right after.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As it is sent.
    pub view: LibvirtView,
    /// The daemon's unit.
    pub unit: UnitInfo,
}

/// How libvirt runs here, by the socket that its daemon, or systemd for it, listens on.
///
/// # Errors
/// When there is neither.
pub fn kind() -> Result<LibvirtKind, Problem> {
    kind_in(Path::new("/run"))
}

fn kind_in(run: &Path) -> Result<LibvirtKind, Problem> {
    // A modular one has a proxy with the old name beside it.
    let sockets = [("virtqemud-sock", LibvirtKind::Modular), ("libvirt-sock", LibvirtKind::Monolithic)];
    let place = run.join("libvirt");
    let found = sockets.into_iter().find(|(name, _)| place.join(name).exists());
    found.map(|(_, kind)| kind).ok_or_else(|| {
        Problem::new(format!("libvirt does not run here: neither of its sockets is in {}", place.display()))
            .next("systemctl status libvirtd.socket libvirtd.service virtqemud.socket virtqemud.service")
    })
}

/// Looks at libvirt and its guests. A daemon that is idle and has ended by itself is started by that, by its socket.
///
/// # Errors
/// When libvirt is not here, or its unit cannot be seen. What else cannot be seen stands in the view.
pub async fn look(host: &Host) -> Result<Seen, Problem> {
    let kind = kind()?;
    let places = Places::of_this_host()?;
    let until = Instant::now() + WITHIN;
    let (overview, guests) = guests(&places, until).await;
    let name = UnitName::parse(kind.unit()).map_err(|error| Problem::new(error.to_string()))?;
    let unit = host.units.load(&name).await.map_err(|error| Problem::new(error.to_string()))?;
    let free = |path: &Path| {
        files::free_bytes(path)
            .map_err(|error| Problem::new(format!("the space in {}: {error}", path.display())))
    };
    let (guests, in_its_cgroup) = match guests {
        Ok(found) => {
            let inside = found.iter().any(|(_, cgroups)| in_cgroup_of(cgroups, &unit.id));
            (Ok(found.into_iter().map(|(guest, _)| guest).collect()), inside)
        }
        Err(why) => (Err(why), false),
    };
    let Overview { version, pools, networks, .. } = overview;
    let view = LibvirtView {
        kind,
        version,
        kill_mode: unit.kill_mode.clone(),
        guests_in_its_cgroup: in_its_cgroup,
        run_free_bytes: free(&places.run)?,
        lib_free_bytes: free(&places.lib)?,
        guests,
        pools,
        networks,
    };
    Ok(Seen { view, unit })
}

/// What the daemon says why a guest ended: `shut off (shutdown)`.
pub async fn end_of(uuid: &str) -> String {
    match Places::of_this_host() {
        Ok(places) => Virsh { path: &places.virsh, until: Instant::now() + WITHIN }.end_of(uuid).await,
        Err(problem) => problem.what,
    }
}

/// Is one of these lines of `/proc/PID/cgroup` the unit's own or below it?
fn in_cgroup_of(cgroups: &str, unit: &str) -> bool {
    cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| path.split('/').any(|part| part == unit))
}

type Found = Result<Vec<(Guest, String)>, String>;

/// What the daemon says, and every guest that it or the process table has, with its cgroups.
async fn guests(places: &Places, until: Instant) -> (Overview, Found) {
    // Twice: one that starts or ends between the two looks would look like one that only one side knows.
    let mut last = once(places, until).await;
    if let (_, Ok(found)) = &last
        && found.iter().any(|(guest, _)| lopsided(guest))
    {
        last = once(places, until).await;
    }
    last
}

fn lopsided(guest: &Guest) -> bool {
    !guest.uuid.is_empty() && guest.process.is_some() != guest.state.is_some()
}

async fn once(places: &Places, until: Instant) -> (Overview, Found) {
    let virsh = Virsh { path: &places.virsh, until };
    let overview = virsh.overview().await;
    let proc = places.proc.clone();
    let processes = match tokio::task::spawn_blocking(move || processes::find(&proc)).await {
        Ok(processes) => processes,
        Err(error) => Err(format!("the look at the process table was broken off: {error}")),
    };
    let active = match &overview.active {
        Ok(active) if active.len() <= MAX_GUESTS => active,
        Ok(active) => {
            let why =
                format!("{} active guests are more than the {MAX_GUESTS} that are looked at", active.len());
            return (overview, Err(why));
        }
        Err(why) => {
            let why = why.clone();
            return (overview, Err(why));
        }
    };
    let uuids: Vec<String> = active.iter().map(|(uuid, _)| uuid.clone()).collect();
    let found = match (virsh.known(&uuids).await, processes) {
        (Ok(known), Ok(processes)) => unite(active, known, processes),
        (Err(why), _) | (_, Err(why)) => Err(why),
    };
    (overview, found)
}

/// Both sides' guests, each once.
fn unite(active: &[(String, String)], known: Vec<Known>, mut processes: Processes) -> Found {
    let mut found = Vec::with_capacity(active.len());
    for ((uuid, name), known) in active.iter().zip(known) {
        let qemu = processes.by_uuid.remove(uuid);
        let Some(state) = known.state else {
            // It ended since it was listed; if its process is still there that must be seen.
            if qemu.is_some() {
                found.push(guest(uuid, name.clone(), None, Ok(None), Ok(()), qemu));
            }
            continue;
        };
        let state = state.map_err(|why| format!("the state of guest {name} ({uuid}): {why}"))?;
        if state.starts_with("shut off") && qemu.is_none() {
            continue;
        }
        found.push(guest(uuid, name.clone(), Some(state), known.job, known.monitor, qemu));
    }
    for (uuid, qemu) in processes.by_uuid {
        let name = qemu.name.clone();
        found.push(guest(&uuid, name, None, Ok(None), Ok(()), Some(qemu)));
    }
    for qemu in processes.without {
        found.push(guest("", qemu.name.clone(), None, Ok(None), Ok(()), Some(qemu)));
    }
    if found.len() > MAX_GUESTS {
        return Err(format!("{} guests are more than the {MAX_GUESTS} that are looked at", found.len()));
    }
    Ok(found)
}

fn guest(
    uuid: &str,
    name: String,
    state: Option<String>,
    job: Result<Option<String>, String>,
    monitor: Result<(), String>,
    qemu: Option<Qemu>,
) -> (Guest, String) {
    let (process, cgroups) = qemu.map(|qemu| (qemu.process, qemu.cgroups)).unzip();
    let guest = Guest { uuid: uuid.to_owned(), name, process, state, job, monitor };
    (guest, cgroups.unwrap_or_default())
}

#[cfg(test)]
mod tests;
