//! Writes unique keys at a steady pace and records which were acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::acks::{Ack, Unknown, unknown_path};
use crate::clock::Clock;
use crate::lines::LineWriter;
use crate::member::Member;
use crate::stop;

/// How to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// Client endpoints (`host:port`), used in turn.
    pub endpoints: Vec<String>,
    /// Keys are `PREFIX/RUN/CLIENT/NUMBER`.
    pub prefix: String,
    /// Acknowledged keys go here, unknown ones to the same name with `.unknown`.
    pub acks: PathBuf,
    /// Clients writing at the same time.
    pub clients: u32,
    /// Writes a second, all clients together.
    pub rate_hz: u32,
    /// How long one write may take before it counts as unknown.
    pub deadline: Duration,
}

/// What the writer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Keys acknowledged and recorded.
    pub acknowledged: u64,
    /// Keys sent without an acknowledgement.
    pub unknown: u64,
}

enum Outcome {
    Acked(Ack),
    Unknown(Unknown),
}

/// Writes until `stopped` turns true, then lets writes in flight end and flushes.
///
/// # Errors
/// When the files cannot be written: a write that is acknowledged but not recorded would make
/// the proof weaker without anybody noticing, so the writer ends at once.
pub async fn run(options: Options, stopped: watch::Receiver<bool>) -> Result<Report> {
    ensure!(options.clients > 0, "no clients; give --clients at least 1");
    ensure!(options.rate_hz > 0, "no pace; give --rate at least 1");
    let mut acked = LineWriter::append(&options.acks)?;
    let mut unknown = LineWriter::append(&unknown_path(&options.acks))?;
    let members = Arc::new(Member::all(&options.endpoints, options.deadline)?);
    let clock = Clock::start();
    // A second writer on the same prefix must never meet these keys.
    let run = format!("{:x}-{:x}", clock.unix_ms(), std::process::id());

    let (sender, mut outcomes) = mpsc::channel(256);
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(write_keys(Client {
            number,
            keys: format!("{}/{run}/{number}", options.prefix),
            options: options.clone(),
            members: Arc::clone(&members),
            clock,
            outcomes: sender.clone(),
            stopped: stopped.clone(),
        }));
    }
    drop(sender);

    // Ends when the last client has hung up.
    while let Some(outcome) = outcomes.recv().await {
        match outcome {
            Outcome::Acked(ack) => acked.push(&ack)?,
            Outcome::Unknown(lost) => unknown.push(&lost)?,
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client of the writer panicked")?;
    }
    Ok(Report { acknowledged: acked.finish()?, unknown: unknown.finish()? })
}

struct Client {
    number: u32,
    keys: String,
    options: Options,
    members: Arc<Vec<Member>>,
    clock: Clock,
    outcomes: mpsc::Sender<Outcome>,
    stopped: watch::Receiver<bool>,
}

async fn write_keys(mut client: Client) {
    let pace = Duration::from_secs(1) * client.options.clients / client.options.rate_hz.max(1);
    // Clients start one after the other within the first pace, so that writes come evenly.
    let offset = pace * client.number / client.options.clients.max(1);
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let count = u64::try_from(client.members.len()).unwrap_or(u64::MAX);
    for sequence in 0_u64.. {
        tokio::select! {
            () = stop::wait(&mut client.stopped) => return,
            _ = ticks.tick() => {}
        }
        let turn = (u64::from(client.number) + sequence) % count;
        let member = &client.members[usize::try_from(turn).unwrap_or(0)];
        let outcome = write_once(&client, member, sequence).await;
        if client.outcomes.send(outcome).await.is_err() {
            return; // The recorder failed and says why itself.
        }
    }
}

async fn write_once(client: &Client, member: &Member, sequence: u64) -> Outcome {
    let key = format!("{}/{sequence:08}", client.keys);
    let value = format!("value of {key} through {}", member.name());
    match member.put(&key, &value, client.options.deadline).await {
        Ok(()) => Outcome::Acked(Ack { acked_unix_ms: client.clock.unix_ms(), key, value }),
        Err(error) => Outcome::Unknown(Unknown {
            gave_up_unix_ms: client.clock.unix_ms(),
            endpoint: member.name().to_owned(),
            error: error.to_string(),
            key,
            value,
        }),
    }
}
