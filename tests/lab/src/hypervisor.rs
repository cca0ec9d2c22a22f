//! Hypervisors: nodes with real libvirt, real QEMU guests that answer from outside, real Open vSwitch with a
//! userspace datapath, and real OVN.
//!
//! What an outsider sees of each node: a guest, a network namespace behind the plain bridge `br0`, and one behind a
//! logical port of OVN. Each has an address on the lab's network, so that whatever stops forwarding is noticed.

pub mod archive;
pub mod bare;
pub mod observe;
mod root;
mod site;
pub mod trace;

pub use site::{Hypervisors, Target, boot};
