//! Debian's packages on the host: what the lab needs installed, and where this machine gets it.

use std::path::Path;
use std::time::Duration;

use crate::exec::{Cmd, Output, succeed};
use crate::{Error, Result};

/// How long installing may take.
const INSTALL: Duration = Duration::from_secs(600);

/// Programs the lab calls, and the packages that bring them.
const NEEDED: [(&str, &str); 8] = [
    ("/usr/sbin/debootstrap", "debootstrap"),
    ("/usr/bin/systemd-nspawn", "systemd-container"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/mount", "mount"),
    ("/usr/bin/cp", "coreutils"),
    ("/usr/bin/find", "findutils"),
    (KEYRING, "debian-archive-keyring"),
];

/// The keys of every Debian release.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes sure that this machine can run a lab, installing what is missing.
///
/// # Errors
/// When this is no Debian, we are not root, or a package cannot be installed.
pub fn prepare_host() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Unfit("the lab makes namespaces and mounts; run it as root".to_owned()));
    }
    ensure(&NEEDED)
}

/// Makes sure that programs are there, each with the package that brings it.
pub(crate) fn ensure(needed: &[(&str, &'static str)]) -> Result<()> {
    let missing: Vec<&str> =
        needed.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::Unfit(format!(
            "this machine has no apt-get and lacks {}; run the lab on Debian 12 or newer, or install them",
            missing.join(", ")
        )));
    }
    install(&missing)
}

fn install(packages: &[&str]) -> Result<()> {
    let purpose = format!("installing {}", packages.join(", "));
    let attempt = || -> Result<Output> {
        Cmd::new(purpose.clone(), "apt-get")
            .args(["-y", "-q", "--no-install-recommends"])
            .args(["-o", "DPkg::Lock::Timeout=120", "install"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .deadline(INSTALL)
            .output()
    };
    if attempt()?.status.success() {
        return Ok(());
    }
    // Most likely the lists are missing or old.
    Cmd::new("refreshing the package lists", "apt-get")
        .args(["-q", "-o", "DPkg::Lock::Timeout=120", "update"])
        .deadline(INSTALL)
        .run()?;
    succeed(&purpose, "apt-get install", &attempt()?)
}

/// Where this machine gets Debian's main archive from, by its own apt sources.
///
/// # Errors
/// When no source of this machine has the component `main` of a Debian release.
pub fn mirror() -> Result<String> {
    let targets = Cmd::new("reading this machine's apt sources", "apt-get")
        .args(["indextargets", "--format"])
        .args(["$(RELEASE)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages"])
        .run()?;
    mirror_in(&targets).ok_or_else(|| {
        Error::Unfit(
            "no apt source of this machine offers Debian's main archive; \
             add one to /etc/apt/sources.list.d and run apt-get update"
                .to_owned(),
        )
    })
}

/// The archive of the plain release: `-security` and `-updates` live elsewhere or hold too little,
/// and other vendors' archives have a `main` too, but no release of Debian's name.
fn mirror_in(targets: &str) -> Option<String> {
    const RELEASES: [&str; 8] =
        ["bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"];
    targets.lines().find_map(|line| {
        let mut fields = line.splitn(3, '|');
        let (release, component, uri) = (fields.next()?, fields.next()?, fields.next()?);
        (RELEASES.contains(&release) && component == "main").then(|| uri.to_owned())
    })
}

/// How this machine reaches its archive (proxies, relaxed dates), in the form of a configuration
/// file for apt inside a root.
pub(crate) fn acquire_configuration() -> Result<String> {
    let dump = Cmd::new("reading apt's configuration", "apt-config").args(["dump", "Acquire"]).run()?;
    const ABOUT_THE_WAY: [&str; 5] =
        ["Acquire::http", "Acquire::Check-", "Acquire::ForceIPv", "Acquire::Retries", "Acquire::Languages"];
    Ok(dump
        .lines()
        .filter(|line| ABOUT_THE_WAY.iter().any(|start| line.starts_with(start)))
        .map(|line| format!("{line}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_plain_release_of_debian() {
        let targets = "vendor|main|http://a.example/\nbookworm-security|main|http://b.example/\n\
                       bookworm|contrib|http://c.example/\nbookworm|main|http://d.example/debian/";
        assert_eq!(mirror_in(targets).as_deref(), Some("http://d.example/debian/"));
        assert_eq!(mirror_in(""), None);
    }
}
