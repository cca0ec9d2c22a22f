//! What the driver decided, done.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    checks,
    driver::{Input, LookRequest, MoveRequest, ObserveRequest, Output, shell::DriverHandle},
    link::Sessions,
    moves::{Carrier, Movers},
    observers::Observers,
    store::sqlite::SqliteStore,
};

/// What waits to be done by tasks of their own. What the driver decides before there is a handle to answer it with waits
/// here.
pub(super) struct Orders {
    looks: UnboundedReceiver<LookRequest>,
    moves: UnboundedReceiver<MoveRequest>,
    observe: UnboundedReceiver<ObserveRequest>,
    movers: Movers,
    carrier: Arc<dyn Carrier>,
    observers: Observers,
}

/// Where the driver's thread puts what others do.
struct Lines {
    looks: UnboundedSender<LookRequest>,
    moves: UnboundedSender<MoveRequest>,
    observe: UnboundedSender<ObserveRequest>,
}

/// Done on the driver's own thread, and never waiting.
pub(super) fn performer(
    sessions: Sessions,
    carrier: Arc<dyn Carrier>,
    observers: Observers,
) -> (impl FnMut(Output) + Send + 'static, Orders) {
    let (looks, asked) = unbounded_channel();
    let (moves, ordered) = unbounded_channel();
    let (observe, observed) = unbounded_channel();
    let lines = Lines { looks, moves, observe };
    let movers = Movers::new(Arc::clone(&carrier));
    let orders = Orders {
        looks: asked,
        moves: ordered,
        observe: observed,
        movers: movers.clone(),
        carrier,
        observers,
    };
    (move |output| perform(&sessions, &lines, &movers, output), orders)
}

fn perform(sessions: &Sessions, lines: &Lines, movers: &Movers, output: Output) {
    match output {
        // One that could not be sent is asked about when the agent is back, and lapses.
        Output::Dispatch { node, session, effect, section } => {
            if !sessions.dispatch(&node, session, effect, section) {
                tracing::info!(%node, effect = %effect.short(), "a section could not be sent: its stream broke");
            }
        }
        Output::Ask { node, effect } => {
            sessions.ask(&node, effect);
        }
        Output::Forget { node, effects } => {
            sessions.forget(&node, &effects);
        }
        // A node asks for one look at a time, so what waits here is bounded by the nodes of open runs.
        Output::Look(request) => {
            let _ = lines.looks.send(*request);
        }
        // Bounded as well: an order follows another one of its node only when that has ended, or ends it.
        Output::Move(request) => {
            // What is to stop is stopped here and now, before anybody is told so.
            movers.expect(&request);
            let _ = lines.moves.send(*request);
        }
        // Bounded by the sections that change nodes.
        Output::Observe(request) => {
            let _ = lines.observe.send(*request);
        }
    }
}

impl Orders {
    /// Looks and moves, until the driver is gone.
    pub(super) async fn carried_out(self, sessions: Sessions, driver: DriverHandle<SqliteStore>) {
        let Self { looks: mut asked, moves: mut ordered, observe: mut observed, movers, carrier, observers } =
            self;
        loop {
            tokio::select! {
                Some(request) = asked.recv() => look(request, &sessions, &carrier, &observers, &driver),
                Some(request) = observed.recv() => observers.begin(request),
                Some(request) = ordered.recv() => carry(request, &movers, &driver),
                else => return,
            }
        }
    }
}

fn look(
    request: LookRequest,
    sessions: &Sessions,
    carrier: &Arc<dyn Carrier>,
    observers: &Observers,
    driver: &DriverHandle<SqliteStore>,
) {
    let (sessions, carrier, driver) = (sessions.clone(), Arc::clone(carrier), driver.clone());
    let observers = observers.clone();
    tokio::spawn(async move {
        let (results, seen, failing) = checks::look_and_note(&sessions, &*carrier, &request).await;
        let (run, node, round) = (request.run, request.index, request.round);
        // Before the look by which a node may leave service: what is not on record then would count as the run's doing.
        if let Some(found) = failing
            && let Err(error) = driver.tell_surely(Input::FailedBefore { run, found }).await
        {
            tracing::warn!(%error, run, "what failed before the run could not be handed in");
        }
        // With the look that finds the node well, and not with each that does not yet.
        if !request.observe.is_empty() && results.iter().all(|result| result.verdict.is_clear()) {
            let seen = observers.seen(run, node, &request.observe).await;
            if let Err(error) = driver.tell_surely(Input::Measured { run, node, round, seen }).await {
                tracing::warn!(%error, run, "what was measured from outside could not be handed in");
            }
        }
        let looked = Input::Looked { run, node, round, results, seen };
        if let Err(error) = driver.tell_surely(looked).await {
            tracing::warn!(%error, run, "what was looked at could not be handed in");
        }
    });
}

fn carry(request: MoveRequest, movers: &Movers, driver: &DriverHandle<SqliteStore>) {
    let driver = driver.clone();
    movers.perform(request, move |input| {
        let driver = driver.clone();
        async move {
            if let Err(error) = driver.tell_surely(input).await {
                tracing::warn!(%error, "what became of a move could not be handed in");
            }
        }
    });
}
