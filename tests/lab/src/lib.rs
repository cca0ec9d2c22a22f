//! Real nodes on one machine, for scenarios and demonstrations.
//!
//! A lab is a network namespace with a bridge and a number of systemd-nspawn containers on it,
//! each of which boots real systemd over an overlay of one cached Debian root. What lives here:
//! making, driving, hurting and removing such nodes, and the real etcd cluster on them. What does
//! not: any crate of Drydock's; [`fleet`] installs its programs and drives them as users do, and
//! [`scenarios`] judge what comes of it by what the witness saw.
//!
//! Everything a lab starts is in one cgroup, everything it writes in two directories; removing a
//! lab is killing the one and deleting the others, from any process at any time.

#![expect(
    clippy::disallowed_methods,
    reason = "nodes are foreign machines, which can only be polled, and nothing here is async"
)]

pub mod apt;
mod built;
pub mod cache;
mod cgroup;
pub mod disk;
pub mod error;
pub mod etcd;
pub mod etcd_binary;
mod exec;
pub mod fleet;
mod guard;
pub mod hypervisor;
mod inside;
pub mod lab;
mod net;
pub mod node;
pub mod root;
pub mod scenarios;
mod state;
mod wait;
pub mod witness;

pub use error::{Error, Result};
pub use etcd::EtcdCluster;
pub use exec::Output;
pub use fleet::Fleet;
pub use guard::ChildGuard;
pub use lab::{Lab, LabOptions};
pub use node::Node;
