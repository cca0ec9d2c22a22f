//! What runs have marked on a cluster's Nodes, while what is known of the cluster changes.
//!
//! A mark is given back at the Node that its machine is said to be, by the credentials of the cluster at that time. So
//! neither becomes another one while something is marked; credentials that lead to the same Nodes are taken at any time,
//! because the old ones may have ended in the middle of a drain.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use drydock_kubernetes::{
    kubeconfig::Credentials,
    survey::same::{Known, leads_to},
};
use drydock_types::{
    ClusterName, NodeKey, NodeName,
    probe::{Observation, Probe},
};
use futures_util::future::join_all;
use tonic::Status;

use super::{super::gone, App, work};
use crate::clusters::{BindingRow, ClusterRow, Clusters, Opened};

/// How long a node's agent may take to say which machine it is.
const SAYS_WITHIN: Duration = Duration::from_secs(6);

/// What is marked there now is taken back at the Node that the machine is said to be: until then it stays that one.
/// What the machine is said to be now, where the word would change that.
pub(super) async fn not_marked(
    app: &Arc<App>,
    key: NodeKey,
    node: &NodeName,
    cluster: Option<&ClusterName>,
    kube_node: &str,
) -> Result<Option<BindingRow>, Status> {
    let kube_node = if kube_node.is_empty() { node.as_str() } else { kube_node };
    let now = work(app, move |clusters| clusters.binding(key)).await?;
    let now = now.filter(|now| cluster != Some(&now.cluster) || now.kube_node != kube_node);
    let marked = app.driver.with(move |driver, _| (driver.marked_by(key), Vec::new())).await.map_err(gone)?;
    match (marked, &now) {
        (Some(run), Some(now)) => Err(marked_there(run, now)),
        _ => Ok(now),
    }
}

/// A run may have marked the Node while the word was being written: then it is as it was.
pub(super) async fn still_not_marked(
    app: &Arc<App>,
    key: NodeKey,
    before: Option<BindingRow>,
) -> Result<(), Status> {
    let Some(before) = before else { return Ok(()) };
    let marked = app.driver.with(move |driver, _| (driver.marked_by(key), Vec::new())).await.map_err(gone)?;
    let Some(run) = marked else { return Ok(()) };
    let row = before.clone();
    work(app, move |clusters| clusters.bind(&row)).await?;
    Err(marked_there(run, &before))
}

fn marked_there(run: u64, now: &BindingRow) -> Status {
    let BindingRow { node, cluster, kube_node, .. } = now;
    Status::failed_precondition(format!(
        "run {run} has cordoned the Node {kube_node} of the cluster {cluster} for {node}, and would look for its mark elsewhere from now on: drydock why {run} says how it is given back; uncordoned by hand it is told by drydock node release {node} --marks"
    ))
}

/// A machine whose Node a run has marked.
struct Marked {
    run: u64,
    row: BindingRow,
}

/// Those of a cluster.
async fn of(app: &Arc<App>, name: &ClusterName) -> Result<Vec<Marked>, Status> {
    let of = name.clone();
    let rows = work(app, move |clusters| clusters.bindings_of(&of)).await?;
    let marked = app.driver.with(move |driver, _| {
        let marked = |row: BindingRow| Some(Marked { run: driver.marked_by(row.key)?, row });
        (rows.into_iter().filter_map(marked).collect::<Vec<_>>(), Vec::new())
    });
    marked.await.map_err(gone)
}

/// Nothing is marked in a cluster that is to be forgotten.
pub(super) async fn none_of(app: &Arc<App>, name: &ClusterName) -> Result<(), Status> {
    match of(app, name).await?.first() {
        Some(marked) => Err(marked_there(marked.run, &marked.row)),
        None => Ok(()),
    }
}

/// A cluster that is known and is to be reached by other credentials.
pub(super) struct Replacing {
    before: ClusterRow,
    opened: Opened,
    /// Marked machines whose Nodes these credentials lead to.
    seen: BTreeSet<NodeKey>,
}

impl Replacing {
    /// Do the new credentials lead to every Node that is marked? `None`: there is no cluster of this name yet.
    pub(super) async fn begin(
        app: &Arc<App>,
        name: &ClusterName,
        credentials: &Credentials,
    ) -> Result<Option<Self>, Status> {
        let (of, credentials) = (name.clone(), credentials.clone());
        let found = work(app, move |clusters| match clusters.kept(&of)? {
            Some(before) => Ok(Some((before, Clusters::led_to(&of, credentials)?))),
            None => Ok(None),
        });
        let Some((before, opened)) = found.await? else { return Ok(None) };
        let mut replacing = Self { before, opened, seen: BTreeSet::new() };
        replacing.look(app).await?;
        Ok(Some(replacing))
    }

    /// A run may have marked another Node while they were being written: then they are as they were, or lead there too.
    pub(super) async fn end(mut self, app: &Arc<App>) -> Result<(), Status> {
        let looked = self.look(app).await;
        if looked.is_err() {
            let before = self.before;
            work(app, move |clusters| clusters.restore(&before)).await?;
        }
        looked
    }

    async fn look(&mut self, app: &Arc<App>) -> Result<(), Status> {
        let marked = of(app, &self.before.name).await?;
        let new = marked.into_iter().filter(|marked| !self.seen.contains(&marked.row.key));
        let looks = new.map(|marked| self.one(app, marked)).collect::<Vec<_>>();
        let looked = join_all(looks).await;
        for key in looked {
            self.seen.insert(key?);
        }
        Ok(())
    }

    async fn one(&self, app: &Arc<App>, marked: Marked) -> Result<NodeKey, Status> {
        let Marked { run, row } = marked;
        let machine_id = match app.sessions.observe(&row.node, &Probe::Host {}, SAYS_WITHIN).await {
            Ok(Observation::Host(facts)) => Some(facts.machine_id),
            _ => None,
        };
        let (node, kube_node) = (row.node.clone(), row.kube_node.clone());
        let known = Known { fleet: app.ca.fleet(), node, kube_node, machine_id };
        match leads_to(&*self.opened.client, &known).await {
            Ok(()) => Ok(row.key),
            Err(why) => {
                let BindingRow { node, cluster, kube_node, .. } = row;
                Err(Status::failed_precondition(format!(
                    "the credentials are not taken: run {run} has cordoned the Node {kube_node} of the cluster {cluster} for {node} and would give it back by them, and {why}; give ones of the same cluster, or see first how that Node is given back: drydock why {run}; uncordoned by hand it is told by drydock node release {node} --marks"
                )))
            }
        }
    }
}
