//! What Drydock asks of Kubernetes clusters, and how it judges the answers. Knows nothing of runs and plans.
//!
//! | module | what lives there |
//! |---|---|
//! | [`api`] | one request to a cluster and its answer; a watch |
//! | [`answer`] | what an answer means |
//! | [`objects`] | Node, Pod, PodDisruptionBudget, …: only the fields that are used |
//! | [`mark`] | our mark on a Node: whose cordon it is, and how it is undone |
//! | [`marks`] | every mark in a cluster, and taking one back without a coordinator |
//! | [`drain`] | taking the pods off a Node, and giving it back |
//! | `fake` | a cluster in memory, for tests and the simulation |
//! | [`client`] | the real API: several endpoints over HTTPS |
//! | [`kubeconfig`] | what a cluster is reached with, and how it is read from a file |
//! | [`rights`] | which permission is missing for what |
//! | [`health`] | what fails in a cluster, by root cause, and since when |
//! | [`condition`] | objects of any kind: a condition, a value at a JSONPath |
//! | [`canary`] | a pod of our own on a Node, started, answering, and gone again |
//! | [`survey`] | what a cluster is like: endpoints, versions, skew, credentials, rights |

pub mod answer;
pub mod api;
pub mod canary;
pub mod client;
pub mod condition;
pub mod drain;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod health;
pub mod kubeconfig;
pub mod mark;
pub mod marks;
pub mod objects;
pub mod rights;
pub mod survey;
