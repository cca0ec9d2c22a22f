//! What operators say of Kubernetes clusters, checked.
//!
//! | module | what lives there |
//! |---|---|
//! | `marked` | what is marked on Nodes while what is known of their cluster changes |

mod marked;

use std::{collections::BTreeMap, sync::Arc};

use drydock_core::standing::FleetEvent;
use drydock_proto::operator::{AddClusterRequest, BindNodeRequest, ClusterRequest};
use drydock_types::{ClusterName, NodeKey, NodeName};
use tonic::Status;

use self::marked::{Replacing, not_marked, still_not_marked};
use super::{App, gone, operators::refused, store_failed, views::invalid};
use crate::{
    clusters::{
        Adding, BindingRow, ClusterError, Clusters,
        view::{BindingView, ClusterCheckView, ClusterTestView, ClusterView},
    },
    driver::clock::wall_ms,
    heard,
};

/// The longest name of a kubeconfig's context that is kept, in bytes: cloud providers make long ones.
const MAX_CONTEXT_BYTES: usize = 256;

fn name(text: &str) -> Result<ClusterName, Status> {
    ClusterName::parse(text).map_err(invalid)
}

/// Something with the clusters, beside the services: it waits for the disk.
async fn work<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Clusters) -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, Status> {
    let clusters = Arc::clone(&app.clusters);
    let done = tokio::task::spawn_blocking(move || work(&clusters)).await;
    match done.map_err(|_| Status::internal("the request failed; the coordinator's log says where"))? {
        Ok(value) => Ok(value),
        Err(ClusterError::Store(error)) => Err(store_failed(&error)),
        Err(error @ (ClusterError::Bad { .. } | ClusterError::NotANode(_) | ClusterError::InCluster(_))) => {
            Err(Status::invalid_argument(error.to_string()))
        }
        Err(error @ (ClusterError::Refused(_) | ClusterError::Sealed { .. })) => {
            Err(Status::failed_precondition(error.to_string()))
        }
    }
}

/// A line of the record.
async fn note(
    app: &Arc<App>,
    event: FleetEvent,
    node: Option<NodeName>,
    by: String,
    text: String,
) -> Result<(), Status> {
    let noted =
        app.driver.with(move |driver, now| (driver.note(event, node.as_ref(), &by, text, now), Vec::new()));
    noted.await.map_err(gone)?.map_err(|error| refused(&error))
}

/// Runs to its end also when its caller goes away: what is done is also on record.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::spawn(work).await;
    done.map_err(|_| Status::internal("the request failed; the coordinator's log says where"))?
}

/// Makes a cluster known.
pub(super) async fn add(app: &Arc<App>, asked: AddClusterRequest, by: String) -> Result<ClusterView, Status> {
    let name = name(&asked.name)?;
    if asked.context.len() > MAX_CONTEXT_BYTES {
        return Err(Status::invalid_argument(format!(
            "the context's name has over {MAX_CONTEXT_BYTES} bytes"
        )));
    }
    let app = Arc::clone(app);
    whole(async move {
        let (of, who) = (name.clone(), by.clone());
        let (context, replace) = (heard::text(&asked.context), asked.replace);
        let credentials = work(&app, move |_| match asked.in_cluster {
            true => Clusters::own_pod(&asked.servers),
            false => Clusters::credentials(&of, &asked.credentials),
        })
        .await?;
        let replacing = match replace {
            true => Replacing::begin(&app, &name, &credentials).await?,
            false => None,
        };
        let adding = Adding { name: name.clone(), context, credentials, replace, by: who };
        let view = work(&app, move |clusters| clusters.add(adding, wall_ms())).await?;
        if let Some(replacing) = replacing {
            replacing.end(&app).await?;
        }
        let endpoints = view.endpoints.clone();
        let text = format!("{by} added the cluster {name} ({})", endpoints.join(", "));
        let event = FleetEvent::ClusterAdded { cluster: name, endpoints };
        note(&app, event, None, by, text).await?;
        Ok(view)
    })
    .await
}

/// Every cluster.
pub(super) async fn list(app: &Arc<App>) -> Result<Vec<ClusterView>, Status> {
    work(app, Clusters::list).await
}

/// Looks at a cluster.
pub(super) async fn test(app: &Arc<App>, asked: &ClusterRequest) -> Result<ClusterTestView, Status> {
    let name = name(&asked.name)?;
    let (cluster, opened) =
        work(app, move |clusters| Ok((clusters.show(&name)?, clusters.open(&name)?))).await?;
    let survey = opened.survey(app.trust.clock.now_unix_s()).await;
    Ok(ClusterTestView { cluster, survey })
}

/// What fails in a cluster.
pub(super) async fn check(app: &Arc<App>, asked: &ClusterRequest) -> Result<ClusterCheckView, Status> {
    let name = name(&asked.name)?;
    let of = name.clone();
    let opened = work(app, move |clusters| clusters.open(&of)).await?;
    Ok(opened.check(name, app.trust.clock.now_unix_s()).await)
}

/// Has a cluster forgotten.
pub(super) async fn remove(
    app: &Arc<App>,
    asked: &ClusterRequest,
    by: String,
) -> Result<ClusterView, Status> {
    let (name, app) = (name(&asked.name)?, Arc::clone(app));
    whole(async move {
        marked::none_of(&app, &name).await?;
        let of = name.clone();
        let view = work(&app, move |clusters| {
            let view = clusters.show(&of)?;
            clusters.remove(&of)?;
            Ok(view)
        })
        .await?;
        let text = format!("{by} removed the cluster {name}");
        note(&app, FleetEvent::ClusterRemoved { cluster: name }, None, by, text).await?;
        Ok(view)
    })
    .await
}

/// Says which Node of which cluster a machine is, or that it is none.
pub(super) async fn bind(app: &Arc<App>, asked: BindNodeRequest, by: String) -> Result<BindingView, Status> {
    let node = NodeName::parse(&asked.node_name).map_err(invalid)?;
    let cluster = match asked.cluster.as_str() {
        "" => None,
        text => Some(name(text)?),
    };
    let key = key(app, &node).await?;
    let app = Arc::clone(app);
    whole(async move {
        let before = not_marked(&app, key, &node, cluster.as_ref(), &asked.kube_node).await?;
        let Some(cluster) = cluster else {
            let bound = work(&app, move |clusters| clusters.unbind(key)).await?;
            if !bound {
                return Err(Status::failed_precondition(format!("{node} is bound to no cluster")));
            }
            still_not_marked(&app, key, before).await?;
            let text = format!("{by} said that {node} is no cluster's Node any more");
            note(&app, FleetEvent::NodeUnbound {}, Some(node.clone()), by, text).await?;
            return Ok(BindingView { node, cluster: None, kube_node: None });
        };
        let kube_node = if asked.kube_node.is_empty() { node.to_string() } else { asked.kube_node };
        let row = BindingRow {
            key,
            node: node.clone(),
            cluster: cluster.clone(),
            kube_node: kube_node.clone(),
            bound_by: by.clone(),
            bound_unix_ms: wall_ms(),
        };
        work(&app, move |clusters| clusters.bind(&row)).await?;
        still_not_marked(&app, key, before).await?;
        let text = format!("{by} said that {node} is the Node {kube_node} of the cluster {cluster}");
        let event = FleetEvent::NodeBound { cluster: cluster.clone(), kube_node: kube_node.clone() };
        note(&app, event, Some(node.clone()), by, text).await?;
        Ok(BindingView { node, cluster: Some(cluster), kube_node: Some(kube_node) })
    })
    .await
}

/// Of which cluster each machine is a Node.
pub(crate) async fn bound(app: &Arc<App>) -> Result<BTreeMap<NodeName, ClusterName>, Status> {
    work(app, Clusters::bound).await
}

async fn key(app: &Arc<App>, node: &NodeName) -> Result<NodeKey, Status> {
    let of = node.clone();
    let rows = app.blocking(|app| app.registry.nodes()).await?;
    let row = rows.into_iter().find(|row| row.name == of && row.revoked.is_none());
    row.map(|row| row.key)
        .ok_or_else(|| Status::not_found(format!("there is no node {node}; `drydock node list` shows them")))
}
