//! The effectful shell around `drydock-core`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`files`] | plan and recipe files: YAML with places, suggestions, parameters; used by the command line |
//! | [`trust`] | the CA, sealing, tokens, certificates, who is calling |
//! | [`credentials`] | an operator's contexts |
//! | [`store`] | what is on disk: SQLite, and the same in memory |
//! | [`artifacts`], [`backups`] | content-addressed files |
//! | [`driver`] | the single writer: event → step → commit → effects |
//! | [`checks`] | one file a check: observe, judge |
//! | [`clusters`] | Kubernetes clusters: sealed credentials, which machine is which Node |
//! | [`moves`] | one file a move: what is done to the outside, and taken back |
//! | [`observers`] | what is measured from outside while a node is changed |
//! | [`link`] | the agents' streams |
//! | [`fencing`] | whom agents obey when it is not this coordinator; taking over |
//! | [`heard`], [`quota`] | what an agent may say, and how much of it |
//! | [`audit`] | is the record what was written, and did the nodes sign what it says of them? |
//! | [`rehearsal`] | every check on every node, changing nothing; what changed since |
//! | [`rpc`] | the gRPC services |
//! | [`health`] | `/healthz` |
//! | [`serve`] | everything put together |

pub mod artifacts;
pub mod audit;
pub mod backups;
pub mod checks;
pub mod clusters;
pub mod credentials;
pub mod driver;
pub mod fencing;
pub mod files;
pub mod health;
pub mod heard;
pub mod link;
pub mod moves;
pub mod observers;
pub mod quota;
pub mod rehearsal;
pub mod rpc;
pub mod serve;
pub mod store;
pub mod trust;
