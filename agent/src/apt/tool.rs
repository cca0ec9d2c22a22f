//! How apt reads archives and fetches: by its path, with a configuration of ours behind the node's own, and its word when it
//! fails. How it installs, which changes the node and so reads no archive, is [`Root`]'s.
//!
//! The archives, keys, proxies and pins are the node's (`/etc/apt`). The lists and the cache are ours, so that a look at
//! the archives changes nothing for the node's own apt, and its hooks are not run.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_failpoint::durable;

use super::{root::Root, staged::disk};
use crate::{
    actions::Problem,
    sys::{
        blocking,
        exec::{self, ExecError, Output, Program},
        units::printable_line,
    },
};

/// apt's own helper, which fetches one file; it lies where no program is looked for.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// The most that is kept of what apt says: a simulation of a whole release's upgrade takes a tenth.
const MAX_OUTPUT: usize = 8 << 20;
/// The longest line that apt writes: a list of what is broken meanwhile.
const LONGEST_LINE: usize = 256 << 10;
/// So many of its complaints are passed on.
const COMPLAINTS: usize = 6;

/// Ours behind the node's own: `#clear` takes away what its files set.
const CONFIG: &str = r#"// Written by the Drydock agent for its own calls of apt; written anew before each of them.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::PDiffs "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
// A mirror that hangs is named by apt long before our own deadline.
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::ftp::Timeout "15";
Acquire::Check-Valid-Until "true";
Acquire::Check-Date "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Authentication::TrustCDROM "false";
APT::Update::Error-Mode "any";
// Only what is asked for and what it cannot be without.
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AutomaticRemove "false";
APT::Get::Purge "false";
APT::Get::Fix-Broken "false";
APT::Get::Always-Include-Phased-Updates "true";
APT::Color "false";
quiet::NoUpdate "true";
"#;

/// apt on this node, with lists and cache of our own.
#[derive(Debug, Clone)]
pub struct Apt {
    get: PathBuf,
    /// Our folder: its lists, its cache, its configuration.
    dir: PathBuf,
    /// Whose sources, keys and database.
    root: Root,
    /// More of apt's configuration, behind all other.
    more: String,
}

impl Apt {
    /// The node's own, with its lists and its cache in this folder.
    ///
    /// # Errors
    /// When there is no apt here.
    pub fn here(dir: &Path) -> Result<Self, Problem> {
        let Some(get) = exec::find("apt-get") else {
            return Err(Problem::new(
                "no package manager is here that this build of the agent knows (apt with dpkg)",
            ));
        };
        Ok(Self { get, dir: dir.to_owned(), root: Root::here(), more: String::new() })
    }

    /// This machine's programs on another root: its sources, keys and dpkg's database are taken from there. `config`
    /// goes behind all other configuration.
    ///
    /// # Errors
    /// When there is no apt here.
    pub fn under(root: &Path, config: &str, dir: &Path) -> Result<Self, Problem> {
        Ok(Self { root: Root::at(root.to_owned()), more: config.to_owned(), ..Self::here(dir)? })
    }

    /// A path of the node.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.path(absolute)
    }

    /// Whose packages these are.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Our folder of index files.
    #[must_use]
    pub fn lists(&self) -> PathBuf {
        self.dir.join("lists")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("apt.conf")
    }

    /// Makes the folders and writes the configuration that each call reads.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn prepare(&self) -> Result<(), Problem> {
        let (text, path) = (self.text()?, self.config());
        let folders = [self.lists().join("partial"), self.dir.join("cache/archives/partial")];
        blocking(move || {
            for folder in folders {
                fs::create_dir_all(&folder).map_err(disk(&folder))?;
            }
            write(&path, text.as_bytes()).map_err(disk(&path))
        })
        .await
    }

    /// The whole configuration.
    fn text(&self) -> Result<String, Problem> {
        let mut text = CONFIG.to_owned();
        let mut set = |name: &str, path: PathBuf| match path.to_str() {
            // In apt's configuration a quote ends the value.
            Some(path) if !path.contains(['"', '\n', '\\']) => {
                text.push_str(&format!("{name} \"{path}\";\n"));
                Ok(())
            }
            _ => {
                Err(Problem::new(format!("{} is no path that apt's configuration can hold", path.display())))
            }
        };
        if !self.root.is_node() {
            set("Dir", self.path("/"))?;
            set("Dir::State", self.path("/var/lib/apt"))?;
            set("Dir::State::status", self.path("/var/lib/dpkg/status"))?;
            set("Dir::Etc", self.path("/etc/apt"))?;
        }
        set("Dir::State::lists", self.lists())?;
        set("Dir::Cache", self.dir.join("cache"))?;
        set("Dir::Cache::archives", self.dir.join("cache/archives"))?;
        text.push_str(&self.more);
        Ok(text)
    }

    /// `apt-get` with our configuration. Says nothing but what is asked for.
    #[must_use]
    pub fn get<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Program {
        self.program(self.get.clone(), args)
    }

    /// Another of apt's programs, by its path.
    fn program<S: Into<String>>(&self, path: PathBuf, args: impl IntoIterator<Item = S>) -> Program {
        Program::new(path)
            .args(["-c".to_owned(), self.config().display().to_string()])
            .args(args)
            .max_output(MAX_OUTPUT)
    }

    /// `apt-mark`.
    ///
    /// # Errors
    /// When there is none.
    pub fn mark<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Result<Program, Problem> {
        let path = exec::find("apt-mark").ok_or_else(|| Problem::new("apt-mark (apt) is not installed"))?;
        Ok(self.program(path, args))
    }

    /// What fetches files by their addresses, with the node's proxies and credentials.
    #[must_use]
    pub fn fetch<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Program {
        self.program(HELPER.into(), ["-q".to_owned(), "download-file".to_owned()]).args(args)
    }
}

/// Runs it and gives what it said. `doing` begins each error: `reading the archives`.
///
/// # Errors
/// When it does not end in time (what it last spoke of is named), ends with another code than 0, or says more than is
/// read.
pub async fn said(program: Program, doing: &str, within: Duration) -> Result<String, Problem> {
    let mut text = Vec::new();
    let mut keep = |line: &[u8]| {
        if text.len().saturating_add(line.len()) > MAX_OUTPUT {
            return Err(io::Error::other(format!("it said more than {MAX_OUTPUT} bytes")));
        }
        text.extend_from_slice(line);
        text.push(b'\n');
        Ok(())
    };
    let ended = program.deadline(within).run_lines(LONGEST_LINE, &mut keep).await;
    let text = String::from_utf8(text).map_err(|_| Problem::new(format!("{doing}: apt's answer is no text")));
    match ended {
        Ok(output) if output.status.success() => text,
        Ok(output) => Err(failed(doing, &output)),
        Err(ExecError::Deadline { .. }) => {
            let last = text.unwrap_or_default();
            let last = last.lines().rev().find(|line| !line.trim().is_empty()).map(printable_line);
            let at = last
                .map_or_else(|| "it had said nothing".to_owned(), |last| format!("the last it said: {last}"));
            Err(Problem::new(format!(
                "{doing}: apt had not ended after {} s and was killed; {at}",
                within.as_secs()
            ))
            .next("see whether the archive answers this node, or give the step more time: within"))
        }
        Err(error) => Err(Problem::new(format!("{doing}: {error}"))),
    }
}

fn failed(doing: &str, output: &Output) -> Problem {
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = complaints(&said);
    let why = if errors.is_empty() { output.status.to_string() } else { errors.join("; ") };
    Problem::new(format!("{doing}: {why}"))
}

/// What apt complains of: errors, then warnings, which say why (a wrong signature is one).
fn complaints(stderr: &str) -> Vec<String> {
    let of = |mark: &'static str| stderr.lines().filter_map(move |line| line.strip_prefix(mark));
    of("E:").chain(of("W:")).take(COMPLAINTS).map(|line| printable_line(line.trim())).collect()
}

/// Whole or not at all. What is lost of it in a power cut is written anew by the next call.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    durable!("agent.apt.config-write", file.write_all(text))?;
    durable!("agent.apt.config-rename", fs::rename(&new, path))
}
