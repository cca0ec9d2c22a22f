//! Real Kubernetes clusters for tests, on loopback, without root: API server, controller-manager, scheduler and etcd
//! from their published modules in one process, and kwok, which plays kubelets: nodes that are Ready, pods that run,
//! become ready and end. No container is ever started.
//!
//! | module | what lives here |
//! |---|---|
//! | [`binaries`] | the server and the kubelet of a version, and kwok: built by Go once, kept in the cache |
//! | [`cluster`] | [`Cluster`]: one server or several, its nodes, its end |
//! | [`server`] | one server: stopped, killed, frozen, started again at another version |
//! | [`kwok`] | the kubelets' double |
//! | [`admin`] | a client of our own with all rights, that asks and watches |
//! | [`objects`] | nodes, deployments, pods and budgets, as JSON |
//! | [`cache`], [`process`], [`place`], [`error`] | finished builds, children, addresses, what can go wrong |
//!
//! The Go module of the server is `server/` beside this crate, kwok's version and its stages are in `kwok/`. A copy of the
//! server that is called `k3s` has K3s's command line, files and start; the lab installs it on nodes.
//! The first build takes minutes and two gigabytes of Go's own cache; `drydock-test-cluster build` does it ahead,
//! `drydock-test-cluster up` starts a cluster to try things on.
//!
//! Tests against a real cluster are `#[ignore]`d, live in a target called `kubernetes_real`, and begin with
//! [`here`]: `tests/run kubernetes` runs them, in whatever crate they are. Those that need two real minors are in
//! `kubernetes_minors`, for `tests/run --all`.

pub mod admin;
pub mod binaries;
pub mod cache;
pub mod cluster;
pub mod error;
pub mod kwok;
pub mod objects;
pub mod place;
pub mod process;
pub mod server;

pub use self::{
    admin::Admin,
    binaries::{available, here, here_with_all},
    cluster::{Cluster, Settings},
    error::{Error, Result},
};
