//! One accepted connection, whose peer is known, and what ends it.
//!
//! A connection ends by itself when its peer is revoked and when its certificate ends: so no service has to
//! think of it, and a stream that stays open for months is not a way around either. A peer without a
//! certificate, or with an expired one, has a minute: that is enough for Enroll and for Renew.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use drydock_proto::tls::PeerIdentity;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::sleep,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{accept::Place, peers::Trust};

/// How long a connection without a valid certificate may live.
pub const STRANGER_TTL: Duration = Duration::from_secs(60);

/// Who is at the other end: in the extensions of every request of the connection.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    /// Where it came from. For the record; nothing is judged by it.
    pub address: SocketAddr,
    /// Who it is, from its certificate; `None` when it showed none.
    pub peer: Option<PeerIdentity>,
    pub(super) trust: Arc<Trust>,
}

impl PeerConnection {
    /// As the acceptor makes it, and a test's double of it.
    #[must_use]
    pub fn new(address: SocketAddr, peer: Option<PeerIdentity>, trust: Arc<Trust>) -> Self {
        Self { address, peer, trust }
    }

    /// Returns, with the reason, when this connection must end.
    fn until_end(&self) -> Pin<Box<dyn Future<Output = &'static str> + Send>> {
        let Some(peer) = self.peer.clone() else {
            return Box::pin(async {
                sleep(STRANGER_TTL).await;
                "a connection without a certificate has one minute"
            });
        };
        let left_s = peer.not_after_unix_s.saturating_sub(self.trust.clock.now_unix_s());
        // A second more: the last second of a certificate still counts as valid.
        let left = u64::try_from(left_s).map_or(STRANGER_TTL, |left| Duration::from_secs(left + 1));
        let revoked = self.trust.revoked.clone();
        Box::pin(async move {
            tokio::select! {
                () = revoked.until_revoked(peer) => "the certificate has been revoked",
                () = sleep(left) => "the certificate has ended",
            }
        })
    }
}

/// A TLS connection with a known peer, for tonic's `serve_with_incoming_shutdown`.
pub struct PeerStream {
    tls: TlsStream<TcpStream>,
    about: PeerConnection,
    end: Option<Pin<Box<dyn Future<Output = &'static str> + Send>>>,
    _slot: OwnedSemaphorePermit,
    _place: Place<String>,
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PeerStream").field("about", &self.about).finish_non_exhaustive()
    }
}

impl PeerStream {
    /// `slot` and `place` are given back when the connection is gone.
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        about: PeerConnection,
        slot: OwnedSemaphorePermit,
        place: Place<String>,
    ) -> Self {
        let end = Some(about.until_end());
        Self { tls, about, end, _slot: slot, _place: place }
    }

    /// An error once the connection must end; from then on always.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let ended = match &mut self.end {
            Some(end) => match end.as_mut().poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(why) => why,
            },
            None => "the connection has ended",
        };
        if self.end.take().is_some() {
            let who = self.about.peer.as_ref().map_or("nobody".to_owned(), ToString::to_string);
            let from = self.about.address;
            tracing::info!(target: "drydock::refused", %who, %from, why = ended, "a connection was ended");
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, ended))
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerConnection;

    fn connect_info(&self) -> PeerConnection {
        self.about.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_end(context)?;
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_end(context)?;
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_end(context)?;
        Pin::new(&mut self.tls).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
