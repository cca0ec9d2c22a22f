//! Sees that a unit's main process runs the file that lies at a path, and goes on running.
//!
//! The process itself is looked at: `/proc/PID/exe` is the file in memory, whatever its path shows by now. A
//! process must have lived for as long as the step says, so that a crash loop does not pass between two crashes.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use drydock_types::{
    AbsPath, Sha256, UnitName,
    outcome::{Evidence, RunningUnit},
    step::RunningExecutable,
};
use tokio::time::{Instant, sleep};

use super::{Cx, Problem, look::Look, unit};
use crate::{
    policy::BinaryRule,
    sys::{
        process, still,
        units::{LOOK_AGAIN, UnitInfo},
        unpacked,
    },
};

/// The look at one unit.
#[derive(Debug)]
pub struct Running<'a>(pub &'a RunningExecutable);

/// What one look found.
enum Seen {
    /// All that is asked.
    Well(RunningUnit),
    /// Not yet, and why.
    NotYet(String),
    /// It will not come by itself.
    Never(String),
}

#[async_trait]
impl Look for Running<'_> {
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        cx.host.policy.may_watch(&self.0.unit)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        cx.host.policy.may_watch(&self.0.unit)?;
        let begun = Instant::now();
        let within = Duration::from_millis(self.0.within.0);
        loop {
            let why = match self.look(cx).await {
                Seen::Well(running) => return Ok(vec![Evidence::Running(running)]),
                Seen::NotYet(why) if begun.elapsed() < within => {
                    still::waits(&why);
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                Seen::NotYet(why) => format!("{why}, still after {}", self.0.within),
                Seen::Never(why) => why,
            };
            return Err(unit::failed(cx.host, &self.0.unit, why, begun).await);
        }
    }
}

impl Running<'_> {
    async fn look(&self, cx: &Cx<'_>) -> Seen {
        let info = match cx.host.units.load(&self.0.unit).await {
            Ok(info) => info,
            Err(error) => return Seen::NotYet(error.to_string()),
        };
        if info.active_state == "failed" && !info.job_pending && info.main_pid == 0 {
            return Seen::Never(format!("{} failed ({})", info.id, info.result));
        }
        if !info.is_running() {
            return Seen::NotYet(format!("{} is {}/{}", info.id, info.active_state, info.sub_state));
        }
        let due = cx.section.artifact.as_ref().map(|artifact| artifact.sha256);
        let (unit, path) = (self.0.unit.clone(), self.0.path.as_str().to_owned());
        let stable = Duration::from_millis(self.0.stable_for.0);
        let policy = cx.host.policy.clone();
        let look = tokio::task::spawn_blocking(move || {
            process_look(&unit, &path, &info, stable, due, &policy.binaries)
        });
        let look = look.await;
        look.unwrap_or_else(|error| Seen::NotYet(format!("the process could not be looked at: {error}")))
    }
}

fn process_look(
    unit: &UnitName,
    path: &str,
    info: &UnitInfo,
    stable: Duration,
    due: Option<Sha256>,
    binaries: &BTreeMap<AbsPath, BinaryRule>,
) -> Seen {
    let (id, pid) = (&info.id, info.main_pid);
    // What the file unpacked is in memory, and stands for it.
    let unpacked = unpacked::program_of(pid, binaries).filter(|it| it.program.as_str() == path);
    // Cheap looks first: the file is read only once it is the right one.
    let memory = unpacked.as_ref().map_or_else(|| process::exe_file(pid), |it| Ok(it.installed.file));
    match (memory, process::file_at(path)) {
        (Ok(memory), Ok(disk)) if memory == disk => {}
        (Ok(_), Ok(_)) => {
            return Seen::NotYet(format!("the main process of {id} ({pid}) runs another file than {path}"));
        }
        (_, Err(error)) => return Seen::NotYet(format!("{path}: {error}")),
        (Err(error), _) => return Seen::NotYet(format!("the main process of {id} ({pid}): {error}")),
    }
    match process::age(pid) {
        Ok(age) if age >= stable => {}
        Ok(_) => {
            return Seen::NotYet(format!("the main process of {id} ({pid}) does not live for {stable:?}"));
        }
        Err(error) => return Seen::NotYet(format!("the main process of {id} ({pid}): {error}")),
    }
    let exe = match process::exe(pid) {
        Ok(exe) => exe,
        Err(error) => return Seen::NotYet(format!("the main process of {id} ({pid}): {error}")),
    };
    let exe_sha256 = unpacked.as_ref().map_or(exe.sha256, |it| it.installed.sha256);
    if due.is_some_and(|due| due != exe_sha256) {
        let found = exe_sha256.short();
        return Seen::NotYet(format!(
            "the main process of {id} ({pid}) runs a file of digest {found}, not the artifact"
        ));
    }
    Seen::Well(RunningUnit {
        unit: unit.clone(),
        pid,
        invocation: info.invocation_id.clone(),
        exe_inode: exe.file.ino,
        exe_sha256,
        unpacked: unpacked.map(|it| it.from),
    })
}

#[cfg(test)]
mod tests;
