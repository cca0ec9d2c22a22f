//! What must hold beyond the form.

use crate::desk::{Desk, PLAN, edit, said, same};

/// The good plan with a second stage of these lines.
fn two(lines: &str) -> String {
    let second = PLAN.split_once("  stages:\n").unwrap().1;
    format!("{PLAN}{}", second.replacen("- name: etcd\n", lines, 1))
}

#[test]
fn two_stages_of_one_name_are_refused_with_both_places() {
    same(
        &said(two("- name: etcd\n")),
        r#"
error: etcd.yaml:16:13: a second stage is named `etcd`
   |
16 |     - name: etcd
   |             ^^^^
   = first at etcd.yaml:6:13
"#,
    );
}

#[test]
fn two_waves_of_one_name_are_refused_with_both_places() {
    same(
        &said(format!("{PLAN}        - {{name: members, nodes: {{names: [ctl-9]}}}}\n")),
        r#"
error: etcd.yaml:16:18: a second wave of this stage is named `members`
   |
16 |         - {name: members, nodes: {names: [ctl-9]}}
   |                  ^^^^^^^
   = first at etcd.yaml:12:17
"#,
    );
}

#[test]
fn a_node_named_twice_in_a_stage_is_refused_with_both_places() {
    let plan = edit("{labels: {role: etcd}}", "{names: [ctl-1, ctl-2]}");
    same(
        &said(format!("{plan}        - {{name: rest, nodes: {{names: [ctl-3, ctl-1]}}}}\n")),
        r#"
error: etcd.yaml:16:47: node `ctl-1` stands in this stage twice
   |
16 |         - {name: rest, nodes: {names: [ctl-3, ctl-1]}}
   |                                               ^^^^^
   = first at etcd.yaml:13:27
"#,
    );
}

#[test]
fn a_stage_that_needs_one_that_is_not_there_is_refused_with_the_nearest() {
    same(
        &said(two("- name: other\n      needs: [etdc]\n")),
        r#"
error: etcd.yaml:17:15: there is no stage `etdc`
   |
17 |       needs: [etdc]
   |               ^^^^ did you mean `etcd`?
   = the stages are: etcd, other
"#,
    );
}

#[test]
fn stages_that_wait_for_each_other_are_refused_with_the_circle() {
    let plan = two("- name: other\n      needs: [etcd]\n").replacen(
        "- name: etcd\n",
        "- name: etcd\n      needs: [other]\n",
        1,
    );
    same(
        &said(plan),
        r#"
error: etcd.yaml:7:14: stages wait for each other in a circle: etcd needs other needs etcd
  |
7 |       needs: [other]
  |              ^
"#,
    );
    same(
        &said(edit("- name: etcd\n", "- name: etcd\n      needs: [etcd]\n")),
        r#"
error: etcd.yaml:7:14: stages wait for each other in a circle: etcd needs etcd
  |
7 |       needs: [etcd]
  |              ^
"#,
    );
}

#[test]
fn a_plan_without_stages_and_a_stage_without_waves_are_refused() {
    same(
        &said("apiVersion: drydock/v1\nkind: Plan\nmetadata: {name: x}\nspec: {stages: []}\n"),
        r#"
error: etcd.yaml:4:16: the plan has no stages
  |
4 | spec: {stages: []}
  |                ^
"#,
    );
    let plan = PLAN.split_once("      waves:").unwrap().0;
    same(
        &said(format!("{plan}      waves: []\n")),
        r#"
error: etcd.yaml:11:14: stage `etcd` has no waves
   |
11 |       waves: []
   |              ^
"#,
    );
}

#[test]
fn a_wave_that_takes_no_nodes_is_refused() {
    same(
        &said(edit("{labels: {role: etcd}}", "{exclude: [ctl-4]}")),
        r#"
error: etcd.yaml:13:18: wave `members` takes no nodes
   |
13 |           nodes: {exclude: [ctl-4]}
   |                  ^ name labels or names
   = nodes: {labels: {role: etcd}}   or   nodes: {names: [ctl-1, ctl-2]}
"#,
    );
}

#[test]
fn a_budget_of_nothing_is_refused() {
    same(
        &said(format!("{PLAN}  budget: {{perFailureDomain: 0}}\n")),
        r#"
error: etcd.yaml:16:30: a budget of 0 lets no node leave service
   |
16 |   budget: {perFailureDomain: 0}
   |                              ^ 1 or more; 1 when left out
"#,
    );
}

#[test]
fn a_recipe_that_is_not_there_is_refused_with_the_nearest() {
    same(
        &said(edit("recipe: etcd", "recipe: etdc")),
        r#"
error: etcd.yaml:8:15: there is no recipe `etdc`
  |
8 |       recipe: etdc
  |               ^^^^ did you mean `etcd`?
  = built in: drydock-agent, etcd, k3s-agent, k3s-images, k3s-server, libvirt, nothing, openvswitch, ovn-controller, packages, reboot, systemd-binary; the path of a file begins with ./ or ../ or /
"#,
    );
    same(
        &said(edit("recipe: etcd", "recipe: ./mine.yaml")),
        r#"
error: etcd.yaml:8:15: mine.yaml cannot be read: No such file or directory (os error 2)
  |
8 |       recipe: ./mine.yaml
  |               ^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_recipe_of_another_component_is_refused() {
    let said = said(edit("component: etcd", "component: k3s"));
    same(
        said.split("\n\n").next().unwrap(),
        r#"
error: etcd.yaml:8:15: recipe `etcd` upgrades etcd, not k3s
  |
8 |       recipe: etcd
  |               ^^^^ write `component: etcd`, or another recipe
"#,
    );
}

#[test]
fn a_stage_without_the_artifact_that_its_recipe_needs_is_refused() {
    same(
        &said(edit("      artifact: {path: ./etcd}\n", "")),
        r#"
error: etcd.yaml:8:15: stage `etcd` has no artifact, and recipe `etcd` needs one
  |
8 |       recipe: etcd
  |               ^^^^ for its step fetchArtifact
  = artifact: {path: ./FILE}   with FILE.minisig beside it: drydock artifact sign FILE
"#,
    );
}

#[test]
fn an_artifact_that_no_step_uses_is_refused() {
    same(
        &said(edit("recipe: etcd", "recipe: nothing")),
        r#"
error: etcd.yaml:10:17: recipe `nothing` has no step that uses an artifact
   |
10 |       artifact: {path: ./etcd}
   |                 ^ leave it out
"#,
    );
}

/// A recipe in a file, with these phases.
fn with_recipe(spec: &str) -> String {
    let desk = Desk::new();
    let head =
        "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {name: mine, summary: x}\nspec:\n  detect: {}\n";
    desk.write("mine.yaml", format!("{head}{spec}"));
    desk.said(edit("recipe: etcd", "recipe: ./mine.yaml").replace("      artifact: {path: ./etcd}\n", ""))
}

#[test]
fn a_step_that_changes_something_cannot_stand_under_verify() {
    same(
        &with_recipe("  apply: [nothing]\n  verify:\n    - restartUnit: {unit: x.service}\n"),
        r#"
error: mine.yaml:8:7: `restartUnit` changes the node, and `verify` only looks
  |
8 |     - restartUnit: {unit: x.service}
  |       ^^^^^^^^^^^ put it under apply
  = steps that only look are: checkSwap, runningExecutable, etcdMemberHealthy, serviceVersion, healthy, checkK3s, k3sReady, packagesInstalled, libvirtReady, openvswitchReady, ovnControllerReady
"#,
    );
}

#[test]
fn a_step_that_disrupts_cannot_stand_where_the_node_is_in_service() {
    same(
        &with_recipe("  stage:\n    - stopUnit: {unit: x.service}\n  apply: [nothing]\n"),
        r#"
error: mine.yaml:7:7: `stopUnit` cannot stand under `stage`: the node is still in service then
  |
7 |     - stopUnit: {unit: x.service}
  |       ^^^^^^^^ put it under apply
"#,
    );
}

#[test]
fn a_recipe_that_applies_nothing_is_refused() {
    same(
        &with_recipe("  apply: []\n"),
        r#"
error: mine.yaml:6:10: a recipe's `apply` changes something
  |
6 |   apply: []
  |          ^ name at least one step
"#,
    );
}

#[test]
fn an_unknown_step_is_refused_with_the_nearest() {
    same(
        &with_recipe("  apply:\n    - restartUnits: {unit: x.service}\n"),
        r#"
error: mine.yaml:7:7: unknown step `restartUnits`
  |
7 |     - restartUnits: {unit: x.service}
  |       ^^^^^^^^^^^^ did you mean `restartUnit`?
  = steps are: fetchArtifact, checkSwap, swapBinary, stopUnit, startUnit, restartUnit, snapshotEtcd, moveEtcdLeader, runningExecutable, etcdMemberHealthy, serviceVersion, healthy, restartAgent, reboot, checkK3s, backupK3s, moveK3sLeader, k3sReady, placeK3sImages, stagePackages, installPackages, packagesInstalled, restartLibvirt, libvirtReady, reloadOpenvswitch, openvswitchReady, restartOvnController, ovnControllerReady, nothing
"#,
    );
}

#[test]
fn an_unknown_key_of_a_step_is_said_with_the_steps_name() {
    same(
        &with_recipe("  apply:\n    - restartUnit: {unit: x.service, timeout: 5s}\n"),
        r#"
error: mine.yaml:7:38: unknown key `timeout` in `restartUnit`
  |
7 |     - restartUnit: {unit: x.service, timeout: 5s}
  |                                      ^^^^^^^
  = `restartUnit` has: unit, within
"#,
    );
}

#[test]
fn a_step_that_needs_keys_cannot_be_its_bare_name() {
    same(
        &with_recipe("  apply:\n    - restartUnit\n"),
        r#"
error: mine.yaml:7:7: missing key `unit` in `restartUnit`
  |
7 |     - restartUnit
  |       ^^^^^^^^^^^
  = `restartUnit` has: unit, within
"#,
    );
}

#[test]
fn a_step_whose_keys_are_not_indented_below_it_is_refused() {
    same(
        &with_recipe("  apply:\n    - restartUnit:\n      unit: x.service\n"),
        r#"
error: mine.yaml:8:7: `unit` belongs to no step
  |
8 |       unit: x.service
  |       ^^^^
  = one step is one key; its own keys are indented below it
"#,
    );
}

#[test]
fn a_unit_that_is_none_is_refused_where_it_stands() {
    same(
        &with_recipe("  apply:\n    - restartUnit: {unit: \"foo;reboot\"}\n"),
        r#"
error: mine.yaml:7:27: "foo;reboot" is not a service unit: it must end in .service
  |
7 |     - restartUnit: {unit: "foo;reboot"}
  |                           ^^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_recipe_with_a_fault_is_said_once_however_many_stages_use_it() {
    let desk = Desk::new();
    desk.write("mine.yaml", "apiVersion: drydock/v1\nkind: Recipe\nspec: {}\n");
    let plan = two("- name: other\n").replace("recipe: etcd", "recipe: ./mine.yaml");
    same(
        &desk.said(plan),
        r#"
error: mine.yaml:1:1: missing key `metadata` in a recipe
  |
1 | apiVersion: drydock/v1
  | ^^^^^^^^^^
  = a recipe has: apiVersion, kind, metadata, parameters, spec
"#,
    );
}

#[test]
fn stages_and_waves_have_no_slash_in_their_names_for_commands_name_a_wave_by_both() {
    for (what, plan) in [
        ("stage", edit("    - name: etcd\n", "    - name: etcd/a\n")),
        ("wave", edit("        - name: members\n", "        - name: members/a\n")),
    ] {
        let said = said(plan);
        assert!(
            said.contains(&format!("the name of {what} ")) && said.contains("has a slash in it"),
            "{said}"
        );
        assert!(said.contains("commands name a wave as STAGE/WAVE"), "{said}");
    }
}

#[test]
fn an_outage_that_is_accepted_has_a_length() {
    let with =
        |length: &str| edit("      waves:\n", &format!("      outage: {{etcd: {length}}}\n      waves:\n"));
    let none = said(with("0s"));
    assert!(none.contains("an outage of 0s accepts nothing of `etcd`"), "{none}");
    Desk::new().compile(with("5m")).unwrap();
}
