//! The validated words that both sides of the wire share.
//!
//! A value of a type in this crate has been checked: a [`UnitName`] can be handed to systemd, an
//! [`AbsPath`] holds no `..`, a [`Section`] holds no unknown key. Everything here is data: no clock, no
//! file, no socket (`no_std` lets the compiler prove it), so that the pure planner can share it with the
//! agent that runs as root.
//!
//! Documents that are hashed, stored or one day signed (sections, outcomes, plans) travel as the exact
//! bytes of [`document::encode`]; see `docs/adr/0003-documents-as-exact-bytes.md`.
#![no_std]
extern crate alloc;

pub mod digest;
pub mod document;
pub mod duration;
pub mod findings;
pub mod id;
pub mod libvirt;
pub mod name;
pub mod openvswitch;
pub mod outcome;
pub mod ovn;
pub mod packages;
pub mod probe;
pub mod reach;
pub mod section;
pub mod signed;
pub mod step;
pub mod version;

pub use digest::Sha256;
pub use duration::Millis;
pub use id::{EffectId, Epoch, Fence, FleetId, InstanceId, JournalId, NodeKey, RunId};
pub use name::{AbsPath, ClusterName, ComponentName, Invalid, Label, NodeName, PackageName, UnitName};
pub use outcome::{Outcome, Verdict};
pub use section::{ArtifactRef, Section, SectionKind};
pub use signed::{Head, HeadConflict, Signature};
pub use step::Step;
pub use version::Version;
