//! Waves in parts, several nodes at once, windows: what the plan makes of them and what it says.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::Millis;

use super::{super::*, fixture::*};
use crate::{
    inventory::Role,
    plan_file::{ApprovalBy, ApprovalSpec, Count, Day, TimeOfDay},
    recipe::UnitCheck,
};

/// 2026-11-28, a Saturday, at noon.
const NOON_MS: u64 = 1_795_824_000_000 + 12 * 3_600_000;

fn names(wave: &PlanWave) -> Vec<&str> {
    wave.nodes.iter().map(|node| node.name.as_str()).collect()
}

fn split(sizes: &[Count]) -> Bundle {
    let mut bundle = usual();
    bundle.plan.spec.stages[0].waves[0].split = sizes.to_vec();
    bundle
}

fn window(from: &str, to: &str) -> WindowSpec {
    let time = |text| TimeOfDay::parse(text).unwrap();
    WindowSpec { days: vec![Day::Sat], from: time(from), to: time(to), time_zone: "UTC".to_string() }
}

#[test]
fn a_wave_in_parts_is_several_waves_and_the_leader_is_in_the_last() {
    let (plan, _) = plan(&split(&[Count::Nodes(1), Count::Percent(50)]), &inventory(6)).unwrap();
    let waves = &plan.stages[0].waves;
    let found: Vec<_> = waves.iter().map(|wave| (wave.name.as_str(), names(wave))).collect();
    assert_eq!(
        found,
        [
            ("members-1", vec!["ctl-2"]),
            ("members-2", vec!["ctl-3", "ctl-4", "ctl-5"]),
            ("members-3", vec!["ctl-6", "ctl-1"]),
        ]
    );
    assert!(waves.iter().all(|wave| wave.part_of == Some(label("members"))));
}

#[test]
fn one_part_is_the_wave_itself() {
    let (plan, _) = plan(&split(&[Count::Percent(100)]), &inventory(3)).unwrap();
    let waves = &plan.stages[0].waves;
    assert_eq!((waves.len(), waves[0].name.as_str(), &waves[0].part_of), (1, "members", &None));
}

#[test]
fn a_share_is_of_all_the_nodes_also_where_they_come_in_parts() {
    let mut bundle = split(&[Count::Nodes(1)]);
    bundle.plan.spec.stages[0].waves[0].concurrency = Count::Percent(50);
    let (plan, _) = plan(&bundle, &inventory(6)).unwrap();
    assert!(plan.stages[0].waves.iter().all(|wave| wave.concurrency == 3));
}

#[test]
fn who_leads_moves_no_digest_and_the_sizes_of_the_parts_do() {
    let digest = |bundle: &Bundle, leader: &str| {
        let mut fleet = inventory(4);
        for (node, known) in &mut fleet.nodes {
            let role = if node.as_str() == leader { Role::Leader } else { Role::Follower };
            known.seen.insert(label("etcd"), seen_old(role));
        }
        plan(bundle, &fleet).unwrap().0.digest
    };
    let one = split(&[Count::Nodes(1)]);
    assert_eq!(digest(&one, "ctl-1"), digest(&one, "ctl-3"));
    assert_ne!(digest(&one, "ctl-1"), digest(&split(&[Count::Nodes(2)]), "ctl-1"));
    assert_ne!(digest(&one, "ctl-1"), digest(&usual(), "ctl-1"));
}

#[test]
fn a_part_that_has_the_name_of_another_wave_is_an_error() {
    let mut bundle = split(&[Count::Nodes(1)]);
    bundle.plan.spec.stages[0].waves[0].nodes = named(&["ctl-1", "ctl-2"]);
    bundle.plan.spec.stages[0].waves.push(wave("members-2", named(&["ctl-3"])));
    let error = plan(&bundle, &inventory(3)).unwrap_err().to_string();
    assert!(error.contains("two waves are called members-2"), "{error}");
}

#[test]
fn each_node_has_its_failure_domain_and_none_where_it_has_no_label() {
    let mut fleet = inventory(2);
    fleet.nodes.get_mut(&name("ctl-1")).unwrap().labels.insert(label("zone"), label("a"));
    let mut bundle = usual();
    bundle.plan.spec.budget.domain_label = Some(label("zone"));
    let (plan, _) = plan(&bundle, &fleet).unwrap();
    let domain = |of: &str| plan.stages[0].node(&name(of)).unwrap().domain.clone();
    assert_eq!((domain("ctl-1"), domain("ctl-2")), (Some(label("a")), None));
}

#[test]
fn more_at_once_than_the_budget_lets_is_warned_of() {
    let mut bundle = usual();
    bundle.plan.spec.stages[0].waves[0].concurrency = Count::Nodes(3);
    let (_, report) = plan(&bundle, &inventory(3)).unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert_eq!(
        report.warnings[0].what,
        "wave etcd/members asks for 3 at a time, and the budget lets 1: it is never exceeded"
    );
    assert!(report.stages[0].waves[0].manner.starts_with("up to 3 at a time, followers first, soak 10s"));
    bundle.plan.spec.budget.per_failure_domain = 3;
    assert!(plan(&bundle, &inventory(3)).unwrap().1.warnings.is_empty());
}

#[test]
fn as_many_can_be_out_at_once_as_their_domains_let() {
    let at_once = |zones: &[Option<&str>], budget: u32, concurrency: u32| {
        let mut fleet = inventory(zones.len());
        for (node, zone) in fleet.nodes.values_mut().zip(zones) {
            node.labels.extend(zone.map(|zone| (label("zone"), label(zone))));
        }
        let mut bundle = usual();
        bundle.plan.spec.budget =
            BudgetSpec { per_failure_domain: budget, domain_label: Some(label("zone")) };
        bundle.plan.spec.stages[0].waves[0].concurrency = Count::Nodes(concurrency);
        let (plan, _) = plan(&bundle, &fleet).unwrap();
        plan.at_once(&plan.stages[0].waves[0])
    };
    assert_eq!(at_once(&[Some("a"), Some("a"), Some("b")], 1, 9), 2);
    assert_eq!(at_once(&[Some("a"), Some("a"), Some("b")], 2, 9), 3);
    assert_eq!(at_once(&[Some("a"), Some("b"), Some("c")], 1, 2), 2);
    assert_eq!(at_once(&[Some("a"), None, Some("c")], 1, 9), 1);
}

#[test]
fn nodes_that_go_together_are_foreseen_to_take_less() {
    let mut bundle = usual();
    bundle.plan.spec.budget.per_failure_domain = 2;
    bundle.plan.spec.stages[0].waves[0].concurrency = Count::Nodes(2);
    let mut fleet = inventory(5);
    fleet.durations.insert(label("etcd"), (30_000, 4));
    let estimate = plan(&bundle, &fleet).unwrap().1.estimate.unwrap();
    assert_eq!((estimate.total_ms, estimate.per_node_ms), (90_000, 30_000));
}

#[test]
fn the_window_is_told_as_it_stands() {
    let line = |wall_ms: u64| {
        let mut bundle = usual();
        bundle.plan.spec.window = Some(window("22:00", "04:00"));
        let fleet = Inventory { wall_ms, ..inventory(3) };
        plan(&bundle, &fleet).unwrap().1.window.unwrap()
    };
    assert_eq!(line(NOON_MS), "sat 22:00 to 04:00 (UTC); opens sat 2026-11-28 22:00");
    assert_eq!(line(NOON_MS + 11 * 3_600_000), "sat 22:00 to 04:00 (UTC); open until sun 2026-11-29 04:00");
    assert_eq!(plan(&usual(), &inventory(3)).unwrap().1.window, None);
}

#[test]
fn a_window_that_is_shorter_than_a_node_takes_is_a_blocker() {
    let mut bundle = usual();
    bundle.plan.spec.window = Some(window("12:00", "12:30"));
    let mut fleet = inventory(3);
    let what = |bundle: &Bundle, fleet: &Inventory| {
        plan(bundle, fleet).unwrap().1.blockers.iter().map(|found| found.what.clone()).collect::<Vec<_>>()
    };
    // Nothing was measured: apply 10m, return 5m, snapshot 30m, soak 10s.
    let unmeasured = what(&bundle, &fleet);
    assert!(
        unmeasured.len() == 1 && unmeasured[0].contains("45m10s (by the recipe's deadlines"),
        "{unmeasured:?}"
    );
    fleet.durations.insert(label("etcd"), (60_000, 3));
    assert_eq!(what(&bundle, &fleet), Vec::<alloc::string::String>::new());
    // What was measured had a shorter soak.
    bundle.plan.spec.stages[0].waves[0].soak = Millis::secs(3600);
    assert!(what(&bundle, &fleet)[0].contains("is foreseen to take 1h (as earlier ones did)"));
}

#[test]
fn a_zone_that_is_not_known_is_an_error_whoever_sent_the_bundle() {
    let mut bundle = usual();
    bundle.plan.spec.window =
        Some(WindowSpec { time_zone: "Mars/Base".to_string(), ..window("22:00", "04:00") });
    assert!(plan(&bundle, &inventory(3)).unwrap_err().to_string().contains("Mars/Base"));
}

#[test]
fn approvals_and_checks_of_the_soak_stand_in_the_manner() {
    let mut bundle = usual();
    let wave = &mut bundle.plan.spec.stages[0].waves[0];
    wave.approval = Some(ApprovalSpec { by: ApprovalBy::SomebodyElse, within: Millis::secs(7200) });
    let unit = drydock_types::UnitName::parse("kubelet.service").unwrap();
    wave.soak_checks = vec![Check::Unit(UnitCheck { unit })];
    let (_, report) = plan(&bundle, &inventory(3)).unwrap();
    let manner = &report.stages[0].waves[0].manner;
    assert!(manner.contains("watched meanwhile: unit"), "{manner}");
    assert!(
        manner.contains("begins when an operator who did not start the run approves it, within 2h"),
        "{manner}"
    );
}

#[test]
fn an_outage_that_is_accepted_is_said_with_its_length_and_one_of_no_length_is_none() {
    let mut bundle = usual();
    let outage = &mut bundle.plan.spec.stages[0].outage;
    outage.insert("etcd".to_string(), Millis::secs(300));
    outage.insert("controlPlane".to_string(), Millis::secs(600));
    let (plan_made, view) = plan(&bundle, &inventory(1)).unwrap();
    let manner = &view.stages[0].waves[0].manner;
    assert!(manner.contains("etcd may be out for 5m at each node, then the run holds"), "{manner}");
    assert_eq!(plan_made.stages[0].accepted_outage(), Some(("etcd", Millis::secs(300))));
    bundle.plan.spec.stages[0].outage.insert("controlPlane".to_string(), Millis(0));
    assert!(
        matches!(plan(&bundle, &inventory(1)), Err(PlanError::Bundle(why)) if why.contains("controlPlane"))
    );
}

#[test]
fn names_with_a_slash_are_refused_for_commands_name_a_wave_by_both() {
    let mut stage_named = usual();
    stage_named.plan.spec.stages[0].name = label("etcd/a");
    stage_named.stages[0].stage = label("etcd/a");
    let mut wave_named = usual();
    wave_named.plan.spec.stages[0].waves[0].name = label("members/a");
    for bundle in [stage_named, wave_named] {
        assert!(matches!(plan(&bundle, &inventory(2)), Err(PlanError::Bundle(why)) if why.contains("slash")));
    }
}

#[test]
fn a_place_to_look_from_has_to_be_there_and_to_be_another() {
    let from = |node: &str| {
        let probe = drydock_types::step::HealthProbe::Tcp { address: "10.0.0.1:2379".to_string() };
        let from = Some(crate::recipe::Vantage::Node(name(node)));
        let mut bundle = usual();
        bundle.plan.spec.stages[0].waves[0].nodes = named(&["ctl-1", "ctl-2"]);
        bundle.stages[0].recipe.spec.returned.push(Check::Health(crate::recipe::HealthCheck { probe, from }));
        let (_, view) = plan(&bundle, &inventory(3)).unwrap();
        view.blockers.into_iter().map(|blocker| blocker.what).collect::<Vec<_>>()
    };
    assert_eq!(from("ctl-3"), Vec::<alloc::string::String>::new());
    assert_eq!(from("ctl-9"), ["stage etcd looks from node ctl-9, and there is none"]);
    assert_eq!(from("ctl-2"), ["it is looked at from itself: no second source"]);
}
