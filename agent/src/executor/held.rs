//! What the journal holds of sections that changed this node or may have: a coordinator whose store is older
//! than that learns of them before it does anything here.

use drydock_types::{EffectId, Outcome, outcome::SectionResult};

use super::{Executor, admit::changes};
use crate::journal::{JournalError, Stored};

/// Steps that only look or add to a store: an ended section of these alone has changed nothing. Of ended
/// sections the journal keeps the steps' names; one that is not here counts as a change.
pub(super) const HARMLESS: [&str; 16] = [
    "fetchArtifact",
    "stagePackages",
    "snapshotEtcd",
    "backupK3s",
    "checkSwap",
    "checkK3s",
    "runningExecutable",
    "etcdMemberHealthy",
    "serviceVersion",
    "healthy",
    "k3sReady",
    "packagesInstalled",
    "libvirtReady",
    "openvswitchReady",
    "ovnControllerReady",
    "nothing",
];

/// A section that the journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its effect.
    pub effect: EffectId,
    /// Its outcome is known; else it is at work.
    pub ended: bool,
    /// For a person.
    pub what: String,
}

impl Executor {
    /// Sections that changed the node or may have: the one at work first, then at most so many in all.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn held(&self, most: usize) -> Result<Vec<Held>, JournalError> {
        let journal = self.journal.lock().await;
        let open = journal.open_section().filter(|open| open.section.steps.iter().any(changes));
        let mut held: Vec<Held> = open
            .map(|open| {
                let section = &open.section;
                let what = format!("{} to {}, run {}", section.component, section.to, section.run_number);
                Held { effect: open.effect, ended: false, what }
            })
            .into_iter()
            .collect();
        for effect in journal.ended() {
            if held.len() >= most {
                break;
            }
            if let Stored::Ended { outcome, .. } = journal.stored(effect)?
                && changed(&outcome)
            {
                held.push(Held { effect, ended: true, what: told(&outcome) });
            }
        }
        Ok(held)
    }
}

fn changed(outcome: &Outcome) -> bool {
    match outcome.result {
        SectionResult::Refused { .. } | SectionResult::Failed { .. } => false,
        _ => outcome.steps.iter().any(|report| !HARMLESS.contains(&report.step.as_str())),
    }
}

fn told(outcome: &Outcome) -> String {
    let steps = outcome.steps.iter().filter(|report| !HARMLESS.contains(&report.step.as_str()));
    let mut steps: Vec<&str> = steps.map(|report| report.step.as_str()).collect();
    steps.dedup();
    format!("{}: {}", steps.join(", "), outcome.result.word())
}
