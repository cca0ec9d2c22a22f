//! The version of an installed package, as long as the unit runs the very program that the package has installed.

use drydock_types::{AbsPath, PackageName, UnitName, Version, probe::VersionView};

use crate::{
    actions::Problem,
    apt::database::Database,
    host::Host,
    sys::{blocking, files::owner::package_of, process, stale},
};

/// Looks.
///
/// # Errors
/// When the unit runs something else, or what it runs is not the package's.
pub(super) async fn look(
    host: &Host,
    name: &PackageName,
    unit: &UnitName,
    path: &AbsPath,
) -> Result<VersionView, Problem> {
    let info = host.units.load(unit).await.map_err(|error| Problem::new(error.to_string()))?;
    runs(info.main_pid, &info.id, name, path).await?;
    let owner = package_of(path).await?;
    if !owner.as_deref().is_some_and(|owner| is_of(owner, name)) {
        let owner = owner.unwrap_or_else(|| "nobody's".into());
        return Err(Problem::new(format!("{path} is not a file of the package {name}: {owner}"))
            .next("name the package that has it: dpkg -S"));
    }
    let version = version_of(&Database::look().await?, name)?;
    // Whoever installs right now would let the one be older than the other.
    runs(info.main_pid, &info.id, name, path).await?;
    Ok(VersionView { version, source: format!("package {name}, run by {}", info.id) })
}

async fn runs(pid: u32, unit: &str, name: &PackageName, path: &AbsPath) -> Result<(), Problem> {
    if pid == 0 {
        return Err(
            Problem::new(format!("{unit} has no main process")).next(format!("systemctl status {unit}"))
        );
    }
    let at = path.clone();
    let same = blocking(move || {
        let unseen =
            |error: std::io::Error| Problem::new(format!("what process {pid} runs cannot be seen: {error}"));
        // The name may be a link into `/etc/alternatives`, or go through `/bin`: the file behind it counts.
        let disk = std::fs::metadata(at.as_str())
            .map_err(|error| Problem::new(format!("{at} cannot be looked at: {error}")))?;
        let memory = process::exe_file(pid).map_err(unseen)?;
        // A change that was taken back beside it has put there other files of the same content.
        Ok::<_, Problem>(memory == process::FileId::of(&disk) || runs_same_bytes(pid, &at).map_err(unseen)?)
    });
    if same.await? {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the main process of {unit} (pid {pid}) does not run {path} as it lies there now: it is older than the package {name}, \
         or another program, so the package's version is not the service's"
    ))
    .next(format!("restart it when it may be: systemctl restart {unit}"))
    .next(format!("see what it runs: ls -l /proc/{pid}/exe")))
}

/// Is its program of the same content, and all else that it maps?
fn runs_same_bytes(pid: u32, at: &AbsPath) -> std::io::Result<bool> {
    let disk = process::digest(&std::fs::File::open(at.as_str())?)?;
    Ok(process::exe(pid)?.sha256 == disk && stale::maps_what_lies_there(pid)?)
}

/// Is the package among those of an answer such as `dpkg: libvirt-daemon:amd64, other`?
fn is_of(owner: &str, name: &PackageName) -> bool {
    let Some(list) = owner.strip_prefix("dpkg: ") else { return false };
    list.split(", ").any(|one| one.split_once(':').map_or(one, |(package, _)| package) == name.as_str())
}

fn version_of(database: &Database, name: &PackageName) -> Result<Version, Problem> {
    let mut versions: Vec<_> =
        database.named(name).map(|known| (known.installed, known.version.clone())).collect();
    versions.dedup();
    match &versions[..] {
        [(true, Some(version))] => Ok(version.clone()),
        [] => Err(Problem::new(format!("{name} is not installed"))),
        _ => Err(Problem::new(format!("{name} is not installed whole, or at more than one version"))
            .next(format!("dpkg-query -W '{name}:*'; dpkg --audit"))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::apt::database::tests::RECORDED;

    fn name(text: &str) -> PackageName {
        PackageName::parse(text).unwrap()
    }

    #[test]
    fn the_owner_is_read_as_dpkg_says_it() {
        assert!(is_of("dpkg: etcd-server", &name("etcd-server")));
        assert!(is_of("dpkg: libc6:amd64", &name("libc6")));
        assert!(is_of("dpkg: base-files, etcd-server", &name("etcd-server")));
        assert!(!is_of("dpkg: etcd-server-dbg", &name("etcd-server")));
        assert!(!is_of("dpkg: diversion by etcd-server from", &name("etcd-server")));
        assert!(!is_of("rpm: etcd-server", &name("etcd-server")));
    }

    #[test]
    fn a_version_is_that_of_a_package_that_is_here_whole() {
        let database = Database::parse(RECORDED).unwrap();
        assert_eq!(version_of(&database, &name("etcd-server")).unwrap().as_str(), "3.4.23-4+b4");
        assert!(version_of(&database, &name("old-config")).is_err());
        assert!(version_of(&database, &name("nowhere")).is_err());
        let half = Database::parse("iF \tovs\tamd64\t1.0-1\tovs\t1.0-1\n").unwrap();
        assert!(version_of(&half, &name("ovs")).is_err());
    }

    #[tokio::test]
    async fn a_process_that_is_older_than_the_file_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("daemon");
        fs::copy("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let path = AbsPath::parse(program.to_str().unwrap()).unwrap();
        let before = runs(child.id(), "x.service", &name("ovs"), &path).await;
        // As dpkg does it: a new file, and one rename.
        let new = dir.path().join("daemon.dpkg-new");
        let exchange = |with: &str| {
            fs::copy(with, &new).unwrap();
            fs::rename(&new, &program).unwrap();
        };
        exchange("/bin/true");
        let after = runs(child.id(), "x.service", &name("ovs"), &path).await;
        exchange("/bin/cat");
        let back = runs(child.id(), "x.service", &name("ovs"), &path).await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(before, Ok(()));
        assert!(after.unwrap_err().what.contains("older than the package ovs"));
        assert_eq!(back, Ok(()), "what it was taken back to is what it runs");
        assert!(runs(0, "x.service", &name("ovs"), &path).await.is_err());
    }
}
