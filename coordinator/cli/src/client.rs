//! The coordinator, as commands call it: typed answers, deadlines, errors that say what to do.

use std::time::Duration;

use drydock_core::view::{
    ArtifactView, ControlView, NodeView, PlanView, RunLineView, RunView, StartedView, TokenView,
};
use drydock_proto::{
    limits::MAX_MESSAGE_BYTES,
    operator::{
        self as wire, Document, control_run_request::Verb, operator_service_client::OperatorServiceClient,
    },
};
use drydock_types::document;
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

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
            Ok(Ok(response)) => Ok(response.into_inner()),
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

    /// Sets and removes labels.
    pub(crate) async fn label_node(&self, change: wire::LabelNodeRequest) -> Result<NodeView, CliError> {
        let answer = self.call(CALL_TIMEOUT, change, |mut to, ask| async move { to.label_node(ask).await });
        read("node", &answer.await?)
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

    /// Opens the stream of a run's views. The raw status tells the caller whether to try again.
    pub(crate) async fn watch(&self, run: u64) -> Result<Streaming<Document>, Status> {
        let mut client = self.inner.clone();
        let opened = client.watch_run(Request::new(wire::ShowRunRequest { run }));
        match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(opened) => opened.map(Response::into_inner),
            Err(_) => Err(Status::unavailable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// A status of [`Client::watch`] as an error.
    pub(crate) fn error(&self, status: &Status) -> CliError {
        status::to_error(status, &self.address)
    }
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
