//! A lab: so many nodes on one bridge, removed as a whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::exec::{self, Cmd, Output};
use crate::guard::ChildGuard;
use crate::node::Node;
use crate::state::{Owner, Record, remove_stale};
use crate::{Error, Result, apt, net, root};

/// The bridge has room for more, the machine hardly.
const NODES_AT_MOST: usize = 50;

/// How to make a lab.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// Debian packages in every node beside the usual ones.
    pub packages: Vec<String>,
    /// A root in place of the usual one with its packages.
    pub root: Option<PathBuf>,
    /// Let it run on after this process; otherwise it is removed when dropped.
    pub detached: bool,
    /// How long a node may take to boot.
    pub boot_deadline: Duration,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { packages: Vec::new(), root: None, detached: false, boot_deadline: Duration::from_secs(60) }
    }
}

/// Nodes that are up, and everything they need. Dropping it removes it all, unless it is detached.
#[derive(Debug)]
pub struct Lab {
    record: Record,
    nodes: Vec<Node>,
    /// Present in the process that removes the lab in the end; the lock in it says that it lives.
    owner: Option<File>,
    started: AtomicU64,
}

impl Lab {
    /// Boots `count` nodes and waits until all are up. Removes labs whose owners died, first.
    ///
    /// # Errors
    /// When the machine lacks something that cannot be installed, or a node does not come up;
    /// nothing of the lab is left then.
    pub fn up(count: usize, options: LabOptions) -> Result<Self> {
        if !(1..=NODES_AT_MOST).contains(&count) {
            return Err(Error::Unfit(format!("{count} nodes; ask for 1 to {NODES_AT_MOST}")));
        }
        apt::prepare_host()?;
        remove_stale()?;
        let cache = Cache::open()?;
        let root = match options.root {
            Some(root) => root,
            None => root::with_packages(&cache, &options.packages)?,
        };
        let works = cache.place().join("labs");
        let (record, lock) = Record::register(count, options.detached, &root, &works)?;
        let mut lab = Self::of(record, Some(lock), options.boot_deadline)?;
        lab.boot()?;
        if options.detached {
            lab.owner = None;
        }
        Ok(lab)
    }

    /// A lab that another process has made: the one called `id`, or the only one there is.
    ///
    /// # Errors
    /// When there is none, or several to choose from.
    pub fn attach(id: Option<&str>) -> Result<Self> {
        let mut records = Record::all()?;
        if let Some(id) = id {
            records.retain(|record| record.id == id);
        }
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        match (records.pop(), ids.len()) {
            (Some(record), 1) => Self::of(record, None, LabOptions::default().boot_deadline),
            (None, _) => {
                Err(Error::Unfit("there is no such lab; start one with `drydock-lab up`".to_owned()))
            }
            (Some(_), _) => {
                Err(Error::Unfit(format!("there are several labs ({}); name one with --lab", ids.join(", "))))
            }
        }
    }

    fn of(record: Record, owner: Option<File>, boot_deadline: Duration) -> Result<Self> {
        let nodes = (1..=record.nodes)
            .map(|number| Node::new(&record, number, boot_deadline))
            .collect::<Result<_>>()?;
        Ok(Self { record, nodes, owner, started: AtomicU64::new(0) })
    }

    fn boot(&self) -> Result<()> {
        let work = &self.record.work;
        fs::create_dir_all(work).map_err(Error::io("create", work))?;
        let group = Cgroup::of_lab(&self.record.id)?;
        group.create()?;
        group.child("exec").create()?;
        net::create(&self.record.id)?;
        self.start_all()
    }

    fn start_all(&self) -> Result<()> {
        for node in &self.nodes {
            node.launch()?;
        }
        for node in &self.nodes {
            node.wait_until_up(None)?;
        }
        Ok(())
    }

    /// The lab's id: part of the names of its network namespace and control groups.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// All nodes, `n1` first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `number`, counted from 1 as in its name.
    ///
    /// # Panics
    /// When there is no such node: a mistake in the scenario.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        assert!(
            (1..=self.nodes.len()).contains(&number),
            "no node n{number}: this lab has n1 to n{}",
            self.nodes.len()
        );
        &self.nodes[number - 1]
    }

    /// A directory of the host that is removed with the lab, for files of a scenario.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.record.work
    }

    /// The address that processes in the lab's network namespace on the host's side have.
    #[must_use]
    pub fn host_address(&self) -> &'static str {
        net::HOST_ADDRESS
    }

    /// The file that names the lab's network namespace (for `nsenter --net=`).
    #[must_use]
    pub fn namespace_file(&self) -> PathBuf {
        net::namespace_file(&self.record.id)
    }

    /// Starts a process of the host inside the lab's network. Takes program, arguments,
    /// environment and directory from `command`; its output goes to `NAME.log` in [`Lab::dir`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_in_netns(&self, name: &str, command: &Command) -> Result<ChildGuard> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let group = Cgroup::of_lab(&self.record.id)?
            .child("exec")
            .child(&format!("host-{}-{number}", std::process::id()));
        let log = self.record.work.join(format!("{name}.log"));
        ChildGuard::start(name, group, &self.in_netns(command)?, log)
    }

    /// Runs a process of the host inside the lab's network to its end; any exit code is fine.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn run_in_netns(&self, command: &Command, deadline: Duration) -> Result<Output> {
        let purpose = "running a command in the lab's network";
        Cmd::of(purpose, self.in_netns(command)?).deadline(deadline).output()
    }

    fn in_netns(&self, command: &Command) -> Result<Command> {
        let mut net = std::ffi::OsString::from("--net=");
        net.push(self.namespace_file());
        exec::wrap(&["nsenter".into(), net], command)
            .ok_or_else(|| Error::Unfit("no command to start".to_owned()))
    }

    /// All nodes as they were at the very first boot: fresh disks, all on, none cut.
    ///
    /// # Errors
    /// When a node does not come up.
    pub fn reset(&self) -> Result<()> {
        for node in &self.nodes {
            node.wipe()?;
        }
        self.start_all()
    }

    /// Removes the lab, whoever made it.
    ///
    /// # Errors
    /// When something resists; what is left can be removed by another attempt.
    pub fn down(mut self) -> Result<()> {
        self.owner = None;
        self.tear_down()
    }

    fn tear_down(&self) -> Result<()> {
        self.record.tear_down()?;
        self.nodes.iter().for_each(Node::reap);
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owner.is_some()
            && let Err(error) = self.tear_down()
        {
            eprintln!("drydock-lab: cannot remove lab {}: {error}", self.record.id);
        }
    }
}

/// A lab on this machine.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// Made to run on, or left behind by a dead process; otherwise a living process has it.
    pub free: bool,
}

/// All labs on this machine.
///
/// # Errors
/// When the register cannot be read.
pub fn list() -> Result<Vec<Listed>> {
    Record::all()?
        .into_iter()
        .map(|record| {
            Ok(Listed { free: record.owner()? != Owner::Process, nodes: record.nodes, id: record.id })
        })
        .collect()
}
