//! Enrolment: a one-time token and a request become a certificate. The only call without one.

use std::sync::Arc;

use drydock_proto::agent::{EnrollRequest, EnrollResponse, enroll_service_server::EnrollService};
use tonic::{Request, Response, Status};

use super::App;
use crate::{
    store::registry::{NewNode, RegistryError},
    trust,
};

/// The service.
#[derive(Debug, Clone)]
pub struct Enroll(pub Arc<App>);

#[tonic::async_trait]
impl EnrollService for Enroll {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let asked = request.into_inner();
        let app = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || enrol(&app, &asked)).await;
        let response =
            done.map_err(|_| Status::internal("the enrolment failed; the coordinator's log says where"))??;
        self.0.publish_nodes().await?;
        Ok(Response::new(response))
    }
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
