//! Sees that this node's etcd member answers, is in its cluster, knows a leader, has the target version, and is
//! not behind. Only looks.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};

use super::{Cx, Problem, look::Look, unit};
use crate::etcd::{EtcdAccess, health::wait_until_well};

/// Waits until it is so, or the deadline.
#[derive(Debug)]
pub struct MemberHealthy<'a>(pub &'a Within);

#[async_trait]
impl Look for MemberHealthy<'_> {
    /// Nothing can be refused ahead: before the change the member runs another version.
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let access = EtcdAccess::of(&cx.host.policy);
        let within = self.0.within;
        let to = &cx.section.to;
        let wait = async {
            let seen = wait_until_well(&access, to, Duration::from_millis(within.0)).await;
            seen.map_err(|why| {
                let what = format!("this node's etcd member was not well at {to} within {within}: {why}");
                Problem::new(what).next(format!(
                    "etcdctl --endpoints={} endpoint status -w table; and see the unit's log",
                    access.endpoint
                ))
            })
        };
        let seen = unit::while_it_may_come(cx, wait).await?;
        Ok(vec![
            Evidence::Version { version: seen.version, source: format!("etcd member {}", seen.member) },
            Evidence::EtcdMember {
                member: seen.member,
                cluster: seen.cluster,
                raft_index: seen.raft_index,
                leader: seen.leader,
            },
        ])
    }
}
