//! Taking the pods off a Node, and giving it back. Judged first, done then, looked at again at the end.
//!
//! | module | what lives there |
//! |---|---|
//! | [`look`] | what is read of a cluster before a Node is drained; [`look::foresee`] |
//! | [`judge`] | pure: which pods go, in which order, and what keeps them from it |
//! | [`hands`] | pure: who else is at work on the Node |
//! | [`cordon`] | our cordon and its mark, one patch; taking back ours and nobody else's |
//! | [`evict`] | one pod's eviction |
//! | [`force`] | deleting what cannot be evicted, where somebody has said so |
//! | [`work`] | the drain itself, by watches; [`work::still_drained_with`] |
//! | [`ask`] | one question to a cluster, and which refusals are final |
//!
//! A pod goes by `pods/eviction`; it is deleted only where an operator has named it, or the plan says so for the end of
//! the time for leaving, and then by its UID ([`force`]). Nothing here waits by asking again and
//! again: what is waited for is watched. See `docs/adr/0022-drain.md`.

use std::fmt;

use drydock_types::Verdict;

pub use self::force::Force;
use crate::{
    mark::Marker,
    objects::{Pod, Uid, pod::PodName},
};

pub mod ask;
pub mod cordon;
pub mod evict;
pub mod force;
pub mod hands;
pub mod judge;
pub mod look;
pub mod work;

/// What the plan says of something that people may lose by a drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Word {
    /// The drain does not begin.
    #[default]
    Refuse,
    /// It goes on, and says what it does.
    Allow,
}

/// The plan's words for a drain. Without them everything is refused that somebody may lose something by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Words {
    /// `barePods`: pods that nothing starts again.
    pub bare_pods: Word,
    /// `emptyDir`: data that go with their pod.
    pub empty_dir: Word,
    /// `localVolumes`: pods that cannot run elsewhere because their data lie here.
    pub local_volumes: Word,
    /// `nowhereElse`: pods that no other node takes.
    pub nowhere_else: Word,
    /// `waitForReplacements`: the node counts as drained only when as many pods of each controller are ready
    /// elsewhere as were before.
    pub wait_for_replacements: bool,
}

/// The pod in which this coordinator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPod {
    /// Its name.
    pub name: PodName,
    /// Which one, where it was said: then one of the same name in another cluster is told from it.
    pub uid: Option<Uid>,
}

impl OwnPod {
    /// Is it this one?
    #[must_use]
    pub fn is(&self, pod: &Pod) -> bool {
        self.name == pod.name() && self.uid.as_ref().is_none_or(|uid| *uid == pod.metadata.uid)
    }
}

/// Which Node is drained, for whom, how.
#[derive(Debug, Clone)]
pub struct Order {
    /// The Node's name.
    pub node: String,
    /// Which Node of that name: as it was bound.
    pub uid: Uid,
    /// Who marks it.
    pub marker: Marker,
    /// The plan's words.
    pub words: Words,
    /// The pod in which this coordinator runs, where it runs in one.
    pub own_pod: Option<OwnPod>,
    /// What may be deleted that cannot be evicted.
    pub force: Option<Force>,
    /// The last look found no pod here that has to leave: then its own are read first, and the other nodes' only where
    /// there is one by now. It decides what is asked first, and nothing else.
    pub expects_none: bool,
    /// Whoever gave the order looks again itself, by [`work::still_drained_with`], before anything is done there: the drain
    /// ends by what its watch says, and does not look a second time.
    pub looks_again: bool,
    /// A person has said "again" since somebody uncordoned the Node under our mark. Otherwise that person's word
    /// stands.
    pub again: bool,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know; keeps nobody.
    Note,
    /// It may pass by itself.
    Waiting,
    /// It could not be seen.
    Unknown,
    /// Only a person ends it.
    Refused,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A budget that allows nothing, now or ever.
    Budget,
    /// The node's pods together exceed a budget.
    BudgetSum,
    /// More than one budget over one pod.
    TwoBudgets,
    /// A pod that nothing starts again.
    BarePod,
    /// Data that go with their pod.
    EmptyDir,
    /// Data that lie here.
    LocalVolume,
    /// A pod that no other node takes.
    NowhereElse,
    /// The coordinator's own pod.
    OwnPod,
    /// Somebody else is at work on the Node.
    Hand,
    /// The Node is not the one that was meant, or is gone.
    Node,
    /// An admission webhook or policy says no.
    Webhook,
    /// The cluster did not say.
    Unseen,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// What it is about.
    pub kind: Kind,
    /// What is, by its name.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

impl Finding {
    fn new(weight: Weight, kind: Kind, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { weight, kind, what: what.into(), next: next.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.next.is_empty() {
            true => out.write_str(&self.what),
            false => write!(out, "{}: {}", self.what, self.next),
        }
    }
}

/// The heaviest of the findings, with all that weigh as much. Notes keep nobody.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Verdict {
    let heaviest = findings.iter().map(|finding| finding.weight).max().unwrap_or(Weight::Note);
    let said: Vec<String> =
        findings.iter().filter(|finding| finding.weight == heaviest).map(ToString::to_string).collect();
    match heaviest {
        Weight::Note => Verdict::Clear,
        Weight::Waiting => Verdict::Waiting(said.join("; ")),
        Weight::Unknown => Verdict::Unknown(said.join("; ")),
        Weight::Refused => Verdict::Refused(said.join("; ")),
    }
}
