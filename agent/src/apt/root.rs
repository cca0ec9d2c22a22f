//! Where dpkg and apt work, and how they are run: the node itself or, in tests, a folder of its own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    actions::Problem,
    sys::exec::{self, Program},
};

/// Nothing asks a person, and nothing that listens to apt restarts services.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    // needrestart: not at all, and where it is too old to know that, only to list.
    ("NEEDRESTART_SUSPEND", "1"),
    ("NEEDRESTART_MODE", "l"),
];
/// Configuration that somebody changed stays; the package's own is laid beside it.
const KEEP_CONFIGURATION: [&str; 2] = ["--force-confdef", "--force-confold"];
/// No archive is known to this apt but the files that it is given, so nothing else can be fetched or chosen. (With
/// `--no-download` apt 2.6 installs no file by its path at all.) Its caches stay as they are on the node.
const ONLY_FILES: [&str; 10] = [
    "Dir::Etc::SourceList=/dev/null",
    "Dir::Etc::SourceParts=/dev/null",
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "APT::Sandbox::User=root",
    "APT::Install-Recommends=false",
    "APT::Get::AutomaticRemove=false",
    "APT::Get::Purge=false",
    "Dpkg::Use-Pty=0",
    "Dpkg::Progress-Fancy=0",
];
/// How long apt waits by itself for another package manager's locks.
const LOCKED: &str = "DPkg::Lock::Timeout=60";
/// What dpkg and apt say of a large change, by far.
const MAX_OUTPUT: usize = 4 << 20;

/// Where they work.
#[derive(Debug, Clone)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// This node.
    #[must_use]
    pub fn here() -> Self {
        Self { dir: "/".into() }
    }

    /// A folder with a dpkg database of its own, whose packages' scripts are run outside of it: tests.
    pub(crate) const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn is_node(&self) -> bool {
        self.dir == Path::new("/")
    }

    /// The path of a file of this root, by its absolute path within it.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.dir.join(absolute.trim_start_matches('/'))
    }

    /// `dpkg` with these arguments.
    ///
    /// # Errors
    /// Where there is none.
    pub fn dpkg(&self, args: &[&str], within: Duration) -> Result<Program, Problem> {
        let mut all: Vec<String> = KEEP_CONFIGURATION.map(str::to_owned).into();
        all.extend(self.dpkg_options());
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        program("dpkg", all, within)
    }

    /// `dpkg-query` with these arguments.
    ///
    /// # Errors
    /// Where there is none.
    pub fn query(&self, args: &[&str], within: Duration) -> Result<Program, Problem> {
        let mut all = Vec::new();
        if !self.is_node() {
            all.push(format!("--admindir={}", self.path("/var/lib/dpkg").display()));
        }
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        program("dpkg-query", all, within)
    }

    /// `apt-get`, which knows no archive, with these arguments.
    ///
    /// # Errors
    /// Where there is none.
    pub fn apt_get(&self, args: &[String], within: Duration) -> Result<Program, Problem> {
        let options = ONLY_FILES.iter().copied().chain([LOCKED]).map(str::to_owned);
        let dpkg = KEEP_CONFIGURATION.map(|option| format!("DPkg::Options::={option}"));
        let mut all = Vec::new();
        for option in options.chain(dpkg).chain(self.apt_options()) {
            all.extend(["-o".to_owned(), option]);
        }
        all.extend(args.iter().cloned());
        program("apt-get", all, within)
    }

    /// `apt-mark` with these arguments.
    ///
    /// # Errors
    /// Where there is none.
    pub fn apt_mark(&self, args: &[String], within: Duration) -> Result<Program, Problem> {
        let mut all = Vec::new();
        for option in [LOCKED.to_owned()].into_iter().chain(self.apt_options()) {
            all.extend(["-o".to_owned(), option]);
        }
        all.extend(args.iter().cloned());
        program("apt-mark", all, within)
    }

    fn dpkg_options(&self) -> Vec<String> {
        if self.is_node() {
            return Vec::new();
        }
        let root = format!("--root={}", self.dir.display());
        vec![root, "--force-script-chrootless".into(), "--force-not-root".into()]
    }

    fn apt_options(&self) -> Vec<String> {
        if self.is_node() {
            return Vec::new();
        }
        let dir = self.dir.display();
        let own = [
            format!("Dir={dir}"),
            format!("Dir::State::status={dir}/var/lib/dpkg/status"),
            "Dir::Bin::Methods=/usr/lib/apt/methods".to_owned(),
            "Dir::Bin::dpkg=/usr/bin/dpkg".to_owned(),
        ];
        let dpkg = self.dpkg_options().into_iter().map(|option| format!("DPkg::Options::={option}"));
        own.into_iter().chain(dpkg).collect()
    }
}

fn program(name: &str, args: Vec<String>, within: Duration) -> Result<Program, Problem> {
    let Some(path) = exec::find(name) else {
        return Err(Problem::new(format!("{name} is not installed: this node has no apt with dpkg")));
    };
    Ok(Program::new(path).args(args).env(ENVIRONMENT).deadline(within).max_output(MAX_OUTPUT))
}
