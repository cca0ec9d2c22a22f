//! The least that a drain can cost: a client over kept connections that cordons, evicts all at once, watches until they
//! are gone, and uncordons. It reads nothing before and proves nothing after.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use drydock_test_cluster::Admin;
use futures_util::future;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// In milliseconds, by this machine's clock.
pub(super) async fn drain(admin: &Admin, node: &str, pods: &[String]) -> Result<f64> {
    let path = format!("/api/v1/nodes/{node}");
    // As many connections as it will use, each opened before the clock runs.
    let warm = future::try_join_all(pods.iter().map(|_| admin.get(&path))).await?;
    drop(warm);
    let began = Instant::now();
    admin.patch(&path, &json!({"spec": {"unschedulable": true}})).await?;
    let evicted = future::try_join_all(pods.iter().map(|pod| admin.evict("default", pod))).await?;
    if let Some(refused) = evicted.iter().find(|answer| answer.status != 201) {
        bail!("an eviction was answered {}: {}", refused.status, refused.body);
    }
    let here = format!("/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3D{node}");
    admin.until("the pods to be gone", &here, SOON, |all| all.is_empty().then_some(())).await?;
    admin.patch(&path, &json!({"spec": {"unschedulable": null}})).await?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
