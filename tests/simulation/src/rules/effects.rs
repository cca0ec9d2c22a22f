//! What agents accept, begin and change.

use drydock_types::{EffectId, Fence, SectionKind, Sha256, Step, Version};

use super::{Intent, Rules};
use crate::ground::{By, Ground};

/// How long a journal's write may take in the simulation: the lapse is judged right before it.
const WRITE_MS: u64 = 50;
/// What a section may wait for at the most (rule 7).
const LAPSE_MS: u64 = 5000;

impl Rules {
    /// A coordinator's commit holds this effect from now on.
    pub fn decided_durably(&mut self, effect: EffectId, intent: Intent, now_ms: u64) {
        match self.intents.get(&effect) {
            Some(known) if known.payload != intent.payload && !self.copied => {
                let (kind, node) = (intent.kind, intent.node);
                self.broken(3, now_ms, || {
                    format!(
                        "effect {} ({kind:?} on {node}) was decided again with other bytes",
                        effect.short()
                    )
                });
            }
            Some(_) => {}
            None => {
                self.intents.insert(effect, intent);
            }
        }
    }

    /// A section is on the agent's disk for good.
    pub fn accepted(&mut self, ground: &Ground, host: usize, effect: EffectId, now_ms: u64) {
        let name = ground.hosts[host].name.clone();
        let Some(intent) = self.intents.get(&effect).cloned() else {
            return self.broken(2, now_ms, || {
                format!("{name} accepted effect {}, which no store holds as decided", effect.short())
            });
        };
        if intent.node != name {
            self.broken(2, now_ms, || format!("{name} accepted a section for {}", intent.node));
        }
        let received = self.received_ms.get(&(effect, host)).copied();
        if received.is_none_or(|at| now_ms > at + LAPSE_MS + WRITE_MS) {
            self.broken(7, now_ms, || {
                format!("{name} began effect {} received at {received:?} ms: it had lapsed", effect.short())
            });
        }
        // A store that was copied or restored cannot know that it was handed out before.
        let took_place = || self.changes.keys().any(|(of, _)| *of == effect);
        if self.lost.contains(&effect) && !self.copied && took_place() {
            self.broken(3, now_ms, || {
                format!(
                    "{name} begins effect {} once more, which changed it before its journal was lost",
                    effect.short()
                )
            });
        }
        if matches!(intent.kind, SectionKind::Apply | SectionKind::Undo) {
            self.began_ms.insert(host, now_ms);
            self.one_after_another(ground, host, &intent, now_ms);
            if let Some(run) = self.runs.get_mut(&intent.run) {
                run.let_out.insert(name.clone());
                run.changed.insert(name, now_ms);
            }
        }
    }

    /// Rule 4: whoever was changed before is back, and has been for its whole soak.
    fn one_after_another(&mut self, ground: &Ground, host: usize, intent: &Intent, now_ms: u64) {
        let Some(run) = self.runs.get(&intent.run) else { return };
        let name = &ground.hosts[host].name;
        let wave_of = |node: &drydock_types::NodeName| {
            let waves = run.plan.stages.iter().flat_map(|stage| &stage.waves);
            waves.filter(|wave| wave.nodes.iter().any(|other| &other.name == node)).collect::<Vec<_>>()
        };
        let together = wave_of(name).iter().map(|wave| wave.concurrency as usize).max().unwrap_or(1);
        let mut unfinished = Vec::new();
        for (node, at_ms) in &run.changed {
            let Some(other) = ground.host(node).filter(|_| node != name) else { continue };
            let there = &ground.hosts[other];
            if there.others_ms.is_some_and(|others| others + 1000 >= *at_ms) {
                // Somebody else did something there since: what it is now is not this run's doing alone.
                continue;
            }
            let soak_ms = wave_of(node).iter().map(|wave| wave.soak.0).min().unwrap_or(0);
            let out = there.out.is_some_and(|out| matches!(out.by, By::Us(_)));
            let soaking =
                there.out.is_none() && there.in_since_ms >= *at_ms && now_ms < there.in_since_ms + soak_ms;
            let taken_back = self.taken_back(ground, other);
            if out || (soaking && !taken_back) {
                unfinished.push(format!("{node} (out: {out}, back since {} ms)", there.in_since_ms));
            }
        }
        if unfinished.len() >= together && !self.split {
            self.broken(4, now_ms, || format!("{name} begins its change before {}", unfinished.join(", ")));
        }
    }

    /// Does the host run what its last effect did not bring? Then nothing soaks there.
    fn taken_back(&self, ground: &Ground, host: usize) -> bool {
        let host = &ground.hosts[host];
        let to = host.touched_by.and_then(|effect| self.intents.get(&effect)).map(|intent| &intent.to);
        let runs = host.process.and_then(|process| ground.releases.get(&process.exe)).map(|it| &it.version);
        runs != to
    }

    /// A step that changes the node is about to take place.
    pub fn begins(
        &mut self,
        ground: &Ground,
        host: usize,
        effect: EffectId,
        step: &Step,
        index: u32,
        now_ms: u64,
    ) {
        let name = &ground.hosts[host].name;
        let truth = &self.journals[host];
        if !truth.accepted.contains(&effect) {
            return self.broken(2, now_ms, || {
                format!(
                    "{name} does {} of effect {}, which its disk does not hold",
                    step.name(),
                    effect.short()
                )
            });
        }
        if !truth.begun.contains(&(effect, index)) {
            self.broken(2, now_ms, || {
                format!(
                    "{name} does {} of effect {} without the intent on its disk",
                    step.name(),
                    effect.short()
                )
            });
        }
    }

    /// A step of an effect changed something in the world.
    pub fn changed(
        &mut self,
        ground: &Ground,
        host: usize,
        effect: EffectId,
        step: &'static str,
        now_ms: u64,
    ) {
        let count = self.changes.entry((effect, step)).or_insert(0);
        *count += 1;
        let last_ms = self.changed_ms.insert((effect, step), now_ms);
        // Somebody else may have put back what it was: then it is done again, and rightly.
        let others_since = ground.hosts[host].others_ms.zip(last_ms).is_some_and(|(at, last)| at >= last);
        let count = *count;
        if count > 1 && !others_since && !self.older.remove(&(effect, step)) {
            let name = ground.hosts[host].name.clone();
            self.broken(3, now_ms, || {
                format!("{step} of effect {} took place {count} times on {name}", effect.short())
            });
        }
    }

    /// Rule 11: the file that is put in place is no older than what runs, unless the plan permits it.
    pub fn no_way_down(&mut self, ground: &Ground, host: usize, effect: EffectId, new: Sha256, now_ms: u64) {
        let Some(intent) = self.intents.get(&effect) else { return };
        let Some(run) = self.runs.get(&intent.run) else { return };
        let permitted = run.plan.stages.iter().any(|stage| stage.allow_downgrade && stage.to == intent.to);
        let version = |digest: &Sha256| ground.releases.get(digest).map(|release| release.version.clone());
        let runs = ground.hosts[host].process.and_then(|process| version(&process.exe));
        let (Some(runs), Some(new)) = (runs, version(&new)) else { return };
        if !permitted && new.compare(&runs).is_none_or(std::cmp::Ordering::is_lt) {
            let name = ground.hosts[host].name.clone();
            self.broken(11, now_ms, || {
                format!("{name} runs {runs} and was given {new}, which nobody permitted")
            });
        }
        // A store that was copied or restored may know nothing of it.
        if self.quarantined.contains(&(host, new.clone())) && !self.copied && !self.split {
            let name = ground.hosts[host].name.clone();
            self.broken(11, now_ms, || {
                format!("{new} was rolled back on {name}, nobody released it, and it was applied again")
            });
        }
        let again = self.failed.get(&(host, new.clone())).is_some_and(|before| *before == effect);
        if again {
            let name = ground.hosts[host].name.clone();
            self.broken(11, now_ms, || format!("{new} failed on {name} and was applied again unasked"));
        }
    }

    /// A host's journal is gone with everything in it.
    pub fn journal_lost(&mut self, host: usize) {
        let truth = &self.journals[host];
        self.lost.extend(truth.accepted.difference(&truth.ended).copied());
    }

    /// A host's journal is an older one, as it was looked at again.
    pub fn journal_is_older(&mut self, host: usize) {
        let truth = &self.journals[host];
        for effect in truth.accepted.difference(&truth.ended) {
            let steps = self.intents.get(effect).into_iter().flat_map(|intent| &intent.steps);
            for (step, index) in steps.copied().zip(0..) {
                if !truth.done.contains(&(*effect, index)) && self.changes.contains_key(&(*effect, step)) {
                    self.older.insert((*effect, step));
                }
            }
        }
    }

    /// A version was seen to fail on a host.
    pub fn failed_there(&mut self, host: usize, version: Version, effect: EffectId) {
        self.failed.insert((host, version), effect);
    }

    /// An agent obeys this fence from now on, on its disk.
    pub fn obeyed(&mut self, ground: &Ground, host: usize, fence: Fence, now_ms: u64) {
        let seen = self.journals[host].fence;
        if seen.is_some_and(|seen| fence.epoch < seen.epoch || (fence.epoch == seen.epoch && fence != seen)) {
            let name = ground.hosts[host].name.clone();
            self.broken(2, now_ms, || format!("{name} obeys {fence:?} after {seen:?}"));
        }
        self.journals[host].fence = Some(fence);
    }
}
