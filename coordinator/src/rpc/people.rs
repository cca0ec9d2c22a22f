//! What operators decide about nodes, the fleet and live runs, checked.

use std::sync::Arc;

use drydock_core::{
    standing::Release,
    view::{AmendedView, FleetView, StandingView},
};
use drydock_proto::{
    edge,
    operator::{
        AmendRunRequest, DrainLeftRequest, ForceDrain, FreezeFleetRequest, StandNodeRequest, WaveName,
        amend_run_request::Change, stand_node_request::Verb,
    },
};
use drydock_types::{ComponentName, Label, Millis, NodeName, Version};
use tonic::Status;

use super::{App, gone, operators::refused, store_failed, views::invalid};
use crate::{
    driver::{Asked, OperatorError, Output, Place},
    heard,
    moves::left::DrainLeftView,
    store::registry::RegistryError,
};

/// The longest reason that is kept, in characters.
const MAX_WHY_CHARS: usize = 500;
/// More versions are not released at once.
const MAX_NAMED: usize = 64;

/// A reason that a person gave: one line, and not nothing.
fn why(said: &str) -> Result<String, Status> {
    let said = crate::heard::text(said.trim());
    match said.chars().count() {
        0 => Err(Status::invalid_argument("say why: it stands in the record, and others read it")),
        1..=MAX_WHY_CHARS => Ok(said),
        _ => Err(Status::invalid_argument(format!("the reason is longer than {MAX_WHY_CHARS} characters"))),
    }
}

/// Sets aside, releases or retires a node.
pub(super) async fn stand(
    app: &Arc<App>,
    asked: StandNodeRequest,
    by: String,
) -> Result<StandingView, Status> {
    let name = NodeName::parse(&asked.node_name).map_err(invalid)?;
    match asked.verb() {
        Verb::Unspecified => Err(Status::invalid_argument("say set aside, release or retire")),
        Verb::SetAside => {
            let why = why(&asked.why)?;
            let done =
                app.driver.with(move |driver, now| with_outputs(driver.set_aside(&name, &by, &why, now)));
            done.await.map_err(gone)?.map_err(|error| refused(&error))
        }
        Verb::Release => {
            let release = release(&asked)?;
            let done =
                app.driver.with(move |driver, now| (driver.release(&name, &release, &by, now), Vec::new()));
            done.await.map_err(gone)?.map_err(|error| refused(&error))
        }
        Verb::Retire => {
            let why = why(&asked.why)?;
            let app = Arc::clone(app);
            // Not given up with a caller that goes away: what is on record is also done.
            let done = tokio::spawn(async move { retire(&app, name, by, why).await });
            done.await
                .map_err(|_| Status::internal("the request failed; the coordinator's log says where"))?
        }
    }
}

/// What a person releases a node from, checked.
fn release(asked: &StandNodeRequest) -> Result<Release, Status> {
    if asked.quarantine.len() > MAX_NAMED {
        return Err(Status::invalid_argument(format!("name {MAX_NAMED} versions at the most")));
    }
    let component = |text: &str| ComponentName::parse(text).map_err(invalid);
    let quarantined = |text: &String| {
        let (of, version) = text
            .split_once('@')
            .ok_or_else(|| Status::invalid_argument("a quarantine is named COMPONENT@VERSION"))?;
        Ok((component(of)?, Version::parse(version).map_err(invalid)?))
    };
    let doubt_of =
        (!asked.doubt_component.is_empty()).then(|| component(&asked.doubt_component)).transpose()?;
    Ok(Release {
        all: asked.all,
        aside: asked.aside,
        doubt: (asked.doubt || doubt_of.is_some()).then_some(doubt_of),
        quarantine: asked.quarantine.iter().map(quarantined).collect::<Result<_, Status>>()?,
        marks: asked.marks,
        machine: Some(crate::heard::word(&asked.machine)).filter(|machine| !machine.is_empty()),
        any_machine: asked.any_machine,
    })
}

/// On record first, then revoked in the store, then everywhere it is still believed.
async fn retire(app: &Arc<App>, name: NodeName, by: String, why: String) -> Result<StandingView, Status> {
    let (node, who, reason) = (name.clone(), by.clone(), why.clone());
    let noted = app.driver.with(move |driver, now| (driver.retire(&node, &who, &reason, now), Vec::new()));
    let view = noted.await.map_err(gone)?.map_err(|error| refused(&error))?;
    let now = app.trust.clock.now_unix_s();
    let (worker, node, reason) = (Arc::clone(app), name.clone(), format!("retired by {by}: {why}"));
    let revoked = tokio::task::spawn_blocking(move || worker.registry.revoke_node(&node, &reason, now)).await;
    match revoked.map_err(|_| Status::internal("the request failed; the coordinator's log says where"))? {
        Ok(row) => {
            app.trust.revoked.change(|revoked| {
                revoked.keys.insert(row.key);
            });
            app.sessions.drop_key(row.key);
        }
        Err(RegistryError::Refused(why)) => return Err(Status::failed_precondition(why.to_string())),
        Err(RegistryError::Store(error)) => return Err(store_failed(&error)),
    }
    app.publish_nodes().await?;
    tracing::info!(%by, node = %name, %why, "retired a node");
    Ok(view)
}

fn with_outputs<T>(done: Result<(T, Vec<Output>), OperatorError>) -> (Result<T, OperatorError>, Vec<Output>) {
    match done {
        Ok((view, outputs)) => (Ok(view), outputs),
        Err(error) => (Err(error), Vec::new()),
    }
}

/// Freezes or thaws.
pub(super) async fn freeze(
    app: &Arc<App>,
    asked: FreezeFleetRequest,
    by: String,
) -> Result<FleetView, Status> {
    let reason = if asked.freeze { Some(why(&asked.why)?) } else { None };
    let done = app.driver.with(move |driver, now| match reason {
        Some(why) => with_outputs(driver.freeze(&by, &why, now)),
        None => (driver.thaw(&by, now), Vec::new()),
    });
    done.await.map_err(gone)?.map_err(|error| refused(&error))
}

/// The fleet as a whole.
pub(super) async fn fleet(app: &Arc<App>) -> Result<FleetView, Status> {
    app.driver.with(|driver, now| (driver.fleet_view(now), Vec::new())).await.map_err(gone)
}

/// Changes a live run.
pub(super) async fn amend(app: &Arc<App>, asked: AmendRunRequest, by: String) -> Result<AmendedView, Status> {
    let run = asked.run;
    let change = asked.change.ok_or_else(|| Status::invalid_argument("say what is to be changed"))?;
    let change = checked(app, run, change).await?;
    let done = app.driver.with(move |driver, now| match driver.amend(run, &change, &by, now) {
        Ok((view, outputs)) => (Ok(view), outputs),
        Err(error) => (Err(error), Vec::new()),
    });
    done.await.map_err(gone)?.map_err(|error| refused(&error))
}

/// More pods than a node has.
const MOST_FORCED: usize = 1000;

/// Which pods are left on a node that has to leave service; changes nothing.
pub(super) async fn drain_left(app: &Arc<App>, asked: DrainLeftRequest) -> Result<DrainLeftView, Status> {
    let node = NodeName::parse(&asked.node_name).map_err(invalid)?;
    let (number, of) = (asked.run, node.clone());
    let request = app.driver.with(move |driver, _| (driver.forcible(number, &of), Vec::new()));
    let request = request.await.map_err(gone)?.map_err(|error| refused(&error))?;
    let mut pods = Vec::new();
    for of in &request.moves {
        pods.extend(app.carrier.left(&request, of).await.map_err(Status::failed_precondition)?);
    }
    for pod in &mut pods {
        pod.because.iter_mut().for_each(|why| *why = heard::text(why));
    }
    Ok(DrainLeftView { number: request.run, node, pods })
}

/// The pods that an operator names, as they stand there now: what is recorded is what was seen, with its budget.
async fn named(app: &Arc<App>, run: u64, asked: ForceDrain) -> Result<Asked, Status> {
    if asked.pods.is_empty() || asked.pods.len() > MOST_FORCED {
        return Err(Status::invalid_argument(format!("name 1 to {MOST_FORCED} pods")));
    }
    let there = drain_left(app, DrainLeftRequest { run, node_name: asked.node_name }).await?;
    let mut pods = Vec::new();
    for wanted in asked.pods {
        let found = there.pods.iter().find(|left| left.pod.uid == wanted.uid).ok_or_else(|| {
            let (namespace, name) = (heard::text(&wanted.namespace), heard::text(&wanted.name));
            Status::failed_precondition(format!(
                "the pod {namespace}/{name} is not on {} any more as it was seen: nothing was forced; look again with  drydock run force {run} --node {}",
                there.node, there.node
            ))
        })?;
        pods.push(found.pod.clone());
    }
    Ok(Asked::Force { node: there.node, pods, grace_s: asked.grace_s })
}

async fn checked(app: &Arc<App>, run: u64, change: Change) -> Result<Asked, Status> {
    let node = |name: &str| NodeName::parse(name).map_err(invalid);
    Ok(match change {
        Change::Approve(asked) => {
            let digest = match asked.digest.as_slice() {
                [] => None,
                bytes => Some(edge::sha256(bytes).map_err(invalid)?),
            };
            Asked::Approve { place: place(asked.wave)?, digest }
        }
        Change::Skip(asked) => Asked::Skip { node: node(&asked.node_name)? },
        Change::Extend(asked) => Asked::Extend { node: node(&asked.node_name)?, more: Millis(asked.more_ms) },
        Change::Soak(asked) => Asked::Soak { place: place(asked.wave)?, soak: Millis(asked.soak_ms) },
        Change::Concurrency(asked) => {
            Asked::Concurrency { place: place(asked.wave)?, concurrency: asked.concurrency }
        }
        Change::NoWindow(_) => Asked::NoWindow,
        Change::Force(asked) => named(app, run, asked).await?,
    })
}

fn place(wave: Option<WaveName>) -> Result<Option<Place>, Status> {
    let Some(wave) = wave else { return Ok(None) };
    let label = |text: &str| Label::parse(text).map(|label| label.to_string()).map_err(invalid);
    Ok(Some((label(&wave.stage)?, label(&wave.wave)?)))
}
