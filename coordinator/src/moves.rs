//! Moves carried out: what the coordinator itself does to the outside, so that a node can leave service and come back.
//!
//! The driver orders ([`crate::driver::Output::Move`]); [`Movers`] has each order carried out by a task of its own, in the
//! order of the recipe (and given back in reverse), and tells the driver what it waits for and how it ended. What
//! carries a kind of move out is a [`Carrier`]. Every order is safe to be carried out twice: what is found done is not
//! done again, and what is not ours is not touched.

mod fresh;
pub mod kubernetes_drain;
pub mod left;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use drydock_core::{
    moves::{self, Doing, Move, MoveEnd},
    run::CheckResult,
};
use drydock_types::{EffectId, Verdict};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{kubernetes_drain::Bindings, left::LeftPod};
use crate::{
    driver::{Input, LookRequest, MoveRequest},
    heard,
};

/// How long a rehearsal's look at moves may take: it asks about each eviction beforehand, and no reducer waits for it.
const REHEARSED_WITHIN: Duration = Duration::from_secs(120);
/// A reason is cut to so many bytes: it stands in the run's state, and quotes what others wrote.
const LONGEST_REASON: usize = 2000;

/// Takes what a move waits for: for what, and the blocker by its name.
pub type Told<'a> = &'a (dyn Fn(&str, &str) + Send + Sync);

/// Why a move ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMoved {
    /// It cannot be done as the plan has it: a person has to decide.
    Refused(String),
    /// It was stopped, or not carried on.
    Lapsed(String),
}

/// One move that is to be carried out.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// The order that it belongs to.
    pub order: &'a MoveRequest,
    /// Which of its moves.
    pub of: &'a Move,
    /// To be told what is waited for.
    pub told: Told<'a>,
    /// Says that it is no longer wanted: nothing further may be begun outside.
    pub stopped: &'a CancellationToken,
}

/// What a look says of one move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Can it be done, or is it done still?
    pub verdict: Verdict,
    /// This coordinator itself would have to leave with the node: what that is, and what to do about it.
    pub hosts_coordinator: Option<String>,
}

impl From<Verdict> for Sight {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, hosts_coordinator: None }
    }
}

/// Carries out moves of one kind or several.
#[async_trait]
pub trait Carrier: std::fmt::Debug + Send + Sync {
    /// Read-only. Of a node in service: could it leave by this move? Of one that has left ([`LookRequest::drained`]):
    /// has it left still? `Waiting` says then what is there again.
    async fn look(&self, asked: &LookRequest, of: &Move) -> Verdict;

    /// The same, with what else the look tells.
    async fn see(&self, asked: &LookRequest, of: &Move) -> Sight {
        self.look(asked, of).await.into()
    }

    /// Read-only. Who is still there that has to leave by this move, and could be forced to.
    ///
    /// # Errors
    /// When it could not be seen, with what to do.
    async fn left(&self, asked: &LookRequest, of: &Move) -> Result<Vec<LeftPod>, String> {
        let _ = (asked, of);
        Ok(Vec::new())
    }

    /// Who knows which Node of which cluster a node is, where this speaks to any: checks of clusters ask through it too.
    fn bindings(&self) -> Option<Arc<dyn Bindings>> {
        None
    }

    /// The node leaves service by this move; what was seen of it, in one line.
    ///
    /// # Errors
    /// When it is refused, or was stopped.
    async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved>;

    /// Takes back what this move has marked, and only that; what was seen of it, in one line.
    ///
    /// # Errors
    /// When it is refused, or was stopped.
    async fn give_back(&self, errand: Errand<'_>) -> Result<String, NotMoved>;
}

/// What each move of a look says, by its name; `until` is when the look must have been answered.
pub async fn looks(carrier: &dyn Carrier, request: &LookRequest, until: Instant) -> Vec<CheckResult> {
    let until = if request.rehearses { Instant::now() + REHEARSED_WITHIN } else { until };
    let mut results = Vec::new();
    for of in &request.moves {
        let seen = timeout_at(until, carrier.see(request, of)).await.unwrap_or_else(|_| {
            Verdict::Unknown("it was not seen within the time that a look has".to_owned()).into()
        });
        results.push(CheckResult { check: of.name().to_string(), verdict: heard::verdict(seen.verdict) });
        if let Some(why) = seen.hosts_coordinator {
            let verdict = heard::verdict(Verdict::Refused(why));
            results.push(CheckResult { check: moves::OWN_POD.to_string(), verdict });
        }
    }
    results
}

/// What is under way.
#[derive(Debug, Clone)]
pub struct Movers {
    carrier: Arc<dyn Carrier>,
    at_work: Arc<Mutex<AtWork>>,
}

#[derive(Debug, Default)]
struct AtWork {
    /// By order.
    stops: BTreeMap<EffectId, CancellationToken>,
    /// The last order of each node of a run: the next one begins when that has ended, for what it had begun to write may
    /// land until then.
    last: BTreeMap<(u64, usize), JoinHandle<()>>,
}

impl Movers {
    /// Nothing is under way.
    #[must_use]
    pub fn new(carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier, at_work: Arc::default() }
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, AtWork> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is under way by this id, at once: nothing further is begun by it.
    pub fn stop(&self, effect: EffectId) {
        if let Some(stop) = self.at_work().stops.remove(&effect) {
            stop.cancel();
        }
    }

    /// Takes note of an order, so that it can be stopped from now on. Told where orders are given, before it is begun.
    pub fn expect(&self, request: &MoveRequest) {
        match request.order.doing {
            Some(_) => drop(self.at_work().stops.insert(request.order.effect, CancellationToken::new())),
            None => self.stop(request.order.effect),
        }
    }

    /// Carries out an order that is expected and was not stopped since. `tell` hands an input to the driver, and waits
    /// for room where there is none.
    pub fn perform<F>(&self, request: MoveRequest, tell: impl Fn(Input) -> F + Clone + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (effect, place) = (request.order.effect, (request.run, request.order.node));
        let Some(doing) = request.order.doing else { return };
        let movers = self.clone();
        let mut at_work = self.at_work();
        let Some(stopped) = at_work.stops.get(&effect).cloned() else { return };
        let before = at_work.last.remove(&place);
        at_work.last.retain(|_, task| !task.is_finished());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            if stopped.is_cancelled() {
                // It was stopped while it waited for its turn.
                return;
            }
            let end = movers.carry(&request, doing, &stopped, tell.clone()).await;
            // Whoever was stopped is not waited for: what it says then is of an order that nobody remembers.
            if movers.at_work().stops.remove(&effect).is_some() {
                tell(Input::Moved { run: request.run, effect, end }).await;
            }
        });
        at_work.last.insert(place, task);
    }

    async fn carry<F>(
        &self,
        request: &MoveRequest,
        doing: Doing,
        stopped: &CancellationToken,
        tell: impl Fn(Input) -> F + Clone + Send + Sync + 'static,
    ) -> MoveEnd
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (run, effect) = (request.run, request.order.effect);
        // Told in turn, the latest last: what is waited for is a state and not a stream.
        let (latest, mut heard_of) = watch::channel(None::<(String, String)>);
        let teller = tokio::spawn(async move {
            while heard_of.changed().await.is_ok() {
                let waits = heard_of.borrow_and_update().clone();
                if let Some((what, because)) = waits {
                    tell(Input::MoveWaits { run, effect, what, because }).await;
                }
            }
        });
        let told = |what: &str, because: &str| {
            let next = Some((cut(what), cut(because)));
            latest.send_if_modified(|now| std::mem::replace(now, next.clone()) != next);
        };
        let end = self.each(request, doing, &told, stopped).await;
        teller.abort();
        match (doing, end) {
            (Doing::Leave, Ok(seen)) => MoveEnd::Left { seen },
            (Doing::GiveBack, Ok(seen)) => MoveEnd::GivenBack { seen },
            (_, Err(NotMoved::Refused(why))) => MoveEnd::Refused { why: cut(&why) },
            (_, Err(NotMoved::Lapsed(why))) => MoveEnd::Lapsed { why: cut(&why) },
        }
    }

    async fn each(
        &self,
        request: &MoveRequest,
        doing: Doing,
        told: Told<'_>,
        stopped: &CancellationToken,
    ) -> Result<String, NotMoved> {
        let mut seen = Vec::new();
        let errand = |of| Errand { order: request, of, told, stopped };
        match doing {
            Doing::Leave => {
                for of in &request.order.moves {
                    seen.push(self.carrier.leave(errand(of)).await?);
                }
            }
            Doing::GiveBack => {
                for of in request.order.moves.iter().rev() {
                    seen.push(self.carrier.give_back(errand(of)).await?);
                }
            }
        }
        Ok(cut(&seen.join("; ")))
    }
}

/// As everything that somebody else wrote: without what a terminal would obey, and bounded.
fn cut(text: &str) -> String {
    let text = heard::text(text);
    let end = text.floor_char_boundary(LONGEST_REASON);
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use drydock_core::moves::{KubernetesDrain, MoveOrder};
    use drydock_types::{Epoch, Fence, FleetId, InstanceId, NodeName, RunId, Sha256};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// Waits for a word at each move, and ends as it was told.
    #[derive(Debug, Default)]
    struct Scripted {
        begun: Notify,
        goes_on: Notify,
        refuses: bool,
    }

    impl Scripted {
        async fn once(&self, errand: Errand<'_>, word: &str) -> Result<String, NotMoved> {
            (errand.told)("pods of shop/cart to leave", "PodDisruptionBudget shop/cart allows 0 disruptions");
            self.begun.notify_one();
            tokio::select! {
                () = self.goes_on.notified() => {}
                () = errand.stopped.cancelled() => return Err(NotMoved::Lapsed("stopped".into())),
            }
            if self.refuses { Err(NotMoved::Refused("a bare pod".into())) } else { Ok(word.into()) }
        }
    }

    #[async_trait]
    impl Carrier for Scripted {
        async fn look(&self, asked: &LookRequest, _: &Move) -> Verdict {
            Verdict::Waiting(asked.node.to_string())
        }

        async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
            self.once(errand, "left").await
        }

        async fn give_back(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
            self.once(errand, "back").await
        }
    }

    fn request(doing: Option<Doing>) -> MoveRequest {
        let moves = vec![Move::KubernetesDrain(KubernetesDrain::default())];
        MoveRequest {
            run: 7,
            run_id: RunId([7; 16]),
            fleet: FleetId([1; 16]),
            fence: Fence { epoch: Epoch(3), instance: InstanceId([1; 16]) },
            key: Sha256::of(b"n1"),
            order: MoveOrder {
                node: 0,
                name: NodeName::parse("n1").unwrap(),
                effect: EffectId([9; 32]),
                doing,
                again: false,
                mark_of: None,
                force: None,
                moves,
            },
        }
    }

    fn scene(
        refuses: bool,
    ) -> (Arc<Scripted>, Movers, mpsc::UnboundedReceiver<Input>, impl Fn(Option<Doing>)) {
        let script = Arc::new(Scripted { refuses, ..Scripted::default() });
        let movers = Movers::new(script.clone());
        let (inputs, told) = mpsc::unbounded_channel();
        let performer = movers.clone();
        let perform = move |doing| {
            let inputs = inputs.clone();
            performer.expect(&request(doing));
            performer.perform(request(doing), move |input| {
                let _ = inputs.send(input);
                async {}
            });
        };
        (script, movers, told, perform)
    }

    #[tokio::test]
    async fn an_order_is_carried_out_and_the_driver_hears_what_it_waits_for_and_how_it_ended() {
        for (doing, refuses) in [(Doing::Leave, false), (Doing::GiveBack, false), (Doing::Leave, true)] {
            let (script, movers, mut told, perform) = scene(refuses);
            perform(Some(doing));
            let waits = told.recv().await.unwrap();
            assert!(
                matches!(&waits, Input::MoveWaits { run: 7, because, .. } if because.contains("shop/cart")),
                "{waits:?}"
            );
            script.goes_on.notify_one();
            let end = match told.recv().await.unwrap() {
                Input::Moved { run: 7, end, .. } => end,
                other => panic!("{other:?}"),
            };
            let wanted = match (doing, refuses) {
                (Doing::Leave, true) => MoveEnd::Refused { why: "a bare pod".into() },
                (Doing::Leave, false) => MoveEnd::Left { seen: "left".into() },
                (Doing::GiveBack, _) => MoveEnd::GivenBack { seen: "back".into() },
            };
            assert_eq!(end, wanted);
            assert!(movers.at_work().stops.is_empty());
        }
    }

    #[tokio::test]
    async fn what_is_stopped_begins_nothing_more_and_says_nothing_more() {
        let (script, movers, mut told, perform) = scene(false);
        perform(Some(Doing::Leave));
        script.begun.notified().await;
        perform(None);
        assert!(movers.at_work().stops.is_empty());
        // Everything that could still be said is said by whoever holds a way to say it.
        drop((perform, movers, script));
        while let Some(input) = told.recv().await {
            assert!(matches!(input, Input::MoveWaits { .. }), "{input:?}");
        }
    }

    #[tokio::test]
    async fn the_next_order_of_a_node_begins_when_the_one_before_it_has_ended() {
        /// Does not heed that it is stopped before it has its word: a write that is under way.
        #[derive(Debug, Default)]
        struct Slow {
            begun: Notify,
            goes_on: Notify,
            said: Mutex<Vec<&'static str>>,
        }
        #[async_trait]
        impl Carrier for Slow {
            async fn look(&self, _: &LookRequest, _: &Move) -> Verdict {
                Verdict::Clear
            }
            async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
                self.begun.notify_one();
                errand.stopped.cancelled().await;
                self.goes_on.notified().await;
                self.said.lock().unwrap().push("the cordon landed");
                Err(NotMoved::Lapsed("stopped".into()))
            }
            async fn give_back(&self, _: Errand<'_>) -> Result<String, NotMoved> {
                self.said.lock().unwrap().push("looked whether it stands");
                Ok("back".into())
            }
        }
        let slow = Arc::new(Slow::default());
        let movers = Movers::new(slow.clone());
        let (inputs, mut told) = mpsc::unbounded_channel();
        let perform = |effect: u8, doing: Option<Doing>| {
            let mut request = request(doing);
            request.order.effect = EffectId([effect; 32]);
            let inputs = inputs.clone();
            movers.expect(&request);
            movers.perform(request, move |input| {
                let _ = inputs.send(input);
                async {}
            });
        };
        perform(1, Some(Doing::Leave));
        slow.begun.notified().await;
        perform(1, None);
        perform(2, Some(Doing::GiveBack));
        slow.goes_on.notify_one();
        let end = told.recv().await.unwrap();
        assert!(matches!(end, Input::Moved { end: MoveEnd::GivenBack { .. }, .. }), "{end:?}");
        assert_eq!(*slow.said.lock().unwrap(), ["the cordon landed", "looked whether it stands"]);
    }

    #[tokio::test]
    async fn an_order_that_was_stopped_before_it_began_is_not_begun() {
        let script = Arc::new(Scripted::default());
        let movers = Movers::new(script);
        let (inputs, mut told) = mpsc::unbounded_channel::<Input>();
        movers.expect(&request(Some(Doing::Leave)));
        movers.expect(&request(None));
        movers.perform(request(Some(Doing::Leave)), move |input| {
            let _ = inputs.send(input);
            async {}
        });
        assert!(told.recv().await.is_none(), "nobody has anything to say");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_end_is_unknown_in_time() {
        #[derive(Debug)]
        struct Mute;
        #[async_trait]
        impl Carrier for Mute {
            async fn look(&self, _: &LookRequest, _: &Move) -> Verdict {
                std::future::pending().await
            }
            async fn leave(&self, _: Errand<'_>) -> Result<String, NotMoved> {
                std::future::pending().await
            }
            async fn give_back(&self, _: Errand<'_>) -> Result<String, NotMoved> {
                std::future::pending().await
            }
        }
        let of = vec![Move::KubernetesDrain(KubernetesDrain::default())];
        let request =
            LookRequest { moves: of, ..crate::checks::tests::request(&NodeName::parse("n1").unwrap()) };
        let until = Instant::now() + Duration::from_secs(7);
        let seen = looks(&Mute, &request, until).await;
        assert!(Instant::now() <= until, "it took longer than the look had left");
        assert!(
            matches!(&seen[..], [CheckResult { verdict: Verdict::Unknown(why), .. }] if why.contains("a look has")),
            "{seen:?}"
        );
    }
}
