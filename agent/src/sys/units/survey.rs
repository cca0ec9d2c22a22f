//! All units at once, as far as something is wrong with them.

use super::{Supervisor, Units, UnitsError};

/// What is wrong with the units of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// How many units there are.
    pub units: usize,
    /// Those that have failed.
    pub failed: Vec<Failure>,
    /// How many more have failed than are named.
    pub more_failed: usize,
    /// Services that are said to run and have no process.
    pub empty: Vec<String>,
}

/// A unit that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// `exit-code`, `start-limit-hit`, `oom-kill`; empty where only services have one.
    pub result: String,
    /// How often systemd had started it again by itself before it gave up.
    pub n_restarts: u32,
    /// When it became so, by `CLOCK_MONOTONIC` in microseconds; 0 where that is not known.
    pub since_monotonic_us: u64,
}

impl Units {
    /// Looks at all units.
    ///
    /// # Errors
    /// When systemd cannot be reached or does not answer.
    pub async fn survey(&self) -> Result<Survey, UnitsError> {
        match self {
            Self::Systemd(systemd) => systemd.survey().await,
            Self::Supervised(supervisor) => Ok(of_supervisor(supervisor)),
        }
    }
}

fn of_supervisor(supervisor: &Supervisor) -> Survey {
    let mut survey = Survey::default();
    for unit in supervisor.all() {
        survey.units += 1;
        if unit.active_state == "failed" {
            let (name, result, n_restarts) = (unit.id, unit.result, unit.n_restarts);
            survey.failed.push(Failure { name, result, n_restarts, since_monotonic_us: 0 });
        } else if unit.active_state == "active" && unit.main_pid == 0 {
            survey.empty.push(unit.id);
        }
    }
    survey
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Policy, sys::process};

    #[tokio::test]
    async fn systemd_itself_is_understood_where_there_is_one() {
        if !process::systemd_is_here() {
            return;
        }
        let survey = Units::of(&Policy::default()).unwrap().survey().await.unwrap();
        println!("{survey:?}");
        assert!(survey.units > 10, "{survey:?}");
        assert!(survey.failed.iter().all(|failed| failed.since_monotonic_us > 0), "{survey:?}");
    }
}
