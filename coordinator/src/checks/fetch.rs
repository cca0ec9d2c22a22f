//! One request of the coordinator's own to one server, over HTTP/1.1, with TLS where the URL says `https`: the
//! system's roots judge it.
//!
//! No redirect is followed, no proxy asked, and no more read than an answer may have.

use std::{fmt::Display, sync::Arc, time::Duration};

use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long all of it may take: less than a probe through an agent.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_BODY_BYTES: usize = 1 << 20;

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks once.
///
/// # Errors
/// Why there is no answer, for people.
pub(super) async fn get(uri: &Uri) -> Result<Answer, String> {
    let asked = tokio::time::timeout(DEADLINE, ask(uri)).await;
    asked.map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))?
}

/// Does a TCP connection open?
///
/// # Errors
/// Why not, for people.
pub(super) async fn connect(address: &str) -> Result<(), String> {
    let asked = tokio::time::timeout(DEADLINE, TcpStream::connect(address)).await;
    asked.map_err(|_| format!("no connection within {} s", DEADLINE.as_secs()))?.map(drop).map_err(text)
}

async fn ask(uri: &Uri) -> Result<Answer, String> {
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let dialled = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((dialled, port)).await.map_err(text)?;
    if !secure {
        return exchange(stream, uri).await;
    }
    let name = ServerName::try_from(dialled.to_string()).map_err(text)?;
    let stream = connector().await?.connect(name, stream).await.map_err(text)?;
    exchange(stream, uri).await
}

/// The system's roots are read anew each time: they change less often than soaks look, and a file that was
/// renewed is seen.
async fn connector() -> Result<TlsConnector, String> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(text)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this host has no roots to judge its certificate by (ca-certificates)".to_string());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(text)?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(text)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await.map_err(text)?;
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    };
    // The connection is driven as long as the answer is waited for, and dropped with it.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(text)?;
            answer.await
        }
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
