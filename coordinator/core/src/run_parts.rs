//! A run's state as documents: a head, its plan, its nodes. A transition changes the head and a node or two;
//! only those are written again, however large the fleet is.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use drydock_types::{FleetId, RunId, Sha256};
use serde::{Deserialize, Serialize};

use crate::{
    Now,
    plan::Plan,
    run::{Amendment, Approval, Hold, NodeRun, Run, RunWaiting},
    view::RunStatus,
};

/// Everything of a [`Run`] but its plan and its nodes; see there what each field means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are Run's, and documented there")]
pub struct RunHead {
    pub reducer: u32,
    pub number: u64,
    pub id: RunId,
    pub fleet: FleetId,
    pub accepted_digest: Sha256,
    pub amendments: Vec<Amendment>,
    pub approvals: Vec<Approval>,
    pub started_by: String,
    pub started: Now,
    pub status: RunStatus,
    pub queued_behind: Option<u64>,
    pub stopped_by: Option<String>,
    pub stopped: Option<Now>,
    pub ended: Option<Now>,
    pub hold: Option<Hold>,
    pub holds_behind: Vec<Hold>,
    pub round: u64,
    pub planned_ms: BTreeMap<usize, u64>,
    pub protected_at_ms: BTreeMap<usize, u64>,
    pub waiting: Option<RunWaiting>,
}

impl RunHead {
    /// The head of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        // A field that is new in Run does not compile here until it has a place.
        let Run {
            reducer,
            number,
            id,
            fleet,
            plan: _,
            accepted_digest,
            amendments,
            approvals,
            started_by,
            started,
            status,
            queued_behind,
            stopped_by,
            stopped,
            ended,
            nodes: _,
            hold,
            holds_behind,
            round,
            planned_ms,
            protected_at_ms,
            waiting,
        } = run;
        Self {
            reducer: *reducer,
            number: *number,
            id: *id,
            fleet: *fleet,
            accepted_digest: *accepted_digest,
            amendments: amendments.clone(),
            approvals: approvals.clone(),
            started_by: started_by.clone(),
            started: *started,
            status: *status,
            queued_behind: *queued_behind,
            stopped_by: stopped_by.clone(),
            stopped: *stopped,
            ended: *ended,
            hold: hold.clone(),
            holds_behind: holds_behind.clone(),
            round: *round,
            planned_ms: planned_ms.clone(),
            protected_at_ms: protected_at_ms.clone(),
            waiting: waiting.clone(),
        }
    }

    /// The run again.
    #[must_use]
    pub fn with(self, plan: Plan, nodes: Vec<NodeRun>) -> Run {
        Run {
            reducer: self.reducer,
            number: self.number,
            id: self.id,
            fleet: self.fleet,
            plan: Arc::new(plan),
            accepted_digest: self.accepted_digest,
            amendments: self.amendments,
            approvals: self.approvals,
            started_by: self.started_by,
            started: self.started,
            status: self.status,
            queued_behind: self.queued_behind,
            stopped_by: self.stopped_by,
            stopped: self.stopped,
            ended: self.ended,
            nodes,
            hold: self.hold,
            holds_behind: self.holds_behind,
            round: self.round,
            planned_ms: self.planned_ms,
            protected_at_ms: self.protected_at_ms,
            waiting: self.waiting,
        }
    }
}
