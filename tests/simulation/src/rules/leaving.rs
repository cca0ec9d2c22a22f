//! A service goes out of service: may it, by what the others are?

use drydock_core::plan::Plan;
use drydock_types::EffectId;

use super::Rules;
use crate::ground::{By, Ground, Turn};

/// Somebody else's disruption is held against a decision only when it is so old that every way of noticing it
/// has had its time: a stream's silence, a look's age, a section's lapse, and the steps before the first
/// disruptive one.
pub const NOTICED_MS: u64 = 150_000;

/// Are two hosts in one failure domain of a plan? A domain that is not known may be any.
pub(super) fn shares_domain(ground: &Ground, plan: &Plan, one: usize, other: usize) -> bool {
    let (one, other) = (ground.hosts[one].zone.as_ref(), ground.hosts[other].zone.as_ref());
    plan.budget.domain_label.is_none() || one.is_none() || other.is_none() || one == other
}

impl Rules {
    /// Looks at everything that turned.
    pub fn turned(&mut self, ground: &Ground, turns: &[Turn], now_ms: u64) {
        for turn in turns {
            if let Some(By::Us(effect)) = turn.out {
                self.budget(ground, turn.host, effect, now_ms);
                self.quorum(ground, turn.host, effect, now_ms);
            }
        }
    }

    /// Rule 1: over all runs, and counting what others did.
    fn budget(&mut self, ground: &Ground, host: usize, effect: EffectId, now_ms: u64) {
        let Some(intent) = self.intents.get(&effect) else { return };
        let Some(run) = self.runs.get(&intent.run) else { return };
        let budget = run.plan.budget.per_failure_domain as usize;
        let shares = |of: usize| shares_domain(ground, &run.plan, host, of);
        // Of what others did only a machine that is gone is seen by everybody: its agent is silent. A service that
        // somebody stopped beside a living agent is seen by the checks that look at it, and no other.
        // And only what was there when the section was accepted: an agent ends or takes back what it has begun
        // without asking anybody, in the slot that is the section's until it is over.
        let judged_ms = self.began_ms.get(&host).copied().unwrap_or(now_ms);
        let aside = |of: usize| self.aside.contains(&of);
        let counts = |of: usize| match ground.hosts[of].out {
            _ if aside(of) => false,
            // What a store that was copied or restored has lost, its coordinator does not know.
            _ if !self.copied && !self.split && self.marks.is_marked(ground, of) => true,
            Some(out) if matches!(out.by, By::Us(_)) => true,
            Some(out) => !ground.hosts[of].powered && judged_ms >= out.since_ms + NOTICED_MS,
            None => false,
        };
        let others: Vec<usize> =
            (0..ground.hosts.len()).filter(|of| *of != host && shares(*of) && counts(*of)).collect();
        if others.len() >= budget {
            let names: Vec<String> = others
                .iter()
                .map(|of| {
                    format!("{} ({:?})", ground.hosts[*of].name, ground.hosts[*of].out.map(|out| out.by))
                })
                .collect();
            let name = &ground.hosts[host].name;
            self.broken(1, now_ms, || {
                format!(
                    "{name} was taken out of service while out already: {} (budget {budget})",
                    names.join(", ")
                )
            });
        }
    }

    /// Rule 6: the healthy rest is a majority of all, unless the plan accepts the outage.
    fn quorum(&mut self, ground: &Ground, host: usize, effect: EffectId, now_ms: u64) {
        if !ground.voters().any(|voter| voter == host) {
            return;
        }
        let accepted = self
            .intents
            .get(&effect)
            .and_then(|intent| self.runs.get(&intent.run))
            .is_some_and(|run| run.plan.stages.iter().any(|stage| stage.outage.contains_key("etcd")));
        let voters = ground.voters().count();
        let down = |voter: &usize| {
            ground.hosts[*voter]
                .out
                .is_some_and(|out| matches!(out.by, By::Us(_)) || now_ms >= out.since_ms + NOTICED_MS)
        };
        let left = ground.voters().filter(|voter| *voter != host && !down(voter)).count();
        if left < voters / 2 + 1 && !accepted {
            let name = &ground.hosts[host].name;
            self.broken(6, now_ms, || {
                format!("the etcd member on {name} was stopped, and {left} of {voters} voters are left")
            });
        }
    }
}
