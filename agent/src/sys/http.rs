//! The two ways of asking a service over the network: a plain HTTP/1.1 GET and a TCP connection. Bounded in
//! time and size, no redirects, no names in the way of loopback. TLS is only where a caller brings it along.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// The largest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// The largest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// A host and a port as they were written, lower case, IPv6 without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A plain HTTP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whom to connect to.
    pub endpoint: Endpoint,
    /// Path and query.
    path: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is not an address that is asked.
    #[error("{text:?} is not {what}")]
    Form {
        /// What was given, cut.
        text: String,
        /// What it should be.
        what: &'static str,
    },
    /// No connection.
    #[error("{endpoint}: {source}")]
    Connect {
        /// Whom.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// Connected, and no proper HTTP answer.
    #[error("{endpoint}: {why}")]
    Answer {
        /// Who.
        endpoint: Endpoint,
        /// What went wrong.
        why: String,
    },
    /// Nothing, or not all, in time.
    #[error("{endpoint}: no answer within {deadline:?}")]
    Deadline {
        /// Who.
        endpoint: Endpoint,
        /// The time it had.
        deadline: Duration,
    },
}

impl Endpoint {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &str) -> Result<Self, AskError> {
        let bad = || form(text, "host:port, such as 127.0.0.1:5432");
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or_else(bad)?;
        Self::new(host, port).ok_or_else(bad)
    }

    fn new(host: &str, port: u16) -> Option<Self> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let named = !host.is_empty() && host.len() <= 253 && host.chars().all(fine);
        (named || bare.is_some()).then_some(Self { host, port })
    }

    /// Is it this very machine? By the address or the name `localhost`, nothing that must be resolved.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    async fn connect(&self) -> Result<TcpStream, AskError> {
        let failed = |source| AskError::Connect { endpoint: self.clone(), source };
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?;
        // What `/etc/hosts` or a resolver makes of `localhost` is not loopback until it is.
        let fits = |address: &SocketAddr| !self.is_loopback() || address.ip().to_canonical().is_loopback();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address that may be asked");
        for address in addresses.filter(fits).take(8) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

impl HttpUrl {
    /// Reads `http://host[:port]/path?query`. No user, no fragment, no other scheme.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &str) -> Result<Self, AskError> {
        let bad = || form(text, "a plain HTTP address, such as http://127.0.0.1:8080/version");
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or_else(bad)?;
        if uri.scheme_str() != Some("http") || text.len() > 1024 || text.contains('#') {
            return Err(bad());
        }
        let endpoint = Endpoint::new(authority.host(), authority.port_u16().unwrap_or(80)).ok_or_else(bad)?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { endpoint, path })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}{}", self.endpoint, self.path)
    }
}

/// GETs the address once: status and body. A redirect is an answer like any other and is not followed.
///
/// # Errors
/// When there is no connection, no HTTP answer, a body over [`MAX_BODY_BYTES`], or not all of it in time.
pub async fn get(url: &HttpUrl, deadline: Duration) -> Result<(StatusCode, Bytes), AskError> {
    let endpoint = || url.endpoint.clone();
    match timeout(deadline, exchange(url)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::Deadline { endpoint: endpoint(), deadline }),
    }
}

async fn exchange(url: &HttpUrl) -> Result<(StatusCode, Bytes), AskError> {
    get_over(url.endpoint.connect().await?, &url.endpoint, &url.path).await
}

/// GETs a path over a connection that stands, in clear or not. Bounded in size; the caller bounds the time.
///
/// # Errors
/// When there is no HTTP answer, or its body is over [`MAX_BODY_BYTES`].
pub async fn get_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &Endpoint,
    path: &str,
) -> Result<(StatusCode, Bytes), AskError> {
    let failed = |why: String| AskError::Answer { endpoint: endpoint.clone(), why };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = Request::get(path)
        .header(header::HOST, endpoint.to_string())
        .header(header::USER_AGENT, concat!("drydock-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| failed(error.to_string()))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| {
            failed(format!("its body could not be read ({MAX_BODY_BYTES} bytes at most): {error}"))
        })?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here and not in a task of its own: when the deadline drops this, all of it is gone.
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        end = &mut connection => match end {
            Ok(()) => answer.await,
            Err(error) => Err(failed(error.to_string())),
        },
    }
}

/// Opens a TCP connection and closes it again.
///
/// # Errors
/// When it does not open in time.
pub async fn connect(endpoint: &Endpoint, deadline: Duration) -> Result<(), AskError> {
    match timeout(deadline, endpoint.connect()).await {
        Ok(stream) => stream.map(drop),
        Err(_) => Err(AskError::Deadline { endpoint: endpoint.clone(), deadline }),
    }
}

/// The text at a JSON pointer (RFC 6901) of a body, or the whole body where there is no pointer.
///
/// # Errors
/// In words, when the body is not JSON, has nothing there, or something that is no text.
pub fn text_at(body: &[u8], pointer: Option<&str>) -> Result<String, String> {
    let Some(pointer) = pointer else {
        let text = std::str::from_utf8(body).map_err(|_| "the answer is not text".to_owned())?;
        return Ok(text.trim().to_owned());
    };
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
    match json.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("what stands at {pointer:?} of the answer is not a text")),
        None => Err(format!("the answer has nothing at {pointer:?}")),
    }
}

fn form(text: &str, what: &'static str) -> AskError {
    AskError::Form { text: text.chars().take(100).collect(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one connection with these bytes, then holds it open or closes it.
    async fn server(answer: Vec<u8>, hold: bool) -> HttpUrl {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/version", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await.unwrap();
            let _ = stream.write_all(&answer).await;
            if hold {
                std::future::pending::<()>().await;
            }
        });
        HttpUrl::parse(&url).unwrap()
    }

    #[tokio::test]
    async fn a_body_is_read_and_its_text_found_by_pointer() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"a\":{\"version\":\"3.5.16\"}} ";
        let url = server(answer.to_vec(), true).await;
        let (status, body) = get(&url, SECOND).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(text_at(&body, Some("/a/version")), Ok("3.5.16".into()));
        assert!(text_at(&body, Some("/a")).unwrap_err().contains("not a text"));
        assert!(text_at(&body, Some("/b")).unwrap_err().contains("nothing at"));
        assert_eq!(text_at(b" v1.2.3\n", None), Ok("v1.2.3".into()));
    }

    #[tokio::test]
    async fn a_body_without_length_ends_with_the_connection() {
        let url = server(b"HTTP/1.0 200 OK\r\n\r\n1.2.3".to_vec(), false).await;
        assert_eq!(get(&url, SECOND).await.unwrap().1.as_ref(), b"1.2.3");
    }

    #[tokio::test]
    async fn an_answer_that_hangs_is_ended_at_the_deadline() {
        let url = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec(), true).await;
        let error = get(&url, Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(error, AskError::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(MAX_BODY_BYTES + 100, b'x');
        let error = get(&server(answer, false).await, SECOND).await.unwrap_err();
        assert!(error.to_string().contains("65536 bytes at most"), "{error}");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let url = server(
            b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
            true,
        )
        .await;
        assert_eq!(get(&url, SECOND).await.unwrap().0, 302);
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let endpoint = Endpoint::parse(&address).unwrap();
        assert!(connect(&endpoint, SECOND).await.is_ok());
        drop(listener);
        assert!(connect(&endpoint, SECOND).await.unwrap_err().to_string().starts_with(&address));
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        for bad in [
            "https://127.0.0.1/",
            "http://root@127.0.0.1/",
            "ftp://x/",
            "/version",
            "http://",
            "http://x/\n",
            "http://x:1/#f",
            "http://a b/",
        ] {
            assert!(HttpUrl::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(HttpUrl::parse("http://[::1]:8080/v?x=1").unwrap().to_string(), "http://[::1]:8080/v?x=1");
        assert_eq!(HttpUrl::parse("http://node").unwrap().endpoint.port, 80);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in
            ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "LOCALHOST:1", "[::ffff:127.0.0.1]:1"]
        {
            assert!(Endpoint::parse(yes).unwrap().is_loopback(), "{yes}");
        }
        for no in ["0.0.0.0:1", "localhost.example.org:1", "127.0.0.1.example.org:1", "[::]:1", "128.0.0.1:1"]
        {
            assert!(!Endpoint::parse(no).unwrap().is_loopback(), "{no}");
        }
        for bad in ["x", "x:", "x:+1", "x:0", "x:70000", ":1", "a/b:1", "x\0:1", "[x]:1"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
