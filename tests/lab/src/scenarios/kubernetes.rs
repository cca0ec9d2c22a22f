//! A cluster in K3s's shape on real nodes, upgraded while it is used: three servers with a member of etcd each, then two
//! agents.
//!
//! K3s itself is not to be had here, and every result says so: what runs is Kubernetes' own API server,
//! controller-manager, scheduler and etcd in one program of ours with K3s's command line, files and unit
//! (`tests/kubernetes/server/k3s.go` lists what of K3s was never tried). The last node has Kubernetes' own kubelet over
//! Debian's containerd, and its pods are containers; the other kubelets are played by that program, and their pods by kwok.
//!
//! | module | what lives here |
//! |---|---|
//! | [`site`] | the nodes as K3s's installer leaves them, the fleet, the plan |
//! | [`kubelet`] | the node whose pods are containers |
//! | [`network`] | asking API servers from inside of the lab's network |
//! | [`canary`] | canaries on the agents' nodes |
//! | [`workloads`] | what runs in the cluster, and its budgets |
//! | [`witness`] | each endpoint asked, written and read through, all the time |
//! | [`budgets`] | ready pods per budget, counted at each change |
//! | [`datastore`] | where a cluster of one server keeps its state |
//! | [`upgrade`] | the story with three servers |
//! | [`one_server`] | the story with one |
//! | [`restore`] | what was saved of an SQLite database, put back |

mod budgets;
mod canary;
mod datastore;
mod kubelet;
mod network;
mod one_server;
mod restore;
mod site;
mod upgrade;
mod witness;
mod workloads;

pub use datastore::Datastore;
pub(super) use one_server::play as one_server;
pub(super) use upgrade::play;
