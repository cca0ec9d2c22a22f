//! Independent witnesses for Drydock's scenarios.
//!
//! What lives here: the writer, the observer, the verifier and the summary that judge a component
//! from outside. What does not: anything of Drydock's. This crate links no drydock crate and has
//! its own copy of the few protocol messages it needs, so that a mistake in the product cannot
//! hide in the thing that checks it.

pub mod acks;
pub mod clock;
pub mod lines;
pub mod member;
pub mod observer;
pub mod stop;
pub mod summary;
pub mod verify;
pub mod writer;

/// etcd's own messages, compiled from `proto/etcd.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all)]
pub mod pb {
    tonic::include_proto!("etcdserverpb");
}
