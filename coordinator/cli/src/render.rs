//! From a view to text. Pure: width, colour and the time come in as arguments, texts are clean already.
//!
//! | module | what lives there |
//! |---|---|
//! | [`canvas`] | lines, paint, wrapping, columns |
//! | [`time`] | lengths, points of time, sizes |
//! | [`plan`] | `drydock plan` |
//! | [`run`] | `run show`, `run list`, how a run ended |
//! | [`force`] | `run force`: who is left on a node, and what deleting them means |
//! | [`hold`] | a hold, and commands that can be copied |
//! | [`node_of_run`] | one node of a run, with its evidence |
//! | [`watch`] | the frame of `run watch`, and its lines in a file |
//! | [`why`] | `drydock why` |
//! | [`report`] | `run report` |
//! | [`rollback`] | `run rollback`, and which runs take each other back |
//! | [`audit`] | what an audit found |
//! | [`fencing`] | `drydock takeover` |
//! | [`fleet`] | nodes, tokens, artifacts |
//! | [`cluster`] | Kubernetes clusters |
//! | [`check`] | `check cluster` |
//! | [`check_node`] | `check node` |
//! | [`hypervisor`] | `node show`: guests, bridges and packages, as they are just now |
//! | [`versions`] | `node list --versions` |
//! | [`marks`] | marks in a cluster |
//! | [`recipe`] | recipes |
//! | [`standing`] | what stands on record about nodes and the fleet, and amendments |
//! | [`rehearsal`] | `drydock rehearse`, and what a start says of it |

pub(crate) mod audit;
pub(crate) mod canvas;
pub(crate) mod check;
pub(crate) mod check_node;
pub(crate) mod cluster;
pub(crate) mod fencing;
pub(crate) mod fleet;
pub(crate) mod force;
pub(crate) mod hold;
pub(crate) mod hypervisor;
pub(crate) mod marks;
pub(crate) mod node_of_run;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod rehearsal;
pub(crate) mod report;
pub(crate) mod rollback;
pub(crate) mod run;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod standing;
pub(crate) mod time;
pub(crate) mod versions;
pub(crate) mod watch;
pub(crate) mod why;
pub(crate) mod why_node;

pub(crate) use canvas::{Canvas, Line, Page, Paint};
