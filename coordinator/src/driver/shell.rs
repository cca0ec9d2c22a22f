//! The thread that owns the driver: everything that changes a run goes through its one queue.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use drydock_core::Now;
use drydock_types::Head;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use super::{Driver, Input, Output, clock::FleetClock};
use crate::store::{RunStore, StoreError};

/// Inputs that may wait. While it is full agents are not read from, and operators are told to come again.
const QUEUE: usize = 8192;
/// The longest the thread goes without a tick, asleep or busy: the fleet's clock is written at least so
/// often while runs are open.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How long [`DriverHandle::tell_surely`] waits before it tries again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// What a request wants done, and how its caller is answered once that is done.
type Request<S> = Box<dyn FnOnce(&mut Driver<S>, Now) -> (Vec<Output>, Box<dyn FnOnce() + Send>) + Send>;

enum Command<S> {
    Input(Input),
    Request(Request<S>),
}

/// The way to the driver.
#[derive(Debug)]
pub struct DriverHandle<S> {
    queue: SyncSender<Command<S>>,
    changes: watch::Receiver<u64>,
}

impl<S> Clone for DriverHandle<S> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), changes: self.changes.clone() }
    }
}

impl<S> std::fmt::Debug for Command<S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Input(_) => "Input",
            Self::Request(_) => "Request",
        })
    }
}

/// The driver cannot take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverGone {
    /// Too much is waiting.
    #[error("the coordinator has more to do than it can take; try again in a moment")]
    Busy,
    /// It has stopped: a store that could not be written stops it.
    #[error("the coordinator's driver has stopped; its log says why")]
    Stopped,
}

impl<S: RunStore + 'static> DriverHandle<S> {
    /// Tells the driver something.
    ///
    /// # Errors
    /// See [`DriverGone`].
    pub fn tell(&self, input: Input) -> Result<(), DriverGone> {
        self.push(Command::Input(input))
    }

    /// Tells the driver something that must not be lost, waiting for room where there is none.
    ///
    /// # Errors
    /// When the driver has stopped.
    pub async fn tell_surely(&self, input: Input) -> Result<(), DriverGone> {
        let mut command = Command::Input(input);
        loop {
            command = match self.queue.try_send(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(DriverGone::Stopped),
                Err(TrySendError::Full(command)) => command,
            };
            sleep(TRY_AGAIN).await;
        }
    }

    fn push(&self, command: Command<S>) -> Result<(), DriverGone> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => DriverGone::Busy,
            TrySendError::Disconnected(_) => DriverGone::Stopped,
        })
    }

    /// Runs something on the driver's thread, between two inputs, and brings its answer.
    ///
    /// # Errors
    /// See [`DriverGone`].
    pub async fn with<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Driver<S>, Now) -> (T, Vec<Output>) + Send + 'static,
    ) -> Result<T, DriverGone> {
        let (answer, wait) = oneshot::channel();
        let request: Request<S> = Box::new(move |driver, now| {
            let (value, outputs) = request(driver, now);
            // A caller that has gone away does not change what was done.
            let answer: Box<dyn FnOnce() + Send> = Box::new(move || drop(answer.send(value)));
            (outputs, answer)
        });
        self.push(Command::Request(request))?;
        wait.await.map_err(|_| DriverGone::Stopped)
    }

    /// Changes whenever something that a watcher could see has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

/// The driver's thread; it ends with the error that stopped it.
pub type DriverThread = JoinHandle<Result<(), StoreError>>;

/// Starts the thread. It ends when every handle is gone, or with the error that stopped it. Where the record ends
/// is told through `anchor` before anything that follows from it is performed.
///
/// # Errors
/// When the thread cannot be started.
pub fn start<S: RunStore + 'static>(
    driver: Driver<S>,
    first: Vec<Output>,
    clock: FleetClock,
    perform: impl FnMut(Output) + Send + 'static,
    anchor: impl FnMut(Head) + Send + 'static,
) -> std::io::Result<(DriverHandle<S>, DriverThread)> {
    let (queue, inputs) = sync_channel(QUEUE);
    let (changed, changes) = watch::channel(0);
    let perform = Performer { perform, anchor, told: None };
    let body = move || turn(driver, first, clock, &inputs, &changed, perform);
    let thread = std::thread::Builder::new().name("driver".to_string()).spawn(body)?;
    Ok((DriverHandle { queue, changes }, thread))
}

/// What is done about outputs, and whom the record's end is told.
struct Performer<P, A> {
    perform: P,
    anchor: A,
    told: Option<Head>,
}

impl<P: FnMut(Output), A: FnMut(Head)> Performer<P, A> {
    fn all(&mut self, head: Head, outputs: Vec<Output>) {
        if self.told.replace(head) != Some(head) {
            (self.anchor)(head);
        }
        outputs.into_iter().for_each(&mut self.perform);
    }
}

fn turn<S: RunStore>(
    mut driver: Driver<S>,
    first: Vec<Output>,
    clock: FleetClock,
    inputs: &Receiver<Command<S>>,
    changed: &watch::Sender<u64>,
    mut perform: Performer<impl FnMut(Output), impl FnMut(Head)>,
) -> Result<(), StoreError> {
    perform.all(driver.head(), first);
    let mut ticked_ms = clock.now().clock_ms;
    loop {
        let now = clock.now();
        let wake = driver.next_wake_ms().map(|at| Duration::from_millis(at.saturating_sub(now.clock_ms)));
        let sleep = wake.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let mut answer = None;
        let outputs = match inputs.recv_timeout(sleep) {
            Ok(Command::Input(input)) => driver.handle(input, clock.now()),
            Ok(Command::Request(request)) => {
                let (outputs, told) = request(&mut driver, clock.now());
                answer = Some(told);
                match driver.has_failed() {
                    // The operator has the error itself.
                    true => Err(StoreError::Refused { what: "an operator's request".to_string() }),
                    false => Ok(outputs),
                }
            }
            Err(RecvTimeoutError::Timeout) => driver.handle(Input::Tick, clock.now()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if outputs.is_err()
            && let Some(told) = answer.take()
        {
            told();
        }
        let outputs = outputs.inspect_err(|error| {
            tracing::error!(%error, "the store did not take a transition: the coordinator stops; nothing of it was done");
        })?;
        perform.all(driver.head(), outputs);
        // Only now: whoever has paused a run is told so when what was under way has been told to stop.
        if let Some(told) = answer {
            told();
        }
        // However much there is to hear: what is due is not put off, and neither is writing the clock.
        let now = clock.now();
        if is_tick_due(driver.next_wake_ms(), ticked_ms, now.clock_ms) {
            ticked_ms = now.clock_ms;
            let outputs = driver.handle(Input::Tick, now)?;
            perform.all(driver.head(), outputs);
        }
        changed.send_if_modified(|seen| std::mem::replace(seen, driver.changes()) != driver.changes());
    }
}

/// Something is due, or nothing was for so long that the clock should be written.
fn is_tick_due(wake_ms: Option<u64>, ticked_ms: u64, now_ms: u64) -> bool {
    let long = Duration::from_millis(now_ms.saturating_sub(ticked_ms)) >= LONGEST_SLEEP;
    long || wake_ms.is_some_and(|at| at <= now_ms)
}

#[cfg(test)]
mod tests {
    use drydock_core::run::JournalRef;
    use drydock_types::{FleetId, InstanceId, JournalId, NodeName, Sha256, probe::HostFacts};

    use super::*;
    use crate::{
        driver::{Agent, FleetNode},
        store::memory::MemoryStore,
    };

    #[test]
    fn a_driver_that_is_never_idle_writes_its_clock_all_the_same() {
        assert!(!is_tick_due(Some(9000), 1000, 5999));
        assert!(is_tick_due(Some(9000), 1000, 6000), "five seconds of nothing but inputs");
        assert!(is_tick_due(Some(1001), 1000, 1001));
        assert!(!is_tick_due(None, 1000, 1000));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_while_the_driver_has_no_room_is_heard_of_when_it_has() {
        let mut store = MemoryStore::new(FleetId([1; 16]));
        let fence = store.take_over(InstanceId([1; 16])).unwrap();
        let clock = FleetClock::from(0);
        let (driver, first) = Driver::open(store, fence, clock.now()).unwrap();
        let (handle, thread) = start(driver, first, clock, |_| {}, |_| {}).unwrap();
        let (node, key) = (NodeName::parse("a").unwrap(), Sha256::of(b"a"));
        let agent = Agent {
            session: 1,
            key,
            version: String::new(),
            journal: JournalRef { id: JournalId([1; 16]), length: 1 },
            steps: Default::default(),
            requirements: Default::default(),
            facts: HostFacts::default(),
        };
        let nodes = vec![(node.clone(), FleetNode { key, labels: Default::default() })];
        handle.tell(Input::Registered { nodes }).unwrap();
        handle.tell(Input::Connected { node: node.clone(), agent: Box::new(agent) }).unwrap();
        // The driver waits for its disk, and somebody floods it meanwhile.
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let blocked = handle.clone();
        let blocked = tokio::spawn(async move {
            let block = move |_: &mut Driver<MemoryStore>, _| {
                let _ = begun.send(());
                let _ = wait.recv();
                ((), Vec::new())
            };
            blocked.with(block).await
        });
        has_begun.await.unwrap();
        while handle.tell(Input::Tick).is_ok() {}
        assert_eq!(handle.tell(Input::Tick), Err(DriverGone::Busy));
        let told = handle.clone();
        let told =
            tokio::spawn(async move { told.tell_surely(Input::Disconnected { node, session: 1 }).await });
        sleep(TRY_AGAIN * 3).await;
        assert!(!told.is_finished());
        go_on.send(()).unwrap();
        told.await.unwrap().unwrap();
        blocked.await.unwrap().unwrap();
        let silent = handle.with(|driver, _| (driver.nodes()[0].agent.is_none(), Vec::new())).await;
        assert_eq!(silent, Ok(true));
        drop(handle);
        assert!(thread.join().unwrap().is_ok());
    }
}
