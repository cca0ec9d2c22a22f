//! An empty directory becomes a coordinator's: its store, its authority, its sealing key, its first operator.

use drydock_system_tests::{Fleet, process::Process, wait};

use super::{Passed, Scenario, Told};
use crate::{
    cell::Cell,
    rig::{Side, answers, arm, forget_points, launch_coordinator, passed, points},
};

/// A directory for each cell.
#[derive(Debug)]
pub(crate) struct FirstStart;

impl FirstStart {
    fn one(cell: Option<&Cell>) -> Result<(Fleet, String), String> {
        let mut fleet = Fleet::offline();
        forget_points(&fleet);
        if let Some(cell) = cell {
            arm(&fleet, Side::Coordinator, &cell.armed());
        }
        launch_coordinator(&mut fleet);
        let first = answers(&mut fleet.coordinator);
        let fired = || points(&fleet, Side::Coordinator).iter().any(|line| line.ends_with(" fired"));
        if cell.is_some() && !fired() {
            return Err("the point was never passed".into());
        }
        let mut told = "went on".to_owned();
        if first.is_err() {
            let ended = fleet.coordinator.process.as_mut().and_then(Process::ended);
            cell.map_or(Ok(()), |cell| cell.judge_end(ended))?;
            cell.map_or(Ok(()), |cell| cell.judge_words("", &fleet.coordinator.log()))?;
            arm(&fleet, Side::Coordinator, "");
            launch_coordinator(&mut fleet);
            answers(&mut fleet.coordinator)?;
            told = "started again".into();
        } else if cell.is_some_and(|cell| cell.action.kills()) {
            return Err("it was not killed".into());
        }
        // The first operator can do what an operator does, and so can the authority.
        for typed in [&["node", "list"][..], &["token", "create", "n1"][..]] {
            let ran = fleet.drydock(typed);
            if ran.code != Some(0) {
                return Err(ran.said());
            }
        }
        Ok((fleet, told))
    }
}

impl Scenario for FirstStart {
    fn survey(&mut self) -> Result<Passed, String> {
        let (fleet, _) = Self::one(None)?;
        wait::moment();
        let of = passed(&fleet, Side::Coordinator);
        // What the commands after it passed is not of the start: they end after the last point that begins with it.
        Ok(of.into_iter().map(|(point, times)| ((Side::Coordinator, point), times)).collect())
    }

    fn wants(&self, cell: &Cell) -> bool {
        // The token's row, which the survey typed for, is written when the start is over.
        !(cell.point == "coordinator.store.commit" && cell.last)
    }

    fn run(&mut self, cell: &Cell) -> Told {
        Self::one(Some(cell)).map(|(_, told)| told)
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
