//! Whether those who are to be asked from another node may be, and do answer: tried before anything begins. Nothing is changed by it,
//! and at no agent does a watch stay behind.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use drydock_core::{
    observe::{Observer, Reach, reach::told},
    plan::Plan,
    recipe::RecipeSpec,
    view::FindingView,
};
use drydock_types::{
    Millis, NodeName,
    reach::{ReachTarget, ReachWatch},
};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::reach::{ANSWERS_WITHIN, Watches};
use crate::driver::clock::wall_ms;

/// How long one answer of an agent may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many are tried at once: an agent answers eight looks at a time.
const AT_ONCE: usize = 4;
/// For a first question to be over, a try waits so long.
const FIRST_ANSWER: Duration = Duration::from_millis(1_500);
/// How often it looks whether it is.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Tells two tries apart.
static TRIES: AtomicU64 = AtomicU64::new(0);

/// Who asks whom.
type Pair = (NodeName, String);

/// What agents would refuse of a plan's observers. Agents that are silent are not asked: the plan says so itself.
pub(crate) async fn refusals(
    watches: &dyn Watches,
    plan: &Plan,
    connected: impl Fn(&NodeName) -> bool,
) -> Vec<FindingView> {
    let mut pairs: BTreeMap<Pair, (Reach, ReachTarget, NodeName)> = BTreeMap::new();
    for stage in &plan.stages {
        for node in stage.waves.iter().flat_map(|wave| &wave.nodes).filter(|node| node.skip.is_none()) {
            for (from, of, target) in asked(&stage.recipe_for(node)) {
                if from != node.name && connected(&from) {
                    let pair = (from, told(&target));
                    pairs.entry(pair).or_insert_with(|| (of, target, node.name.clone()));
                }
            }
        }
    }
    let tries = pairs.into_iter().map(async |((from, what), (of, target, node))| {
        let why = watches.watch(&from, &watch(&of, target, Millis(0)), PATIENCE).await.err()?;
        Some(FindingView {
            node: Some(node),
            what: format!("{what} cannot be watched from {from}: {why}"),
            next: format!("let it, under watch_targets in the agent's policy on {from}, or name another node under `observe`"),
        })
    });
    let found: Vec<Option<FindingView>> = stream::iter(tries).buffered(AT_ONCE).collect().await;
    found.into_iter().flatten().collect()
}

/// Who of them does not answer now, or why that could not be seen, of one node's.
pub(crate) async fn silent_now(watches: &dyn Watches, recipe: &RecipeSpec) -> Vec<String> {
    let tries = asked(recipe).into_iter().map(async |(from, of, target)| {
        let what = told(&target);
        let watch = watch(&of, target, Millis::secs(5));
        let said = answers(watches, &from, &watch).await;
        // It would end by itself.
        let _ = watches.watch(&from, &ReachWatch { keep: Millis(0), ..watch }, PATIENCE).await;
        match said {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "{what} does not answer {from} now, so for how long it will be away cannot be told"
            )),
            Err(why) => Some(format!("whether {what} answers {from} could not be seen: {why}")),
        }
    });
    let found: Vec<Option<String>> = stream::iter(tries).buffered(AT_ONCE).collect().await;
    found.into_iter().flatten().collect()
}

async fn answers(watches: &dyn Watches, from: &NodeName, watch: &ReachWatch) -> Result<bool, String> {
    let until = Instant::now() + FIRST_ANSWER;
    loop {
        let view = watches.watch(from, watch, PATIENCE).await?;
        if view.answered > 0 || Instant::now() >= until {
            return Ok(view.answered > 0);
        }
        sleep(LOOKS_EVERY).await;
    }
}

fn asked(recipe: &RecipeSpec) -> Vec<(NodeName, Reach, ReachTarget)> {
    let reach = recipe.observe.iter().filter_map(|of| match of {
        Observer::Reach(of) => Some((of.from().ok()?, of)),
        Observer::ControlPlane(_) => None,
    });
    reach
        .flat_map(|(from, of)| of.to.iter().map(move |target| (from.clone(), of.clone(), target.clone())))
        .collect()
}

fn watch(of: &Reach, target: ReachTarget, keep: Millis) -> ReachWatch {
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let id = format!("try/{}/{number}", wall_ms());
    ReachWatch { id, target, every: of.every, answer_within: ANSWERS_WITHIN, keep }
}
