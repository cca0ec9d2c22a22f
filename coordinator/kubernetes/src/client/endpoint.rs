//! One endpoint: a request, a watch, and when it is worth trying again.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::Stream;
use http::{HeaderMap, Request as HttpRequest, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::{Timestamp, fmt::rfc2822};
use kube_client::{Config, client::ConfigExt as _, config::AuthInfo};
use tokio::time::Instant;
use tower::{
    BoxError, ServiceBuilder, ServiceExt as _,
    timeout::Timeout,
    util::{BoxCloneSyncService, MapFuture},
};

use super::{ClientError, lines, why};
use crate::{
    api::{Answer, Line, Method, Request},
    kubeconfig::{Authority, Credentials, Endpoint, Identity, User},
};

/// TCP and TLS to a server that is there take milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A machine that is gone without a word is noticed so, also under a watch that has nothing to tell.
const KEEPALIVE: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// For how long an endpoint goes to the end of the row: at first, and at most.
const REST: Duration = Duration::from_secs(2);
const REST_MOST: Duration = Duration::from_secs(30);
/// A clock that was heard of longer ago can have been set since.
const CLOCK_COUNTS: Duration = Duration::from_secs(60);
/// The longest answer, in bytes. Lists are asked for in pages.
const MOST_BODY: usize = 32 << 20;

type Body = Full<Bytes>;
type Https = BoxCloneSyncService<HttpRequest<Body>, Response<Incoming>, BoxError>;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request never left.
    NotSent(String),
    /// It may have arrived.
    Unanswered(String),
}

impl Failure {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::NotSent(why) | Self::Unanswered(why) => why,
        }
    }

    pub(super) const fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Unanswered(_))
    }
}

/// Since when it rests, and for how long the next time.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    last: Duration,
}

/// What a server's clock said beside ours, and when that was.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ahead_s: i64,
    heard: Instant,
}

/// An endpoint.
pub(super) struct End {
    url: Endpoint,
    https: Https,
    rest: Mutex<Rest>,
    clock: Mutex<Option<Clock>>,
}

impl fmt::Debug for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("End").field("url", &self.url).finish_non_exhaustive()
    }
}

impl End {
    pub(super) fn new(endpoint: &Endpoint, credentials: &Credentials) -> Result<Self, ClientError> {
        let unusable = |why: String| ClientError::Unusable { endpoint: endpoint.clone(), why };
        let config = config(endpoint, credentials).map_err(unusable)?;
        let https = https(&config).map_err(|why| unusable(why::chain(&why)))?;
        Ok(Self { url: endpoint.clone(), https, rest: Mutex::default(), clock: Mutex::default() })
    }

    pub(super) const fn url(&self) -> &Endpoint {
        &self.url
    }

    fn rest_state(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the server's clock is before this machine's, where it said so lately.
    pub(super) fn clock_ahead_s(&self) -> Option<i64> {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.filter(|clock| clock.heard.elapsed() < CLOCK_COUNTS).map(|clock| clock.ahead_s)
    }

    fn hear_clock(&self, headers: &HeaderMap) {
        let says = text(headers, &header::DATE).and_then(|date| rfc2822::parse(date).ok());
        let Some(says) = says else { return };
        let ahead_s = says.timestamp().as_second().saturating_sub(Timestamp::now().as_second());
        let clock = Clock { ahead_s, heard: Instant::now() };
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    pub(super) fn is_resting(&self) -> bool {
        self.rest_state().until.is_some_and(|until| Instant::now() < until)
    }

    /// It did not answer: the others go first for a while, longer each time.
    pub(super) fn rest(&self) {
        let mut rest = self.rest_state();
        rest.last = (rest.last * 2).clamp(REST, REST_MOST);
        rest.until = Some(Instant::now() + rest.last);
    }

    pub(super) fn answered(&self) {
        *self.rest_state() = Rest::default();
    }

    /// One request, within its time, and its answer.
    pub(super) async fn call(&self, request: &Request) -> Result<Answer, Failure> {
        let http = http_request(request)?;
        in_time(request.within, async {
            let response = self.send(http).await?;
            self.hear_clock(response.headers());
            answer(response).await
        })
        .await
    }

    /// A watch: its lines until `lives` has passed, or an answer that is no stream.
    pub(super) async fn watch(
        &self,
        path: &str,
        opens_within: Duration,
        lives: Duration,
    ) -> Result<Result<impl Stream<Item = Line> + use<>, Answer>, Failure> {
        let ends_at = Instant::now() + lives;
        let ask = Request { method: Method::Get, path: path.to_owned(), body: None, within: opens_within };
        let http = http_request(&ask)?;
        let opened = in_time(opens_within, async {
            let response = self.send(http).await?;
            match response.status() {
                StatusCode::OK => Ok(Ok(response)),
                _ => answer(response).await.map(Err),
            }
        });
        let url = self.url.clone();
        Ok(opened.await?.map(|response| lines::of(response.into_body(), url, ends_at)))
    }

    async fn send(&self, request: HttpRequest<Body>) -> Result<Response<Incoming>, Failure> {
        self.https.clone().oneshot(request).await.map_err(|error| {
            let why = why::of(error.as_ref());
            // Whatever fails while connecting has sent nothing.
            match error.downcast_ref::<legacy::Error>() {
                Some(error) if !error.is_connect() => Failure::Unanswered(why),
                Some(_) | None => Failure::NotSent(why),
            }
        })
    }
}

async fn in_time<T>(within: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(within, work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::Unanswered(format!("no answer within {within:?}"))),
    }
}

fn http_request(request: &Request) -> Result<HttpRequest<Body>, Failure> {
    let (method, content_type) = match request.method {
        Method::Get => (http::Method::GET, None),
        Method::Post => (http::Method::POST, Some("application/json")),
        Method::MergePatch => (http::Method::PATCH, Some("application/merge-patch+json")),
        Method::Delete => (http::Method::DELETE, Some("application/json")),
    };
    let mut http = HttpRequest::builder().method(method).uri(&request.path);
    http = http.header(header::ACCEPT, "application/json");
    if let (Some(content_type), Some(_)) = (content_type, &request.body) {
        http = http.header(header::CONTENT_TYPE, content_type);
    }
    let body = Full::new(request.body.clone().unwrap_or_default().into());
    http.body(body).map_err(|why| Failure::NotSent(format!("{:?} is no path: {why}", request.path)))
}

async fn answer(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MOST_BODY)
        .collect()
        .await
        .map_err(|error| Failure::Unanswered(format!("its answer broke off: {}", why::of(error.as_ref()))))?;
    Ok(Answer {
        status: head.status.as_u16(),
        retry_after: text(&head.headers, &header::RETRY_AFTER)
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs),
        content_type: text(&head.headers, &header::CONTENT_TYPE)
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .unwrap_or_default(),
        body: body.to_bytes().to_vec(),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// kube-client's parts without its own order of them: no retries, no log lines of errors that a drain expects, a limit
/// on TLS as well as on TCP.
fn https(config: &Config) -> Result<Https, kube_client::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(2));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let tls = Timeout::new(config.rustls_https_connector_with_connector(tcp)?, CONNECT_WITHIN);
    // hyper wants a future that can be moved.
    let tls = MapFuture::new(tls, Box::pin);
    let client = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(BoxCloneSyncService::new(service))
}

fn config(endpoint: &Endpoint, credentials: &Credentials) -> Result<Config, String> {
    let mut config = Config::new(endpoint.as_str().parse().map_err(|why| format!("{why}"))?);
    match &credentials.authority {
        Authority::Pem(pem) => config.root_cert = Some(certificates(pem)?),
        Authority::File(path) => {
            let pem = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
            config.root_cert = Some(certificates(&pem)?);
            config.root_cert_file = Some(path.clone());
        }
        Authority::System => {}
    }
    config.tls_server_name.clone_from(&credentials.tls_server_name);
    config.auth_info = match &credentials.user {
        User::Token(token) => AuthInfo { token: Some(token.expose().into()), ..AuthInfo::default() },
        User::TokenFile(path) => {
            AuthInfo { token_file: Some(path.display().to_string()), ..AuthInfo::default() }
        }
        User::Certificate(Identity { certificate, key }) => AuthInfo {
            client_certificate_data: Some(base64(certificate)),
            client_key_data: Some(base64(key.expose()).into()),
            ..AuthInfo::default()
        },
    };
    Ok(config)
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|_| "the certificate authority is no PEM of certificates".to_owned())?;
    Ok(read.into_iter().map(|certificate| certificate.to_vec()).collect())
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
