//! Which processes serve, and whether they run what is installed.

use std::{fs, io, time::Duration};

use drydock_types::UnitName;
use serde::{Deserialize, Serialize};

use crate::{
    actions::Problem,
    host::Host,
    sys::{
        blocking,
        process::{self, FileId},
        units::{JobEnd, Others, Units, Verb},
    },
};

/// Each daemon: its program, and the unit that runs it. The database first: the switch needs it.
const DAEMONS: [(&str, &str); 2] =
    [("ovsdb-server", "ovsdb-server.service"), ("ovs-vswitchd", "ovs-vswitchd.service")];
/// Where they write their numbers. systemd's own is no help: it loses them in a reload.
const RUN: &str = "/run/openvswitch";
/// How long one of them may take to be started.
const START: Duration = Duration::from_secs(60);

/// The processes that serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Daemons {
    /// ovsdb-server.
    pub database: Daemon,
    /// ovs-vswitchd.
    pub switch: Daemon,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Daemon {
    /// Its number.
    pub pid: u32,
    /// The invocation of its unit.
    pub invocation: String,
    /// Does it run the file that is installed?
    pub runs_installed: bool,
}

impl Daemons {
    /// Looks.
    ///
    /// # Errors
    /// When one of them does not run, or cannot be looked at.
    pub async fn look(units: &Units) -> Result<Self, Problem> {
        let [database, switch] = DAEMONS;
        Ok(Self { database: look(units, database).await?, switch: look(units, switch).await? })
    }

    /// Are both other processes than these?
    #[must_use]
    pub fn both_differ(&self, other: &Self) -> bool {
        let differ = |a: &Daemon, b: &Daemon| a.pid != b.pid && a.invocation != b.invocation;
        differ(&self.database, &other.database) && differ(&self.switch, &other.switch)
    }

    /// Do both run what is installed?
    #[must_use]
    pub const fn run_installed(&self) -> bool {
        self.database.runs_installed && self.switch.runs_installed
    }
}

fn named(unit: &str) -> Result<UnitName, Problem> {
    UnitName::parse(unit).map_err(|error| Problem::new(error.to_string()))
}

async fn look(units: &Units, (program, unit): (&'static str, &'static str)) -> Result<Daemon, Problem> {
    let (pid, runs_installed) = blocking(move || {
        of_pid_file(program).map_err(|error| {
            Problem::new(format!("{program}: {error}")).next(format!("systemctl status {unit}; ls {RUN}"))
        })
    })
    .await?;
    let info = units.load(&named(unit)?).await.map_err(|error| Problem::new(error.to_string()))?;
    Ok(Daemon { pid, invocation: info.invocation_id, runs_installed })
}

fn of_pid_file(program: &str) -> io::Result<(u32, bool)> {
    let path = format!("{RUN}/{program}.pid");
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let text = fs::read_to_string(&path).map_err(named)?;
    let pid: u32 = text.trim().parse().map_err(|_| named(io::Error::other("it holds no number")))?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_err(|_| named(io::Error::other(format!("process {pid} is gone"))))?;
    if comm.trim_end() != program {
        return Err(named(io::Error::other(format!("process {pid} is another program"))));
    }
    // Alternatives are links: what they lead to counts.
    let installed = super::tool(program).map_err(|problem| io::Error::other(problem.what))?;
    let installed = FileId::of(&fs::metadata(installed)?);
    Ok((pid, process::exe_file(pid)? == installed))
}

/// Starts what does not run: a reload that was killed in its middle leaves one of them stopped.
///
/// # Errors
/// When one cannot be started.
pub async fn start_what_is_down(units: &Units) -> Result<Vec<String>, Problem> {
    let mut started = Vec::new();
    for (program, unit) in DAEMONS {
        if blocking(move || Ok::<_, Problem>(of_pid_file(program).is_ok())).await? {
            continue;
        }
        let unit = named(unit)?;
        let failed = |error: String| {
            Problem::new(format!("{unit} cannot be started: {error}"))
                .next(format!("systemctl status {unit}"))
        };
        let info = units.settled(&unit, START).await.map_err(|error| failed(error.to_string()))?;
        if info.needs_reset() {
            units.reset_failed(&info.id).await.map_err(|error| failed(error.to_string()))?;
        }
        // Active with no process behind it: systemd would have nothing to start.
        let verb = if info.is_stopped() { Verb::Start } else { Verb::Restart };
        match units.run(&info.id, verb, Others::Replace, START).await {
            Ok(JobEnd::Done | JobEnd::Unseen) => started.push(format!("{} started", info.id)),
            Ok(JobEnd::Not(word)) => return Err(failed(format!("its job ended as {word}"))),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Ok(started)
}

/// The units that a reload starts anew; the policy must list them.
///
/// # Errors
/// Which it does not.
pub fn may_touch(host: &Host) -> Result<(), Problem> {
    DAEMONS.iter().try_for_each(|(_, unit)| host.policy.may_touch(&named(unit)?))
}
