//! Changes that can cut their node off: taken back by the node alone, or confirmed. Each scenario has a lab of its
//! own:
//!
//! | file | what happens |
//! |---|---|
//! | [`cut_off`] | a service that takes its link down, one that deletes a route, an agent that crashes at its start, a power cut in the middle: all back alone |
//! | [`agents`] | three agents upgrade themselves, also while the coordinator is away for longer than the limit; a node starts anew |
//! | [`points`] | agent and reverter are killed before and after each durable write and each unit of a revert |

pub(super) mod agents;
pub(super) mod cut_off;
pub(super) mod points;
mod site;
mod watcher;
