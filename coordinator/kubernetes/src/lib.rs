//! What Drydock asks of Kubernetes clusters, and how it judges the answers. Knows nothing of runs and plans.
//!
//! | module | what lives there |
//! |---|---|
//! | [`api`] | one request to a cluster and its answer; a watch |
//! | [`answer`] | what an answer means |
//! | [`objects`] | Node, Pod, PodDisruptionBudget, …: only the fields that are used |
//! | [`mark`] | our mark on a Node: whose cordon it is, and how it is undone |
//! | [`drain`] | taking the pods off a Node, and giving it back |
//! | `fake` | a cluster in memory, for tests and the simulation |
//! | [`client`] | the real API: several endpoints over HTTPS |
//! | [`kubeconfig`] | what a cluster is reached with, and how it is read from a file |
//! | [`rights`] | which permission is missing for what |
//! | [`survey`] | what a cluster is like: endpoints, versions, skew, credentials, rights |

pub mod answer;
pub mod api;
pub mod client;
pub mod drain;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod kubeconfig;
pub mod mark;
pub mod objects;
pub mod rights;
pub mod survey;
