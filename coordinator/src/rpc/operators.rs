//! The operators' service. Whoever holds an operator's certificate may call; what is done is recorded with
//! the name in it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drydock_core::view::{RunView, StartedView};
use drydock_proto::{
    PROTOCOL, edge,
    operator::{
        AddArtifactRequest, AddClusterRequest, AmendRunRequest, AuditRequest, BindNodeRequest,
        ClusterRequest, ControlRunRequest, CreateTokenRequest, CreateTokenResponse, Document,
        DrainLeftRequest, FreezeFleetRequest, InfoRequest, InfoResponse, LabelNodeRequest,
        ListArtifactsRequest, ListClustersRequest, ListNodesRequest, ListRunsRequest, ListTokensRequest,
        PlanRequest, RevokeTokenRequest, RevokeTokenResponse, RollbackRunRequest, ShowFleetRequest,
        ShowNodeRequest, ShowRunRequest, StandNodeRequest, StartRunRequest, TakeOverRequest,
        control_run_request::Verb, operator_service_server::OperatorService,
    },
    tls::TokenId,
};
use drydock_types::{Label, NodeName, RunId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{App, gone, planning, store_failed, views, views::to_document};
use crate::{
    driver::{ControlVerb, OperatorError, clock::wall_ms},
    store::{
        RunStore as _, StoreError,
        registry::{NodeRow, RegistryError},
    },
    trust::{self, token},
};

/// A watcher is shown a change at most so often.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// And at least so often, so that "how long" moves.
const WATCH_AT_LEAST: Duration = Duration::from_secs(1);
/// How many tokens and artifacts a list shows.
const LISTED: u32 = 1000;

/// The service.
#[derive(Debug, Clone)]
pub struct Operators(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OperatorService for Operators {
    async fn info(&self, request: Request<InfoRequest>) -> Answer<InfoResponse> {
        trust::operator_peer(&request)?;
        Ok(Response::new(InfoResponse {
            fleet: self.0.ca.fleet().to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            epoch: self.0.sessions.fence().epoch.0,
            protocol: PROTOCOL,
        }))
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        let by = trust::operator_peer(&request)?.name;
        let asked = request.into_inner();
        let node = NodeName::parse(&asked.node_name).map_err(views::invalid)?;
        let labels = labels(&asked.labels)?;
        let ttl_s =
            if asked.ttl_s == 0 { token::TTL_S } else { i64::try_from(asked.ttl_s).unwrap_or(i64::MAX) };
        let now = self.0.trust.clock.now_unix_s();
        let (text, row) = token::mint(&self.0.ca, &self.0.advertise, node, labels, &by, ttl_s, now)
            .map_err(views::invalid)?;
        let (id, expires_unix_s) = (row.id.to_string(), row.expires_unix_s);
        let replace = asked.replace;
        self.0.blocking(move |app| app.registry.insert_token(&row, replace)).await?;
        tracing::info!(%by, %id, node = asked.node_name, "made a join token");
        Ok(Response::new(CreateTokenResponse { token: text.to_text(), id, expires_unix_s }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let now = self.0.trust.clock.now_unix_s();
        let tokens = self.0.blocking(|app| app.registry.tokens(LISTED)).await?;
        let tokens: Vec<_> = tokens.into_iter().map(|stored| views::token(stored, now)).collect();
        Ok(Response::new(to_document(&tokens)))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        let by = trust::operator_peer(&request)?.name;
        let text = request.into_inner().id;
        let id = TokenId::parse(&text).ok_or_else(|| {
            Status::invalid_argument("a token id is 16 hex digits; see `drydock token list`")
        })?;
        let now = self.0.trust.clock.now_unix_s();
        self.registry(move |app| app.registry.revoke_token(id, now)).await?;
        tracing::info!(%by, id = text, "revoked a join token");
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let nodes = self.nodes(None).await?;
        Ok(Response::new(to_document(&nodes)))
    }

    async fn show_node(&self, request: Request<ShowNodeRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let name = NodeName::parse(&request.into_inner().node_name).map_err(views::invalid)?;
        self.node_document(name).await
    }

    async fn why_node(&self, request: Request<ShowNodeRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let name = NodeName::parse(&request.into_inner().node_name).map_err(views::invalid)?;
        let why = self.0.driver.with(move |driver, now| (driver.why_node(&name, now), Vec::new()));
        let view = why.await.map_err(gone)?.map_err(|error| refused(&error))?;
        Ok(Response::new(to_document(&view)))
    }

    async fn check_node(&self, request: Request<ShowNodeRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let name = NodeName::parse(&request.into_inner().node_name).map_err(views::invalid)?;
        let node = self.node(name).await?;
        Ok(Response::new(to_document(&super::check_node::check(&self.0, &node).await)))
    }

    async fn node_live(&self, request: Request<ShowNodeRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let name = NodeName::parse(&request.into_inner().node_name).map_err(views::invalid)?;
        let node = self.node(name).await?;
        Ok(Response::new(to_document(&super::node_live::look(&self.0, node.name).await)))
    }

    async fn node_versions(&self, request: Request<ListNodesRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let nodes = self.nodes(None).await?.into_iter().map(|node| node.name).collect();
        Ok(Response::new(to_document(&super::versions::of(&self.0, nodes).await)))
    }

    async fn label_node(&self, request: Request<LabelNodeRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let asked = request.into_inner();
        let name = NodeName::parse(&asked.node_name).map_err(views::invalid)?;
        let set = labels(&asked.set)?;
        let remove: Vec<Label> = asked
            .remove
            .iter()
            .map(|key| Label::parse(key))
            .collect::<Result<_, _>>()
            .map_err(views::invalid)?;
        let (node, this) = (name.clone(), self.clone());
        // A caller that goes away meanwhile must not leave the driver with other labels than the store's:
        // a failure domain is one.
        let changed = tokio::spawn(async move {
            let changed = this
                .registry(move |app| {
                    for (key, value) in &set {
                        app.registry.set_label(&node, key, value)?;
                    }
                    for key in &remove {
                        app.registry.remove_label(&node, key)?;
                    }
                    Ok(())
                })
                .await;
            // Also of a change that was refused half-way.
            this.0.publish_nodes().await?;
            changed
        });
        changed
            .await
            .map_err(|_| Status::internal("the request failed; the coordinator's log says where"))??;
        tracing::info!(%by, node = %name, "changed a node's labels");
        self.node_document(name).await
    }

    async fn stand_node(&self, request: Request<StandNodeRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::people::stand(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn bind_node(&self, request: Request<BindNodeRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::clusters::bind(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn add_cluster(&self, request: Request<AddClusterRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::clusters::add(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn list_clusters(&self, request: Request<ListClustersRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        Ok(Response::new(to_document(&super::clusters::list(&self.0).await?)))
    }

    async fn test_cluster(&self, request: Request<ClusterRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let view = super::clusters::test(&self.0, &request.into_inner()).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn check_cluster(&self, request: Request<ClusterRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let view = super::clusters::check(&self.0, &request.into_inner()).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn remove_cluster(&self, request: Request<ClusterRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::clusters::remove(&self.0, &request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn show_fleet(&self, request: Request<ShowFleetRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        Ok(Response::new(to_document(&super::people::fleet(&self.0).await?)))
    }

    async fn freeze_fleet(&self, request: Request<FreezeFleetRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::people::freeze(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn amend_run(&self, request: Request<AmendRunRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let view = super::people::amend(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn drain_left(&self, request: Request<DrainLeftRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let view = super::people::drain_left(&self.0, request.into_inner()).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn add_artifact(&self, request: Request<Streaming<AddArtifactRequest>>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let row = super::uploads::artifact(&self.0, by, request.into_inner()).await?;
        Ok(Response::new(to_document(&views::artifact(row))))
    }

    async fn list_artifacts(&self, request: Request<ListArtifactsRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let rows = self.0.blocking(|app| app.registry.artifacts(LISTED)).await?;
        let artifacts: Vec<_> = rows.into_iter().map(views::artifact).collect();
        Ok(Response::new(to_document(&artifacts)))
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let bundle = planning::read(&request.into_inner().bundle)?;
        let (_, view) = planning::compile(&self.0, &bundle, &by).await?;
        Ok(Response::new(to_document(&view)))
    }

    async fn start_run(&self, request: Request<StartRunRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let asked = request.into_inner();
        let bundle = planning::read(&asked.bundle)?;
        let (plan, view) = planning::compile(&self.0, &bundle, &by).await?;
        if let Some(blocker) = view.blockers.first() {
            let node = blocker.node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default();
            let more = view.blockers.len() - 1;
            let why =
                format!("{node}{}; and {more} more: `drydock plan {}` lists them", blocker.what, bundle.file);
            return Err(Status::failed_precondition(why));
        }
        self.artifacts_are_here(&plan).await?;
        let (digest, name) = (plan.digest, plan.name.to_string());
        let rehearsed = self.0.blocking(move |app| app.registry.rehearsal(digest, &name)).await?;
        let policies = self.0.driver.with(|driver, _| (driver.policies(), Vec::new())).await.map_err(gone)?;
        let warnings = crate::rehearsal::fleet::warnings(&plan, rehearsed.as_ref(), &policies);
        let id = run_id().map_err(|error| Status::internal(error.to_string()))?;
        let started = self.0.driver.with(move |driver, now| {
            match driver.start_run(plan, &by, asked.no_wait, id, now) {
                Ok((number, behind, outputs)) => (Ok((number, behind)), outputs),
                Err(error) => (Err(error), Vec::new()),
            }
        });
        let (number, queued_behind) = started.await.map_err(gone)?.map_err(|error| refused(&error))?;
        Ok(Response::new(to_document(&StartedView { number, plan: view, queued_behind, warnings })))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let runs = self.0.driver.with(|driver, _| (driver.list(), Vec::new())).await.map_err(gone)?;
        Ok(Response::new(to_document(&runs.map_err(|error| refused(&error))?)))
    }

    async fn show_run(&self, request: Request<ShowRunRequest>) -> Answer<Document> {
        trust::operator_peer(&request)?;
        let view = show(&self.0, request.into_inner().run).await?;
        Ok(Response::new(to_document(&view)))
    }

    type AuditStream = ReceiverStream<Result<Document, Status>>;

    async fn audit(&self, request: Request<AuditRequest>) -> Answer<Self::AuditStream> {
        trust::operator_peer(&request)?;
        let asked = request.into_inner();
        let nonce = edge::sha256(&asked.nonce).map_err(views::invalid)?;
        let (lines, sent) = mpsc::channel(4);
        tokio::spawn(super::audit::send(
            Arc::clone(&self.0),
            super::audit::Asked { run: asked.run, nonce },
            lines,
        ));
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    type RehearseStream = ReceiverStream<Result<Document, Status>>;

    async fn rehearse(&self, request: Request<PlanRequest>) -> Answer<Self::RehearseStream> {
        let by = trust::operator_peer(&request)?.name;
        let bundle = planning::read(&request.into_inner().bundle)?;
        let (views, sent) = mpsc::channel(16);
        tokio::spawn(crate::rehearsal::rehearse(Arc::clone(&self.0), bundle, by, views));
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    async fn take_over(&self, request: Request<TakeOverRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let confirmed = request.into_inner().confirmed_epoch;
        let view = super::takeover::take_over(&self.0, by, confirmed).await?;
        Ok(Response::new(to_document(&view)))
    }

    type WatchRunStream = ReceiverStream<Result<Document, Status>>;

    async fn watch_run(&self, request: Request<ShowRunRequest>) -> Answer<Self::WatchRunStream> {
        trust::operator_peer(&request)?;
        // A newest run is named once, so that the view does not jump to another.
        let first = show(&self.0, request.into_inner().run).await?;
        let (views, sent) = mpsc::channel(4);
        tokio::spawn(watch(Arc::clone(&self.0), first, views));
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    async fn rollback_run(&self, request: Request<RollbackRunRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let asked = request.into_inner();
        let node = match asked.node_name.as_str() {
            "" => None,
            name => Some(NodeName::parse(name).map_err(views::invalid)?),
        };
        let id = run_id().map_err(|error| Status::internal(error.to_string()))?;
        let done = self.0.driver.with(move |driver, now| {
            match driver.rollback(asked.run, node.as_ref(), &by, id, now) {
                Ok((view, outputs)) => (Ok(view), outputs),
                Err(error) => (Err(error), Vec::new()),
            }
        });
        let view = done.await.map_err(gone)?.map_err(|error| refused(&error))?;
        Ok(Response::new(to_document(&view)))
    }

    async fn control_run(&self, request: Request<ControlRunRequest>) -> Answer<Document> {
        let by = trust::operator_peer(&request)?.name;
        let asked = request.into_inner();
        let verb = match asked.verb() {
            Verb::Pause => ControlVerb::Pause,
            Verb::Resume => ControlVerb::Resume,
            Verb::Abort => ControlVerb::Abort,
            Verb::Unspecified => return Err(Status::invalid_argument("say pause, resume or abort")),
        };
        let done = self.0.driver.with(move |driver, now| match driver.control(asked.run, verb, &by, now) {
            Ok((view, outputs)) => (Ok(view), outputs),
            Err(error) => (Err(error), Vec::new()),
        });
        let view = done.await.map_err(gone)?.map_err(|error| refused(&error))?;
        Ok(Response::new(to_document(&view)))
    }
}

impl Operators {
    async fn registry<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, Status> {
        let app = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        match done.map_err(|_| Status::internal("the request failed; the coordinator's log says where"))? {
            Ok(value) => Ok(value),
            Err(RegistryError::Refused(why)) => Err(Status::failed_precondition(why.to_string())),
            Err(RegistryError::Store(error)) => Err(store_failed(&error)),
        }
    }

    async fn nodes(&self, only: Option<NodeName>) -> Result<Vec<drydock_core::view::NodeView>, Status> {
        let rows: Vec<NodeRow> = self.0.blocking(|app| app.registry.nodes()).await?;
        let now = self.0.driver.with(move |driver, _| {
            let now =
                driver.nodes().into_iter().filter(|node| only.as_ref().is_none_or(|only| *only == node.name));
            let now: Result<BTreeMap<NodeName, views::NodeNow>, StoreError> = now
                .map(|node| {
                    let components = driver.store().components(&node.name)?;
                    let (agent, since_unix_ms, run) = (node.agent, node.since.wall_ms, node.run);
                    let standing = node.standing;
                    Ok((node.name, views::NodeNow { agent, since_unix_ms, run, standing, components }))
                })
                .collect();
            (now, Vec::new())
        });
        let mut now = now.await.map_err(gone)?.map_err(|error| store_failed(&error))?;
        let believed = rows.iter().filter(|row| row.revoked.is_none());
        Ok(believed.filter_map(|row| Some(views::node(row, now.remove(&row.name)?))).collect())
    }

    async fn node(&self, name: NodeName) -> Result<drydock_core::view::NodeView, Status> {
        let node = self.nodes(Some(name.clone())).await?.into_iter().next();
        node.ok_or_else(|| {
            Status::not_found(format!("there is no node {name}; `drydock node list` shows them"))
        })
    }

    async fn node_document(&self, name: NodeName) -> Answer<Document> {
        Ok(Response::new(to_document(&self.node(name).await?)))
    }

    /// A run is not begun on bytes that are not there.
    async fn artifacts_are_here(&self, plan: &drydock_core::plan::Plan) -> Result<(), Status> {
        for stage in &plan.stages {
            let Some(artifact) = &stage.artifact else { continue };
            let sha256 = artifact.sha256;
            if self.0.blocking(move |app| app.registry.artifact(sha256)).await?.is_none() {
                let why = format!(
                    "the artifact of stage {} ({}) is not in the coordinator's store: add it with `drydock artifact add`",
                    stage.name,
                    sha256.short()
                );
                return Err(Status::failed_precondition(why));
            }
        }
        Ok(())
    }
}

fn labels(raw: &std::collections::HashMap<String, String>) -> Result<BTreeMap<Label, Label>, Status> {
    let checked = raw.iter().map(|(key, value)| Ok((Label::parse(key)?, Label::parse(value)?)));
    checked.collect::<Result<_, drydock_types::Invalid>>().map_err(views::invalid)
}

/// A ULID's bits: 48 of milliseconds, 80 random.
fn run_id() -> Result<RunId, trust::SealError> {
    let mut id: [u8; 16] = trust::seal::random()?;
    id[..6].copy_from_slice(&wall_ms().to_be_bytes()[2..]);
    Ok(RunId(id))
}

pub(super) fn refused(error: &OperatorError) -> Status {
    let text = error.to_string();
    match error {
        OperatorError::NoSuchRun(_) | OperatorError::NoRun | OperatorError::NoSuchNode(_) => {
            Status::not_found(text)
        }
        OperatorError::Closed(_) | OperatorError::Refused(_) => Status::failed_precondition(text),
        OperatorError::WouldQueue(_) | OperatorError::NodeChanged(_) => Status::aborted(text),
        OperatorError::NotTakenBack(_) => Status::failed_precondition(text),
        OperatorError::Stopping => Status::unavailable(text),
        OperatorError::Store(error) => store_failed(error),
    }
}

async fn show(app: &Arc<App>, run: u64) -> Result<RunView, Status> {
    let view = app.driver.with(move |driver, now| (driver.show(run, now), Vec::new())).await.map_err(gone)?;
    view.map_err(|error| refused(&error))
}

/// A view now, and one after every change, until the run is over or the watcher gone.
async fn watch(app: Arc<App>, first: RunView, views: mpsc::Sender<Result<Document, Status>>) {
    let run = first.number;
    let mut changes = app.driver.changes();
    let mut stopping = app.stopping.subscribe();
    let mut view = first;
    loop {
        let over = view.status.is_closed();
        if views.send(Ok(to_document(&view))).await.is_err() || over {
            return;
        }
        tokio::select! {
            () = views.closed() => return,
            changed = changes.changed() => if changed.is_err() {
                let _ = views.send(Err(Status::unavailable("the coordinator is stopping"))).await;
                return;
            },
            // Said once, when the coordinator stops.
            _ = stopping.changed() => {
                let _ = views.send(Err(Status::unavailable("the coordinator is stopping"))).await;
                return;
            }
            () = tokio::time::sleep(WATCH_AT_LEAST) => {}
        }
        // A burst of changes is one view.
        tokio::time::sleep(WATCH_EVERY).await;
        view = match show(&app, run).await {
            Ok(view) => view,
            Err(status) => {
                let _ = views.send(Err(status)).await;
                return;
            }
        };
    }
}
