//! Seeing that a new ovn-controller has taken over.

use std::time::Duration;

use drydock_types::{openvswitch::RestartOvnController, outcome::Evidence};
use tokio::time::{Instant, sleep};

use super::Told;
use crate::{
    actions::Problem,
    host::Host,
    openvswitch::flows,
    ovn::{self, Tools},
    sys::{still, units::LOOK_AGAIN},
};

/// A controller of another version may write other flows, and ports come and go: so many of ten must be there again.
const OF_TEN: u64 = 9;
/// Where the flows are others than before, they must have stood still for this long.
const SETTLED: Duration = Duration::from_secs(2);

/// One look at the new controller, and what its bridge has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The generation, or why it has not caught up.
    pub(super) caught_up: Result<u64, String>,
    pub(super) chassis: String,
    pub(super) version: String,
    pub(super) runs_installed: bool,
    /// For how long the process has been running, measured after the flows were read.
    pub(super) age: Duration,
    /// How long ago the oldest flow was written.
    pub(super) oldest: Option<Duration>,
    pub(super) bridge: String,
    pub(super) told: Told,
}

/// Waits until it has caught up, and its flows are there again.
pub(super) async fn as_before(
    host: &Host,
    config: &RestartOvnController,
    told: &Told,
    until: Instant,
) -> Result<Vec<Evidence>, Problem> {
    let mut since: Option<(Told, Instant)> = None;
    loop {
        let why = match look(host, config).await {
            Ok(now) => {
                let first = match since.take() {
                    Some((last, first)) if last == now.told => first,
                    _ => Instant::now(),
                };
                since = Some((now.told.clone(), first));
                match judge(&now, told, first.elapsed()) {
                    Ok(evidence) => return Ok(evidence),
                    Err(why) => why,
                }
            }
            Err(problem) => problem.what,
        };
        if Instant::now() >= until {
            return Err(problem(format!(
                "{why}, still {} after {} was restarted",
                config.within, config.unit
            )));
        }
        still::waits(&why);
        sleep(LOOK_AGAIN * 2).await;
    }
}

/// What a person looks at.
pub(super) fn problem(why: String) -> Problem {
    Problem::new(why)
        .next("ovn-appctl -t ovn-controller connection-status; journalctl -u ovn-controller -e; tail /var/log/ovn/ovn-controller.log")
        .next("where the database is: ovn-sbctl list Chassis_Private; ovn-sbctl list SB_Global")
}

async fn look(host: &Host, config: &RestartOvnController) -> Result<Look, Problem> {
    let seen = ovn::at(&Tools::installed()).await?;
    let controller = seen.controller?;
    let info = host.units.load(&config.unit).await.map_err(|error| Problem::new(error.to_string()))?;
    if info.main_pid != controller.pid {
        return Err(Problem::new(format!(
            "ovn-controller's pid file names process {}, and {} runs process {}",
            controller.pid, info.id, info.main_pid
        )));
    }
    let (dialect, tables) = ovn::tables(&seen.chassis).await?;
    let oldest = flows::oldest(&seen.chassis.bridge, dialect).await?;
    let age = controller.age().map_err(|error| Problem::new(format!("ovn-controller: {error}")))?;
    Ok(Look {
        caught_up: seen.view.caught_up(),
        chassis: seen.view.chassis,
        version: seen.view.version.unwrap_or_default(),
        runs_installed: controller.runs_installed,
        age,
        oldest,
        bridge: seen.chassis.bridge,
        told: Told::of(&tables),
    })
}

/// Is it all as before, `unchanged` for so long? Or what is not yet.
fn judge(now: &Look, before: &Told, unchanged: Duration) -> Result<Vec<Evidence>, String> {
    let generation = now.caught_up.clone()?;
    if !now.runs_installed {
        return Err("ovn-controller still runs what is not installed any more".to_owned());
    }
    let bridge = &now.bridge;
    if let Some(oldest) = now.oldest.filter(|oldest| *oldest > now.age) {
        return Err(format!(
            "{bridge} has a flow that is {oldest:.1?} old, from before ovn-controller began {:.1?} ago: it has not written them anew",
            now.age
        ));
    }
    let same = now.told == *before;
    if now.told.flows < before.flows.saturating_mul(OF_TEN).div_ceil(10) {
        return Err(format!("{bridge} had {} flows and has {} so far", before.flows, now.told.flows));
    }
    if !same && unchanged < SETTLED {
        return Err(format!("the flows of {bridge} are others than before and still change"));
    }
    let source = format!("chassis {} at {generation}, as the southbound database asks", now.chassis);
    let kept = Evidence::FlowsKept {
        before: before.flows,
        after: now.told.flows,
        same,
        version: now.version.clone(),
        module: None,
    };
    Ok(vec![Evidence::Healthy { source }, kept])
}

#[cfg(test)]
mod tests {
    use drydock_types::Sha256;

    use super::*;

    fn told(flows: u64, digest: &[u8]) -> Told {
        Told { flows, digest: Sha256::of(digest) }
    }

    fn look(change: impl FnOnce(&mut Look)) -> Look {
        let mut look = Look {
            caught_up: Ok(7),
            chassis: "n1".into(),
            version: "23.03.9".into(),
            runs_installed: true,
            age: Duration::from_secs(3),
            oldest: Some(Duration::from_millis(2900)),
            bridge: "br-int".into(),
            told: told(145, b"a"),
        };
        change(&mut look);
        look
    }

    fn judged(change: impl FnOnce(&mut Look)) -> Result<Vec<Evidence>, String> {
        judge(&look(change), &told(145, b"a"), Duration::ZERO)
    }

    #[test]
    fn one_that_has_caught_up_and_written_the_same_flows_anew_has_taken_over() {
        let evidence = judged(|_| {}).unwrap();
        let kept = Evidence::FlowsKept {
            before: 145,
            after: 145,
            same: true,
            version: "23.03.9".into(),
            module: None,
        };
        assert!(evidence.contains(&kept), "{evidence:?}");
        assert!(matches!(&evidence[0], Evidence::Healthy { source } if source.contains("n1 at 7")));
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let why = |change: fn(&mut Look)| judged(change).unwrap_err();
        let behind = "the southbound database asks for 7, chassis n1 is at 6";
        assert_eq!(judged(|it| it.caught_up = Err(behind.into())).unwrap_err(), behind);
        assert!(why(|it| it.runs_installed = false).contains("not installed any more"));
        // What the generation alone does not tell: flows of the one before.
        assert!(why(|it| it.oldest = Some(Duration::from_secs(50))).contains("has not written them anew"));
        assert_eq!(why(|it| it.told = told(100, b"b")), "br-int had 145 flows and has 100 so far");
        assert!(why(|it| it.told = told(140, b"b")).contains("still change"));
    }

    #[test]
    fn other_flows_than_before_are_taken_once_they_stand_still() {
        let other = look(|it| it.told = told(140, b"b"));
        let evidence = judge(&other, &told(145, b"a"), SETTLED).unwrap();
        assert!(evidence.iter().any(|it| matches!(it, Evidence::FlowsKept { same: false, after: 140, .. })));
        let few = look(|it| it.told = told(130, b"b"));
        assert!(judge(&few, &told(145, b"a"), SETTLED).is_err());
        // One that had none, such as on a node without ports, has nothing to write.
        let none = look(|it| (it.told, it.oldest) = (told(0, b""), None));
        assert!(judge(&none, &told(0, b""), Duration::ZERO).is_ok());
    }
}
