//! A client with all rights, apart from Drydock's own: it asks, and it watches.

use std::{
    convert::Infallible,
    fs,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{Error, Result};

const MERGE_PATCH: &str = "application/merge-patch+json";
/// Of one request. No answer of a healthy server takes a tenth of it.
const ANSWERED: Duration = Duration::from_secs(20);
/// Names of the JSON of a kubeconfig.
const OF_USER: [&str; 2] = ["client-certificate-data", "client-key-data"];

/// An answer, whatever it says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// `Content-Type` as it came; empty where there was none.
    pub content_type: String,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// Its JSON; a string of whatever is none.
    pub body: Value,
}

/// Asks one API server as the user of a kubeconfig: mostly one with all rights.
#[derive(Debug, Clone)]
pub struct Admin {
    url: String,
    token: Option<String>,
    client: Client<HttpsConnector<HttpConnector>, BoxBody<Bytes, Infallible>>,
}

/// A request whose body never ends: it is at work at the server until this is dropped. The server itself ends it after
/// a minute.
#[derive(Debug)]
pub struct Begun(AbortHandle);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What it has to say it never says.
struct Unfinished;

impl Body for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

impl Admin {
    /// From a kubeconfig as it is written here: one cluster, one user, in it a certificate or a token.
    ///
    /// # Errors
    /// When it cannot be read or is of another shape.
    pub fn from_kubeconfig(path: &Path) -> Result<Self> {
        // A server that is stopped and started again leaves dead connections behind: each request has its own.
        Self::with_idle(path, 0)
    }

    /// The same, over connections that are kept: for what is measured, at a server that stays.
    ///
    /// # Errors
    /// See [`Self::from_kubeconfig`].
    pub fn keeping_connections(path: &Path) -> Result<Self> {
        Self::with_idle(path, 64)
    }

    fn with_idle(path: &Path, idle: usize) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let unfit = |what: &str| Error::Unfit(format!("{}: no {what}", path.display()));
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            line.map(str::trim).ok_or_else(|| unfit(key))
        };
        let pem = |key: &str| BASE64_STANDARD.decode(value(key)?).map_err(|_| unfit(key));
        let mut roots = RootCertStore::empty();
        let authority = pem("certificate-authority-data")?;
        let authority = CertificateDer::from_pem_slice(&authority).map_err(|_| unfit("authority"))?;
        roots.add(authority).map_err(|_| unfit("authority"))?;
        let token = value("token").ok().map(str::to_owned);
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots));
        let tls = match token {
            Some(_) => tls.map(|builder| builder.with_no_client_auth()),
            None => {
                let [cert, key] = OF_USER;
                let cert = CertificateDer::from_pem_slice(&pem(cert)?).map_err(|_| unfit(cert))?;
                let key = PrivateKeyDer::from_pem_slice(&pem(key)?).map_err(|_| unfit(key))?;
                tls.and_then(|builder| builder.with_client_auth_cert(vec![cert], key))
            }
        };
        let tls = tls.map_err(|error| Error::Unfit(format!("{}: {error}", path.display())))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector);
        Ok(Self { url: value("server")?.to_owned(), token, client })
    }

    /// One request; the answer may be a refusal.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let request = format!("{method} {path}");
        let asked = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status().as_u16();
            let said =
                |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let content_type = said(header::CONTENT_TYPE).unwrap_or_default();
            let retry_after = said(header::RETRY_AFTER);
            let bytes = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
            Ok(Answer { status, content_type, retry_after, body })
        };
        match tokio::time::timeout(ANSWERED, asked).await {
            Ok(answer) => answer.map_err(|why| Error::NoAnswer { request, why }),
            Err(_) => Err(Error::NoAnswer { request, why: format!("none within {ANSWERED:?}") }),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// When there is no answer, or it is none of 2xx; so with all below.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.want(Method::GET, path, None).await
    }

    /// Creates something.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.want(Method::POST, path, Some(object)).await
    }

    /// Changes a part, by a merge-patch.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub async fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        self.want(Method::PATCH, path, Some(change)).await
    }

    /// Deletes something.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.want(Method::DELETE, path, None).await
    }

    /// Evicts a pod, as a drain does; the answer may be a refusal.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn evict(&self, namespace: &str, pod: &str) -> Result<Answer> {
        let eviction = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        self.ask(Method::POST, &path, Some(&eviction)).await
    }

    /// A token of a service account, as a pod would have it: bound to nothing, good for so many seconds (600 at least).
    ///
    /// # Errors
    /// See [`Self::get`].
    pub async fn token(&self, namespace: &str, account: &str, seconds: u32) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let asked = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds},
        });
        let mut answer = self.create(&path, &asked).await?;
        match answer["status"]["token"].take() {
            Value::String(token) => Ok(token),
            other => {
                Err(Error::Answer { request: format!("POST {path}"), status: 201, said: other.to_string() })
            }
        }
    }

    /// Begins to create something at `path` and never says what: of the requests that the server does at once for this
    /// user it is one, until it is dropped.
    #[must_use]
    pub fn begin(&self, path: &str) -> Begun {
        let (admin, path) = (self.clone(), path.to_owned());
        let asked = async move { admin.send_body(Method::POST, &path, Unfinished.boxed()).await.map(drop) };
        Begun(tokio::spawn(asked).abort_handle())
    }

    async fn want(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = format!("{method} {path}");
        let answer = self.ask(method, path, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let said = answer.body["message"].as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
        Err(Error::Answer { request, status: answer.status, said })
    }

    /// Lists `path` and watches it until `seen` finds in its objects what it looks for: called with all of them, first
    /// and after each change. A watch that breaks off, as with a server that stops, is begun again.
    ///
    /// # Errors
    /// When the time is over, with what `describe` says of the last objects.
    pub async fn until<T>(
        &self,
        what: &str,
        path: &str,
        within: Duration,
        mut seen: impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut last = Last::default();
        loop {
            let left = within.saturating_sub(began.elapsed());
            match tokio::time::timeout(left, self.follow(path, &mut last, &mut seen)).await {
                Ok(Ok(found)) => return Ok(found),
                // The server may be stopping or starting: that is what some tests are about.
                Ok(Err(why)) => last.trouble = why,
                Err(_) => {
                    return Err(Error::Waited {
                        what: what.into(),
                        waited: within,
                        seen: last.describe(path),
                    });
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// List, then watch, until found or broken off.
    async fn follow<T>(
        &self,
        path: &str,
        last: &mut Last,
        seen: &mut impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<T, String> {
        let mut list = self.get(path).await.map_err(|error| error.to_string())?;
        last.objects = match list["items"].take() {
            Value::Array(items) => items,
            _ => return Err(format!("{path} is no list")),
        };
        if let Some(found) = seen(&last.objects) {
            return Ok(found);
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let sign = if path.contains('?') { '&' } else { '?' };
        let watch = format!("{path}{sign}watch=1&resourceVersion={version}");
        let mut lines = Lines::of(self.send(Method::GET, &watch, None).await?)?;
        loop {
            let event = lines.next().await?;
            last.apply(event)?;
            if let Some(found) = seen(&last.objects) {
                return Ok(found);
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<Incoming>, String> {
        let body = Full::new(body.map(Value::to_string).unwrap_or_default().into());
        self.send_body(method, path, body.boxed()).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        body: BoxBody<Bytes, Infallible>,
    ) -> Result<http::Response<Incoming>, String> {
        let kind = if method == Method::PATCH { MERGE_PATCH } else { "application/json" };
        let mut request = Request::builder();
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, kind)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "drydock-test-admin")
            .body(body)
            .map_err(|error| error.to_string())?;
        self.client.request(request).await.map_err(|error| with_causes(&error))
    }
}

/// Before a watch that broke off is begun again.
const AGAIN: Duration = Duration::from_millis(50);

/// What a watch has shown so far.
#[derive(Default)]
struct Last {
    objects: Vec<Value>,
    trouble: String,
}

impl Last {
    fn apply(&mut self, mut event: Value) -> Result<(), String> {
        let object = event["object"].take();
        let uid = object["metadata"]["uid"].clone();
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => {
                match self.objects.iter_mut().find(|one| one["metadata"]["uid"] == uid) {
                    Some(known) => *known = object,
                    None => self.objects.push(object),
                }
            }
            Some("DELETED") => self.objects.retain(|one| one["metadata"]["uid"] != uid),
            _ => return Err(format!("the watch said {object}")),
        }
        Ok(())
    }

    fn describe(&self, path: &str) -> String {
        let names: Vec<String> = self
            .objects
            .iter()
            .map(|one| format!("{}: {}", one["metadata"]["name"], one["status"]))
            .collect();
        let trouble =
            if self.trouble.is_empty() { String::new() } else { format!(" (before: {})", self.trouble) };
        format!("{path} had {} objects{trouble}\n{}", names.len(), names.join("\n"))
    }
}

/// Lines of a body that goes on.
struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    fn of(answer: http::Response<Incoming>) -> Result<Self, String> {
        match answer.status().as_u16() {
            200 => Ok(Self { body: answer.into_body(), rest: Vec::new() }),
            status => Err(format!("the watch was answered {status}")),
        }
    }

    async fn next(&mut self) -> Result<Value, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| format!("the watch: {error}"));
            }
            let frame = self.body.frame().await.ok_or("the watch ended")?;
            let frame = frame.map_err(|error| format!("the watch broke off: {error}"))?;
            if let Ok(data) = frame.into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
