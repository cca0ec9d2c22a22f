//! Watches one node from outside, by its files and by its witness port; enters it never, links nothing of
//! Drydock.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::scenarios::answering;
use crate::{Lab, Node};

const EVERY: Duration = Duration::from_millis(10);
const CONNECT: Duration = Duration::from_millis(100);

/// What it saw, in milliseconds of the wall clock, which nodes and host share.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// When the agent armed the revert, as its own plan says; `None` when none was seen.
    pub(super) armed: Option<u64>,
    /// The longest time without a connection: from, until.
    pub(super) silence: Option<(u64, u64)>,
    /// Each content that lay at the watched path, by inode, and when it was first seen.
    pub(super) files: Vec<(u64, u64)>,
    /// How often a connection was tried.
    pub(super) tries: u64,
}

/// At work until it is finished.
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    network: JoinHandle<Result<Seen>>,
    files: JoinHandle<Seen>,
}

impl Watcher {
    /// Begins. `path` is a file of the node.
    pub(super) fn start(lab: &Lab, node: &Node, path: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let to: SocketAddr = format!("{}:{}", node.address(), answering::PORT).parse()?;
        let space = lab.namespace_file();
        let root = node.root()?;
        let watched = root.join(path.trim_start_matches('/'));
        let armed = root.join("var/lib/drydock-agent/revert/armed.json");
        let (first, second) = (stop.clone(), stop.clone());
        Ok(Self {
            stop,
            network: std::thread::spawn(move || connect(&first, &space, to)),
            files: std::thread::spawn(move || look(&second, &watched, &armed)),
        })
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let network = self.network.join().map_err(|_| anyhow!("the watcher of the network died"))??;
        let files = self.files.join().map_err(|_| anyhow!("the watcher of the files died"))?;
        Ok(Seen { armed: files.armed, files: files.files, ..network })
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn connect(stop: &AtomicBool, space: &PathBuf, to: SocketAddr) -> Result<Seen> {
    let space = File::open(space).context("the lab's network namespace")?;
    setns(space, CloneFlags::CLONE_NEWNET).context("enter the lab's network")?;
    let (mut seen, mut last) = (Seen::default(), now_ms());
    while !stop.load(Ordering::Relaxed) {
        seen.tries += 1;
        if TcpStream::connect_timeout(&to, CONNECT).is_ok() {
            let now = now_ms();
            if seen.silence.is_none_or(|(from, until)| now - last > until - from) {
                seen.silence = Some((last, now));
            }
            last = now;
        }
        std::thread::sleep(EVERY);
    }
    Ok(seen)
}

fn look(stop: &AtomicBool, watched: &PathBuf, armed: &PathBuf) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        if seen.armed.is_none() {
            seen.armed = armed_at(armed);
        }
        if let Ok(meta) = fs::symlink_metadata(watched)
            && seen.files.last().is_none_or(|(inode, _)| *inode != meta.ino())
        {
            seen.files.push((meta.ino(), now_ms()));
        }
        std::thread::sleep(EVERY / 5);
    }
    seen
}

/// `"armedUnixMs":1795249353000` in the agent's plan.
pub(super) fn armed_at(plan: &PathBuf) -> Option<u64> {
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(plan).ok()?).ok()?;
    plan.get("armedUnixMs")?.as_u64()
}
