//! Which seeds have a cluster, and what such a story is about.

use super::{ClusterSpec, DrainSpec, WorkloadSpec};
use crate::{
    Options,
    dice::Dice,
    faults::Kind,
    scenario::{
        ETCD_VERSIONS, HostSpec, PlanSpec, Quality, Role, SERVICE_VERSIONS, Scenario, StageSpec, WaveSpec,
    },
};

/// What goes wrong in a cluster, or is done there by others; the later ones at random with each request.
const TROUBLES: &[Kind] = &[
    Kind::NodeCordoned,
    Kind::NodeUncordoned,
    Kind::NodeUncordoned,
    Kind::KuredLocks,
    Kind::KuredLocks,
    Kind::AutoscalerTaints,
    Kind::NodeAnew,
    Kind::BudgetBlocks,
    Kind::PodLands,
    Kind::PodLands,
    Kind::PodStays,
    Kind::NoControllers,
    Kind::ApiDown,
    Kind::WatchesBreak,
    Kind::CoordinatorKilledDraining,
    Kind::CoordinatorKilledDraining,
    Kind::OperatorAborts,
    Kind::OperatorAborts,
    Kind::OperatorPauses,
    Kind::OperatorSkips,
    Kind::PowerLost,
    Kind::ApiSilent,
    Kind::ApiAnswerLost,
    Kind::ApiAnswerLost,
    Kind::ApiAnswerLost,
    Kind::ApiAnswerLost,
    Kind::ApiThrottles,
    Kind::ApiOvertakes,
    Kind::ApiOvertakes,
    Kind::ApiOvertakes,
    Kind::ApiFails,
    Kind::ApiSlow,
];

/// One seed of four has a cluster: of twenty those five that are no aimed ones, and that nothing was ever found with
/// before there were clusters. So the others' stories are what they were.
#[must_use]
pub const fn has_cluster(seed: u64) -> bool {
    matches!(seed % 20, 6 | 8 | 10 | 15 | 17)
}

/// The story of a seed that has a cluster.
#[must_use]
pub fn draw(seed: u64, options: &Options) -> Scenario {
    let mut dice = Dice::new(seed, "cluster");
    let dice = &mut dice;
    let hosts = hosts(dice);
    let plans = plans(dice, &hosts);
    let cluster = Some(cluster(dice, &hosts));
    let mut scenario = Scenario { hosts, plans, faults: Vec::new(), rates: Vec::new(), calm_ms: 0, cluster };
    if !options.faults || dice.chance(40) {
        return scenario;
    }
    if dice.chance(450) {
        scenario.draw_usual_faults(seed);
    }
    scenario.draw_faults(dice, TROUBLES, 1500, scenario.span_ms());
    scenario
}

fn hosts(dice: &mut Dice) -> Vec<HostSpec> {
    let zones: &[&str] = [&[][..], &[], &["a", "b"], &["a", "b", "c"]][dice.index(4)];
    let (role, name, count) = match dice.below(10) {
        0 | 1 => (Role::Etcd, "ctl", 3),
        2..5 => (Role::Bare, "box", dice.between(1, 4)),
        _ => (Role::Service, "svc", dice.between(1, 5)),
    };
    let host = |i: u64| HostSpec {
        name: format!("{name}-{}", i + 1),
        role,
        zone: zones.get(usize::try_from(i).unwrap_or(0) % zones.len().max(1)).map(ToString::to_string),
        runs: None,
    };
    (0..count).map(host).collect()
}

fn plans(dice: &mut Dice, hosts: &[HostSpec]) -> Vec<PlanSpec> {
    let budget = if dice.chance(250) { 2 } else { 1 };
    let by_zone = hosts.iter().any(|host| host.zone.is_some());
    if hosts.len() > 1 && dice.chance(150) {
        // Two runs at once over different nodes, which have only the budget in common.
        let (mine, others) =
            hosts.split_at(usize::try_from(dice.between(1, hosts.len() as u64 - 1)).unwrap_or(1));
        let at_ms = dice.between(4000, 30_000);
        let other = PlanSpec { at_ms, ..plan(dice, others, 1, budget, by_zone) };
        return vec![plan(dice, mine, 1, budget, by_zone), other];
    }
    let mut plans = vec![plan(dice, hosts, 1, budget, by_zone)];
    if dice.chance(300) {
        let at_ms = dice.between(1000, 90_000);
        let hop = if dice.chance(500) { 2 } else { 1 };
        let some: Vec<HostSpec> = hosts.iter().filter(|_| dice.chance(600)).cloned().collect();
        let over = if some.is_empty() { hosts } else { &some };
        plans.push(PlanSpec { at_ms, ..plan(dice, over, hop, budget, by_zone) });
    }
    plans
}

fn plan(dice: &mut Dice, hosts: &[HostSpec], hop: usize, budget: u32, by_zone: bool) -> PlanSpec {
    let role = hosts.first().map_or(Role::Service, |host| host.role);
    let quality = match dice.below(100) {
        _ if role == Role::Bare => Quality::Good,
        0..80 => Quality::Good,
        80..86 => Quality::DoesNotStart,
        86..92 => Quality::Crashes(dice.between(50, 20_000)),
        _ => Quality::Unwell,
    };
    let concurrency = if budget > 1 && role != Role::Etcd && dice.chance(600) { budget } else { 1 };
    let wave = WaveSpec {
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        soak_ms: [0, 0, 1000, 10_000][dice.index(4)],
        concurrency,
        approval: dice.chance(60),
    };
    let drain = DrainSpec {
        allows: dice.chance(700),
        waits: dice.chance(300),
        within_ms: dice.chance(250).then(|| dice.between(20_000, 120_000)),
    };
    let stage = StageSpec {
        role,
        to: if role == Role::Etcd { ETCD_VERSIONS[hop] } else { SERVICE_VERSIONS[hop] },
        quality,
        waves: vec![wave],
        rollback: dice.chance(750),
        outage: false,
        downgrade: false,
        drain: Some(drain),
    };
    PlanSpec { at_ms: dice.between(4000, 12_000), stages: vec![stage], budget, by_zone }
}

fn cluster(dice: &mut Dice, hosts: &[HostSpec]) -> ClusterSpec {
    let some = |dice: &mut Dice, permille: u32| {
        let drawn = dice.chance(permille);
        let host = hosts[dice.index(hosts.len())].name.clone();
        drawn.then_some(host)
    };
    let workload = |number: u64, dice: &mut Dice| WorkloadSpec {
        name: format!("app-{number}"),
        replicas: dice.between(1, 4),
        stable: dice.chance(250),
        may_miss: dice.chance(750).then(|| u64::from(!dice.chance(60))),
        scratch: dice.chance(150),
    };
    ClusterSpec {
        unbound: some(dice, 50).into_iter().collect(),
        spare: dice.between(1, 2),
        workloads: (1..=dice.between(1, 3)).map(|number| workload(number, dice)).collect(),
        bare: some(dice, 150),
        cordoned: some(dice, 150),
        kured: dice.chance(400),
    }
}
