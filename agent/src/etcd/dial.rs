//! TCP, and TLS where the URL says so, to one etcd member.
//!
//! The only certificates that are believed are the policy's `ca_file`'s; the public roots are not even
//! compiled in. TLS 1.2 is allowed besides 1.3: etcd releases of Debian 12 may be configured with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{EtcdAccess, EtcdError, EtcdTls};
use crate::sys::bounded::{self, Kind};

/// What HTTP/2 may keep in memory of an answer that is not yet read: a snapshot streams through this.
const WINDOW_BYTES: u32 = 256 << 10;

/// A client URL, taken apart: `scheme://host:port`, no path, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was written.
    pub url: String,
    /// `https`?
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Target {
    /// Takes a client URL apart.
    ///
    /// # Errors
    /// When it is not `http://` or `https://` with host and port and nothing behind them.
    pub fn parse(url: &str) -> Result<Self, EtcdError> {
        let bad = |why| EtcdError::Address { url: url.chars().take(120).collect(), why };
        let form = "a client URL is http://host:port or https://host:port";
        let uri: http::Uri = url.parse().map_err(|_| bad(form))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad(form)),
        };
        let host = uri.host().ok_or_else(|| bad(form))?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(2379);
        let extra = uri.path_and_query().is_some_and(|path| !matches!(path.as_str(), "/" | ""));
        if extra || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(bad(form));
        }
        Ok(Self {
            url: format!("{}://{}", if tls { "https" } else { "http" }, authority(&host, port)),
            tls,
            host,
            port,
        })
    }

    /// A URL that a member advertises. Where the policy's endpoint speaks TLS, a plain one is not believed.
    ///
    /// # Errors
    /// As [`Target::parse`], and for a plain URL where the policy speaks TLS.
    pub fn advertised(url: &str, access: &EtcdAccess) -> Result<Self, EtcdError> {
        let target = Self::parse(url)?;
        if !target.tls && access.endpoint.starts_with("https:") {
            let why = "it is advertised without TLS while the policy's endpoint is https";
            return Err(EtcdError::Address { url: target.url, why });
        }
        Ok(target)
    }

    fn connect_error(&self, why: impl ToString) -> EtcdError {
        EtcdError::Connect { url: self.url.clone(), why: why.to_string() }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Is there a process that listens at the member's URL? Whether it serves is another question; where none listens
/// there is nothing to lose.
pub async fn listens(target: &Target, within: Duration) -> bool {
    let dial = TcpStream::connect((target.host.as_str(), target.port));
    match timeout(within, dial).await {
        Ok(Err(error)) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => true,
    }
}

/// A gRPC connection to the member, standing.
///
/// # Errors
/// When the certificates cannot be used, or there is no connection `within` the time.
pub async fn grpc(access: &EtcdAccess, target: &Target, within: Duration) -> Result<Channel, EtcdError> {
    let late = |_| EtcdError::Deadline { url: target.url.clone(), call: "a dial", within };
    let end = Instant::now() + within;
    let tls = timeout_at(end, tls_for(access, target, b"h2")).await.map_err(late)??;
    // The scheme of `uri` stays http: TLS is the connector's, whatever features tonic is built with. What the
    // server reads (`origin`) is the true one.
    let at = authority(&target.host, target.port);
    let endpoint = Endpoint::from_shared(format!("http://{at}")).map_err(|e| target.connect_error(e))?;
    let origin = target.url.parse().map_err(|e| target.connect_error(e))?;
    let endpoint = endpoint
        .origin(origin)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .tcp_nodelay(true);
    let to = target.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (to, tls) = (to.clone(), tls.clone());
        async move { stream(&to, tls).await.map(TokioIo::new) }
    });
    match timeout_at(end, endpoint.connect_with_connector(connector)).await {
        Ok(channel) => channel.map_err(|error| target.connect_error(deepest(&error))),
        Err(over) => Err(late(over)),
    }
}

/// A connection for plain HTTP/1.1, through TLS where the URL says so.
///
/// # Errors
/// When the certificates cannot be used, or there is no connection.
pub async fn http1(access: &EtcdAccess, target: &Target) -> Result<Box<dyn Stream>, EtcdError> {
    let tls = tls_for(access, target, b"http/1.1").await?;
    stream(target, tls).await.map_err(|error| target.connect_error(error))
}

async fn stream(target: &Target, tls: Option<TlsConnector>) -> std::io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
    Ok(Box::new(tls.connect(name, tcp).await?))
}

async fn tls_for(
    access: &EtcdAccess,
    target: &Target,
    alpn: &[u8],
) -> Result<Option<TlsConnector>, EtcdError> {
    if !target.tls {
        return Ok(None);
    }
    let tls = access.tls.as_ref().ok_or_else(|| EtcdError::Address {
        url: target.url.clone(),
        why: "it is https and the agent's policy has no [etcd] ca_file",
    })?;
    let config = client_config(tls.clone()).await;
    let mut config = config.map_err(|(file, why)| EtcdError::TlsFile { file, why })?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// TLS by files in PEM, and by nothing else. They are read off the thread that serves the stream.
///
/// # Errors
/// Which file cannot be used, and why.
pub(crate) async fn client_config(tls: EtcdTls) -> Result<ClientConfig, (PathBuf, String)> {
    let file = tls.ca_file.clone();
    let read = tokio::task::spawn_blocking(move || read_config(&tls)).await;
    read.map_err(|error| (file, error.to_string()))?
}

/// The parser's own words repeat what stands in a file, as numbers, and that may be a key: they are not told.
fn read_config(tls: &EtcdTls) -> Result<ClientConfig, (PathBuf, String)> {
    let fault = |file: &Path, why: String| (file.to_owned(), why);
    let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>, (PathBuf, String)> {
        let pem = bounded::bytes(file, Kind::Certificates).map_err(|error| fault(file, error.to_string()))?;
        let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|_| fault(file, "it is no PEM of certificates".into()))?;
        if found.is_empty() { Err(fault(file, "there is no certificate in it".into())) } else { Ok(found) }
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(&tls.ca_file)? {
        roots.add(root).map_err(|error| fault(&tls.ca_file, error.to_string()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| fault(&tls.ca_file, error.to_string()))?
        .with_root_certificates(roots);
    let Some((cert_file, key_file)) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let pem = bounded::bytes(key_file, Kind::Key).map_err(|error| fault(key_file, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| fault(key_file, "it is no private key in PEM".into()))?;
    let chain = certificates(cert_file)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| fault(cert_file, error.to_string()))
}

/// The innermost cause: `Connection refused`, not `transport error`.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_urls_are_taken_apart() {
        let plain = Target::parse("http://127.0.0.1:2379").unwrap();
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (false, "127.0.0.1", 2379));
        let six = Target::parse("https://[::1]:12379/").unwrap();
        assert_eq!((six.tls, six.host.as_str(), six.port), (true, "::1", 12379));
        assert_eq!(six.url, "https://[::1]:12379");
    }

    #[test]
    fn a_url_that_is_a_file_a_path_or_carries_a_password_is_not_dialled() {
        for bad in ["unix:///x", "file:///etc/shadow", "http://a:1/health", "http://u:p@a:1", "", "a b"] {
            assert!(Target::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_plain_url_is_not_believed_where_the_policy_speaks_tls() {
        let access = EtcdAccess { endpoint: "https://127.0.0.1:2379".into(), ..EtcdAccess::default() };
        assert!(Target::advertised("http://10.0.0.1:2379", &access).is_err());
        assert!(Target::advertised("http://10.0.0.1:2379", &EtcdAccess::default()).is_ok());
    }

    #[test]
    fn what_stands_in_a_key_that_cannot_be_read_is_in_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["etcd.test".to_owned()]).unwrap();
        let (ca_file, key_file) = (dir.path().join("ca.pem"), dir.path().join("key.pem"));
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        let secret = key.lines().nth(1).unwrap().to_owned();
        // As `echo $KEY` writes it, and with the first line's end lost.
        for spoiled in [key.replace('\n', " ").trim().to_owned(), key.replacen('\n', "", 1)] {
            for in_certificate in [false, true] {
                std::fs::write(&key_file, &spoiled).unwrap();
                let cert_file = if in_certificate { key_file.clone() } else { ca_file.clone() };
                let client = Some((cert_file, key_file.clone()));
                let tls = EtcdTls { ca_file: ca_file.clone(), client };
                let (file, why) = read_config(&tls).unwrap_err();
                let numbers = format!("{:?}", secret.as_bytes());
                assert_eq!(file, key_file);
                assert!(!why.contains(&secret) && !why.contains(numbers.trim_matches(['[', ']'])), "{why}");
                assert!(why.contains("PEM"), "{why}");
            }
        }
    }

    #[tokio::test]
    async fn https_without_a_ca_file_is_refused_and_names_the_policy_line() {
        let target = Target::parse("https://127.0.0.1:1").unwrap();
        let error = grpc(&EtcdAccess::default(), &target, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("ca_file"), "{error}");
    }
}
