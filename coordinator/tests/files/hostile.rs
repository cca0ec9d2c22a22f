//! Files that mean harm, or are no files at all: refused in words, quickly, in bounded memory.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::desk::{Desk, PLAN, edit, said, same};

/// Ten seconds is the promise; what is seen is milliseconds, in a debug build too.
#[track_caller]
fn soon(what: impl AsRef<[u8]>) -> String {
    let begin = Instant::now();
    let said = said(what);
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    said
}

#[test]
fn a_hundred_thousand_brackets_are_refused_at_the_first_that_is_too_deep() {
    same(
        &soon("[".repeat(100_000)),
        r#"
error: etcd.yaml:1:256: nests deeper than 64 levels: no plan or recipe does
  |
1 | … [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ …
  |                                           ^
"#,
    );
    same(
        &soon("{a: ".repeat(100_000)),
        r#"
error: etcd.yaml:1:1021: nests deeper than 64 levels: no plan or recipe does
  |
1 | … {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a …
  |                                           ^
"#,
    );
    same(
        &soon("- ".repeat(100_000)),
        r#"
error: etcd.yaml:1:129: nests deeper than 64 levels: no plan or recipe does
  |
1 | … - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - …
  |                                           ^
"#,
    );
    same(
        &soon("? ".repeat(100_000)),
        r#"
error: etcd.yaml:1:3: a key is a plain text, not a list or mapping
  |
1 | ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? …
  |   ^
"#,
    );
    same(
        &soon("[".repeat(1 << 20)),
        r#"
error: etcd.yaml:1:256: nests deeper than 64 levels: no plan or recipe does
  |
1 | … [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ …
  |                                           ^
"#,
    );
    let mut stairs = String::new();
    for i in 0..1000 {
        writeln!(stairs, "{}a:", " ".repeat(i)).unwrap();
    }
    same(
        &soon(stairs),
        r#"
error: etcd.yaml:65:65: nests deeper than 64 levels: no plan or recipe does
   |
65 |                                                                 a:
   |                                                                 ^
"#,
    );
}

#[test]
fn an_alias_bomb_is_refused_at_its_first_anchor() {
    let mut bomb = "a0: &a0 [x, x]\n".to_owned();
    for i in 1..100 {
        writeln!(bomb, "a{i}: &a{i} [*a{}, *a{}]", i - 1, i - 1).unwrap();
    }
    same(
        &soon(bomb),
        r#"
error: etcd.yaml:1:5: anchors (&) and aliases (*) are not taken here
  |
1 | a0: &a0 [x, x]
  |     ^^^^^
  = write the value out; a text that begins with & or * is put in quotes
"#,
    );
}

#[test]
fn an_alias_without_an_anchor_is_refused_in_the_same_words() {
    same(
        &said(edit("followers-first", "*order")),
        r#"
error: etcd.yaml:14:18: anchors (&) and aliases (*) are not taken here
   |
14 |           order: *order
   |                  ^
   = write the value out; a text that begins with & or * is put in quotes
"#,
    );
}

#[test]
fn tags_are_refused() {
    same(
        &said(edit("\"3.5.16\"", "!!str 3.5")),
        r#"
error: etcd.yaml:9:11: tags are not taken here
  |
9 |       to: !!str 3.5
  |           ^^^^^^^^^
  = write the value without its `!tag`; a text that looks like a number is put in quotes
"#,
    );
}

#[test]
fn a_second_document_is_refused() {
    same(
        &said(format!("---\n{PLAN}---\n{PLAN}")),
        r#"
error: etcd.yaml:17:1: a second document begins here
   |
17 | ---
   | ^^^
   = a file holds one plan or one recipe; `---` may stand before it, not after
"#,
    );
}

#[test]
fn a_key_that_is_a_mapping_is_refused() {
    same(
        &said(edit("kind: Plan", "{kind: x}: Plan")),
        r#"
error: etcd.yaml:2:1: a key is a plain text, not a list or mapping
  |
2 | {kind: x}: Plan
  | ^
"#,
    );
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    same(
        &soon(format!("{PLAN}# {}\n", "x".repeat(1 << 20))),
        r#"
error: etcd.yaml: is larger than 1 MiB: no plan or recipe is
"#,
    );
}

#[test]
fn a_file_of_too_many_values_is_refused() {
    same(
        &soon(format!("[{}]", "1,".repeat(200_000))),
        r#"
error: etcd.yaml:1:200000: has more than 100000 values: no plan or recipe does
  |
1 | … 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1, …
  |                                           ^
"#,
    );
}

#[test]
fn bytes_that_are_not_text_are_refused_where_they_stand() {
    same(
        &said(b"kind: Plan\nname: a\xff\xfe\n"),
        r#"
error: etcd.yaml:2:8: is not text: byte 0xff is not UTF-8
  |
2 | name: a
  |        ^
"#,
    );
    same(
        &said(b"\x89PNG\r\n\x1a\n"),
        r#"
error: etcd.yaml:1:1: is not text: byte 0x89 is not UTF-8
  |
1 |
  | ^
"#,
    );
    same(
        &said(b"\x7fELF\x02\x01\x01\0"),
        r#"
error: etcd.yaml:1:1: is not text: it holds the control character U+007F
  |
1 | �ELF����
  | ^
"#,
    );
}

#[test]
fn a_nul_does_not_hide_what_stands_behind_it() {
    same(
        &said(format!("{PLAN}\0    - name: hidden\n")),
        r#"
error: etcd.yaml:16:1: is not text: it holds the control character U+0000
   |
16 | �    - name: hidden
   | ^
"#,
    );
}

#[test]
fn an_empty_file_is_refused() {
    same(
        &said(""),
        r#"
error: etcd.yaml: is empty
"#,
    );
    same(
        &said("# only a remark\n"),
        r#"
error: etcd.yaml: is empty
"#,
    );
}

#[test]
fn a_file_that_is_not_there_or_is_a_directory_is_refused() {
    let desk = Desk::new();
    let open = |name: &str| {
        let found = drydock_coordinator::files::load_plan(&desk.path(name)).unwrap_err();
        desk.short(&found.to_string())
    };
    same(
        &open("none.yaml"),
        r#"
error: none.yaml: cannot be read: No such file or directory (os error 2)
"#,
    );
    std::fs::create_dir(desk.path("dir.yaml")).unwrap();
    same(
        &open("dir.yaml"),
        r#"
error: dir.yaml: is not a file
"#,
    );
}

#[test]
fn a_text_with_control_characters_does_not_reach_the_terminal() {
    let said = said(edit("kind: Plan", "\"ki\\e[31mnd\": Plan\nkind: Plan"));
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let said = crate::desk::said(edit("kind: Plan", "ki\u{202e}nd: Plan\nkind: Plan"));
    assert!(!said.contains('\u{202e}'), "{said:?}");
}

#[test]
fn a_hundred_misspelt_keys_are_counted_and_the_first_twenty_are_shown() {
    let keys: String = (0..100).fold(String::new(), |text, i| format!("{text}x{i}: 1\n"));
    let said = said(format!("{PLAN}{keys}"));
    assert_eq!(said.matches("error: ").count(), 20);
    assert!(said.ends_with("\n\nand 80 more"), "{said}");
}

#[test]
fn a_file_full_of_slips_is_read_quickly() {
    let mut wide = String::from("apiVersion: drydock/v1\nkind: Plan\nmetadata: {name: x}\nspec:\n");
    (0..40_000).for_each(|i| writeln!(wide, "  stagez{i}: 1").unwrap());
    soon(wide);
    let names: String = (0..40_000).map(|_| "ctl-1, ").collect();
    soon(edit("{labels: {role: etcd}}", &format!("{{names: [{names}]}}")));
    let stages =
        "    - name: etcd\n      component: etcd\n      recipe: etcd\n      to: v1\n      waves: []\n"
            .repeat(9_000);
    soon(PLAN.replace("  stages:\n", &format!("  stages:\n{stages}")));
}

#[test]
fn a_recipe_that_multiplies_a_large_value_is_refused() {
    let desk = Desk::new();
    let recipe = r#"apiVersion: drydock/v1
kind: Recipe
metadata: {name: bomb, summary: x}
parameters: {a: {required: true, summary: x}}
spec:
  detect: {}
  apply: ["#;
    desk.write("bomb.yaml", format!("{recipe}{}]\n", "\"${a}\", ".repeat(20_000)));
    let with = format!("recipe: ./bomb.yaml\n      with: {{a: [{}]}}", "nothing, ".repeat(20_000));
    let begin = Instant::now();
    let said = desk.said(edit("recipe: etcd", &with));
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    assert!(
        said.contains("the recipe outgrows the limits of a file when its parameters are filled in"),
        "{said}"
    );
}

/// Pieces that YAML is made of, and bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "- ",
        "? ",
        "\n",
        "\r",
        "\t",
        "  ",
        "        ",
        "\"",
        "'",
        "|",
        ">",
        "&a",
        "*a",
        "!",
        "!!str ",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "%TAG ! x\n",
        "~",
        "${unit}",
        "${?",
        "0x",
        "1e9",
        "é",
        "\u{feff}",
        "\u{2028}",
        "\\x",
        "|2-\n",
        "stages",
        "name",
        "@",
        "`",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused_and_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = soon(bytes);
    }

    #[test]
    fn random_pieces_of_yaml_are_refused_and_nothing_panics(pieces in proptest::collection::vec(piece(), 0..120)) {
        let _ = soon(pieces.concat());
    }

    #[test]
    fn a_good_plan_with_random_changes_is_taken_or_refused_and_nothing_panics(
        changes in proptest::collection::vec((0..PLAN.len(), 0..8usize, piece()), 1..6)
    ) {
        let mut plan = PLAN.as_bytes().to_vec();
        for (at, cut, piece) in changes {
            let at = at.min(plan.len());
            let end = (at + cut).min(plan.len());
            plan.splice(at..end, piece);
        }
        let begin = Instant::now();
        let _ = Desk::new().compile(plan);
        prop_assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
