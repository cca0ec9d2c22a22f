//! The whole way of a node through a run: staged, gated, exchanged, restarted, seen, done. With an etcd beside it, also
//! its snapshot, encrypted and copied to the coordinator, and leadership handed over.

use std::path::PathBuf;

use drydock_core::view::{RunStatus, RunView};
use drydock_system_tests::{Behaviour, node, wait};

use super::{Passed, Scenario, Told};
use crate::{
    cell::{Action, Cell},
    etcd::{self, Etcd},
    rig::{Counted, Rig, Services, Side},
};

/// One node, brought to the next version by each cell.
#[derive(Debug)]
pub(crate) struct Upgrade {
    rig: Rig,
    services: Services,
    etcd: Option<Etcd>,
    _etcd_dir: Option<tempfile::TempDir>,
}

/// What etcd and the coordinator's backups are before a run.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    term: u64,
    backups: usize,
}

fn done(view: &RunView) -> bool {
    view.status == RunStatus::Done
}

impl Upgrade {
    /// A fleet at version 1.0.0.
    #[must_use]
    pub(crate) fn begin() -> Self {
        let services = Services::BySystemd;
        Self { rig: Rig::start(), services, etcd: None, _etcd_dir: None }
    }

    /// The same, with services that the agent runs itself.
    #[must_use]
    pub(crate) fn supervised() -> Self {
        let services = Services::ByTheAgent;
        Self { rig: Rig::with(services, ""), services, etcd: None, _etcd_dir: None }
    }

    /// The same, with an etcd whose snapshot is taken first.
    ///
    /// # Panics
    /// When there is no etcd, or it does not come up.
    #[must_use]
    pub(crate) fn with_etcd() -> Self {
        let binary = etcd::binary();
        let binary = binary
            .unwrap_or_else(|| panic!("no etcd: set DRYDOCK_TEST_ETCD, or apt-get install etcd-server"));
        let dir = tempfile::Builder::new().prefix("drydock-etcd-").tempdir();
        let dir = dir.unwrap_or_else(|error| panic!("a directory for etcd: {error}"));
        let etcd = Etcd::start(&binary, dir.path());
        let recipient = age::x25519::Identity::generate().to_public();
        let more =
            format!("backup_recipient = \"{recipient}\"\netcd = {{ endpoint = \"{}\" }}\n", etcd.endpoint());
        let services = Services::BySystemd;
        Self { rig: Rig::with(services, &more), services, etcd: Some(etcd), _etcd_dir: Some(dir) }
    }

    fn plan(&mut self) -> String {
        let plan = self.rig.next_plan(Behaviour::Well);
        if self.etcd.is_none() {
            return plan;
        }
        let recipe = include_str!("../../../../coordinator/recipes/systemd-binary.yaml");
        let steps =
            "  protect:\n    - snapshotEtcd:\n        maxAge: 15m\n\n  apply:\n    - moveEtcdLeader\n";
        let with_etcd = recipe.replace("  apply:\n", steps);
        assert_ne!(with_etcd, recipe, "the recipe is another by now");
        self.rig.fleet.write("with-etcd.yaml", &with_etcd);
        let goal = self.rig.goal();
        let text =
            self.rig.fleet.plan_text(&goal).replace("recipe: systemd-binary", "recipe: ./with-etcd.yaml");
        self.rig.fleet.write(&plan, &text)
    }

    fn kept(&self) -> Kept {
        let Some(etcd) = &self.etcd else { return Kept::default() };
        Kept { term: etcd.term(), backups: self.backups().len() }
    }

    fn backups(&self) -> Vec<PathBuf> {
        let dir = self.rig.fleet.coordinator.state_dir().join("backups/n1");
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|end| end == "age")).collect()
    }

    /// What etcd led and what was copied: once each.
    fn judge_etcd(&self, before: Kept, cell: Option<&Cell>) -> Result<(), String> {
        if self.etcd.is_none() {
            return Ok(());
        }
        let now = self.kept();
        let failed_write = cell.is_some_and(|cell| !cell.action.kills());
        let copied = now.backups - before.backups;
        // A section that failed is tried again as another effect, whose snapshot is its own.
        if copied != 1 && !(failed_write && copied == 2) {
            return Err(format!("{copied} backups were copied to the coordinator"));
        }
        match now.term - before.term {
            1 => Ok(()),
            moves => Err(format!("etcd's leader changed {moves} times")),
        }
    }

    fn judge_starts(&self, starts: &[String], cell: Option<&Cell>) -> Result<(), String> {
        let goal = self.rig.goal();
        let news = starts.iter().filter(|start| **start == goal).count();
        let killed_agent = cell.is_some_and(|cell| cell.side == Side::Agent && cell.action.kills());
        let right = match self.services {
            Services::BySystemd => starts == [goal.clone()],
            // Beside its start in each life of the agent: once by the section, or not at all where the start
            // with the agent has brought the new file up already.
            Services::ByTheAgent if killed_agent => (1..=2).contains(&news),
            Services::ByTheAgent => news == 1,
        };
        if right {
            Ok(())
        } else {
            Err(format!("the service was started with {starts:?}; {goal}, once, is right"))
        }
    }

    fn judge(&self, counted: &Counted, cell: Option<&Cell>) -> Result<(), String> {
        let goal = self.rig.goal();
        self.judge_starts(&counted.starts, cell)?;
        let right = match cell {
            // An exchange that was done and said to have failed is taken back, and done again when a person has resumed.
            Some(cell) if !cell.action.kills() && cell.point.starts_with("agent.swap.") => {
                matches!(counted.exchanges, 1 | 3)
            }
            _ => counted.exchanges == 1,
        };
        if !right {
            return Err(format!("the binary was exchanged {} times", counted.exchanges));
        }
        let node = self.rig.node();
        if node.version().as_deref() != Some(goal.as_str()) {
            return Err(format!("the service answers {:?}, not {goal}", node.version()));
        }
        if node.installed() != node::digest(&self.rig.fleet.dir().join(format!("demo-{goal}"))) {
            return Err("another file lies there than the artifact".into());
        }
        let beside = node.beside();
        if beside.is_empty() || beside.len() > 2 || !beside.iter().all(|name| name.ends_with(".old")) {
            return Err(format!(
                "beside the binary there is {beside:?}; its own and one earlier kept file are right"
            ));
        }
        accepted_once(&self.rig)
    }

    /// Both programs anew, and what the run of a node passes for the first time is passed for the first time again.
    fn ready(&mut self) -> Result<String, String> {
        if let Some(etcd) = &self.etcd {
            drop(std::fs::remove_file(self.rig.node().state_dir().join("etcd-members.json")));
            etcd.lead();
        }
        self.rig.anew()?;
        let plan = self.plan();
        self.rig.forget_points();
        Ok(plan)
    }
}

/// No effect was accepted twice.
pub(super) fn accepted_once(rig: &Rig) -> Result<(), String> {
    let mut accepted = rig.node().accepted();
    accepted.sort();
    match accepted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("effect {} was accepted twice", pair[0])),
        None => Ok(()),
    }
}

/// The points of a run, and those behind its end: nothing more is passed for a while.
pub(super) fn passed_when_quiet(rig: &Rig) -> Passed {
    let look = || Side::ALL.iter().map(|side| rig.points(*side).len()).sum::<usize>();
    let mut last = look();
    wait::until_true("the points to be quiet", wait::SOON, || {
        wait::pause(std::time::Duration::from_millis(300));
        let now = look();
        std::mem::replace(&mut last, now) == now
    });
    let of = |side: Side| rig.passed(side).into_iter().map(move |(point, times)| ((side, point), times));
    Side::ALL.into_iter().flat_map(of).collect()
}

/// A disk that failed may want a person, once; a kill never.
pub(super) fn judge_resumes(resumes: usize, why: &str, action: Action) -> Result<(), String> {
    match resumes {
        0 => Ok(()),
        1 if !action.kills() => Ok(()),
        n => Err(format!("it had to be resumed {n} times:\n{why}")),
    }
}

impl Scenario for Upgrade {
    fn survey(&mut self) -> Result<Passed, String> {
        // The first two are others than all that follow: nothing was kept yet, nothing is to be tidied.
        for _ in 0..3 {
            let plan = self.ready()?;
            let (before, kept) = (self.rig.before(), self.kept());
            self.rig.see_through(&["run", "start", &plan], None, &done)?;
            let counted = self.rig.since(before);
            self.judge(&counted, None)?;
            self.judge_etcd(kept, None)?;
        }
        Ok(passed_when_quiet(&self.rig))
    }

    fn run(&mut self, cell: &Cell) -> Told {
        let plan = self.ready()?;
        let (before, kept, logged) = (self.rig.before(), self.kept(), self.rig.logged());
        cell.arm(&self.rig);
        let settled = self.rig.see_through(&["run", "start", &plan], Some(cell), &done)?;
        let counted = self.rig.since(before);
        let judged = cell
            .judge_end(settled.ended)
            .and_then(|()| self.judge(&counted, Some(cell)))
            .and_then(|()| self.judge_etcd(kept, Some(cell)))
            .and_then(|()| cell.judge_words(&settled.why, &self.rig.log_since(logged)))
            .and_then(|()| judge_resumes(settled.resumes, &settled.why, cell.action));
        judged.map_err(|why| self.rig.in_vain(&why, 0))?;
        Ok(format!("restarts {}, resumes {}", settled.restarts, settled.resumes))
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.rig.close()
    }
}
