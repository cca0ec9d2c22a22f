//! What must hold, each said in a line whether it holds or not.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use drydock_witness::acks::Ack;
use drydock_witness::lines;
use drydock_witness::summary::Summary;

use super::scene::{MEMBERS, Scene, Seen, Starts, code};
use crate::exec::Output;
use crate::fleet::run::RunSeen;

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    failed: Vec<String>,
}

impl Proofs {
    /// Says it, and remembers it if it does not hold.
    pub(super) fn check(&mut self, holds: bool, what: impl Into<String>) {
        let what = what.into();
        println!("  {} {what}", if holds { "✓" } else { "✗" });
        if !holds {
            self.failed.push(what);
        }
    }

    /// The exit code that a command of the operator ended with.
    pub(super) fn exit(&mut self, output: &Output, wanted: i32, command: &str) {
        let is = code(output);
        let but = if is == wanted { String::new() } else { format!(", but ended with {is}") };
        self.check(is == wanted, format!("{command} ends with exit code {wanted}{but}"));
    }

    /// Fails if anything did not hold.
    pub(super) fn conclude(self) -> Result<()> {
        ensure!(self.failed.is_empty(), "this did not hold:\n  - {}", self.failed.join("\n  - "));
        Ok(())
    }

    /// Every acknowledged write on every member, and two members answering at every moment.
    pub(super) fn untouched_service(&mut self, seen: &Seen) {
        let (report, summary) = (&seen.report, &seen.summary);
        self.check(
            report.is_intact() && report.members.len() == MEMBERS,
            format!(
                "every one of {} acknowledged writes reads back from each of {} members \
                 ({} got no answer; longest time between two acknowledgements {} ms)",
                report.acknowledged,
                report.members.len(),
                report.unknown,
                report.longest_ack_gap_ms
            ),
        );
        self.check(
            summary.fewest_answering >= 2,
            format!(
                "at no sample of {} fewer than two members healthy (fewest: {}; leaderless {} ms in all, {} ms at \
                 the longest; longest time unobserved {} ms)",
                summary.samples,
                summary.fewest_answering,
                summary.leaderless_total_ms,
                summary.leaderless_longest_ms,
                summary.longest_unobserved_ms
            ),
        );
    }

    /// The witnesses were there from before the run until after it: what they did not see, nobody saw.
    pub(super) fn watched_all_of(&mut self, run: &RunSeen, seen: &Seen) -> Result<()> {
        let acks: Vec<Ack> = lines::read_all(&seen.acks)?;
        let times = || acks.iter().map(|ack| ack.acked_unix_ms);
        let (written, observed) =
            ((times().min(), times().max()), (seen.summary.first_ms, seen.summary.last_ms));
        let spans = |first: u64, last: u64| {
            first < run.started_unix_ms && run.ended_unix_ms.is_some_and(|ended| last > ended)
        };
        let writer = matches!(written, (Some(first), Some(last)) if spans(first, last));
        self.check(
            writer && spans(observed.0, observed.1),
            format!("writer and observer began before run {} and ended after it", run.number),
        );
        Ok(())
    }

    /// Each member's own answer is this version.
    pub(super) fn all_answer(&mut self, versions: &BTreeMap<String, Option<String>>, wanted: &str) {
        let all =
            versions.len() == MEMBERS && versions.values().all(|version| version.as_deref() == Some(wanted));
        self.check(all, format!("by their own answers all members run {wanted}: {versions:?}"));
    }

    /// Each member was started exactly once since `before`, with the new binary.
    pub(super) fn restarted_once(&mut self, before: &Starts, now: &Starts, version: &str) {
        for (node, starts) in now {
            let known = before.get(node);
            let new: Vec<_> =
                starts.iter().filter(|start| !known.is_some_and(|known| known.contains(start))).collect();
            let said: Vec<_> = new.iter().map(|start| start.version.as_deref().unwrap_or("?")).collect();
            self.check(
                said == [version],
                format!("{node}: one start of etcd during the run, of {version} (seen: {said:?})"),
            );
        }
    }

    /// Nothing of etcd was started or stopped since `before`.
    pub(super) fn not_restarted<'a>(
        &mut self,
        before: &Starts,
        now: &Starts,
        nodes: impl IntoIterator<Item = &'a str>,
    ) {
        for node in nodes {
            self.check(before.get(node) == now.get(node), format!("{node}: etcd was not restarted"));
        }
    }

    /// The leader was upgraded last, after the others, and after it had handed leadership over.
    pub(super) fn leader_last(&mut self, scene: &Scene<'_>, summary: &Summary) {
        match hand_over(summary, &scene.newer.version) {
            Ok(text) => self.check(true, text),
            Err(why) => self.check(false, format!("the leader last, after it handed over: {why}")),
        }
    }
}

/// Endpoints in the order in which they first answered the version, and when.
pub(super) fn order(summary: &Summary, version: &str) -> Vec<(u64, String)> {
    let first_seen = |(name, member): (&String, &drydock_witness::summary::MemberSummary)| {
        Some((*member.first_seen_ms.get(version)?, name.clone()))
    };
    let mut order: Vec<_> = summary.members.iter().filter_map(first_seen).collect();
    order.sort();
    order
}

/// From what the observer saw: the last member led until all others were upgraded, then another took over,
/// and only then did the last one change.
fn hand_over(summary: &Summary, version: &str) -> Result<String, String> {
    let order = order(summary, version);
    let [.., (others_done, _), (last_done, last)] = order.as_slice() else {
        return Err(format!("only {} members were seen with {version}", order.len()));
    };
    let led: Vec<_> = summary.leaders.iter().filter(|change| change.endpoint.is_some()).collect();
    let until =
        led.iter().rposition(|change| change.endpoint.as_ref() == Some(last) && change.t_ms < *last_done);
    let Some(until) = until else {
        return Err(format!(
            "{last} was upgraded last and was never seen to lead before: {:?}",
            summary.leaders
        ));
    };
    let Some(next) = led.get(until + 1).filter(|change| change.t_ms <= *last_done) else {
        return Err(format!("{last} still led when it came back with {version}: {:?}", summary.leaders));
    };
    if next.t_ms < *others_done {
        return Err(format!("{last} handed over before the others were upgraded: {:?}", summary.leaders));
    }
    Ok(format!(
        "the leader {last} was upgraded last: it handed over to {} {} ms after the others had {version}, and came \
         back with it {} ms later",
        next.endpoint.as_deref().unwrap_or("?"),
        next.t_ms - others_done,
        last_done - next.t_ms
    ))
}
