//! What an agent's Hello says that it keeps of the record, compared with the record: said in the log at once,
//! so that nobody has to ask first. It refuses nobody; `drydock audit verify` is where a person looks.

use std::sync::Arc;

use drydock_proto::agent;
use drydock_types::{Head, HeadConflict};
use tonic::Status;

use super::App;
use crate::trust::NodePeer;

/// What stands in a Hello beside everything else.
pub(super) struct Anchors {
    head: Option<Head>,
    conflict: Option<HeadConflict>,
}

impl Anchors {
    /// Reads it.
    ///
    /// # Errors
    /// When it is malformed.
    pub(super) fn of(hello: &agent::Hello) -> Result<Self, Status> {
        let bad = |error: drydock_proto::edge::BadField| Status::invalid_argument(error.to_string());
        let head = hello.head.as_ref().map(Head::try_from).transpose().map_err(bad)?;
        let conflict = hello.conflict.as_ref().map(HeadConflict::try_from).transpose().map_err(bad)?;
        Ok(Self { head, conflict })
    }

    /// Compares it with the record.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) async fn compare(self, app: &Arc<App>, peer: &NodePeer) -> Result<(), Status> {
        let node = &peer.name;
        if let Some(head) = self.head.filter(|head| head.seq > 0) {
            // It was committed before anybody was told of it.
            let hash = app.blocking(move |app| app.registry.event_hash(head.seq)).await?;
            if head.fleet != app.ca.fleet() || hash != Some(head.hash) {
                tracing::error!(target: "drydock::record", %node, %head, "an agent was told of an event that this record does not hold: it was restored from an older copy, cut off or rewritten. Type: drydock audit verify");
            }
        }
        if let Some(conflict) = self.conflict {
            let what = conflict.text();
            tracing::error!(target: "drydock::record", %node, %what, "an agent keeps two heads that contradict each other. Type: drydock audit verify");
        }
        Ok(())
    }
}
