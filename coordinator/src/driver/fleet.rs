//! Who is enrolled, who is connected, and who is out of service for whatever cause.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    Now,
    run::{CheckResult, Disrupted, JournalRef, NodeRun, Run},
};
use drydock_types::{Label, NodeKey, NodeName, Sha256, Verdict, probe::HostFacts};

use super::standings::Standings;

/// A connected agent, as its Hello said and its certificate proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Which stream.
    pub session: u64,
    /// From the certificate.
    pub key: NodeKey,
    /// Its build.
    pub version: String,
    /// Its journal.
    pub journal: JournalRef,
    /// Steps that it can do.
    pub steps: BTreeSet<String>,
    /// Safety fields that it knows.
    pub requirements: BTreeSet<String>,
    /// Its host.
    pub facts: HostFacts,
}

/// An enrolled node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetNode {
    /// Its identity.
    pub key: NodeKey,
    /// Set by operators.
    pub labels: BTreeMap<Label, Label>,
}

/// All nodes.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    nodes: BTreeMap<NodeName, Entry>,
    /// The registry was read: who is not in `nodes` is not enrolled.
    known: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    node: FleetNode,
    agent: Option<Agent>,
    /// When the stream was opened or broke.
    since: Now,
}

impl Fleet {
    /// Replaces what the registry says; who is connected stays so, unless the name has another key now.
    pub(super) fn registered(&mut self, nodes: Vec<(NodeName, FleetNode)>, now: Now) {
        self.known = true;
        let mut before = std::mem::take(&mut self.nodes);
        for (name, node) in nodes {
            let (agent, since) = match before.remove(&name) {
                Some(entry) if entry.node.key == node.key => (entry.agent, entry.since),
                _ => (None, now),
            };
            self.nodes.insert(name, Entry { node, agent, since });
        }
    }

    /// `false` when it is no news: of a stream before the present one, or of a machine that is not (or no
    /// longer) the registered one.
    pub(super) fn connected(&mut self, name: &NodeName, agent: Agent, now: Now) -> bool {
        // A stream's number rises: an older one that is heard of later is gone already.
        let newest =
            |entry: &&mut Entry| entry.agent.as_ref().is_none_or(|before| before.session <= agent.session);
        let same_key = |entry: &&mut Entry| entry.node.key == agent.key;
        let entry = self.nodes.get_mut(name).filter(same_key).filter(newest);
        entry.map(|entry| (entry.agent, entry.since) = (Some(agent), now)).is_some()
    }

    pub(super) fn disconnected(&mut self, name: &NodeName, session: u64, now: Now) {
        if let Some(entry) = self.nodes.get_mut(name)
            && entry.agent.as_ref().is_some_and(|agent| agent.session == session)
        {
            entry.agent = None;
            entry.since = now;
        }
    }

    /// Was the registry read since the start?
    pub(super) const fn is_known(&self) -> bool {
        self.known
    }

    /// The identity that has this name now.
    pub(super) fn key(&self, name: &NodeName) -> Option<NodeKey> {
        self.nodes.get(name).map(|entry| entry.node.key)
    }

    /// The stream of a node, while it is open.
    #[must_use]
    pub fn session(&self, name: &NodeName) -> Option<u64> {
        self.nodes.get(name)?.agent.as_ref().map(|agent| agent.session)
    }

    /// The stream of a node while it is open and the node is the one that is meant: a name that was enrolled
    /// again is another node.
    pub(super) fn session_of(&self, name: &NodeName, key: NodeKey) -> Option<u64> {
        self.nodes.get(name).filter(|entry| entry.node.key == key)?;
        self.session(name)
    }

    /// Every node: its registration, its agent while connected, and since when that is so.
    pub fn each(&self) -> impl Iterator<Item = (&NodeName, &FleetNode, Option<&Agent>, Now)> {
        self.nodes.iter().map(|(name, entry)| (name, &entry.node, entry.agent.as_ref(), entry.since))
    }

    /// Nodes without a stream, and since when (Unix ms).
    #[must_use]
    pub fn silent(&self) -> BTreeMap<NodeName, u64> {
        let silent = self.each().filter(|(_, _, agent, _)| agent.is_none());
        silent.map(|(name, _, _, since)| (name.clone(), since.wall_ms)).collect()
    }

    /// Digests of the policies that agents obey, as they said when their streams were opened: an agent reads its
    /// policy at its start.
    pub(super) fn policies(&self) -> BTreeMap<NodeName, Sha256> {
        self.each().filter_map(|(name, _, agent, _)| Some((name.clone(), agent?.facts.policy?))).collect()
    }

    /// The one check that needs no agent: is it there?
    pub(super) fn own_connection(&self, run: &Run, index: usize) -> Vec<CheckResult> {
        let Some(node) = run.nodes.get(index) else { return Vec::new() };
        let verdict = match self.session_of(&node.name, node.key) {
            Some(_) => Verdict::Clear,
            None => Verdict::Unknown(format!("the stream of {}'s agent is not open", node.name)),
        };
        vec![CheckResult { check: "agent".to_string(), verdict }]
    }

    /// Nodes that are out of service in the failure domain of a run's node, for whatever cause.
    pub(super) fn disrupted_beside(
        &self,
        run: &Run,
        index: usize,
        runs: &BTreeMap<u64, Run>,
        standings: &Standings,
    ) -> Vec<Disrupted> {
        let Some(me) = run.nodes.get(index).map(|node| &node.name) else { return Vec::new() };
        let label = run.plan.budget.domain_label.as_ref();
        let domain =
            |name: &NodeName| label.and_then(|label| self.nodes.get(name)?.node.labels.get(label).cloned());
        let mine = domain(me);
        // Whose domain is not known may be in this one.
        let shares = |name: &NodeName| {
            let theirs = domain(name);
            theirs == mine || mine.is_none() || theirs.is_none()
        };
        // A name that was enrolled again is another node.
        let is_here = |node: &&NodeRun| self.key(&node.name) == Some(node.key);
        let mut found: BTreeMap<&NodeName, String> = BTreeMap::new();
        for (name, entry) in &self.nodes {
            if entry.agent.is_none() {
                found.insert(name, "its agent is silent".to_string());
            }
            found.extend(standings.disrupts(entry.node.key).map(|why| (name, why)));
        }
        for other in runs.values().filter(|other| other.number != run.number) {
            let why = || format!("run {} is at it", other.number);
            found.extend(other.disrupts().into_iter().filter(is_here).map(|node| (&node.name, why())));
        }
        let unfinished = run.disrupts().into_iter().filter(is_here);
        found.extend(unfinished.map(|node| (&node.name, "this run has not finished it".to_string())));
        // A node that a person set aside or retired is out of every count.
        let counts = |name: &NodeName| self.key(name).is_some_and(|key| !standings.is_set_aside(key));
        let beside = found.into_iter().filter(|(name, _)| *name != me && shares(name) && counts(name));
        beside.map(|(name, why)| Disrupted { node: name.clone(), why }).collect()
    }
}
