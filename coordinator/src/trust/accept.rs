//! From a listening socket to connections whose peer is known.
//!
//! Bounds, so that nobody can take the coordinator from the others: handshakes at once in all, handshakes at
//! once from one address (half of them), open connections, and open connections of one identity. A handshake
//! has a deadline.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drydock_proto::{
    limits::{HANDSHAKE_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    tls::{ALPN, PeerIdentity, Role, certified, provider},
};
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    ca::{Ca, CaError, SERVER_TTL_S},
    client::ClientVerifier,
    connection::{PeerConnection, PeerStream},
    peers::Trust,
};

/// Handshakes at once.
const MAX_HANDSHAKES: usize = 512;
/// Of these from one address.
const MAX_HANDSHAKES_PER_ADDRESS: usize = MAX_HANDSHAKES / 2;
/// What a refused peer may still say, and how long it may take, until its connection is closed.
const HEARD_OUT_KIB: usize = 64;
const HEARD_OUT_WITHIN: Duration = Duration::from_secs(1);
/// Open connections of peers with a certificate.
const MAX_KNOWN: usize = 16_384;
/// Of these with one node's key: its agent needs one, and one more for a moment after each break.
const MAX_PER_NODE: usize = 32;
/// Of these with one operator's name: people and programs share it.
const MAX_PER_OPERATOR: usize = 512;
/// Open connections of peers without one.
const MAX_STRANGERS: usize = 256;
/// Streams at once on one connection.
const MAX_STREAMS: u32 = 128;
/// Bytes of headers of one request.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Streams that a peer opened and reset before we looked at them, and our own resets for its errors.
const MAX_RESETS: usize = 64;

/// The coordinator's own certificate: made at a start, made anew past the middle of its life.
struct OwnCertificate {
    ca: Arc<Ca>,
    names: Vec<String>,
    trust: Arc<Trust>,
    current: Mutex<(Arc<CertifiedKey>, i64)>,
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OwnCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl OwnCertificate {
    fn new(ca: Arc<Ca>, names: Vec<String>, trust: Arc<Trust>) -> Result<Self, CaError> {
        let current = Mutex::new(make_own(&ca, &names, trust.clock.now_unix_s())?);
        Ok(Self { ca, names, trust, current })
    }
}

/// The leaf with the CA behind it (a join token's pin is the CA's), and when to make the next.
fn make_own(ca: &Ca, names: &[String], now_unix_s: i64) -> Result<(Arc<CertifiedKey>, i64), CaError> {
    let (issued, key) = ca.issue_server(names, SERVER_TTL_S, now_unix_s)?;
    let chain = vec![issued.certificate, ca.certificate().clone()];
    let own = certified(chain, &key).map_err(|why| CaError::Encoding(why.to_string()))?;
    Ok((Arc::new(own), now_unix_s + SERVER_TTL_S / 2))
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.trust.clock.now_unix_s();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= current.1 {
            match make_own(&self.ca, &self.names, now) {
                Ok(next) => *current = next,
                Err(why) => tracing::error!(%why, "the coordinator's own certificate could not be renewed"),
            }
        }
        Some(Arc::clone(&current.0))
    }
}

/// Accepts connections.
#[derive(Clone)]
pub struct Accept {
    tls: TlsAcceptor,
    trust: Arc<Trust>,
    handshakes: Arc<Semaphore>,
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    per_address: Counts<IpAddr>,
    per_identity: Counts<String>,
}

impl std::fmt::Debug for Accept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Accept").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Accept {
    /// `names`: host names and addresses under which the coordinator is reached, for its own certificate.
    ///
    /// # Errors
    /// When no certificate can be made for these names.
    pub fn new(ca: &Arc<Ca>, names: Vec<String>, trust: Arc<Trust>) -> Result<Self, CaError> {
        let encoding = |why: rustls::Error| CaError::Encoding(why.to_string());
        let verifier = ClientVerifier::new(ca.certificate().clone(), Arc::clone(&trust)).map_err(encoding)?;
        let own = OwnCertificate::new(Arc::clone(ca), names, Arc::clone(&trust))?;
        let time: Arc<dyn rustls::time_provider::TimeProvider> = trust.clock.clone();
        let mut config = ServerConfig::builder_with_details(provider(), time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(encoding)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the judgement of the certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            trust,
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            known: Arc::new(Semaphore::new(MAX_KNOWN)),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            per_address: Arc::default(),
            per_identity: Arc::default(),
        })
    }

    /// Accepts until the stream that it returns is dropped. For `serve_with_incoming_shutdown`.
    pub fn incoming(&self, listener: TcpListener) -> ReceiverStream<Result<PeerStream, std::io::Error>> {
        let (ready, incoming) = mpsc::channel(16);
        tokio::spawn(self.clone().run(listener, ready));
        ReceiverStream::new(incoming)
    }

    async fn run(self, listener: TcpListener, ready: mpsc::Sender<Result<PeerStream, std::io::Error>>) {
        loop {
            let accepted = tokio::select! {
                () = ready.closed() => return,
                accepted = self.next(&listener) => accepted,
            };
            let (slot, tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(why) => {
                    // Out of descriptors, mostly: it passes, and a busy loop would not help it.
                    tracing::error!(%why, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(place) = Place::take(&self.per_address, from.ip(), MAX_HANDSHAKES_PER_ADDRESS) else {
                self.refuse("too many", from, "too many handshakes at once from this address");
                continue;
            };
            let (this, ready) = (self.clone(), ready.clone());
            tokio::spawn(async move {
                let shaken = this.shake(tcp, from).await;
                drop((slot, place));
                if let Some(stream) = shaken {
                    // A closed channel is a coordinator that is stopping: the connection is dropped.
                    drop(ready.send(Ok(stream)).await);
                }
            });
        }
    }

    async fn next(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let slot = Arc::clone(&self.handshakes).acquire_owned().await.map_err(std::io::Error::other)?;
        let (tcp, from) = listener.accept().await?;
        Ok((slot, tcp, from))
    }

    async fn shake(&self, tcp: TcpStream, from: SocketAddr) -> Option<PeerStream> {
        drop(tcp.set_nodelay(true));
        let tls = match timeout(HANDSHAKE_TIMEOUT, self.tls.accept(tcp).into_fallible()).await {
            Ok(Ok(tls)) => tls,
            Ok(Err((why, tcp))) => {
                let refused = self.refuse("handshake", from, &why.to_string());
                hear_out(tcp).await;
                return refused;
            }
            Err(_) => return self.refuse("handshake", from, "the handshake was not done in time"),
        };
        let session = tls.get_ref().1;
        if session.alpn_protocol() != Some(ALPN) {
            return self.refuse("handshake", from, "it does not speak HTTP/2");
        }
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let now = self.trust.clock.now_unix_s();
        let peer = match shown.map(|shown| PeerIdentity::from_certificate(shown, now)).transpose() {
            Ok(peer) => peer,
            Err(why) => return self.refuse("certificate", from, &why.to_string()),
        };
        let stranger = peer.as_ref().is_none_or(|peer| peer.expired);
        let room = if stranger { &self.strangers } else { &self.known };
        let Ok(slot) = Arc::clone(room).try_acquire_owned() else {
            return self.refuse("too many", from, "too many open connections");
        };
        let most = match peer.as_ref().map(|peer| &peer.role) {
            Some(Role::Node(..)) => MAX_PER_NODE,
            Some(Role::Operator(_) | Role::Coordinator) => MAX_PER_OPERATOR,
            // Nobody in particular: bounded together.
            None => MAX_STRANGERS,
        };
        let identity = peer.as_ref().map(|peer| identity(&peer.role)).unwrap_or_default();
        let Some(place) = Place::take(&self.per_identity, identity, most) else {
            return self.refuse("too many", from, "too many open connections of this identity");
        };
        let about = PeerConnection::new(from, peer, Arc::clone(&self.trust));
        Some(PeerStream::new(tls, about, slot, place))
    }

    fn refuse(&self, kind: &'static str, from: SocketAddr, why: &str) -> Option<PeerStream> {
        self.trust.refusals.record(kind, &from.to_string(), why);
        None
    }
}

/// A socket that is closed over bytes that nobody read is reset, and the reset takes our alert with it: the
/// peer would learn that it was refused, and not why. So what it still has to say is read and thrown away.
async fn hear_out(mut tcp: TcpStream) {
    let all = async {
        tcp.shutdown().await?;
        let mut unread = [0; 1024];
        for _ in 0..HEARD_OUT_KIB {
            if tcp.read(&mut unread).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // A peer that has gone, or that goes on talking, is left to itself.
    drop(timeout(HEARD_OUT_WITHIN, all).await);
}

/// Whose connection it is: a node's key, not its certificate, of which it can have many.
fn identity(role: &Role) -> String {
    match role {
        Role::Node(_, key) => format!("node {key}"),
        Role::Operator(name) => format!("operator {name}"),
        Role::Coordinator => "coordinator".to_owned(),
    }
}

/// How many of something somebody has.
type Counts<K> = Arc<Mutex<BTreeMap<K, usize>>>;

/// One of somebody's places; given back on drop.
pub(super) struct Place<K: Ord> {
    taken: Counts<K>,
    whose: K,
}

impl<K: Ord + Clone> Place<K> {
    fn take(taken: &Counts<K>, whose: K, most: usize) -> Option<Self> {
        let mut counts = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(whose.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { taken: Arc::clone(taken), whose })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

/// tonic's server with the bounds of [`drydock_proto::limits`]; add services, then
/// `serve_with_incoming_shutdown(accept.incoming(listener), …)`.
#[must_use]
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
}
