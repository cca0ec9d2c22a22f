//! What a seed is about: which machines, which plans, which faults and when.
//!
//! Everything that is drawn ahead is drawn here; what is drawn while the story goes on (how long a message
//! travels, whether an action fails) comes from the streams of [`Dice`] that belong to it.

use crate::{
    Options,
    aim::Aim,
    cluster::{ClusterSpec, DrainSpec, draw},
    dice::Dice,
    faults::{Fault, Kind},
};

/// What runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A service that is one binary under systemd.
    Service,
    /// A voter of the one etcd cluster.
    Etcd,
    /// Nothing that Drydock knows of: the recipe that changes nothing.
    Bare,
}

/// A machine.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Its name.
    pub name: String,
    /// What runs there.
    pub role: Role,
    /// Its failure domain, where it has a label for it.
    pub zone: Option<String>,
    /// What runs there at first, where it is not the usual.
    pub runs: Option<(&'static str, Quality)>,
}

/// How good a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// As it should be.
    Good,
    /// Its process ends at once.
    DoesNotStart,
    /// Its process ends after so many milliseconds, each time.
    Crashes(u64),
    /// Its process lives and is never well.
    Unwell,
    /// It answers another version than the one that it was signed for.
    SaysAnother,
    /// As good, and another build of the same version.
    Rebuilt,
}

/// A wave.
#[derive(Debug, Clone)]
pub struct WaveSpec {
    /// Names of hosts.
    pub hosts: Vec<String>,
    /// How long each is watched.
    pub soak_ms: u64,
    /// How many at once.
    pub concurrency: u32,
    /// Somebody must approve before it begins.
    pub approval: bool,
}

/// A stage: one role, one release.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Which hosts it is for.
    pub role: Role,
    /// The version to reach.
    pub to: &'static str,
    /// How good it is.
    pub quality: Quality,
    /// Its waves.
    pub waves: Vec<WaveSpec>,
    /// Take a failed node back, or leave it as it is.
    pub rollback: bool,
    /// Accept that etcd is out while its only members are.
    pub outage: bool,
    /// Permit a lower version.
    pub downgrade: bool,
    /// Nodes leave the cluster before they are changed.
    pub drain: Option<DrainSpec>,
}

/// A plan and when it is started.
#[derive(Debug, Clone)]
pub struct PlanSpec {
    /// When an operator starts it.
    pub at_ms: u64,
    /// Its stages, in order.
    pub stages: Vec<StageSpec>,
    /// At most so many of a domain.
    pub budget: u32,
    /// Domains are told apart by the label `zone`.
    pub by_zone: bool,
}

/// A seed's story before it begins.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The machines.
    pub hosts: Vec<HostSpec>,
    /// The plans.
    pub plans: Vec<PlanSpec>,
    /// What goes wrong, in the order of time.
    pub faults: Vec<(u64, Fault)>,
    /// What goes wrong while the faults last, at random: kind and how many times in a thousand.
    pub rates: Vec<(Kind, u32)>,
    /// When the faults are over.
    pub calm_ms: u64,
    /// The cluster whose Nodes the machines are.
    pub cluster: Option<ClusterSpec>,
}

/// What runs at first, and what plans go to.
pub const SERVICE_VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "2.1.0"];
/// The same of etcd.
pub const ETCD_VERSIONS: [&str; 3] = ["3.4.23", "3.5.16", "3.6.1"];

impl Scenario {
    /// Draws a story.
    #[must_use]
    pub fn draw(seed: u64, options: &Options) -> Self {
        if let Some(nodes) = options.plain_wave {
            return Self::plain_wave(nodes);
        }
        if draw::has_cluster(seed) {
            return draw::draw(seed, options);
        }
        if let Some(aim) = Aim::of(seed).filter(|_| options.faults) {
            let mut dice = Dice::new(seed, "aim");
            let mut scenario = aim.draw(&mut dice);
            if dice.chance(250) {
                scenario.draw_usual_faults(seed);
            }
            return scenario;
        }
        let mut dice = Dice::new(seed, "scenario");
        let hosts = hosts(&mut dice);
        let plans = plans(&mut dice, &hosts);
        let mut scenario =
            Self { hosts, plans, faults: Vec::new(), rates: Vec::new(), calm_ms: 0, cluster: None };
        let with_faults = options.faults && (seed == 0 || dice.chance(930));
        if with_faults {
            scenario.draw_usual_faults(seed);
        }
        scenario
    }

    /// One wave of so many services, nothing going wrong: what a wave costs to simulate.
    fn plain_wave(nodes: usize) -> Self {
        let host = |i: usize| HostSpec {
            name: format!("n{:02}", i + 1),
            role: Role::Service,
            zone: None,
            runs: None,
        };
        let hosts: Vec<HostSpec> = (0..nodes).map(host).collect();
        let wave = WaveSpec {
            hosts: hosts.iter().map(|host| host.name.clone()).collect(),
            soak_ms: 0,
            concurrency: 1,
            approval: false,
        };
        let stage = StageSpec {
            role: Role::Service,
            to: SERVICE_VERSIONS[1],
            quality: Quality::Good,
            waves: vec![wave],
            rollback: true,
            outage: false,
            downgrade: false,
            drain: None,
        };
        let plan = PlanSpec { at_ms: 1000, stages: vec![stage], budget: 1, by_zone: false };
        Self { hosts, plans: vec![plan], faults: Vec::new(), rates: Vec::new(), calm_ms: 0, cluster: None }
    }

    /// What goes wrong in any fleet, until half as long again as the plans take.
    pub(crate) fn draw_usual_faults(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, "faults");
        self.draw_faults(&mut dice, &Kind::ALL[..Kind::DRAWN], 500, self.span_ms() * 3 / 2);
    }

    /// What goes wrong in it: of these kinds, each at a moment between these two.
    pub(crate) fn draw_faults(&mut self, dice: &mut Dice, kinds: &[Kind], from_ms: u64, until_ms: u64) {
        for _ in 0..dice.between(1, 6) {
            let kind = kinds[dice.index(kinds.len())];
            if let Some(rate) = kind.rate(dice) {
                self.rates.push((kind, rate));
                continue;
            }
            for _ in 0..dice.between(1, 3) {
                let at = dice.between(from_ms, until_ms);
                let host = dice.index(self.hosts.len());
                self.faults.push((at, Fault::draw(kind, host, dice)));
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
        let ends = self.faults.iter().map(|(at, fault)| at + fault.lasts_ms());
        self.calm_ms = ends.chain([self.calm_ms, self.span_ms() * 3 / 2]).max().unwrap_or(0);
    }

    /// About how long the plans take when nothing goes wrong.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        let of_wave = |wave: &WaveSpec, each_ms: u64| wave.hosts.len() as u64 * (each_ms + wave.soak_ms);
        let of_stage = |stage: &StageSpec| {
            let each_ms = if stage.drain.is_some() { 12_000 } else { 4000 };
            stage.waves.iter().map(|wave| of_wave(wave, each_ms)).sum::<u64>()
        };
        let of_plan = |plan: &PlanSpec| plan.at_ms + plan.stages.iter().map(of_stage).sum::<u64>();
        self.plans.iter().map(of_plan).max().unwrap_or(0).max(10_000)
    }
}

fn hosts(dice: &mut Dice) -> Vec<HostSpec> {
    let zones = ["a", "b", "c"];
    let zoned = dice.chance(400);
    let etcd = if dice.chance(450) { [1, 2, 3, 3, 3, 5, 5][dice.index(7)] } else { 0 };
    let services = match dice.below(100) {
        _ if etcd > 0 && dice.chance(600) => 0,
        0..60 => dice.between(1, 5),
        60..90 => dice.between(4, 12),
        90..99 => dice.between(10, 25),
        _ => 50,
    };
    let bare = if services + etcd == 0 || dice.chance(120) { dice.between(1, 4) } else { 0 };
    let mut hosts = Vec::new();
    let groups = [(Role::Etcd, "ctl", etcd), (Role::Service, "svc", services), (Role::Bare, "box", bare)];
    for (role, name, count) in groups {
        for i in 0..count {
            let zone = zones[usize::try_from(i).unwrap_or(0) % zones.len()].to_string();
            // A label is forgotten now and then: whose domain is not known may be in any.
            let zone = (zoned && !dice.chance(30)).then_some(zone);
            hosts.push(HostSpec { name: format!("{name}-{}", i + 1), role, zone, runs: None });
        }
    }
    hosts
}

fn plans(dice: &mut Dice, hosts: &[HostSpec]) -> Vec<PlanSpec> {
    let by_zone = hosts.iter().any(|host| host.zone.is_some());
    let budget = if dice.chance(250) { 2 } else { 1 };
    let first = plan(dice, hosts, 1, budget, by_zone);
    let mut plans = vec![first];
    if dice.chance(250) {
        // Over some of the same nodes, or over others at the same time.
        let at_ms = dice.between(1000, 120_000);
        let hop = if dice.chance(500) { 2 } else { 1 };
        let some: Vec<HostSpec> = hosts.iter().filter(|_| dice.chance(600)).cloned().collect();
        let over = if some.is_empty() { hosts } else { &some };
        plans.push(PlanSpec { at_ms, ..plan(dice, over, hop, budget, by_zone) });
    }
    plans
}

fn plan(dice: &mut Dice, hosts: &[HostSpec], hop: usize, budget: u32, by_zone: bool) -> PlanSpec {
    let mut stages = Vec::new();
    for role in [Role::Etcd, Role::Service, Role::Bare] {
        let names: Vec<String> =
            hosts.iter().filter(|host| host.role == role).map(|host| host.name.clone()).collect();
        if names.is_empty() {
            continue;
        }
        let quality = match dice.below(100) {
            _ if role == Role::Bare => Quality::Good,
            0..72 => Quality::Good,
            72..79 => Quality::DoesNotStart,
            79..86 => Quality::Crashes(dice.between(50, 20_000)),
            86..93 => Quality::Unwell,
            _ => Quality::SaysAnother,
        };
        let to = match role {
            Role::Etcd => ETCD_VERSIONS[hop],
            Role::Service | Role::Bare => SERVICE_VERSIONS[hop],
        };
        let outage = role == Role::Etcd && names.len() <= 2;
        let waves = waves(dice, names, role, budget);
        stages.push(StageSpec {
            role,
            to,
            quality,
            waves,
            rollback: dice.chance(750),
            outage,
            downgrade: dice.chance(100),
            drain: None,
        });
    }
    PlanSpec { at_ms: dice.between(500, 5000), stages, budget, by_zone }
}

fn waves(dice: &mut Dice, mut names: Vec<String>, role: Role, budget: u32) -> Vec<WaveSpec> {
    let soak = |dice: &mut Dice| [0, 0, 1000, 10_000, 60_000][dice.index(5)];
    let several = role == Role::Service && budget > 1 && dice.chance(500);
    let concurrency = if several { budget } else { 1 };
    let mut waves = Vec::new();
    if names.len() > 2 && dice.chance(300) {
        let canary = vec![names.remove(0)];
        waves.push(WaveSpec { hosts: canary, soak_ms: soak(dice), concurrency: 1, approval: false });
    }
    let approval = dice.chance(80);
    waves.push(WaveSpec { hosts: names, soak_ms: soak(dice), concurrency, approval });
    waves
}
