//! Packages as they were, from the agent's own pool, and the services that their scripts have ended: the same job as the agent's
//! undo, done by the reverter itself.

use std::{collections::BTreeMap, path::Path, time::Duration};

use drydock_types::EffectId;

use crate::{
    apt::{
        beside,
        database::Database,
        ended::{Ended, May, START},
        install::{self, Installer},
        job::{Job, Jobs, Way},
        root::Root,
    },
    policy::Policy,
    revert::plan::{PackagesBack, Plan},
    sys::units::Units,
};

/// How long it may take: what is still at work there comes to its end first.
pub(super) fn longest(plan: &Plan) -> Duration {
    plan.packages.as_ref().map_or(Duration::ZERO, |back| {
        let starts = START.saturating_mul(u32::try_from(back.may_start.len()).unwrap_or(u32::MAX));
        install::longest(&job(plan, back)).saturating_mul(2).saturating_add(starts)
    })
}

fn job(plan: &Plan, back: &PackagesBack) -> Job {
    Job {
        effect: plan.effect,
        way: Way::Back,
        changes: install::back(&back.changes),
        downgrade: true,
        repair: false,
        beside: BTreeMap::new(),
        within: back.within,
    }
}

/// Puts them back. `Some`: what was done, in words; `None`: nothing had to be.
/// At boot systemd is not asked: it has not started its services yet, and will.
pub(super) async fn put_back(state_dir: &Path, plan: &Plan, at_boot: bool) -> Result<Option<String>, String> {
    let Some(back) = &plan.packages else { return Ok(None) };
    let units = Units::of(&Policy::default()).map_err(|error| error.to_string())?;
    restore(&Root::here(), (!at_boot).then_some(&units), state_dir, job(plan, back)).await
}

/// Starts what packages' scripts have ended. To be done last: a service may need the units and the switch of the change.
pub(super) async fn bring_back(state_dir: &Path, plan: &Plan) -> Result<Option<String>, String> {
    let Some(back) = &plan.packages else { return Ok(None) };
    let units = Units::of(&Policy::default()).map_err(|error| error.to_string())?;
    start(&units, state_dir, plan.effect, back).await
}

async fn start(
    units: &Units,
    state_dir: &Path,
    effect: EffectId,
    back: &PackagesBack,
) -> Result<Option<String>, String> {
    let jobs = Jobs::of(state_dir);
    // Nothing was kept, so nothing had been begun.
    let Some(before) = jobs.kept(effect).map_err(|problem| problem.what)? else { return Ok(None) };
    let ended = Ended { units, jobs: &jobs, effect };
    let started = ended.bring_back(&before, May::Armed(&back.may_start), &BTreeMap::new()).await;
    let names: Vec<String> =
        started.map_err(|problem| problem.what)?.into_iter().map(|(unit, _)| unit.to_string()).collect();
    Ok((!names.is_empty()).then(|| format!("{} started, which packages had ended", names.join(", "))))
}

async fn restore(
    root: &Root,
    units: Option<&Units>,
    state_dir: &Path,
    mut job: Job,
) -> Result<Option<String>, String> {
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
    if let Some(units) = units
        && let Err(problem) = (Ended { units, jobs: &jobs, effect: job.effect }).keep_up().await
    {
        eprintln!("{problem}; packages are put back all the same");
    }
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
        assert_eq!(restore(&bench.root, None, &bench.state(), back()).await, Ok(None));
        assert!(bench.run(&Bench::job(Way::Forward, changes.to_vec())).await.failed.is_some());
        assert_eq!(bench.is().await, ["switch 2 half-way"]);
        let said = restore(&bench.root, None, &bench.state(), back()).await;
        assert_eq!(said, Ok(Some("packages (switch 1)".into())));
        assert_eq!(bench.is().await, ["switch 1"]);
        assert_eq!(
            restore(&bench.root, None, &bench.state(), back()).await,
            Ok(None),
            "again there is nothing to do"
        );
        bench.nothing_holds_services();
    }
}
