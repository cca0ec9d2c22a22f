//! All units at once: which have failed, and which say that they run with nothing behind it.

use zbus::zvariant::OwnedObjectPath;

use super::{
    super::survey::{Failure, Survey},
    CALL, Failed, SERVICE, Systemd, UNIT, UnitsError, manager, properties, text, value, within,
};

/// What systemd says of one unit in a list: name, description, load, active and sub state, what it follows, its
/// path, and its job.
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
/// A process: its cgroup, its number, its command line.
type Process = (String, u32, String);

/// More failed units than this are counted and not looked at.
const MOST_FAILED: usize = 64;

impl Systemd {
    /// Looks at all units.
    pub(in super::super) async fn survey(&self) -> Result<Survey, UnitsError> {
        let seen = self.try_survey().await;
        let seen = match seen {
            Err(Failed::Bus(_)) => {
                self.forget().await;
                self.try_survey().await
            }
            seen => seen,
        };
        seen.map_err(|failed| failed.of("list", "units"))
    }

    async fn try_survey(&self) -> Result<Survey, Failed> {
        let connection = self.connect().await?;
        let manager = manager(&connection).await?;
        let rows: Vec<Row> = within(CALL, manager.call("ListUnits", &())).await?;
        let mut survey = Survey { units: rows.len(), ..Survey::default() };
        for (name, _, _, active, sub, _, path, ..) in rows {
            if active == "failed" {
                if survey.failed.len() == MOST_FAILED {
                    survey.more_failed += 1;
                    continue;
                }
                let unit = properties(&connection, &path, UNIT).await?;
                // Sockets and mounts have a result too, each kind of unit at an interface of its own.
                let service = match name.ends_with(".service") {
                    true => properties(&connection, &path, SERVICE).await?,
                    false => super::Properties::new(),
                };
                survey.failed.push(Failure {
                    name,
                    result: text(&service, "Result"),
                    n_restarts: value(&service, "NRestarts").unwrap_or_default(),
                    since_monotonic_us: value(&unit, "StateChangeTimestampMonotonic").unwrap_or_default(),
                });
            } else if active == "active" && sub == "running" && name.ends_with(".service") {
                let service = properties(&connection, &path, SERVICE).await?;
                if value::<u32>(&service, "MainPID").unwrap_or_default() != 0 {
                    continue;
                }
                // One that forks may have no main process and be well: what counts is whether there is any.
                let processes: Vec<Process> =
                    match within(CALL, manager.call("GetUnitProcesses", &(&name))).await {
                        Ok(processes) => processes,
                        // It has ended since the list was made.
                        Err(Failed::Said { name, .. }) if name.ends_with(".NoSuchUnit") => continue,
                        Err(failed) => return Err(failed),
                    };
                if processes.is_empty() {
                    survey.empty.push(name);
                }
            }
        }
        Ok(survey)
    }
}
