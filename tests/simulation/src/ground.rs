//! The ground truth: what the machines really are. Nothing in here asks the code under test.

use std::collections::{BTreeMap, BTreeSet};

use drydock_types::{EffectId, NodeKey, NodeName, Sha256, Version};

use crate::scenario::{Quality, Role};

/// A binary.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its version, as its signature says.
    pub version: Version,
    /// What it answers when it is asked.
    pub answers: Version,
    /// How good it is.
    pub quality: Quality,
}

/// A main process.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// The digest of what is in memory.
    pub exe: Sha256,
    /// Another one after each start.
    pub invocation: u64,
    /// Since when.
    pub since_ms: u64,
}

/// Who took a service out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A section's step, or what it put there.
    Us(EffectId),
    /// Somebody or something else.
    Others,
}

/// A service that does not serve.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Since when.
    pub since_ms: u64,
    /// By whom.
    pub by: By,
}

/// A job of the service manager: goes on whatever becomes of whoever asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The process is stopped then.
    pub stops_at_ms: u64,
    /// Another one is started then, where one is to be.
    pub starts_at_ms: Option<u64>,
    /// Whose.
    pub by: By,
    /// The stop has taken place.
    pub stopped: bool,
}

/// A machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// What runs there.
    pub role: Role,
    /// Its failure domain.
    pub zone: Option<String>,
    /// The binary that lies at the service's path.
    pub file: Sha256,
    /// The main process.
    pub process: Option<Process>,
    /// A job that is under way.
    pub job: Option<Job>,
    /// What the next start is called.
    pub next_invocation: u64,
    /// Artifacts that were fetched and verified.
    pub fetched: BTreeSet<Sha256>,
    /// The machine runs.
    pub powered: bool,
    /// Out of service, and why.
    pub out: Option<Out>,
    /// In service without a break since.
    pub in_since_ms: u64,
    /// When somebody else last did something here.
    pub others_ms: Option<u64>,
    /// The last effect that touched the file or the process.
    pub touched_by: Option<EffectId>,
}

/// The one etcd cluster: hosts of [`Role::Etcd`].
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Index of the host whose member leads.
    pub leader: Option<usize>,
    /// Rises with every leader.
    pub term: u64,
    /// Since when nobody has led.
    pub leaderless_ms: Option<u64>,
    /// The cluster's version: never falls.
    pub minor: (u64, u64),
    /// Since when all members could speak a higher one.
    pub rising_ms: Option<u64>,
}

/// A change of a service between in and out.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Which host.
    pub host: usize,
    /// Out of service now, and by whom; or back.
    pub out: Option<By>,
}

/// How long an election takes.
const ELECTION_MS: u64 = 1200;
/// How long a cluster takes to rise to its members' version.
const RISE_MS: u64 = 4000;

/// All machines.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// In the scenario's order.
    pub hosts: Vec<Host>,
    /// By digest.
    pub releases: BTreeMap<Sha256, Release>,
    /// The etcd cluster, where there is one.
    pub cluster: Cluster,
    /// What has turned and was not yet looked at by the rules.
    pub turns: Vec<Turn>,
}

impl Ground {
    /// Does the service of this host serve, as somebody who uses it would say?
    #[must_use]
    pub fn serves(&self, host: usize, now_ms: u64) -> bool {
        let host = &self.hosts[host];
        if !host.powered {
            return false;
        }
        if host.role == Role::Bare {
            return true;
        }
        let Some(process) = host.process else { return false };
        match self.releases.get(&process.exe).map(|release| release.quality) {
            Some(Quality::Good | Quality::SaysAnother | Quality::Rebuilt) => true,
            Some(Quality::Crashes(after_ms)) => now_ms < process.since_ms + after_ms,
            Some(Quality::Unwell | Quality::DoesNotStart) | None => false,
        }
    }

    /// Brings a host up to this moment: jobs, crashes, and whether it serves.
    pub fn settle(&mut self, index: usize, now_ms: u64, by: By) {
        self.work_on_job(index, now_ms);
        self.crash(index, now_ms);
        let serves = self.serves(index, now_ms);
        let host = &mut self.hosts[index];
        match (serves, host.out) {
            (true, Some(_)) => {
                host.out = None;
                host.in_since_ms = now_ms;
                self.turns.push(Turn { host: index, out: None });
            }
            (false, None) => {
                host.out = Some(Out { since_ms: now_ms, by });
                self.turns.push(Turn { host: index, out: Some(by) });
            }
            (true, None) | (false, Some(_)) => {}
        }
        if host.role == Role::Etcd {
            self.settle_cluster(now_ms);
        }
    }

    fn work_on_job(&mut self, index: usize, now_ms: u64) {
        let Some(mut job) = self.hosts[index].job else { return };
        if !job.stopped && now_ms >= job.stops_at_ms {
            self.hosts[index].process = None;
            job.stopped = true;
            self.hosts[index].job = Some(job);
            self.settle_out(index, job.stops_at_ms.max(1), job.by);
        }
        if job.stopped && job.starts_at_ms.is_none_or(|at| now_ms >= at) {
            self.hosts[index].job = None;
            if job.starts_at_ms.is_some() {
                self.start(index, now_ms);
            }
        }
    }

    fn settle_out(&mut self, index: usize, now_ms: u64, by: By) {
        if self.hosts[index].out.is_none() {
            self.hosts[index].out = Some(Out { since_ms: now_ms, by });
            self.turns.push(Turn { host: index, out: Some(by) });
        }
    }

    /// A process of what lies on the disk, where that starts at all.
    pub fn start(&mut self, index: usize, now_ms: u64) {
        let host = &self.hosts[index];
        let Some(release) = self.releases.get(&host.file) else { return };
        let too_old = host.role == Role::Etcd && release.version.minor() < self.cluster.minor;
        if release.quality == Quality::DoesNotStart || too_old {
            return;
        }
        let host = &mut self.hosts[index];
        let invocation = host.next_invocation;
        host.next_invocation += 1;
        host.process = Some(Process { exe: host.file, invocation, since_ms: now_ms });
    }

    fn crash(&mut self, index: usize, now_ms: u64) {
        let host = &self.hosts[index];
        let Some(process) = host.process else { return };
        let Some(release) = self.releases.get(&process.exe) else { return };
        if let Quality::Crashes(after_ms) = release.quality
            && now_ms >= process.since_ms + after_ms
        {
            // Nobody decided that: the program fell over by itself.
            self.hosts[index].process = None;
            self.settle_out(index, now_ms, By::Others);
        }
    }

    /// Members, by index.
    pub fn voters(&self) -> impl Iterator<Item = usize> {
        self.hosts.iter().enumerate().filter(|(_, host)| host.role == Role::Etcd).map(|(index, _)| index)
    }

    /// Does the cluster have a majority at this moment?
    #[must_use]
    pub fn has_quorum(&self, now_ms: u64) -> bool {
        let voters = self.voters().count();
        let well = self.voters().filter(|voter| self.serves(*voter, now_ms)).count();
        voters > 0 && well > voters / 2
    }

    /// Elections, and the cluster's version.
    pub fn settle_cluster(&mut self, now_ms: u64) {
        let leads = self.cluster.leader.filter(|leader| self.serves(*leader, now_ms));
        let quorum = self.has_quorum(now_ms);
        if leads.is_none() || !quorum {
            self.cluster.leader = None;
            let since = *self.cluster.leaderless_ms.get_or_insert(now_ms);
            let first = self.voters().find(|voter| self.serves(*voter, now_ms));
            if quorum && now_ms >= since + ELECTION_MS {
                self.lead(first, now_ms);
            }
        }
        let lowest = self
            .voters()
            .map(|voter| self.hosts[voter].process.and_then(|it| self.releases.get(&it.exe)))
            .map(|release| release.map_or((0, 0), |release| release.version.minor()))
            .min();
        match lowest {
            Some(lowest) if quorum && lowest > self.cluster.minor => {
                let since = *self.cluster.rising_ms.get_or_insert(now_ms);
                if now_ms >= since + RISE_MS {
                    self.cluster.minor = lowest;
                    self.cluster.rising_ms = None;
                }
            }
            _ => self.cluster.rising_ms = None,
        }
    }

    /// Somebody leads from now on.
    pub fn lead(&mut self, leader: Option<usize>, _now_ms: u64) {
        self.cluster.leader = leader;
        self.cluster.leaderless_ms = None;
        self.cluster.term += 1;
    }

    /// Which host has this name.
    #[must_use]
    pub fn host(&self, name: &NodeName) -> Option<usize> {
        self.hosts.iter().position(|host| &host.name == name)
    }

    /// When something happens to this host by itself: a job's next part, a crash.
    #[must_use]
    pub fn wakes_ms(&self, index: usize) -> Option<u64> {
        let host = &self.hosts[index];
        let job =
            host.job.map(|job| if job.stopped { job.starts_at_ms.unwrap_or(0) } else { job.stops_at_ms });
        let crash = host.process.and_then(|process| {
            match self.releases.get(&process.exe).map(|release| release.quality) {
                Some(Quality::Crashes(after_ms)) => Some(process.since_ms + after_ms),
                _ => None,
            }
        });
        job.into_iter().chain(crash).min()
    }
}
