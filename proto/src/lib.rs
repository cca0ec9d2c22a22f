//! The wire between coordinator, agents and operators.
//!
//! [`agent`] and [`operator`] are generated from `drydock/*/v1/*.proto`. [`edge`] turns their raw fields
//! into checked values: nothing behind it sees a raw message. [`limits`] are the bounds that both sides keep.
//! [`tls`] is how one side proves to the other who it is.

pub mod edge;
pub mod limits;
pub mod tls;

/// Generated from `drydock/agent/v1/agent.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod agent {
    tonic::include_proto!("drydock.agent.v1");
}

/// Generated from `drydock/operator/v1/operator.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod operator {
    tonic::include_proto!("drydock.operator.v1");
}

/// The version of the protocol that this build speaks. An agent and a coordinator of different protocols
/// refuse each other by name and number.
pub const PROTOCOL: u32 = 1;
