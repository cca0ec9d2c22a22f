//! Restarts this very agent, so that it runs the file that lies on the disk now.
//!
//! A transient unit does it: the agent is stopped in the middle of its own section, and its next start picks
//! the section up from the journal and finds itself to be the new one.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{
    outcome::{Evidence, RunningUnit},
    step::UnitStep,
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Action, Cx, Found, Note, Problem, unit::running};
use crate::sys::{
    exec, process,
    units::{UnitInfo, apart::Apart},
};

/// The restart.
#[derive(Debug)]
pub struct Restart<'a>(pub &'a UnitStep);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    invocation: String,
    boot_id: String,
}

impl Restart<'_> {
    /// The unit, seen to be this process's own.
    async fn own(&self, cx: &Cx<'_>) -> Result<UnitInfo, Problem> {
        cx.host.policy.may_restart_agent(&self.0.unit)?;
        let info = cx.host.units.load(&self.0.unit).await.map_err(|error| Problem::new(error.to_string()))?;
        if info.main_pid == std::process::id() {
            return Ok(info);
        }
        Err(Problem::new(format!(
            "{} has main process {}, and this agent is process {}: it is not this agent's unit",
            info.id,
            info.main_pid,
            std::process::id()
        ))
        .next("name the agent's own unit in the recipe"))
    }

    /// Does not return: the process is ended by it. Returns only when that does not happen.
    async fn restart(&self, cx: &Cx<'_>, info: &UnitInfo) -> Problem {
        let Some(systemctl) = exec::find("systemctl") else {
            return Problem::new("systemctl is not installed");
        };
        let name = format!("drydock-restart-{}", cx.section.effect.short());
        let command = [systemctl.display().to_string(), "restart".into(), info.id.clone()];
        let description = "Drydock: restart the agent, which has exchanged itself";
        cx.host.ending.expect();
        let apart = Apart::new(&name, description, &command);
        if let Err(error) = cx.host.units.start_apart(&apart).await {
            return Problem::new(error.to_string());
        }
        sleep(Duration::from_millis(self.0.within.0)).await;
        Problem::new(format!("{} was not restarted within {}", info.id, self.0.within))
            .next(format!("journalctl -u {name}"))
    }
}

#[async_trait]
impl Action for Restart<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        self.own(cx).await.map(drop)
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let info = self.own(cx).await?;
        let boot_id = crate::sys::boot::id().unwrap_or_default();
        Note::of(&Before { invocation: info.invocation_id, boot_id })
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let info = self.own(cx).await?;
        Err(self.restart(cx, &info).await)
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        let (before, info) = match (note.read::<Before>(), self.own(cx).await) {
            (Ok(before), Ok(info)) => (before, info),
            (Err(problem), _) | (_, Err(problem)) => return Found::Undecidable(problem.what),
        };
        if info.invocation_id == before.invocation {
            return Found::NotBegun;
        }
        Found::Seen(
            running(&cx.host.policy.binaries, &self.0.unit, &info)
                .await
                .map(Evidence::Running)
                .into_iter()
                .collect(),
        )
    }

    /// Restarts again, unless this process already runs what lies on the disk now.
    async fn undo(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let info = self.own(cx).await?;
        let memory = process::exe(info.main_pid);
        let disk = std::fs::read_link("/proc/self/exe")
            .and_then(|path| process::file_at(path.to_string_lossy().trim_end_matches(" (deleted)")));
        match (memory, disk) {
            (Ok(memory), Ok(disk)) if memory.file == disk => Ok(vec![Evidence::Running(RunningUnit {
                unit: self.0.unit.clone(),
                pid: info.main_pid,
                invocation: info.invocation_id,
                exe_inode: memory.file.ino,
                exe_sha256: memory.sha256,
                unpacked: None,
            })]),
            _ => Err(self.restart(cx, &info).await),
        }
    }
}
