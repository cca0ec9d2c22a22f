//! The process that does a job, seen from the agent: a unit of its own, which outlives it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::{EffectId, UnitName};
use tokio::time::{Instant, sleep};

use super::{
    install::longest,
    job::{Done, Job, Jobs, Way},
};
use crate::{
    actions::Problem,
    sys::{
        blocking, process,
        units::{Units, UnitsError, apart::Apart},
    },
};

/// How often it is looked whether it has ended: nothing announces that over a restart of this agent.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a unit that has just written its end may take to be gone.
const GONE: Duration = Duration::from_secs(30);

/// A job's unit.
#[derive(Debug, Clone, Copy)]
pub struct Outside<'a> {
    /// Who starts it.
    pub units: &'a Units,
    /// Where the documents lie.
    pub state_dir: &'a Path,
    /// Of which effect.
    pub effect: EffectId,
    /// Which way.
    pub way: Way,
}

impl Outside<'_> {
    /// The very program that runs now, by its path.
    ///
    /// # Errors
    /// When another one lies there by now: it may know other documents.
    pub fn program() -> Result<PathBuf, Problem> {
        let same = std::fs::read_link("/proc/self/exe").and_then(|path| {
            let there = process::file_at(&path.to_string_lossy())?;
            Ok((path, there == process::exe_file(std::process::id())?))
        });
        match same {
            Ok((path, true)) => Ok(path),
            Ok((path, false)) => Err(exchanged(&path.display().to_string())),
            Err(error) => Err(exchanged(&error.to_string())),
        }
    }

    /// `drydock-packages-forward-1a2b3c4d`.
    fn name(&self) -> String {
        format!("drydock-packages-{}-{}", self.way, self.effect.short())
    }

    /// Hands the job out, has it done, and says how it ended.
    ///
    /// # Errors
    /// When it cannot be begun, does not end in time, or ends without a word.
    pub async fn run(&self, job: &Job) -> Result<Done, Problem> {
        let jobs = Jobs::of(self.state_dir);
        // An earlier one of this way must be over: what it wrote is let go.
        self.ended(longest(job)).await?;
        let (work, handed) = (jobs.clone(), job.clone());
        blocking(move || work.hand_out(&handed)).await?;
        self.start(job).await?;
        self.ended(longest(job)).await?;
        jobs.done(self.effect, self.way)?.ok_or_else(|| {
            Problem::new(format!("{}.service ended and has not written how", self.name()))
                .next(format!("journalctl -u {}", self.name()))
                .next("dpkg --audit")
        })
    }

    async fn start(&self, job: &Job) -> Result<(), Problem> {
        let program = Self::program()?.display().to_string();
        let state_dir = self.state_dir.display().to_string();
        let of = |what: &[&str]| -> Vec<String> {
            [&[program.as_str(), "--state-dir", &state_dir, "packages"], what]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let effect = self.effect.to_string();
        let command = of(&["--effect", &effect, "--way", self.way.word()]);
        let name = self.name();
        let apart = Apart {
            until_done: true,
            afterwards: &of(&["--settle"]),
            stop_within: Some(longest(job)),
            ..Apart::new(&name, "Drydock: install staged packages", &command)
        };
        self.units.start_apart(&apart).await.map_err(|error| {
            Problem::new(format!("the packages' installation could not be started: {error}"))
        })
    }

    /// Returns once no unit of this job is there any more; at once where there is none.
    ///
    /// # Errors
    /// When it is still at work after this time, or systemd does not say.
    pub async fn ended(&self, within: Duration) -> Result<(), Problem> {
        let service = format!("{}.service", self.name());
        let unit = UnitName::parse(&service)
            .map_err(|error| Problem::new(format!("{service} is no unit's name: {error}")))?;
        let until = Instant::now() + within + GONE;
        loop {
            match self.units.load(&unit).await {
                Err(UnitsError::NotFound { .. }) => return Ok(()),
                Ok(info) if info.is_stopped() && info.sub_state != "auto-restart" => return Ok(()),
                Ok(_) if Instant::now() < until => sleep(AGAIN).await,
                Ok(info) => {
                    return Err(Problem::new(format!(
                        "{service} is still at work ({}) after {within:?}",
                        info.sub_state
                    ))
                    .next(format!("journalctl -u {service}; systemctl status {service}")));
                }
                Err(error) => return Err(Problem::new(error.to_string())),
            }
        }
    }
}

fn exchanged(why: &str) -> Problem {
    Problem::new(format!("the agent's own program is not the one any more that runs: {why}"))
        .next("restart the agent: systemctl restart drydock-agent")
}
