//! From a token to a certificate, and from a certificate to its successor.

use drydock_proto::{
    agent::{EnrollRequest, EnrollResponse, RenewRequest, RenewResponse},
    tls::{BadToken, JoinToken},
};
use drydock_types::NodeName;

use super::{
    ca::{Ca, CaError, Issued},
    peers::NodePeer,
    request,
    token::{EnrolRefusal, TokenRow, TokenStore, judge},
};

/// Why somebody did not become a node, or did not stay one.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError<E: std::error::Error + 'static> {
    /// The text.
    #[error(transparent)]
    Text(#[from] BadToken),
    /// The name.
    #[error("the name that the node asks for: {0}")]
    Name(#[from] drydock_types::Invalid),
    /// The token.
    #[error(transparent)]
    Refused(#[from] EnrolRefusal),
    /// The request, or the CA itself.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A renewal over another key: that would be another node.
    #[error("a renewal keeps its key, and this request has another one; enrol again for a new key")]
    OtherKey,
    /// The store.
    #[error("the store: {0}")]
    Store(#[source] E),
}

impl<E: std::error::Error + 'static> EnrolError<E> {
    /// As the caller sees it. What is wrong with us is not told.
    #[must_use]
    pub fn status(&self) -> tonic::Status {
        match self {
            Self::Text(_) | Self::Name(_) | Self::Ca(CaError::Request(_)) => {
                tonic::Status::invalid_argument(self.to_string())
            }
            Self::Refused(_) | Self::OtherKey => tonic::Status::permission_denied(self.to_string()),
            Self::Ca(_) | Self::Store(_) => {
                tonic::Status::internal("the coordinator could not issue a certificate; its log says why")
            }
        }
    }
}

/// Somebody has become a node.
#[derive(Debug)]
pub struct Enrolled {
    /// The token that it held, for its labels.
    pub token: TokenRow,
    /// Its certificate; `issued.key` is the node's identity.
    pub issued: Issued,
    /// What it is sent.
    pub response: EnrollResponse,
}

/// Judges a token, uses it up and issues the certificate, in this order. The request is checked before the
/// token is used: a mistake there does not cost the token.
///
/// # Errors
/// Why not; refusals are recorded (`drydock::refused`).
pub fn enrol<S: TokenStore>(
    ca: &Ca,
    store: &S,
    asked: &EnrollRequest,
    ttl_s: i64,
    now_unix_s: i64,
) -> Result<Enrolled, EnrolError<S::Error>> {
    let enrolled = try_enrol(ca, store, asked, ttl_s, now_unix_s);
    if let Err(why) = &enrolled {
        // The wanted name is a stranger's text: shown quoted and cut.
        let name: String = asked.node_name.chars().take(80).collect();
        tracing::warn!(target: "drydock::refused", name = ?name, %why, "an enrolment was refused");
    }
    enrolled
}

fn try_enrol<S: TokenStore>(
    ca: &Ca,
    store: &S,
    asked: &EnrollRequest,
    ttl_s: i64,
    now_unix_s: i64,
) -> Result<Enrolled, EnrolError<S::Error>> {
    let presented = JoinToken::parse(&asked.token)?;
    let name = NodeName::parse(&asked.node_name)?;
    let row = store.token(presented.id).map_err(EnrolError::Store)?;
    judge(row.as_ref(), &presented, now_unix_s, &name)?;
    let row = row.ok_or(EnrolRefusal::Unknown)?;
    request::check(&asked.csr_der, &name).map_err(CaError::Request)?;
    if !store.consume_token(row.id, now_unix_s).map_err(EnrolError::Store)? {
        return Err(EnrolRefusal::Used.into());
    }
    let issued = ca.issue_node(&asked.csr_der, &name, ttl_s, now_unix_s)?;
    let response = EnrollResponse {
        certificate_der: issued.certificate.to_vec(),
        ca_der: ca.certificate().to_vec(),
        fleet: ca.fleet().to_string(),
    };
    Ok(Enrolled { token: row, issued, response })
}

/// A new certificate for the node that calls, over the key that it has.
///
/// # Errors
/// When the request asks for more, or is over another key.
pub fn renew(
    ca: &Ca,
    peer: &NodePeer,
    asked: &RenewRequest,
    ttl_s: i64,
    now_unix_s: i64,
) -> Result<(Issued, RenewResponse), EnrolError<std::convert::Infallible>> {
    let request = request::check(&asked.csr_der, &peer.name).map_err(CaError::Request)?;
    if request.node_key != peer.key {
        tracing::warn!(target: "drydock::refused", node = %peer.name, "a renewal over another key was refused");
        return Err(EnrolError::OtherKey);
    }
    let issued = ca.issue_node(&asked.csr_der, &peer.name, ttl_s, now_unix_s)?;
    let response =
        RenewResponse { certificate_der: issued.certificate.to_vec(), ca_der: ca.certificate().to_vec() };
    Ok((issued, response))
}
