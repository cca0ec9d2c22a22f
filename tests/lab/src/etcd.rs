//! A real etcd cluster on a lab's nodes: Debian's etcd 3.4 under Debian's unit, one member a node.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drydock_witness::observer::Sample;
use drydock_witness::summary::{self, Summary};
use drydock_witness::verify;

use crate::etcd_binary::EtcdBinary;
use crate::exec::{self, Output};
use crate::guard::ChildGuard;
use crate::lab::Lab;
use crate::node::Node;
use crate::{Error, Result, witness};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// Where Debian's package has the server.
pub const BINARY: &str = "/usr/bin/etcd";
/// Where Debian's unit has the data.
pub const DATA: &str = "/var/lib/etcd/default";
const HEALTHY: Duration = Duration::from_secs(30);
const ENDING: Duration = Duration::from_secs(10);
const VERIFYING: Duration = Duration::from_secs(120);

/// The cluster; member `nI` runs on node `nI`.
#[derive(Debug)]
pub struct EtcdCluster<'lab> {
    lab: &'lab Lab,
}

/// A witness at work and the file that it fills.
#[derive(Debug)]
pub struct Witness {
    guard: ChildGuard,
    file: PathBuf,
}

/// What one restart of one member costs without anything of Drydock's.
#[derive(Debug, Clone)]
pub struct BareRestart {
    /// Whether the member led before.
    pub was_leader: bool,
    /// How long `systemctl restart etcd` took.
    pub command: Duration,
    /// How long the member did not answer, seen from outside every 10 ms.
    pub silent: Duration,
    /// How long the cluster had no leader that all agreed on, or one that did not answer.
    pub leaderless: Duration,
    /// All that was seen.
    pub summary: Summary,
}

impl<'lab> EtcdCluster<'lab> {
    /// Configures and starts a member on every node, and waits until all are healthy.
    ///
    /// # Errors
    /// When a member does not become healthy within 30 s.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let cluster = Self { lab };
        for node in lab.nodes() {
            let settings = cluster.settings(node);
            node.write_file("/etc/default/etcd", settings.as_bytes(), 0o644)?;
        }
        for node in lab.nodes() {
            // Not waiting: the unit is ready only once the cluster has a quorum.
            node.run(&["systemctl", "enable", "--quiet", "etcd.service"])?;
            node.run(&["systemctl", "start", "--no-block", "etcd.service"])?;
        }
        cluster.wait_healthy(lab.nodes().len(), HEALTHY)?;
        Ok(cluster)
    }

    /// The cluster that already runs in a lab.
    #[must_use]
    pub fn of(lab: &'lab Lab) -> Self {
        Self { lab }
    }

    /// Fresh disks and a new, empty cluster.
    ///
    /// # Errors
    /// When a node or a member does not come up.
    pub fn reset(&self) -> Result<()> {
        self.lab.reset()?;
        Self::start(self.lab).map(|_| ())
    }

    fn settings(&self, node: &Node) -> String {
        let (name, address) = (node.name(), node.address());
        let peers: Vec<String> = self
            .lab
            .nodes()
            .iter()
            .map(|peer| format!("{}=http://{}:{PEER_PORT}", peer.name(), peer.address()))
            .collect();
        format!(
            "ETCD_NAME={name}\n\
             ETCD_LISTEN_CLIENT_URLS=http://{address}:{CLIENT_PORT},http://127.0.0.1:{CLIENT_PORT}\n\
             ETCD_ADVERTISE_CLIENT_URLS=http://{address}:{CLIENT_PORT}\n\
             ETCD_LISTEN_PEER_URLS=http://{address}:{PEER_PORT}\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=http://{address}:{PEER_PORT}\n\
             ETCD_INITIAL_CLUSTER={}\n\
             ETCD_INITIAL_CLUSTER_STATE=new\n\
             ETCD_INITIAL_CLUSTER_TOKEN=drydock-lab-{}\n",
            peers.join(","),
            self.lab.id()
        )
    }

    /// `ADDRESS:PORT` of the member on a node.
    #[must_use]
    pub fn endpoint(&self, node: &Node) -> String {
        format!("{}:{CLIENT_PORT}", node.address())
    }

    /// Client endpoints of all members, `n1` first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let nodes = self.lab.nodes().iter();
        nodes.map(|node| self.endpoint(node)).collect()
    }

    /// Waits until `count` members are healthy and agree on a leader; gives what was seen then.
    ///
    /// # Errors
    /// When that does not happen in time; the error names what each member said last.
    pub fn wait_healthy(&self, count: usize, deadline: Duration) -> Result<Sample> {
        let wait_ms = deadline.as_millis().to_string();
        let count = count.to_string();
        let words = ["--healthy", &count, "--wait-ms", &wait_ms];
        let output = self.witness("etcd-status", &words, deadline + ENDING)?;
        exec::succeed(
            &format!("waiting for {count} healthy members"),
            "drydock-witness etcd-status",
            &output,
        )?;
        parse(&output)
    }

    /// How the members are right now.
    ///
    /// # Errors
    /// When the witness fails; a member that does not answer is no error.
    pub fn status(&self) -> Result<Sample> {
        let output = self.witness("etcd-status", &[], ENDING)?;
        exec::succeed("asking the members", "drydock-witness etcd-status", &output)?;
        parse(&output)
    }

    /// The node whose member leads.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self) -> Result<&'lab Node> {
        let sample = self.wait_healthy(1, HEALTHY)?;
        let leads = |node: &&Node| {
            sample
                .endpoints
                .get(&self.endpoint(node))
                .is_some_and(|view| view.leader_id.is_some() && view.leader_id == view.member_id)
        };
        self.lab
            .nodes()
            .iter()
            .find(leads)
            .ok_or_else(|| Error::Unfit(format!("no member says that it leads: {sample:?}")))
    }

    /// Starts a writer of about 50 keys a second, under the prefix `name`.
    ///
    /// # Errors
    /// When the witness was not built or does not start.
    pub fn write(&self, name: &str) -> Result<Witness> {
        let file = self.lab.dir().join(format!("{name}.acks"));
        self.start_witness(name, "etcd-writer", "--acks", file, &["--prefix", name])
    }

    /// Starts an observer that asks every member each 50 ms.
    ///
    /// # Errors
    /// When the witness was not built or does not start.
    pub fn observe(&self, name: &str) -> Result<Witness> {
        self.observe_every(name, Duration::from_millis(50))
    }

    /// Starts an observer with another interval.
    ///
    /// # Errors
    /// When the witness was not built or does not start.
    pub fn observe_every(&self, name: &str, interval: Duration) -> Result<Witness> {
        let file = self.lab.dir().join(format!("{name}.samples"));
        let interval_ms = interval.as_millis().to_string();
        let words = ["--interval-ms", interval_ms.as_str()];
        self.start_witness(name, "etcd-observer", "--out", file, &words)
    }

    /// Reads every key that a writer had acknowledged back from every member.
    ///
    /// # Errors
    /// When that cannot be done. Lost keys are in the report: see
    /// [`verify::Report::is_intact`].
    pub fn verify(&self, acks: &Path) -> Result<verify::Report> {
        let path = acks.display().to_string();
        let words = ["--acks", path.as_str()];
        let output = self.witness("etcd-verify", &words, VERIFYING)?;
        // A report that is not intact ends with 1 as well, but is printed.
        if output.stdout.is_empty() {
            exec::succeed("reading the keys back", "drydock-witness etcd-verify", &output)?;
        }
        parse(&output)
    }

    /// Reads the keys of a file back from a member beside the cluster, once it is healthy.
    ///
    /// # Errors
    /// When it does not become healthy in time, or does not answer.
    pub fn verify_at(&self, endpoint: &str, acks: &Path, deadline: Duration) -> Result<verify::Report> {
        let ask = |words: &[&str], deadline| {
            let mut command = exec::command(witness::binary()?);
            command.args(words).args(["--endpoints", endpoint]);
            self.lab.run_in_netns(&command, deadline)
        };
        let wait_ms = deadline.as_millis().to_string();
        let healthy = ask(&["etcd-status", "--healthy", "1", "--wait-ms", &wait_ms], deadline + ENDING)?;
        exec::succeed(
            &format!("waiting for the member at {endpoint}"),
            "drydock-witness etcd-status",
            &healthy,
        )?;
        let path = acks.display().to_string();
        parse(&ask(&["etcd-verify", "--acks", &path], VERIFYING)?)
    }

    /// Puts another server binary in place; it runs after the member's next restart.
    ///
    /// # Errors
    /// When the node is off or the file cannot be written.
    pub fn install(&self, node: &Node, binary: &EtcdBinary) -> Result<()> {
        node.copy_in(&binary.path, BINARY, 0o755)
    }

    /// Restarts one member by hand and measures from outside what that costs: the floor for
    /// anything that does more.
    ///
    /// # Errors
    /// When the restart fails or not all members become healthy again.
    pub fn measure_bare_restart(&self, node: &Node) -> Result<BareRestart> {
        let was_leader = self.leader()?.name() == node.name();
        let name = format!("bare-restart-{}", node.name());
        let mut observer = self.observe_every(&name, Duration::from_millis(10))?;
        observer.wait_started()?;
        let started = Instant::now();
        node.run(&["systemctl", "restart", "etcd.service"])?;
        let command = started.elapsed();
        self.wait_healthy(self.lab.nodes().len(), HEALTHY)?;
        // The observer must see it healthy too.
        std::thread::sleep(Duration::from_millis(300));
        let file = observer.finish()?;
        let summary = summarize(&file)?;
        // So that the next measurement starts with an empty file.
        std::fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        let silent = summary.members.get(&self.endpoint(node)).map_or(0, |member| member.longest_silence_ms);
        let leaderless = summary.leaderless_longest_ms.max(summary.leader_silent_longest_ms);
        Ok(BareRestart {
            was_leader,
            command,
            silent: Duration::from_millis(silent),
            leaderless: Duration::from_millis(leaderless),
            summary,
        })
    }

    fn start_witness(
        &self,
        name: &str,
        subcommand: &str,
        file_flag: &str,
        file: PathBuf,
        words: &[&str],
    ) -> Result<Witness> {
        let mut command = exec::command(witness::binary()?);
        command
            .args([subcommand, "--endpoints", &self.endpoints().join(","), file_flag])
            .arg(&file)
            .args(words);
        let guard = self.lab.spawn_in_netns(&format!("{subcommand}-{name}"), &command)?;
        Ok(Witness { guard, file })
    }

    fn witness(&self, subcommand: &str, words: &[&str], deadline: Duration) -> Result<Output> {
        let mut command = exec::command(witness::binary()?);
        command.args([subcommand, "--endpoints", &self.endpoints().join(",")]).args(words);
        self.lab.run_in_netns(&command, deadline)
    }
}

impl Witness {
    /// The file that it fills.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until it has recorded something.
    ///
    /// # Errors
    /// When it records nothing within 10 s.
    pub fn wait_started(&mut self) -> Result<()> {
        let file = self.file.clone();
        crate::wait::until(
            &format!("the witness to write to {}", file.display()),
            ENDING,
            Duration::from_millis(10),
            || Ok(std::fs::metadata(&file).is_ok_and(|meta| meta.len() > 0).then_some(())),
            || format!("it printed: {}", self.guard.printed().unwrap_or_default()),
        )
    }

    /// Ends it (SIGTERM) and gives its complete file.
    ///
    /// # Errors
    /// When it does not end with 0: it failed, or had ended before.
    pub fn finish(&mut self) -> Result<PathBuf> {
        self.guard.finish(ENDING)?;
        Ok(self.file.clone())
    }
}

/// Reduces an observer's file to figures.
///
/// # Errors
/// When it holds no sample or is damaged.
pub fn summarize(samples: &Path) -> Result<Summary> {
    summary::of_file(samples).map_err(|error| Error::Unfit(format!("{error:#}")))
}

fn parse<T: serde::de::DeserializeOwned>(output: &Output) -> Result<T> {
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Error::Unfit(format!(
            "the witness printed something unexpected ({error}): {}; rebuild it with \
             `cargo build -p drydock-witness`",
            output.text()
        ))
    })
}
