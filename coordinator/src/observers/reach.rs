//! Guests and nodes, as another node's agent reaches them: a watch there for each, looked at again and again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use drydock_core::observe::{Gap, Interruption, Observed, Part, Reach, reach::told};
use drydock_types::{
    Millis, NodeName, RunId,
    probe::{Observation, Probe},
    reach::{ReachView, ReachWatch},
};
use tokio::time::{Instant, sleep};

use super::followed::Followed;
use crate::link::Sessions;

/// How often its agent is asked what it has seen.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long one answer may take.
const LOOKS_WITHIN: Duration = Duration::from_secs(2);
/// The last look is tried for so long: an agent's stream may be about to be back.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Once it could not be taken, it is tried again after so long.
const TRIES_AGAIN: Duration = Duration::from_millis(250);
/// An agent goes on by itself for so long: as long as a coordinator may take to be back.
pub(crate) const KEEPS: Millis = Millis::secs(120);
/// Who is asked has so long for an answer; what is slower counts as none.
pub(crate) const ANSWERS_WITHIN: Millis = Millis::secs(1);

/// Who has agents keep watches.
#[async_trait]
pub trait Watches: std::fmt::Debug + Send + Sync {
    /// Begins a watch at a node's agent, or goes on with it.
    ///
    /// # Errors
    /// Why it could not be looked at.
    async fn watch(&self, from: &NodeName, watch: &ReachWatch, within: Duration)
    -> Result<ReachView, String>;
}

#[async_trait]
impl Watches for Sessions {
    async fn watch(
        &self,
        from: &NodeName,
        watch: &ReachWatch,
        within: Duration,
    ) -> Result<ReachView, String> {
        match self.observe(from, &Probe::Reach { watch: watch.clone() }, within).await? {
            Observation::Reach(view) => Ok(view),
            _ => Err(format!("{from}'s agent answered another question")),
        }
    }
}

/// Which change of which run is measured: watches are named by it, so that a coordinator that was started anew goes on with those
/// that it had begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of {
    pub(super) run: RunId,
    pub(super) index: usize,
    /// On the fleet's clock.
    pub(super) from_ms: u64,
}

/// One observer at work.
#[derive(Debug)]
pub(super) struct Watching {
    from: NodeName,
    what: String,
    ends: Vec<End>,
    watches: Arc<dyn Watches>,
    /// One look at a time: they are noted in the order in which they were asked for.
    looks: tokio::sync::Mutex<()>,
    /// When the change was handed out, as near as it is known.
    began: Instant,
    /// How much earlier than `began` that was, for one that is gone on with.
    earlier_ms: u64,
}

#[derive(Debug)]
struct End {
    name: String,
    watch: ReachWatch,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    followed: Followed,
    /// Why the last look failed.
    failed: Option<String>,
}

impl End {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    /// Nobody has been asked yet.
    ///
    /// # Errors
    /// When the observer names no node.
    pub(super) fn new(
        wanted: &Reach,
        of: Of,
        number: usize,
        since: (Instant, u64),
        watches: Arc<dyn Watches>,
    ) -> Result<Self, String> {
        let from = wanted.from()?;
        let end = |(i, target): (usize, &drydock_types::reach::ReachTarget)| End {
            name: told(target),
            watch: ReachWatch {
                id: format!("run/{}/{}/{}/{number}/{i}", of.run, of.index, of.from_ms),
                target: target.clone(),
                every: wanted.every,
                answer_within: ANSWERS_WITHIN,
                keep: KEEPS,
            },
            state: Mutex::default(),
        };
        let ends: Vec<End> = wanted.to.iter().enumerate().map(end).collect();
        let what = match ends.as_slice() {
            [one] => format!("{} from {from}", one.name),
            several => format!("{} addresses from {from}", several.len()),
        };
        let (began, earlier_ms) = since;
        Ok(Self { from, what, ends, watches, looks: tokio::sync::Mutex::default(), began, earlier_ms })
    }

    fn since_began(&self) -> u64 {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_add(self.earlier_ms)
    }

    /// Looks again and again, until whoever awaits this is gone.
    pub(super) async fn goes_on(&self) {
        loop {
            self.look(KEEPS).await;
            sleep(LOOKS_EVERY).await;
        }
    }

    /// What is seen by now, by a look of just now wherever there can be one.
    pub(super) async fn seen_now(&self) {
        let until = Instant::now() + LAST_LOOK;
        while !self.look(KEEPS).await && Instant::now() < until {
            sleep(TRIES_AGAIN).await;
        }
    }

    /// Nobody wants to know any more.
    pub(super) async fn ends(&self) {
        self.look(Millis(0)).await;
    }

    /// Looks at each once; whether all could be.
    async fn look(&self, keep: Millis) -> bool {
        let _one_at_a_time = self.looks.lock().await;
        let mut all = true;
        for end in &self.ends {
            let watch = ReachWatch { keep, ..end.watch.clone() };
            let asked = self.since_began();
            let said = self.watches.watch(&self.from, &watch, LOOKS_WITHIN).await;
            let heard = self.since_began();
            let mut state = end.state();
            state.failed = match said {
                // One that ended meanwhile, and was to be ended now, has nothing to say.
                Ok(view) if keep.0 == 0 && view == ReachView::default() => None,
                Ok(view) => {
                    state.followed.note(asked, heard, view);
                    None
                }
                Err(why) => {
                    all = false;
                    Some(why)
                }
            };
        }
        all
    }

    /// What is known of it.
    pub(super) fn observed(&self, observer: &str) -> Observed {
        let now = self.since_began();
        let mut parts = Vec::new();
        let (mut whole, mut interrupted) = (Gap::default(), None);
        let mut unknown = None;
        for end in &self.ends {
            let state = end.state();
            let Some((gap, broken)) = state.followed.seen(now) else {
                let why = state.failed.as_deref().unwrap_or("nobody had been asked yet");
                unknown.get_or_insert_with(|| format!("{}: {why}", end.name));
                continue;
            };
            parts.push(Part { name: end.name.clone(), gap });
            whole = Gap {
                longest_ms: whole.longest_ms.max(gap.longest_ms),
                asked: whole.asked.saturating_add(gap.asked),
                answered: whole.answered.saturating_add(gap.answered),
            };
            interrupted = worse(interrupted, broken);
        }
        // A watch that has not had one answer or the lack of one yet knows nothing.
        let nobody = || unknown.or_else(|| (whole.asked == 0).then(|| "no question was over yet".to_owned()));
        Observed {
            observer: observer.to_owned(),
            what: self.what.clone(),
            whole: nobody().map_or(Ok(whole), Err),
            each: true,
            interrupted,
            lost: false,
            parts,
        }
    }
}

/// The worse of two.
fn worse(one: Option<Interruption>, other: Option<Interruption>) -> Option<Interruption> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Interruption {
            unseen_ms: one.unseen_ms.max(other.unseen_ms),
            times: one.times.max(other.times),
        }),
        (one, other) => one.or(other),
    }
}
