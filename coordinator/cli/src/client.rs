//! The coordinator, as commands call it: typed answers, deadlines, errors that say what to do.

use std::time::Duration;

use drydock_coordinator::{
    clusters::view::{BindingView, ClusterCheckView, ClusterTestView, ClusterView},
    moves::left::DrainLeftView,
};
use drydock_core::view::{
    AmendedView, ArtifactView, ControlView, FleetView, NodeCheckView, NodeLiveView, NodeVersionsView,
    NodeView, PlanView, RehearsalStep, RollbackView, RunLineView, RunView, StandingView, StartedView,
    TakeOverView, TokenView, WhyNodeView,
};
use drydock_proto::{
    limits::MAX_MESSAGE_BYTES,
    operator::{
        self as wire, Document, control_run_request::Verb, operator_service_client::OperatorServiceClient,
    },
};
use drydock_types::{NodeName, document};
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Channel};

use crate::{cli::Global, contexts::Contexts, error::CliError, status};

/// How long a connection may take before the address is said to be wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a plan may take: the coordinator looks at every node.
const PLAN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an artifact may take: 4 GiB over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);

type Inner = OperatorServiceClient<Channel>;

/// A connection to the coordinator. A clone shares it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: Inner,
    address: String,
}

/// Connects to the coordinator of the context, within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(global: &Global) -> Result<Client, CliError> {
    let chosen = Contexts::of(global)?.pick(global.context.as_deref())?;
    let address = chosen.address()?;
    let channel = match tokio::time::timeout(CONNECT_TIMEOUT, chosen.channel()).await {
        Ok(done) => done,
        Err(_) => {
            let waited = CONNECT_TIMEOUT.as_secs();
            Err(CliError::failed(format!("coordinator {address}: no answer within {waited} s")))
        }
    };
    let channel = channel.map_err(|error| {
        error
            .hint("on its machine:  systemctl status drydock-coordinator")
            .hint("whom this context dials:  drydock context show")
    })?;
    let inner = Inner::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Ok(Client { inner, address })
}

impl Client {
    /// A call with its deadline, kept on this side too: a coordinator that is stopped answers nothing.
    async fn call<Q, A, F>(
        &self,
        limit: Duration,
        question: Q,
        method: impl FnOnce(Inner, Request<Q>) -> F,
    ) -> Result<A, CliError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(question);
        request.set_timeout(limit);
        match tokio::time::timeout(limit, method(self.inner.clone(), request)).await {
            Ok(Ok(response)) => {
                notice(response.metadata());
                Ok(response.into_inner())
            }
            Ok(Err(error)) => Err(status::to_error(&error, &self.address)),
            Err(_) => Err(status::no_answer(&self.address, limit)),
        }
    }

    /// Makes a token.
    pub(crate) async fn create_token(
        &self,
        token: wire::CreateTokenRequest,
    ) -> Result<wire::CreateTokenResponse, CliError> {
        self.call(CALL_TIMEOUT, token, |mut to, ask| async move { to.create_token(ask).await }).await
    }

    /// Every token.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenView>, CliError> {
        let ask = wire::ListTokensRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.list_tokens(ask).await });
        read("list of tokens", &answer.await?)
    }

    /// Makes a token worthless.
    pub(crate) async fn revoke_token(&self, id: String) -> Result<(), CliError> {
        let ask = wire::RevokeTokenRequest { id };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.revoke_token(ask).await });
        answer.await.map(|_| ())
    }

    /// Every node.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, CliError> {
        let ask = wire::ListNodesRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.list_nodes(ask).await });
        read("list of nodes", &answer.await?)
    }

    /// One node.
    pub(crate) async fn node(&self, node_name: String) -> Result<NodeView, CliError> {
        let ask = wire::ShowNodeRequest { node_name };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.show_node(ask).await });
        read("node", &answer.await?)
    }

    /// What keeps a node where it is.
    pub(crate) async fn why_node(&self, node_name: String) -> Result<WhyNodeView, CliError> {
        let ask = wire::ShowNodeRequest { node_name };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.why_node(ask).await });
        read("answer about a node", &answer.await?)
    }

    /// What is wrong with a node.
    pub(crate) async fn check_node(&self, node_name: String) -> Result<NodeCheckView, CliError> {
        let ask = wire::ShowNodeRequest { node_name };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.check_node(ask).await });
        read("answer about a node", &answer.await?)
    }

    /// What a node is at; its agent is asked.
    pub(crate) async fn node_live(&self, node_name: String) -> Result<NodeLiveView, CliError> {
        let ask = wire::ShowNodeRequest { node_name };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.node_live(ask).await });
        read("answer about a node", &answer.await?)
    }

    /// What runs on every node; their agents are asked.
    pub(crate) async fn node_versions(&self) -> Result<Vec<NodeVersionsView>, CliError> {
        let ask = wire::ListNodesRequest {};
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.node_versions(ask).await });
        read("list of versions", &answer.await?)
    }

    /// Sets and removes labels.
    pub(crate) async fn label_node(&self, change: wire::LabelNodeRequest) -> Result<NodeView, CliError> {
        let answer = self.call(CALL_TIMEOUT, change, |mut to, ask| async move { to.label_node(ask).await });
        read("node", &answer.await?)
    }

    /// Sets a node aside, releases or retires it; durable when this returns.
    pub(crate) async fn stand_node(&self, ask: wire::StandNodeRequest) -> Result<StandingView, CliError> {
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.stand_node(ask).await });
        read("answer about a node", &answer.await?)
    }

    /// Says which Node of which cluster a machine is; durable when this returns.
    pub(crate) async fn bind_node(&self, ask: wire::BindNodeRequest) -> Result<BindingView, CliError> {
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.bind_node(ask).await });
        read("answer about a node", &answer.await?)
    }

    /// Makes a cluster known; durable when this returns.
    pub(crate) async fn add_cluster(&self, ask: wire::AddClusterRequest) -> Result<ClusterView, CliError> {
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.add_cluster(ask).await });
        read("cluster", &answer.await?)
    }

    /// Every cluster.
    pub(crate) async fn clusters(&self) -> Result<Vec<ClusterView>, CliError> {
        let ask = wire::ListClustersRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.list_clusters(ask).await });
        read("list of clusters", &answer.await?)
    }

    /// What a cluster is like; each of its endpoints is asked.
    pub(crate) async fn test_cluster(&self, name: String) -> Result<ClusterTestView, CliError> {
        let ask = wire::ClusterRequest { name };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.test_cluster(ask).await });
        read("answer about a cluster", &answer.await?)
    }

    /// What fails in a cluster.
    pub(crate) async fn check_cluster(&self, name: String) -> Result<ClusterCheckView, CliError> {
        let ask = wire::ClusterRequest { name };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.check_cluster(ask).await });
        read("answer about a cluster", &answer.await?)
    }

    /// Has a cluster forgotten; durable when this returns.
    pub(crate) async fn remove_cluster(&self, name: String) -> Result<ClusterView, CliError> {
        let ask = wire::ClusterRequest { name };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.remove_cluster(ask).await });
        read("cluster", &answer.await?)
    }

    /// The fleet as a whole.
    pub(crate) async fn fleet(&self) -> Result<FleetView, CliError> {
        let ask = wire::ShowFleetRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.show_fleet(ask).await });
        read("fleet", &answer.await?)
    }

    /// Freezes or thaws; durable when this returns.
    pub(crate) async fn freeze(&self, ask: wire::FreezeFleetRequest) -> Result<FleetView, CliError> {
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.freeze_fleet(ask).await });
        read("fleet", &answer.await?)
    }

    /// Who is left on a node that has to leave service; the coordinator asks the cluster.
    pub(crate) async fn drain_left(&self, run: u64, node_name: String) -> Result<DrainLeftView, CliError> {
        let ask = wire::DrainLeftRequest { run, node_name };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.drain_left(ask).await });
        read("list of pods", &answer.await?)
    }

    /// Changes a live run; durable when this returns.
    pub(crate) async fn amend(&self, ask: wire::AmendRunRequest) -> Result<AmendedView, CliError> {
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.amend_run(ask).await });
        read("answer to an amendment", &answer.await?)
    }

    /// Every artifact.
    pub(crate) async fn artifacts(&self) -> Result<Vec<ArtifactView>, CliError> {
        let ask = wire::ListArtifactsRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.list_artifacts(ask).await });
        read("list of artifacts", &answer.await?)
    }

    /// Uploads an artifact; one that is there already is left as it is.
    pub(crate) async fn add_artifact<S>(&self, parts: S) -> Result<ArtifactView, CliError>
    where
        S: Stream<Item = wire::AddArtifactRequest> + Send + 'static,
    {
        let answer =
            self.call(UPLOAD_TIMEOUT, parts, |mut to, ask| async move { to.add_artifact(ask).await });
        read("artifact", &answer.await?)
    }

    /// Compiles a bundle against the fleet as it is now; changes nothing.
    pub(crate) async fn plan(&self, bundle: Vec<u8>) -> Result<PlanView, CliError> {
        let ask = wire::PlanRequest { bundle };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.plan(ask).await });
        read("plan", &answer.await?)
    }

    /// Opens the stream of a rehearsal's steps.
    pub(crate) async fn rehearse(&self, bundle: Vec<u8>) -> Result<Rehearsing, CliError> {
        let ask = wire::PlanRequest { bundle };
        let mut client = self.inner.clone();
        let opened = tokio::time::timeout(CALL_TIMEOUT, client.rehearse(Request::new(ask))).await;
        match opened {
            Ok(Ok(steps)) => Ok(Rehearsing { steps: steps.into_inner(), address: self.address.clone() }),
            Ok(Err(error)) => Err(status::to_error(&error, &self.address)),
            Err(_) => Err(status::no_answer(&self.address, CALL_TIMEOUT)),
        }
    }

    /// What agents say of another coordinator that they obey; with a confirmed epoch, takes its place.
    pub(crate) async fn take_over(&self, confirmed_epoch: u64) -> Result<TakeOverView, CliError> {
        let ask = wire::TakeOverRequest { confirmed_epoch };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.take_over(ask).await });
        read("answer to a take-over", &answer.await?)
    }

    /// Starts a run; durable when this returns.
    pub(crate) async fn start_run(&self, bundle: Vec<u8>, no_wait: bool) -> Result<StartedView, CliError> {
        let ask = wire::StartRunRequest { bundle, no_wait };
        let answer = self.call(PLAN_TIMEOUT, ask, |mut to, ask| async move { to.start_run(ask).await });
        read("answer to a start", &answer.await?)
    }

    /// Every run, newest first.
    pub(crate) async fn runs(&self) -> Result<Vec<RunLineView>, CliError> {
        let ask = wire::ListRunsRequest {};
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.list_runs(ask).await });
        read("list of runs", &answer.await?)
    }

    /// One run; 0 is the newest.
    pub(crate) async fn run(&self, run: u64) -> Result<RunView, CliError> {
        let ask = wire::ShowRunRequest { run };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.show_run(ask).await });
        read("run", &answer.await?)
    }

    /// Pauses, resumes or aborts a run; durable when this returns.
    pub(crate) async fn control(&self, run: u64, verb: Verb) -> Result<ControlView, CliError> {
        let ask = wire::ControlRunRequest { run, verb: verb.into() };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.control_run(ask).await });
        read("answer to a pause, resume or abort", &answer.await?)
    }

    /// Takes a run back, or one node of it; durable when this returns.
    pub(crate) async fn rollback(&self, run: u64, node: Option<&NodeName>) -> Result<RollbackView, CliError> {
        let node_name = node.map(ToString::to_string).unwrap_or_default();
        let ask = wire::RollbackRunRequest { run, node_name };
        let answer = self.call(CALL_TIMEOUT, ask, |mut to, ask| async move { to.rollback_run(ask).await });
        read("answer to a rollback", &answer.await?)
    }

    /// Opens the stream of a run's views. The raw status tells the caller whether to try again.
    pub(crate) async fn watch(&self, run: u64) -> Result<Streaming<Document>, Status> {
        let mut client = self.inner.clone();
        let opened = client.watch_run(Request::new(wire::ShowRunRequest { run }));
        match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(opened) => opened.map(Response::into_inner),
            Err(_) => Err(Status::unavailable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Opens the stream of the record's lines.
    pub(crate) async fn audit(&self, ask: wire::AuditRequest) -> Result<Streaming<Document>, Status> {
        let mut client = self.inner.clone();
        match tokio::time::timeout(CALL_TIMEOUT, client.audit(Request::new(ask))).await {
            Ok(opened) => opened.map(Response::into_inner),
            Err(_) => Err(Status::unavailable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }

    /// A status of [`Client::watch`] as an error.
    pub(crate) fn error(&self, status: &Status) -> CliError {
        status::to_error(status, &self.address)
    }
}

/// A rehearsal that goes on.
pub(crate) struct Rehearsing {
    steps: Streaming<Document>,
    address: String,
}

impl Rehearsing {
    /// The next step; `None` when there is none any more. A rehearsal that says nothing for too long is given up.
    pub(crate) async fn next(&mut self) -> Result<Option<RehearsalStep>, CliError> {
        match tokio::time::timeout(PLAN_TIMEOUT, self.steps.message()).await {
            Ok(Ok(Some(document))) => read("step of a rehearsal", &document).map(Some),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(status::to_error(&error, &self.address)),
            Err(_) => Err(status::no_answer(&self.address, PLAN_TIMEOUT)),
        }
    }
}

/// What a coordinator has to say beside every answer: that agents do not obey it. On stderr, percent-decoded.
fn notice(metadata: &MetadataMap) {
    let Some(said) = metadata.get("drydock-notice").and_then(|value| value.to_str().ok()) else { return };
    let text = percent_decoded(said);
    let _ = std::io::Write::write_all(
        &mut std::io::stderr().lock(),
        format!("warning: {}\n", crate::text::clean_lines(&text)).as_bytes(),
    );
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A document as its view, strictly. How large it may be, the message it came in has said.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, answer: &Document) -> Result<T, CliError> {
    document::decode_own(what, &answer.json).map_err(|why| {
        CliError::failed(format!("the coordinator's answer is not understood: {why}"))
            .hint("drydock and the coordinator are of different versions: use the same one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_notice_is_decoded_and_what_is_not_encoded_stays() {
        assert_eq!(percent_decoded("100%25 %C3%A9, 5 % %zz"), "100% é, 5 % %zz");
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let good = Document { json: document::encode(&samples::run()) };
        assert_eq!(read::<RunView>("run", &good).unwrap(), samples::run());
        let mut text = String::from_utf8(good.json).unwrap();
        text.insert_str(1, "\"surprise\":1,");
        let error = read::<RunView>("run", &Document { json: text.into_bytes() }).unwrap_err();
        assert!(error.to_string().contains("unknown field `surprise`"), "{error}");
        assert_eq!(error.exit.code(), 1);
    }
}
