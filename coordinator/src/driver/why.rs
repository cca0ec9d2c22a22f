//! Why a node is where it is: over all open runs, with what stands on record.

use drydock_core::{
    Now,
    run::{NodeRun, Run},
    run_view,
    view::{CommandView, NodeInRunView, OnRecordView, RunStatus, WhyNodeView},
};
use drydock_types::{NodeKey, NodeName};

use super::{Driver, OperatorError};
use crate::store::RunStore;

impl<S: RunStore> Driver<S> {
    /// What a node waits for in any open run, what stands on record about it, and why it counts as out of service.
    ///
    /// # Errors
    /// When there is no such node, or the store cannot be read.
    pub fn why_node(&self, name: &NodeName, now: Now) -> Result<WhyNodeView, OperatorError> {
        let entry = self.fleet.each().find(|(of, ..)| *of == name);
        let (_, node, agent, since) = entry.ok_or_else(|| OperatorError::NoSuchNode(name.clone()))?;
        let (key, connected) = (node.key, agent.is_some());
        let aside = self.standings.is_set_aside(key);
        let runs = self.runs_with(key, now)?;
        let standing = self.standings.of(key);
        let on_record = standing.into_iter().flat_map(|standing| {
            let told = standing.on_record().into_iter().map(|item| standing.told(item));
            told.map(|(what, command)| OnRecordView { what, command })
        });
        Ok(WhyNodeView {
            node: name.clone(),
            now_unix_ms: now.wall_ms,
            connected,
            since_unix_ms: since.wall_ms,
            out_of_service: self.why_out(key, connected),
            uncounted: aside.then(|| "set aside: no budget counts it, and no run works on it".to_string()),
            on_record: on_record.collect(),
            can: self.node_commands(name, connected, &runs),
            runs,
        })
    }

    fn runs_with(&self, key: NodeKey, now: Now) -> Result<Vec<NodeInRunView>, OperatorError> {
        let mut views = Vec::new();
        for run in self.runs.values() {
            let here = run.nodes.iter().enumerate().filter(|(_, node)| node.key == key);
            let mut here: Vec<(usize, &NodeRun)> = here.collect();
            if here.is_empty() {
                continue;
            }
            // A node can be in several stages: those that are over say nothing of now, unless all are.
            if here.iter().any(|(_, node)| !is_over(node)) {
                here.retain(|(_, node)| !is_over(node));
            } else {
                here.truncate(1);
            }
            let live = self.live_of(run, now)?;
            views.extend(here.iter().filter_map(|(index, _)| run_view::node(run, *index, &live, now)));
        }
        Ok(views)
    }

    /// Every cause by which it counts as out of service, whatever budget is asked.
    fn why_out(&self, key: NodeKey, connected: bool) -> Vec<String> {
        let silent = (!connected).then(|| "its agent is silent".to_string());
        let at_it = |run: &Run| {
            let node = run.disrupts().into_iter().find(|node| node.key == key)?;
            let left = node.unsettled.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("run {} is at it ({}{left})", run.number, node.phase.word()))
        };
        let runs = self.runs.values().filter_map(at_it);
        silent.into_iter().chain(self.standings.disrupts(key)).chain(runs).collect()
    }

    fn node_commands(&self, name: &NodeName, connected: bool, runs: &[NodeInRunView]) -> Vec<CommandView> {
        let command = |does: String, command: String| CommandView { does, command };
        let agent = (!connected).then(|| {
            command(
                format!("type it on {name}: does its agent run?"),
                "systemctl status drydock-agent".to_string(),
            )
        });
        let frozen = self.standings.fleet.frozen.as_ref().map(|said| {
            command(
                format!("{} froze the fleet: nobody leaves service until", said.by),
                "drydock thaw".to_string(),
            )
        });
        // What the run says of this very node stands above with its commands; the whole run is told elsewhere.
        let whole = runs.iter().filter(|run| run.status != RunStatus::Running || run.waiting.is_none());
        let whole = whole.map(|run| {
            command(format!("what run {} as a whole waits for", run.run), format!("drydock why {}", run.run))
        });
        let show =
            command("the node itself, and what runs on it".to_string(), format!("drydock node show {name}"));
        agent.into_iter().chain(frozen).chain(whole).chain([show]).collect()
    }
}

const fn is_over(node: &NodeRun) -> bool {
    matches!(node.phase, drydock_core::view::Phase::Done | drydock_core::view::Phase::Skipped)
}
