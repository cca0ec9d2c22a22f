//! The binary beside the plan.

use std::fs;

use drydock_types::{ComponentName, Sha256, Version, section::ArtifactLabel};

use crate::desk::{BINARY, Desk, PLAN, edit, label, minisig, same};

/// What is said when the signature says this.
fn signed(change: impl FnOnce(&mut ArtifactLabel)) -> String {
    let desk = Desk::new();
    let mut label = label();
    change(&mut label);
    desk.write("etcd.minisig", minisig(&label.to_comment()));
    desk.said(PLAN)
}

#[test]
fn a_good_artifact_is_pinned_by_digest_size_and_signature() {
    let (bundle, artifacts) = Desk::new().compile(PLAN).unwrap();
    let pinned = bundle.stages[0].artifact.as_ref().unwrap();
    assert_eq!((pinned.sha256, pinned.size), (Sha256::of(BINARY), BINARY.len() as u64));
    assert_eq!(pinned.signature, minisig(&label().to_comment()));
    assert_eq!((&artifacts[0].artifact, &artifacts[0].label), (pinned, &label()));
    assert_eq!(artifacts[0].stage.as_str(), "etcd");
}

#[test]
fn a_signature_may_be_named() {
    let desk = Desk::new();
    fs::rename(desk.path("etcd.minisig"), desk.path("other.sig")).unwrap();
    assert!(desk.compile(edit("{path: ./etcd}", "{path: ./etcd, signature: ./other.sig}")).is_ok());
}

#[test]
fn an_artifact_that_is_not_there_is_refused() {
    same(
        &Desk::new().said(edit("./etcd}", "./etcdd}")),
        r#"
error: etcd.yaml:10:24: etcdd: cannot be read: No such file or directory (os error 2)
   |
10 |       artifact: {path: ./etcdd}
   |                        ^^^^^^^
"#,
    );
}

#[test]
fn an_artifact_that_is_a_directory_or_empty_is_refused() {
    let desk = Desk::new();
    desk.write("etcd", "");
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd: is empty
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
"#,
    );
    fs::create_dir(desk.path("dir")).unwrap();
    same(
        &desk.said(edit("./etcd}", "./dir}")),
        r#"
error: etcd.yaml:10:24: dir: is not a file
   |
10 |       artifact: {path: ./dir}
   |                        ^^^^^
"#,
    );
}

#[test]
fn an_artifact_that_is_too_large_is_refused_before_it_is_read() {
    let desk = Desk::new();
    let file = fs::File::create(desk.path("etcd")).unwrap();
    file.set_len(drydock_coordinator::files::MAX_ARTIFACT_BYTES + 1).unwrap();
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd: is larger than 4 GiB
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
"#,
    );
}

#[test]
fn an_artifact_without_a_signature_is_refused_with_the_command() {
    let desk = Desk::new();
    fs::remove_file(desk.path("etcd.minisig")).unwrap();
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd.minisig: cannot be read: No such file or directory (os error 2)
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = drydock artifact sign ./etcd
"#,
    );
}

#[test]
fn a_signature_file_that_is_none_is_refused() {
    let desk = Desk::new();
    desk.write("etcd.minisig", "hello\n");
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd.minisig: is not a minisign signature: Invalid encoding in minisign data
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = drydock artifact sign ./etcd
"#,
    );
    desk.write("etcd.minisig", "x".repeat(10_000));
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd.minisig: is larger than 4096 bytes
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = drydock artifact sign ./etcd
"#,
    );
}

#[test]
fn a_signature_that_does_not_say_what_it_signs_is_refused() {
    let desk = Desk::new();
    desk.write("etcd.minisig", minisig("timestamp:1700000000"));
    same(
        &desk.said(PLAN),
        r#"
error: etcd.yaml:10:24: etcd.minisig: does not say what the artifact is: "timestamp:1700000000" is not a trusted comment of an artifact: its form is: drydock:v1 component=… version=… os=… arch=… size=… sha256=…
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = drydock artifact sign ./etcd
"#,
    );
}

#[test]
fn an_artifact_of_another_component_is_refused_at_the_plans_component() {
    same(
        &signed(|label| label.component = ComponentName::parse("k3s").unwrap()),
        r#"
error: etcd.yaml:7:18: the artifact is signed as k3s, and this stage upgrades etcd
  |
7 |       component: etcd
  |                  ^^^^
  = etcd.minisig: drydock:v1 component=k3s version=3.5.16 os=linux arch=x86_64 size=33 sha256=0b5e599e4014e1ed57141253101b3691b81aaeaeb6c14f6b5f9f5cf516b1594d
"#,
    );
}

#[test]
fn an_artifact_of_another_version_is_refused_at_the_plans_version() {
    same(
        &signed(|label| label.version = Version::parse("3.5.15").unwrap()),
        r#"
error: etcd.yaml:9:11: the artifact is signed as version 3.5.15, and this stage goes to 3.5.16
  |
9 |       to: "3.5.16"
  |           ^^^^^^^^
  = etcd.minisig: drydock:v1 component=etcd version=3.5.15 os=linux arch=x86_64 size=33 sha256=0b5e599e4014e1ed57141253101b3691b81aaeaeb6c14f6b5f9f5cf516b1594d
"#,
    );
}

#[test]
fn an_artifact_of_another_size_or_digest_than_was_signed_is_refused() {
    same(
        &signed(|label| label.size += 1),
        r#"
error: etcd.yaml:10:24: the artifact has 33 bytes, and is signed as having 34
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = etcd.minisig: drydock:v1 component=etcd version=3.5.16 os=linux arch=x86_64 size=34 sha256=0b5e599e4014e1ed57141253101b3691b81aaeaeb6c14f6b5f9f5cf516b1594d
"#,
    );
    same(
        &signed(|label| label.sha256 = Sha256::of(b"other")),
        r#"
error: etcd.yaml:10:24: the artifact is not the file that was signed: its SHA-256 is 0b5e599e…, signed is d9298a10…
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = etcd.minisig: drydock:v1 component=etcd version=3.5.16 os=linux arch=x86_64 size=33 sha256=d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa
"#,
    );
}

#[test]
fn an_artifact_for_another_architecture_than_was_signed_is_refused() {
    same(
        &signed(|label| label.arch = "aarch64".into()),
        r#"
error: etcd.yaml:10:24: the artifact is for another architecture: its ELF header says x86_64, its signature aarch64
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = etcd.minisig: drydock:v1 component=etcd version=3.5.16 os=linux arch=aarch64 size=33 sha256=0b5e599e4014e1ed57141253101b3691b81aaeaeb6c14f6b5f9f5cf516b1594d
"#,
    );
}

#[test]
fn an_artifact_for_another_system_is_refused() {
    same(
        &signed(|label| label.os = "windows".into()),
        r#"
error: etcd.yaml:10:24: the artifact is for windows, and nodes run linux
   |
10 |       artifact: {path: ./etcd}
   |                        ^^^^^^
   = etcd.minisig: drydock:v1 component=etcd version=3.5.16 os=windows arch=x86_64 size=33 sha256=0b5e599e4014e1ed57141253101b3691b81aaeaeb6c14f6b5f9f5cf516b1594d
"#,
    );
}

#[test]
fn several_differences_are_said_together() {
    let said = signed(|label| {
        label.component = ComponentName::parse("k3s").unwrap();
        label.version = Version::parse("1.0").unwrap();
    });
    assert_eq!(said.matches("error: ").count(), 2, "{said}");
}
