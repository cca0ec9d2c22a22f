//! Tables for the planner.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{Millis, NodeName, Sha256};

use self::fixture::*;
use super::*;
use crate::{inventory::Role, view::FindingView};

pub(crate) mod fixture;
mod waves;

fn order(plan: &Plan) -> Vec<String> {
    let nodes = plan.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
    nodes.map(|node| node.name.to_string()).collect()
}

fn blockers(bundle: &Bundle, inventory: &Inventory) -> Vec<FindingView> {
    plan(bundle, inventory).unwrap().1.blockers
}

/// The one blocker that there must be, on that node.
fn blocker(bundle: &Bundle, inventory: &Inventory, on: &str) -> String {
    let found = blockers(bundle, inventory);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].node.as_ref().map(NodeName::as_str), Some(on));
    assert!(!found[0].next.is_empty(), "a blocker says what to do");
    found[0].what.clone()
}

fn change(inventory: &mut Inventory, on: &str, with: impl FnOnce(&mut crate::inventory::InventoryNode)) {
    with(inventory.nodes.get_mut(&name(on)).unwrap());
}

fn see(inventory: &mut Inventory, on: &str, seen: Seen) {
    change(inventory, on, |node| {
        node.seen.insert(label("etcd"), seen);
    });
}

fn digest_of(bundle: &Bundle, inventory: &Inventory) -> Sha256 {
    plan(bundle, inventory).unwrap().0.digest
}

#[test]
fn a_fleet_that_lacks_nothing_has_no_blocker_and_its_leader_goes_last() {
    let (plan, report) = plan(&usual(), &inventory(3)).unwrap();
    assert_eq!(report.blockers, []);
    assert_eq!(order(&plan), ["ctl-2", "ctl-3", "ctl-1"]);
    let notes: Vec<_> = report.stages[0].waves[0].nodes.iter().map(|node| node.note.as_str()).collect();
    assert_eq!(notes, ["follower", "follower", "leader now; leadership moves first"]);
    assert_eq!(
        report.stages[0].waves[0].manner,
        "one at a time, followers first, soak 10s, on failure: roll this node back, then hold"
    );
    assert!(
        report.stages[0].waves[0].nodes[0].sections.contains(&"gate: etcdQuorum, versionSkew".to_string())
    );
}

#[test]
fn a_listed_order_is_kept_whoever_leads() {
    let mut bundle = bundle(vec![stage("etcd", vec![wave("members", named(&["ctl-1", "ctl-3", "ctl-2"]))])]);
    bundle.plan.spec.stages[0].waves[0].order = Order::Listed;
    assert_eq!(order(&plan(&bundle, &inventory(3)).unwrap().0), ["ctl-1", "ctl-3", "ctl-2"]);
    bundle.plan.spec.stages[0].waves[0].order = Order::FollowersFirst;
    assert_eq!(order(&plan(&bundle, &inventory(3)).unwrap().0), ["ctl-3", "ctl-2", "ctl-1"]);
}

#[test]
fn named_nodes_come_before_labelled_ones_and_excluded_ones_not_at_all() {
    let mut selector = labelled();
    selector.names = vec![name("ctl-4")];
    selector.exclude = vec![name("ctl-2")];
    let bundle = bundle(vec![stage("etcd", vec![wave("members", selector)])]);
    assert_eq!(order(&plan(&bundle, &inventory(4)).unwrap().0), ["ctl-4", "ctl-3", "ctl-1"]);
}

#[test]
fn a_label_of_another_value_does_not_match() {
    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| {
        node.labels.insert(label("role"), label("worker"));
    });
    assert_eq!(order(&plan(&usual(), &fleet).unwrap().0), ["ctl-3", "ctl-1"]);
}

#[test]
fn an_unknown_node_is_refused_with_the_nearest_name() {
    for (written, meant) in
        [("ctl-9", "; did you mean ctl-1?"), ("ctl1", "; did you mean ctl-1?"), ("db-master", "")]
    {
        let bundle = bundle(vec![stage("etcd", vec![wave("members", named(&[written]))])]);
        let error = plan(&bundle, &inventory(3)).unwrap_err();
        assert!(
            matches!(&error, PlanError::UnknownNode { node, suggestion, .. } if node.as_str() == written && suggestion == meant),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_node_among_the_excluded_is_refused_too() {
    let mut selector = labelled();
    selector.exclude = vec![name("ctl-7")];
    let bundle = bundle(vec![stage("etcd", vec![wave("members", selector)])]);
    assert!(matches!(plan(&bundle, &inventory(3)), Err(PlanError::UnknownNode { .. })));
}

#[test]
fn a_selector_that_matches_nothing_is_an_error_that_quotes_it() {
    let mut fleet = inventory(2);
    for node in fleet.nodes.values_mut() {
        node.labels.clear();
    }
    let error = plan(&usual(), &fleet).unwrap_err();
    assert!(matches!(error, PlanError::MatchesNothing { nodes: 2, .. }));
    assert!(error.to_string().contains("role=etcd"), "{error}");
    assert!(matches!(plan(&usual(), &Inventory::default()), Err(PlanError::MatchesNothing { nodes: 0, .. })));
}

#[test]
fn a_node_in_two_waves_of_a_stage_is_refused_and_in_two_stages_is_not() {
    let (first, second) = (wave("canary", named(&["ctl-2"])), wave("rest", labelled()));
    let error = plan(&bundle(vec![stage("etcd", vec![first, second])]), &inventory(3)).unwrap_err();
    assert_eq!(
        error,
        PlanError::Twice {
            stage: label("etcd"),
            node: name("ctl-2"),
            first: label("canary"),
            second: label("rest")
        }
    );
    let twice = bundle(vec![stage("etcd", vec![wave("members", named(&["ctl-2", "ctl-2"]))])]);
    assert!(matches!(plan(&twice, &inventory(3)), Err(PlanError::Twice { .. })));
    let two = bundle(vec![
        stage("etcd", vec![wave("members", labelled())]),
        stage("other", vec![wave("members", labelled())]),
    ]);
    assert!(plan(&two, &inventory(3)).is_ok());
}

#[test]
fn stages_stand_in_the_order_of_their_needs_and_otherwise_as_written() {
    let mut stages: Vec<_> = ["c", "a", "b"].map(|of| stage(of, vec![wave("w", labelled())])).into();
    stages[0].needs = vec![label("b")];
    let (plan, _) = plan(&bundle(stages), &inventory(1)).unwrap();
    let names: Vec<_> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn needs_in_a_circle_or_of_nobody_are_refused_by_name() {
    let mut stages: Vec<_> = ["a", "b", "c"].map(|of| stage(of, vec![wave("w", labelled())])).into();
    stages[0].needs = vec![label("b")];
    stages[1].needs = vec![label("a")];
    assert_eq!(
        plan(&bundle(stages.clone()), &inventory(1)).unwrap_err(),
        PlanError::Needs("a, b".to_string())
    );
    stages[0].needs = vec![label("nobody")];
    stages[1].needs = Vec::new();
    assert_eq!(plan(&bundle(stages), &inventory(1)).unwrap_err(), PlanError::Needs("a".to_string()));
}

#[test]
fn a_bundle_whose_parts_do_not_belong_together_is_refused() {
    let good = usual();
    let mut bad = [good.clone(), good.clone(), good.clone(), good.clone(), good.clone()];
    bad[0].stages.clear();
    bad[1].stages[0].stage = label("other");
    bad[2].stages.push(good.stages[0].clone());
    bad[3].plan.spec.budget.per_failure_domain = 0;
    // Effect ids are told apart by the stage's name: two of one name would share their effects.
    bad[4].plan.spec.stages.push(good.plan.spec.stages[0].clone());
    bad[4].stages.push(good.stages[0].clone());
    assert!(plan(&good, &inventory(1)).is_ok());
    for (index, bundle) in bad.iter().enumerate() {
        let result = plan(bundle, &inventory(1));
        assert!(matches!(result, Err(PlanError::Bundle(_))), "{index}: {result:?}");
    }
}

#[test]
fn a_node_is_already_there_by_its_own_answer_and_the_digest_in_memory_and_by_neither_alone() {
    let seen = |answers: &str, exe: Option<Sha256>| Seen {
        version: Some(Ok(version(answers))),
        exe_sha256: exe,
        role: Some(Role::Follower),
        down: false,
    };
    let cases = [
        (seen(NEW, Some(new_exe())), true),
        (seen(NEW, Some(old_exe())), false),
        (seen(NEW, None), false),
        (seen(OLD, Some(new_exe())), false),
        (Seen { version: Some(Err("silent".to_string())), ..seen(NEW, Some(new_exe())) }, false),
    ];
    for (seen, already) in cases {
        let mut fleet = inventory(3);
        see(&mut fleet, "ctl-2", seen.clone());
        let (plan, report) = plan(&usual(), &fleet).unwrap();
        let skipped = plan.stages[0].waves[0].nodes.iter().any(|node| node.skip.is_some());
        assert_eq!(skipped, already, "{seen:?}");
        assert_eq!(report.skipped.len(), usize::from(already));
        assert_eq!(report.stages[0].waves[0].nodes.len(), if already { 2 } else { 3 });
    }
}

#[test]
fn without_an_artifact_the_answer_is_enough_and_without_a_version_source_the_digest_is() {
    let seen = Seen { version: Some(Ok(version(NEW))), exe_sha256: None, role: None, down: false };
    assert!(seen.is_already(&version(NEW), None));
    let seen = Seen { version: None, exe_sha256: Some(new_exe()), role: None, down: false };
    assert!(seen.is_already(&version(NEW), Some(new_exe())));
    assert!(!seen.is_already(&version(NEW), None), "nothing was seen, so nothing is known");
    assert!(!seen.is_already(&version(NEW), Some(old_exe())));
}

#[test]
fn versions_that_may_not_follow_each_other_are_blockers() {
    let answers = |text: &str| Seen { version: Some(Ok(version(text))), ..seen_old(Role::Follower) };
    for (runs, because) in [
        ("3.6.1", "do not go down"),
        ("3.5.17", "do not go down"),
        ("3.3.9", "leaves out 3.4"),
        ("2.3.8", "major"),
        ("3.5.16+vendor1", "do not go down"),
    ] {
        let mut fleet = inventory(3);
        see(&mut fleet, "ctl-3", answers(runs));
        let what = blocker(&usual(), &fleet, "ctl-3");
        assert!(what.contains(because), "{runs}: {what}");
    }
}

#[test]
fn a_version_that_failed_on_a_node_is_said_before_its_gate_refuses_it() {
    let mut fleet = inventory(3);
    let bad = |of: &str| crate::standing::Quarantined {
        component: usual().plan.spec.stages[0].component.clone(),
        version: version(of),
        run: 7,
        why: "restartUnit: it did not start".to_string(),
        unix_ms: 1,
    };
    fleet.nodes.get_mut(&name("ctl-3")).unwrap().quarantined = vec![bad("3.5.1"), bad(NEW)];
    fleet.nodes.get_mut(&name("ctl-1")).unwrap().quarantined = vec![bad("3.5.1")];
    let (_, view) = plan(&usual(), &fleet).unwrap();
    let [warning] = view.warnings.as_slice() else { panic!("{:?}", view.warnings) };
    assert_eq!(warning.node.as_ref().map(|node| node.as_str()), Some("ctl-3"));
    assert!(warning.what.contains("is quarantined there since run 7"), "{}", warning.what);
    assert!(warning.next.contains("drydock node release ctl-3"), "{}", warning.next);
}

#[test]
fn a_permit_in_the_stage_lets_versions_go_down() {
    let mut fleet = inventory(3);
    see(&mut fleet, "ctl-3", Seen { version: Some(Ok(version("3.5.17"))), ..seen_old(Role::Follower) });
    let mut bundle = usual();
    bundle.plan.spec.stages[0].allow_downgrade = true;
    assert_eq!(blockers(&bundle, &fleet), []);
}

#[test]
fn a_version_that_is_not_known_is_a_blocker_whatever_the_reason() {
    let mut fleet = inventory(3);
    see(
        &mut fleet,
        "ctl-3",
        Seen { version: Some(Err("connection refused".to_string())), ..seen_old(Role::Follower) },
    );
    assert!(blocker(&usual(), &fleet, "ctl-3").contains("connection refused"));
    see(&mut fleet, "ctl-3", Seen { version: None, exe_sha256: None, role: None, down: false });
    assert!(blocker(&usual(), &fleet, "ctl-3").contains("was not asked for its version"));
    change(&mut fleet, "ctl-3", |node| node.seen.clear());
    assert!(blocker(&usual(), &fleet, "ctl-3").contains("was not looked at"));
}

#[test]
fn what_an_agent_lacks_is_a_blocker_once() {
    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| {
        node.steps.remove("restartUnit");
    });
    let mut bundle = usual();
    let apply = &mut bundle.stages[0].recipe.spec.apply;
    apply.insert(0, apply[2].clone());
    assert!(blocker(&bundle, &fleet, "ctl-2").contains("restartUnit"));
    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| {
        node.requirements.remove("canUndo");
    });
    assert!(blocker(&usual(), &fleet, "ctl-2").contains("canUndo"));
}

#[test]
fn an_agent_that_does_not_know_commit_confirmed_is_a_blocker_only_where_it_is_asked_for() {
    let mut bundle = usual();
    assert_eq!(blockers(&bundle, &inventory(3)), []);
    let (within, witness) = (Millis::secs(30), vec!["10.0.0.1:22".into()]);
    let spec = &mut bundle.stages[0].recipe.spec;
    spec.commit_confirmed = Some(drydock_types::section::CommitConfirmed { within, witness });
    let mut fleet = inventory(3);
    for node in fleet.nodes.values_mut().take(2) {
        node.requirements.insert("commitConfirmed".into());
    }
    assert!(blocker(&bundle, &fleet, "ctl-3").contains("commitConfirmed"));
    let manner = plan(&bundle, &fleet).unwrap().1.stages[0].waves[0].manner.clone();
    assert!(manner.contains("taken back by the node itself after 30s unless confirmed"), "{manner}");
    assert!(manner.contains("goes back by a plan, not by `run rollback`"), "{manner}");
}

#[test]
fn another_architecture_too_little_space_and_a_silent_agent_are_blockers() {
    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| node.arch = "aarch64".to_string());
    assert!(blocker(&usual(), &fleet, "ctl-2").contains("aarch64"));

    for free in [0, (40 << 20) - 1] {
        let mut fleet = inventory(3);
        change(&mut fleet, "ctl-2", |node| node.free_bytes = free);
        assert!(blocker(&usual(), &fleet, "ctl-2").contains("40 MiB needed"), "{free}");
    }
    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| node.free_bytes = 40 << 20);
    assert_eq!(blockers(&usual(), &fleet), []);

    let mut fleet = inventory(3);
    change(&mut fleet, "ctl-2", |node| node.silent_for_ms = Some(61_000));
    assert!(blocker(&usual(), &fleet, "ctl-2").contains("silent for 1m1s"));
    let budget = plan(&usual(), &fleet).unwrap().1.budget;
    assert!(budget.iter().any(|line| line.starts_with("ctl-2 already counts")), "{budget:?}");
}

#[test]
fn a_node_that_is_left_out_has_no_blockers() {
    let mut fleet = inventory(3);
    see(&mut fleet, "ctl-2", seen_new(Role::Follower));
    change(&mut fleet, "ctl-2", |node| node.steps.clear());
    assert_eq!(blockers(&usual(), &fleet), []);
}

#[test]
fn the_digest_does_not_depend_on_what_was_seen_or_where_the_file_lay() {
    let fleet = inventory(3);
    let digest = digest_of(&usual(), &fleet);
    let mut other = fleet.clone();
    // Leadership moved, one is silent, one is there already, one has other facts.
    see(&mut other, "ctl-1", seen_old(Role::Follower));
    see(&mut other, "ctl-2", seen_old(Role::Leader));
    see(&mut other, "ctl-3", seen_new(Role::Follower));
    change(&mut other, "ctl-1", |node| node.silent_for_ms = Some(1));
    other.busy = vec![(7, BTreeSet::from([name("ctl-1")]))];
    let mut bundle = usual();
    bundle.file = "/tmp/elsewhere.yaml".to_string();
    assert_eq!(digest_of(&bundle, &other), digest);
}

#[test]
fn the_digest_changes_with_everything_that_an_operator_decides() {
    let fleet = inventory(3);
    let mut digests = vec![digest_of(&usual(), &fleet)];
    let with = |edit: fn(&mut Bundle)| {
        let mut bundle = usual();
        edit(&mut bundle);
        digest_of(&bundle, &fleet)
    };
    digests.push(with(|bundle| bundle.plan.spec.stages[0].to = version("3.5.17")));
    digests.push(with(|bundle| bundle.stages[0].recipe.spec.apply.truncate(1)));
    digests.push(with(|bundle| bundle.stages[0].recipe.spec.deadlines.gate = Millis(1)));
    digests.push(with(|bundle| bundle.stages[0].artifact.as_mut().unwrap().sha256 = old_exe()));
    digests.push(with(|bundle| bundle.stages[0].artifact = None));
    digests.push(with(|bundle| bundle.plan.spec.stages[0].waves[0].nodes.exclude = vec![name("ctl-2")]));
    digests.push(with(|bundle| bundle.plan.spec.stages[0].waves[0].soak = Millis(1)));
    digests.push(with(|bundle| bundle.plan.spec.stages[0].waves[0].order = Order::Listed));
    digests.push(with(|bundle| bundle.plan.spec.stages[0].on_failure = OnFailure::Hold));
    digests.push(with(|bundle| bundle.plan.spec.stages[0].allow_downgrade = true));
    digests.push(with(|bundle| {
        bundle.plan.spec.stages[0].outage.insert("etcd".to_string(), Millis(1));
    }));
    digests.push(with(|bundle| bundle.plan.spec.budget.per_failure_domain = 2));
    digests.push(with(|bundle| bundle.plan.spec.budget.domain_label = Some(label("zone"))));
    let mut enrolled_again = inventory(3);
    change(&mut enrolled_again, "ctl-3", |node| node.key = Sha256::of(b"another key"));
    digests.push(digest_of(&usual(), &enrolled_again));
    let different: BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
}

#[test]
fn a_listed_order_is_part_of_the_digest() {
    let of = |names: &[&str], order| {
        let mut bundle = bundle(vec![stage("etcd", vec![wave("members", named(names))])]);
        bundle.plan.spec.stages[0].waves[0].order = order;
        digest_of(&bundle, &inventory(3))
    };
    assert_ne!(of(&["ctl-1", "ctl-2"], Order::Listed), of(&["ctl-2", "ctl-1"], Order::Listed));
    assert_eq!(
        of(&["ctl-1", "ctl-2"], Order::FollowersFirst),
        of(&["ctl-2", "ctl-1"], Order::FollowersFirst)
    );
}

#[test]
fn the_point_of_no_return_names_the_last_member_and_both_minors() {
    let report = plan(&usual(), &inventory(3)).unwrap().1;
    let said = report.stages[0].waves[0].point_of_no_return.clone().unwrap();
    for part in ["as foreseen ctl-1", "becomes 3.5", "3.4 cannot come back"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn there_is_no_point_of_no_return_within_a_minor_or_where_the_recipe_knows_none() {
    let mut fleet = inventory(3);
    for of in ["ctl-1", "ctl-2", "ctl-3"] {
        see(&mut fleet, of, Seen { version: Some(Ok(version("3.5.1"))), ..seen_old(Role::Follower) });
    }
    assert_eq!(plan(&usual(), &fleet).unwrap().1.stages[0].waves[0].point_of_no_return, None);
    let mut bundle = usual();
    bundle.stages[0].recipe.spec.versions.no_return_after_last_member = false;
    assert_eq!(plan(&bundle, &inventory(3)).unwrap().1.stages[0].waves[0].point_of_no_return, None);
}

#[test]
fn where_no_node_goes_back_over_a_minor_the_point_is_before_the_first_that_rises() {
    let names = |nodes: &[&str]| wave(nodes[0], named(nodes));
    let mut bundle = bundle(vec![stage("etcd", vec![names(&["ctl-1"]), names(&["ctl-2", "ctl-3"])])]);
    let rules = &mut bundle.stages[0].recipe.spec.versions;
    (rules.no_return_after_last_member, rules.no_return_over_minor) = (false, true);
    let said = |fleet: &Inventory| {
        let report = plan(&bundle, fleet).unwrap().1;
        report.stages[0].waves.iter().map(|wave| wave.point_of_no_return.clone()).collect::<Vec<_>>()
    };
    let mut fleet = inventory(3);
    let first = said(&fleet);
    assert_eq!(
        first[0].as_deref(),
        Some(
            "when the first node (as foreseen ctl-1) is upgraded to 3.5, neither it nor any after it can go back to 3.4 except from its backup"
        )
    );
    assert_eq!(first[1], None, "it is passed once");
    // Within the minor already: the next one is the first that rises.
    see(&mut fleet, "ctl-1", Seen { version: Some(Ok(version("3.5.1"))), ..seen_old(Role::Follower) });
    let later = said(&fleet);
    assert!(later[0].is_none() && later[1].as_ref().is_some_and(|said| said.contains("ctl-2")), "{later:?}");
    for of in ["ctl-2", "ctl-3"] {
        see(&mut fleet, of, Seen { version: Some(Ok(version("3.5.1"))), ..seen_old(Role::Follower) });
    }
    assert_eq!(said(&fleet), [None, None]);
}

#[test]
fn an_estimate_counts_the_nodes_that_are_worked_on_and_needs_a_time_for_every_stage() {
    let mut fleet = inventory(3);
    assert_eq!(plan(&usual(), &fleet).unwrap().1.estimate, None);
    see(&mut fleet, "ctl-2", seen_new(Role::Follower));
    fleet.durations.insert(label("etcd"), (20_000, 4));
    let estimate = plan(&usual(), &fleet).unwrap().1.estimate.unwrap();
    assert_eq!((estimate.total_ms, estimate.per_node_ms, estimate.samples), (40_000, 20_000, 4));
    let two = bundle(vec![
        stage("etcd", vec![wave("members", labelled())]),
        stage("other", vec![wave("members", labelled())]),
    ]);
    assert_eq!(plan(&two, &fleet).unwrap().1.estimate, None, "nothing is known of the other stage");
}

#[test]
fn a_fleet_that_is_there_already_has_no_estimate_and_nothing_to_do() {
    let mut fleet = inventory(2);
    for of in ["ctl-1", "ctl-2"] {
        see(&mut fleet, of, seen_new(Role::Follower));
    }
    fleet.durations.insert(label("etcd"), (20_000, 4));
    let report = plan(&usual(), &fleet).unwrap().1;
    assert_eq!((report.estimate, report.skipped.len()), (None, 2));
    assert_eq!(report.stages[0].waves[0].point_of_no_return, None);
}

#[test]
fn a_run_that_holds_some_of_the_nodes_is_warned_of() {
    let mut fleet = inventory(3);
    fleet.busy = vec![(4, BTreeSet::from([name("ctl-3")])), (5, BTreeSet::from([name("db-1")]))];
    let warnings = plan(&usual(), &fleet).unwrap().1.warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].what.contains("run 4") && warnings[0].next == "drydock run show 4");
}

#[test]
fn the_budget_says_how_many_and_where() {
    let mut bundle = usual();
    assert_eq!(plan(&bundle, &inventory(1)).unwrap().1.budget, ["1 node out of service in the whole fleet"]);
    bundle.plan.spec.budget = BudgetSpec { per_failure_domain: 2, domain_label: Some(label("zone")) };
    let mut fleet = inventory(2);
    change(&mut fleet, "ctl-2", |node| {
        node.silent_for_ms = Some(5000);
        node.labels.insert(label("zone"), label("b"));
    });
    let lines = plan(&bundle, &fleet).unwrap().1.budget;
    assert_eq!(lines[0], "2 nodes out of service in each zone");
    assert_eq!(
        lines[1],
        format!("ctl-2 in b already counts: its agent has been silent for {}", Millis(5000))
    );
}
