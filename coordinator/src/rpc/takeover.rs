//! `drydock takeover`: the situation, and putting this coordinator in the other's place.

use std::{sync::Arc, time::Duration};

use drydock_core::view::{TakeOverView, TakenOverView};
use drydock_types::InstanceId;
use tonic::Status;

use super::{App, gone, store_failed};
use crate::trust;

/// How long agents stay away when they are asked to say Hello again.
const COME_BACK_AFTER: Duration = Duration::from_millis(200);

/// Shows the situation; with `confirmed`, the highest epoch that the operator saw, takes over.
///
/// # Errors
/// When the evidence is another by now, the other coordinator is alive, or the store does not take it.
pub(super) async fn take_over(app: &Arc<App>, by: String, confirmed: u64) -> Result<TakeOverView, Status> {
    let enrolled = app.blocking(|app| app.registry.nodes()).await?;
    let is_enrolled = |key| enrolled.iter().any(|row| row.key == key && row.revoked.is_none());
    if app.fencing.keep(is_enrolled) {
        // A machine that was retired meanwhile was the only one: no reason not to go on.
        let gone_on = app.driver.with(|driver, now| match driver.unfence(now) {
            Ok(outputs) => (Ok(()), outputs),
            Err(error) => (Err(error), Vec::new()),
        });
        gone_on.await.map_err(gone)?.map_err(|error| store_failed(&error))?;
        // Who sat down in between was not heard of by the driver: everybody says Hello again.
        app.sessions.clear("the coordinator goes on", COME_BACK_AFTER);
        tracing::warn!(%by, "no enrolled machine obeys another coordinator any more: this one goes on");
    }
    let Some(view) = app.fencing.view() else {
        return Ok(TakeOverView::Obeyed { epoch: app.sessions.fence().epoch.0 });
    };
    if confirmed == 0 {
        return Ok(TakeOverView::Fenced(view));
    }
    let (reported, highest) = app.fencing.reported();
    if confirmed != highest {
        return Err(Status::failed_precondition(format!(
            "the highest epoch that an agent reports is {highest}, not {confirmed}: look at the evidence again:  drydock takeover"
        )));
    }
    if let Some(alive) = app.fencing.alive() {
        return Err(Status::failed_precondition(format!(
            "not taken over: {alive}. Two coordinators must not both work: stop that one, wait a minute, and look again:  drydock takeover"
        )));
    }
    let instance = InstanceId(trust::seal::random().map_err(|error| Status::internal(error.to_string()))?);
    let from = view.epoch;
    let (sessions, fencing, who) = (app.sessions.clone(), Arc::clone(&app.fencing), by.clone());
    let taken = app.driver.with(move |driver, now| {
        // Nobody sits while the fence changes: whoever comes is told the new one.
        match driver.take_over_above(instance, &reported, &who, now) {
            Ok((fence, outputs)) => {
                sessions.set_fence(fence);
                fencing.taken_over(fence);
                (Ok((fence, driver.open_numbers())), outputs)
            }
            Err(error) => (Err(error), Vec::new()),
        }
    });
    let (fence, runs) = taken.await.map_err(gone)?.map_err(|error| store_failed(&error))?;
    tracing::warn!(%by, from, to = fence.epoch.0, "took over: agents obey this coordinator from now on");
    Ok(TakeOverView::TakenOver(TakenOverView { from, to: fence.epoch.0, runs }))
}
