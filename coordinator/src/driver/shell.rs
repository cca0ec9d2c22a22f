//! The thread that owns the driver: everything that changes a run goes through its one queue.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use drydock_core::Now;
use tokio::sync::{oneshot, watch};

use super::{Driver, Input, Output, clock::FleetClock};
use crate::store::{RunStore, StoreError};

/// Inputs that may wait. An agent that fills it is disconnected, an operator is told to come again.
const QUEUE: usize = 8192;
/// The longest the thread sleeps: the fleet's clock is written at least so often while runs are open.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

type Request<S> = Box<dyn FnOnce(&mut Driver<S>, Now) -> Vec<Output> + Send>;

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
            let _ = answer.send(value);
            outputs
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

/// Starts the thread. It ends when every handle is gone, or with the error that stopped it.
///
/// # Errors
/// When the thread cannot be started.
pub fn start<S: RunStore + 'static>(
    driver: Driver<S>,
    first: Vec<Output>,
    clock: FleetClock,
    perform: impl FnMut(Output) + Send + 'static,
) -> std::io::Result<(DriverHandle<S>, JoinHandle<Result<(), StoreError>>)> {
    let (queue, inputs) = sync_channel(QUEUE);
    let (changed, changes) = watch::channel(0);
    let body = move || turn(driver, first, clock, &inputs, &changed, perform);
    let thread = std::thread::Builder::new().name("driver".to_string()).spawn(body)?;
    Ok((DriverHandle { queue, changes }, thread))
}

fn turn<S: RunStore>(
    mut driver: Driver<S>,
    first: Vec<Output>,
    clock: FleetClock,
    inputs: &Receiver<Command<S>>,
    changed: &watch::Sender<u64>,
    mut perform: impl FnMut(Output),
) -> Result<(), StoreError> {
    first.into_iter().for_each(&mut perform);
    loop {
        let now = clock.now();
        let wake = driver.next_wake_ms().map(|at| Duration::from_millis(at.saturating_sub(now.clock_ms)));
        let sleep = wake.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let outputs = match inputs.recv_timeout(sleep) {
            Ok(Command::Input(input)) => driver.handle(input, clock.now()),
            Ok(Command::Request(request)) => {
                let outputs = request(&mut driver, clock.now());
                match driver.has_failed() {
                    // The operator has the error itself.
                    true => Err(StoreError::Refused { what: "an operator's request".to_string() }),
                    false => Ok(outputs),
                }
            }
            Err(RecvTimeoutError::Timeout) => driver.handle(Input::Tick, clock.now()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let outputs = outputs.inspect_err(|error| {
            tracing::error!(%error, "the store did not take a transition: the coordinator stops; nothing of it was done");
        })?;
        outputs.into_iter().for_each(&mut perform);
        // However much there is to hear: what is due is not put off.
        let now = clock.now();
        if driver.next_wake_ms().is_some_and(|at| at <= now.clock_ms) {
            driver.handle(Input::Tick, now)?.into_iter().for_each(&mut perform);
        }
        changed.send_if_modified(|seen| std::mem::replace(seen, driver.changes()) != driver.changes());
    }
}
