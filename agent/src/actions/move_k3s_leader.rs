//! As `moveEtcdLeader`, where the K3s server has a member of etcd; nothing where it has none.

use async_trait::async_trait;
use drydock_types::{
    outcome::Evidence,
    probe::K3sDatastore,
    step::{MoveK3sLeader, Within},
};

use super::{Action, Cx, Found, Note, Problem, move_etcd_leader};
use crate::k3s::K3s;

/// Hands leadership over.
#[derive(Debug)]
pub struct MoveLeader<'a>(pub &'a MoveK3sLeader);

impl MoveLeader<'_> {
    async fn has_member(&self, cx: &Cx<'_>) -> Result<bool, Problem> {
        let k3s = K3s::look(cx.host, &self.0.unit).await?;
        k3s.api()?;
        Ok(matches!(k3s.datastore_now().await?, K3sDatastore::EmbeddedEtcd { .. }))
    }

    const fn within(&self) -> Within {
        Within { within: self.0.within }
    }
}

#[async_trait]
impl Action for MoveLeader<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        if !self.has_member(cx).await? {
            return Ok(());
        }
        move_etcd_leader::MoveLeader(&self.within()).check(cx).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        if !self.has_member(cx).await? {
            return Ok(Note::none());
        }
        move_etcd_leader::MoveLeader(&self.within()).note(cx).await
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        if !self.has_member(cx).await? {
            return Ok(Vec::new());
        }
        move_etcd_leader::MoveLeader(&self.within()).apply(cx, note).await
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        match self.has_member(cx).await {
            Ok(false) => Found::Done,
            // Handing over again does no harm.
            Ok(true) => move_etcd_leader::MoveLeader(&self.within()).probe(cx, note).await,
            Err(_) => Found::NotBegun,
        }
    }

    /// Leadership need not move back.
    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::Millis;

    use super::*;
    use crate::k3s::tests::{Member, Node, unit};

    fn step() -> MoveK3sLeader {
        MoveK3sLeader { unit: unit(), within: Millis::secs(5) }
    }

    #[tokio::test]
    async fn a_server_without_a_member_has_nothing_to_hand_over() {
        let node = Node::new().await;
        let (_, seen) = node.bench.run(&MoveLeader(&step())).await.unwrap();
        assert_eq!(seen, []);
        assert_eq!(MoveLeader(&step()).probe(&node.cx(), &Note::none()).await, Found::Done);
    }

    #[tokio::test]
    async fn the_only_member_keeps_leadership_and_one_that_does_not_answer_is_refused() {
        let node = Node::new().await.reaches(Member::named("k3s-1-0badcafe").start().await);
        node.has_etcd("k3s-1-0badcafe").await;
        let (_, seen) = node.bench.run(&MoveLeader(&step())).await.unwrap();
        assert_eq!(seen, [], "there is nobody to hand it to");
        let gone = node.reaches("http://127.0.0.1:1".into());
        let problem = MoveLeader(&step()).check(&gone.cx()).await.unwrap_err();
        assert!(problem.what.contains("no connection to etcd"), "{problem}");
    }
}
