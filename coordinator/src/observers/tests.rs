//! In time that stands still: who answers when, and who asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use drydock_core::observe::{ControlPlane, Reach};
use drydock_types::{
    Millis, RunId,
    reach::{ReachTarget, ReachView, ReachWatch},
};

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
        Ok(Asked { what: "the API of prod".to_owned(), parts: self.0.iter().enumerate().map(part).collect() })
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
        run_id: RunId([7; 16]),
        from_ms: 5_000,
        going_on_for_ms: None,
        observers: wanted(),
        at_most: Millis::secs(600),
    }
}

fn servers(up: &[bool]) -> (Vec<Arc<Server>>, Observers) {
    let servers: Vec<Arc<Server>> = up.iter().map(|_| Arc::default()).collect();
    servers.iter().zip(up).for_each(|(server, up)| server.is(*up));
    let observers = Observers::new(Arc::new(Cluster(servers.clone())), Arc::<Agents>::default());
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
    let seen = observers.seen(1, 0, &wanted()).await;
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
    let (whole, _) = longest(&observers.seen(1, 0, &wanted()).await);
    assert!((3800..=4100).contains(&whole), "{whole}");
    pass(1000).await;
    assert!(longest(&observers.seen(1, 0, &wanted()).await).0 > whole, "it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_changed_anew_is_measured_anew_and_nobody_is_asked_for_the_old_one() {
    let (servers, observers) = servers(&[false]);
    observers.begin(request());
    pass(5000).await;
    servers[0].is(true);
    observers.begin(request());
    pass(1000).await;
    assert_eq!(longest(&observers.seen(1, 0, &wanted()).await).0, 0);
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
    let why =
        async |observers: &Observers| observers.seen(1, 0, &wanted()).await[0].whole.clone().unwrap_err();
    assert!(why(&observers).await.contains("started anew"), "{}", why(&observers).await);
    observers.begin(request());
    pass(100).await;
    assert_eq!(why(&observers).await, "n1 is bound to no cluster");
}

/// Agents that keep watches as a real one does, in time that stands still: one question each 100 ms.
#[derive(Debug, Default)]
struct Agents {
    kept: Mutex<BTreeMap<String, (Instant, ReachWatch)>>,
    /// Nobody answers from then to then.
    away: Mutex<Option<(Instant, Option<Instant>)>>,
    /// Its stream is not open.
    silent: AtomicBool,
    refuses: AtomicBool,
}

impl Agents {
    /// As a process that is started anew.
    fn restart(&self) {
        self.kept.lock().unwrap().clear();
    }

    fn goes_away(&self) {
        *self.away.lock().unwrap() = Some((Instant::now(), None));
    }

    fn comes_back(&self) {
        let mut away = self.away.lock().unwrap();
        away.as_mut().unwrap().1 = Some(Instant::now());
    }
}

#[async_trait]
impl Watches for Agents {
    async fn watch(&self, from: &NodeName, watch: &ReachWatch, _: Duration) -> Result<ReachView, String> {
        assert_eq!(from.as_str(), "net-1");
        if self.silent.load(Ordering::SeqCst) {
            return Err("the stream of net-1's agent is not open".to_owned());
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err("10.0.0.7 is not among what this node's policy lets be watched from here".to_owned());
        }
        let mut kept = self.kept.lock().unwrap();
        if watch.keep.0 == 0 && !kept.contains_key(&watch.id) {
            return Ok(ReachView::default());
        }
        let now = Instant::now();
        let began = kept.entry(watch.id.clone()).or_insert_with(|| (now, watch.clone())).0;
        if watch.keep.0 == 0 {
            kept.remove(&watch.id);
        }
        let ms = |from: Instant, to: Instant| u64::try_from((to - from).as_millis()).unwrap();
        let for_ms = ms(began, now);
        let longest_ms = self.away.lock().unwrap().map_or(0, |(gone, back)| {
            let (gone, back) = (gone.max(began), back.unwrap_or(now));
            if back > gone { ms(gone, back) } else { 0 }
        });
        let asked = for_ms / 100;
        Ok(ReachView { for_ms, asked, answered: asked - (longest_ms / 100).min(asked), longest_ms })
    }
}

fn reach() -> Vec<Observer> {
    let to = vec![ReachTarget::Ping { address: "10.0.0.7".to_owned() }];
    let one = |max_gap| {
        Observer::Reach(Reach { from: "net-1".to_owned(), to: to.clone(), every: Millis(100), max_gap })
    };
    vec![one(Millis::secs(2)), one(Millis::secs(9))]
}

fn watched() -> (Arc<Agents>, Observers) {
    let agents = Arc::<Agents>::default();
    let observers = Observers::new(Arc::new(Cluster(Vec::new())), Arc::clone(&agents) as _);
    (agents, observers)
}

fn reached() -> ObserveRequest {
    ObserveRequest { observers: reach(), ..request() }
}

#[tokio::test(start_paused = true)]
async fn another_nodes_agent_watches_and_is_let_go_when_nobody_asks_any_more() {
    let (agents, observers) = watched();
    observers.begin(reached());
    pass(1_500).await;
    assert_eq!(agents.kept.lock().unwrap().len(), 2, "two of one kind are two");
    agents.goes_away();
    pass(700).await;
    agents.comes_back();
    pass(2_000).await;
    let seen = observers.seen(1, 0, &reach()).await;
    assert_eq!(seen.len(), 2);
    let gap = seen[0].whole.as_ref().unwrap();
    assert_eq!((gap.longest_ms, seen[0].interrupted, seen[0].lost), (700, None, false));
    assert_eq!(
        seen[0].line(),
        format!(
            "10.0.0.7 (ping) from net-1: no answer for 700ms, {} of {} questions answered",
            gap.answered, gap.asked
        )
    );
    pass(61_000).await;
    assert!(agents.kept.lock().unwrap().is_empty(), "they end with the last one who wanted to know");
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_lasts_is_seen_by_the_look_that_is_taken_at_the_end() {
    let (agents, observers) = watched();
    observers.begin(reached());
    pass(1_100).await;
    agents.goes_away();
    pass(850).await;
    let seen = observers.seen(1, 0, &reach()).await;
    assert!(seen[0].whole.as_ref().unwrap().longest_ms >= 850, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_started_anew_is_an_interruption_and_never_no_gap() {
    let (agents, observers) = watched();
    observers.begin(reached());
    pass(10_500).await;
    agents.silent.store(true, Ordering::SeqCst);
    pass(4_000).await;
    agents.restart();
    agents.silent.store(false, Ordering::SeqCst);
    pass(5_000).await;
    let seen = observers.seen(1, 0, &reach()).await;
    let unseen = seen[0].interrupted.unwrap();
    assert!((4_000..=6_000).contains(&unseen.unseen_ms) && unseen.times == 1, "{seen:?}");
    assert!(seen[0].line().contains("measured with an interruption of"), "{}", seen[0].line());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_away_is_none() {
    let (agents, observers) = watched();
    observers.begin(reached());
    pass(2_500).await;
    agents.silent.store(true, Ordering::SeqCst);
    agents.goes_away();
    pass(6_000).await;
    agents.comes_back();
    agents.silent.store(false, Ordering::SeqCst);
    pass(2_000).await;
    let seen = observers.seen(1, 0, &reach()).await;
    assert_eq!((seen[0].whole.as_ref().unwrap().longest_ms, seen[0].interrupted), (6_000, None));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_ask_says_so_and_that_is_no_figure() {
    let (agents, observers) = watched();
    agents.refuses.store(true, Ordering::SeqCst);
    observers.begin(reached());
    pass(3_000).await;
    let seen = observers.seen(1, 0, &reach()).await;
    let why = seen[0].whole.as_ref().unwrap_err();
    assert!(why.contains("not among what this node's policy lets be watched"), "{why}");
    assert!(!seen[0].lost);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_was_started_anew_goes_on_with_what_the_agent_still_keeps() {
    let (agents, before) = watched();
    before.begin(reached());
    pass(3_000).await;
    agents.goes_away();
    pass(1_000).await;
    agents.comes_back();
    pass(8_000).await;
    // Its task ends with its runtime; here it is told that its time is over, as little later as that.
    before.under_way().clear();
    let after = Observers::new(Arc::new(Cluster(Vec::new())), Arc::clone(&agents) as _);
    after.begin(ObserveRequest { going_on_for_ms: Some(12_000), ..reached() });
    pass(2_000).await;
    let seen = after.seen(1, 0, &reach()).await;
    assert_eq!((seen[0].whole.as_ref().unwrap().longest_ms, seen[0].interrupted), (1_000, None), "{seen:?}");
    // Where the agent has let it go meanwhile, nobody knows what was.
    agents.restart();
    after.begin(ObserveRequest { going_on_for_ms: Some(200_000), ..reached() });
    pass(2_000).await;
    let seen = after.seen(1, 0, &reach()).await;
    assert!(seen[0].interrupted.unwrap().unseen_ms >= 200_000, "{seen:?}");
    // The control plane's figure lived with the coordinator.
    after.begin(ObserveRequest { going_on_for_ms: Some(1), ..request() });
    pass(500).await;
    assert!(after.seen(1, 0, &wanted()).await[0].lost);
}
