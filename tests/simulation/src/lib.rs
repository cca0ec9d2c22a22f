//! The simulation: the real driver, reducer, checks, executor and journal, in virtual time, in one thread, from
//! one seed. Every rule that never bends is asserted after everything that happens, on what the machines really
//! are; nothing asks the code under test whether it is right.
//!
//! | module | what lives there |
//! |---|---|
//! | [`scenario`], [`aim`], [`faults`], [`plans`] | what a seed is about: machines, plans, what goes wrong and when |
//! | [`cluster`] | the Kubernetes cluster of those stories that have one |
//! | [`dice`] | chance from a seed |
//! | [`ground`] | what the machines really are |
//! | [`rules`] | the rules, and what they remember |
//! | `world` | whoever moves the story on, and the network, the people and the faults in it |
//! | `word` | what the reducer decides, before the limiter has judged it |
//! | `agent`, `disk`, `workshop`, `eyes` | the real executor and journal over a simulated machine |
//! | `coordinator`, `store` | the real driver, sessions and checks over the store in memory |
//! | [`explore`] | a small world of its own, explored whole |
//! | [`coverage`], [`many`], `story` | what took place, over one story and over many |
//!
//! What stands in for real code, and could be wrong in its place: a stream's two ends (`rpc/attach.rs`,
//! `link/session.rs`) and the actions themselves (`agent/src/actions`). See `docs/adr/0010-simulation.md`.

mod agent;
pub mod aim;
pub mod cluster;
mod coordinator;
pub mod coverage;
pub mod dice;
mod disk;
pub mod explore;
mod eyes;
pub mod faults;
pub mod ground;
pub mod many;
pub mod plans;
pub mod rules;
pub mod scenario;
mod shared;
mod store;
mod story;
pub mod word;
mod workshop;
mod world;

pub use self::{rules::Violation, world::Ended};

/// How a story is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Something may go wrong.
    pub faults: bool,
    /// Keep the story line by line.
    pub trace: bool,
    /// No drawn story: one plain wave of so many nodes.
    pub plain_wave: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { faults: true, trace: false, plain_wave: None }
    }
}

/// Tells the story of a seed to its end, or to the first rule that does not hold. The same seed and options
/// bring the same story to the byte.
///
/// # Errors
/// When the runtime cannot be made.
pub fn simulate(seed: u64, options: &Options) -> std::io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(async { world::World::new(seed, options).run().await }))
}
