//! A server on loopback that behaves as it is told, and remembers what it was asked.

use std::{
    convert::Infallible,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, stream};
use http::{Request as HttpRequest, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

use crate::kubeconfig::{Authority, Credentials, Identity, Secret, User, endpoints};

/// An authority of one test.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A token for these servers.
    pub(crate) fn credentials(&self, urls: &[&str]) -> Credentials {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        Credentials {
            endpoints: endpoints(&urls).unwrap(),
            authority: Authority::Pem(self.0.pem()),
            tls_server_name: None,
            user: User::Token(Secret::new("the-token")),
        }
    }

    pub(crate) fn identity(&self, name: &str) -> User {
        let (certificate, key) = self.certificate(name);
        User::Certificate(Identity { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }
}

/// How a request is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, content type, body; where it has a Retry-After, that.
    Answer(u16, &'static str, String, Option<u64>),
    /// With this as its time.
    Dated(String),
    /// Never.
    Hang,
    /// The connection breaks.
    Break,
    /// These chunks, and then.
    Chunks(Vec<String>, Then),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    End,
    Hang,
    Break,
}

pub(crate) fn json(status: u16, body: &str) -> Reply {
    Reply::Answer(status, "application/json", body.to_owned(), None)
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Reply {
    let body = serde_json::json!({"kind": "Status", "reason": reason, "message": message, "code": code});
    json(code, &body.to_string())
}

pub(crate) fn plain(code: u16, body: &str) -> Reply {
    Reply::Answer(code, "text/plain; charset=utf-8", body.to_owned(), Some(1))
}

type Replies = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// What arrived: `GET /path`, its Authorization, whether a client certificate came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) asked: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) certificate: bool,
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers `reply(asked)`, with a certificate for 127.0.0.1.
    pub(crate) async fn start(ca: &Ca, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_as(ca, "127.0.0.1", reply).await
    }

    pub(crate) async fn start_as(
        ca: &Ca,
        name: &str,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(ca, Ipv4Addr::LOCALHOST, name, reply).await
    }

    /// A machine of its own: at this address of loopback's, with a certificate for it.
    pub(crate) async fn start_at(
        ca: &Ca,
        at: Ipv4Addr,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(ca, at, &at.to_string(), reply).await
    }

    async fn serve(
        ca: &Ca,
        at: Ipv4Addr,
        name: &str,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((at, 0))).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(tls(ca, name)));
        let (reply, seen): (Replies, _) = (Arc::new(reply), Arc::default());
        let shared = Arc::clone(&seen);
        let accept = async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, reply, seen) = (acceptor.clone(), Arc::clone(&reply), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let certificate = tls.get_ref().1.peer_certificates().is_some();
                    let serve = service_fn(move |request| {
                        answer(note(&request, certificate, &seen), Arc::clone(&reply))
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), serve).await;
                });
            }
        };
        Self { url, seen, task: tokio::spawn(accept).abort_handle() }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `GET /path` of each request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.asked).collect()
    }
}

/// Nobody listens there.
pub(crate) async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

/// Somebody listens there, and never says a word, not even of TLS.
pub(crate) async fn mute() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (format!("https://{}", listener.local_addr().unwrap()), listener)
}

fn tls(ca: &Ca, name: &str) -> ServerConfig {
    let (certificate, key) = ca.certificate(name);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.0.der().to_vec())).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap()
}

fn note(request: &HttpRequest<Incoming>, certificate: bool, seen: &Mutex<Vec<Seen>>) -> String {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let asked = format!("{} {}", request.method(), request.uri());
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    seen.lock().unwrap().push(Seen { asked: asked.clone(), authorization, content_type, certificate });
    asked
}

type Body = BoxBody<Bytes, std::io::Error>;

async fn answer(asked: String, reply: Replies) -> Result<Response<Body>, std::io::Error> {
    let broken = || std::io::Error::other("told to break");
    match reply(&asked) {
        Reply::Hang => pending().await,
        Reply::Break => Err(broken()),
        Reply::Answer(status, content_type, body, after) => {
            let mut response = Response::builder().status(status).header("content-type", content_type);
            if let Some(after) = after {
                response = response.header("retry-after", after);
            }
            let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
            Ok(response.body(body.boxed()).unwrap())
        }
        Reply::Dated(date) => {
            let body = Full::new(Bytes::from("{}")).map_err(|never: Infallible| match never {});
            Ok(Response::builder().header("date", date).body(body.boxed()).unwrap())
        }
        Reply::Chunks(chunks, then) => {
            let chunks = stream::iter(chunks.into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))));
            let end = stream::once(async move {
                match then {
                    // What is to be flushed goes out where a body is pending.
                    Then::Break => {
                        tokio::task::yield_now().await;
                        Err(broken())
                    }
                    Then::Hang | Then::End => pending().await,
                }
            });
            let body: Body = match then {
                Then::End => BodyExt::boxed(StreamBody::new(chunks)),
                Then::Hang | Then::Break => BodyExt::boxed(StreamBody::new(chunks.chain(end))),
            };
            Ok(Response::new(body))
        }
    }
}
