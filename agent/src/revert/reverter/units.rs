//! Units as they were: running what lies on the disk, or stopped.
//!
//! A reverter that is killed is started again and goes on. What it was about to start anew is on the disk before that:
//! the next one sees that it was done, and does not do it twice.

use std::time::Duration;

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

/// Puts one unit back. `Some`: what was done, in words; `None`: nothing had to be.
///
/// # Errors
/// Why it could not be.
pub(super) async fn put_back(
    units: &Units,
    place: &Place,
    plan: &Plan,
    back: &UnitBack,
) -> Result<Option<String>, String> {
    let mut info = units.load(&back.unit).await.map_err(|error| error.to_string())?;
    let mut begun = place.begun(plan.effect);
    match begun.units.iter().find(|unit| unit.unit == back.unit).map(|unit| unit.invocation.clone()) {
        Some(last) => {
            info = units.settled(&back.unit, JOB).await.map_err(|error| error.to_string())?;
            // Files were back by then: whatever was started since runs what lies on the disk.
            if back.active && info.is_running() && info.invocation_id != last {
                return runs(back, &info).await.map(Some);
            }
        }
        None => {
            begun.units.push(UnitBack { invocation: info.invocation_id.clone(), ..back.clone() });
            // A disk that does not take it stands in nobody's way.
            if let Err(problem) = place.write_begun(&begun) {
                eprintln!("{problem}; {} is put back all the same", back.unit);
            }
        }
    }
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
        units.reset_failed(&info.id).await.map_err(|error| error.to_string())?;
    }
    match units.run(&info.id, verb, Others::Replace, JOB).await {
        Ok(JobEnd::Done | JobEnd::Unseen) => {}
        Ok(JobEnd::Not(word)) => return Err(format!("systemd's job to {} it ended as {word}", verb.word())),
        Err(error) => return Err(error.to_string()),
    }
    let now = units.load(&back.unit).await.map_err(|error| error.to_string())?;
    match verb {
        Verb::Start | Verb::Restart => runs(back, &now).await.map(Some),
        Verb::Stop if now.is_stopped() => Ok(Some(format!("{} stopped, as it was", back.unit))),
        Verb::Stop => Err(format!("it is {}/{}", now.active_state, now.sub_state)),
    }
}

async fn runs(back: &UnitBack, now: &UnitInfo) -> Result<String, String> {
    match running(&back.unit, now).await {
        Some(seen) => Ok(format!("{} runs sha256:{}", back.unit, seen.exe_sha256.short())),
        None => Err(format!("it is {}/{} without a main process", now.active_state, now.sub_state)),
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{Millis, step::UnitStep};

    use super::*;
    use crate::{
        actions::{
            swap_binary::tests::{Bench, bench_with},
            unit::{Restart, Start},
        },
        revert::{place::State, plan::Begun, reverter::tests::plan_of},
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

    async fn invocation(bench: &Bench) -> String {
        bench.host.units.load(&Bench::unit()).await.unwrap().invocation_id
    }

    #[tokio::test]
    async fn a_reverter_that_was_killed_behind_a_restart_does_not_restart_again() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let told = put_back(&bench.host.units, &place, &plan, &back).await.unwrap().unwrap();
        let once = invocation(&bench).await;
        assert_ne!(once, changed);
        // The same reverter, started again: its report was never written.
        assert!(matches!(place.state().unwrap(), State::Reverting(_)));
        assert_eq!(put_back(&bench.host.units, &place, &plan, &back).await.unwrap().unwrap(), told);
        assert_eq!(invocation(&bench).await, once);
    }

    #[tokio::test]
    async fn a_reverter_that_was_killed_before_a_restart_restarts() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let units = vec![UnitBack { invocation: changed.clone(), ..back.clone() }];
        place.write_begun(&Begun { effect: plan.effect, units }).unwrap();
        put_back(&bench.host.units, &place, &plan, &back).await.unwrap().unwrap();
        assert_ne!(invocation(&bench).await, changed);
    }

    #[tokio::test]
    async fn what_another_revert_had_begun_says_nothing_of_this_one() {
        let (bench, place, plan, back) = restarted().await;
        let changed = invocation(&bench).await;
        let units = vec![UnitBack { invocation: "an old one".into(), ..back.clone() }];
        let effect = drydock_types::EffectId([99; 32]);
        place.write_begun(&Begun { effect, units }).unwrap();
        put_back(&bench.host.units, &place, &plan, &back).await.unwrap().unwrap();
        assert_ne!(invocation(&bench).await, changed);
    }
}
