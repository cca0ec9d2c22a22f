//! The agent: runs as root on a node, does one section at a time, and goes no further than its policy.
//!
//! | module | what lives there |
//! |---|---|
//! | [`settings`] | flags, environment, file: where state lies, whom to dial |
//! | [`identity`] | the key, the certificate, enrolment and renewal |
//! | [`link`] | the stream to the coordinator: dial, hello, dispatch, reconnect |
//! | [`executor`] | a section from acceptance to outcome, and its recovery after a crash |
//! | [`journal`] | what was accepted, begun and done, on disk before it takes place |
//! | [`policy`] | what this node allows, whatever the coordinator asks |
//! | [`actions`] | one file a step: check, note, apply, probe, undo |
//! | [`probes`] | one file a look: read-only answers to the coordinator |
//! | [`etcd`] | the few etcd calls that actions and probes share |
//! | [`k3s`] | K3s as its installer sets it up: settings, datastore, token, API |
//! | [`apt`] | packages: what dpkg and apt say, what is staged, the installation's own process |
//! | [`libvirt`] | libvirt: guests, their processes and jobs, what stood before a restart |
//! | [`openvswitch`], [`ovn`] | Open vSwitch: what it has, what it saves, what is replayed; a chassis and its controller |
//! | [`artifacts`], [`backups`] | what is fetched and verified; what is encrypted and sent away |
//! | [`revert`] | commit-confirmed: what is taken back by itself, armed outside of the agent |
//! | [`sys`] | the only place that talks to systemd, the file system's sharp edges and other processes |

pub mod actions;
pub mod apt;
pub mod artifacts;
pub mod backups;
pub mod etcd;
pub mod executor;
pub mod host;
pub mod identity;
pub mod journal;
pub mod k3s;
pub mod libvirt;
pub mod link;
pub mod openvswitch;
pub mod ovn;
mod ovsdb;
pub mod policy;
pub mod probes;
pub mod remote;
pub mod revert;
pub mod settings;
pub mod sys;

#[cfg(test)]
#[path = "../tests/common/section.rs"]
mod section;

/// The name and the version, as `--version` prints them.
const NAMED: &str = concat!("drydock-agent ", env!("CARGO_PKG_VERSION"));

/// This build's version.
pub const VERSION: &str = NAMED.split_at("drydock-agent ".len()).1;
