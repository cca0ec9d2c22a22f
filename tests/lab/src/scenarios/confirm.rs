//! Changes that can cut their node off: taken back by the node alone, or confirmed. Two scenarios, each over
//! one lab of three nodes:
//!
//! | file | what happens |
//! |---|---|
//! | [`cut_off`] | a service that takes its link down, one that deletes a route, an agent that crashes at its start, a power cut in the middle: all back alone |
//! | [`agents`] | three agents upgrade themselves, also while the coordinator is away for longer than the limit; a node starts anew |

pub(super) mod agents;
pub(super) mod cut_off;
mod site;
mod watcher;
