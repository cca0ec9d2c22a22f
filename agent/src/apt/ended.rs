//! Services that packages' scripts have ended, and their start. Some scripts end their daemon themselves and leave its start to
//! systemd, which is held back (Debian's ovn-host: `ovn-appctl exit --restart` in its preinst). The agent's undo and the
//! reverter do the same here.
//!
//! A way back may come long after: what somebody has stopped since is theirs, and is let be. So it is kept which services were
//! gone right behind the installation, and which were up right before the way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drydock_types::{AbsPath, EffectId, UnitName, outcome::Evidence};
use tokio::time::{Instant, sleep};

use super::job::{Before, Jobs, Up};
use crate::{
    actions::{Problem, unit},
    policy::{BinaryRule, Policy},
    sys::{
        boot,
        units::{JobEnd, LOOK_AGAIN, Others, UnitInfo, Units, UnitsError, Verb, services},
    },
};

/// How long the start of one of them may take.
pub const START: Duration = Duration::from_secs(90);

/// Those of one change.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Who runs them.
    pub units: &'a Units,
    /// Where it is kept.
    pub jobs: &'a Jobs,
    /// Of which effect.
    pub effect: EffectId,
}

/// Which of them may be started.
#[derive(Debug, Clone, Copy)]
pub enum May<'a> {
    /// Those that this node's policy lets be touched.
    Policy(&'a Policy),
    /// Those that it let be touched when a revert was armed.
    Armed(&'a [UnitName]),
}

impl Ended<'_> {
    /// The services that are up now.
    ///
    /// # Errors
    /// When systemd does not say.
    pub async fn up(&self) -> Result<Up, Problem> {
        let services = self.units.services().await.map_err(|error| {
            Problem::new(format!("which services run cannot be seen: {error}"))
                .next("systemctl list-units --type=service")
        })?;
        Ok(Up { services, boot_id: boot_id()? })
    }

    /// Right behind the installation: keeps which are gone.
    ///
    /// # Errors
    /// When that cannot be seen or kept.
    pub async fn keep(&self, before: &Before) -> Result<(), Problem> {
        let now = self.up().await?;
        // After a start of the node systemd has started what it starts.
        let gone = if now.boot_id == before.boot_id { gone(&before.services, &now) } else { BTreeSet::new() };
        self.jobs.keep_ended(self.effect, &Vec::from_iter(gone))
    }

    /// Right before the way back: keeps which are up, and says it.
    ///
    /// # Errors
    /// When that cannot be seen or kept.
    pub async fn keep_up(&self) -> Result<Up, Problem> {
        let now = self.up().await?;
        self.jobs.keep_up(self.effect, &now)?;
        Ok(now)
    }

    /// The services that the scripts have ended, there or on the way back, and that are not up.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn missing(&self, before: &Before) -> Result<Vec<String>, Problem> {
        let now = self.up().await?;
        let mut names = BTreeSet::new();
        if now.boot_id == before.boot_id {
            names = gone(&before.services, &now);
            // Nobody has looked: the change did not come to its end, and this is right behind it.
            if let Some(ended) = self.jobs.ended(self.effect)? {
                names.retain(|name| ended.contains(name));
            }
        }
        if let Some(up) = self.jobs.up(self.effect)?.filter(|up| up.boot_id == now.boot_id) {
            names.extend(gone(&up.services, &now));
        }
        Ok(names.into_iter().collect())
    }

    /// Starts them. One that was masked meanwhile is let be: that is somebody's word.
    ///
    /// # Errors
    /// When one is not up afterwards. The others are by then.
    pub async fn bring_back(
        &self,
        before: &Before,
        may: May<'_>,
        binaries: &BTreeMap<AbsPath, BinaryRule>,
    ) -> Result<Vec<(UnitName, Vec<Evidence>)>, Problem> {
        let (mut started, mut failed) = (Vec::new(), None);
        for name in self.missing(before).await? {
            match self.start(&name, may, binaries).await {
                Ok(Some(one)) => started.push(one),
                Ok(None) => tracing::warn!(
                    name,
                    "a service that packages have ended was masked since, and is not started"
                ),
                Err(problem) => {
                    let what = format!(
                        "{name} ran before the packages were exchanged, and does not now: {}",
                        problem.what
                    );
                    let problem = Problem { what, ..problem }.next(format!("systemctl start {name}"));
                    failed = failed.or(Some(problem));
                }
            }
        }
        match failed {
            Some(problem) => Err(problem),
            None => self.jobs.all_are_up(self.effect).map(|()| started),
        }
    }

    async fn start(
        &self,
        name: &str,
        may: May<'_>,
        binaries: &BTreeMap<AbsPath, BinaryRule>,
    ) -> Result<Option<(UnitName, Vec<Evidence>)>, Problem> {
        let said = |error: UnitsError| Problem::new(error.to_string());
        let unit = UnitName::parse(name).map_err(|error| Problem::new(error.to_string()))?;
        may.touch(&unit)?;
        let info = match self.units.load(&unit).await {
            Err(UnitsError::NotLoaded { state, .. }) if state == "masked" => return Ok(None),
            loaded => loaded.map_err(said)?,
        };
        may.touch_unit(&unit, &info)?;
        if info.needs_reset() {
            self.units.reset_failed(&info.id).await.map_err(said)?;
        }
        let until = Instant::now() + START;
        match self.units.run(&info.id, Verb::Start, Others::Respect, START).await.map_err(said)? {
            JobEnd::Done | JobEnd::Unseen => {}
            JobEnd::Not(word) => {
                return Err(Problem::new(format!("systemd's job to start it ended as {word}"))
                    .next(format!("journalctl -u {name} -e")));
            }
        }
        loop {
            let now = self.units.load(&unit).await.map_err(said)?;
            if is_up(&now) {
                let running = unit::running(binaries, &unit, &now).await.map(Evidence::Running);
                return Ok(Some((unit, running.into_iter().collect())));
            }
            if now.is_stopped() || Instant::now() >= until {
                return Err(Problem::new(format!("it is {}/{}", now.active_state, now.sub_state))
                    .next(format!("journalctl -u {name} -e")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl May<'_> {
    fn touch(self, unit: &UnitName) -> Result<(), Problem> {
        match self {
            Self::Policy(policy) => policy.may_touch(unit),
            Self::Armed(units) if units.contains(unit) => Ok(()),
            Self::Armed(_) => Err(Problem::new("this node's policy did not let it be touched")),
        }
    }

    fn touch_unit(self, unit: &UnitName, info: &UnitInfo) -> Result<(), Problem> {
        match self {
            Self::Policy(policy) => policy.may_touch_unit(unit, info),
            Self::Armed(_) => Ok(()),
        }
    }
}

/// The services that are up and that this node's policy lets be touched, for a reverter that has no policy.
///
/// # Errors
/// When systemd does not say.
pub async fn may_start(units: &Units, policy: &Policy) -> Result<Vec<UnitName>, Problem> {
    let said = |error: UnitsError| Problem::new(error.to_string());
    let mut may = Vec::new();
    for name in units.services().await.map_err(said)?.into_keys() {
        // Names of other kinds are none that a policy lists.
        let Ok(unit) = UnitName::parse(&name) else { continue };
        if policy.may_touch(&unit).is_err() {
            continue;
        }
        let info = units.load(&unit).await.map_err(said)?;
        if policy.may_touch_unit(&unit, &info).is_ok() {
            may.push(unit);
        }
    }
    Ok(may)
}

fn gone(before: &BTreeMap<String, services::Service>, now: &Up) -> BTreeSet<String> {
    services::gone(before, &now.services).map(str::to_owned).collect()
}

/// With its process; or one that has none once it is up.
fn is_up(info: &UnitInfo) -> bool {
    info.is_running() || info.active_state == "active" && info.sub_state == "exited"
}

/// Of this start of the node.
///
/// # Errors
/// When it cannot be read.
pub fn boot_id() -> Result<String, Problem> {
    boot::id().map_err(|error| Problem::new(format!("the boot id cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::swap_binary::tests::{Bench, bench_with};

    const EFFECT: EffectId = EffectId([7; 32]);
    const X: &str = "x.service";

    struct Node {
        bench: Bench,
        jobs: Jobs,
        before: Before,
    }

    impl Node {
        /// With a service that runs, right before packages are installed.
        async fn right_before() -> Self {
            let bench = bench_with("[\"600\"]", "");
            let jobs = Jobs::of(&bench.host.state_dir);
            let mut node = Self {
                bench,
                jobs,
                before: Before {
                    changes: Vec::new(),
                    services: BTreeMap::new(),
                    boot_id: boot_id().unwrap(),
                    stale: 0,
                },
            };
            node.tell(Verb::Start).await;
            node.before.services = node.ended().up().await.unwrap().services;
            assert!(node.before.services.contains_key(X));
            node.jobs.keep(EFFECT, &node.before).unwrap();
            node
        }

        fn ended(&self) -> Ended<'_> {
            Ended { units: &self.bench.host.units, jobs: &self.jobs, effect: EFFECT }
        }

        async fn tell(&self, verb: Verb) {
            let units = &self.bench.host.units;
            units.run(X, verb, Others::Respect, Duration::from_secs(5)).await.unwrap();
        }

        /// Which were started.
        async fn back(&self, may: May<'_>) -> Result<Vec<String>, Problem> {
            let started = self.ended().bring_back(&self.before, may, &BTreeMap::new()).await?;
            assert!(
                started.iter().all(|(_, seen)| matches!(seen[..], [Evidence::Running(_)])),
                "{started:?}"
            );
            Ok(started.into_iter().map(|(unit, _)| unit.to_string()).collect())
        }

        fn policy(&self) -> May<'_> {
            May::Policy(&self.bench.host.policy)
        }
    }

    #[tokio::test]
    async fn what_the_scripts_have_ended_is_started_once() {
        let node = Node::right_before().await;
        node.tell(Verb::Stop).await;
        node.ended().keep(&node.before).await.unwrap();
        assert_eq!(node.back(node.policy()).await.unwrap(), [X]);
        // From then on it is nobody's business here whether somebody stops it.
        node.tell(Verb::Stop).await;
        assert_eq!(node.back(node.policy()).await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_somebody_has_stopped_since_is_let_be() {
        let node = Node::right_before().await;
        node.ended().keep(&node.before).await.unwrap();
        node.tell(Verb::Stop).await;
        node.ended().keep_up().await.unwrap();
        assert_eq!(node.ended().missing(&node.before).await.unwrap(), Vec::<String>::new());
        assert_eq!(node.back(node.policy()).await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_installation_that_nobody_saw_the_end_of_has_ended_what_is_gone() {
        let node = Node::right_before().await;
        node.tell(Verb::Stop).await;
        assert_eq!(node.back(node.policy()).await.unwrap(), [X]);
    }

    #[tokio::test]
    async fn what_the_way_back_has_ended_is_started_also_where_that_was_interrupted() {
        let node = Node::right_before().await;
        node.ended().keep(&node.before).await.unwrap();
        node.ended().keep_up().await.unwrap();
        node.tell(Verb::Stop).await;
        // The next one that goes the way back finds it ended already.
        node.ended().keep_up().await.unwrap();
        assert_eq!(node.back(node.policy()).await.unwrap(), [X]);
    }

    #[tokio::test]
    async fn a_service_that_may_not_be_touched_is_not_started_and_is_named() {
        let node = Node::right_before().await;
        node.tell(Verb::Stop).await;
        let problem = node.back(May::Armed(&[])).await.unwrap_err();
        assert!(problem.what.starts_with("x.service ran before the packages were exchanged"), "{problem}");
        assert_eq!(problem.next, ["systemctl start x.service"]);
        assert!(!node.ended().up().await.unwrap().services.contains_key(X));
        let armed = may_start(&node.bench.host.units, &node.bench.host.policy).await.unwrap();
        assert_eq!(armed, [], "it does not run");
        node.tell(Verb::Start).await;
        let armed = may_start(&node.bench.host.units, &node.bench.host.policy).await.unwrap();
        node.tell(Verb::Stop).await;
        assert_eq!(node.back(May::Armed(&armed)).await.unwrap(), [X]);
    }
}
