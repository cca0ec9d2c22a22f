//! Real TLS over loopback: who gets in, and as whom.

mod handshakes;
mod requests;
mod tokens;
pub(crate) mod world;
