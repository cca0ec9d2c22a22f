//! Is a cluster well, and what fails in it for one and the same cause?
//!
//! | module | what lives there |
//! |---|---|
//! | [`observe`] | the reads: a handful of lists in pages, of which only what is unwell is kept |
//! | [`judge`] | pure: what was observed, by root cause |
//! | [`problem`] | a root cause with whom it concerns and since when; in words; what of it is a run's own doing |
//! | [`pods`] | pure: why a pod is not well |
//! | [`root`] | pure: causes read out of other people's error texts |
//! | [`objects`] | pods, events, claims and workloads, trimmed to what is judged |
//! | [`when`] | times of Kubernetes, and ages for people |
//!
//! Nothing here changes anything. What fails is told once for each cause: nineteen pods without a sandbox for want of
//! one socket are one line. Each of those that it concerns keeps its own age, because a run answers only for what began
//! after it.

pub mod judge;
pub mod objects;
pub mod observe;
pub mod pods;
pub mod problem;
pub mod root;
#[cfg(test)]
mod tests;
pub mod when;

pub use self::{
    judge::judge,
    observe::{Observed, observe},
    problem::{Kind, Known, Member, Problem, Weight, keys, verdict},
};
