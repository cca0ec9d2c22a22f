//! A unit, its main process, and the executable that is in memory.

use drydock_types::{AbsPath, UnitName, probe::UnitView};

use crate::{
    actions::{Problem, unit::running},
    host::Host,
    sys::{process, unpacked},
};

/// Looks at a unit of the policy.
///
/// # Errors
/// When the policy does not list it, there is none of that name, or systemd does not answer.
pub async fn look(host: &Host, unit: &UnitName, path: Option<&AbsPath>) -> Result<UnitView, Problem> {
    host.policy.may_watch(unit)?;
    let info = host.units.load(unit).await.map_err(|error| Problem::new(error.to_string()))?;
    let running = if info.main_pid == 0 { None } else { running(&host.policy.binaries, unit, &info).await };
    let runs_the_file = match path {
        Some(path) => Some(unpacked::runs_now(info.main_pid, path.as_str(), &host.policy.binaries).await),
        None => None,
    };
    let age = if info.main_pid == 0 { None } else { process::age(info.main_pid).ok() };
    let runs_for_ms = age.and_then(|age| u64::try_from(age.as_millis()).ok());
    Ok(UnitView {
        unit: unit.clone(),
        active_state: info.active_state,
        sub_state: info.sub_state,
        running,
        runs_the_file,
        runs_for_ms,
    })
}
