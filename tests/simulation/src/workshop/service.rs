//! What steps that only look see of the service.

use drydock_agent::actions::Problem;
use drydock_types::{
    Section, Step,
    outcome::{Evidence, RunningUnit},
};
use tokio::time::sleep;

use super::{LOOK_AGAIN, SimWorkshop};
use crate::{scenario::Role, shared::Inner};

impl SimWorkshop {
    /// Waits until it is so, at most that long.
    async fn until(
        &self,
        within_ms: u64,
        mut so: impl FnMut(&mut Inner, usize, u64) -> Result<Evidence, String>,
    ) -> Result<Vec<Evidence>, Problem> {
        let end = self.shared.now_ms() + within_ms;
        loop {
            self.shared.point(self.life).await;
            match self.at(&mut so) {
                Ok(evidence) => return Ok(vec![evidence]),
                Err(why) if self.shared.now_ms() >= end => return Err(Problem::new(why)),
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }

    pub(super) async fn looks(&self, section: &Section, step: &Step) -> Result<Vec<Evidence>, Problem> {
        let to = section.to.clone();
        match step {
            Step::RunningExecutable(config) => {
                let (stable_ms, due) = (config.stable_for.0, section.artifact.as_ref().map(|it| it.sha256));
                self.until(config.within.0, |inner, host, now_ms| {
                    let there = &inner.ground.hosts[host];
                    match there.process {
                        Some(it) if now_ms < it.since_ms + stable_ms => {
                            Err("it does not live long enough".into())
                        }
                        // A section that takes a change back names no artifact: what lies there is what runs.
                        Some(it) if it.exe != there.file || due.is_some_and(|due| due != it.exe) => {
                            Err("it runs another file".into())
                        }
                        Some(_) => running(inner, host).map(Evidence::Running).ok_or_else(|| "gone".into()),
                        None => Err("no process".into()),
                    }
                })
                .await
            }
            Step::EtcdMemberHealthy(config) => {
                self.until(config.within.0, |inner, host, now_ms| {
                    let version = answers(inner, host, now_ms)?;
                    if version != to || inner.ground.cluster.leader.is_none() {
                        return Err(format!("it answers {version}"));
                    }
                    Ok(Evidence::Version { version, source: "etcd member".into() })
                })
                .await
            }
            Step::ServiceVersion(config) => {
                self.until(config.within.0, |inner, host, now_ms| {
                    let version = answers(inner, host, now_ms)?;
                    if version != to {
                        return Err(format!("it answers {version}, expected {to}"));
                    }
                    Ok(Evidence::Version { version, source: "it".into() })
                })
                .await
            }
            Step::Healthy(config) => {
                self.until(config.within.0, |inner, host, now_ms| {
                    if !inner.ground.serves(host, now_ms) {
                        return Err("it is not well".into());
                    }
                    Ok(Evidence::Healthy { source: "it".into() })
                })
                .await
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The main process as the process table has it.
pub(crate) fn running(inner: &Inner, host: usize) -> Option<RunningUnit> {
    let process = inner.ground.hosts[host].process?;
    Some(RunningUnit {
        unit: drydock_types::UnitName::parse("thing.service").ok()?,
        pid: u32::try_from(process.invocation).ok()?,
        invocation: process.invocation.to_string(),
        exe_inode: process.invocation,
        exe_sha256: process.exe,
        unpacked: None,
    })
}

/// The version that the service itself answers.
pub(crate) fn answers(inner: &Inner, host: usize, now_ms: u64) -> Result<drydock_types::Version, String> {
    let process = inner.ground.hosts[host].process.ok_or("connection refused")?;
    let unwell = inner.ground.hosts[host].role == Role::Etcd && !inner.ground.serves(host, now_ms);
    let release = inner.ground.releases.get(&process.exe).filter(|_| !unwell).ok_or("it does not answer")?;
    Ok(release.answers.clone())
}
