//! Coordinator and agents are killed (SIGKILL) again and again, in every phase of a member's life, at moments
//! that a seed chooses. Each run ends as if nothing had been: every member upgraded, restarted once, the leader
//! last, no acknowledged write lost, two members healthy at every moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use super::dice::Dice;
use super::proofs::Proofs;
use super::scene::{self, PLAN, Scene, code};
use super::table;
use crate::fleet::agents;
use crate::fleet::log::{CoordinatorLog, Told};

/// The phases, and how long after a member entered one the kill comes at the latest: about as long as the
/// phase takes.
const PHASES: [(&str, Duration); 7] = [
    ("staging", Duration::from_millis(300)),
    ("gating", Duration::from_millis(25)),
    ("protecting", Duration::from_millis(15)),
    ("rechecking", Duration::from_millis(25)),
    ("applying", Duration::from_millis(1500)),
    ("returning", Duration::from_millis(20)),
    ("soaking", Duration::from_millis(2500)),
];
/// All kills together, at least.
const KILLS: u32 = 30;
/// Kills in each phase, at least.
const EACH: u32 = 2;
/// A run is let go on in peace after so many.
const IN_ONE_RUN: u32 = 14;
/// One member's phase is not broken into for ever.
const IN_ONE_PHASE: u32 = 2;
const RUNS: usize = 8;
/// How long a run that is killed so often may take.
const RUN: Duration = Duration::from_secs(240);
/// How long a dead coordinator stays dead at the most.
const AWAY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Coordinator,
    Agent,
}

/// Who was killed when.
#[derive(Debug, Default)]
struct Ledger {
    kills: BTreeMap<(String, Victim), u32>,
}

impl Ledger {
    fn note(&mut self, phase: &str, victim: Victim) {
        *self.kills.entry((phase.to_owned(), victim)).or_default() += 1;
    }

    fn of(&self, phase: &str, victim: Victim) -> u32 {
        self.kills.get(&(phase.to_owned(), victim)).copied().unwrap_or(0)
    }

    fn in_phase(&self, phase: &str) -> u32 {
        self.of(phase, Victim::Coordinator) + self.of(phase, Victim::Agent)
    }

    fn total(&self) -> u32 {
        self.kills.values().sum()
    }

    fn is_enough(&self) -> bool {
        self.total() >= KILLS && PHASES.iter().all(|(phase, _)| self.in_phase(phase) >= EACH)
    }

    fn print(&self) {
        let mut rows = vec![table::row(["phase", "coordinator killed", "agent killed", "together"])];
        let others = self.kills.keys().map(|(phase, _)| phase.as_str());
        let others = others.filter(|phase| PHASES.iter().all(|(known, _)| known != phase));
        let mut phases: Vec<&str> = PHASES.iter().map(|(phase, _)| *phase).chain(others).collect();
        phases.dedup();
        for phase in phases {
            let numbers =
                [self.of(phase, Victim::Coordinator), self.of(phase, Victim::Agent), self.in_phase(phase)];
            let [coordinator, agent, both] = numbers.map(|number| number.to_string());
            rows.push(table::row([phase, &coordinator, &agent, &both]));
        }
        table::print(&rows);
    }
}

pub(super) fn play() -> Result<()> {
    let mut dice = Dice::throw()?;
    let mut ledger = Ledger::default();
    let lab = scene::boot()?;
    for run in 1..=RUNS {
        let name = format!("fleet{run}");
        let mut scene = if run == 1 { Scene::set(&lab, &name)? } else { Scene::set_again(&lab, &name)? };
        upgrade(&mut scene, &name, &mut ledger, &mut dice)?;
        println!();
        ledger.print();
        if ledger.is_enough() {
            return Ok(());
        }
    }
    bail!("{} kills in {RUNS} runs, but not {KILLS} with {EACH} in every phase", ledger.total())
}

/// One run over all members.
fn upgrade(scene: &mut Scene<'_>, name: &str, ledger: &mut Ledger, dice: &mut Dice) -> Result<()> {
    let before = scene.starts()?;
    let watch = scene.watch(name)?;
    ensure!(code(&scene.show(&["run", "start", PLAN, "--detach"])?) == 0, "the run was not started");
    let mut assault = Assault { scene, ledger, dice, begun: Instant::now(), here: BTreeMap::new() };
    assault.follow()?;
    scene.fleet.wait_serving()?;
    scene.fleet.wait_connected(scene::MEMBERS)?;
    let run = scene.fleet.run(0)?;
    let seen = watch.finish(scene)?;
    println!();
    let mut proofs = Proofs::default();
    proofs.check(run.status == "done", format!("run {} is {}", run.number, run.status));
    proofs.all_answer(&scene.versions()?, &scene.newer.version);
    proofs.watched_all_of(&run, &seen)?;
    proofs.untouched_service(&seen);
    proofs.restarted_once(&before, &scene.starts()?, &scene.newer.version);
    proofs.leader_last(scene, &seen.summary);
    proofs.conclude()
}

/// One run under attack.
struct Assault<'a, 'lab> {
    scene: &'a mut Scene<'lab>,
    ledger: &'a mut Ledger,
    dice: &'a mut Dice,
    begun: Instant,
    /// Kills in this run, by member and phase.
    here: BTreeMap<(String, String), u32>,
}

impl Assault<'_, '_> {
    /// Follows the coordinator's log until the run is done.
    fn follow(&mut self) -> Result<()> {
        let mut log = self.scene.fleet.log();
        while self.begun.elapsed() < RUN {
            for told in log.news()? {
                match told {
                    // Old news once a kill has passed over it.
                    Told::Phase { node, phase } if log.phase_of(&node) == Some(&phase) => {
                        self.strike(&mut log, &node, &phase)?;
                    }
                    Told::Status(status) if status == "Done" => return Ok(()),
                    Told::Status(status) if status == "Held" => {
                        self.scene.fleet.wait_serving()?;
                        self.scene.show(&["why"])?;
                        bail!("the run holds");
                    }
                    Told::Phase { .. } | Told::Status(_) => {}
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.scene.show(&["why"])?;
        bail!("the run did not end within {} s", RUN.as_secs())
    }

    /// Kills somebody, if this is a phase to kill in, some time after it began.
    fn strike(&mut self, log: &mut CoordinatorLog, node: &str, phase: &str) -> Result<()> {
        let Some((_, within)) = PHASES.iter().find(|(known, _)| *known == phase) else { return Ok(()) };
        let key = (node.to_owned(), phase.to_owned());
        let often = self.here.get(&key).copied().unwrap_or(0) >= IN_ONE_PHASE;
        let needed =
            self.ledger.in_phase(phase) < EACH || (self.ledger.total() < KILLS && self.dice.likely());
        if often || !needed || self.here.values().sum::<u32>() >= IN_ONE_RUN {
            return Ok(());
        }
        let wait = self.dice.within(*within);
        std::thread::sleep(wait);
        let victim = self.victim(phase);
        let done = match victim {
            Victim::Coordinator => self.kill_coordinator()?,
            Victim::Agent => self.kill_agent(node)?,
        };
        if !done {
            return Ok(()); // It was dead already.
        }
        // The phase that the last line before the kill told: the member may have gone on meanwhile.
        let news = log.news()?;
        let struck = log.phase_of(node).unwrap_or("unknown").to_owned();
        *self.here.entry(key).or_default() += 1;
        self.ledger.note(&struck, victim);
        let at = self.begun.elapsed().as_secs_f32();
        println!(
            "  {at:6.2} s  {node} {struck}, {} ms after {phase} began: {victim:?} killed",
            wait.as_millis()
        );
        if victim == Victim::Coordinator {
            std::thread::sleep(self.dice.within(AWAY));
            self.scene.fleet.start_coordinator()?;
        }
        ensure!(!news.contains(&Told::Status("Held".to_owned())), "the run holds");
        Ok(())
    }

    /// Who was killed less often in this phase; chance where it is the same.
    fn victim(&mut self, phase: &str) -> Victim {
        let (coordinator, agent) =
            (self.ledger.of(phase, Victim::Coordinator), self.ledger.of(phase, Victim::Agent));
        let heads = self.dice.heads();
        if coordinator < agent || (coordinator == agent && heads) {
            Victim::Coordinator
        } else {
            Victim::Agent
        }
    }

    fn kill_coordinator(&mut self) -> Result<bool> {
        self.scene.fleet.kill_coordinator()?;
        Ok(true)
    }

    fn kill_agent(&self, name: &str) -> Result<bool> {
        let node = self.scene.lab.nodes().iter().find(|node| node.name() == name);
        Ok(node.map(|node| agents::signal(node, Signal::SIGKILL)).transpose()?.unwrap_or(false))
    }
}
