//! From an address to a connection, and what to say when there is none.

use std::{error::Error, io, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use rustls_pki_types::{IpAddr, ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{Address, verify::NotOurCoordinator};
use crate::limits::{HANDSHAKE_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

/// What went wrong between an address and a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFault {
    /// Nobody listens there.
    #[error("nothing listens there; is the coordinator running, and is the address right?")]
    Refused,
    /// No way there, no such name.
    #[error("it cannot be reached: {0}; is the address right, and is a firewall between?")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {} s; is the address right, and is a firewall between?", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// Something else listens there.
    #[error("what listens there does not speak TLS 1.3 with HTTP/2; is it a Drydock coordinator?")]
    NotDrydock,
    /// A coordinator, or something else, that our CA has not certified.
    #[error(
        "it is not our coordinator: {0}. Somebody may be in between, or it was set up anew: then enrol again"
    )]
    OtherCa(String),
    /// The coordinator's certificate is past its end, by our clock.
    #[error(
        "its certificate has expired by this machine's clock; is the clock right? Else restart the coordinator"
    )]
    Expired,
    /// The coordinator's certificate is not valid yet, by our clock.
    #[error("its certificate is not valid yet by this machine's clock: set the clock (it is behind)")]
    ClockBehind,
    /// It looked at our certificate and ended the handshake.
    #[error("it refuses our certificate ({0}); revoked, of another fleet or too long expired: enrol again")]
    RefusedUs(String),
    /// The connection broke; the system's own words.
    #[error("the connection failed: {0}")]
    Other(String),
}

/// No connection to a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("coordinator {address}: {fault}")]
pub struct DialError {
    /// Whom we dialled.
    pub address: Address,
    /// What went wrong.
    pub fault: DialFault,
}

impl DialError {
    /// Reads the reason out of any error of tonic, hyper or rustls, a [`tonic::Status`] included: what a
    /// server thinks of a client's certificate arrives only with the first call.
    #[must_use]
    pub fn of(address: &Address, error: &(dyn Error + 'static)) -> Self {
        Self { address: address.clone(), fault: fault_in(error) }
    }
}

/// See [`DialError::of`].
#[must_use]
pub fn fault_in(error: &(dyn Error + 'static)) -> DialFault {
    let mut last = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = known_fault(error) {
            return known;
        }
        last = error.to_string();
        // The error inside an io::Error is not in its chain.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    told_alert(&last).map_or(DialFault::Other(last), alert_fault)
}

/// The h2 library passes errors of the connection on as text alone: an alert is known again by its own.
fn told_alert(text: &str) -> Option<AlertDescription> {
    use AlertDescription as A;
    let alerts = [
        A::BadCertificate,
        A::UnsupportedCertificate,
        A::CertificateRevoked,
        A::CertificateExpired,
        A::CertificateUnknown,
        A::UnknownCA,
        A::AccessDenied,
        A::DecryptError,
        A::CertificateRequired,
    ];
    alerts.into_iter().find(|alert| text.ends_with(&rustls::Error::AlertReceived(*alert).to_string()))
}

fn known_fault(error: &(dyn Error + 'static)) -> Option<DialFault> {
    if let Some(known) = error.downcast_ref::<DialError>() {
        return Some(known.fault.clone());
    }
    error.downcast_ref::<rustls::Error>().map(tls_fault)
}

fn tls_fault(error: &rustls::Error) -> DialFault {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            DialFault::Expired
        }
        E::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => DialFault::ClockBehind,
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            DialFault::OtherCa("its certificate is from another CA".to_owned())
        }
        E::InvalidCertificate(CertificateError::Other(other)) => {
            DialFault::OtherCa(match other.0.downcast_ref::<NotOurCoordinator>() {
                Some(why) => why.to_string(),
                None => other.to_string(),
            })
        }
        E::InvalidCertificate(other) => DialFault::OtherCa(format!("{other:?}")),
        E::AlertReceived(alert) => alert_fault(*alert),
        E::InvalidMessage(_) | E::PeerIncompatible(_) | E::PeerMisbehaved(_) | E::NoApplicationProtocol => {
            DialFault::NotDrydock
        }
        other => DialFault::Other(other.to_string()),
    }
}

fn alert_fault(alert: AlertDescription) -> DialFault {
    use AlertDescription as A;
    match alert {
        A::ProtocolVersion | A::NoApplicationProtocol | A::UnrecognisedName => DialFault::NotDrydock,
        A::CertificateExpired => DialFault::RefusedUs("it has expired, or is not valid yet".to_owned()),
        A::CertificateRevoked => DialFault::RefusedUs("it has been revoked".to_owned()),
        // webpki tells a CA of the same name and another key by the signature alone.
        A::UnknownCA | A::DecryptError => DialFault::RefusedUs("it is from another CA".to_owned()),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::AccessDenied
        | A::CertificateRequired => DialFault::RefusedUs(format!("{alert:?}")),
        other => DialFault::Other(format!("it ended the handshake: {other:?}")),
    }
}

fn tcp_fault(error: &io::Error) -> DialFault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialFault::Refused,
        io::ErrorKind::TimedOut => DialFault::Timeout,
        _ => DialFault::Unreachable(error.to_string()),
    }
}

/// Connects, with keepalive and deadlines from [`crate::limits`]. The channel dials again by itself when
/// its connection breaks, and shows the certificate that is current then.
///
/// # Errors
/// When there is no connection: who was dialled and why not.
pub async fn dial(address: &Address, config: ClientConfig) -> Result<Channel, DialError> {
    // `http`: TLS is the connector's business, not tonic's, whatever features others give to tonic.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| DialError::of(address, &error))?
        .connect_timeout(HANDSHAKE_TIMEOUT * 2)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let (to, tls) = (address.clone(), TlsConnector::from(Arc::new(config)));
    let connector = tower::service_fn(move |_: Uri| {
        let (to, tls) = (to.clone(), tls.clone());
        async move {
            let connected = handshake(&to, &tls).await;
            connected.map(TokioIo::new).map_err(|fault| DialError { address: to, fault })
        }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| DialError::of(address, &error))
}

/// TCP, then TLS, each with its deadline.
async fn handshake(address: &Address, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, DialFault> {
    let tcp = timeout(HANDSHAKE_TIMEOUT, TcpStream::connect(address.as_str())).await;
    let tcp = tcp.map_err(|_| DialFault::Timeout)?.map_err(|error| tcp_fault(&error))?;
    tcp.set_nodelay(true).map_err(|error| tcp_fault(&error))?;
    let shaken = timeout(HANDSHAKE_TIMEOUT, tls.connect(server_name(address), tcp)).await;
    let stream = shaken.map_err(|_| DialFault::Timeout)?.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => DialFault::NotDrydock,
        _ => fault_in(&error),
    })?;
    if stream.get_ref().1.alpn_protocol() != Some(super::ALPN) {
        return Err(DialFault::NotDrydock);
    }
    Ok(stream)
}

/// TLS wants a name; nothing is judged by it (see [`super::verify`]).
fn server_name(address: &Address) -> ServerName<'static> {
    let host = address.as_str().rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let nowhere = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from([0, 0, 0, 0])));
    ServerName::try_from(host.to_owned()).unwrap_or(nowhere)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::{Anchor, Clock, client_config};
    use drydock_types::{FleetId, Sha256};

    fn config() -> ClientConfig {
        client_config(Anchor::Pin(Sha256([0; 32])), FleetId([0; 16]), None, Arc::new(Clock::default()))
            .unwrap()
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        drop(listener);
        let error = dial(&address, config()).await.unwrap_err();
        assert_eq!(error.fault, DialFault::Refused);
        assert!(error.to_string().contains(address.as_str()));
    }

    #[tokio::test]
    async fn something_that_is_not_tls_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let ssh = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
            let mut hello = [0; 64];
            peer.read_exact(&mut hello).await.unwrap();
        });
        assert_eq!(dial(&address, config()).await.unwrap_err().fault, DialFault::NotDrydock);
        ssh.await.unwrap();
    }

    #[test]
    fn a_name_that_tls_does_not_know_does_not_stop_us() {
        for text in ["a..b:1", "[fd00::1]:1", "host:1", "10.0.0.1:1"] {
            server_name(&Address::parse(text).unwrap());
        }
    }
}
