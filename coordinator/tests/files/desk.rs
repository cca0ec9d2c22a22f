//! An operator's directory: a plan, an artifact, its signature.

use std::{fs, path::PathBuf};

use drydock_coordinator::files::{LocalArtifact, compile_bundle};
use drydock_core::bundle::Bundle;
use drydock_types::{ComponentName, Sha256, Version, section::ArtifactLabel};

/// A good plan.
pub(crate) const PLAN: &str = r#"apiVersion: drydock/v1
kind: Plan
metadata: {name: etcd-3.5.16}
spec:
  stages:
    - name: etcd
      component: etcd
      recipe: etcd
      to: "3.5.16"
      artifact: {path: ./etcd}
      waves:
        - name: members
          nodes: {labels: {role: etcd}}
          order: followers-first
          soak: 10s
"#;

/// The artifact: the head of an ELF file for x86_64.
pub(crate) const BINARY: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0 and the rest";

/// The good plan, with one thing in it written differently.
pub(crate) fn edit(from: &str, to: &str) -> String {
    assert_eq!(PLAN.matches(from).count(), 1, "{from:?} stands once in the plan");
    PLAN.replace(from, to)
}

/// What a good signature says.
pub(crate) fn label() -> ArtifactLabel {
    ArtifactLabel {
        component: ComponentName::parse("etcd").unwrap(),
        version: Version::parse("3.5.16").unwrap(),
        os: "linux".into(),
        arch: "x86_64".into(),
        size: BINARY.len() as u64,
        sha256: Sha256::of(BINARY),
    }
}

/// A minisign file of the right form. Its signature is zeroes: the command line has no key to verify it with.
pub(crate) fn minisig(comment: &str) -> String {
    let signature = format!("RUQA{}AAA=", "A".repeat(92));
    format!("untrusted comment: x\n{signature}\ntrusted comment: {comment}\n{}AA==\n", "A".repeat(84))
}

pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("etcd", BINARY);
        desk.write("etcd.minisig", minisig(&label().to_comment()));
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn compile(&self, plan: impl AsRef<[u8]>) -> Result<(Bundle, Vec<LocalArtifact>), String> {
        self.write("etcd.yaml", plan);
        compile_bundle(&self.path("etcd.yaml")).map_err(|said| self.short(&said.to_string()))
    }

    /// What is said about a plan that must be refused.
    pub(crate) fn said(&self, plan: impl AsRef<[u8]>) -> String {
        self.compile(plan).map(|(bundle, _)| bundle).unwrap_err()
    }

    /// Without the directory's random name.
    pub(crate) fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// What is said about a plan that must be refused.
pub(crate) fn said(plan: impl AsRef<[u8]>) -> String {
    Desk::new().said(plan)
}

/// Compares texts as they stand on a screen.
#[track_caller]
pub(crate) fn same(said: &str, expected: &str) {
    let expected = expected.trim_matches('\n');
    assert!(said == expected, "it says:\n<<<<\n{said}\n>>>>\nand not:\n<<<<\n{expected}\n====");
}
