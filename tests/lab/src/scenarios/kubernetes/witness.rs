//! Each endpoint asked every 100 ms whether it is ready, and written and read through, from before the first restart to
//! after the last.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use drydock_test_cluster::Admin;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::network::Network;

const EVERY: Duration = Duration::from_millis(100);
/// An answer that takes longer is none.
const ANSWERED: Duration = Duration::from_secs(2);
const NAMESPACES: &str = "/api/v1/namespaces";
const NAMESPACE: &str = "witness";
const KEYS: &str = "/api/v1/namespaces/witness/configmaps";

/// At work.
pub(super) struct Witness {
    began: Instant,
    stop: Arc<AtomicBool>,
    endpoints: Vec<Watched>,
    tasks: Vec<JoinHandle<()>>,
}

struct Watched {
    name: String,
    admin: Admin,
    samples: Arc<Mutex<Vec<Sample>>>,
    keys: Arc<Mutex<Keys>>,
}

/// One question whether it is ready; times since the witness began.
#[derive(Debug, Clone, Copy)]
struct Sample {
    asked: Duration,
    answered: Duration,
    well: bool,
}

/// What one client wrote and read through one endpoint.
#[derive(Debug, Clone, Default)]
struct Keys {
    acknowledged: BTreeSet<String>,
    unknown: u64,
    read: u64,
    /// Acknowledged, and a moment later not there.
    missed: Vec<String>,
}

/// What was seen.
pub(super) struct Seen {
    endpoints: Vec<(String, Vec<Sample>)>,
    pub(super) acknowledged: usize,
    pub(super) unknown: u64,
    pub(super) read: u64,
    /// Acknowledged writes that some endpoint does not have.
    pub(super) lost: Vec<String>,
}

impl Witness {
    /// Begins, through each of these endpoints.
    pub(super) fn begin(network: &Network, endpoints: &[(String, Admin)]) -> Result<Self> {
        let (_, first) = endpoints.first().context("no endpoint")?;
        network.create(
            first,
            NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        )?;
        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut witness = Self { began, stop, endpoints: Vec::new(), tasks: Vec::new() };
        for (name, admin) in endpoints {
            let watched = Watched {
                name: name.clone(),
                admin: admin.clone(),
                samples: Arc::default(),
                keys: Arc::default(),
            };
            witness.tasks.push(network.start(ask(
                admin.clone(),
                began,
                Arc::clone(&witness.stop),
                Arc::clone(&watched.samples),
            )));
            witness.tasks.push(network.start(write(
                name.clone(),
                admin.clone(),
                Arc::clone(&witness.stop),
                Arc::clone(&watched.keys),
            )));
            witness.endpoints.push(watched);
        }
        Ok(witness)
    }

    /// What was acknowledged so far.
    pub(super) fn acknowledged(&self) -> BTreeSet<String> {
        let all =
            self.endpoints.iter().map(|watched| watched.keys.lock().unwrap_or_else(PoisonError::into_inner));
        all.flat_map(|keys| keys.acknowledged.clone()).collect()
    }

    /// Since it began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long an endpoint was silent at the longest since then: from its last good answer to the next one.
    pub(super) fn silent_since(&self, name: &str, since: Duration) -> Option<Duration> {
        let watched = self.endpoints.iter().find(|watched| watched.name == name)?;
        longest_silence(&watched.samples.lock().unwrap_or_else(PoisonError::into_inner), since)
    }

    /// What an endpoint said last, for whoever waits for it in vain.
    pub(super) fn said(&self, name: &str) -> String {
        let watched = self.endpoints.iter().find(|watched| watched.name == name);
        let samples =
            watched.map(|watched| watched.samples.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let samples = samples.unwrap_or_default();
        let bad = samples.iter().filter(|sample| !sample.well).count();
        format!("{} questions, {bad} without a good answer; the last: {:?}", samples.len(), samples.last())
    }

    /// Is it ready now, by its last answer?
    pub(super) fn is_ready(&self, name: &str) -> bool {
        let watched = self.endpoints.iter().find(|watched| watched.name == name);
        watched.is_some_and(|watched| {
            watched
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .last()
                .is_some_and(|last| last.well)
        })
    }

    /// Ends it, and reads everything back through every endpoint.
    pub(super) fn finish(self, network: &Network) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            network.wait(async move { Ok(task.await?) })?;
        }
        let mut seen = Seen { endpoints: Vec::new(), acknowledged: 0, unknown: 0, read: 0, lost: Vec::new() };
        let mut acknowledged = BTreeSet::new();
        for watched in &self.endpoints {
            let samples = watched.samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
            seen.endpoints.push((watched.name.clone(), samples));
            let keys = watched.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (seen.unknown, seen.read) = (seen.unknown + keys.unknown, seen.read + keys.read);
            seen.lost.extend(keys.missed);
            acknowledged.extend(keys.acknowledged);
        }
        for watched in &self.endpoints {
            let there = keys(network, &watched.admin)?;
            let lacks = acknowledged.difference(&there);
            seen.lost.extend(lacks.map(|key| format!("{key} at {}", watched.name)));
        }
        seen.acknowledged = acknowledged.len();
        Ok(seen)
    }
}

/// The keys that an endpoint has.
pub(super) fn keys(network: &Network, admin: &Admin) -> Result<BTreeSet<String>> {
    let all = network.get(admin, KEYS)?;
    let all = all["items"].as_array().context("no list of keys")?;
    Ok(all.iter().filter_map(|key| key["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

async fn ask(admin: Admin, began: Instant, stop: Arc<AtomicBool>, samples: Arc<Mutex<Vec<Sample>>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let asked = began.elapsed();
        let answer = tokio::time::timeout(ANSWERED, admin.ask(Method::GET, "/readyz", None)).await;
        let well = matches!(answer, Ok(Ok(answer)) if answer.status == 200);
        let sample = Sample { asked, answered: began.elapsed(), well };
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }
}

async fn write(name: String, admin: Admin, stop: Arc<AtomicBool>, keys: Arc<Mutex<Keys>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        ticks.tick().await;
        let key = format!("{name}-{number}");
        let object: Value = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key}, "data": {"number": number.to_string()},
        });
        let written = tokio::time::timeout(ANSWERED, admin.ask(Method::POST, KEYS, Some(&object))).await;
        let acknowledged = matches!(&written, Ok(Ok(answer)) if answer.status == 201);
        if !acknowledged {
            keys.lock().unwrap_or_else(PoisonError::into_inner).unknown += 1;
            continue;
        }
        let read =
            tokio::time::timeout(ANSWERED, admin.ask(Method::GET, &format!("{KEYS}/{key}"), None)).await;
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(Ok(answer)) if answer.status == 200 => keys.read += 1,
            Ok(Ok(answer)) if answer.status == 404 => keys.missed.push(format!("{key}, read right after")),
            // No answer is no loss: it is read back at the end.
            _ => {}
        }
        keys.acknowledged.insert(key);
    }
}

/// From a good answer to the next one, with at least one that was not good between them.
fn longest_silence(samples: &[Sample], since: Duration) -> Option<Duration> {
    silences(samples).filter(|(_, to)| *to >= since).map(|(from, to)| to.saturating_sub(from)).max()
}

fn silences(samples: &[Sample]) -> impl Iterator<Item = (Duration, Duration)> {
    let well = samples.iter().enumerate().filter(|(_, sample)| sample.well);
    let next = well.clone().skip(1);
    well.zip(next)
        .filter(|((before, _), (after, _))| after - before > 1)
        .map(|((_, before), (_, after))| (before.answered, after.answered))
}

/// When an endpoint did not answer well: from the asking of the first such question to the end of the last in a row.
fn absences(samples: &[Sample]) -> Vec<(Duration, Duration)> {
    samples
        .chunk_by(|one, next| one.well == next.well)
        .filter_map(|row| Some((row.first()?, row.last()?)))
        .filter(|(first, _)| !first.well)
        .map(|(first, last)| (first.asked, last.answered))
        .collect()
}

impl Seen {
    /// How long an endpoint was silent at the longest since then.
    pub(super) fn silent_since(&self, name: &str, since: Duration) -> Option<Duration> {
        let (_, samples) = self.endpoints.iter().find(|(known, _)| known == name)?;
        longest_silence(samples, since)
    }

    /// How often each endpoint was asked.
    pub(super) fn samples(&self) -> Vec<usize> {
        self.endpoints.iter().map(|(_, samples)| samples.len()).collect()
    }

    /// Times in which no endpoint answered well.
    pub(super) fn nobody(&self) -> Vec<(Duration, Duration)> {
        let mut each = self.endpoints.iter().map(|(_, samples)| absences(samples));
        let first = each.next().unwrap_or_default();
        each.fold(first, |left, right| {
            let both = |(a, b): &(Duration, Duration)| {
                right
                    .iter()
                    .map(|(c, d)| ((*a).max(*c), (*b).min(*d)))
                    .filter(|(from, to)| from < to)
                    .collect::<Vec<_>>()
            };
            left.iter().flat_map(both).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(u64, bool)]) -> Vec<Sample> {
        let ms = Duration::from_millis;
        of.iter().map(|(at, well)| Sample { asked: ms(*at), answered: ms(at + 10), well: *well }).collect()
    }

    #[test]
    fn a_silence_is_from_one_good_answer_to_the_next() {
        let seen = samples(&[(0, true), (100, true), (200, false), (300, false), (400, true), (500, true)]);
        assert_eq!(longest_silence(&seen, Duration::ZERO), Some(Duration::from_millis(300)));
        assert_eq!(longest_silence(&seen, Duration::from_millis(411)), None);
        assert_eq!(absences(&seen), [(Duration::from_millis(200), Duration::from_millis(310))]);
    }

    #[test]
    fn nobody_answers_only_where_all_are_away_at_once() {
        let one = samples(&[(0, true), (100, false), (200, false), (300, true)]);
        let other = samples(&[(0, true), (105, true), (205, false), (305, true)]);
        let seen = |endpoints: Vec<Vec<Sample>>| Seen {
            endpoints: endpoints.into_iter().map(|samples| (String::new(), samples)).collect(),
            acknowledged: 0,
            unknown: 0,
            read: 0,
            lost: Vec::new(),
        };
        let both = (Duration::from_millis(205), Duration::from_millis(210));
        assert_eq!(seen(vec![one.clone(), other.clone()]).nobody(), [both]);
        let third = samples(&[(0, true), (100, true), (200, true), (300, true)]);
        assert!(seen(vec![one, other, third]).nobody().is_empty());
    }
}
