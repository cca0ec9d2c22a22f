//! What is seen from outside all the time: every target pinged every 10 ms, every guest asked for its boot; and a run,
//! followed by the coordinator's log, so that each node's part of the pings can be cut out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::site::{RUN, Scene};
use crate::fleet::log::{CoordinatorLog, Told};
use crate::hypervisor::observe::Pinger;
use crate::hypervisor::trace::{Span, Trace, now};
use crate::hypervisor::{Hypervisors, Target};

/// Between two rounds of questions to all guests.
const ASKING: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);
/// A phase is told a moment after it was entered.
const TELLING: Duration = Duration::from_millis(100);

/// Pings of every target.
pub(super) struct Watch {
    pingers: Vec<Pinger>,
}

impl Watch {
    pub(super) fn begin(site: &Hypervisors<'_>) -> Result<Self> {
        Self::begin_of(site, &site.targets())
    }

    pub(super) fn begin_of(site: &Hypervisors<'_>, targets: &[Target]) -> Result<Self> {
        let pingers = targets.iter().map(|target| Pinger::start(site, "all", target));
        Ok(Self { pingers: pingers.collect::<crate::Result<_>>()? })
    }

    pub(super) fn finish(self) -> Result<Vec<Trace>> {
        Ok(self.pingers.into_iter().map(Pinger::finish_trace).collect::<crate::Result<_>>()?)
    }
}

/// What guests said when they were asked over HTTP for their boot.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Each boot that each guest named.
    pub(super) boots: BTreeMap<usize, BTreeSet<String>>,
    pub(super) asked: u32,
    /// Questions without an answer.
    pub(super) silent: Vec<String>,
}

/// Asks every guest again and again while `body` runs.
pub(super) fn while_asked<T>(
    site: &Hypervisors<'_>,
    body: impl FnOnce() -> Result<T>,
) -> Result<(T, Answers)> {
    /// Ends the questions also where `body` panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let asker = scope.spawn(|| ask(site, &ended));
        let end = End(&ended);
        let done = body();
        drop(end);
        let answers = asker.join().map_err(|_| anyhow!("the questions to the guests ended in a panic"))?;
        Ok((done?, answers))
    })
}

fn ask(site: &Hypervisors<'_>, ended: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    while !ended.load(Ordering::Relaxed) {
        for (number, _) in site.nodes() {
            answers.asked += 1;
            // A connection that falls into the switch's reload takes longer than one question may: how long nobody
            // answered is for the pings to say, and here that a guest answers at all, and from which boot.
            match site.guest_boot(number).or_else(|_| site.guest_boot(number)) {
                Ok(boot) => drop(answers.boots.entry(number).or_default().insert(boot)),
                Err(error) => answers.silent.push(format!("guest{number}: {error}")),
            }
        }
        thread::sleep(ASKING);
    }
    answers
}

/// A run that was followed to its end.
#[derive(Debug)]
pub(super) struct Followed {
    /// From the gate of each node until it was done, stage by stage in the order in which the node went through them.
    pub(super) spans: BTreeMap<(String, usize), Span>,
    /// `Done`, or `Held`.
    pub(super) status: String,
    pub(super) took: Duration,
}

/// Follows the newest run until it is done or holds. `log` has been read up to the run's start.
pub(super) fn follow(scene: &Scene<'_>, log: &mut CoordinatorLog) -> Result<Followed> {
    let began = Instant::now();
    let mut open: BTreeMap<String, Duration> = BTreeMap::new();
    let mut spans = BTreeMap::new();
    while began.elapsed() < RUN {
        for told in log.news()? {
            match told {
                Told::Phase { node, phase } if matches!(phase.as_str(), "gating" | "applying") => {
                    open.entry(node).or_insert_with(|| now().saturating_sub(TELLING));
                }
                Told::Phase { node, phase } if matches!(phase.as_str(), "done" | "rolledBack" | "held") => {
                    let Some(from) = open.remove(&node) else { continue };
                    let stage = spans.keys().filter(|(known, _)| *known == node).count();
                    spans.insert((node, stage), Span { from, until: now() });
                }
                Told::Status(status) if status == "Done" || status == "Held" => {
                    return Ok(Followed { spans, status, took: began.elapsed() });
                }
                Told::Phase { .. } | Told::Status(_) => {}
            }
        }
        thread::sleep(POLL);
    }
    scene.show(&["why"])?;
    bail!("the run neither ended nor held within {} s", RUN.as_secs())
}
