//! What a coordinator hands out, and on what evidence.

use drydock_core::run::CheckResult;
use drydock_types::{EffectId, SectionKind};

use super::{Intent, Rules};
use crate::ground::Ground;

/// How old a look may be when something is decided on it, with a second for the decision itself.
const LOOK_MS: u64 = 31_000;

/// The look that a coordinator was told the result of right before it handed something out.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Name of the node that was looked at.
    pub node: String,
    /// When the look was begun.
    pub asked_ms: u64,
    /// What it brought.
    pub results: Vec<CheckResult>,
    /// When this coordinator started.
    pub started_ms: u64,
}

impl Rules {
    /// A node that was left half-way, and was out of service at some moment since it was looked at: its gate would
    /// only tell that. One that serves leaves service by being taken back, through the whole gate.
    fn is_taken_back_while_down(
        &self,
        ground: &Ground,
        by: usize,
        intent: &Intent,
        evidence: Option<&Evidence>,
    ) -> bool {
        let out = |evidence: &Evidence| {
            let mut hosts = ground.hosts.iter().filter(|host| host.name == intent.node);
            hosts.any(|host| host.out.is_some() || host.in_since_ms >= evidence.asked_ms)
        };
        evidence.is_some_and(out) && self.is_half_way(by, intent)
    }

    /// A section goes out.
    pub fn handed_out(
        &mut self,
        ground: &Ground,
        by: usize,
        effect: EffectId,
        evidence: Option<&Evidence>,
        now_ms: u64,
    ) {
        let Some(intent) = self.intents.get(&effect).cloned() else {
            return self.broken(2, now_ms, || {
                format!("effect {} was handed out before any store held it", effect.short())
            });
        };
        if let Some(run) = self.runs.get(&intent.run) {
            let (paused, closed, number) = (run.paused == Some(by), run.closed, run.number);
            if paused {
                self.broken(7, now_ms, || {
                    format!(
                        "run {number} was paused, and {:?} on {} was handed out",
                        intent.kind, intent.node
                    )
                });
            }
            if closed {
                self.broken(10, now_ms, || {
                    format!("run {number} is over, and {:?} on {} was handed out", intent.kind, intent.node)
                });
            }
        }
        if intent.kind == SectionKind::Stage {
            return;
        }
        let down = self.is_taken_back_while_down(ground, by, &intent, evidence);
        if self.frozen == Some(by) && !down {
            self.broken(7, now_ms, || {
                format!("the fleet was frozen, and {:?} on {} was handed out", intent.kind, intent.node)
            });
        }
        let nothing_to_see = |recipe: &drydock_core::recipe::RecipeSpec| {
            recipe.gate.is_empty() && recipe.detect.version.is_none() && recipe.detect.unit.is_none()
        };
        let blind = self.runs.get(&intent.run).is_some_and(|run| {
            let stages = run.plan.stages.iter().filter(|stage| stage.node(&intent.node).is_some());
            stages.map(|stage| &stage.recipe.spec).all(nothing_to_see)
        });
        if blind && evidence.is_none() {
            return;
        }
        let Some(evidence) = evidence else {
            return self.broken(8, now_ms, || {
                format!("{:?} on {} was handed out without a look", intent.kind, intent.node)
            });
        };
        if evidence.node != intent.node.as_str() {
            self.broken(8, now_ms, || {
                format!("{:?} on {} was handed out on a look at {}", intent.kind, intent.node, evidence.node)
            });
        }
        if evidence.asked_ms < evidence.started_ms || now_ms > evidence.asked_ms + LOOK_MS {
            self.broken(8, now_ms, || {
                format!(
                    "{:?} on {} was handed out on evidence of {} ms (this coordinator started at {} ms)",
                    intent.kind, intent.node, evidence.asked_ms, evidence.started_ms
                )
            });
        }
        let of_recipe = |check: &str| {
            let run = self.runs.get(&intent.run);
            let mut gates = run.into_iter().flat_map(|run| &run.plan.stages).map(|it| &it.recipe.spec.gate);
            gates.any(|gate| gate.iter().any(|known| known.name() == check))
        };
        let counts = |result: &&CheckResult| !(result.verdict.is_clear() || down && of_recipe(&result.check));
        if let Some(unclear) = evidence.results.iter().find(counts) {
            self.broken(8, now_ms, || {
                format!("{:?} on {} was handed out with {unclear:?}", intent.kind, intent.node)
            });
        }
        self.has_left(ground, &intent, Some(evidence), now_ms);
    }
}
