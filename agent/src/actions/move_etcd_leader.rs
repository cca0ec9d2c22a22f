//! If this node's etcd member leads, hands leadership to a healthy voter. Nothing needs to be taken back.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, probe::EtcdStatus, step::Within};
use serde::{Deserialize, Serialize};

use super::{Action, Cx, Found, Note, Problem};
use crate::etcd::{EtcdAccess, known::Known, lead::hand_over, member::Member};

const CALL_WITHIN: Duration = Duration::from_secs(2);

/// Hands leadership over.
#[derive(Debug)]
pub struct MoveLeader<'a>(pub &'a Within);

/// How it was before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    member: String,
    led: bool,
    term: u64,
}

async fn own_status(cx: &Cx<'_>) -> Result<EtcdStatus, Problem> {
    let access = EtcdAccess::of(&cx.host.policy);
    let member = Member::dial(&access, &access.endpoint, CALL_WITHIN).await?;
    Ok(member.status(CALL_WITHIN).await?.0)
}

#[async_trait]
impl Action for MoveLeader<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        own_status(cx).await.map(|_| ())
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let own = own_status(cx).await?;
        Note::of(&Before { led: own.leads(), member: own.member, term: own.raft_term })
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let access = EtcdAccess::of(&cx.host.policy);
        let known = Known::in_state(&cx.host.state_dir);
        let within = Duration::from_millis(self.0.within.0);
        let moved = hand_over(&access, &known, within).await?;
        Ok(moved.map(|moved| Evidence::LeaderMoved { from: moved.from, to: moved.to }).into_iter().collect())
    }

    /// Handing over again does no harm: a member that leads again, or does not answer, is simply asked again.
    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        match own_status(cx).await {
            Ok(own) if own.knows_leader() && !own.leads() => Found::Done,
            Ok(_) | Err(_) => Found::NotBegun,
        }
    }

    /// Leadership need not move back.
    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
