//! A journal whose last record was cut off by a loss of power: the tail is cut at the next start.

use std::io::Write as _;

use drydock_system_tests::wait;

use super::{Passed, Scenario, Told, upgrade::passed_when_quiet};
use crate::{
    cell::Cell,
    rig::{Rig, Side},
};

/// An agent that is started over a torn tail by each cell.
#[derive(Debug)]
pub(crate) struct TornTail {
    rig: Rig,
}

impl TornTail {
    /// A fleet that has done nothing yet.
    #[must_use]
    pub(crate) fn begin() -> Self {
        Self { rig: Rig::start() }
    }

    fn one(&mut self, cell: Option<&Cell>) -> Told {
        self.rig.disarm();
        self.rig.fleet.nodes[0].kill();
        let journal = self.rig.node().state_dir().join("journal/journal");
        let whole = std::fs::read(&journal).map_err(|error| error.to_string())?;
        // The beginning of a frame whose rest never came to the disk.
        let torn = std::fs::OpenOptions::new().append(true).open(&journal);
        torn.and_then(|mut file| file.write_all(&[0, 0, 1])).map_err(|error| error.to_string())?;
        let logged = self.rig.logged();
        self.rig.forget_points();
        if let Some(cell) = cell {
            cell.arm(&self.rig);
        }
        self.rig.launch(Side::Agent);
        let (mut starts, mut ended) = (1, None);
        wait::until("the agent to be connected again", wait::SOON, || {
            if let Some(status) = self.rig.ended(Side::Agent) {
                ended = ended.or(Some(status));
                self.rig.disarm();
                self.rig.launch(Side::Agent);
                starts += 1;
            }
            let connected = self.rig.log_since(logged).contains("connected to coordinator");
            (connected && cell.is_none_or(|cell| self.rig.fired(cell.side))).then_some(())
        });
        let now = std::fs::read(&journal).map_err(|error| error.to_string())?;
        if !now.starts_with(&whole) {
            return Err("something that was safe is gone from the journal".into());
        }
        if let Some(cell) = cell {
            cell.judge_end(ended)?;
            cell.judge_words("", &self.rig.log_since(logged))?;
        }
        Ok(format!("starts {starts}"))
    }
}

impl Scenario for TornTail {
    fn survey(&mut self) -> Result<Passed, String> {
        self.one(None)?;
        let mut passed = passed_when_quiet(&self.rig);
        passed.retain(|(side, _), _| *side == Side::Agent);
        Ok(passed)
    }

    fn wants(&self, cell: &Cell) -> bool {
        cell.point.starts_with("agent.journal.cut")
    }

    fn run(&mut self, cell: &Cell) -> Told {
        self.one(Some(cell))
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
