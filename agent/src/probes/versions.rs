//! What runs here, each in its own words: the running program is asked, never a package database.
//!
//! What does not run here is not in the list. What runs and cannot be asked stands there with why.

mod qemu;

use std::{collections::BTreeMap, fs, time::Duration};

use drydock_types::{ComponentName, UnitName, Version, findings::RunningVersion, step::VersionSource};
use nix::time::{ClockId, clock_gettime};

use super::version;
use crate::{
    actions::Problem,
    host::Host,
    sys::{
        blocking,
        exec::{self, Program},
        process,
        units::printable_line,
    },
};

/// How long one program may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A daemon that is asked by its own tool.
struct Daemon {
    component: &'static str,
    /// By the names that the kernel keeps of its process.
    processes: &'static [&'static str],
    tool: &'static str,
    args: &'static [&'static str],
    /// What stands before the version.
    before: &'static str,
}

const DAEMONS: [Daemon; 3] = [
    Daemon {
        component: "openvswitch",
        processes: &["ovs-vswitchd"],
        tool: "ovs-appctl",
        args: &["--timeout=2", "version"],
        before: "(Open vSwitch) ",
    },
    Daemon {
        component: "ovn-controller",
        processes: &["ovn-controller"],
        tool: "ovn-appctl",
        args: &["--timeout=2", "-t", "ovn-controller", "version"],
        before: "ovn-controller ",
    },
    Daemon {
        component: "libvirt",
        processes: &["libvirtd", "virtqemud"],
        tool: "virsh",
        args: &["--readonly", "--connect", "qemu:///system", "version", "--daemon"],
        before: "Running against daemon: ",
    },
];

/// Looks.
///
/// # Errors
/// When nothing could be seen at all.
pub async fn look(host: &Host) -> Result<Vec<RunningVersion>, Problem> {
    let kernel = nix::sys::utsname::uname()
        .map_err(|error| error.to_string())
        .and_then(|uname| parsed(&uname.release().to_string_lossy()));
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(|up| Duration::from(up).as_secs());
    let me = run_for_s(std::process::id());
    let mut seen = vec![
        RunningVersion { for_s: up, ..entry("kernel", kernel)? },
        RunningVersion { for_s: me, ..entry("drydock-agent", parsed(env!("CARGO_PKG_VERSION")))? },
    ];
    let (names, guests) = blocking(|| Ok::<_, Problem>((processes()?, qemu::look()?))).await?;
    let running = DAEMONS.iter().filter_map(|daemon| {
        let pids: Vec<u32> =
            daemon.processes.iter().filter_map(|name| names.get(*name)).flatten().copied().collect();
        (!pids.is_empty()).then_some((daemon, pids))
    });
    let daemons = running.map(|(daemon, pids)| async move { (daemon.component, pids, ask(daemon).await) });
    for (component, pids, version) in futures_util::future::join_all(daemons).await {
        // A daemon may have another process of its name that only watches it, which is older.
        let for_s = pids.into_iter().filter_map(run_for_s).min();
        seen.push(RunningVersion { for_s, ..entry(component, version)? });
    }
    for (version, count) in guests {
        seen.push(RunningVersion { count, ..entry("qemu", version)? });
    }
    seen.extend(of_policy(host).await?);
    Ok(seen)
}

/// What the policy lets be worked on: asked as a recipe asks it.
async fn of_policy(host: &Host) -> Result<Vec<RunningVersion>, Problem> {
    let mut seen = Vec::new();
    let known = [("k3s", "k3s.service"), ("k3s", "k3s-agent.service"), ("etcd", "etcd.service")];
    for (component, unit) in known.into_iter().filter(|(_, unit)| host.policy.lists(unit)) {
        let unit = UnitName::parse(unit).map_err(|error| Problem::new(error.to_string()))?;
        // A preset lists what may not be installed here.
        if !host.units.load(&unit).await.is_ok_and(|info| info.is_running()) {
            continue;
        }
        let source = match component {
            "etcd" => VersionSource::Etcd {},
            _ => VersionSource::K3s { unit },
        };
        let asked = tokio::time::timeout(PATIENCE, version::look(host, &source)).await;
        let version = match asked {
            Ok(Ok(view)) => Ok(view.version),
            Ok(Err(problem)) => Err(printable_line(&problem.what)),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        seen.push(entry(component, version)?);
    }
    Ok(seen)
}

fn entry(component: &str, version: Result<Version, String>) -> Result<RunningVersion, Problem> {
    let component = ComponentName::parse(component).map_err(|error| Problem::new(error.to_string()))?;
    Ok(RunningVersion { component, version, count: 1, for_s: None })
}

fn parsed(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| printable_line(&error.to_string()))
}

fn run_for_s(pid: u32) -> Option<u64> {
    process::age(pid).ok().map(|age| age.as_secs())
}

/// All processes by their names.
fn processes() -> Result<BTreeMap<String, Vec<u32>>, Problem> {
    let entries = fs::read_dir("/proc").map_err(|error| Problem::new(format!("/proc: {error}")))?;
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile does not run.
        let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        found.entry(name.trim().to_owned()).or_default().push(pid);
    }
    Ok(found)
}

async fn ask(daemon: &Daemon) -> Result<Version, String> {
    let Some(tool) = exec::find(daemon.tool) else {
        return Err(format!("{} is not installed on this node, so it cannot be asked", daemon.tool));
    };
    let output = Program::new(tool).args(daemon.args.iter().copied()).deadline(PATIENCE).run().await;
    let output = output.map_err(|error| printable_line(&error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
        return Err(printable_line(&format!("{}: {line}", daemon.tool)));
    }
    after(daemon.before, &String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| format!("{} names no version", daemon.tool))
}

/// The version that stands behind these words.
fn after(before: &str, text: &str) -> Option<Version> {
    let rest = text.lines().find_map(|line| line.split_once(before))?.1;
    Version::parse(rest.split_whitespace().next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(component: &str, text: &str) -> Option<String> {
        let daemon = DAEMONS.iter().find(|daemon| daemon.component == component).unwrap();
        after(daemon.before, text).map(|version| version.to_string())
    }

    #[test]
    fn each_daemon_is_understood_in_its_own_words() {
        let ovs = "ovs-vswitchd (Open vSwitch) 3.1.0\n";
        assert_eq!(version("openvswitch", ovs).as_deref(), Some("3.1.0"));
        let ovn = "ovn-controller 23.03.1\nOpen vSwitch Library 3.1.0\nOpenFlow versions 0x6:0x6\n";
        assert_eq!(version("ovn-controller", ovn).as_deref(), Some("23.03.1"));
        let libvirt = "Compiled against library: libvirt 9.0.0\nUsing library: libvirt 9.0.0\nUsing API: QEMU 9.0.0\n\
                       Running hypervisor: QEMU 7.2.17\nRunning against daemon: 10.0.0\n";
        assert_eq!(version("libvirt", libvirt).as_deref(), Some("10.0.0"), "the daemon, not the library");
        assert_eq!(version("libvirt", "Using library: libvirt 9.0.0\n"), None);
        assert_eq!(version("openvswitch", "ovs-vswitchd (Open vSwitch) \n"), None);
    }

    #[test]
    fn the_names_of_processes_are_read() {
        let me = fs::read_to_string("/proc/self/comm").unwrap();
        let pids = processes().unwrap().remove(me.trim()).unwrap();
        assert!(pids.contains(&std::process::id()));
        assert!(run_for_s(pids[0]).is_some() && run_for_s(u32::MAX).is_none());
    }
}
