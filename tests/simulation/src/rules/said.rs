//! What a reducer decides, before anything else has judged it, beside what is.

use drydock_types::SectionKind;

use super::{Rules, decided::Evidence};
use crate::{
    ground::{By, Ground},
    word::Word,
};

/// A cluster's alarm: since when, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// Since when.
    pub since_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// Everything that a word is held against.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The machines.
    pub ground: &'a Ground,
    /// By host: this coordinator has no stream of its agent.
    pub silent: &'a [bool],
    /// What this coordinator was told right before it decided.
    pub evidence: Option<&'a Evidence>,
}

/// Does the node not serve, or did it not when the look was begun that this is decided on?
fn is_out_already(host: usize, word: &Word, around: &Around<'_>) -> bool {
    let there = &around.ground.hosts[host];
    let evidence = around.evidence.filter(|evidence| evidence.node == word.node.as_str());
    there.out.is_some() || evidence.is_some_and(|evidence| there.in_since_ms >= evidence.asked_ms)
}

impl Rules {
    /// A section is to go out that takes its node out of service.
    pub fn said(&mut self, word: &Word, around: &Around<'_>, now_ms: u64) {
        let Some(host) = around.ground.host(&word.node) else { return };
        // Whoever is taken back while it does not serve is so in the slot that it occupies, and takes down nobody.
        if word.kind == SectionKind::Undo && is_out_already(host, word, around) {
            return;
        }
        self.leaves_room(host, word, around, now_ms);
        self.leaves_quorum(host, word, around, now_ms);
    }

    /// Rule 1: whoever is silent counts, and whoever is out by our own doing.
    fn leaves_room(&mut self, host: usize, word: &Word, around: &Around<'_>, now_ms: u64) {
        let Some(plan) = self.runs.get(&word.run).map(|run| std::sync::Arc::clone(&run.plan)) else { return };
        let hosts = &around.ground.hosts;
        // A store that was copied or restored may still have somebody set aside.
        let aside = |of: &usize| self.aside.contains(of) || self.copied && self.was_aside.contains(of);
        let ours = |of: &usize| hosts[*of].out.is_some_and(|out| matches!(out.by, By::Us(_)));
        let knows = !self.copied && !self.split;
        let marked = |of: &usize| knows && self.marks.is_marked(around.ground, *of);
        let counts = |of: &usize| around.silent[*of] || ours(of) || marked(of);
        let shares = |of: &usize| super::leaving::shares_domain(around.ground, &plan, host, *of);
        let others: Vec<&str> = (0..hosts.len())
            .filter(|of| *of != host && shares(of) && counts(of) && !aside(of))
            .map(|of| hosts[of].name.as_str())
            .collect();
        if others.len() >= plan.budget.per_failure_domain as usize {
            let what = format!(
                "{:?} on {} was decided while silent or out by our doing: {}",
                word.kind,
                word.node,
                others.join(", ")
            );
            self.broken(1, now_ms, || what);
        }
    }

    /// Rule 6: the rest is a healthy majority, as it has been since before it was looked at.
    fn leaves_quorum(&mut self, host: usize, word: &Word, around: &Around<'_>, now_ms: u64) {
        let Some(evidence) = around.evidence.filter(|evidence| evidence.node == word.node.as_str()) else {
            return;
        };
        if !around.ground.voters().any(|voter| voter == host) {
            return;
        }
        let name = word.node.clone();
        if let Some(alarm) = self.alarm
            && alarm.since_ms < evidence.asked_ms
            && now_ms < alarm.until_ms
        {
            self.broken(6, now_ms, || {
                format!("the etcd member on {name} was to be stopped while its cluster has raised an alarm")
            });
        }
        let accepted = self
            .runs
            .get(&word.run)
            .is_some_and(|run| run.plan.stages.iter().any(|stage| stage.outage.contains_key("etcd")));
        let down = |voter: &usize| {
            around.ground.hosts[*voter].out.is_some_and(|out| out.since_ms < evidence.asked_ms)
        };
        let voters = around.ground.voters().count();
        let left = around.ground.voters().filter(|voter| *voter != host && !down(voter)).count();
        if left < voters / 2 + 1 && !accepted {
            self.broken(6, now_ms, || {
                format!(
                    "the etcd member on {name} was to be stopped, and {left} of {voters} voters would be left"
                )
            });
        }
    }
}
