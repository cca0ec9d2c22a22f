//! Units as they were: running what lies on the disk, or stopped.
//!
//! A reverter that was killed is gone on with by the next one. What it was about to start anew is on the disk before
//! that: the next one sees that it was done, and does not do it twice. That counts only where every file was back by
//! then; and whatever the disk says, what still runs a file of the change is not put back.

use std::time::Duration;

use drydock_types::outcome::RunningUnit;

use crate::{
    actions::unit::running,
    revert::{
        place::Place,
        plan::{Plan, UnitBack},
    },
    sys::units::{JobEnd, Others, UnitInfo, Units, Verb},
};

/// How long one unit's job may take.
const JOB: Duration = Duration::from_secs(100);
/// Putting one unit back takes no longer: a job of before that is waited for, and our own.
pub(super) const LONGEST: Duration = JOB.saturating_mul(2);

/// What units are put back by.
pub(super) struct Restorer<'a> {
    pub(super) units: &'a Units,
    pub(super) place: &'a Place,
    pub(super) plan: &'a Plan,
    /// Every file of the plan lies as before the change.
    files_are_back: bool,
    /// How long a job is waited for that an earlier reverter may have begun.
    settle: Duration,
}

impl<'a> Restorer<'a> {
    pub(super) const fn new(
        units: &'a Units,
        place: &'a Place,
        plan: &'a Plan,
        files_are_back: bool,
    ) -> Self {
        Self { units, place, plan, files_are_back, settle: JOB }
    }

    /// Puts one unit back. `Some`: what was done, in words; `None`: nothing had to be.
    ///
    /// # Errors
    /// Why it could not be.
    pub(super) async fn put_back(&self, back: &UnitBack) -> Result<Option<String>, String> {
        let mut info = self.units.load(&back.unit).await.map_err(|error| error.to_string())?;
        let mut begun = self.place.begun(self.plan.effect);
        match begun.units.iter().find(|unit| unit.unit == back.unit).map(|unit| unit.invocation.clone()) {
            Some(last) => {
                match self.units.settled(&back.unit, self.settle).await {
                    Ok(settled) => info = settled,
                    // A job that hangs is replaced by ours, as it would have been by the first reverter's.
                    Err(error) => eprintln!("{error}; {} is put back all the same", back.unit),
                }
                // Files were back by then: whatever was started since runs what lies on the disk.
                if back.active
                    && info.is_running()
                    && !info.job_pending
                    && info.invocation_id != last
                    && let Ok(said) = self.runs(back, &info).await
                {
                    return Ok(Some(said));
                }
            }
            None if self.files_are_back => {
                begun.units.push(UnitBack { invocation: info.invocation_id.clone(), ..back.clone() });
                // A disk that does not take it stands in nobody's way.
                if let Err(problem) = self.place.write_begun(&begun) {
                    eprintln!("{problem}; {} is put back all the same", back.unit);
                }
            }
            // What is started now may run a file of the change: nobody may take it for done.
            None => {}
        }
        self.job(back, info).await
    }

    async fn job(&self, back: &UnitBack, info: UnitInfo) -> Result<Option<String>, String> {
        // Still the process of before: it has the old program in memory.
        let untouched = info.is_running() && !info.job_pending && info.invocation_id == back.invocation;
        let verb = match back.active {
            true if untouched => return Ok(None),
            true => Verb::Restart,
            false if info.is_stopped() => return Ok(None),
            false => Verb::Stop,
        };
        if verb == Verb::Restart && info.needs_reset() {
            // A start limit that was reached stands in the way of the old program as well.
            self.units.reset_failed(&info.id).await.map_err(|error| error.to_string())?;
        }
        match self.units.run(&info.id, verb, Others::Replace, JOB).await {
            Ok(JobEnd::Done | JobEnd::Unseen) => {}
            Ok(JobEnd::Not(word)) => {
                return Err(format!("systemd's job to {} it ended as {word}", verb.word()));
            }
            Err(error) => return Err(error.to_string()),
        }
        let now = self.units.load(&back.unit).await.map_err(|error| error.to_string())?;
        match verb {
            Verb::Start | Verb::Restart | Verb::Reload => self.runs(back, &now).await.map(Some),
            Verb::Stop if now.is_stopped() => Ok(Some(format!("{} stopped, as it was", back.unit))),
            Verb::Stop => Err(format!("it is {}/{}", now.active_state, now.sub_state)),
        }
    }

    /// It runs, and no file that the change has put there.
    async fn runs(&self, back: &UnitBack, now: &UnitInfo) -> Result<String, String> {
        let Some(seen) = running(&std::collections::BTreeMap::new(), &back.unit, now).await else {
            return Err(format!("it is {}/{} without a main process", now.active_state, now.sub_state));
        };
        let said = format!("{} runs sha256:{}", back.unit, seen.exe_sha256.short());
        if self.is_of_the_change(&seen) {
            return Err(format!("{said}, which is what the change had put there"));
        }
        Ok(said)
    }

    fn is_of_the_change(&self, seen: &RunningUnit) -> bool {
        let files = &self.plan.files;
        files.iter().any(|file| file.new_sha256 == seen.exe_sha256)
            && !files.iter().any(|file| file.old_sha256 == seen.exe_sha256)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use drydock_types::{Millis, Sha256, step::UnitStep};

    use super::*;
    use crate::{
        actions::{
            swap_binary::tests::{Bench, bench_with},
            unit::{Restart, Start},
        },
        revert::{
            place::State,
            plan::{Begun, FileBack},
            reverter::tests::plan_of,
        },
    };

    /// A service that runs, restarted by a change whose revert is at work.
    async fn restarted() -> (Bench, Place, Plan, UnitBack) {
        let bench = bench_with("[\"600\"]", "");
        let step = UnitStep { unit: Bench::unit(), within: Millis::secs(5) };
        bench.run(&Start(&step)).await.unwrap();
        let invocation = bench.host.units.load(&Bench::unit()).await.unwrap().invocation_id;
        let back = UnitBack { unit: Bench::unit(), active: true, invocation };
        let plan = Plan { units: vec![back.clone()], ..plan_of("a boot") };
        let place = Place::of(&bench.host.state_dir);
        place.make().unwrap();
        place.arm(&plan).unwrap();
        bench.run(&Restart(&step)).await.unwrap();
        place.claim_revert().unwrap().unwrap();
        (bench, place, plan, back)
    }

    /// By a reverter whose files are all back.
    async fn put_back(bench: &Bench, place: &Place, plan: &Plan, back: &UnitBack) -> Result<String, String> {
        let restorer = Restorer::new(&bench.host.units, place, plan, true);
        restorer.put_back(back).await.map(Option::unwrap)
    }

    async fn invocation(bench: &Bench) -> String {
        bench.host.units.load(&Bench::unit()).await.unwrap().invocation_id
    }

    #[tokio::test]
    async fn a_reverter_that_was_killed_behind_a_restart_does_not_restart_again() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let told = put_back(&bench, &place, &plan, &back).await.unwrap();
        let once = invocation(&bench).await;
        assert_ne!(once, changed);
        // The same reverter, started again: its report was never written.
        assert!(matches!(place.state().unwrap(), State::Reverting(_)));
        assert_eq!(put_back(&bench, &place, &plan, &back).await.unwrap(), told);
        assert_eq!(invocation(&bench).await, once);
    }

    #[tokio::test]
    async fn a_reverter_that_was_killed_before_a_restart_restarts() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let units = vec![UnitBack { invocation: changed.clone(), ..back.clone() }];
        place.write_begun(&Begun { effect: plan.effect, units }).unwrap();
        put_back(&bench, &place, &plan, &back).await.unwrap();
        assert_ne!(invocation(&bench).await, changed);
    }

    #[tokio::test]
    async fn what_another_revert_had_begun_says_nothing_of_this_one() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let units = vec![UnitBack { invocation: "an old one".into(), ..back.clone() }];
        let effect = drydock_types::EffectId([99; 32]);
        place.write_begun(&Begun { effect, units }).unwrap();
        put_back(&bench, &place, &plan, &back).await.unwrap();
        assert_ne!(invocation(&bench).await, changed);
    }

    #[tokio::test]
    async fn a_job_that_hangs_is_replaced_by_the_next_reverters_too() {
        // A service that does not heed SIGTERM: its restart is under way until it is killed.
        let deaf = "[\"-c\", \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]\nstop_timeout = \"2s\"";
        let bench = bench_with(deaf, "");
        fs::write(bench.path.as_str(), fs::read("/bin/sh").unwrap()).unwrap();
        let step = UnitStep { unit: Bench::unit(), within: Millis::secs(30) };
        bench.run(&Start(&step)).await.unwrap();
        while bench.host.units.log_tail("x.service", 1).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let last = invocation(&bench).await;
        let back = UnitBack { unit: Bench::unit(), active: true, invocation: "of before the change".into() };
        let plan = Plan { units: vec![back.clone()], ..plan_of("a boot") };
        let place = Place::of(&bench.host.state_dir);
        place.make().unwrap();
        let begun = vec![UnitBack { invocation: last.clone(), ..back.clone() }];
        place.write_begun(&Begun { effect: plan.effect, units: begun }).unwrap();
        let units = &bench.host.units;
        let restart = units.run("x.service", Verb::Restart, Others::Replace, JOB);
        let goes_on = async {
            while !units.load(&Bench::unit()).await.unwrap().job_pending {
                tokio::task::yield_now().await;
            }
            let settle = Duration::ZERO;
            Restorer { settle, ..Restorer::new(units, &place, &plan, true) }.put_back(&back).await
        };
        let (first, said) = tokio::join!(restart, goes_on);
        assert_eq!(first.unwrap(), JobEnd::Done);
        assert!(said.unwrap().unwrap().contains("x.service runs"));
        assert_ne!(invocation(&bench).await, last);
    }

    /// The change's file lies on the disk and runs, and it could not be put back.
    async fn with_the_file_of_the_change() -> (Bench, Place, Plan, UnitBack) {
        let (bench, place, plan, back) = restarted().await;
        let old_sha256 = bench.digest();
        let new = [fs::read(bench.path.as_str()).unwrap().as_slice(), b"the new one"].concat();
        fs::rename(bench.path.as_str(), format!("{}.old", bench.path)).unwrap();
        fs::write(bench.path.as_str(), &new).unwrap();
        fs::set_permissions(bench.path.as_str(), Permissions::from_mode(0o755)).unwrap();
        let step = UnitStep { unit: Bench::unit(), within: Millis::secs(5) };
        bench.run(&Restart(&step)).await.unwrap();
        let file = FileBack { path: bench.path.clone(), old_sha256, new_sha256: Sha256::of(&new) };
        (bench, place, Plan { files: vec![file], ..plan }, back)
    }

    #[tokio::test]
    async fn what_runs_the_file_of_the_change_is_not_put_back_and_is_once_the_file_is() {
        let (bench, place, plan, back) = with_the_file_of_the_change().await;
        let first = Restorer::new(&bench.host.units, &place, &plan, false);
        let why = first.put_back(&back).await.unwrap_err();
        assert!(why.contains("what the change had put there"), "{why}");
        assert_eq!(place.begun(plan.effect).units, [], "nobody takes it for done");
        // The next reverter has better luck with the file; the process is still the one of the first.
        fs::rename(format!("{}.old", bench.path), bench.path.as_str()).unwrap();
        let old = plan.files[0].old_sha256.short();
        assert!(put_back(&bench, &place, &plan, &back).await.unwrap().contains(&old));
    }

    #[tokio::test]
    async fn another_invocation_that_runs_the_file_of_the_change_is_started_anew() {
        let (bench, place, plan, back) = with_the_file_of_the_change().await;
        let units = vec![UnitBack { invocation: "right before".into(), ..back.clone() }];
        place.write_begun(&Begun { effect: plan.effect, units }).unwrap();
        fs::rename(format!("{}.old", bench.path), bench.path.as_str()).unwrap();
        let changed = invocation(&bench).await;
        let old = plan.files[0].old_sha256.short();
        assert!(put_back(&bench, &place, &plan, &back).await.unwrap().contains(&old));
        assert_ne!(invocation(&bench).await, changed);
    }
}
