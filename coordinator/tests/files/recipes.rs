//! The recipes in the binary.

use std::path::Path;

use drydock_coordinator::files::{builtin_recipes, load_recipe};
use drydock_core::recipe::Recipe;
use drydock_types::{ComponentName, Millis, Step, section::ArtifactLabel, step::UndoGuard};

use crate::desk::{Desk, PLAN, edit, label, minisig, same};

fn recipe(plan: &str) -> Recipe {
    let desk = Desk::new();
    let (bundle, _) = desk.compile(plan).unwrap();
    bundle.stages.into_iter().next().unwrap().recipe
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(Step::name).collect()
}

#[test]
fn every_built_in_recipe_can_be_read_and_is_listed_under_its_own_name() {
    let list = builtin_recipes();
    let names: Vec<_> = list.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["drydock-agent", "etcd", "nothing", "reboot", "systemd-binary"]);
    for recipe in list {
        assert!(recipe.summary.len() > 20 && recipe.source.contains("kind: Recipe"), "{}", recipe.name);
    }
}

#[test]
fn the_etcd_recipe_changes_the_file_before_it_restarts_and_looks_afterwards() {
    let spec = recipe(PLAN).spec;
    assert_eq!(names(&spec.stage), ["fetchArtifact", "checkSwap"]);
    assert_eq!(spec.gate.iter().map(|check| check.name()).collect::<Vec<_>>(), ["etcdQuorum", "versionSkew"]);
    assert!(matches!(&spec.protect[..], [Step::SnapshotEtcd(step)] if step.max_age == Millis::secs(900)));
    assert_eq!(names(&spec.apply), ["moveEtcdLeader", "swapBinary", "restartUnit"]);
    assert_eq!(names(&spec.verify), ["runningExecutable", "etcdMemberHealthy", "runningExecutable"]);
    assert_eq!(spec.can_undo, [UndoGuard::EtcdClusterNotRisen {}, UndoGuard::EtcdQuorumWithoutThis {}]);
    assert_eq!(spec.returned.iter().map(|check| check.name()).collect::<Vec<_>>(), ["etcdQuorum"]);
    assert!(spec.versions.one_minor_at_a_time && spec.versions.no_return_after_last_member);
    assert_eq!(spec.detect.unit.unwrap().as_str(), "etcd.service");
}

#[test]
fn the_etcd_recipe_takes_another_unit_and_path() {
    let with = "recipe: etcd\n      with: {unit: etcd-main.service, path: /opt/etcd/etcd}";
    let spec = recipe(&edit("recipe: etcd", with)).spec;
    assert!(matches!(&spec.apply[1], Step::SwapBinary(step) if step.path.as_str() == "/opt/etcd/etcd"));
    assert!(matches!(&spec.apply[2], Step::RestartUnit(step) if step.unit.as_str() == "etcd-main.service"));
}

#[test]
fn the_systemd_binary_recipe_reads_the_version_only_where_the_plan_says_how() {
    let with = "recipe: systemd-binary\n      with:\n        unit: web.service\n        path: /usr/bin/web\n        health: {tcp: {address: \"127.0.0.1:80\"}}";
    let without = recipe(&edit("recipe: etcd", with)).spec;
    assert_eq!(names(&without.verify), ["runningExecutable", "healthy", "runningExecutable"]);
    assert_eq!(without.detect.version, None);
    let full =
        recipe(&edit("recipe: etcd", &format!("{with}\n        version: {{command: {{name: web}}}}"))).spec;
    assert_eq!(names(&full.verify), ["runningExecutable", "serviceVersion", "healthy", "runningExecutable"]);
    assert!(full.detect.version.is_some());
    assert_eq!(names(&full.apply), ["swapBinary", "restartUnit"]);
}

/// A plan that upgrades the agent, with this beside `recipe: drydock-agent`.
fn agents(with: &str) -> (Desk, String) {
    let desk = Desk::new();
    let component = ComponentName::parse("drydock-agent").unwrap();
    desk.write("etcd.minisig", minisig(&ArtifactLabel { component, ..label() }.to_comment()));
    let plan = PLAN.replace("component: etcd", "component: drydock-agent");
    (desk, plan.replace("recipe: etcd", &format!("recipe: drydock-agent{with}")))
}

#[test]
fn the_agents_recipe_is_commit_confirmed_and_wants_a_witness() {
    let (desk, plan) = agents("\n      with: {witness: [\"10.0.0.1:22\", \"10.0.0.2:22\"], within: 30s}");
    let (bundle, _) = desk.compile(plan).unwrap();
    let spec = &bundle.stages[0].recipe.spec;
    assert_eq!(names(&spec.apply), ["swapBinary", "restartAgent"]);
    assert_eq!(names(&spec.verify), ["runningExecutable", "serviceVersion"]);
    let confirmed = spec.commit_confirmed.as_ref().unwrap();
    assert_eq!((confirmed.within, confirmed.witness.len()), (Millis::secs(30), 2));

    let (desk, plan) = agents("");
    assert!(desk.compile(plan).unwrap_err().to_string().contains("witness"));
    let (desk, plan) = agents("\n      with: {witness: []}");
    assert!(desk.compile(plan).unwrap_err().to_string().contains("`witness` names nobody"));
    let (desk, plan) = agents("\n      with: {witness: [\"10.0.0.1:22\"], within: 1s}");
    assert!(desk.compile(plan).unwrap_err().to_string().contains("`within` is 1s"));
    let (desk, plan) = agents("\n      onFailure: hold\n      with: {witness: [\"10.0.0.1:22\"]}");
    assert!(desk.compile(plan).unwrap_err().to_string().contains("always taken back"));
}

#[test]
fn what_cannot_be_taken_back_from_outside_is_refused_in_the_file() {
    let own = |spec: &str| {
        let desk = Desk::new();
        let head = "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {name: mine, summary: of our own}\nspec:\n  detect: {}\n";
        desk.write("mine.yaml", format!("{head}{spec}"));
        let plan =
            edit("recipe: etcd", "recipe: ./mine.yaml").replace("      artifact: {path: ./etcd}\n", "");
        desk.compile(plan).map(drop).map_err(|error| error.to_string())
    };
    let said = own("  apply: [{restartAgent: {unit: drydock-agent.service}}]\n").unwrap_err();
    assert!(
        said.contains("`restartAgent` can cut the node off") && said.contains("commitConfirmed"),
        "{said}"
    );
    let confirmed = "  commitConfirmed: {within: 30s, witness: [\"10.0.0.1:22\"]}\n";
    own(&format!("  apply: [{{restartUnit: {{unit: x.service}}}}]\n{confirmed}")).unwrap();
    for step in ["reboot: {}", "moveEtcdLeader: {}"] {
        let said = own(&format!("  apply: [{{{step}}}]\n{confirmed}")).unwrap_err();
        assert!(said.contains("cannot be taken back from outside"), "{said}");
    }
    let guarded = format!(
        "  apply: [{{restartUnit: {{unit: x.service}}}}]\n  canUndo: [etcdClusterNotRisen]\n{confirmed}"
    );
    assert!(own(&guarded).unwrap_err().contains("always taken back"));
}

#[test]
fn the_recipe_that_starts_a_node_anew_asks_for_a_version_only_where_the_plan_says_how() {
    let of = |with: &str| {
        let plan = edit("recipe: etcd", &format!("recipe: reboot{with}"));
        recipe(&plan.replace("      artifact: {path: ./etcd}\n", "")).spec
    };
    let plain = of("");
    assert_eq!((names(&plain.apply), names(&plain.verify)), (vec!["reboot"], vec![]));
    assert_eq!((plain.detect.version, plain.deadlines.apply), (None, Millis::secs(900)));
    let kernel = of("\n      with: {detect: {version: {command: {name: kernel}}}}");
    assert!(kernel.detect.version.is_some());
}

#[test]
fn the_recipe_for_nothing_does_nothing() {
    let plan = edit("recipe: etcd", "recipe: nothing").replace("      artifact: {path: ./etcd}\n", "");
    let spec = recipe(&plan).spec;
    assert_eq!(names(&spec.apply), ["nothing"]);
    assert_eq!((spec.detect.unit, spec.gate.len()), (None, 0));
}

#[test]
fn a_recipe_is_shown_with_its_parameters() {
    let recipe = load_recipe("etcd", Path::new("")).unwrap();
    let shown: Vec<_> =
        recipe.parameters.iter().map(|p| (p.name.as_str(), p.default.as_deref(), p.required)).collect();
    assert_eq!(shown, [("path", Some("/usr/bin/etcd"), false), ("unit", Some("etcd.service"), false)]);
    assert_eq!(recipe.component.unwrap().as_str(), "etcd");
}

#[test]
fn a_recipe_that_does_not_exist_cannot_be_shown() {
    same(
        &load_recipe("systemd-binry", Path::new("")).unwrap_err().to_string(),
        r#"
error: systemd-binry: no such recipe
  = did you mean `systemd-binary`?
  = built in: drydock-agent, etcd, nothing, reboot, systemd-binary; the path of a file begins with ./ or ../ or /
"#,
    );
}

#[test]
fn a_recipe_beside_the_plan_is_found_from_wherever_the_command_runs() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("recipes")).unwrap();
    let text = load_recipe("nothing", Path::new("")).unwrap().source;
    desk.write("recipes/mine.yaml", &text);
    let plan =
        edit("recipe: etcd", "recipe: ./recipes/mine.yaml").replace("      artifact: {path: ./etcd}\n", "");
    assert!(desk.compile(plan).is_ok());
    assert!(load_recipe("./recipes/mine.yaml", &desk.path("")).is_ok());
}

/// The first block of YAML in a page of the guide that holds this.
fn example(page: &'static str, holds: &str) -> &'static str {
    page.split("```yaml\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains(holds))
        .unwrap()
}

#[test]
fn the_examples_of_the_guide_are_good() {
    let (plans, recipes) =
        (include_str!("../../../docs/guide/plans.md"), include_str!("../../../docs/guide/recipes.md"));
    let desk = Desk::new();
    desk.compile(example(plans, "kind: Plan")).unwrap();
    desk.write("mine.yaml", example(recipes, "kind: Recipe"));
    let with = example(recipes, "with:").replace("systemd-binary", "./mine.yaml");
    let (bundle, _) = desk.compile(edit("      recipe: etcd\n", &with)).unwrap();
    assert_eq!(names(&bundle.stages[0].recipe.spec.verify), ["healthy"]);
}
