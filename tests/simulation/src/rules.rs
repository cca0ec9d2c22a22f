//! The rules that never bend, asserted on the ground truth after everything that happens.
//!
//! Nothing in here asks the code under test whether it is right: it compares what the machines are, what is
//! durable on which disk, what was handed out, and what operators were told.
//!
//! | rule | where |
//! |---|---|
//! | 1 budget, 4 one after another, 6 quorum | [`leaving`] : whenever a service goes out of service by our doing |
//! | 2 intent first, 3 once, 7 lapse | [`effects`]: whenever an agent accepts, begins or changes something |
//! | 1 budget, 6 quorum | [`said`]: whenever a reducer decides a section, before the limiter has judged it |
//! | 7 pause, 8 unknown, 11 no way down | [`decided`]: whenever a coordinator hands out a section |
//! | 5 only our own marks, and 1, 4, 7, 8, 10 about them | [`marks`]: whenever something changes in the cluster |
//! | 9 no silent wait, 10 every way out, 12 seen in the target | [`told`]: whenever a run's state changes |

pub mod decided;
pub mod effects;
pub mod leaving;
pub mod marks;
pub mod said;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::plan::Plan;
use drydock_types::{EffectId, Fence, NodeName, RunId, SectionKind, Sha256, Version};

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in the design; 0 for what every rule stands on (the record, the end of every run).
    pub rule: u8,
    /// What happened, to what.
    pub what: String,
    /// When.
    pub at_ms: u64,
}

/// A section that some coordinator's store durably holds as decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The digest of its exact bytes.
    pub payload: Sha256,
    /// Of which run.
    pub run: RunId,
    /// Which phase.
    pub kind: SectionKind,
    /// For which node.
    pub node: NodeName,
    /// What ran there as the coordinator saw it.
    pub from: Option<Version>,
    /// What is to run.
    pub to: Version,
    /// Its steps by name, those that verify behind the others: as a journal counts them.
    pub steps: Vec<&'static str>,
}

/// What an agent's disk durably holds.
#[derive(Debug, Clone, Default)]
pub struct JournalTruth {
    /// Effects accepted.
    pub accepted: BTreeSet<EffectId>,
    /// Steps begun: effect and index.
    pub begun: BTreeSet<(EffectId, u32)>,
    /// Steps done: effect and index.
    pub done: BTreeSet<(EffectId, u32)>,
    /// Effects ended.
    pub ended: BTreeSet<EffectId>,
    /// The highest fence obeyed.
    pub fence: Option<Fence>,
}

/// What was decided for a run by the operator who started it.
#[derive(Debug, Clone)]
pub struct RunTruth {
    /// Its number at the coordinator that started it.
    pub number: u64,
    /// The plan.
    pub plan: std::sync::Arc<Plan>,
    /// Pause was acknowledged by this coordinator, and nobody has resumed there since.
    pub paused: Option<usize>,
    /// It was said that it is over.
    pub closed: bool,
    /// Nodes whose change was accepted by their agent, and when.
    pub changed: BTreeMap<NodeName, u64>,
    /// Those of them that have not been at a gate since.
    pub let_out: BTreeSet<NodeName>,
}

/// Everything that the rules remember.
#[derive(Debug, Default)]
pub struct Rules {
    /// The first rule that did not hold.
    pub violation: Option<Violation>,
    /// Everything that was ever durably decided, by any coordinator.
    pub intents: BTreeMap<EffectId, Intent>,
    /// By host.
    pub journals: Vec<JournalTruth>,
    /// How often each step of each effect changed something in the world.
    pub changes: BTreeMap<(EffectId, &'static str), u32>,
    /// When that last was.
    pub changed_ms: BTreeMap<(EffectId, &'static str), u64>,
    /// Steps that took place, of an effect that an agent carries on from an older copy of its journal which does not
    /// hold them as done: it cannot know, and may do each once more.
    pub older: BTreeSet<(EffectId, &'static str)>,
    /// Every run that was ever started.
    pub runs: BTreeMap<RunId, RunTruth>,
    /// When an agent received a section: effect and host.
    pub received_ms: BTreeMap<(EffectId, usize), u64>,
    /// Versions that failed on a host since an operator last decided anything there.
    pub failed: BTreeMap<(usize, Version), EffectId>,
    /// Called done by this coordinator: it, its number of the run, the node.
    pub called_done: BTreeSet<(usize, u64, NodeName)>,
    /// Nodes that an undo by command has left somewhere on its way: the run that is taken back by it, the node.
    pub half_undone: BTreeSet<(RunId, NodeName)>,
    /// By host: when its agent accepted the last section that changes or takes back.
    pub began_ms: BTreeMap<usize, u64>,
    /// The fleet was frozen, by whoever talked to this coordinator.
    pub frozen: Option<usize>,
    /// Hosts that a person set aside.
    pub aside: BTreeSet<usize>,
    /// Hosts that a person ever set aside.
    pub was_aside: BTreeSet<usize>,
    /// What the etcd cluster has raised.
    pub alarm: Option<said::Alarm>,
    /// Effects that an agent had accepted and not ended when its journal was lost.
    pub lost: BTreeSet<EffectId>,
    /// Versions that a coordinator called rolled back on a host, and that nobody has released there since.
    pub quarantined: BTreeSet<(usize, Version)>,
    /// Two coordinators have been at work at once: what one cannot know of the other is not held against it.
    pub split: bool,
    /// What stands in the cluster.
    pub marks: marks::Marks,
    /// Stores have been copied or restored: a run may be decided once more, by who does not know of the first time.
    pub copied: bool,
}

impl RunTruth {
    /// A run as it was first seen.
    #[must_use]
    pub fn of(run: &drydock_core::run::Run) -> Self {
        Self {
            number: run.number,
            plan: std::sync::Arc::clone(&run.plan),
            paused: None,
            closed: false,
            changed: BTreeMap::new(),
            let_out: BTreeSet::new(),
        }
    }
}

impl Rules {
    /// Rules over so many hosts.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self { journals: vec![JournalTruth::default(); hosts], ..Self::default() }
    }

    /// A store is another one, or an older one, from now on: what only the former had acknowledged is gone with it.
    pub fn restored(&mut self) {
        self.copied = true;
        (self.frozen, self.aside) = (None, BTreeSet::new());
        self.called_done.clear();
        self.runs.values_mut().for_each(|run| (run.paused, run.closed) = (None, false));
    }

    /// Is a node that is to be taken back neither what it was nor what it was to be, as far as anybody was told? It
    /// counts as out of service, whether or not it serves. Where it does not, the recipe's gates, which would only
    /// tell that, are not asked.
    #[must_use]
    pub fn is_half_way(&self, by: usize, intent: &Intent) -> bool {
        let undoes = self.runs.get(&intent.run).and_then(|run| run.plan.undoes);
        let Some(undoes) = undoes.filter(|_| intent.kind == SectionKind::Undo) else { return false };
        !self.called_done.contains(&(by, undoes, intent.node.clone()))
            || self.half_undone.contains(&(intent.run, intent.node.clone()))
    }

    /// Keeps the first violation; the story ends with it.
    pub fn broken(&mut self, rule: u8, at_ms: u64, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { rule, what: what(), at_ms });
        }
    }
}
