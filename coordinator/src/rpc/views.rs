//! From rows to what operators see of them.

use drydock_core::{
    standing::Standing,
    view::{ArtifactView, ComponentView, NodeView, TokenView},
};
use drydock_types::{NodeName, document};
use tonic::Status;

use crate::{
    driver::{Agent, FleetNode},
    store::{
        ComponentRow,
        registry::{ArtifactRow, NodeRow, StoredToken},
    },
};

/// A view as the wire carries it.
pub(super) fn to_document<T: serde::Serialize>(view: &T) -> drydock_proto::operator::Document {
    drydock_proto::operator::Document { json: document::encode(view) }
}

/// Nodes that are believed, as the driver knows them.
pub(super) fn fleet_nodes(rows: &[NodeRow]) -> Vec<(NodeName, FleetNode)> {
    let believed = rows.iter().filter(|row| row.revoked.is_none());
    believed.map(|row| (row.name.clone(), FleetNode { key: row.key, labels: row.labels.clone() })).collect()
}

/// Unix seconds to milliseconds; before 1970 is 1970.
fn ms(unix_s: i64) -> u64 {
    u64::try_from(unix_s).unwrap_or(0).saturating_mul(1000)
}

pub(super) fn token(stored: StoredToken, now_unix_s: i64) -> TokenView {
    let row = stored.row;
    let state = match () {
        () if row.revoked_unix_s.is_some() => "revoked",
        () if row.used_unix_s.is_some() => "used",
        () if row.expires_unix_s < now_unix_s => "expired",
        () => "open",
    };
    TokenView {
        id: row.id.to_string(),
        node: row.node,
        labels: row.labels,
        created_by: row.created_by,
        expires_unix_ms: ms(row.expires_unix_s),
        state: state.to_string(),
    }
}

pub(super) fn artifact(row: ArtifactRow) -> ArtifactView {
    ArtifactView {
        sha256: row.sha256,
        size: row.size,
        component: row.component,
        version: row.version,
        arch: row.arch,
        added_unix_ms: row.added_unix_ms,
        added_by: row.added_by,
    }
}

/// What the driver knows of a node at this moment.
#[derive(Debug)]
pub(super) struct NodeNow {
    pub(super) agent: Option<Agent>,
    pub(super) since_unix_ms: u64,
    pub(super) run: Option<u64>,
    pub(super) standing: Option<Standing>,
    pub(super) components: Vec<ComponentRow>,
}

pub(super) fn node(row: &NodeRow, now: NodeNow) -> NodeView {
    let component = |row: ComponentRow| {
        let (version, problem) = match row.version {
            Ok(version) => (Some(version), None),
            Err(why) => (None, Some(why)),
        };
        ComponentView { component: row.component, version, problem, seen_unix_ms: row.seen_ms }
    };
    NodeView {
        name: row.name.clone(),
        key: row.key,
        labels: row.labels.clone(),
        connected: now.agent.is_some(),
        since_unix_ms: now.since_unix_ms,
        agent_version: now.agent.as_ref().map(|agent| agent.version.clone()).unwrap_or_default(),
        facts: now.agent.map(|agent| agent.facts),
        certificate_until_unix_ms: ms(row.certificate_until_unix_s),
        run: now.run,
        standing: now.standing,
        components: now.components.into_iter().map(component).collect(),
    }
}

/// A text of the wire that must be a checked value.
pub(super) fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}
