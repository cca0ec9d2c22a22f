//! What else people do: approve, amend, freeze, set aside, take back.

use drydock_coordinator::driver::{Asked, OperatorError, Output};
use drydock_core::{
    Now,
    standing::Release,
    view::{Phase, RunStatus},
};
use drydock_types::{Millis, NodeName, RunId};

use super::{What, World, open_runs};
use crate::{coordinator::Running, coverage::Item};

impl World {
    /// Asks something of the first coordinator's driver, and does what follows.
    pub(super) fn ask(
        &mut self,
        word: &'static str,
        what: impl FnOnce(&mut Running, Now) -> Result<Vec<Output>, OperatorError>,
    ) -> bool {
        let index = self.first;
        let now = self.coordinators[index].now(self.now_ms());
        let Some(running) = &mut self.coordinators[index].running else { return false };
        match what(running, now) {
            Ok(outputs) => {
                self.note(Item::Verb(word));
                self.say(|| "operator".to_string(), || word.to_string());
                self.after(index, outputs, None);
                true
            }
            Err(error) => {
                self.say(|| "operator".to_string(), || format!("{word}: {error}"));
                self.after_operator(index);
                false
            }
        }
    }

    /// Whatever waits for an approval gets it, from somebody else than who started it.
    pub(super) fn approve(&mut self, number: u64) {
        let asked = Asked::Approve { place: None, digest: None };
        self.ask("approve", |running, now| running.driver.amend(number, &asked, "carla", now).map(|it| it.1));
    }

    /// A node of an open run that is not through.
    fn some_node(&self, chance: u64) -> Option<(u64, NodeName)> {
        let open = open_runs(&self.coordinators[self.first]);
        let through = |phase| matches!(phase, Phase::Done | Phase::Skipped);
        let nodes: Vec<(u64, NodeName)> = open
            .iter()
            .filter(|run| run.status != RunStatus::Aborting)
            .flat_map(|run| run.nodes.iter().map(move |node| (run.number, node)))
            .filter(|(_, node)| !through(node.phase))
            .map(|(number, node)| (number, node.name.clone()))
            .collect();
        nodes.get(usize::try_from(chance).unwrap_or(0) % nodes.len().max(1)).cloned()
    }

    pub(super) fn skip_some(&mut self, chance: u64) -> bool {
        let Some((number, node)) = self.some_node(chance) else { return false };
        let asked = Asked::Skip { node };
        self.ask("skip", |running, now| running.driver.amend(number, &asked, "bert", now).map(|it| it.1))
    }

    pub(super) fn extend_some(&mut self, chance: u64) -> bool {
        let Some((number, node)) = self.some_node(chance) else { return false };
        let asked = Asked::Extend { node, more: Millis::secs(600) };
        self.ask("extend", |running, now| running.driver.amend(number, &asked, "bert", now).map(|it| it.1))
    }

    /// A run, whether it is over or not, wholly or at one node.
    pub(super) fn roll_back_some(&mut self, chance: u64) -> bool {
        let id = RunId(self.desk.id());
        let newest = self.coordinators[self.first].running.as_ref().and_then(|it| it.driver.list().ok());
        let Some(number) = newest.and_then(|runs| runs.first().map(|run| run.number)) else { return false };
        let node =
            if chance.is_multiple_of(3) { self.some_node(chance >> 8).map(|(_, node)| node) } else { None };
        self.ask("roll back", |running, now| {
            running.driver.rollback(number, node.as_ref(), "bert", id, now).map(|it| it.1)
        })
    }

    pub(super) fn freeze(&mut self, for_ms: u64) -> bool {
        let index = self.first;
        let froze = self.ask("freeze", |running, now| {
            running.driver.freeze("bert", "a storm", now).map(|(_, outputs)| outputs)
        });
        if froze {
            self.shared.lock().rules.frozen = Some(index);
            self.soon(for_ms, What::Thaw);
        }
        froze
    }

    pub(super) fn thaw(&mut self) {
        if self.coordinators[self.first].running.is_none() {
            return self.soon(5000, What::Thaw);
        }
        if !self.is_frozen() {
            self.shared.lock().rules.frozen = None;
            return;
        }
        // Said first: what is handed out by the very thaw is no longer frozen.
        self.shared.lock().rules.frozen = None;
        if !self.ask("thaw", |running, now| running.driver.thaw("bert", now).map(|_| Vec::new())) {
            self.shared.lock().rules.frozen = Some(self.first);
            self.soon(5000, What::Thaw);
        }
    }

    /// As the coordinator has it: a store that was restored may have brought the frost back.
    pub(super) fn is_frozen(&self) -> bool {
        let coordinator = &self.coordinators[self.first];
        let now = coordinator.now(self.now_ms());
        coordinator.running.as_ref().is_some_and(|it| it.driver.fleet_view(now).frozen.is_some())
    }

    pub(super) fn set_aside(&mut self, host: usize, for_ms: u64) -> bool {
        let node = self.agents[host].node.clone();
        let aside = self.ask("set aside", |running, now| {
            running.driver.set_aside(&node, "bert", "it is being repaired", now).map(|(_, outputs)| outputs)
        });
        if aside {
            let mut shared = self.shared.lock();
            shared.rules.aside.insert(host);
            shared.rules.was_aside.insert(host);
            drop(shared);
            self.soon(for_ms, What::Release(host));
        }
        aside
    }

    pub(super) fn release(&mut self, host: usize) {
        if !self.shared.lock().rules.aside.contains(&host) {
            return;
        }
        let node = self.agents[host].node.clone();
        let released = self.ask("release", |running, now| {
            running.driver.release(&node, &Release::everything(), "bert", now).map(|_| Vec::new())
        });
        if released {
            let mut shared = self.shared.lock();
            shared.rules.aside.remove(&host);
            // Everything on record about a node is released at once.
            shared.rules.quarantined.retain(|(of, _)| *of != host);
        } else {
            self.soon(5000, What::Release(host));
        }
    }
}
