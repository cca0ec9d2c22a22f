//! Enrolment: a one-time token and a request become a certificate. The only call without one.

use std::sync::Arc;

use drydock_proto::agent::{EnrollRequest, EnrollResponse, enroll_service_server::EnrollService};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::App;
use crate::{
    store::registry::{NewNode, RegistryError},
    trust,
};

/// Enrolments at once: anybody may ask, and each waits on a thread for the disk.
const AT_ONCE: usize = 16;
/// The largest request: a token and a certificate request have 2 KiB.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The service.
#[derive(Debug, Clone)]
pub struct Enroll {
    app: Arc<App>,
    places: Arc<Semaphore>,
}

impl Enroll {
    /// With a few places.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[tonic::async_trait]
impl EnrollService for Enroll {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let asked = request.into_inner();
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the coordinator is stopping"))?;
        let app = Arc::clone(&self.app);
        // Not given up with a caller that goes away: whom the store knows, the driver must know.
        let done = tokio::spawn(async move {
            let _place = place;
            let worker = Arc::clone(&app);
            let response = tokio::task::spawn_blocking(move || enrol(&worker, &asked)).await;
            let response = response.map_err(|_| failed())??;
            app.publish_nodes().await?;
            Ok(Response::new(response))
        });
        done.await.map_err(|_| failed())?
    }
}

fn failed() -> Status {
    Status::internal("the enrolment failed; the coordinator's log says where")
}

/// Token and node become one row change in one transaction; of two at once one wins, and only then is
/// anything sent.
fn enrol(app: &App, asked: &EnrollRequest) -> Result<EnrollResponse, Status> {
    let now = app.trust.clock.now_unix_s();
    let tokens = app.registry.at_enrolment();
    let enrolled =
        trust::enrol(&app.ca, &tokens, asked, app.node_ttl_s, now).map_err(|error| error.status())?;
    let new = NewNode {
        token: enrolled.token.id,
        name: enrolled.token.node.clone(),
        key: enrolled.issued.key,
        serial: enrolled.issued.serial,
        until_unix_s: enrolled.issued.not_after_unix_s,
    };
    let registered = app.registry.enrol_node(&new, now).map_err(|error| refused(&new, &error))?;
    if let Some(old) = registered.replaced {
        app.trust.revoked.change(|revoked| {
            revoked.keys.insert(old);
        });
        app.sessions.drop_key(old);
    }
    tracing::info!(node = %new.name, key = %new.key.short(), "enrolled");
    Ok(enrolled.response)
}

fn refused(new: &NewNode, error: &RegistryError) -> Status {
    match error {
        RegistryError::Refused(why) => {
            tracing::warn!(target: "drydock::refused", node = %new.name, %why, "an enrolment was refused");
            Status::permission_denied(why.to_string())
        }
        RegistryError::Store(error) => super::store_failed(error),
    }
}
