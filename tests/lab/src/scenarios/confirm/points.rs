//! Agent and reverter are killed before and after the durable writes and the units of a revert, on a real systemd: each
//! change ends confirmed or taken back, never in between, and each start of the service took place once, counted at the
//! target.
//!
//! Left out: of a point that is passed several times in one change only the first and the last passing is tried, and none of
//! the agent's where the first story has tried it. Exchanges of the file are not counted but compared: by the digests of
//! what lies there, what runs, and what lay there before. A reverter is killed where systemd starts it again; at boot
//! and by hand, where nobody does, it is not killed here.
//!
//! The agent must be built with its failpoints; `tests/run --all` does that, and says by `DRYDOCK_AGENT` where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::agents::next;
use super::cut_off::wait_for;
use super::site::{self, AGENT, BINARY, Plan, Site, UNIT};
use crate::Node;
use crate::fleet::agents;
use crate::fleet::run::RunSeen;
use crate::scenarios::proofs::Proofs;

/// What the kill matrix leaves to this scenario (`NOT_PASSED` there): each of them has to fire here.
const POINTS: [&str; 12] = [
    "agent.apart.start",
    "agent.apart.start-after",
    "agent.apart.start-now",
    "agent.apart.stop-timer",
    "agent.revert.claim",
    "agent.revert.remove",
    "agent.revert.rename",
    "agent.revert.settle",
    "agent.revert.sync",
    "agent.revert.sync-dir",
    "agent.revert.write",
    "agent.revert.write-rename",
];
/// The change is taken back so long after it was armed. The shortest that there is.
const WITHIN: Duration = Duration::from_secs(5);
/// The same for the agent itself, whose new process has to come up in that time.
const AGENT_WITHIN: Duration = Duration::from_secs(15);
/// How long a cell may take to its end.
const CELL: Duration = Duration::from_secs(90);
/// An address that a change can take away without anybody's being cut off.
const ADDRESS: &str = "192.0.2.9/32";

/// In which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Agent,
    Reverter,
}

impl Side {
    const ALL: [Self; 2] = [Self::Agent, Self::Reverter];

    const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Reverter => "reverter",
        }
    }

    /// On the node: what is armed, and what was passed.
    fn files(self) -> [String; 2] {
        [format!("/run/points-{}.arm", self.word()), format!("/run/points-{}.log", self.word())]
    }

    fn environment(self) -> [String; 2] {
        let [arm, log] = self.files();
        [format!("DRYDOCK_FAILPOINT_ARM={arm}"), format!("DRYDOCK_FAILPOINT_LOG={log}")]
    }
}

/// What is changed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// A version that is well: it is confirmed, unless its agent comes back too late.
    Well,
    /// One that takes an address away: it is taken back at its limit.
    Spoils,
    /// The agent itself, which is well.
    Agent,
}

/// A point, its nth passing, and when the process dies there.
#[derive(Debug, Clone)]
struct Cell {
    story: Story,
    side: Side,
    point: String,
    nth: u64,
    when: &'static str,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Confirmed,
    TakenBack,
}

type Passed = BTreeMap<(Side, String), u64>;

struct Scene<'a> {
    site: Site<'a>,
    root: PathBuf,
    /// Rises with each change: the service's version.
    changes: u32,
    /// What the service's version is now, and the agent's.
    now: String,
    agent_now: String,
}

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(2)?;
    let mut scene = Scene::set(Site::set(&lab)?)?;
    let (mut proofs, mut fired) = (Proofs::default(), BTreeSet::new());
    let mut cells = Vec::new();
    for story in [Story::Well, Story::Spoils] {
        let passed = scene.one(story, None, &mut proofs)?;
        ensure!(
            !passed.is_empty(),
            "this agent has no failpoints: cargo build --profile failpoints -p drydock-agent --features failpoints, and \
             name it by DRYDOCK_AGENT"
        );
        let known: BTreeSet<String> = cells.iter().map(|cell: &Cell| cell.point.clone()).collect();
        for ((side, point), times) in passed {
            if !POINTS.contains(&point.as_str()) || (side == Side::Agent && known.contains(&point)) {
                continue;
            }
            println!("  the {} passes {point} {times} times", side.word());
            let nths: BTreeSet<u64> = [1, times].into();
            let each = nths.iter().flat_map(|nth| ["kill-before", "kill-after"].map(|when| (*nth, when)));
            cells.extend(each.map(|(nth, when)| Cell { story, side, point: point.clone(), nth, when }));
        }
    }
    let restart = |when| Cell {
        story: Story::Agent,
        side: Side::Agent,
        point: "agent.apart.start".to_owned(),
        nth: 1,
        when,
    };
    cells.extend(["kill-before", "kill-after"].map(restart));
    println!("\n-- {} cells", cells.len());
    for cell in &cells {
        scene.one(cell.story, Some(cell), &mut proofs)?;
        fired.insert(cell.point.clone());
    }
    let missing: Vec<_> = POINTS.iter().filter(|point| !fired.contains(**point)).collect();
    proofs
        .check(missing.is_empty(), format!("every one of {} points fired (not: {missing:?})", POINTS.len()));
    proofs.conclude()
}

impl<'a> Scene<'a> {
    fn set(site: Site<'a>) -> Result<Self> {
        site.write_recipe(WITHIN)?;
        let node = site.lab.node(1);
        node.run(&["ip", "addr", "add", ADDRESS, "dev", "lo"])?;
        let [arm, log] = Side::Agent.environment();
        // Quicker than as it is shipped, so that a killed agent can still be in time.
        let drop_in = format!("[Service]\nRestartSec=300ms\nEnvironment={arm} {log}\n");
        let file = "/etc/systemd/system/drydock-agent.service.d/points.conf";
        node.write_file(file, drop_in.as_bytes(), 0o644)?;
        // What systemd itself has in its environment everything has that it starts, transient units too.
        let [arm, log] = Side::Reverter.environment();
        node.run(&["systemctl", "set-environment", &arm, &log])?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "restart", "drydock-agent.service"])?;
        site.fleet.wait_connected(2)?;
        let (root, agent_now) = (node.root()?, site.version.clone());
        Ok(Self { site, root, changes: 0, now: "1.0".to_owned(), agent_now })
    }

    fn node(&self) -> &'a Node {
        self.site.lab.node(1)
    }

    fn arm(&self, side: Side, text: &str) -> Result<()> {
        let file = self.root.join(side.files()[0].trim_start_matches('/'));
        // In one step: a process that reads it meanwhile must not read half of it.
        let new = file.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &file)).context("arm a point")
    }

    fn lines(&self, side: Side) -> String {
        let file = self.root.join(side.files()[1].trim_start_matches('/'));
        fs::read_to_string(file).unwrap_or_default()
    }

    fn passed(&self) -> Passed {
        let mut passed = Passed::new();
        for side in Side::ALL {
            for point in self.lines(side).lines().filter_map(|line| line.strip_suffix(" before")) {
                *passed.entry((side, point.to_owned())).or_default() += 1;
            }
        }
        passed
    }

    /// One change, with a point armed or none, to its end, judged.
    fn one(&mut self, story: Story, cell: Option<&Cell>, proofs: &mut Proofs) -> Result<Passed> {
        let began = Instant::now();
        for side in Side::ALL {
            self.arm(side, "")?;
            drop(fs::remove_file(self.root.join(side.files()[1].trim_start_matches('/'))));
        }
        // It is copied anew by each arming.
        drop(fs::remove_file(self.root.join("var/lib/drydock-agent/revert/drydock-agent")));
        let (goal, path) = self.begin(story)?;
        let (before, starts) = (self.site.digest(self.node(), path)?, self.starts(story)?);
        if let Some(cell) = cell {
            self.arm(cell.side, &format!("{} {} {}", cell.point, cell.nth, cell.when))?;
        }
        let file = format!("{goal}.yaml");
        let started = self.site.fleet.cli(&["run", "start", &file, "--detach"])?;
        ensure!(started.status.success(), "the run was not started: {}", started.error_text());
        let what = cell.map_or_else(
            || format!("{story:?}, nothing armed"),
            |cell| format!("{story:?}: {} {} #{} {}", cell.side.word(), cell.point, cell.nth, cell.when),
        );
        let run = self.see_through(cell).with_context(|| what.clone())?;
        self.wait_quiet().with_context(|| what.clone())?;
        let passed = self.passed();
        let ended = self.judge(story, &goal, path, &before, &starts, &run);
        let told = match &ended {
            Ok(end) => format!("{what}: {end:?} after {:.1} s", began.elapsed().as_secs_f32()),
            Err(why) => format!("{what}: {why:#}"),
        };
        proofs.check(ended.is_ok(), told);
        match (ended, cell) {
            (Ok(End::Confirmed), _) if story == Story::Agent => self.agent_now.clone_from(&goal),
            (Ok(End::Confirmed), _) => self.now.clone_from(&goal),
            (Ok(End::TakenBack), None) => {
                proofs.check(story == Story::Spoils, "with nothing armed only what spoils is taken back");
            }
            // What comes after it would only say the same again.
            (Err(why), _) => return Err(why.context(what)),
            (Ok(End::TakenBack), Some(_)) => {}
        }
        if run.status == "held" {
            self.site.fleet.succeed(&["run", "abort", &run.number.to_string()])?;
        }
        Ok(passed)
    }

    /// The next version and the plan for it; and which file it changes.
    fn begin(&mut self, story: Story) -> Result<(String, &'static str)> {
        self.changes += 1;
        let version = format!("{}.0", self.changes + 1);
        let (goal, path, artifact) = match story {
            Story::Well => (version.clone(), BINARY, self.site.newer_service(&version, "")?),
            Story::Spoils => {
                let spoils = format!("ip addr del {ADDRESS} dev lo");
                (version.clone(), BINARY, self.site.newer_service(&version, &spoils)?)
            }
            Story::Agent => {
                let version = next(&self.agent_now, 1);
                (version.clone(), AGENT, self.site.newer_agent(&version)?)
            }
        };
        let with = format!("{{within: {}s, witness: {}}}", AGENT_WITHIN.as_secs(), self.site.witnesses());
        let (component, recipe, with) = match story {
            Story::Agent => ("drydock-agent", "drydock-agent", with.as_str()),
            Story::Well | Story::Spoils => ("cutter", "./cutter.yaml", ""),
        };
        let file = format!("{goal}.yaml");
        self.site.write_plan(&Plan {
            file: &file,
            component,
            recipe,
            with,
            to: &goal,
            artifact: Some(&artifact),
            nodes: "[n1]",
        })?;
        Ok((goal, path))
    }

    /// To the run's end, and until what was armed has happened. Whoever was killed is started by systemd, after a
    /// moment; by then nothing is armed any more.
    fn see_through(&self, cell: Option<&Cell>) -> Result<RunSeen> {
        let fired =
            || cell.is_none_or(|cell| self.lines(cell.side).lines().any(|line| line.ends_with(" fired")));
        let (began, mut disarmed, mut asked) = (Instant::now(), cell.is_none(), Instant::now());
        loop {
            if !disarmed && fired() {
                Side::ALL.iter().try_for_each(|side| self.arm(*side, ""))?;
                disarmed = true;
            }
            if asked.elapsed() > Duration::from_millis(400) {
                let run = self.site.fleet.run(0)?;
                if disarmed && matches!(run.status.as_str(), "done" | "held") {
                    return Ok(run);
                }
                if began.elapsed() > CELL {
                    let points = Side::ALL.map(|side| self.lines(side)).join("\n");
                    let log = self.node().run(&["journalctl", "-q", "-o", "short-precise", "-n", "60"])?;
                    bail!("after {CELL:?} the run is {} (fired: {disarmed})\n{points}\n{log}", run.status);
                }
                asked = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The agent is there, and nothing of a revert is at work or will be.
    fn wait_quiet(&self) -> Result<()> {
        wait_for("the agent to be up and every unit of the revert to be gone", || {
            let active = self.node().exec(&["systemctl", "is-active", "drydock-agent.service"])?.text();
            let words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "drydock-re*-*"];
            let units = self.node().exec(&words)?.text();
            Ok(active.trim() == "active" && units.trim().is_empty())
        })?;
        self.site.fleet.wait_connected(2)?;
        agents::pid(self.node()).map(drop).map_err(Into::into)
    }

    /// How often each version of the service was started, and how often the agent, by systemd's own record.
    fn starts(&self, story: Story) -> Result<Vec<String>> {
        let node = self.node();
        node.run(&["journalctl", "--sync"])?;
        let (unit, word) = match story {
            Story::Agent => ("drydock-agent.service", "Started drydock-agent.service"),
            Story::Well | Story::Spoils => (UNIT, " starts"),
        };
        let log = node.run(&["journalctl", "-q", "-o", "cat", "-u", unit])?;
        Ok(log.lines().filter(|line| line.contains(word)).map(str::to_owned).collect())
    }

    /// Confirmed wholly or taken back wholly, each start and each exchange once.
    fn judge(
        &self,
        story: Story,
        goal: &str,
        path: &str,
        before: &str,
        starts: &[String],
        run: &RunSeen,
    ) -> Result<End> {
        let node = self.node();
        let phase = run.node("n1").map(|node| node.phase.clone()).unwrap_or_default();
        let end = match (run.status.as_str(), phase.as_str()) {
            ("done", "done") => End::Confirmed,
            ("held", "rolledBack") => End::TakenBack,
            other => bail!("it is neither confirmed nor taken back: {other:?}, {:?}", run.hold),
        };
        let unit = if story == Story::Agent { "drydock-agent.service" } else { UNIT };
        let pid = node.run(&["systemctl", "show", unit, "--property=MainPID", "--value"])?;
        let memory = self.site.digest(node, &format!("/proc/{}/exe", pid.trim()))?;
        let disk = self.site.digest(node, path)?;
        ensure!(memory == disk, "{unit} runs another file than {path}");
        ensure!((disk == before) == (end == End::TakenBack), "{end:?}, and the file says otherwise");

        let now = self.starts(story)?;
        let new = now.get(starts.len()..).unwrap_or_default().to_vec();
        let (wanted, old) = (format!("cutter {goal} starts"), format!("cutter {} starts", self.now));
        let right = match (story, end) {
            (Story::Agent, End::Confirmed) => new.len() == 1,
            (Story::Agent, End::TakenBack) => new.len() <= 2,
            (_, End::Confirmed) => new == [wanted],
            (_, End::TakenBack) => new.is_empty() || new == [wanted, old],
        };
        ensure!(right, "{end:?}, and {unit} was started {new:?}");

        let left = node.run(&["ls", "/var/lib/drydock-agent/revert"])?;
        ensure!(!left.contains("armed.json") && !left.contains("reverting.json"), "still at work: {left}");
        let addresses = node.run(&["ip", "-4", "-o", "addr", "show", "dev", "lo"])?;
        ensure!(addresses.contains(ADDRESS), "{ADDRESS} is gone: {addresses}");
        Ok(end)
    }
}
