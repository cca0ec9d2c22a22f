//! The stream to the coordinator: dial, hello, dispatch, reconnect, for ever.
//!
//! A stream that breaks changes nothing on the node: the section at work goes on, what was not begun lapses.
//! All queues are bounded; a coordinator that does not read is disconnected rather than buffered for.

mod at_host;
mod outbox;
mod session;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use drydock_types::{
    Signature,
    probe::{HostFacts, Observation, Probe},
    signed::Purpose,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tonic::{Status, transport::Channel};

pub use self::outbox::Outbox;
use crate::{actions::Problem, executor::Executor, journal::JournalError, remote::RemoteSender};

/// How the coordinator is reached. The real one is the agent's identity.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// A connection, or why there is none.
    async fn dial(&self) -> Result<Channel, String>;
    /// A new certificate when one is due; `true` when the connection should be dialled anew to show it.
    async fn renew_if_due(&self, channel: &Channel) -> Result<bool, String>;
    /// What a failed call says of the connection itself, in words for a person.
    fn explain(&self, status: &Status) -> Option<String>;
}

/// Signs what is reported with the node's key. The real one is the agent's identity.
pub trait Signer: Send + Sync {
    /// A signature over a document and what it is about; `None` when none can be made now.
    fn sign(&self, purpose: Purpose, about: &[u8; 32], document: &[u8]) -> Option<Signature>;
}

/// How the node is looked at. Read-only.
#[async_trait]
pub trait Eyes: Send + Sync {
    /// For Hello.
    fn facts(&self) -> HostFacts;
    /// Answers a look. The caller bounds the time.
    async fn look(&self, probe: &Probe) -> Result<Observation, Problem>;
}

/// The link's times.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first wait before dialling again; doubles up to `longest`. Up to as much again is added at random.
    pub first: Duration,
    /// The longest of those waits, before the random part.
    pub longest: Duration,
    /// The wait after a coordinator of another protocol: somebody has to upgrade something first.
    pub mismatch: Duration,
    /// The longest wait that a GoAway can ask for.
    pub away: Duration,
    /// How often we say that we live.
    pub alive: Duration,
    /// A coordinator that says nothing for so long is gone.
    pub silence: Duration,
    /// The deadline for connecting, Welcome, and anything else that is one exchange.
    pub exchange: Duration,
    /// How often the certificate's age is looked at.
    pub renewal: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            mismatch: Duration::from_secs(30),
            away: Duration::from_secs(300),
            alive: Duration::from_secs(15),
            silence: Duration::from_secs(60),
            exchange: Duration::from_secs(20),
            renewal: Duration::from_secs(3600),
        }
    }
}

/// The agent's end of the stream.
pub struct Link {
    /// How to reach the coordinator.
    pub dialer: Arc<dyn Dialer>,
    /// What takes sections.
    pub executor: Arc<Executor>,
    /// What answers looks.
    pub eyes: Arc<dyn Eyes>,
    /// The executor's listener.
    pub outbox: Arc<Outbox>,
    /// What reports are signed by.
    pub signer: Arc<dyn Signer>,
    /// Where actions find the connection.
    pub remote: RemoteSender,
    /// Times.
    pub pace: Pace,
    /// The state in words, for systemd's STATUS.
    pub status: watch::Sender<String>,
    /// When a coordinator that is obeyed last said something.
    pub heard: Heard,
    /// Random bytes of this start: they tell the coordinator that it hears one process, and not two with one
    /// identity.
    pub start_id: Vec<u8>,
}

/// When a coordinator that is obeyed last said something, on the monotonic clock. One that was restored from
/// a backup is told how long that is ago: it shows whether the one before it is still alive.
#[derive(Debug, Default)]
pub struct Heard(std::sync::Mutex<Option<Instant>>);

impl Heard {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn ago_ms(&self) -> Option<u64> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Why a stream ended.
#[derive(Debug)]
enum End {
    /// The connection or the coordinator failed.
    Broken(String),
    /// The coordinator asked to come back later.
    Away { why: String, after: Duration },
    /// Another protocol: somebody has to upgrade something.
    Mismatch(String),
    /// There is a new certificate to show.
    Renewed,
    /// The journal failed.
    Fatal(JournalError),
}

impl Link {
    /// Keeps a stream to the coordinator for as long as the agent lives.
    ///
    /// Returns only when the journal failed: the agent must stop.
    pub async fn run(self) -> JournalError {
        // One slot: the first failure stops the agent, and more say nothing new.
        let (fatal, mut failed) = mpsc::channel(1);
        tokio::select! {
            biased;
            Some(error) = failed.recv() => error,
            error = self.keep_attached(&fatal) => error,
        }
    }

    async fn keep_attached(&self, fatal: &mpsc::Sender<JournalError>) -> JournalError {
        let mut waits = self.waits();
        loop {
            let began = Instant::now();
            let end = self.attach_once(fatal).await;
            self.remote.publish(None);
            self.outbox.attach(None);
            // A stream that lasted was a good one: the next attempt is a first one again.
            if began.elapsed() >= self.pace.longest {
                waits = self.waits();
            }
            let mut backoff = || waits.next().unwrap_or(self.pace.longest);
            let (wait, why) = match end {
                End::Fatal(error) => return error,
                End::Broken(why) => (backoff(), why),
                End::Away { why, after } => (jittered(after.min(self.pace.away)), why),
                End::Mismatch(why) => (jittered(self.pace.mismatch), why),
                End::Renewed => (Duration::ZERO, "dialling anew with a new certificate".into()),
            };
            self.say(format!("not connected: {why}"), true);
            sleep(wait).await;
        }
    }

    async fn attach_once(&self, fatal: &mpsc::Sender<JournalError>) -> End {
        let channel = match timeout(self.pace.exchange, self.dialer.dial()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(why)) => return End::Broken(why),
            Err(_) => return End::Broken(format!("no connection within {:?}", self.pace.exchange)),
        };
        if self.renew(&channel).await {
            return End::Renewed;
        }
        session::Session::new(self, channel, fatal.clone()).run().await
    }

    /// `true` when there is a new certificate. A refusal is said and leaves the old one in use.
    async fn renew(&self, channel: &Channel) -> bool {
        match timeout(self.pace.exchange * 2, self.dialer.renew_if_due(channel)).await {
            Ok(Ok(renewed)) => renewed,
            Ok(Err(why)) => {
                tracing::warn!(why, "the certificate was not renewed");
                false
            }
            Err(_) => {
                tracing::warn!("the certificate was not renewed: no answer");
                false
            }
        }
    }

    /// Once per change, not per attempt.
    fn say(&self, state: String, bad: bool) {
        let changed = self.status.send_if_modified(|said| {
            let changed = *said != state;
            said.clone_from(&state);
            changed
        });
        match (changed, bad) {
            (true, true) => tracing::warn!("{state}"),
            (true, false) => tracing::info!("{state}"),
            (false, _) => tracing::debug!("{state}"),
        }
    }

    fn waits(&self) -> ExponentialBackoff {
        // Seeded: without `std` backon gives every agent of a fleet the same "random" waits.
        ExponentialBuilder::new()
            .with_min_delay(self.pace.first)
            .with_max_delay(self.pace.longest)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(random())
            .build()
    }
}

/// A quarter more at most, so that a fleet does not come back all at once.
fn jittered(wait: Duration) -> Duration {
    let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(u64::MAX);
    wait + Duration::from_millis(random() % quarter.saturating_add(1))
}

/// Random enough to spread waits; 0 when the system has none to give.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}
