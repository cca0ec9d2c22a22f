//! Facts of the host. A fact that cannot be read is empty or zero: facts are shown, nothing is judged by them.

use std::fs;

use drydock_types::probe::HostFacts;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::{
    host::Host,
    sys::{boot, files},
};

/// Looks.
#[must_use]
pub fn look(host: &Host) -> HostFacts {
    let wanted = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(wanted).ok();
    let cpus = system.as_ref().map_or(0, |system| system.cpus().len());
    HostFacts {
        os: os_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        hostname: System::host_name().unwrap_or_default(),
        cpus: u32::try_from(cpus).unwrap_or(0),
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
        state_free_bytes: files::free_bytes(&host.state_dir).unwrap_or(0),
        boot_id: boot::id().unwrap_or_default(),
        machine_id: first_line("/etc/machine-id"),
        uptime_s: System::uptime().unwrap_or(0),
        policy: host.policy.digest,
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `PRETTY_NAME` without its quotes.
fn os_name(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_name_is_read_without_its_quotes() {
        assert_eq!(
            os_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_name(""), "Linux");
    }
}
