//! A coordinator and a node whose points can be armed, and whose service outlives its agent.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use drydock_coordinator::store::{RunStore as _, record::RecordCheck, sqlite::SqliteStore};
use drydock_core::view::{Phase, RunStatus, RunView};
use drydock_system_tests::{
    Behaviour, Fleet,
    coordinator::Coordinator,
    fleet,
    node::{self, Node, UNIT},
    process::Process,
    wait,
};

use crate::{
    cell::Cell,
    toy::{Service, Toy},
    witness::Exchanges,
};

/// How long a cell may take until its run has ended right.
const CELL: Duration = Duration::from_secs(75);
/// How often a person may have to say `run resume`.
const RESUMES: usize = 3;

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// `drydock-agent`.
    Agent,
    /// `drydock serve`.
    Coordinator,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Agent, Self::Coordinator];

    /// For file names and people.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Coordinator => "coordinator",
        }
    }
}

/// Who runs the node's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// A service manager that speaks as systemd does: what it runs outlives the agent.
    BySystemd,
    /// The agent's own supervisor: what it runs dies with the agent, and is started with it.
    ByTheAgent,
}

/// A fleet of one node.
#[derive(Debug)]
pub(crate) struct Rig {
    /// The processes and files.
    pub(crate) fleet: Fleet,
    toy: Option<Toy>,
    exchanges: Exchanges,
    /// The version that runs, as its major number.
    pub(crate) version: u64,
}

/// What it took to bring a run to its end.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// How the armed process ended, if it did.
    pub(crate) ended: Option<ExitStatus>,
    /// Starts of either process that were needed.
    pub(crate) restarts: usize,
    /// `run resume`s that were needed.
    pub(crate) resumes: usize,
    /// What `why` said at each hold.
    pub(crate) why: String,
}

/// The target before a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    starts: usize,
    exchanges: usize,
}

/// What happened at the target since then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Versions that the service was started with, counted by itself.
    pub(crate) starts: Vec<String>,
    /// Times that its file came to be another, counted by the kernel.
    pub(crate) exchanges: usize,
}

impl Rig {
    /// Everything up, nothing armed, version 1.0.0 at work.
    ///
    /// # Panics
    /// When something of it does not come up.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self::with(Services::BySystemd, "")
    }

    /// The same, with more in the node's policy (in front of its tables) or another way of running the service.
    ///
    /// # Panics
    /// When something of it does not come up.
    #[must_use]
    pub(crate) fn with(services: Services, more: &str) -> Self {
        let mut fleet = Fleet::offline();
        launch_coordinator(&mut fleet);
        answers(&mut fleet.coordinator).unwrap_or_else(|why| panic!("{why}"));
        let key = fleet.public_key.clone();
        let node = fleet.add("n1");
        node.write_policy(&format!("{more}{}", policy(node, &key, services)));
        let service = Service {
            unit: UNIT.into(),
            program: node.binary(),
            args: vec![node.service.to_string(), node.dir.join("starts").display().to_string()],
            dir: node.dir.clone(),
        };
        let exchanges = Exchanges::of(&node.binary());
        let toy = (services == Services::BySystemd).then(|| Toy::start(service));
        let mut rig = Self { fleet, toy, exchanges, version: 1 };
        rig.launch_agent();
        rig.fleet.all_connected();
        rig
    }

    /// The node.
    #[must_use]
    pub(crate) fn node(&self) -> &Node {
        &self.fleet.nodes[0]
    }

    /// Starts the agent and returns at once.
    pub(crate) fn launch_agent(&mut self) {
        let mut command = self.node().command();
        with_points(&mut command, &self.fleet, Side::Agent);
        if let Some(toy) = &self.toy {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", &toy.address);
        }
        self.fleet.nodes[0].launch_as(command);
    }

    pub(crate) fn ended(&mut self, side: Side) -> Option<ExitStatus> {
        let process = match side {
            Side::Agent => &mut self.fleet.nodes[0].agent,
            Side::Coordinator => &mut self.fleet.coordinator.process,
        };
        process.as_mut().and_then(Process::ended)
    }

    pub(crate) fn launch(&mut self, side: Side) {
        match side {
            Side::Agent => self.launch_agent(),
            Side::Coordinator => launch_coordinator(&mut self.fleet),
        }
    }

    /// From now on, at the nth passing.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub(crate) fn arm(&self, side: Side, text: &str) {
        arm(&self.fleet, side, text);
    }

    /// Nothing is armed any more.
    pub(crate) fn disarm(&self) {
        Side::ALL.iter().for_each(|side| self.arm(*side, ""));
    }

    /// Forgets which points were passed.
    pub(crate) fn forget_points(&self) {
        forget_points(&self.fleet);
    }

    /// The lines of the points that were passed since then.
    #[must_use]
    pub(crate) fn points(&self, side: Side) -> Vec<String> {
        points(&self.fleet, side)
    }

    /// How often each point was passed since then.
    #[must_use]
    pub(crate) fn passed(&self, side: Side) -> BTreeMap<String, u64> {
        passed(&self.fleet, side)
    }

    /// Did what is armed happen?
    pub(crate) fn fired(&self, side: Side) -> bool {
        self.points(side).iter().any(|line| line.ends_with(" fired"))
    }

    /// The next version, and a plan for it.
    pub(crate) fn next_plan(&mut self, behaviour: Behaviour) -> String {
        self.version += 1;
        let version = self.goal();
        let plan = self.fleet.plan(&version, behaviour);
        // What was before it is of no use any more, and there will be many.
        if let Some(old) = self.version.checked_sub(2) {
            drop(fs::remove_file(self.fleet.dir().join(format!("demo-{old}.0.0"))));
        }
        plan
    }

    /// The version that the last plan brings.
    #[must_use]
    pub(crate) fn goal(&self) -> String {
        format!("{}.0.0", self.version)
    }

    /// The target as it is.
    pub(crate) fn before(&mut self) -> Before {
        Before { starts: self.node().starts().len(), exchanges: self.exchanges.count() }
    }

    /// What happened at the target since then.
    pub(crate) fn since(&mut self, before: Before) -> Counted {
        let starts = self.node().starts().split_off(before.starts);
        Counted { starts, exchanges: self.exchanges.count() - before.exchanges }
    }

    /// Where the logs end now.
    #[must_use]
    pub(crate) fn logged(&self) -> [usize; 3] {
        self.logs().map(|text| text.len())
    }

    /// The agent's, the coordinator's, and what the operator was told who typed `run start`.
    fn logs(&self) -> [String; 3] {
        let typed = fs::read_to_string(self.fleet.dir().join("start.log")).unwrap_or_default();
        [self.node().log(), self.fleet.coordinator.log(), typed]
    }

    /// What was logged since then.
    #[must_use]
    pub(crate) fn log_since(&self, from: [usize; 3]) -> String {
        let logs = self.logs().into_iter().zip(from);
        logs.map(|(text, from)| text.get(from..).unwrap_or_default().to_owned()).collect()
    }

    /// Types what begins a run, and sees it through: what has died is started again, what holds is resumed.
    ///
    /// # Errors
    /// When it does not end as wanted, or the armed point was never passed; with everything that was logged.
    pub(crate) fn see_through(
        &mut self,
        words: &[&str],
        cell: Option<&Cell>,
        wanted: &dyn Fn(&RunView) -> bool,
    ) -> Result<Settled, String> {
        let armed = cell.map(|cell| cell.side);
        let kills = cell.is_some_and(|cell| cell.action.kills());
        let last = self.fleet.try_run(0).map_or(0, |view| view.number);
        let mut settled = Settled::default();
        let mut start = Some(self.type_in(words));
        let until = Instant::now() + CELL;
        loop {
            for side in Side::ALL {
                if let Some(status) = self.ended(side) {
                    if armed == Some(side) && settled.ended.is_none() {
                        settled.ended = Some(status);
                    }
                    settled.restarts += 1;
                    self.disarm();
                    self.launch(side);
                }
            }
            if settled.restarts > 5 {
                return Err(self.in_vain("a process ends again and again", last));
            }
            let said = start.as_mut().and_then(Process::ended);
            let seen = self.fleet.try_run(0);
            match &seen {
                Ok(view) if view.number > last && wanted(view) => {
                    // A point behind the run's end: its process may be dying only now.
                    let fired = armed.is_none_or(|side| self.fired(side));
                    if fired && (settled.ended.is_some() || !kills) {
                        break;
                    }
                }
                Ok(view) if view.number > last && view.status == RunStatus::Held => {
                    settled.resumes += 1;
                    self.disarm();
                    settled.why += &self.fleet.drydock(&["why"]).stdout;
                    if settled.resumes > RESUMES {
                        return Err(self.in_vain("the run holds again and again", last));
                    }
                    // A version that was rolled back stays away until somebody says otherwise. What is refused shows
                    // in the run, which then holds still.
                    if fleet::phases(view).contains(&Phase::RolledBack) {
                        drop(self.fleet.drydock(&["node", "release", "n1"]));
                    }
                    drop(self.fleet.drydock(&["run", "resume", &view.number.to_string()]));
                }
                Ok(view) if view.number > last => {}
                // It was not taken: the operator types it again.
                _ if said.is_some_and(|status| !status.success()) && self.answering() => {
                    self.disarm();
                    start = Some(self.type_in(words));
                }
                _ => {}
            }
            if Instant::now() > until {
                return Err(self.in_vain("the run did not end in time", last));
            }
            wait::pause(Duration::from_millis(60));
        }
        self.disarm();
        Ok(settled)
    }

    fn answering(&self) -> bool {
        node::get(self.fleet.coordinator.health, "/healthz").is_some_and(|(code, _)| code == 200)
    }

    fn type_in(&self, words: &[&str]) -> Process {
        self.fleet.drydock_in_background("start.log", words)
    }

    /// Everything, for a message.
    #[must_use]
    pub(crate) fn in_vain(&self, what: &str, last: u64) -> String {
        let view: Result<RunView, String> = self.fleet.try_run(0);
        let typed = fs::read_to_string(self.fleet.dir().join("start.log")).unwrap_or_default();
        let points: Vec<_> = Side::ALL.iter().map(|side| self.points(*side).join(", ")).collect();
        format!(
            "{what} (the run before was {last})\n{}\n--- typed\n{typed}\n--- points\n{}",
            self.fleet.everything(&view),
            points.join("\n")
        )
    }

    /// Both processes are started anew and the agent's stream is open: each cell begins so, and passes the same
    /// points in the same order as the survey did.
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) fn anew(&mut self) -> Result<(), String> {
        self.disarm();
        self.fleet.nodes[0].kill();
        self.fleet.coordinator.kill();
        self.launch(Side::Coordinator);
        answers(&mut self.fleet.coordinator)?;
        self.launch(Side::Agent);
        let until = Instant::now() + wait::SOON;
        loop {
            let nodes = self.fleet.drydock(&["-o", "json", "node", "list"]);
            if nodes.stdout.contains("\"connected\": true") || nodes.stdout.contains("\"connected\":true") {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(self.in_vain("the agent is not connected", 0));
            }
            wait::pause(Duration::from_millis(60));
        }
    }

    /// Ends both and reads what they left: the record's chain is whole, and no effect is open.
    ///
    /// # Errors
    /// What is not so.
    pub(crate) fn close(mut self) -> Result<(), String> {
        self.fleet.nodes[0].kill();
        self.fleet.coordinator.kill();
        let store = SqliteStore::open(&self.fleet.coordinator.state_dir().join("drydock.db"));
        let store = store.map_err(|error| error.to_string())?;
        match store.verify_chain().map_err(|error| error.to_string())? {
            RecordCheck::Whole { events, .. } if events > 0 => {}
            other => return Err(format!("the record is not whole: {other:?}")),
        }
        let loaded = store.load().map_err(|error| error.to_string())?;
        let open: Vec<_> = loaded.effects.iter().map(|effect| effect.effect.short()).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("effects are still open: {open:?}")) }
    }
}

/// From now on, at the nth passing of a point.
///
/// # Panics
/// When the file cannot be written.
pub(crate) fn arm(fleet: &Fleet, side: Side, text: &str) {
    let file = file(fleet, side, "arm");
    let new = file.with_extension("new");
    // In one step: a process that reads it meanwhile must not read half of it.
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// Forgets which points were passed.
pub(crate) fn forget_points(fleet: &Fleet) {
    for side in Side::ALL {
        drop(fs::remove_file(file(fleet, side, "points")));
    }
}

/// The lines of the points that were passed since then.
pub(crate) fn points(fleet: &Fleet, side: Side) -> Vec<String> {
    let text = fs::read_to_string(file(fleet, side, "points")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// How often each point was passed since then.
pub(crate) fn passed(fleet: &Fleet, side: Side) -> BTreeMap<String, u64> {
    let mut passed = BTreeMap::new();
    for line in points(fleet, side) {
        if let Some(name) = line.strip_suffix(" before") {
            *passed.entry(name.to_owned()).or_default() += 1;
        }
    }
    passed
}

fn file(fleet: &Fleet, side: Side, what: &str) -> PathBuf {
    fleet.dir().join(format!("{what}-{}", side.word()))
}

/// The two variables of `drydock-failpoint`.
pub(crate) fn with_points(command: &mut Command, fleet: &Fleet, side: Side) {
    command.env("DRYDOCK_FAILPOINT_ARM", file(fleet, side, "arm"));
    command.env("DRYDOCK_FAILPOINT_LOG", file(fleet, side, "points"));
}

/// Starts the coordinator with its points and returns at once.
pub(crate) fn launch_coordinator(fleet: &mut Fleet) {
    let mut command = fleet.coordinator.command();
    with_points(&mut command, fleet, Side::Coordinator);
    let process = Process::start("drydock serve", command, &fleet.coordinator.log_file());
    fleet.coordinator.process = Some(process);
}

/// Waits until it answers.
///
/// # Errors
/// When it ends, or does not answer in time.
pub(crate) fn answers(coordinator: &mut Coordinator) -> Result<(), String> {
    let until = Instant::now() + wait::SOON;
    loop {
        if node::get(coordinator.health, "/healthz").is_some_and(|(code, _)| code == 200) {
            return Ok(());
        }
        let ended = coordinator.process.as_mut().and_then(Process::ended);
        if ended.is_some() || Instant::now() > until {
            return Err(format!("the coordinator does not answer ({ended:?}):\n{}", coordinator.log()));
        }
        wait::moment();
    }
}

/// The usual policy; without its supervisor where there is a service manager.
fn policy(node: &Node, key: &str, services: Services) -> String {
    let usual = node.policy(key);
    match services {
        Services::ByTheAgent => usual,
        Services::BySystemd => {
            usual.split_once("[supervisor]").map_or(usual.clone(), |(kept, _)| kept.to_owned())
        }
    }
}
