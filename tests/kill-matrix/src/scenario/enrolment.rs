//! A node that joins: its key and certificate are stored, and its journal is begun at its first start.

use drydock_system_tests::{Fleet, cli, node::Node, process::Process, wait};

use super::{Passed, Scenario, Told};
use crate::{
    cell::Cell,
    rig::{Side, answers, arm, forget_points, launch_coordinator, passed, points, with_points},
};

/// A node for each cell, in one fleet.
#[derive(Debug)]
pub(crate) struct Enrolment {
    fleet: Fleet,
    number: usize,
}

impl Enrolment {
    /// A coordinator without nodes.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub(crate) fn begin() -> Self {
        let mut fleet = Fleet::offline();
        launch_coordinator(&mut fleet);
        answers(&mut fleet.coordinator).unwrap_or_else(|why| panic!("{why}"));
        Self { fleet, number: 0 }
    }

    fn one(&mut self, cell: Option<&Cell>) -> Told {
        self.number += 1;
        let name = format!("n{}", self.number);
        let mut node = Node::new(self.fleet.dir(), &name, &self.fleet.public_key);
        let mut token = self.fleet.token(&name, &[]);
        forget_points(&self.fleet);
        arm(&self.fleet, Side::Agent, &cell.map(Cell::armed).unwrap_or_default());
        let mut said = String::new();
        let mut tries = 1;
        loop {
            let ran = self.enrol(&node, &token);
            if ran.code == Some(0) {
                break;
            }
            said += &ran.said();
            // The file was in its place already: what was said is that this may not last, or nothing was said.
            if ran.stderr.contains("enrolled already") {
                break;
            }
            if tries == 4 {
                return Err(format!("it cannot be enrolled:\n{said}"));
            }
            tries += 1;
            arm(&self.fleet, Side::Agent, "");
            // Whoever used the token up and has nothing for it asks for another, for the same name.
            if ran.stderr.contains("token") {
                token = self.fleet.token(&name, &["--replace"]);
            }
        }
        let mut starts = 0;
        wait::until(&format!("{name} to be connected"), wait::SOON, || {
            if node.agent.as_mut().is_none_or(|agent| agent.ended().is_some()) {
                if starts > 0 {
                    arm(&self.fleet, Side::Agent, "");
                }
                starts += 1;
                let mut command = node.command();
                with_points(&mut command, &self.fleet, Side::Agent);
                node.launch_as(command);
            }
            let shown = self.fleet.drydock(&["-o", "json", "node", "show", &name]);
            let shown: serde_json::Value = serde_json::from_str(&shown.stdout).ok()?;
            let fired = || points(&self.fleet, Side::Agent).iter().any(|line| line.ends_with(" fired"));
            let died = |cell: &Cell| !cell.action.kills() || tries + starts > 2;
            (shown["connected"] == true && cell.is_none_or(|cell| fired() && died(cell))).then_some(())
        });
        node.agent.as_mut().map(Process::kill);
        let Some(cell) = cell else { return Ok(String::new()) };
        cell.judge_words("", &(said + &node.log()))?;
        Ok(format!("enrolled {tries}, started {starts}"))
    }

    fn enrol(&self, node: &Node, token: &str) -> cli::Ran {
        let file = node.dir.join("token");
        std::fs::write(&file, token).unwrap_or_else(|error| panic!("{}: {error}", node.name));
        let mut command = node.command();
        with_points(&mut command, &self.fleet, Side::Agent);
        command.args(["enrol", "--token-file"]).arg(&file);
        cli::run(command, wait::SOON)
    }
}

impl Scenario for Enrolment {
    fn survey(&mut self) -> Result<Passed, String> {
        self.one(None)?;
        let of = passed(&self.fleet, Side::Agent);
        Ok(of.into_iter().map(|(point, times)| ((Side::Agent, point), times)).collect())
    }

    fn run(&mut self, cell: &Cell) -> Told {
        self.one(Some(cell))
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
