//! A bundle against the fleet as it is now: look, then compile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drydock_core::{
    bundle::Bundle,
    inventory::{Inventory, Seen},
    plan::{Plan, plan},
    view::PlanView,
};
use drydock_types::{Label, NodeName, Sha256, document, probe::Probe};
use tonic::Status;

use super::{App, approvers, gone, store_failed, views::invalid};
use crate::{checks, observers::trial};

/// Reads a bundle.
///
/// # Errors
/// When it is not one.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, Status> {
    document::decode("bundle", bytes).map_err(invalid)
}

/// Looks at every node that the bundle could mean and compiles, for the operator who asks.
///
/// # Errors
/// `INVALID_ARGUMENT` when the plan cannot be meant for this fleet.
pub(crate) async fn compile(app: &Arc<App>, bundle: &Bundle, by: &str) -> Result<(Plan, PlanView), Status> {
    let (mut inventory, mute) = take_stock(app, bundle).await?;
    inventory.bound = Some(super::clusters::bound(app).await?);
    // What is selected does not depend on what is seen: a first pass tells where to look.
    let (first, _) = plan(bundle, &inventory).map_err(invalid)?;
    for stage in &first.stages {
        let nodes = stage.waves.iter().flat_map(|wave| &wave.nodes);
        let connected = nodes.filter(|node| is_connected(&inventory, &node.name));
        let (silent, answering): (Vec<_>, Vec<_>) = connected
            .map(|node| (node.name.clone(), stage.recipe_for(node).detect))
            .partition(|(name, _)| mute.contains_key(name));
        let mut surveyed = checks::survey(&app.sessions, &answering).await;
        // Who did not answer a moment ago is not waited for again.
        surveyed.extend(silent.into_iter().filter_map(|(name, detect)| {
            let why = mute.get(&name)?.clone();
            let version = detect.version.map(|_| Err(why));
            Some((name, Seen { version, exe_sha256: None, role: None, down: false }))
        }));
        for (name, seen) in surveyed {
            if let Some(node) = inventory.nodes.get_mut(&name) {
                node.seen.insert(stage.name.clone(), seen);
            }
        }
    }
    let (plan, mut view) = plan(bundle, &inventory).map_err(invalid)?;
    let there = |name: &NodeName| is_connected(&inventory, name) && !mute.contains_key(name);
    view.blockers.extend(trial::refusals(&app.sessions, &plan, there).await);
    view.warnings.extend(approvers::warnings(app, &plan, by).await?);
    Ok((plan, view))
}

fn is_connected(inventory: &Inventory, name: &NodeName) -> bool {
    inventory.nodes.get(name).is_some_and(|node| node.silent_for_ms.is_none())
}

/// The inventory, and the nodes that should answer and do not, with the reason.
async fn take_stock(
    app: &Arc<App>,
    bundle: &Bundle,
) -> Result<(Inventory, BTreeMap<NodeName, String>), Status> {
    let recipes: Vec<(Label, Sha256, drydock_types::ComponentName)> = bundle
        .stages
        .iter()
        .zip(&bundle.plan.spec.stages)
        .map(|(stage, spec)| {
            (stage.stage.clone(), Sha256::of(&document::encode(&stage.recipe)), spec.component.clone())
        })
        .collect();
    let stock = app.driver.with(move |driver, now| {
        let mut inventory = driver.inventory(now);
        let medians = recipes.into_iter().map(|(stage, recipe, component)| {
            Ok(driver.median(recipe, &component)?.map(|median| (stage, median)))
        });
        let medians: Result<Vec<_>, crate::store::StoreError> = medians.collect();
        let stock = medians.map(|medians| {
            inventory.durations = medians.into_iter().flatten().collect::<BTreeMap<_, _>>();
            inventory
        });
        (stock, Vec::new())
    });
    let mut inventory = stock.await.map_err(gone)?.map_err(|error| store_failed(&error))?;
    let mute = refresh_space(app, &mut inventory).await;
    Ok((inventory, mute))
}

/// Free space changes: what Hello said of it may be days old.
async fn refresh_space(app: &App, inventory: &mut Inventory) -> BTreeMap<NodeName, String> {
    let connected: BTreeSet<NodeName> = inventory
        .nodes
        .iter()
        .filter(|(_, node)| node.silent_for_ms.is_none())
        .map(|(name, _)| name.clone())
        .collect();
    let asked = connected.into_iter().map(|name| async move {
        let look = app.sessions.observe(&name, &Probe::Host {}, std::time::Duration::from_secs(5)).await;
        (name, look)
    });
    let mut mute = BTreeMap::new();
    for (name, look) in futures_util::future::join_all(asked).await {
        match (look, inventory.nodes.get_mut(&name)) {
            (Ok(drydock_types::probe::Observation::Host(facts)), Some(node)) => {
                node.free_bytes = facts.state_free_bytes;
                node.arch = crate::heard::word(&facts.arch);
            }
            (Err(why), _) => {
                mute.insert(name, why);
            }
            (Ok(_), _) => {}
        }
    }
    mute
}
