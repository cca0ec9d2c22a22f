//! The Debian root that all nodes of a lab share as their lower layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::apt::{self, acquire_configuration};
use crate::cache::Cache;
use crate::error::Error;
use crate::exec::Cmd;

/// Debian 12: the release whose etcd (3.4) the scenarios start from.
const SUITE: &str = "bookworm";
/// What debootstrap itself brings, beside the essential packages.
const BASE: &str = "systemd,systemd-sysv,dbus,iproute2,procps";
/// What every node has: etcd, its client, and age for verified copies.
const PACKAGES: [&str; 3] = ["age", "etcd-client", "etcd-server"];
/// Makes a root out of what debootstrap left: no service starts by itself, nothing runs by timer.
const FINISH: &str = include_str!("scripts/finish-root.sh");
/// Installs packages into a root without starting anything.
const INSTALL: &str = include_str!("scripts/install-packages.sh");
/// debootstrap and the installation each.
const BUILDING: Duration = Duration::from_secs(900);

/// The root with the usual packages and the `extra` ones, built if it is not in the cache.
///
/// # Errors
/// When it has to be built and that fails.
pub fn with_packages(cache: &Cache, extra: &[String]) -> Result<PathBuf> {
    let mut packages: Vec<&str> = PACKAGES.to_vec();
    packages.extend(extra.iter().map(String::as_str));
    packages.sort_unstable();
    packages.dedup();
    made_by(cache, "root", &packages.join(" "), INSTALL, FINISH)
}

/// A root called `name`: the bare one with the packages of `list`, as two scripts make it. The first has the way
/// to the archive.
pub(crate) fn made_by(
    cache: &Cache,
    name: &str,
    list: &str,
    install_script: &str,
    finish_script: &str,
) -> Result<PathBuf> {
    cache.get(name, &[SUITE, BASE, list, install_script, finish_script], |half| {
        let bare = bare(cache)?;
        Cmd::new("copying the bare root", "cp")
            .args(["-a", "--reflink=auto"])
            .args([bare.join("."), half.to_owned()])
            .deadline(BUILDING)
            .run()?;
        install(half, list, install_script)?;
        run_in_root(half, "finishing the root", finish_script, "")
    })
}

/// What debootstrap makes; kept apart because it is the slow half and never changes.
fn bare(cache: &Cache) -> Result<PathBuf> {
    cache.get("bare", &[SUITE, BASE], |half| {
        Cmd::new(format!("building a Debian {SUITE} root"), "debootstrap")
            .args(["--variant=minbase", &format!("--include={BASE}"), "--keyring", apt::KEYRING, SUITE])
            .args([half])
            .args([apt::mirror()?])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .deadline(BUILDING)
            .run()?;
        Ok(())
    })
}

fn install(root: &Path, packages: &str, script: &str) -> Result<()> {
    // How to reach the archive is this machine's affair: it goes in for the installation only.
    let configuration = root.join("etc/apt/apt.conf.d/99drydock-lab");
    fs::write(&configuration, acquire_configuration()?).map_err(Error::io("write", &configuration))?;
    let resolver = root.join("etc/resolv.conf");
    match fs::copy("/etc/resolv.conf", &resolver) {
        Ok(_) => {}
        // A machine without one resolves by other means, or uses a proxy.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::io("write", resolver)(source)),
    }
    let purpose = format!("installing {packages} into the root");
    run_in_root(root, &purpose, script, packages)?;
    fs::remove_file(&configuration).map_err(Error::io("remove", &configuration))
}

/// Runs a script in the root, in namespaces of its own: mounts and background processes end with
/// it, even if it is killed.
fn run_in_root(root: &Path, purpose: &str, script: &str, argument: &str) -> Result<()> {
    let proc = root.join("proc");
    Cmd::new(purpose, "unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork"])
        .args(["--kill-child", &format!("--mount-proc={}", proc.display())])
        .args(["chroot".as_ref(), root.as_os_str()])
        .args(["/bin/sh", "-c", script, "sh", argument])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .deadline(BUILDING)
        .run()
        .map(|_| ())
}
