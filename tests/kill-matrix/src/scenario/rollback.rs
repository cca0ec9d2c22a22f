//! A change that was done is taken back by an operator's command: by the agent, from its journal.

use drydock_core::view::{RunStatus, RunView};
use drydock_system_tests::Behaviour;
use drydock_types::Sha256;

use super::{
    Passed, Scenario, Told,
    upgrade::{accepted_once, judge_resumes, passed_when_quiet},
};
use crate::{
    cell::Cell,
    rig::{Counted, Rig},
};

/// One node, brought to the next version and back to 1.0.0 by each cell; what is armed is passed on the way back.
#[derive(Debug)]
pub(crate) struct Rollback {
    rig: Rig,
}

fn done(view: &RunView) -> bool {
    view.status == RunStatus::Done
}

impl Rollback {
    /// A fleet at version 1.0.0.
    #[must_use]
    pub(crate) fn begin() -> Self {
        Self { rig: Rig::start() }
    }

    /// To the next version; gives the digest of what lay there before, and the run's number.
    fn forwards(&mut self) -> Result<(Sha256, String), String> {
        self.rig.anew()?;
        let (plan, old) = (self.rig.next_plan(Behaviour::Well), self.rig.node().installed());
        self.rig.see_through(&["run", "start", &plan], None, &done)?;
        Ok((old, self.rig.fleet.run(0).number.to_string()))
    }

    /// One start of the old version, one exchange, whoever died meanwhile.
    fn judge(&self, counted: &Counted, old: Sha256) -> Result<(), String> {
        if counted.starts != ["1.0.0"] {
            return Err(format!("the service was started with {:?}; 1.0.0, once, is right", counted.starts));
        }
        if counted.exchanges != 1 {
            return Err(format!("the binary was exchanged {} times", counted.exchanges));
        }
        let node = self.rig.node();
        if node.version().as_deref() != Some("1.0.0") || node.installed() != old {
            return Err(format!("it is not back on what it was: {:?}", node.version()));
        }
        let left: Vec<_> = node.beside().into_iter().filter(|name| !name.ends_with(".old")).collect();
        if !left.is_empty() {
            return Err(format!("left beside the binary: {left:?}"));
        }
        accepted_once(&self.rig)
    }
}

impl Scenario for Rollback {
    fn survey(&mut self) -> Result<Passed, String> {
        let (old, number) = self.forwards()?;
        self.rig.anew()?;
        self.rig.forget_points();
        let before = self.rig.before();
        self.rig.see_through(&["run", "rollback", &number], None, &done)?;
        let counted = self.rig.since(before);
        self.judge(&counted, old)?;
        Ok(passed_when_quiet(&self.rig))
    }

    fn run(&mut self, cell: &Cell) -> Told {
        let (old, number) = self.forwards()?;
        self.rig.anew()?;
        self.rig.forget_points();
        let (before, logged) = (self.rig.before(), self.rig.logged());
        cell.arm(&self.rig);
        let settled = self.rig.see_through(&["run", "rollback", &number], Some(cell), &done)?;
        let counted = self.rig.since(before);
        let judged = cell
            .judge_end(settled.ended)
            .and_then(|()| self.judge(&counted, old))
            .and_then(|()| cell.judge_words(&settled.why, &self.rig.log_since(logged)))
            .and_then(|()| judge_resumes(settled.resumes, &settled.why, cell.action));
        judged.map_err(|why| self.rig.in_vain(&why, 0))?;
        Ok(format!("restarts {}, resumes {}", settled.restarts, settled.resumes))
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.rig.close()
    }
}
