//! Newer etcd binaries, to upgrade to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Cache;
use crate::exec::Cmd;
use crate::{Error, Result, apt};

/// Debian 13, whose etcd is a 3.5.
const SUITE: &str = "trixie";
const DOWNLOAD: Duration = Duration::from_secs(300);
/// A first build fetches and compiles all of etcd.
const BUILD: Duration = Duration::from_secs(1200);
const GO_MAIN: &str = include_str!("scripts/etcd-main.go");

/// An etcd server on the host, ready to be copied into a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdBinary {
    /// The server.
    pub path: PathBuf,
    /// What `--version` says, such as `3.5.16`.
    pub version: String,
}

/// Debian 13's etcd 3.5, with its signatures verified by apt against Debian's keyring.
///
/// # Errors
/// When it is not in the cache and cannot be had.
pub fn debian_35(cache: &Cache) -> Result<EtcdBinary> {
    apt::prepare_host()?;
    let dir = cache.get("etcd-debian", &[SUITE, "etcd-server", "1"], download)?;
    probe(dir.join("usr/bin/etcd"))
}

/// etcd of any published version from 3.5 on, built by Go from its own module.
///
/// # Errors
/// When it is not in the cache and Go is missing or cannot build it.
pub fn from_go(cache: &Cache, version: &str) -> Result<EtcdBinary> {
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)) {
        return Err(Error::Unfit(format!("{version:?} is no etcd version; write it as 3.6.8")));
    }
    let name = format!("etcd-go-{version}");
    let dir = cache.get(&name, &[version, GO_MAIN], |half| build(half, version))?;
    probe(dir.join("etcd"))
}

/// apt with a world of its own: neither this machine's sources nor its lists are touched.
fn download(half: &Path) -> Result<()> {
    let world = half.join("apt");
    for dir in ["lists/partial", "cache/archives/partial", "deb"] {
        let dir = world.join(dir);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    }
    let write = |name: &str, text: String| {
        let path = world.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    };
    let mirror = apt::mirror()?;
    write("sources.list", format!("deb [signed-by={}] {mirror} {SUITE} main\n", apt::KEYRING))?;
    write("status", String::new())?;
    let apt_get = |purpose: &str, words: &[&str]| {
        Cmd::new(purpose, "apt-get")
            .args(options(&world))
            .args(words)
            .dir(&world.join("deb"))
            .deadline(DOWNLOAD)
            .run()
    };
    apt_get("reading the lists of Debian 13", &["-q", "update"])?;
    apt_get("downloading Debian 13's etcd", &["-q", "download", "etcd-server"])?;
    let packages = world.join("deb");
    let entries = fs::read_dir(&packages).map_err(Error::io("read", &packages))?;
    for entry in entries.flatten() {
        Cmd::new("unpacking Debian 13's etcd", "dpkg")
            .args(["-x".as_ref(), entry.path().as_os_str(), half.as_os_str()])
            .run()?;
    }
    fs::remove_dir_all(&world).map_err(Error::io("remove", &world))
}

fn options(world: &Path) -> Vec<String> {
    let at = |name: &str| world.join(name).display().to_string();
    [
        ("Dir::Etc::SourceList", at("sources.list")),
        ("Dir::Etc::SourceParts", "-".to_owned()),
        ("Dir::State::Lists", at("lists")),
        ("Dir::State::status", at("status")),
        ("Dir::Cache", at("cache")),
        // The files are ours alone; apt's unprivileged user could not write here.
        ("APT::Sandbox::User", "root".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
    .collect()
}

fn build(half: &Path, version: &str) -> Result<()> {
    let source = half.join("source");
    fs::create_dir(&source).map_err(Error::io("create", &source))?;
    let main = source.join("main.go");
    fs::write(&main, GO_MAIN).map_err(Error::io("write", &main))?;
    let go = |words: &[&str]| {
        Cmd::new(format!("building etcd {version}"), "go")
            .args(words)
            .dir(&source)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=mod")
            .deadline(BUILD)
            .run()
    };
    go(&["mod", "init", "drydock-lab-etcd"])?;
    go(&["get", &format!("go.etcd.io/etcd/server/v3@v{version}")])?;
    go(&["build", "-trimpath", "-ldflags=-s -w", "-o", "../etcd", "."])?;
    fs::remove_dir_all(&source).map_err(Error::io("remove", &source))
}

fn probe(path: PathBuf) -> Result<EtcdBinary> {
    let said = Cmd::new("asking etcd for its version", &path).args(["--version"]).run()?;
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: ")).ok_or_else(|| {
        Error::Unfit(format!(
            "{} does not tell its version; remove its directory and try again",
            path.display()
        ))
    })?;
    Ok(EtcdBinary { version: version.trim().to_owned(), path })
}
