//! Parameters of recipes.

use drydock_core::recipe::{Check, HealthCheck};
use drydock_types::{Step, step::HealthProbe};

use crate::desk::{Desk, PLAN, edit, same};

/// A recipe that takes a text, a tree and something optional.
const RECIPE: &str = r#"apiVersion: drydock/v1
kind: Recipe
metadata: {name: mine, summary: x}
parameters:
  name: {required: true, summary: the service without .service}
  probe: {default: {tcp: {address: "127.0.0.1:80"}}, summary: what tells that it is well}
  source: {summary: where the version is read}
spec:
  detect: {unit: "${name}.service", version: "${?source}"}
  gate:
    - health: {probe: "${probe}"}
  apply:
    - restartUnit: {unit: "${name}.service"}
  verify:
    - serviceVersion: {source: "${?source}"}
"#;

fn plan(with: &str) -> String {
    edit("recipe: etcd", &format!("recipe: ./mine.yaml\n{with}"))
        .replace("      artifact: {path: ./etcd}\n", "")
}

fn desk(recipe: &str) -> Desk {
    let desk = Desk::new();
    desk.write("mine.yaml", recipe);
    desk
}

#[track_caller]
fn said(with: &str) -> String {
    desk(RECIPE).said(plan(with))
}

#[test]
fn a_text_is_put_into_a_text_and_a_tree_in_the_place_of_a_scalar() {
    let with = "      with: {name: web, probe: {http: {url: \"http://127.0.0.1/\"}}, source: {etcd: {}}}";
    let (bundle, _) = desk(RECIPE).compile(plan(with)).unwrap();
    let spec = &bundle.stages[0].recipe.spec;
    assert_eq!(spec.detect.unit.as_ref().unwrap().as_str(), "web.service");
    let probe = HealthProbe::Http { url: "http://127.0.0.1/".into() };
    assert_eq!(spec.gate, [Check::Health(HealthCheck { probe, from: None })]);
    assert!(matches!(&spec.apply[..], [Step::RestartUnit(step)] if step.unit.as_str() == "web.service"));
    assert!(matches!(&spec.verify[..], [Step::ServiceVersion(_)]));
}

#[test]
fn what_hangs_on_an_optional_parameter_is_dropped_without_it() {
    let (bundle, _) = desk(RECIPE).compile(plan("      with: {name: web}")).unwrap();
    let spec = &bundle.stages[0].recipe.spec;
    assert_eq!((spec.detect.version.as_ref(), &spec.verify[..]), (None, &[][..]));
    let probe = HealthProbe::Tcp { address: "127.0.0.1:80".into() };
    assert_eq!(spec.gate, [Check::Health(HealthCheck { probe, from: None })], "the default");
}

#[test]
fn a_required_parameter_that_is_missing_is_named_with_what_it_is_for() {
    same(
        &said(""),
        r#"
error: etcd.yaml:8:15: recipe `mine` needs `name`
  |
8 |       recipe: ./mine.yaml
  |               ^^^^^^^^^^^ give it under `with:`
  = name: the service without .service
"#,
    );
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest() {
    same(
        &said("      with: {name: web, probes: {tcp: {address: x}}}"),
        r#"
error: etcd.yaml:9:25: unknown parameter `probes` of recipe `mine`
  |
9 |       with: {name: web, probes: {tcp: {address: x}}}
  |                         ^^^^^^ did you mean `probe`?
  = `mine` takes: name, probe, source
"#,
    );
}

#[test]
fn a_fault_in_a_given_value_is_shown_in_the_plan() {
    same(
        &said("      with:\n        name: web\n        probe:\n          http: {uri: \"http://127.0.0.1/\"}"),
        r#"
error: etcd.yaml:12:18: unknown key `uri` in `http`
   |
12 |           http: {uri: "http://127.0.0.1/"}
   |                  ^^^ did you mean `url`?
   = `http` has: url
"#,
    );
    same(
        &said("      with:\n        name: web\n        source: {http: {url: 80}}"),
        r#"
error: etcd.yaml:11:30: `url` takes a text, and this is the number 80
   |
11 |         source: {http: {url: 80}}
   |                              ^^ write "80"
"#,
    );
}

#[test]
fn a_fault_in_a_text_made_of_a_given_value_is_shown_in_the_plan() {
    same(
        &said("      with:\n        name: \"web;reboot\""),
        r#"
error: etcd.yaml:10:15: "web;reboot.service" is not a service unit: a unit's name has letters, digits and : - _ . @ only, and does not begin with - or .
   |
10 |         name: "web;reboot"
   |               ^^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_tree_within_a_text_is_refused_in_the_plan() {
    same(
        &said("      with:\n        name: [web]"),
        r#"
error: etcd.yaml:10:15: parameter `name` stands within a text, and this is a list
   |
10 |         name: [web]
   |               ^
   = the text stands at mine.yaml:9:18
"#,
    );
}

#[test]
fn a_fault_behind_a_substitution_is_still_shown_at_its_own_place() {
    let recipe = RECIPE.replace("    - serviceVersion", "    - healthyy: {probe: x}\n    - serviceVersion");
    same(
        &desk(&recipe).said(plan("      with: {name: web}")),
        r#"
error: mine.yaml:15:7: unknown step `healthyy`
   |
15 |     - healthyy: {probe: x}
   |       ^^^^^^^^ did you mean `healthy`?
   = steps are: fetchArtifact, checkSwap, swapBinary, stopUnit, startUnit, restartUnit, snapshotEtcd, moveEtcdLeader, runningExecutable, etcdMemberHealthy, serviceVersion, healthy, restartAgent, reboot, checkK3s, backupK3s, moveK3sLeader, k3sReady, placeK3sImages, stagePackages, installPackages, packagesInstalled, restartLibvirt, libvirtReady, reloadOpenvswitch, openvswitchReady, restartOvnController, ovnControllerReady, nothing
"#,
    );
}

#[test]
fn values_are_not_looked_into_for_parameters_again() {
    same(
        &said("      with: {name: web, probe: \"${probe}\"}"),
        r#"
error: etcd.yaml:9:32: unknown health probe `${probe}`
  |
9 |       with: {name: web, probe: "${probe}"}
  |                                ^^^^^^^^^^
  = health probes are: http, tcp
"#,
    );
}

/// What is said about a recipe with this changed.
#[track_caller]
fn spoiled(from: &str, to: &str) -> String {
    assert_eq!(RECIPE.matches(from).count(), 1, "{from:?}");
    desk(&RECIPE.replace(from, to)).said(plan("      with: {name: web}"))
}

#[test]
fn a_parameter_that_is_declared_and_not_used_is_refused_in_the_recipe() {
    same(
        &spoiled("probe: \"${probe}\"", "probe: {tcp: {address: x}}"),
        r#"
error: mine.yaml:6:3: parameter `probe` is declared and not used
  |
6 |   probe: {default: {tcp: {address: "127.0.0.1:80"}}, summary: what tells that it is well}
  |   ^^^^^
  = the spec takes it as ${probe}
"#,
    );
}

#[test]
fn a_parameter_that_is_used_and_not_declared_is_refused_in_the_recipe() {
    same(
        &spoiled("    - restartUnit: {unit: \"${name}", "    - restartUnit: {unit: \"${nam}"),
        r#"
error: mine.yaml:13:27: parameter `nam` is not declared
   |
13 |     - restartUnit: {unit: "${nam}.service"}
   |                           ^^^^^^^^^^^^^^^^ did you mean `name`?
   = parameters are declared beside the recipe's spec, under `parameters:`
"#,
    );
}

#[test]
fn an_optional_parameter_used_as_if_it_were_always_there_is_refused_in_the_recipe() {
    same(
        &spoiled("version: \"${?source}\"", "version: \"${source}\""),
        r#"
error: mine.yaml:9:46: parameter `source` may be missing here
  |
9 |   detect: {unit: "${name}.service", version: "${source}"}
  |                                              ^^^^^^^^^^^ write ${?source}, or give it a default
"#,
    );
    same(
        &spoiled("version: \"${?source}\"", "version: \"x${?source}\""),
        r#"
error: mine.yaml:9:46: ${?source} stands within a text, where nothing can be dropped
  |
9 |   detect: {unit: "${name}.service", version: "x${?source}"}
  |                                              ^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_parameter_without_a_summary_or_with_a_default_that_it_cannot_need_is_refused() {
    same(
        &spoiled("{summary: where the version is read}", "{}"),
        r#"
error: mine.yaml:7:11: missing key `summary` in a parameter
  |
7 |   source: {}
  |           ^
  = a parameter has: required, summary, default
"#,
    );
    same(
        &spoiled("{required: true, summary", "{required: true, default: web, summary"),
        r#"
error: mine.yaml:5:3: parameter `name` is required and has a default
  |
5 |   name: {required: true, default: web, summary: the service without .service}
  |   ^^^^ leave one of the two out
"#,
    );
    same(
        &spoiled("{required: true, summary", "{require: true, summary"),
        r#"
error: mine.yaml:5:10: unknown key `require` in a parameter
  |
5 |   name: {require: true, summary: the service without .service}
  |          ^^^^^^^ did you mean `required`?
  = a parameter has: required, summary, default
"#,
    );
}

#[test]
fn braces_that_are_no_parameter_are_refused_in_the_recipe() {
    same(
        &spoiled("    - restartUnit: {unit: \"${name}", "    - restartUnit: {unit: \"${na me}"),
        r#"
error: mine.yaml:13:27: `${na me}` is not a parameter
   |
13 |     - restartUnit: {unit: "${na me}.service"}
   |                           ^^^^^^^^^^^^^^^^^^
"#,
    );
    same(
        &spoiled("    - restartUnit: {unit: \"${name}", "    - restartUnit: {unit: \"${name"),
        r#"
error: mine.yaml:13:27: `${` has no `}`
   |
13 |     - restartUnit: {unit: "${name.service"}
   |                           ^^^^^^^^^^^^^^^^
"#,
    );
    same(
        &spoiled("{unit: \"${name}.service\", version", "{unit: ${name}, version"),
        r#"
error: mine.yaml:9:19: is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
  |
9 |   detect: {unit: ${name}, version: "${?source}"}
  |                   ^
  = ${name} stands in quotes within [ ] and { }
  = what is not closed begins at mine.yaml:9:11
"#,
    );
}

#[test]
fn with_is_refused_by_a_recipe_that_takes_nothing() {
    let plan = PLAN
        .replace("recipe: etcd", "recipe: nothing\n      with: {unit: x.service}")
        .replace("      artifact: {path: ./etcd}\n", "");
    same(
        &Desk::new().said(plan),
        r#"
error: etcd.yaml:9:14: unknown parameter `unit` of recipe `nothing`
  |
9 |       with: {unit: x.service}
  |              ^^^^
  = `nothing` takes: no parameters
"#,
    );
}
