//! One request to one server, over HTTP/1.1, with TLS where the URL says `https`: the system's roots judge it.
//!
//! No redirect is followed, no proxy asked, and no more read than an answer may have.

use std::{fmt::Display, sync::Arc, time::Duration};

use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Answer, Unanswered};

/// How long all of it may take: less than a probe through an agent.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Asks an instant query.
///
/// # Errors
/// When the URL is none, or the server could not be asked.
pub(super) async fn query(url: &str, query: &str) -> Result<Answer, Unanswered> {
    let uri = target(url, query).map_err(Unanswered::Refused)?;
    let unknown = |why: String| Unanswered::Unknown(format!("Prometheus at {url}: {why}"));
    let asked = tokio::time::timeout(DEADLINE, ask(&uri)).await;
    asked.map_err(|_| unknown(format!("no answer within {} s", DEADLINE.as_secs())))?.map_err(unknown)
}

pub(super) fn target(url: &str, query: &str) -> Result<Uri, String> {
    let wrong = |why: &dyn Display| format!("{url:?} is no URL of a Prometheus: {why}");
    let base: Uri = url.parse().map_err(|error| wrong(&error))?;
    if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
        return Err(wrong(&"it begins with http:// or https:// and a host"));
    }
    if base.query().is_some() {
        return Err(wrong(&"the query has its own key"));
    }
    let (path, query) = (base.path().trim_end_matches('/'), utf8_percent_encode(query, NON_ALPHANUMERIC));
    let mut parts = base.clone().into_parts();
    let asked = format!("{path}/api/v1/query?query={query}&timeout={}s", DEADLINE.as_secs());
    parts.path_and_query = Some(asked.parse().map_err(|error| wrong(&error))?);
    Uri::from_parts(parts).map_err(|error| wrong(&error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_one_value_of_the_url_whatever_stands_in_it() {
        let uri = target("http://10.0.0.9:9090", "up{job=\"a&b\"} > 0#x").unwrap();
        assert_eq!(
            uri.to_string(),
            "http://10.0.0.9:9090/api/v1/query?query=up%7Bjob%3D%22a%26b%22%7D%20%3E%200%23x&timeout=5s"
        );
        assert_eq!(target("https://m.example/prom/", "up").unwrap().path(), "/prom/api/v1/query");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["", "10.0.0.9:9090", "ftp://x/", "http://", "file:///etc/passwd", "http://x/?query=up"]
        {
            assert!(target(wrong, "up").is_err(), "{wrong}");
        }
    }
}
