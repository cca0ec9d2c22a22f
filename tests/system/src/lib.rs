//! Whole fleets as processes on loopback: `drydock serve`, `drydock-agent`, the `drydock` command line and a
//! tiny service, all of them the real binaries. No root, no systemd: the agents' own supervisor runs the service.
//!
//! Everything that a test starts is a child of its own, is killed when it is dropped (and by the kernel when
//! the test itself is killed), and lies in one temporary directory below the target directory: the way to a
//! managed binary must be nobody else's to write, which `/tmp` is not.
//!
//! | module | what lives here |
//! |---|---|
//! | [`fleet`] | a coordinator with nodes, enrolled through the command line |
//! | [`node`] | a node: its agent, its policy, its service, and what that service itself can tell |
//! | [`coordinator`] | `drydock serve` |
//! | [`cli`] | a command typed, and what came of it |
//! | [`release`] | versions of the service: one build with different trailers |
//! | [`relay`] | an address that leads now to one coordinator and now to another |
//! | [`process`], [`place`], [`binaries`], [`wait`], [`seed`] | processes, addresses, binaries, bounded waits, repeatable chance |
//!
//! The binaries are looked for beside the test's own; when they are missing they are built once. `tests/run`
//! builds them first, so that they are never older than the tests.

pub mod binaries;
pub mod cli;
pub mod coordinator;
pub mod fleet;
pub mod node;
pub mod place;
pub mod process;
pub mod relay;
pub mod release;
pub mod seed;
pub mod wait;

pub use self::{cli::Ran, fleet::Fleet, release::Behaviour};
