//! Stories that are aimed. What protects a fleet stands in several places, one behind the other, and chance alone
//! hardly ever brings together what only the last of them stops: every fifth seed draws its fleet, its plans and its
//! faults so that one such thing is likely. The others are drawn from everything.

use crate::{
    dice::Dice,
    faults::{Fault, Kind},
    scenario::{
        ETCD_VERSIONS, HostSpec, PlanSpec, Quality, Role, SERVICE_VERSIONS, Scenario, StageSpec, WaveSpec,
    },
};

/// What a story is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Several runs at once, each over nodes of its own, in the same failure domains.
    Beside,
    /// Waves that want more at once than the budget lets out.
    Greedy,
    /// A machine that no plan names is away for minutes.
    Silent,
    /// Members of one cluster, each in a failure domain of its own, stand at their gates together.
    Together,
    /// The cluster is not well when a member is to leave it.
    Cluster,
    /// One or two members, and a plan that does not accept their outage.
    Unaccepted,
    /// Right after an agent has begun a change it loses its journal, and the coordinator dies.
    Memory,
    /// Agents die between an effect and its record, and somebody changes what it was before they are back.
    MidStep,
    /// Artifacts vanish from agents' stores.
    Stores,
    /// Agents' disks stand still for seconds.
    Stalls,
    /// Answers to looks stand in the coordinator's queue.
    LateLooks,
    /// Other builds of the same version: from the beginning, and put there by others.
    Builds,
    /// Releases that fail, and actions that say they were taken back.
    Liars,
    /// Runs that are paused while much of them is at work.
    Pauses,
    /// Something that never becomes clear.
    Never,
}

/// What goes wrong in a third of all aimed stories beside what they are aimed at.
const ALSO: [Kind; 5] = [
    Kind::JournalLostMidway,
    Kind::AgentKilledMidStep,
    Kind::ArtifactLost,
    Kind::JournalStalls,
    Kind::LookLate,
];
/// One seed of so many is aimed.
const ONE_OF: u64 = 5;

impl Aim {
    /// Two of them twice: what they bring about takes more than one chance.
    const ALL: [Self; 17] = [
        Self::Beside,
        Self::Greedy,
        Self::Silent,
        Self::Together,
        Self::Cluster,
        Self::Unaccepted,
        Self::Memory,
        Self::MidStep,
        Self::MidStep,
        Self::Stores,
        Self::Stores,
        Self::Stalls,
        Self::LateLooks,
        Self::Builds,
        Self::Liars,
        Self::Pauses,
        Self::Never,
    ];

    /// What this seed's story is aimed at, if at anything.
    #[must_use]
    pub fn of(seed: u64) -> Option<Self> {
        let at = usize::try_from(seed / ONE_OF).unwrap_or(0) % Self::ALL.len();
        (seed % ONE_OF == ONE_OF - 1).then_some(Self::ALL[at])
    }

    /// The story's fleet, plans and faults; the usual faults may come on top of them.
    #[must_use]
    pub fn draw(self, dice: &mut Dice) -> Scenario {
        let mut scenario = match self {
            Self::Beside => beside(dice),
            Self::Greedy => greedy(dice),
            Self::Silent => silent(dice),
            Self::Together => together(dice),
            Self::Cluster => cluster(dice),
            Self::Unaccepted => unaccepted(dice),
            Self::Memory => with_rate(dice, Kind::JournalLostMidway, 400, 900),
            Self::MidStep => with_rate(dice, Kind::AgentKilledMidStep, 300, 700),
            Self::Stores => with_rate(dice, Kind::ArtifactLost, 200, 600),
            Self::Stalls => with_rate(dice, Kind::JournalStalls, 200, 500),
            Self::LateLooks => with_rate(dice, Kind::LookLate, 200, 600),
            Self::Builds => builds(dice),
            Self::Liars => liars(dice),
            Self::Pauses => pauses(dice),
            Self::Never => never(dice),
        };
        if dice.chance(350) {
            let kind = ALSO[dice.index(ALSO.len())];
            scenario.rates.push((kind, u32::try_from(dice.between(50, 400)).unwrap_or(50)));
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        let ends = scenario.faults.iter().map(|(at, fault)| at + fault.lasts_ms());
        scenario.calm_ms = ends.chain([scenario.calm_ms, scenario.span_ms() * 3 / 2]).max().unwrap_or(0);
        scenario
    }
}

// ---- parts -------------------------------------------------------------------------------------------------------

fn hosts(role: Role, count: u64, zones: &[&str]) -> Vec<HostSpec> {
    let name = if role == Role::Etcd { "ctl" } else { "svc" };
    let zone = |i: u64| zones.get(usize::try_from(i).unwrap_or(0) % zones.len().max(1));
    let host = |i: u64| HostSpec {
        name: format!("{name}-{}", i + 1),
        role,
        zone: zone(i).map(ToString::to_string),
        runs: None,
    };
    (0..count).map(host).collect()
}

fn plan(at_ms: u64, hosts: &[HostSpec], soak_ms: u64, concurrency: u32) -> PlanSpec {
    let role = hosts.first().map_or(Role::Service, |host| host.role);
    let wave = WaveSpec {
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        soak_ms,
        concurrency,
        approval: false,
    };
    let to = if role == Role::Etcd { ETCD_VERSIONS[1] } else { SERVICE_VERSIONS[1] };
    let stage = StageSpec {
        role,
        to,
        quality: Quality::Good,
        waves: vec![wave],
        rollback: true,
        outage: role == Role::Etcd && hosts.len() <= 2,
        downgrade: false,
        drain: None,
    };
    let by_zone = hosts.iter().any(|host| host.zone.is_some());
    PlanSpec { at_ms, stages: vec![stage], budget: 1, by_zone }
}

const fn story(hosts: Vec<HostSpec>, plans: Vec<PlanSpec>) -> Scenario {
    Scenario { hosts, plans, faults: Vec::new(), rates: Vec::new(), calm_ms: 0, cluster: None }
}

/// Zones, some of them shared; or none.
fn some_zones(dice: &mut Dice) -> &'static [&'static str] {
    [&[][..], &["a"], &["a", "b"], &["a", "b", "c"]][dice.index(4)]
}

fn a_soak(dice: &mut Dice) -> u64 {
    [0, 1000, 10_000][dice.index(3)]
}

/// Mostly good.
fn a_quality(dice: &mut Dice) -> Quality {
    match dice.below(10) {
        0 => Quality::DoesNotStart,
        1 => Quality::Unwell,
        2 => Quality::Crashes(dice.between(50, 20_000)),
        3 => Quality::SaysAnother,
        _ => Quality::Good,
    }
}

impl Scenario {
    fn fault(&mut self, at_ms: u64, kind: Kind, host: usize, for_ms: u64, dice: &mut Dice) {
        self.faults.push((at_ms, Fault { kind, host, for_ms, chance: dice.draw() }));
    }
}

// ---- stories -----------------------------------------------------------------------------------------------------

fn beside(dice: &mut Dice) -> Scenario {
    let all = hosts(Role::Service, dice.between(4, 10), some_zones(dice));
    let parts = if all.len() > 5 && dice.chance(400) { 3 } else { 2 };
    let mut plans = Vec::new();
    for part in 0..parts {
        let mine: Vec<HostSpec> = all.iter().skip(part).step_by(parts).cloned().collect();
        plans.push(plan(dice.between(500, 6000), &mine, a_soak(dice), 1));
    }
    if dice.chance(200) {
        plans[0].stages[0].quality = a_quality(dice);
    }
    story(all, plans)
}

fn greedy(dice: &mut Dice) -> Scenario {
    let all = hosts(Role::Service, dice.between(3, 9), some_zones(dice));
    let concurrency = u32::try_from(dice.between(2, 5)).unwrap_or(2);
    let mut plan = plan(dice.between(500, 3000), &all, a_soak(dice), concurrency);
    plan.budget = u32::try_from(dice.between(1, 2)).unwrap_or(1);
    story(all, vec![plan])
}

fn silent(dice: &mut Dice) -> Scenario {
    let zones = if dice.chance(500) { &["a"][..] } else { &[] };
    let all = hosts(Role::Service, dice.between(4, 7), zones);
    let (away, named) = (all.len() - 1, all.len() - 1);
    let plan = plan(dice.between(1000, 5000), &all[..named], 60_000, 1);
    let mut scenario = story(all, vec![plan]);
    let kind = if dice.chance(700) { Kind::PowerLost } else { Kind::PartitionBoth };
    let (at_ms, for_ms) = (dice.between(800, 40_000), dice.between(170_000, 600_000));
    scenario.fault(at_ms, kind, away, for_ms, dice);
    scenario
}

fn together(dice: &mut Dice) -> Scenario {
    let members = if dice.chance(800) { 3 } else { 5 };
    let all = hosts(Role::Etcd, members, &["a", "b", "c", "d", "e"]);
    let at_once = u32::try_from(dice.between(2, members)).unwrap_or(2);
    let plan = plan(dice.between(500, 3000), &all, a_soak(dice), at_once);
    story(all, vec![plan])
}

fn cluster(dice: &mut Dice) -> Scenario {
    let all = hosts(Role::Etcd, [3, 3, 5][dice.index(3)], &[]);
    let members = all.len();
    let plan = plan(dice.between(500, 3000), &all, a_soak(dice), 1);
    let mut scenario = story(all, vec![plan]);
    for _ in 0..dice.between(1, 3) {
        let at_ms = dice.between(1500, 20_000);
        let (host, for_ms) = (dice.index(members), dice.between(5000, 300_000));
        let kind = [Kind::StoppedByOthers, Kind::CheckNeverClear, Kind::PowerLost][dice.index(3)];
        scenario.fault(at_ms, kind, host, for_ms, dice);
    }
    scenario
}

fn unaccepted(dice: &mut Dice) -> Scenario {
    let all = hosts(Role::Etcd, dice.between(1, 2), &[]);
    let mut plan = plan(dice.between(500, 3000), &all, a_soak(dice), 1);
    plan.stages[0].outage = false;
    story(all, vec![plan])
}

fn with_rate(dice: &mut Dice, kind: Kind, low: u64, high: u64) -> Scenario {
    let role = if dice.chance(300) { Role::Etcd } else { Role::Service };
    let count = if role == Role::Etcd { 3 } else { dice.between(1, 5) };
    let all = hosts(role, count, &[]);
    let mut plan = plan(dice.between(500, 3000), &all, a_soak(dice), 1);
    plan.stages[0].quality = a_quality(dice);
    let mut scenario = story(all, vec![plan]);
    scenario.rates.push((kind, u32::try_from(dice.between(low, high)).unwrap_or(0)));
    scenario
}

fn builds(dice: &mut Dice) -> Scenario {
    let mut all = hosts(Role::Service, dice.between(2, 6), &[]);
    for host in &mut all {
        host.runs = dice.chance(350).then_some((SERVICE_VERSIONS[1], Quality::Rebuilt));
    }
    let soak_ms = [10_000, 60_000][dice.index(2)];
    let plan = plan(dice.between(500, 3000), &all, soak_ms, 1);
    let (count, span_ms) = (all.len(), soak_ms * all.len() as u64);
    let mut scenario = story(all, vec![plan]);
    for _ in 0..dice.between(1, 6) {
        let (at_ms, host) = (dice.between(2000, span_ms + 10_000), dice.index(count));
        scenario.fault(at_ms, Kind::RebuiltByOthers, host, 0, dice);
    }
    scenario
}

fn liars(dice: &mut Dice) -> Scenario {
    let role = if dice.chance(300) { Role::Etcd } else { Role::Service };
    let all = hosts(role, if role == Role::Etcd { 3 } else { dice.between(2, 5) }, &[]);
    let mut plan = plan(dice.between(500, 3000), &all, a_soak(dice), 1);
    plan.stages[0].quality = match dice.below(4) {
        0 => Quality::DoesNotStart,
        1 => Quality::Unwell,
        2 => Quality::Crashes(dice.between(50, 5000)),
        _ => Quality::SaysAnother,
    };
    let mut scenario = story(all, vec![plan]);
    scenario.rates.push((Kind::ActionLies, u32::try_from(dice.between(150, 500)).unwrap_or(150)));
    scenario
}

fn pauses(dice: &mut Dice) -> Scenario {
    let all = hosts(Role::Service, dice.between(4, 9), some_zones(dice));
    let plan =
        plan(dice.between(500, 2000), &all, a_soak(dice), u32::try_from(dice.between(1, 3)).unwrap_or(1));
    let mut scenario = story(all, vec![plan]);
    for _ in 0..dice.between(1, 4) {
        let (at_ms, for_ms) = (dice.between(1500, 40_000), dice.between(5000, 60_000));
        scenario.fault(at_ms, Kind::OperatorPauses, 0, for_ms, dice);
    }
    scenario
}

fn never(dice: &mut Dice) -> Scenario {
    let role = if dice.chance(300) { Role::Etcd } else { Role::Service };
    let all = hosts(role, if role == Role::Etcd { 3 } else { dice.between(1, 4) }, &[]);
    let count = all.len();
    let mut plan = plan(dice.between(500, 3000), &all, a_soak(dice), 1);
    plan.stages[0].quality = a_quality(dice);
    let mut scenario = story(all, vec![plan]);
    let kind =
        [Kind::CheckNeverClear, Kind::PartitionUp, Kind::PartitionDown, Kind::PowerLost][dice.index(4)];
    let (at_ms, host) = (dice.between(1500, 15_000), dice.index(count));
    scenario.fault(at_ms, kind, host, dice.between(2_000_000, 4_000_000), dice);
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aim_has_its_seeds_among_the_ordinary_ones() {
        let seeds = |aim: Aim| (1..=2000).filter(|seed| Aim::of(*seed) == Some(aim)).count();
        for aim in Aim::ALL {
            assert!(seeds(aim) >= 20, "{aim:?} has {} of 2,000 seeds", seeds(aim));
        }
        assert_eq!((1..=2000).filter(|seed| Aim::of(*seed).is_some()).count(), 400);
    }

    #[test]
    fn an_aimed_story_is_drawn_the_same_each_time() {
        for seed in (4..200).step_by(5) {
            let draw = || Aim::of(seed).map(|aim| format!("{:?}", aim.draw(&mut Dice::new(seed, "aim"))));
            assert!(draw().is_some());
            assert_eq!(draw(), draw(), "seed {seed}");
        }
    }
}
