//! A version that says it is ill: its agent takes it back, files first and then the unit, and the run holds.

use drydock_core::view::{Phase, RunStatus, RunView};
use drydock_system_tests::{Behaviour, fleet};

use super::{
    Passed, Scenario, Told,
    upgrade::{accepted_once, judge_resumes, passed_when_quiet},
};
use crate::{
    cell::Cell,
    rig::{Counted, Rig, Settled},
};

/// One node that stays at version 1.0.0, whatever is tried.
#[derive(Debug)]
pub(crate) struct TakeBack {
    rig: Rig,
    /// Its node runs another version by now than the one that each cell begins with.
    spoilt: bool,
}

fn rolled_back(view: &RunView) -> bool {
    view.status == RunStatus::Held && fleet::phases(view) == [Phase::RolledBack]
}

/// The agent could not take it back, and the node is as it is.
fn left_alone(view: &RunView) -> bool {
    let said = || view.log.last().is_some_and(|line| line.text.contains("left alone"));
    view.status == RunStatus::Held && fleet::phases(view) == [Phase::Held] && said()
}

impl TakeBack {
    /// A fleet at version 1.0.0.
    #[must_use]
    pub(crate) fn begin() -> Self {
        Self { rig: Rig::start(), spoilt: false }
    }

    fn plan(&mut self) -> String {
        self.rig.next_plan(Behaviour::Ill);
        let goal = self.rig.goal();
        let text = self.rig.fleet.impatient(&self.rig.fleet.plan_text(&goal));
        let recipe = self.rig.fleet.dir().join("impatient-recipe.yaml");
        let shorter =
            std::fs::read_to_string(&recipe).unwrap_or_default().replace("within: 3s", "within: 1s");
        self.rig.fleet.write("impatient-recipe.yaml", &shorter);
        self.rig.fleet.write(&format!("plan-{goal}.yaml"), &text)
    }

    fn over(&mut self) -> Result<(), String> {
        let number = self.rig.fleet.run(0).number.to_string();
        let ran = self.rig.fleet.drydock(&["run", "abort", &number]);
        if ran.code == Some(0) { Ok(()) } else { Err(ran.said()) }
    }

    /// Each attempt is one start of the ill version and one of the old one, in this order, and two exchanges.
    fn judge(
        &mut self,
        counted: &Counted,
        old: drydock_types::Sha256,
        cell: Option<&Cell>,
    ) -> Result<(), String> {
        let (ill, well) = (self.rig.goal(), "1.0.0".to_owned());
        let starts: Vec<&str> = counted.starts.iter().map(String::as_str).collect();
        let failed_write = cell.is_some_and(|cell| !cell.action.kills());
        let right = match starts.as_slice() {
            [first, second] => *first == ill && *second == well,
            // Its exchange failed and was taken back: the service was not touched.
            [] => failed_write,
            _ => false,
        };
        if !right {
            return Err(format!("the service was started with {starts:?}"));
        }
        let most = if failed_write { 4 } else { 2 };
        if !counted.exchanges.is_multiple_of(2)
            || counted.exchanges > most
            || (counted.exchanges == 0 && !failed_write)
        {
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

    /// What could not be taken back is left alone, in service as it is, and a person is told what to do.
    fn judge_left_alone(&self, settled: &Settled) -> Result<(), String> {
        let why = self.rig.fleet.drydock(&["why"]);
        let number = self.rig.fleet.run(0).number;
        for wanted in ["could not be taken back", &format!("drydock run abort {number}")] {
            if !why.stdout.contains(wanted) && !settled.why.contains(wanted) {
                return Err(format!("why does not say {wanted:?}:\n{}", why.said()));
            }
        }
        match self.rig.node().version() {
            Some(version) if version == "1.0.0" || version == self.rig.goal() => Ok(()),
            other => Err(format!("the service answers {other:?}")),
        }
    }
}

impl Scenario for TakeBack {
    fn survey(&mut self) -> Result<Passed, String> {
        self.rig.anew()?;
        let (plan, old) = (self.plan(), self.rig.node().installed());
        self.rig.forget_points();
        let before = self.rig.before();
        self.rig.see_through(&["run", "start", &plan], None, &rolled_back)?;
        let counted = self.rig.since(before);
        self.judge(&counted, old, None)?;
        let passed = passed_when_quiet(&self.rig);
        self.over()?;
        Ok(passed)
    }

    fn run(&mut self, cell: &Cell) -> Told {
        if self.spoilt {
            *self = Self::begin();
        }
        self.rig.anew()?;
        let (plan, old) = (self.plan(), self.rig.node().installed());
        self.rig.forget_points();
        let (before, logged) = (self.rig.before(), self.rig.logged());
        cell.arm(&self.rig);
        let may_be_left = !cell.action.kills() && cell.point.starts_with("agent.swap.");
        let wanted = |view: &RunView| rolled_back(view) || may_be_left && left_alone(view);
        let settled = self.rig.see_through(&["run", "start", &plan], Some(cell), &wanted)?;
        let left = left_alone(&self.rig.fleet.run(0));
        let counted = self.rig.since(before);
        let judged = cell
            .judge_end(settled.ended)
            .and_then(|()| match left {
                true => self.judge_left_alone(&settled),
                false => self.judge(&counted, old, Some(cell)),
            })
            .and_then(|()| {
                let why = self.rig.fleet.drydock(&["why"]).stdout;
                cell.judge_words(&settled.why, &(self.rig.log_since(logged) + &why))
            })
            .and_then(|()| judge_resumes(settled.resumes, &settled.why, cell.action));
        judged.map_err(|why| self.rig.in_vain(&why, 0))?;
        self.over()?;
        self.spoilt = left;
        let how = if left { ", left alone" } else { "" };
        Ok(format!("restarts {}, resumes {}{how}", settled.restarts, settled.resumes))
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.rig.close()
    }
}
