//! The actions, on a machine that is only simulated. They demand, note, see, probe and take back as the real
//! ones in `agent/src/actions` do; what they can do wrong beside is drawn. What the service itself shows is in
//! [`service`].

mod service;

use std::{future::pending, time::Duration};

use async_trait::async_trait;
use drydock_agent::{
    actions::{Found, Note, Problem},
    executor::{Progress, Workshop},
};
use drydock_types::{
    AbsPath, EffectId, Section, Sha256, Step,
    outcome::Evidence,
    step::{SwapBinary, UndoGuard},
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

pub(crate) use self::service::{answers, running};
use crate::{
    faults::Kind,
    ground::{By, Job},
    plans,
    scenario::{Quality, Role, SERVICE_VERSIONS},
    shared::{Inner, Life, Mail, Shared},
};

/// How often an action looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One life's hands.
pub(crate) struct SimWorkshop {
    pub(crate) life: Life,
    pub(crate) shared: Shared,
}

/// What a swap notes.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    old: Sha256,
    new: Sha256,
}

/// What a step on a unit notes.
#[derive(Debug, Serialize, Deserialize)]
struct Unit {
    invocation: u64,
    active: bool,
}

/// What goes wrong with one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Hangs,
    Fails,
    Half,
    Lies,
}

impl SimWorkshop {
    /// The machine at this moment.
    fn at<T>(&self, look: impl FnOnce(&mut Inner, usize, u64) -> T) -> T {
        let now_ms = self.shared.now_ms();
        let mut inner = self.shared.lock();
        let by = inner.ground.hosts[self.life.host].touched_by.map_or(By::Others, By::Us);
        inner.settle(self.life.host, by, now_ms);
        look(&mut inner, self.life.host, now_ms)
    }

    async fn pause(&self, low: u64, high: u64) {
        let ms = self.shared.lock().dice.between(low, high);
        sleep(Duration::from_millis(ms)).await;
    }

    fn wrong(&self) -> Option<Wrong> {
        let now_ms = self.shared.now_ms();
        let mut inner = self.shared.lock();
        let kinds = [
            (Kind::ActionHangs, Wrong::Hangs),
            (Kind::ActionFails, Wrong::Fails),
            (Kind::ActionHalf, Wrong::Half),
            (Kind::ActionLies, Wrong::Lies),
        ];
        kinds.into_iter().find(|(kind, _)| inner.happens(*kind, now_ms)).map(|(_, wrong)| wrong)
    }

    /// The effect has begun to take place, and the journal does not say yet how it ended: the agent may die here.
    fn in_mid_step(&self, inner: &mut Inner, now_ms: u64) {
        if inner.happens(Kind::AgentKilledMidStep, now_ms) {
            inner.dies_in[self.life.host] = Some(inner.dice.below(4));
        }
    }

    /// Everything about to be changed is known to the rules first.
    fn begins(&self, section: &Section, step: &Step) {
        let steps = section.steps.iter().chain(&section.verify);
        let Some(index) = steps.enumerate().find(|(_, other)| *other == step).map(|(index, _)| index) else {
            return;
        };
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.at(|inner, host, now_ms| {
            inner.rules.begins(&inner.ground, host, section.effect, step, index, now_ms);
        });
    }

    async fn swap(
        &self,
        section: &Section,
        config: &SwapBinary,
        note: &Note,
        wrong: Option<Wrong>,
    ) -> Result<Vec<Evidence>, Problem> {
        let file: File = note.read()?;
        self.pause(1, 30).await;
        let effect = section.effect;
        if wrong != Some(Wrong::Lies) {
            self.at(|inner, host, now_ms| {
                exchange(inner, host, effect, &file, now_ms)?;
                self.in_mid_step(inner, now_ms);
                // And somebody else had a file of their own ready.
                let theirs = plans::digest(Role::Service, SERVICE_VERSIONS[0], Quality::Rebuilt);
                if inner.dies_in[host].is_some() && theirs != file.old && inner.dice.chance(800) {
                    let there = &mut inner.ground.hosts[host];
                    (there.file, there.others_ms) = (theirs, Some(now_ms));
                }
                Ok::<(), Problem>(())
            })?;
        }
        if wrong == Some(Wrong::Half) {
            return Err(Problem::new("the directory could not be fsynced"));
        }
        Ok(vec![Evidence::Swapped {
            path: config.path.clone(),
            old_sha256: file.old,
            new_sha256: file.new,
            kept: kept()?,
        }])
    }

    /// Hands a job to the service manager, which does it whatever becomes of the agent, and waits for its end.
    async fn job(&self, effect: EffectId, start: bool, half: bool) {
        let (stop_ms, start_ms) = {
            let mut inner = self.shared.lock();
            (inner.dice.between(5, 60), inner.dice.between(100, 1200))
        };
        let (stops_at_ms, ends_ms) = self.at(|inner, host, now_ms| {
            let stops_at_ms = now_ms + stop_ms;
            let starts_at_ms = (start && !half).then_some(stops_at_ms + start_ms);
            self.in_mid_step(inner, now_ms);
            inner.ground.hosts[host].touched_by = Some(effect);
            inner.ground.hosts[host].job =
                Some(Job { stops_at_ms, starts_at_ms, by: By::Us(effect), stopped: false });
            let ends_ms = starts_at_ms.unwrap_or(stops_at_ms);
            inner.story.say(now_ms, || {
                let what = if start { "systemd: restart" } else { "systemd: stop" };
                (inner.ground.hosts[host].name.to_string(), format!("{what}, for effect {}", effect.short()))
            });
            (stops_at_ms, ends_ms)
        });
        let host = self.life.host;
        self.shared.post(Mail::Wake { host, at_ms: stops_at_ms });
        self.shared.post(Mail::Wake { host, at_ms: ends_ms });
        tokio::time::sleep_until(self.shared.at(ends_ms + 1)).await;
        self.shared.point(self.life).await;
    }

    async fn restart(
        &self,
        section: &Section,
        note: &Note,
        wrong: Option<Wrong>,
    ) -> Result<Vec<Evidence>, Problem> {
        let before: Unit = note.read()?;
        if wrong == Some(Wrong::Lies) {
            return Ok(vec![Evidence::Healthy { source: "a job that says done".to_string() }]);
        }
        self.at(|inner, host, now_ms| {
            // Restarting what is down already does no harm; what runs is restarted once, whichever start it is of.
            if inner.ground.hosts[host].process.is_some() {
                inner.rules.changed(&inner.ground, host, section.effect, "restartUnit", now_ms);
            }
        });
        self.job(section.effect, true, wrong == Some(Wrong::Half)).await;
        let running = self.at(|inner, host, _| running(inner, host));
        match running {
            Some(running) if running.invocation != before.invocation.to_string() => {
                Ok(vec![Evidence::Running(running)])
            }
            Some(_) => Err(Problem::new("the unit still runs the invocation of before")),
            None => Err(Problem::new("the unit is failed and has no main process")),
        }
    }

    /// Running again, with what lies on the disk, or stopped, as it was.
    async fn put_back(&self, section: &Section, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Unit = note.read()?;
        let same = self.at(|inner, host, _| {
            let there = &inner.ground.hosts[host];
            there.job.is_none() && there.process.is_some_and(|it| it.invocation == before.invocation)
        });
        if same {
            return Ok(Vec::new());
        }
        self.job(section.effect, before.active, false).await;
        match self.at(|inner, host, _| running(inner, host)) {
            Some(running) if before.active => Ok(vec![Evidence::Running(running)]),
            None if !before.active => Ok(Vec::new()),
            _ => Err(Problem::new("the unit did not come back to what it was")),
        }
    }

    /// After any job on the unit is over.
    async fn settled(&self) {
        while self.at(|inner, host, _| inner.ground.hosts[host].job.is_some()) {
            sleep(LOOK_AGAIN).await;
        }
    }
}

fn kept() -> Result<AbsPath, Problem> {
    AbsPath::parse("/var/lib/drydock-agent/kept").map_err(|error| Problem::new(error.to_string()))
}

fn exchange(
    inner: &mut Inner,
    host: usize,
    effect: EffectId,
    file: &File,
    now_ms: u64,
) -> Result<(), Problem> {
    let there = inner.ground.hosts[host].file;
    if there == file.new {
        return Ok(());
    }
    if there != file.old {
        return Err(Problem::new("it was changed by somebody else since it was looked at"));
    }
    inner.rules.no_way_down(&inner.ground, host, effect, file.new, now_ms);
    inner.rules.changed(&inner.ground, host, effect, "swapBinary", now_ms);
    let changed = &mut inner.ground.hosts[host];
    (changed.file, changed.touched_by) = (file.new, Some(effect));
    let name = changed.name.to_string();
    inner.story.say(now_ms, || (name, format!("binary exchanged, by effect {}", effect.short())));
    Ok(())
}

#[async_trait]
impl Workshop for SimWorkshop {
    fn unpacks_itself(&self, _: &AbsPath) -> bool {
        false
    }

    async fn check(&self, section: &Section, step: &Step) -> Result<(), Problem> {
        self.shared.point(self.life).await;
        let artifact = section.artifact.as_ref().map(|artifact| artifact.sha256);
        let problem = self.at(|inner, host, now_ms| {
            if matches!(step, Step::SwapBinary(_)) && inner.happens(Kind::ArtifactLost, now_ms) {
                inner.ground.hosts[host].fetched.clear();
            }
            let there = &inner.ground.hosts[host];
            match step {
                Step::CheckSwap(_) | Step::SwapBinary(_)
                    if artifact.is_none_or(|artifact| !there.fetched.contains(&artifact)) =>
                {
                    Some("the artifact is not in the agent's store")
                }
                Step::RestartUnit(_) | Step::StopUnit(_) | Step::StartUnit(_) if there.job.is_some() => {
                    Some("a job of somebody else is under way")
                }
                _ => None,
            }
        });
        match problem {
            Some(problem) => Err(Problem::new(problem)),
            None => Ok(()),
        }
    }

    async fn note(&self, section: &Section, step: &Step) -> Result<Note, Problem> {
        self.shared.point(self.life).await;
        let new = section.artifact.as_ref().map(|artifact| artifact.sha256);
        self.at(|inner, host, _| {
            let there = &inner.ground.hosts[host];
            match (step, new) {
                (Step::SwapBinary(_), Some(new)) => Note::of(&File { old: there.file, new }),
                (Step::RestartUnit(_) | Step::StopUnit(_) | Step::StartUnit(_), _) => Note::of(&Unit {
                    invocation: there.process.map_or(0, |process| process.invocation),
                    active: there.process.is_some(),
                }),
                _ => Ok(Note::none()),
            }
        })
    }

    async fn apply(
        &self,
        section: &Section,
        step: &Step,
        note: &Note,
        progress: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem> {
        self.shared.point(self.life).await;
        if step.only_looks() {
            return self.looks(section, step).await;
        }
        let wrong = self.wrong();
        match wrong {
            Some(Wrong::Hangs) => return pending().await,
            Some(Wrong::Fails) => return Err(Problem::new("it fails by chance").next("look at the node")),
            _ => {}
        }
        let done = match step {
            Step::FetchArtifact(_) => {
                progress(1, 2);
                self.pause(20, 600).await;
                while !self.at(|inner, host, _| inner.reaches[host]) {
                    sleep(Duration::from_secs(1)).await;
                }
                let sha256 = section.artifact.as_ref().map(|artifact| artifact.sha256);
                if wrong == Some(Wrong::Half) {
                    return Err(Problem::new("the coordinator ended the stream half-way"));
                }
                self.at(|inner, host, _| {
                    inner.ground.hosts[host].fetched.extend(sha256.filter(|_| wrong.is_none()));
                });
                Ok(Vec::new())
            }
            Step::SwapBinary(config) => {
                self.begins(section, step);
                self.swap(section, config, note, wrong).await
            }
            Step::RestartUnit(_) => {
                self.begins(section, step);
                self.restart(section, note, wrong).await
            }
            Step::MoveEtcdLeader(_) => {
                self.begins(section, step);
                self.pause(100, 170).await;
                self.at(|inner, host, now_ms| {
                    let to = inner.ground.voters().find(|it| *it != host && inner.ground.serves(*it, now_ms));
                    if inner.ground.cluster.leader == Some(host) && to.is_some() && wrong.is_none() {
                        inner.ground.lead(to, now_ms);
                    }
                });
                Ok(Vec::new())
            }
            Step::SnapshotEtcd(_) => {
                self.pause(200, 3000).await;
                if wrong.is_some() {
                    return Err(Problem::new("the snapshot could not be sent away"));
                }
                Ok(Vec::new())
            }
            _ => {
                self.pause(0, 20).await;
                if wrong == Some(Wrong::Half) {
                    Err(Problem::new("it fails half-way"))
                } else {
                    Ok(Vec::new())
                }
            }
        };
        self.shared.point(self.life).await;
        done
    }

    async fn probe(&self, _section: &Section, step: &Step, note: &Note) -> Found {
        self.shared.point(self.life).await;
        self.settled().await;
        match step {
            Step::SwapBinary(_) => match note.read::<File>() {
                Ok(file) => self.at(|inner, host, _| match inner.ground.hosts[host].file {
                    it if it == file.new => Found::Done,
                    it if it == file.old => Found::NotBegun,
                    _ => Found::Undecidable("neither the old file nor the new one lies there".to_string()),
                }),
                Err(problem) => Found::Undecidable(problem.what),
            },
            Step::RestartUnit(_) => match note.read::<Unit>() {
                Ok(before) => self.at(|inner, host, _| match inner.ground.hosts[host].process {
                    Some(it) if it.invocation != before.invocation => Found::Done,
                    _ => Found::NotBegun,
                }),
                Err(problem) => Found::Undecidable(problem.what),
            },
            Step::MoveEtcdLeader(_) => self.at(|inner, host, _| {
                if inner.ground.cluster.leader.is_some_and(|leader| leader != host) {
                    Found::Done
                } else {
                    Found::NotBegun
                }
            }),
            _ => Found::NotBegun,
        }
    }

    async fn undo_note(&self, section: &Section, step: &Step) -> Result<Note, Problem> {
        match step {
            Step::RestartUnit(_) | Step::StartUnit(_) => self.note(section, step).await,
            _ => Ok(Note::none()),
        }
    }

    async fn undo(&self, section: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem> {
        self.shared.point(self.life).await;
        match self.wrong() {
            Some(Wrong::Hangs) => return pending().await,
            Some(Wrong::Fails | Wrong::Half) => {
                return Err(Problem::new("it cannot be taken back, by chance"));
            }
            // Said, and nothing was taken back.
            Some(Wrong::Lies) => return Ok(Vec::new()),
            None => {}
        }
        match step {
            Step::SwapBinary(_) => {
                let file: File = note.read()?;
                self.pause(1, 20).await;
                self.at(|inner, host, now_ms| {
                    let there = &mut inner.ground.hosts[host];
                    if there.file == file.new {
                        there.file = file.old;
                        let name = there.name.to_string();
                        inner.story.say(now_ms, || (name, "binary put back".to_string()));
                        return Ok(());
                    }
                    let same = there.file == file.old;
                    if same { Ok(()) } else { Err(Problem::new("somebody else's file lies there")) }
                })?;
                self.shared.point(self.life).await;
                Ok(Vec::new())
            }
            Step::RestartUnit(_) | Step::StopUnit(_) | Step::StartUnit(_) => {
                self.settled().await;
                self.put_back(section, note).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn undo_probe(&self, _section: &Section, _step: &Step, note: &Note, before: &Note) -> Found {
        self.shared.point(self.life).await;
        self.settled().await;
        let (Ok(first), Ok(last)) = (note.read::<Unit>(), before.read::<Unit>()) else {
            return Found::NotBegun;
        };
        match self.at(|inner, host, _| running(inner, host)) {
            Some(running) if first.active && running.invocation != last.invocation.to_string() => {
                Found::Seen(vec![Evidence::Running(running)])
            }
            _ => Found::NotBegun,
        }
    }

    async fn may_take_back(&self, _section: &Section) -> Result<(), Problem> {
        self.shared.point(self.life).await;
        Ok(())
    }

    async fn undo_guard(&self, section: &Section, guard: &UndoGuard) -> Result<(), String> {
        self.shared.point(self.life).await;
        self.at(|inner, host, now_ms| {
            inner.ground.settle_cluster(now_ms);
            match guard {
                UndoGuard::EtcdClusterNotRisen {} => {
                    let cluster = &inner.ground.cluster;
                    let from = section.from.as_ref().map_or((0, 0), drydock_types::Version::minor);
                    if cluster.minor > from || cluster.rising_ms.is_some() {
                        return Err(format!("the cluster has risen to {:?}", cluster.minor));
                    }
                }
                UndoGuard::K3sMayGoBack { .. } => return Err("there is no K3s here".to_string()),
                UndoGuard::EtcdQuorumWithoutThis {} => {
                    let voters = inner.ground.voters().count();
                    let others = inner.ground.voters().filter(|voter| *voter != host);
                    let left = others.filter(|voter| inner.ground.serves(*voter, now_ms)).count();
                    if inner.ground.serves(host, now_ms) && voters > 2 && left < voters / 2 + 1 {
                        return Err(format!("{left} of {voters} voters would be left"));
                    }
                }
            }
            Ok(())
        })
    }
}
