//! The recipes in the binary.

use std::{collections::BTreeSet, path::Path};

use drydock_coordinator::files::{built_in, builtin_recipes, load_recipe};
use drydock_core::recipe::{Check, OvnOrder, Recipe};
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
    assert_eq!(names, built_in().collect::<Vec<_>>());
    // A file that nobody names would be shipped to nobody.
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files.iter().map(String::as_str).collect::<Vec<_>>(), names);
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

/// A plan for a component of this name by this recipe, with this beside `recipe:`.
fn k3s(component: &str, recipe: &str, with: &str) -> Result<Recipe, String> {
    let desk = Desk::new();
    let name = ComponentName::parse(component).unwrap();
    desk.write("etcd.minisig", minisig(&ArtifactLabel { component: name, ..label() }.to_comment()));
    let plan = PLAN.replace("component: etcd", &format!("component: {component}"));
    let plan = plan.replace("recipe: etcd", &format!("recipe: {recipe}{with}"));
    let compiled = desk.compile(plan).map_err(|error| error.to_string())?;
    Ok(compiled.0.stages.into_iter().next().unwrap().recipe)
}

fn checks(checks: &[Check]) -> Vec<&'static str> {
    checks.iter().map(|check| check.name()).collect()
}

#[test]
fn a_k3s_server_is_checked_saved_drained_changed_and_seen_and_goes_back_where_it_can() {
    let recipe = k3s("k3s", "k3s-server", "").unwrap();
    let spec = recipe.spec;
    assert_eq!(names(&spec.stage), ["checkK3s", "fetchArtifact", "checkSwap"]);
    assert_eq!(checks(&spec.gate)[..2], ["k3sDatastore", "versionSkew"]);
    assert!(matches!(&spec.protect[..], [Step::BackupK3s(step)] if step.max_age == Millis::secs(900)
        && step.external_datastore_backed_up_by.is_none()));
    assert_eq!(names(&spec.apply), ["checkK3s", "moveK3sLeader", "swapBinary", "restartUnit"]);
    assert!(matches!(&spec.apply[3], Step::RestartUnit(step) if step.within == Millis::secs(300)));
    assert_eq!(
        names(&spec.verify),
        ["runningExecutable", "k3sReady", "serviceVersion", "healthy", "runningExecutable"]
    );
    let unit = spec.detect.unit.unwrap();
    assert_eq!(spec.can_undo, [UndoGuard::K3sMayGoBack { unit }]);
    assert!(spec.versions.one_minor_at_a_time && spec.versions.no_return_over_minor);
    let drydock_core::moves::Move::KubernetesDrain(drain) = &spec.drain[0];
    let refuse = drydock_core::moves::Word::Refuse;
    assert_eq!([drain.bare_pods, drain.empty_dir, drain.local_volumes, drain.nowhere_else], [refuse; 4]);
    assert!(drain.wait_for_replacements);
    assert!(
        checks(&spec.returned).contains(&"k3sDatastore")
            && checks(&spec.returned).contains(&"kubernetesNode")
    );
}

#[test]
fn what_a_k3s_drain_may_lose_and_who_saves_an_external_datastore_are_words_of_the_plan() {
    let with = "\n      with: {emptyDir: allow, waitForReplacements: false, \
                externalDatastoreBackedUpBy: \"the DBA team\", unit: k3s-main.service}";
    let spec = k3s("k3s", "k3s-server", with).unwrap().spec;
    let drydock_core::moves::Move::KubernetesDrain(drain) = &spec.drain[0];
    assert_eq!(drain.empty_dir, drydock_core::moves::Word::Allow);
    assert!(!drain.wait_for_replacements);
    let Step::BackupK3s(backup) = &spec.protect[0] else { panic!("{:?}", spec.protect) };
    assert_eq!(backup.external_datastore_backed_up_by.as_deref(), Some("the DBA team"));
    assert_eq!(backup.unit.as_str(), "k3s-main.service");
    let Check::K3sDatastore(check) = &spec.gate[0] else { panic!("{:?}", spec.gate) };
    assert_eq!(check.external_datastore_backed_up_by.as_deref(), Some("the DBA team"));
    let said = k3s("k3s", "k3s-server", "\n      with: {emptyDir: perhaps}").unwrap_err();
    assert!(said.contains("perhaps"), "{said}");
}

#[test]
fn a_k3s_agent_has_no_datastore_and_is_never_ahead_of_its_servers() {
    let spec = k3s("k3s", "k3s-agent", "").unwrap().spec;
    assert_eq!(names(&spec.apply), ["checkK3s", "swapBinary", "restartUnit"]);
    assert!(spec.protect.is_empty() && spec.can_undo.is_empty());
    assert_eq!(spec.versions.not_ahead_of.unwrap().as_str(), "k3s-server");
    assert_eq!(spec.detect.unit.unwrap().as_str(), "k3s-agent.service");
    assert!(!checks(&spec.gate).contains(&"k3sDatastore"));
}

#[test]
fn images_are_put_where_the_plan_says_and_take_nothing_out_of_service() {
    let path = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst";
    let spec = k3s("k3s-images", "k3s-images", &format!("\n      with: {{path: {path}}}")).unwrap().spec;
    assert!(matches!(&spec.apply[..], [Step::PlaceK3sImages(step)] if step.path.as_str() == path));
    assert!(spec.apply.iter().all(|step| !step.disrupts()) && spec.drain.is_empty());
    assert!(k3s("k3s-images", "k3s-images", "").unwrap_err().contains("path"));
}

/// The plan in the guide, word for word, and its stage for nodes without a registry.
#[test]
fn the_plans_of_the_k3s_guide_compile() {
    let guide = include_str!("../../../docs/guide/k3s.md");
    let blocks: Vec<&str> =
        guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let plan = blocks.iter().find(|block| block.starts_with("apiVersion")).expect("the guide has a plan");
    let alone = blocks.iter().find(|block| block.contains("outage:")).expect("the guide has a server alone");
    let images = blocks.iter().find(|block| block.contains("k3s-images")).expect("the guide has images");
    let desk = Desk::new();
    for (file, component) in [("k3s", "k3s"), ("k3s-airgap-images-amd64.tar.zst", "k3s-images")] {
        let (component, version) = (
            ComponentName::parse(component).unwrap(),
            drydock_types::Version::parse("v1.33.5+k3s1").unwrap(),
        );
        desk.write(file, crate::desk::BINARY);
        let label = ArtifactLabel { component, version, ..label() };
        desk.write(&format!("{file}.minisig"), minisig(&label.to_comment()));
    }
    let (bundle, _) = desk.compile(plan).unwrap();
    assert_eq!(bundle.stages.len(), 2);
    // What it says of a server alone takes the place of what the servers' stage says.
    let with = "      with: {emptyDir: allow}              #";
    assert_eq!(plan.matches(with).count(), 1);
    let single = plan.replace(with, &format!("{alone}      #"));
    desk.compile(&single).unwrap();
    let (bundle, _) = desk.compile(plan.replace("  stages:\n", &format!("  stages:\n{images}"))).unwrap();
    assert_eq!(bundle.stages.len(), 3);
}

/// The plan in the guide, word for word.
#[test]
fn the_plan_of_the_guide_for_hypervisors_compiles() {
    let guide = include_str!("../../../docs/guide/patch-hypervisors.md");
    let plan = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (bundle, _) = Desk::new().compile(plan).unwrap();
    let stages: Vec<&str> = bundle.stages.iter().map(|stage| stage.recipe.metadata.name.as_str()).collect();
    assert_eq!(stages, ["libvirt", "openvswitch", "ovn-controller"]);
    let observed: Vec<usize> = bundle.stages.iter().map(|stage| stage.recipe.spec.observe.len()).collect();
    assert_eq!(observed, [0, 1, 0]);
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

/// A recipe of one's own, compiled.
fn own(spec: &str) -> Result<(), String> {
    let desk = Desk::new();
    let head = "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {name: mine, summary: of our own}\nspec:\n  detect: {}\n";
    desk.write("mine.yaml", format!("{head}{spec}"));
    let plan = edit("recipe: etcd", "recipe: ./mine.yaml").replace("      artifact: {path: ./etcd}\n", "");
    desk.compile(plan).map(drop).map_err(|error| error.to_string())
}

#[test]
fn what_is_installed_must_have_been_staged_in_the_same_words() {
    let install = "  apply:\n    - installPackages: {source: libvirt, along: [qemu-utils], within: 20m, repair: true}\n";
    let said = own(install).unwrap_err();
    assert!(said.contains("what no `stagePackages` has fetched") && said.contains("mine.yaml:7:7"), "{said}");
    assert!(said.contains("put stagePackages under stage"), "{said}");
    let staged = |words: &str| own(&format!("  stage:\n    - stagePackages: {words}\n{install}"));
    staged("{source: libvirt, along: [qemu-utils], within: 5m}").unwrap();
    let said = staged("{source: libvirt, held: true}").unwrap_err();
    assert!(said.contains("mine.yaml:9:7") && said.contains("write the same in both: along, held"), "{said}");
    let later = format!("{install}    - stagePackages: {{source: libvirt, along: [qemu-utils]}}\n");
    assert!(own(&later).unwrap_err().contains("has fetched"), "it is fetched behind it");
}

#[test]
fn what_is_kept_for_the_way_back_of_one_step_is_not_asked_to_serve_two() {
    let said = own("  apply: [{restartLibvirt: {}}, {restartLibvirt: {}}]\n").unwrap_err();
    assert!(said.contains("`restartLibvirt` stands twice") && said.contains("mine.yaml:6:"), "{said}");
    own("  apply: [{restartUnit: {unit: x.service}}, {restartUnit: {unit: x.service}}]\n").unwrap();
}

#[test]
fn what_cannot_be_taken_back_from_outside_is_refused_in_the_file() {
    for (step, config) in [("restartAgent", "{unit: drydock-agent.service}"), ("reloadOpenvswitch", "{}")] {
        let said = own(&format!("  apply: [{{{step}: {config}}}]\n")).unwrap_err();
        let named = format!("`{step}` can cut the node off");
        assert!(said.contains(&named) && said.contains("commitConfirmed"), "{said}");
    }
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
fn open_vswitch_is_always_taken_back_unless_it_is_confirmed() {
    let plan = |with: &str| {
        edit("recipe: etcd", &format!("recipe: openvswitch\n      with: {with}"))
            .replace("component: etcd", "component: openvswitch")
            .replace("      artifact: {path: ./etcd}\n", "")
    };
    let spec = recipe(&plan("{witness: [\"10.0.0.1:22\"], flows: caughtUp}")).spec;
    assert_eq!(names(&spec.apply), ["installPackages", "reloadOpenvswitch"]);
    assert_eq!(names(&spec.verify), ["packagesInstalled", "openvswitchReady"]);
    assert!(matches!(&spec.apply[1], Step::ReloadOpenvswitch(step)
        if step.flows == drydock_types::openvswitch::FlowsMust::CaughtUp));
    assert_eq!(spec.commit_confirmed.unwrap().within, Millis::secs(180));
    let said = Desk::new().compile(plan("{flows: equal}")).unwrap_err().to_string();
    assert!(said.contains("witness"), "{said}");
}

#[test]
fn packages_are_staged_as_they_are_installed() {
    let with = "{packages: [{name: openssl, version: 3.0.17-1}, {name: libssl3}], along: [libssl-dev]}";
    let plan = edit("recipe: etcd", &format!("recipe: packages\n      with: {with}"))
        .replace("      artifact: {path: ./etcd}\n", "");
    let spec = recipe(&plan).spec;
    let ([Step::StagePackages(staged)], [Step::InstallPackages(installed)]) =
        (&spec.stage[..], &spec.apply[..])
    else {
        panic!("{spec:?}")
    };
    assert_eq!(staged, installed, "what is staged for one is found by the other");
    assert_eq!((staged.packages.len(), staged.along.len()), (2, 1));
    assert!(staged.old_versions.is_required());
    let plan = plan.replace("packages: [{name: openssl, version: 3.0.17-1}, {name: libssl3}], ", "");
    let said = Desk::new().compile(plan).unwrap_err().to_string();
    assert!(said.contains("packages"), "{said}");
}

#[test]
fn ovn_controller_is_judged_by_the_order_that_the_plan_says() {
    let plan = |with: &str| {
        edit("recipe: etcd", &format!("recipe: ovn-controller{with}"))
            .replace("component: etcd", "component: ovn-controller")
            .replace("      artifact: {path: ./etcd}\n", "")
    };
    let order = |checks: &[Check]| {
        checks.iter().find_map(|check| match check {
            Check::OvnController(config) => Some(config.order),
            _ => None,
        })
    };
    let spec = recipe(&plan("")).spec;
    assert_eq!(names(&spec.apply), ["installPackages", "restartOvnController"]);
    assert_eq!(names(&spec.verify), ["packagesInstalled", "ovnControllerReady", "serviceVersion"]);
    assert_eq!(order(&spec.gate), Some(OvnOrder::ControllersFirst));
    let spec = recipe(&plan("\n      with: {ovnOrder: databasesFirst}")).spec;
    assert_eq!(order(&spec.gate), Some(OvnOrder::DatabasesFirst));
    assert_eq!(order(&spec.returned), Some(OvnOrder::DatabasesFirst));
    let said = Desk::new().compile(plan("\n      with: {ovnOrder: both}")).unwrap_err().to_string();
    assert!(said.contains("controllersFirst") && said.contains("databasesFirst"), "{said}");
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
  = built in: drydock-agent, etcd, k3s-agent, k3s-images, k3s-server, libvirt, nothing, openvswitch, ovn-controller, packages, reboot, systemd-binary; the path of a file begins with ./ or ../ or /
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
