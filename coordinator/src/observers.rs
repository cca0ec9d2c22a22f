//! What is measured from outside while a node is changed.
//!
//! The driver says when it begins ([`crate::driver::Output::Observe`], as the section goes out) and asks for it with the
//! looks that see whether the node is back. In between every endpoint is asked again and again, each by a task of its own, so
//! that one that hangs hides nothing of the others. What the coordinator asks itself lives in its memory: one that is started
//! anew has no figure, and says so. What an agent asks goes on there, and is gone on with.
//!
//! Several observers of one node are told apart by their place in the recipe.
//!
//! | module | what lives there |
//! |---|---|
//! | `tally` | when somebody answered, and for how long nobody did |
//! | `control_plane` | the API of a Kubernetes cluster |
//! | `reach` | guests and nodes, as another node's agent reaches them |
//! | `followed` | what such an agent's watch has said, from look to look |
//! | `trial` | whether it would, before anything begins |

mod control_plane;
mod followed;
pub(crate) mod reach;
mod tally;
pub(crate) mod trial;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use drydock_core::observe::{Observed, Observer, Part};
use drydock_types::{NodeKey, NodeName};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use self::{
    reach::{Of, Watches, Watching},
    tally::Tally,
};
use crate::driver::ObserveRequest;

/// How often each endpoint is asked.
const EVERY: Duration = Duration::from_millis(100);
/// A question without an answer after so long has none.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Who is to be asked is looked up again after so long, where it could not be.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);
/// Once somebody has asked what was seen, it goes on for so long.
const LINGERS: Duration = Duration::from_secs(60);

/// One endpoint.
#[async_trait]
pub trait Askable: fmt::Debug + Send + Sync {
    /// Does it answer well?
    async fn answers(&self, within: Duration) -> bool;
}

/// Who is asked.
#[derive(Debug)]
pub struct Asked {
    /// What it is, for people: `the API of prod`.
    pub what: String,
    /// Each endpoint, by its name.
    pub parts: Vec<(String, Arc<dyn Askable>)>,
}

/// Who knows whom to ask.
#[async_trait]
pub trait Places: fmt::Debug + Send + Sync {
    /// The endpoints of the cluster that a node belongs to.
    ///
    /// # Errors
    /// When it is not known which that is; with what to do about it.
    async fn control_plane(self: Arc<Self>, key: NodeKey, name: NodeName) -> Result<Asked, String>;
}

/// By run, and index of the node in it.
type ByNode = BTreeMap<(u64, usize), Arc<UnderWay>>;

/// What is being measured.
#[derive(Debug, Clone)]
pub struct Observers {
    places: Arc<dyn Places>,
    watches: Arc<dyn Watches>,
    /// By run and node of the run; a node that is changed anew is measured anew.
    under_way: Arc<Mutex<ByNode>>,
}

#[derive(Debug)]
struct UnderWay {
    observers: Vec<Watched>,
    /// When it ends, unless it is asked for again.
    until: watch::Sender<Instant>,
    /// When it ends at the latest.
    at_most: Instant,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Whom to ask is being found out.
    Begins,
    /// Nobody could be asked.
    Nobody(String),
    /// Being asked.
    Asking { what: String, names: Vec<String>, tallies: Vec<Tally> },
    /// By an agent.
    Watching(Arc<Watching>),
    /// It was asked by a coordinator before this one.
    Lost,
}

/// What is said where there is nothing any more.
const LOST: &str = "the coordinator was started anew meanwhile, or it took longer than anybody asks";

impl Watched {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_began(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn observed(&self) -> Observed {
        let now = self.since_began(Instant::now());
        let state = self.state();
        let mut lost = false;
        let (what, whole, parts) = match &*state {
            State::Watching(watching) => return watching.observed(self.name),
            State::Lost => {
                lost = true;
                (self.name.to_owned(), Err(LOST.to_owned()), Vec::new())
            }
            State::Begins => (self.name.to_owned(), Err("nobody had been asked yet".to_owned()), Vec::new()),
            State::Nobody(why) => (self.name.to_owned(), Err(why.clone()), Vec::new()),
            State::Asking { what, names, tallies } => {
                let whole = tally::together(tallies, now).ok_or_else(|| "nobody had answered yet".to_owned());
                let part =
                    |(name, tally): (&String, &Tally)| Part { name: name.clone(), gap: tally.gap(now) };
                (what.clone(), whole, names.iter().zip(tallies).map(part).collect())
            }
        };
        drop(state);
        let observer = self.name.to_owned();
        Observed { observer, what, whole, each: false, interrupted: None, lost, parts }
    }

    fn watching(&self) -> Option<Arc<Watching>> {
        match &*self.state() {
            State::Watching(watching) => Some(Arc::clone(watching)),
            _ => None,
        }
    }
}

impl Observers {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(places: Arc<dyn Places>, watches: Arc<dyn Watches>) -> Self {
        Self { places, watches, under_way: Arc::default() }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, ByNode> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins. Returns at once; must be called within a runtime.
    pub fn begin(&self, request: ObserveRequest) {
        let began = Instant::now();
        let at_most = began + Duration::from_millis(request.at_most.0);
        let watched = |of: &Observer| Watched { name: of.name(), began, state: Mutex::new(State::Begins) };
        let it = Arc::new(UnderWay {
            observers: request.observers.iter().map(watched).collect(),
            until: watch::Sender::new(at_most),
            at_most,
        });
        let at = (request.run, request.index);
        if let Some(before) = self.under_way().insert(at, Arc::clone(&it)) {
            before.until.send_replace(began);
        }
        let observers = self.clone();
        tokio::spawn(async move {
            let all = futures_util::future::join_all(
                it.observers
                    .iter()
                    .zip(&request.observers)
                    .enumerate()
                    .map(|(number, (watched, of))| observers.watch(number, watched, of, &request)),
            );
            tokio::select! {
                _ = all => {}
                () = is_over(it.until.subscribe()) => {}
            }
            futures_util::future::join_all(it.observers.iter().map(async |watched| {
                if let Some(watching) = watched.watching() {
                    watching.ends().await;
                }
            }))
            .await;
            let mut under_way = observers.under_way();
            if under_way.get(&at).is_some_and(|now| Arc::ptr_eq(now, &it)) {
                under_way.remove(&at);
            }
        });
    }

    /// What has been seen up to now of what a recipe wants measured, in its order.
    pub async fn seen(&self, run: u64, index: usize, wanted: &[Observer]) -> Vec<Observed> {
        let it = self.under_way().get(&(run, index)).cloned();
        if let Some(it) = &it {
            // Nobody says that a node is back for good. Whoever does not ask any more has seen enough.
            it.until.send_modify(|until| *until = (Instant::now() + LINGERS).min(it.at_most));
            let watching: Vec<_> = it.observers.iter().filter_map(Watched::watching).collect();
            futures_util::future::join_all(watching.iter().map(|watching| watching.seen_now())).await;
        }
        let one = |(place, of): (usize, &Observer)| {
            let watched = it.as_ref().and_then(|it| it.observers.get(place));
            watched.filter(|watched| watched.name == of.name()).map_or_else(
                || Observed {
                    observer: of.name().to_owned(),
                    what: of.name().to_owned(),
                    whole: Err(LOST.to_owned()),
                    each: false,
                    interrupted: None,
                    lost: true,
                    parts: Vec::new(),
                },
                Watched::observed,
            )
        };
        wanted.iter().enumerate().map(one).collect()
    }

    async fn watch(&self, number: usize, watched: &Watched, of: &Observer, request: &ObserveRequest) {
        match of {
            Observer::Reach(wanted) => {
                let of = Of { run: request.run_id, index: request.index, from_ms: request.from_ms };
                let since = (watched.began, request.going_on_for_ms.unwrap_or_default());
                match Watching::new(wanted, of, number, since, Arc::clone(&self.watches)) {
                    Err(why) => *watched.state() = State::Nobody(why),
                    Ok(watching) => {
                        let watching = Arc::new(watching);
                        *watched.state() = State::Watching(Arc::clone(&watching));
                        watching.goes_on().await;
                    }
                }
            }
            Observer::ControlPlane(_) if request.going_on_for_ms.is_some() => *watched.state() = State::Lost,
            Observer::ControlPlane(_) => self.ask_control_plane(watched, request).await,
        }
    }

    async fn ask_control_plane(&self, watched: &Watched, request: &ObserveRequest) {
        // Whoever cannot be found now may be a moment later: a store that is busy.
        let Asked { what, parts } = loop {
            let places = Arc::clone(&self.places);
            let why = match places.control_plane(request.key, request.node.clone()).await {
                Ok(asked) if asked.parts.is_empty() => format!("{} has no endpoint", asked.what),
                Ok(asked) => break asked,
                Err(why) => why,
            };
            *watched.state() = State::Nobody(why);
            tokio::time::sleep(LOOKS_AGAIN).await;
        };
        let (names, ends): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let tallies = names.iter().map(|_| Tally::default()).collect();
        *watched.state() = State::Asking { what, names, tallies };
        let asking =
            ends.into_iter().enumerate().map(|(index, end)| ask_again_and_again(watched, index, end));
        futures_util::future::join_all(asking).await;
    }
}

async fn is_over(mut until: watch::Receiver<Instant>) {
    loop {
        let ends = *until.borrow_and_update();
        tokio::select! {
            () = sleep_until(ends) => return,
            changed = until.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks one endpoint until whoever awaits this is gone.
async fn ask_again_and_again(watched: &Watched, index: usize, end: Arc<dyn Askable>) {
    let mut next = interval(EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let asked = watched.since_began(Instant::now());
        let well = timeout(ANSWERS_WITHIN, end.answers(ANSWERS_WITHIN)).await.unwrap_or(false);
        if let State::Asking { tallies, .. } = &mut *watched.state() {
            tallies[index].note(asked, well);
        }
    }
}

#[cfg(test)]
mod tests;
