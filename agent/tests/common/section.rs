//! A section without steps, for tests to fill in; shared by the unit tests and those against real etcd.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "for tests")]

use drydock_types::{ComponentName, EffectId, Millis, NodeName, RunId, Section, SectionKind, Version};

pub fn empty(kind: SectionKind) -> Section {
    Section {
        effect: EffectId([1; 32]),
        run: RunId([1; 16]),
        run_number: 1,
        stage: "etcd".into(),
        node: NodeName::parse("n1").unwrap(),
        kind,
        component: ComponentName::parse("etcd").unwrap(),
        from: None,
        to: Version::parse("3.5.16").unwrap(),
        allow_downgrade: false,
        artifact: None,
        steps: vec![],
        verify: vec![],
        can_undo: vec![],
        undoes: None,
        commit_confirmed: None,
        undo_on_failure: true,
        deadline: Millis::secs(60),
        requires: vec![],
    }
}
