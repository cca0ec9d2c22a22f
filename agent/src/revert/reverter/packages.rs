//! Packages as they were, from the agent's own pool: the same job as the agent's undo, done by the reverter itself.

use std::{path::Path, time::Duration};

use crate::{
    apt::{
        beside,
        database::Database,
        install::{self, Installer},
        job::{Job, Jobs, Way},
        root::Root,
    },
    revert::plan::{PackagesBack, Plan},
};

/// How long it may take: what is still at work there comes to its end first.
pub(super) fn longest(plan: &Plan) -> Duration {
    plan.packages.as_ref().map_or(Duration::ZERO, |back| install::longest(&job(plan, back)).saturating_mul(2))
}

fn job(plan: &Plan, back: &PackagesBack) -> Job {
    Job {
        effect: plan.effect,
        way: Way::Back,
        changes: install::back(&back.changes),
        downgrade: true,
        repair: false,
        beside: std::collections::BTreeMap::new(),
        within: back.within,
    }
}

/// Puts them back. `Some`: what was done, in words; `None`: nothing had to be.
pub(super) async fn put_back(state_dir: &Path, plan: &Plan) -> Result<Option<String>, String> {
    let Some(back) = &plan.packages else { return Ok(None) };
    restore(&Root::here(), state_dir, job(plan, back)).await
}

async fn restore(root: &Root, state_dir: &Path, mut job: Job) -> Result<Option<String>, String> {
    // dpkg goes on without its agent, and two at once would be in each other's way.
    let jobs = Jobs::of(state_dir);
    let lock = jobs.lock(install::longest(&job)).await.map_err(|problem| problem.what)?;
    let database = Database::look_in(root).await.map_err(|problem| problem.what)?;
    if database.half_done.is_empty() && job.changes.iter().all(|change| install::is_at(&database, change)) {
        drop(lock);
        // The job that was killed may have left services held still all the same.
        return install::settle(root, state_dir).map(|_| None).map_err(|problem| problem.what);
    }
    job.beside = beside::look(root, &job.changes).await.map_err(|problem| problem.what)?;
    jobs.hand_out(&job).map_err(|problem| problem.what)?;
    drop(lock);
    let done = Installer::new(root, state_dir).run(job.effect, Way::Back).await;
    match done.map_err(|problem| problem.what)?.failed {
        Some(failed) => Err(crate::actions::Problem::from(failed).what),
        None => {
            let names: Vec<String> = job
                .changes
                .iter()
                .map(|change| {
                    let to = change.to.as_ref().map_or_else(|| "removed".to_owned(), ToString::to_string);
                    format!("{} {to}", change.name)
                })
                .collect();
            Ok(Some(format!("packages ({})", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::apt::install::tests::{Bench, Deb, deb};

    use super::*;

    #[tokio::test]
    async fn what_a_change_has_installed_half_way_is_put_back_and_what_it_has_not_begun_is_left_alone() {
        let Some(bench) = Bench::new() else { return };
        let broken = Deb { postinst: "exit 1", ..deb("switch", "2") };
        let changes = [bench.change(Some(&deb("switch", "1")), Some(&broken))];
        bench.before(&changes).await;
        let back = || Bench::job(Way::Back, install::back(&changes));
        assert_eq!(restore(&bench.root, &bench.state(), back()).await, Ok(None));
        assert!(bench.run(&Bench::job(Way::Forward, changes.to_vec())).await.failed.is_some());
        assert_eq!(bench.is().await, ["switch 2 half-way"]);
        let said = restore(&bench.root, &bench.state(), back()).await;
        assert_eq!(said, Ok(Some("packages (switch 1)".into())));
        assert_eq!(bench.is().await, ["switch 1"]);
        assert_eq!(
            restore(&bench.root, &bench.state(), back()).await,
            Ok(None),
            "again there is nothing to do"
        );
        bench.nothing_holds_services();
    }
}
