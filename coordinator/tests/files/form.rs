//! The form: keys, types, words, values.

use crate::desk::{Desk, PLAN, edit, said, same};

#[test]
fn the_plan_that_the_other_tests_spoil_is_good() {
    let (bundle, artifacts) = Desk::new().compile(PLAN).unwrap();
    assert_eq!(bundle.file, "etcd.yaml");
    assert_eq!(bundle.stages.len(), 1);
    assert_eq!(artifacts.len(), 1);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_key() {
    same(
        &said(edit("          nodes:", "          nodez:")),
        r#"
error: etcd.yaml:13:11: unknown key `nodez` in a wave
   |
13 |           nodez: {labels: {role: etcd}}
   |           ^^^^^ did you mean `nodes`?
   = a wave has: name, nodes, order, concurrency, split, soak, soakChecks, approval
"#,
    );
}

#[test]
fn an_unknown_key_that_resembles_none_gets_no_suggestion() {
    same(
        &said(edit("      to:", "      window: {days: [sat]}\n      to:")),
        r#"
error: etcd.yaml:9:7: unknown key `window` in a stage
  |
9 |       window: {days: [sat]}
  |       ^^^^^^
  = a stage has: name, component, recipe, to, artifact, with, needs, gate, returned, observe, waves, onFailure, allowDowngrade, outage
"#,
    );
}

#[test]
fn every_unknown_key_of_a_file_is_said_at_once() {
    let plan = PLAN.replace("          order", "          ordr").replace("spec:\n", "spec:\n  budgets: {}\n");
    same(
        &said(plan),
        r#"
error: etcd.yaml:5:3: unknown key `budgets` in the plan's spec
  |
5 |   budgets: {}
  |   ^^^^^^^ did you mean `budget`?
  = the plan's spec has: stages, budget, window, allow

error: etcd.yaml:15:11: unknown key `ordr` in a wave
   |
15 |           ordr: followers-first
   |           ^^^^ did you mean `order`?
   = a wave has: name, nodes, order, concurrency, split, soak, soakChecks, approval
"#,
    );
}

#[test]
fn a_missing_key_is_named_where_its_mapping_begins() {
    same(
        &said(edit("          nodes: {labels: {role: etcd}}\n", "")),
        r#"
error: etcd.yaml:12:11: missing key `nodes` in a wave
   |
12 |         - name: members
   |           ^^^^
   = a wave has: name, nodes, order, concurrency, split, soak, soakChecks, approval
"#,
    );
    same(
        &said(edit("{name: etcd-3.5.16}", "{}")),
        r#"
error: etcd.yaml:3:11: missing key `name` in the plan's metadata
  |
3 | metadata: {}
  |           ^
  = the plan's metadata has: name
"#,
    );
}

#[test]
fn a_version_written_as_a_number_is_refused_with_the_quoted_spelling() {
    same(
        &said(edit("\"3.5.16\"", "3.5")),
        r#"
error: etcd.yaml:9:11: `to` takes a version, and this is the number 3.5
  |
9 |       to: 3.5
  |           ^^^ versions are strings: write "3.5"
"#,
    );
    same(
        &said(edit("\"3.5.16\"", "3")),
        r#"
error: etcd.yaml:9:11: `to` takes a version, and this is the number 3
  |
9 |       to: 3
  |           ^ versions are strings: write "3"
"#,
    );
    same(
        &said(edit("\"3.5.16\"", "1e3")),
        r#"
error: etcd.yaml:9:11: `to` takes a version, and this is the number 1e3
  |
9 |       to: 1e3
  |           ^^^ versions are strings: write "1e3"
"#,
    );
    same(
        &said(edit("\"3.5.16\"", "3.50")),
        r#"
error: etcd.yaml:9:11: `to` takes a version, and this is the number 3.50
  |
9 |       to: 3.50
  |           ^^^^ versions are strings: write "3.50"
"#,
    );
}

#[test]
fn a_version_with_two_dots_is_a_text_without_quotes() {
    assert!(Desk::new().compile(edit("\"3.5.16\"", "3.5.16")).is_ok());
}

#[test]
fn a_text_that_is_no_version_is_refused_with_the_form() {
    same(
        &said(edit("\"3.5.16\"", "latest")),
        r#"
error: etcd.yaml:9:11: "latest" is not a version: it begins with a number, such as "3.5.16" or "v1.33.4+k3s1", and has 64 characters at most
  |
9 |       to: latest
  |           ^^^^^^
"#,
    );
}

#[test]
fn a_duration_without_a_unit_is_refused_with_three_spellings() {
    same(
        &said(edit("10s", "10")),
        r#"
error: etcd.yaml:15:17: `soak` takes a duration, and this is the number 10
   |
15 |           soak: 10
   |                 ^^ durations have a unit: write 10s, 10m or 10h
"#,
    );
}

#[test]
fn a_duration_with_an_unknown_unit_is_refused_with_the_form() {
    same(
        &said(edit("10s", "10 seconds")),
        r#"
error: etcd.yaml:15:17: "10 seconds" is not a duration: write it as 250ms, 10s, 2m, 1h30m or 1d (a year at most)
   |
15 |           soak: 10 seconds
   |                 ^^^^^^^^^^
"#,
    );
}

#[test]
fn a_label_that_looks_like_a_number_or_a_truth_is_refused_with_the_quoted_spelling() {
    same(
        &said(edit("{role: etcd}", "{rack: 12}")),
        r#"
error: etcd.yaml:13:34: `rack` takes a text, and this is the number 12
   |
13 |           nodes: {labels: {rack: 12}}
   |                                  ^^ write "12"
"#,
    );
    same(
        &said(edit("{role: etcd}", "{spare: true}")),
        r#"
error: etcd.yaml:13:35: `spare` takes a text, and this is true
   |
13 |           nodes: {labels: {spare: true}}
   |                                   ^^^^ write "true"
"#,
    );
}

#[test]
fn yes_no_on_and_off_are_texts() {
    assert!(Desk::new().compile(edit("{role: etcd}", "{spare: yes, power: on}")).is_ok());
    same(
        &said(edit("      to:", "      allowDowngrade: yes\n      to:")),
        r#"
error: etcd.yaml:9:23: `allowDowngrade` takes true or false, and this is the text `yes`
  |
9 |       allowDowngrade: yes
  |                       ^^^
"#,
    );
}

#[test]
fn a_word_that_is_none_of_the_known_ones_is_refused_with_the_nearest() {
    same(
        &said(edit("followers-first", "follower-first")),
        r#"
error: etcd.yaml:14:18: unknown order `follower-first`
   |
14 |           order: follower-first
   |                  ^^^^^^^^^^^^^^ did you mean `followers-first`?
   = order is one of: listed, followers-first
"#,
    );
    same(
        &said(edit("drydock/v1", "drydock/v2")),
        r#"
error: etcd.yaml:1:13: unknown apiVersion `drydock/v2`
  |
1 | apiVersion: drydock/v2
  |             ^^^^^^^^^^ did you mean `drydock/v1`?
  = this build takes: drydock/v1
"#,
    );
    same(
        &said(edit("kind: Plan", "kind: Recipe")),
        r#"
error: etcd.yaml:2:7: unknown kind `Recipe`
  |
2 | kind: Recipe
  |       ^^^^^^
  = a plan has kind: Plan
"#,
    );
}

#[test]
fn a_mapping_where_a_list_belongs_is_refused() {
    let plan = "apiVersion: drydock/v1\nkind: Plan\nmetadata: {name: x}\nspec:\n  stages:\n    name: etcd\n";
    same(
        &said(plan),
        r#"
error: etcd.yaml:6:5: `stages` takes a list, and this is a mapping
  |
6 |     name: etcd
  |     ^^^^ each item begins with `- `
"#,
    );
}

#[test]
fn a_list_where_a_mapping_belongs_is_refused() {
    same(
        &said(edit("{labels: {role: etcd}}", "[ctl-1, ctl-2]")),
        r#"
error: etcd.yaml:13:18: `nodes` takes a mapping of labels, names, exclude, and this is a list
   |
13 |           nodes: [ctl-1, ctl-2]
   |                  ^ write {names: […]} or {labels: {…}}
"#,
    );
}

#[test]
fn a_key_with_nothing_behind_it_is_refused() {
    same(
        &said(edit("recipe: etcd\n", "recipe:\n")),
        r#"
error: etcd.yaml:8:7: `recipe` takes a text, and nothing is given
  |
8 |       recipe:
  |       ^^^^^^
"#,
    );
}

#[test]
fn a_number_out_of_range_is_refused() {
    same(
        &said(edit("          soak", "          concurrency: 5000000000\n          soak")),
        r#"
error: etcd.yaml:15:24: 5000000000 nodes are more than a fleet has
   |
15 |           concurrency: 5000000000
   |                        ^^^^^^^^^^
"#,
    );
}

#[test]
fn a_node_name_that_is_none_is_refused_where_it_stands() {
    same(
        &said(edit("{labels: {role: etcd}}", "{names: [ctl-1, Ctl_2]}")),
        r#"
error: etcd.yaml:13:34: "Ctl_2" is not a node name: 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit
   |
13 |           nodes: {names: [ctl-1, Ctl_2]}
   |                                  ^^^^^
"#,
    );
}

#[test]
fn a_label_key_that_is_none_is_refused_where_it_stands() {
    same(
        &said(edit("{role: etcd}", "{\"the role\": etcd}")),
        r#"
error: etcd.yaml:13:28: "the role" is not a label: 1 to 128 letters, digits and - _ . / :
   |
13 |           nodes: {labels: {"the role": etcd}}
   |                            ^^^^^^^^^^
"#,
    );
}

#[test]
fn a_key_that_stands_twice_is_refused_with_both_places() {
    same(
        &said(edit("          soak: 10s\n", "          soak: 10s\n          order: listed\n")),
        r#"
error: etcd.yaml:16:11: the key `order` stands here twice
   |
16 |           order: listed
   |           ^^^^^
   = first at etcd.yaml:14:11
"#,
    );
}

#[test]
fn text_that_is_not_yaml_is_refused_where_it_stops_being_yaml() {
    same(
        &said(edit("{name: etcd-3.5.16}", "{name: etcd-3.5.16")),
        r#"
error: etcd.yaml:4:5: is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
  |
4 | spec:
  |     ^
  = what is not closed begins at etcd.yaml:3:11
"#,
    );
    same(
        &said(edit("kind: Plan", "kind: \"Plan")),
        r#"
error: etcd.yaml:2:7: is not YAML: invalid indentation in quoted scalar
  |
2 | kind: "Plan
  |       ^
"#,
    );
    same(
        &said(edit("kind: Plan", "\tkind: Plan")),
        r#"
error: etcd.yaml:2:1: is not YAML: a line is indented with a tab
  |
2 |  kind: Plan
  | ^ indent with spaces
"#,
    );
}

#[test]
fn columns_count_characters_and_lines_of_any_ending() {
    let plan =
        edit("metadata: {name: etcd-3.5.16}", "metadata: {name: \"é→\", nam: x}").replace('\n', "\r\n");
    same(
        &said(plan),
        r#"
error: etcd.yaml:3:24: unknown key `nam` in the plan's metadata
  |
3 | metadata: {name: "é→", nam: x}
  |                        ^^^ did you mean `name`?
  = the plan's metadata has: name

error: etcd.yaml:3:18: "é→" is not a label: 1 to 128 letters, digits and - _ . / :
  |
3 | metadata: {name: "é→", nam: x}
  |                  ^^^^
"#,
    );
}

#[test]
fn a_long_line_is_cut_to_a_window_around_the_place() {
    let filler: String = (0..60).map(|i| format!("key{i}: v, ")).collect();
    let plan = edit("{role: etcd}", &format!("{{{filler}bad: 1, {}}}", filler.replace("key", "more")));
    same(
        &said(plan),
        r#"
error: etcd.yaml:13:623: `bad` takes a text, and this is the number 1
   |
13 | … : v, key57: v, key58: v, key59: v, bad: 1, more0: v, more1: v, more2: v, more3: v, more4: v, more5: v, more6: …
   |                                           ^ write "1"
"#,
    );
}

#[test]
fn a_finding_can_be_taken_apart() {
    let desk = Desk::new();
    desk.write("etcd.yaml", edit("          nodes:", "          nodez:"));
    let found = drydock_coordinator::files::load_plan(&desk.path("etcd.yaml")).unwrap_err();
    let first = found.iter().next().unwrap();
    assert_eq!((first.line(), first.column()), (Some(13), Some(11)));
    assert_eq!(first.message(), "unknown key `nodez` in a wave");
    assert_eq!(first.help_text(), Some("did you mean `nodes`?"));
    assert_eq!(
        first.notes(),
        ["a wave has: name, nodes, order, concurrency, split, soak, soakChecks, approval"]
    );
    assert_eq!(first.file(), desk.path("etcd.yaml").to_str().unwrap());
}
