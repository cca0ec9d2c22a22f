//! Is there anybody who could approve what somebody else than the starter has to?
//!
//! Certificates of operators are written down nowhere: the coordinator knows whom it has heard, and nobody else. So
//! this is a warning, and never a reason not to start.

use std::{collections::BTreeSet, sync::Arc};

use drydock_core::{plan::Plan, plan_file::ApprovalBy, view::FindingView};
use tonic::Status;

use super::{App, gone, operators::refused};

/// What an operator should know who is about to start this plan.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn warnings(app: &Arc<App>, plan: &Plan, by: &str) -> Result<Vec<FindingView>, Status> {
    let waves = plan.stages.iter().flat_map(|stage| stage.waves.iter().map(move |wave| (stage, wave)));
    let somebody_else = waves
        .filter(|(_, wave)| wave.approval.is_some_and(|approval| approval.by == ApprovalBy::SomebodyElse))
        .map(|(stage, wave)| format!("{}/{}", stage.name, wave.name));
    let waves: Vec<String> = somebody_else.collect();
    if waves.is_empty() {
        return Ok(Vec::new());
    }
    let heard = heard(app).await?;
    Ok(judge(&waves, by, &heard).into_iter().collect())
}

/// Operators whom this coordinator has heard since its start, or who started, approved, invited or added something
/// that it remembers; and whom it still believes.
async fn heard(app: &Arc<App>) -> Result<BTreeSet<String>, Status> {
    let of_runs = app.driver.with(|driver, _| (driver.starters_and_approvers(), Vec::new())).await;
    let of_runs = of_runs.map_err(gone)?.map_err(|error| refused(&error))?;
    let worker = Arc::clone(app);
    let stored = tokio::task::spawn_blocking(move || worker.registry.operators_heard()).await;
    let stored =
        stored.map_err(|_| Status::internal("the request failed; the coordinator's log says where"))?;
    let mut heard = app.trust.operators.names();
    heard.extend(stored.map_err(|error| super::store_failed(&error))?);
    heard.extend(of_runs);
    heard.retain(|name| !app.trust.revoked.holds_operator(name));
    Ok(heard)
}

fn judge(waves: &[String], by: &str, heard: &BTreeSet<String>) -> Option<FindingView> {
    if heard.iter().any(|name| name != by) {
        return None;
    }
    let what = format!(
        "{} must be approved by an operator other than {by}, and this coordinator has heard no other one since its start, and no run, token or artifact that it remembers names one; it cannot know of one whose certificate was never used",
        waves.join(", ")
    );
    let next =
        "see that somebody else can call it before you start, or let `approval: {by: anybody}` approve it";
    Some(FindingView { node: None, what, next: next.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_is_not_somebody_else() {
        let waves = ["etcd/members".to_string()];
        let heard = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let alone = judge(&waves, "anna", &heard(&["anna"])).unwrap();
        assert!(
            alone.what.contains("etcd/members") && alone.what.contains("other than anna"),
            "{}",
            alone.what
        );
        assert!(judge(&waves, "anna", &heard(&[])).is_some());
        assert_eq!(judge(&waves, "anna", &heard(&["anna", "bert"])), None);
    }
}
