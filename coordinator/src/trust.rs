//! Who may talk to the coordinator, and how that is proved.
//!
//! | module | what lives there |
//! |---|---|
//! | [`seal`] | secrets at rest, and where the key that opens them is |
//! | [`ca`] | the fleet's authority: the only maker of certificates |
//! | [`request`] | what a certificate request may and may not ask for |
//! | [`token`] | join tokens: minted, kept as hashes, judged |
//! | [`enrol`] | from a token to a certificate; renewal |
//! | [`revocation`] | who is no longer believed, at once |
//! | [`client`] | how a client's certificate is judged in the handshake |
//! | [`accept`] | from a listening socket to connections whose peer is known |
//! | [`connection`] | one such connection, and what ends it |
//! | [`peers`] | who is calling: asked by every service on every request |
//!
//! Which calls an operator may make is not decided here; only that the caller is that operator.

pub mod accept;
pub mod ca;
pub mod client;
pub mod connection;
pub mod enrol;
pub mod peers;
pub mod request;
pub mod revocation;
pub mod seal;
pub mod token;

pub use accept::{Accept, server};
pub use ca::{Ca, CaError, Issued};
pub use connection::{PeerConnection, PeerStream};
pub use drydock_proto::tls::{Clock, PeerIdentity, Role, Serial};
pub use enrol::{Enrolled, enrol, renew};
pub use peers::{NodePeer, OperatorPeer, Refusals, Trust, node_peer, operator_peer, renewing_peer};
pub use revocation::{RevocationList, Revoked};
pub use seal::{SealError, SealingKey, SealingSources};
pub use token::{EnrolRefusal, TokenRow, TokenStore};

#[cfg(test)]
pub(crate) mod tests;
