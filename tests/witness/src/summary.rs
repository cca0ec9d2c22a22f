//! Reduces the observer's file to the figures that a scenario asserts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::lines;
use crate::observer::Sample;

/// What was seen of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSummary {
    /// The ids under which it answered (more than one: it was replaced).
    pub member_ids: BTreeSet<String>,
    /// The longest time without an answer, in milliseconds: from the first question that failed
    /// until the arrival of the next answer. (A member that starts again accepts connections
    /// before it answers: asking is not enough.)
    pub longest_silence_ms: u64,
    /// All times without an answer together, in milliseconds.
    pub total_silence_ms: u64,
    /// The longest that a question took which was answered in the end, in milliseconds.
    pub slowest_answer_ms: u64,
    /// How often it fell silent.
    pub silences: u64,
    /// When each version was first seen, in milliseconds since 1970.
    pub first_seen_ms: BTreeMap<String, u64>,
}

/// From when on who led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderChange {
    /// Milliseconds since 1970.
    pub t_ms: u64,
    /// The id all answering members agreed on; absent while there was none.
    pub leader_id: Option<String>,
    /// The endpoint that answered under that id, when it ever did.
    pub endpoint: Option<String>,
}

/// The observer's file in figures. What a sample shows is taken to last until the next sample, so
/// every time here is exact to about one sampling interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Samples taken; never zero.
    pub samples: u64,
    /// First sample, in milliseconds since 1970.
    pub first_ms: u64,
    /// Last sample, in milliseconds since 1970.
    pub last_ms: u64,
    /// The longest time between two samples: what happened inside it was seen by nobody.
    pub longest_unobserved_ms: u64,
    /// The fewest members that answered in any one sample.
    pub fewest_answering: u64,
    /// The fewest members that answered, named a leader and complained of nothing.
    pub fewest_healthy: u64,
    /// All times in which no answering member named a leader, or they disagreed.
    pub leaderless_total_ms: u64,
    /// The longest such time.
    pub leaderless_longest_ms: u64,
    /// The longest time in which the leader that the others named did not answer itself: they
    /// name a dead one until the election timeout.
    pub leader_silent_longest_ms: u64,
    /// By endpoint.
    pub members: BTreeMap<String, MemberSummary>,
    /// Who led over time.
    pub leaders: Vec<LeaderChange>,
}

/// Reads and reduces an observer's file.
///
/// # Errors
/// When the file cannot be read, a line is damaged, or it holds no sample.
pub fn of_file(path: &Path) -> Result<Summary> {
    let samples = lines::read_all(path)?;
    ensure!(
        !samples.is_empty(),
        "{} holds no sample: nothing was observed, so nothing is proved",
        path.display()
    );
    of_samples(samples)
}

/// Reduces samples, in any order.
///
/// # Errors
/// When there are none.
pub fn of_samples(mut samples: Vec<Sample>) -> Result<Summary> {
    samples.sort_by_key(|sample| sample.t_ms);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        anyhow::bail!("no sample: nothing was observed, so nothing is proved");
    };
    let (leaderless_total_ms, leaderless_longest_ms, _) =
        spans(&samples, |sample| leader(sample).is_none(), asked_at);
    let (_, leader_silent_longest_ms, _) = spans(&samples, leader_is_silent, asked_at);
    let members = members(&samples);
    Ok(Summary {
        samples: count(samples.len()),
        first_ms: first.t_ms,
        last_ms: last.t_ms,
        longest_unobserved_ms: samples.windows(2).map(|pair| pair[1].t_ms - pair[0].t_ms).max().unwrap_or(0),
        fewest_answering: fewest(&samples, |view| view.ok),
        fewest_healthy: fewest(&samples, crate::member::View::is_healthy),
        leaderless_total_ms,
        leaderless_longest_ms,
        leader_silent_longest_ms,
        leaders: leaders(&samples, &members),
        members,
    })
}

/// The leader on which all members that name one agree.
fn leader(sample: &Sample) -> Option<&str> {
    let mut named =
        sample.endpoints.values().filter(|view| view.ok).filter_map(|view| view.leader_id.as_deref());
    let first = named.next()?;
    named.all(|other| other == first).then_some(first)
}

fn leader_is_silent(sample: &Sample) -> bool {
    leader(sample).is_some_and(|leader| {
        !sample.endpoints.values().any(|view| view.ok && view.member_id.as_deref() == Some(leader))
    })
}

fn asked_at(sample: &Sample) -> u64 {
    sample.t_ms
}

/// Total, longest and number of the times in which `bad` held; `end` says when the first sample
/// that is not bad ended such a time.
fn spans(samples: &[Sample], bad: impl Fn(&Sample) -> bool, end: impl Fn(&Sample) -> u64) -> (u64, u64, u64) {
    let (mut total, mut longest, mut number) = (0, 0, 0);
    let mut since: Option<u64> = None;
    for sample in samples {
        match (bad(sample), since) {
            (true, None) => {
                number += 1;
                since = Some(sample.t_ms);
            }
            (false, Some(start)) => {
                total += end(sample) - start;
                longest = longest.max(end(sample) - start);
                since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    // Still bad at the end: it lasted at least until the last sample.
    if let (Some(start), Some(last)) = (since, samples.last()) {
        total += last.t_ms - start;
        longest = longest.max(last.t_ms - start);
    }
    (total, longest, number)
}

fn fewest(samples: &[Sample], good: impl Fn(&crate::member::View) -> bool) -> u64 {
    samples
        .iter()
        .map(|sample| count(sample.endpoints.values().filter(|view| good(view)).count()))
        .min()
        .unwrap_or(0)
}

fn members(samples: &[Sample]) -> BTreeMap<String, MemberSummary> {
    let names: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.endpoints.keys()).collect();
    names.into_iter().map(|name| (name.clone(), member(samples, name))).collect()
}

fn member(samples: &[Sample], name: &str) -> MemberSummary {
    // A sample without the endpoint counts as no answer.
    let silent = |sample: &Sample| !sample.endpoints.get(name).is_some_and(|view| view.ok);
    let answered_at = |sample: &Sample| {
        let took_ms = sample.endpoints.get(name).map_or(0, |view| view.took_ms);
        sample.t_ms + took_ms
    };
    let (total_silence_ms, longest_silence_ms, silences) = spans(samples, silent, answered_at);
    let mut summary =
        MemberSummary { longest_silence_ms, total_silence_ms, silences, ..MemberSummary::default() };
    for sample in samples {
        let Some(view) = sample.endpoints.get(name) else {
            continue;
        };
        if view.ok {
            summary.slowest_answer_ms = summary.slowest_answer_ms.max(view.took_ms);
        }
        summary.member_ids.extend(view.member_id.clone());
        if let Some(version) = &view.version {
            summary.first_seen_ms.entry(version.clone()).or_insert(sample.t_ms);
        }
    }
    summary
}

fn leaders(samples: &[Sample], members: &BTreeMap<String, MemberSummary>) -> Vec<LeaderChange> {
    let mut changes: Vec<LeaderChange> = Vec::new();
    for sample in samples {
        let now = leader(sample);
        if changes.last().is_some_and(|change| change.leader_id.as_deref() == now) {
            continue;
        }
        let endpoint = members
            .iter()
            .find(|(_, member)| now.is_some_and(|id| member.member_ids.contains(id)))
            .map(|(name, _)| name.clone());
        changes.push(LeaderChange { t_ms: sample.t_ms, leader_id: now.map(str::to_owned), endpoint });
    }
    changes
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since =
            |t_ms: u64| format!("+{}.{:03} s", (t_ms - self.first_ms) / 1000, (t_ms - self.first_ms) % 1000);
        writeln!(
            f,
            "{} samples over {} ms, the longest time unobserved {} ms",
            self.samples,
            self.last_ms - self.first_ms,
            self.longest_unobserved_ms
        )?;
        writeln!(
            f,
            "fewest members answering {}, fewest healthy {}",
            self.fewest_answering, self.fewest_healthy
        )?;
        writeln!(
            f,
            "leaderless {} ms in total, {} ms at the longest; the named leader silent for {} ms at the longest",
            self.leaderless_total_ms, self.leaderless_longest_ms, self.leader_silent_longest_ms
        )?;
        for (name, member) in &self.members {
            let versions: Vec<String> = member
                .first_seen_ms
                .iter()
                .map(|(version, t_ms)| format!("{version} from {}", since(*t_ms)))
                .collect();
            writeln!(
                f,
                "{name}: silent {} times, {} ms in total, {} ms at the longest; slowest answer {} ms; {}",
                member.silences,
                member.total_silence_ms,
                member.longest_silence_ms,
                member.slowest_answer_ms,
                if versions.is_empty() { "never answered".to_owned() } else { versions.join(", ") }
            )?;
        }
        for change in &self.leaders {
            let leader = change.leader_id.as_deref().unwrap_or("none");
            let endpoint = change.endpoint.as_deref().unwrap_or("-");
            writeln!(f, "leader {leader} ({endpoint}) from {}", since(change.t_ms))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
