//! The pure core: everything that is decided, and nothing that is done.
//!
//! `#![no_std]` with `alloc`: there is no clock, no randomness, no file and no socket to reach for; time
//! and evidence come in as arguments.
//!
//! | module | what lives there |
//! |---|---|
//! | [`plan_file`], [`recipe`] | the two files that people write, as types |
//! | [`bundle`] | what an operator submits: a plan with its recipes and artifacts pinned |
//! | [`inventory`] | the fleet as it was seen |
//! | [`plan`] | bundle + inventory → plan and report |
//! | [`moves`] | what the coordinator itself does to the outside: a drain |
//! | [`hold_kind`] | the kinds of holds and waits that there are |
//! | [`observe`] | what is measured from outside while a node is changed |
//! | [`per_node`] | what differs from node to node in a recipe |
//! | [`version_path`] | which versions may follow which |
//! | [`window`] | when a plan's window is open: the one place with time zones |
//! | [`run`] | a run's state, whole and as documents of which only those that changed are written |
//! | [`standing`] | what stands on record about nodes and the fleet, beyond any run |
//! | [`step`](mod@step) | the reducer: state + event → state + effects |
//! | [`view`], [`run_view`] | what operators see of it |
#![no_std]
extern crate alloc;

pub mod bundle;
pub mod clock;
pub mod hold_kind;
pub mod inventory;
pub mod moves;
pub mod observe;
pub mod per_node;
pub mod plan;
pub mod plan_file;
pub mod recipe;
pub mod run;
pub mod run_view;
pub mod standing;
pub mod step;
pub mod version_path;
pub mod view;
pub mod window;

pub use clock::Now;
