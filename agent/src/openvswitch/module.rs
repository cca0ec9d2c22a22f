//! The kernel's own part of the switch. A module that is loaded goes on as it is whatever is installed, until the node is
//! rebooted: a reload exchanges the daemons alone.

use std::{fs, io, path::Path};

use crate::sys::{
    blocking,
    exec::{self, Program},
    units::printable_line,
};

const MODULE: &str = "openvswitch";

/// What a module says of itself. One of Debian's own kernels says neither; it comes with the kernel, and goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    version: Option<String>,
    srcversion: Option<String>,
}

impl std::fmt::Display for Module {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.version, &self.srcversion) {
            (None, None) => out.write_str("the kernel's own"),
            (Some(one), None) | (None, Some(one)) => out.write_str(one),
            (Some(version), Some(source)) => write!(out, "{version} of source {source}"),
        }
    }
}

/// Does the module that is loaded differ from the one that is installed? In words, also where that cannot be told; `None`
/// where they are the same, and where none is loaded (bridges of the userspace datapath have none).
pub async fn waits_for_reboot() -> Option<String> {
    let loaded =
        blocking(|| Ok::<_, crate::actions::Problem>(loaded(Path::new("/sys/module")))).await.ok()?;
    let installed = match loaded {
        Ok(None) => return None,
        Ok(Some(_)) => installed().await,
        Err(_) => Err(String::new()),
    };
    match (loaded, installed) {
        (Ok(Some(loaded)), Ok(installed)) => judge(&loaded, &installed),
        (Err(error), _) => Some(format!("which kernel module {MODULE} is loaded cannot be told: {error}")),
        (_, Err(why)) => Some(format!("which kernel module {MODULE} is installed cannot be told: {why}")),
        (Ok(None), _) => None,
    }
}

fn judge(loaded: &Module, installed: &Module) -> Option<String> {
    (loaded != installed).then(|| {
        format!("kernel module {MODULE}: {loaded} is loaded, {installed} is installed: it needs a reboot")
    })
}

fn loaded(modules: &Path) -> io::Result<Option<Module>> {
    let dir = modules.join(MODULE);
    if !dir.try_exists()? {
        return Ok(None);
    }
    let of = |name: &str| match fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(some(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    Ok(Some(Module { version: of("version")?, srcversion: of("srcversion")? }))
}

/// Of the kernel that runs.
async fn installed() -> Result<Module, String> {
    let tool = exec::find("modinfo").ok_or("modinfo is not installed")?;
    let output = Program::new(tool).args([MODULE]).run().await.map_err(|error| error.to_string())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(printable_line(why.lines().next().unwrap_or("modinfo says nothing")));
    }
    Ok(parsed(&String::from_utf8_lossy(&output.stdout)))
}

fn parsed(said: &str) -> Module {
    let of = |name: &str| {
        let told = |line: &str| line.split_once(':').filter(|it| it.0 == name).and_then(|it| some(it.1));
        said.lines().find_map(told)
    };
    Module { version: of("version"), srcversion: of("srcversion") }
}

fn some(text: &str) -> Option<String> {
    Some(printable_line(text.trim())).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DKMS: &str = "filename:       /lib/modules/5.10.0-34-amd64/updates/dkms/openvswitch.ko\nalias:          net-pf-16-proto-38\n\
                        version:        2.15.0\nlicense:        GPL\nsrcversion:     6E5A3D11B5B0AE08ED16E5B\ndepends:        nf_conntrack\n";
    const OF_THE_KERNEL: &str = "filename:       /lib/modules/6.1.0-28-amd64/kernel/net/openvswitch/openvswitch.ko\n\
                                 license:        GPL\nvermagic:       6.1.0-28-amd64 SMP preempt mod_unload modversions \n";

    #[test]
    fn a_loaded_module_that_is_not_the_installed_one_needs_a_reboot_and_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(loaded(dir.path()).unwrap(), None, "a userspace datapath has none");
        fs::create_dir(dir.path().join(MODULE)).unwrap();
        let own = loaded(dir.path()).unwrap().unwrap();
        assert_eq!(judge(&own, &parsed(OF_THE_KERNEL)), None);
        // A module beside the kernel's was built while the kernel's own is loaded.
        let said = judge(&own, &parsed(DKMS)).unwrap();
        assert!(said.contains("the kernel's own is loaded, 2.15.0 of source 6E5A"), "{said}");
        fs::write(dir.path().join(MODULE).join("version"), "2.15.0\n").unwrap();
        fs::write(dir.path().join(MODULE).join("srcversion"), "6E5A3D11B5B0AE08ED16E5B\n").unwrap();
        let same = loaded(dir.path()).unwrap().unwrap();
        assert_eq!(judge(&same, &parsed(DKMS)), None);
        // The same version, built of another source.
        let patched = parsed(&DKMS.replace("6E5A", "7777"));
        assert!(judge(&same, &patched).unwrap().ends_with("it needs a reboot"));
    }

    #[test]
    fn what_modinfo_says_is_read_by_whole_names() {
        assert_eq!(parsed(DKMS).version.as_deref(), Some("2.15.0"));
        assert_eq!(parsed("srcversion: \nvermagic: 6\n"), Module { version: None, srcversion: None });
    }
}
