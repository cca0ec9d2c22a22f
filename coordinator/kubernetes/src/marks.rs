//! Every mark of Drydock's in a cluster, and the taking back of one, by whoever has the cluster's credentials: without
//! a coordinator, and by the same code as a coordinator's ([`cordon::release`]).
//!
//! The mark on the Node says what was before; nothing else is believed. A mark that cannot be read may be of another
//! version of Drydock: it is shown, and not touched.

#[cfg(test)]
mod tests;

use std::fmt;

use drydock_types::{Epoch, FleetId, NodeName, RunId};
use serde::{Deserialize, Serialize};

use crate::{
    api::Api,
    drain::{
        ask::{self, Fault},
        cordon::{self, Released},
        hands,
        look::node_path,
    },
    health::root,
    mark::{self, Found, Mark, Marker},
    objects::Node,
};

/// A Node that has a mark of Drydock's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Marked {
    /// The Node.
    pub kube_node: String,
    /// It is cordoned now.
    pub cordoned: bool,
    /// What the mark says, where it can be read.
    pub mark: Option<Said>,
    /// Why it cannot be read, where it cannot.
    pub illegible: Option<String>,
    /// When the mark was set, by the API server (RFC 3339); where it says so.
    pub since: Option<String>,
    /// Who else is at work on the Node, each by name.
    pub hands: Vec<String>,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Said {
    /// Whose.
    pub fleet: FleetId,
    /// For which run.
    pub run: RunId,
    /// The node by Drydock's name.
    pub node: NodeName,
    /// Of which coordinator.
    pub epoch: Epoch,
    /// The Node was cordoned before, by somebody else.
    pub was_cordoned: bool,
}

/// Why a mark was not taken back. Nothing was changed, but where the cluster does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReleased {
    /// The Node is not there.
    NoNode,
    /// It has no mark.
    NoMark,
    /// Its mark cannot be read: what it is, and what helps.
    Illegible(String),
    /// Somebody else is at work there, each by name, with what to do.
    Hands(Vec<String>),
    /// It changed under our hands: another mark stands there now, or another Node has the name.
    Changed(String),
    /// The cluster does not say. The mark may stand.
    Faulted(Fault),
}

impl fmt::Display for NotReleased {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode => {
                out.write_str("there is no such Node in this cluster: `kubectl get nodes` lists them")
            }
            Self::NoMark => out.write_str("the Node has no mark of Drydock: there is nothing to take back"),
            Self::Illegible(what) => write!(out, "the Node has {what}"),
            Self::Hands(who) => out.write_str(&who.join("; ")),
            Self::Changed(what) => write!(out, "the Node was changed meanwhile ({what}): look at it again"),
            Self::Faulted(fault) => {
                write!(out, "whether the mark was taken back is not known: {fault}; look again")
            }
        }
    }
}

impl core::error::Error for NotReleased {}

/// A Node with when its fields were set.
#[derive(Deserialize)]
struct Listed {
    metadata: Fields,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    managed_fields: Vec<Managed>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    fields_v1: serde_json::Value,
}

/// Every Node with a mark, by name. Changes nothing.
///
/// # Errors
/// When the cluster does not list its Nodes.
pub async fn list(api: &dyn Api) -> Result<Vec<Marked>, Fault> {
    let mut found = Vec::new();
    ask::each(api, "/api/v1/nodes", |listed: Listed| found.extend(marked(listed))).await?;
    found.sort_by(|a: &Marked, b| a.kube_node.cmp(&b.kube_node));
    Ok(found)
}

/// The mark of one Node, where it has one. Changes nothing.
///
/// # Errors
/// When the Node is not there, or the cluster does not say.
pub async fn one(api: &dyn Api, kube_node: &str) -> Result<Option<Marked>, Fault> {
    Ok(marked(ask::get(api, &node_path(kube_node)).await?))
}

fn marked(listed: Listed) -> Option<Marked> {
    let Listed { metadata: Fields { managed_fields, rest: metadata }, mut rest } = listed;
    // By itself: whatever else is on the Node that cannot be read, who looks for marks hears of this one.
    metadata.get("annotations")?.get(mark::KEY)?;
    let kube_node = metadata.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    let cordoned = rest.get("spec").is_some_and(|spec| spec["unschedulable"] == true);
    let key = format!("f:{}", mark::KEY);
    let sets = |one: &&Managed| !one.fields_v1["f:metadata"]["f:annotations"][&key].is_null();
    let since = managed_fields.iter().find(sets).and_then(|one| one.time.clone());
    rest.insert("metadata".to_owned(), metadata.into());
    let (mark, illegible, hands) = match serde_json::from_value::<Node>(rest.into()) {
        Ok(node) => match mark::read(&node)? {
            Ok(mark) => {
                let said = said(mark);
                let hands = others(&node, &of(&said));
                (Some(said), None, hands)
            }
            Err(why) => (None, Some(why), Vec::new()),
        },
        Err(why) => {
            let why = root::cut(&why.to_string());
            (None, Some(format!("its Node is of a form that is not known here: {why}")), Vec::new())
        }
    };
    Some(Marked { kube_node, cordoned, mark, illegible, since, hands })
}

fn said(mark: Mark) -> Said {
    let Mark { fleet, run, node, epoch, was_cordoned, .. } = mark;
    Said { fleet, run, node, epoch, was_cordoned }
}

/// Whoever set it.
fn of(said: &Said) -> Marker {
    Marker { fleet: said.fleet, run: said.run, node: said.node.clone(), epoch: said.epoch }
}

fn others(node: &Node, marker: &Marker) -> Vec<String> {
    hands::on_node(node, marker).iter().map(ToString::to_string).collect()
}

/// Takes back exactly what the mark on a Node says: the cordon where it was Drydock's, and the mark.
///
/// # Errors
/// See [`NotReleased`].
pub async fn release(api: &dyn Api, kube_node: &str) -> Result<(Said, Released), NotReleased> {
    let node: Node = ask::get(api, &node_path(kube_node)).await.map_err(|fault| match fault.is_gone() {
        true => NotReleased::NoNode,
        false => NotReleased::Faulted(fault),
    })?;
    let said = match mark::read(&node) {
        None => return Err(NotReleased::NoMark),
        Some(Ok(mark)) => said(mark),
        Some(Err(why)) => {
            let what = Found::Illegible(why).in_the_way().unwrap_or_default();
            return Err(NotReleased::Illegible(what.replace("NODE", kube_node)));
        }
    };
    let marker = of(&said);
    let others = others(&node, &marker);
    if !others.is_empty() {
        return Err(NotReleased::Hands(others));
    }
    let uid = &node.metadata.uid;
    match cordon::release(api, kube_node, uid, &marker, Some(&node)).await.map_err(NotReleased::Faulted)? {
        Released::NothingOfOurs(other) => {
            Err(NotReleased::Changed(other.unwrap_or_else(|| "its mark is off".to_owned())))
        }
        Released::Illegible(what) => Err(NotReleased::Illegible(what)),
        Released::NodeGone => Err(NotReleased::Changed("it is another Node now, or none".to_owned())),
        released => Ok((said, released)),
    }
}
