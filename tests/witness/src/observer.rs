//! Asks every member at a steady pace how it is, and records each answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::lines::LineWriter;
use crate::member::{Member, View};
use crate::stop;

/// How to observe.
#[derive(Debug, Clone)]
pub struct Options {
    /// Client endpoints (`host:port`).
    pub endpoints: Vec<String>,
    /// Samples go here.
    pub out: PathBuf,
    /// Time between two samples.
    pub interval: Duration,
    /// How long a member may take to answer.
    pub deadline: Duration,
}

/// All members at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the questions were asked, in milliseconds since 1970.
    pub t_ms: u64,
    /// What each endpoint answered.
    pub endpoints: BTreeMap<String, View>,
}

/// Observes until `stopped` turns true; returns the number of samples.
///
/// Samples overlap instead of waiting for one another: a slow member delays only its own answer.
/// Each ends by its deadline, so at most deadline/interval of them are open at any time. Lines
/// are written as samples end, which is not always in order of `t_ms`.
///
/// # Errors
/// When the file cannot be written, or nothing was observed at all.
pub async fn run(options: Options, mut stopped: watch::Receiver<bool>) -> Result<u64> {
    ensure!(!options.interval.is_zero(), "no interval; give --interval-ms at least 1");
    let members: Vec<Arc<Member>> =
        Member::all(&options.endpoints, options.deadline)?.into_iter().map(Arc::new).collect();
    let mut lines = LineWriter::append(&options.out)?;
    let clock = Clock::start();
    let mut open = JoinSet::new();
    let mut ticks = tokio::time::interval(options.interval);
    // After a stall of this machine there is no point in asking ten times at once; the gap stays
    // visible in the summary.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop::wait(&mut stopped) => break,
            Some(sample) = open.join_next() => lines.push(&sample.context("a sample panicked")?)?,
            _ = ticks.tick() => {
                open.spawn(take_sample(members.clone(), clock.unix_ms(), options.deadline));
            }
        }
    }
    while let Some(sample) = open.join_next().await {
        lines.push(&sample.context("a sample panicked")?)?;
    }
    let count = lines.finish()?;
    if count == 0 {
        bail!("the observer saw nothing: it was stopped before its first sample");
    }
    Ok(count)
}

/// Asks every member once, all at the same time.
pub async fn take_sample(members: Vec<Arc<Member>>, t_ms: u64, deadline: Duration) -> Sample {
    let mut questions = JoinSet::new();
    for member in members {
        questions.spawn(async move { (member.name().to_owned(), member.view(deadline).await) });
    }
    let mut endpoints = BTreeMap::new();
    // A question that panicked leaves its endpoint out, which the summary counts as no answer.
    while let Some(answer) = questions.join_next().await {
        if let Ok((name, view)) = answer {
            endpoints.insert(name, view);
        }
    }
    Sample { t_ms, endpoints }
}
