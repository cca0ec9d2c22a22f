//! How an order ended, and what it waits for meanwhile.

use tokio::{sync::watch, time::Instant};

use crate::{
    drain::judge::Stayer,
    objects::{Uid, pod::PodName},
};

/// More names than a person reads.
const MOST_NAMES: usize = 5;

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The Node is cordoned by us, and no pod that has to leave is on it.
    Drained(Evidence),
    /// Told to, or out of time. Our mark may stand.
    Stopped {
        /// Why.
        why: Stop,
        /// Who is still there.
        left: Vec<Left>,
        /// What it was waiting for.
        waits: Option<Waits>,
    },
    /// Only a person ends what is in the way. Our mark may stand.
    Refused {
        /// What is in the way, by its name.
        why: String,
        /// What to do.
        next: String,
    },
}

/// What stopped a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Whoever ordered it: a pause, an abort, the coordinator's end.
    Told,
    /// Its time is over.
    Deadline,
}

/// What a drained Node was seen as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Which Node.
    pub node: String,
    /// Which one of that name.
    pub uid: Uid,
    /// As of which change of it.
    pub node_version: String,
    /// As of which change of its pods.
    pub pods_version: String,
    /// It was cordoned before by somebody else.
    pub was_cordoned: bool,
    /// Who left while we worked.
    pub gone: Vec<(PodName, Uid)>,
    /// Who was deleted, each with the refusal that was passed over, in words.
    pub forced: Vec<String>,
    /// Who stays.
    pub stayed: Vec<Stayer>,
    /// What is good to know: what the plan's words allowed.
    pub notes: Vec<String>,
}

/// How far a drain is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many have left.
    pub gone: usize,
    /// Who has not.
    pub left: Vec<Left>,
    /// What is waited for.
    pub waits: Option<Waits>,
}

/// What is waited for, with the blocker by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// `3 pods to leave the Node k-1`
    pub what: String,
    /// Why it takes.
    pub because: String,
    /// Since when.
    pub since: Instant,
}

/// A pod that has not left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Which.
    pub pod: PodName,
    /// Which one of that name.
    pub uid: Uid,
    /// Where on its way out.
    pub stage: Stage,
    /// What keeps it, where something does.
    pub because: String,
    /// Since when it is at that.
    pub since: Instant,
}

/// Where a pod is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It was not asked to go.
    Waits,
    /// It is being asked: it may have been told already.
    Asked,
    /// It was told to end.
    Ends,
}

/// Tells how far it is, where that is news.
pub(super) fn tell(tell: &watch::Sender<Progress>, progress: Progress) {
    tell.send_if_modified(|told| {
        let news = *told != progress;
        if news {
            *told = progress;
        }
        news
    });
}

/// `1 pod is`, `3 pods are`.
pub(super) fn pods(count: usize) -> String {
    if count == 1 { "1 pod is".to_owned() } else { format!("{count} pods are") }
}

/// The first few names, and how many more.
pub(super) fn some_of(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).map(String::as_str).collect();
    match names.len().checked_sub(MOST_NAMES) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
