//! What is measured from outside while a node is changed.
//!
//! The driver says when it begins ([`crate::driver::Output::Observe`], as the section goes out) and asks for it with the
//! looks that see whether the node is back. In between every endpoint is asked again and again, each by a task of its own, so
//! that one that hangs hides nothing of the others. It lives in memory: a coordinator that is started anew has no figure, and
//! says so.
//!
//! | module | what lives there |
//! |---|---|
//! | `tally` | when somebody answered, and for how long nobody did |
//! | `control_plane` | the API of a Kubernetes cluster |

mod control_plane;
mod tally;

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

use self::tally::Tally;
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
}

impl Watched {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_began(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn observed(&self) -> Observed {
        let now = self.since_began(Instant::now());
        let (what, whole, parts) = match &*self.state() {
            State::Begins => (self.name.to_owned(), Err("nobody had been asked yet".to_owned()), Vec::new()),
            State::Nobody(why) => (self.name.to_owned(), Err(why.clone()), Vec::new()),
            State::Asking { what, names, tallies } => {
                let whole = tally::together(tallies, now).ok_or_else(|| "nobody had answered yet".to_owned());
                let part =
                    |(name, tally): (&String, &Tally)| Part { name: name.clone(), gap: tally.gap(now) };
                (what.clone(), whole, names.iter().zip(tallies).map(part).collect())
            }
        };
        Observed { observer: self.name.to_owned(), what, whole, lost: false, parts }
    }
}

impl Observers {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(places: Arc<dyn Places>) -> Self {
        Self { places, under_way: Arc::default() }
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
                    .map(|(watched, of)| observers.watch(watched, of, &request)),
            );
            tokio::select! {
                _ = all => {}
                () = is_over(it.until.subscribe()) => {}
            }
            let mut under_way = observers.under_way();
            if under_way.get(&at).is_some_and(|now| Arc::ptr_eq(now, &it)) {
                under_way.remove(&at);
            }
        });
    }

    /// What has been seen up to now of what a recipe wants measured.
    #[must_use]
    pub fn seen(&self, run: u64, index: usize, wanted: &[Observer]) -> Vec<Observed> {
        let it = self.under_way().get(&(run, index)).cloned();
        if let Some(it) = &it {
            // Nobody says that a node is back for good. Whoever does not ask any more has seen enough.
            it.until.send_modify(|until| *until = (Instant::now() + LINGERS).min(it.at_most));
        }
        let one = |of: &Observer| {
            let watched =
                it.as_ref().and_then(|it| it.observers.iter().find(|watched| watched.name == of.name()));
            watched.map_or_else(
                || Observed {
                    observer: of.name().to_owned(),
                    what: of.name().to_owned(),
                    whole: Err(
                        "the coordinator was started anew meanwhile, or it took longer than anybody asks"
                            .to_owned(),
                    ),
                    lost: true,
                    parts: Vec::new(),
                },
                Watched::observed,
            )
        };
        wanted.iter().map(one).collect()
    }

    async fn watch(&self, watched: &Watched, of: &Observer, request: &ObserveRequest) {
        if let Observer::Reach(_) = of {
            *watched.state() = State::Nobody("this build cannot measure that".to_owned());
            return;
        }
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
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use drydock_core::observe::ControlPlane;
    use drydock_types::Millis;

    use super::*;

    /// Answers while it is up, and hangs while it is not.
    #[derive(Debug, Default)]
    struct Server {
        up: AtomicBool,
        asked: AtomicU64,
    }

    impl Server {
        fn is(&self, up: bool) {
            self.up.store(up, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Askable for Server {
        async fn answers(&self, _: Duration) -> bool {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if !self.up.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            true
        }
    }

    #[derive(Debug)]
    struct Cluster(Vec<Arc<Server>>);

    #[async_trait]
    impl Places for Cluster {
        async fn control_plane(self: Arc<Self>, _: NodeKey, name: NodeName) -> Result<Asked, String> {
            if self.0.is_empty() {
                return Err(format!("{name} is bound to no cluster"));
            }
            let part = |(i, server): (usize, &Arc<Server>)| (format!("https://{i}"), Arc::clone(server) as _);
            Ok(Asked {
                what: "the API of prod".to_owned(),
                parts: self.0.iter().enumerate().map(part).collect(),
            })
        }
    }

    fn wanted() -> Vec<Observer> {
        vec![Observer::ControlPlane(ControlPlane { max_gap: Millis::secs(10) })]
    }

    fn request() -> ObserveRequest {
        ObserveRequest {
            run: 1,
            index: 0,
            node: NodeName::parse("n1").unwrap(),
            key: drydock_types::Sha256([1; 32]),
            observers: wanted(),
            at_most: Millis::secs(600),
        }
    }

    fn servers(up: &[bool]) -> (Vec<Arc<Server>>, Observers) {
        let servers: Vec<Arc<Server>> = up.iter().map(|_| Arc::default()).collect();
        servers.iter().zip(up).for_each(|(server, up)| server.is(*up));
        let observers = Observers::new(Arc::new(Cluster(servers.clone())));
        (servers, observers)
    }

    async fn pass(ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn longest(seen: &[Observed]) -> (u64, Vec<u64>) {
        let whole = seen[0].whole.as_ref().unwrap();
        (whole.longest_ms, seen[0].parts.iter().map(|part| part.gap.longest_ms).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_away_and_another_one_answers_at_every_moment() {
        let (servers, observers) = servers(&[true, true]);
        observers.begin(request());
        pass(1000).await;
        servers[0].is(false);
        pass(3000).await;
        servers[0].is(true);
        pass(2000).await;
        let seen = observers.seen(1, 0, &wanted());
        let (whole, parts) = longest(&seen);
        assert_eq!((whole, parts[1]), (0, 0), "{seen:?}");
        assert!((2900..=4200).contains(&parts[0]), "{seen:?}");
        assert!(
            seen[0].line().starts_with("the API of prod: somebody answered at every moment"),
            "{}",
            seen[0].line()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_answers_the_gap_is_that_of_all_and_goes_on_until_somebody_does() {
        let (servers, observers) = servers(&[false, true]);
        observers.begin(request());
        pass(1050).await;
        servers[1].is(false);
        pass(4000).await;
        let (whole, _) = longest(&observers.seen(1, 0, &wanted()));
        assert!((3800..=4100).contains(&whole), "{whole}");
        pass(1000).await;
        assert!(longest(&observers.seen(1, 0, &wanted())).0 > whole, "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_changed_anew_is_measured_anew_and_nobody_is_asked_for_the_old_one() {
        let (servers, observers) = servers(&[false]);
        observers.begin(request());
        pass(5000).await;
        servers[0].is(true);
        observers.begin(request());
        pass(1000).await;
        assert_eq!(longest(&observers.seen(1, 0, &wanted())).0, 0);
        let before = servers[0].asked.load(Ordering::SeqCst);
        pass(1000).await;
        let asked = servers[0].asked.load(Ordering::SeqCst) - before;
        assert!((9..=11).contains(&asked), "{asked}: by one task and not by two");
        // A minute after the last one who wanted to know nobody is.
        pass(58_000).await;
        let before = servers[0].asked.load(Ordering::SeqCst);
        pass(1000).await;
        assert!(servers[0].asked.load(Ordering::SeqCst) > before);
        pass(2000).await;
        let before = servers[0].asked.load(Ordering::SeqCst);
        pass(5000).await;
        assert_eq!(servers[0].asked.load(Ordering::SeqCst), before);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_measured_says_why() {
        let (_, observers) = servers(&[]);
        let why = |observers: &Observers| observers.seen(1, 0, &wanted())[0].whole.clone().unwrap_err();
        assert!(why(&observers).contains("started anew"), "{}", why(&observers));
        observers.begin(request());
        pass(100).await;
        assert_eq!(why(&observers), "n1 is bound to no cluster");
    }
}
