use std::collections::BTreeMap;

use drydock_types::{ComponentName, EffectId, Label};

use super::*;
use crate::{
    store::sqlite::SqliteStore,
    trust::token::{TokenRow, TokenStore},
};

fn registry() -> (Registry, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
    (store.registry().unwrap(), dir)
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

fn token(id: u8, node: &str) -> TokenRow {
    TokenRow {
        id: TokenId([id; 8]),
        secret_hash: Sha256([id; 32]),
        node: name(node),
        labels: BTreeMap::from([(label("role"), label("etcd"))]),
        expires_unix_s: 1000,
        created_by: "alice".into(),
        created_unix_s: 10 + i64::from(id),
        used_unix_s: None,
        revoked_unix_s: None,
    }
}

fn machine(token: u8, node: &str, key: u8) -> NewNode {
    NewNode {
        token: TokenId([token; 8]),
        name: name(node),
        key: Sha256([key; 32]),
        serial: Serial([key; 16]),
        until_unix_s: 5000,
    }
}

/// Says that a machine is the Node `k1` of the cluster `prod`.
fn bind(registry: &Registry, key: u8, node: &str) {
    let cluster = drydock_types::ClusterName::parse("prod").unwrap();
    let row = ClusterRow {
        name: cluster.clone(),
        context: String::new(),
        endpoints: vec!["https://a:6443".into()],
        sealed: vec![1],
        valid_until_unix_s: None,
        added_by: "anna".into(),
        added_unix_ms: 1,
    };
    registry.put_cluster(&row, true).unwrap();
    let (node, kube_node) = (name(node), "k1".into());
    let row = BindingRow {
        key: Sha256([key; 32]),
        node,
        cluster,
        kube_node,
        bound_by: "anna".into(),
        bound_unix_ms: 1,
    };
    registry.bind_node(&row).unwrap();
}

fn refusal<T: std::fmt::Debug>(result: Result<T, RegistryError>) -> Refusal {
    match result.unwrap_err() {
        RegistryError::Refused(refusal) => refusal,
        RegistryError::Store(error) => panic!("{error}"),
    }
}

/// Hostile inputs 6 and 7.
#[test]
fn a_token_enrols_its_own_node_once_in_time_and_unless_revoked() {
    let (registry, _dir) = registry();
    for id in 1..=3 {
        registry.insert_token(&token(id, "db-1"), false).unwrap();
    }
    let no = |new: NewNode, now| refusal(registry.enrol_node(&new, now));
    assert_eq!(no(machine(9, "db-1", 1), 20), Refusal::Token(EnrolRefusal::Unknown));
    assert!(matches!(no(machine(1, "db-2", 1), 20), Refusal::Token(EnrolRefusal::OtherNode { .. })));
    assert_eq!(no(machine(1, "db-1", 1), 1001), Refusal::Token(EnrolRefusal::Expired));
    registry.revoke_token(TokenId([2; 8]), 15).unwrap();
    assert_eq!(no(machine(2, "db-1", 1), 20), Refusal::Token(EnrolRefusal::Revoked));
    let enrolled = registry.enrol_node(&machine(1, "db-1", 1), 1000).unwrap();
    assert_eq!(enrolled.node.labels, token(1, "db-1").labels);
    assert_eq!(registry.node_by_key(Sha256([1; 32])).unwrap(), Some(enrolled.node));
    assert_eq!(no(machine(1, "db-1", 2), 20), Refusal::Token(EnrolRefusal::Used));
    assert!(matches!(refusal(registry.revoke_token(TokenId([1; 8]), 20)), Refusal::TokenState(..)));
    assert_eq!(registry.tokens(9).unwrap().len(), 3);
    assert_eq!(registry.token(TokenId([1; 8])).unwrap().unwrap().row.used_unix_s, Some(1000));
}

/// Hostile input 6.
#[test]
fn of_many_that_use_one_token_at_once_one_wins() {
    let (registry, _dir) = registry();
    registry.insert_token(&token(1, "db-1"), false).unwrap();
    registry.insert_token(&token(2, "db-2"), false).unwrap();
    let workers: Vec<_> = (1..=8)
        .map(|key| {
            let registry = registry.clone();
            std::thread::spawn(move || {
                let consumed = registry.consume_token(TokenId([2; 8]), 20).unwrap();
                (registry.enrol_node(&machine(1, "db-1", key), 20).is_ok(), consumed)
            })
        })
        .collect();
    let won: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    assert_eq!(won.iter().filter(|(enrolled, _)| *enrolled).count(), 1);
    assert_eq!(won.iter().filter(|(_, consumed)| *consumed).count(), 1);
    assert_eq!(registry.nodes().unwrap().len(), 1);
}

/// Hostile input 11.
#[test]
fn a_name_is_taken_over_only_by_a_token_that_replaces_and_inherits_nothing() {
    let (registry, _dir) = registry();
    registry.insert_token(&token(1, "db-1"), false).unwrap();
    registry.enrol_node(&machine(1, "db-1", 1), 20).unwrap();
    registry.set_label(&name("db-1"), &label("zone"), &label("a")).unwrap();
    registry.insert_token(&token(2, "db-1"), false).unwrap();
    let taken = refusal(registry.enrol_node(&machine(2, "db-1", 2), 30));
    assert!(taken.to_string().contains("--replace"), "{taken}");
    // The refusal took the token's use back with it.
    assert_eq!(registry.token(TokenId([2; 8])).unwrap().unwrap().row.used_unix_s, None);
    registry.insert_token(&token(3, "db-1"), true).unwrap();
    let enrolled = registry.enrol_node(&machine(3, "db-1", 2), 30).unwrap();
    assert_eq!(enrolled.replaced, Some(Sha256([1; 32])));
    assert_eq!(enrolled.node.labels, token(3, "db-1").labels, "a label was inherited");
    assert!(registry.revoked().unwrap().keys.contains(&Sha256([1; 32])));
    assert!(registry.node_by_key(Sha256([1; 32])).unwrap().unwrap().revoked.is_some());
    assert_eq!(registry.nodes().unwrap(), [enrolled.node]);
    registry.insert_token(&token(4, "db-1"), true).unwrap();
    let dead = refusal(registry.enrol_node(&machine(4, "db-1", 1), 40));
    assert_eq!(dead, Refusal::KeyTaken { node: name("db-1") }, "a replaced key came back");
    let again = registry.enrol_node(&machine(4, "db-1", 2), 40).unwrap();
    assert_eq!((again.replaced, again.node.enrolled_at_unix_s), (None, 40));
}

#[test]
fn a_revoked_node_is_out_its_open_tokens_with_it_and_its_name_is_free() {
    let (registry, _dir) = registry();
    for id in 1..=2 {
        registry.insert_token(&token(id, "db-1"), false).unwrap();
    }
    registry.enrol_node(&machine(1, "db-1", 1), 20).unwrap();
    bind(&registry, 1, "db-1");
    let row = registry.revoke_node(&name("db-1"), "stolen", 30).unwrap();
    assert_eq!((row.key, row.revoked), (Sha256([1; 32]), Some((30, "stolen".into()))));
    assert!(registry.revoked().unwrap().keys.contains(&Sha256([1; 32])));
    assert!(registry.node(&name("db-1")).unwrap().is_none());
    let old = refusal(registry.enrol_node(&machine(2, "db-1", 2), 40));
    assert_eq!(old, Refusal::Token(EnrolRefusal::Revoked), "a token from before brought it back");
    let renewal = registry.renew_node(Sha256([1; 32]), Serial([9; 16]), 9000);
    assert!(matches!(refusal(renewal), Refusal::UnknownKey(_)));
    assert!(matches!(refusal(registry.revoke_node(&name("db-1"), "", 30)), Refusal::UnknownNode(_)));
    registry.insert_token(&token(3, "db-1"), false).unwrap();
    assert_eq!(registry.enrol_node(&machine(3, "db-1", 3), 40).unwrap().replaced, None);
    // Which Node it was ends with it: else nobody could say so of the machine that has come in its place.
    bind(&registry, 3, "db-1");
}

#[test]
fn labels_are_set_taken_away_and_bounded_and_a_renewal_is_kept() {
    let (registry, _dir) = registry();
    registry.insert_token(&token(1, "db-1"), false).unwrap();
    registry.enrol_node(&machine(1, "db-1", 1), 20).unwrap();
    let node = name("db-1");
    registry.set_label(&node, &label("role"), &label("db")).unwrap();
    assert_eq!(registry.node(&node).unwrap().unwrap().labels[&label("role")], label("db"));
    assert!(registry.remove_label(&node, &label("role")).unwrap().labels.is_empty());
    for nth in 0..64 {
        registry.set_label(&node, &label(&format!("l{nth}")), &label("x")).unwrap();
    }
    let many = refusal(registry.set_label(&node, &label("one-more"), &label("x")));
    assert!(matches!(many, Refusal::TooManyLabels { wanted: 65, .. }));
    registry.renew_node(Sha256([1; 32]), Serial([9; 16]), 9000).unwrap();
    let row = registry.node(&node).unwrap().unwrap();
    assert_eq!((row.serial, row.certificate_until_unix_s), (Serial([9; 16]), 9000));
}

#[test]
fn revocations_and_settings_are_there_after_reopening() {
    let (registry, dir) = registry();
    registry.revoke_serial(Serial([0xab; 16]), "alice", "lost laptop", 5).unwrap();
    registry.revoke_operator("bob", "left", 6).unwrap();
    registry.set_meta("ca.created", "1").unwrap();
    registry.set_meta("ca.created", "2").unwrap();
    registry.checkpoint().unwrap();
    drop(registry);
    let store = SqliteStore::open(&dir.path().join("drydock.db")).unwrap();
    let registry = store.registry().unwrap();
    let revoked = registry.revoked().unwrap();
    assert!(revoked.serials.contains(&Serial([0xab; 16])) && revoked.operators.contains("bob"));
    assert_eq!(registry.meta("ca.created").unwrap().as_deref(), Some("2"));
    assert_eq!(registry.meta("none").unwrap(), None);
}

#[test]
fn a_look_at_enrolment_uses_nothing_up() {
    let (registry, _dir) = registry();
    registry.insert_token(&token(1, "db-1"), false).unwrap();
    let looking = registry.at_enrolment();
    assert!(looking.consume_token(TokenId([1; 8]), 20).unwrap());
    assert!(looking.consume_token(TokenId([1; 8]), 20).unwrap());
    assert!(!looking.consume_token(TokenId([1; 8]), 1001).unwrap());
    assert!(registry.consume_token(TokenId([1; 8]), 20).unwrap());
    assert!(!looking.consume_token(TokenId([1; 8]), 20).unwrap());
}

#[test]
fn a_nodes_quota_counts_what_it_declared_and_not_what_others_did() {
    let (registry, _dir) = registry();
    let row = |node: &str, effect: u8, size| BackupRow {
        node: name(node),
        effect: EffectId([effect; 32]),
        component: ComponentName::parse("etcd").unwrap(),
        sha256: Sha256([effect; 32]),
        size,
        complete: false,
        at_unix_ms: 1,
    };
    assert_eq!(registry.reserve_backup(&row("db-1", 1, 60), 100).unwrap(), Reservation::New);
    assert_eq!(registry.reserve_backup(&row("db-1", 1, 60), 100).unwrap(), Reservation::Begun);
    assert_eq!(registry.reserve_backup(&row("db-2", 1, 60), 100).unwrap(), Reservation::New);
    let over = refusal(registry.reserve_backup(&row("db-1", 2, 41), 100));
    assert!(matches!(over, Refusal::Quota { wanted_bytes: 101, .. }), "{over}");
    assert_eq!(registry.reserve_backup(&row("db-1", 1, 99), 100).unwrap(), Reservation::Replaced);
    registry.complete_backup(&row("db-1", 1, 99), 2).unwrap();
    assert_eq!(registry.reserve_backup(&row("db-1", 1, 99), 100).unwrap(), Reservation::Complete);
    let other = BackupRow { sha256: Sha256([9; 32]), ..row("db-1", 1, 99) };
    assert!(matches!(refusal(registry.reserve_backup(&other, 100)), Refusal::BackupKnown(_)));
    assert_eq!(registry.backup_bytes(&name("db-1")).unwrap(), 99);
    registry.remove_backup(&name("db-1"), EffectId([1; 32])).unwrap();
    assert_eq!(registry.backup_bytes(&name("db-1")).unwrap(), 0);
}

#[test]
fn a_section_counts_as_handed_only_to_its_own_node() {
    use crate::store::{Commit, EffectRow, RunStore as _};

    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
    store.take_over(drydock_types::InstanceId([1; 16])).unwrap();
    let run = crate::store::RunRow {
        number: 1,
        id: drydock_types::RunId([1; 16]),
        open: true,
        undoes: None,
        state: b"{}".to_vec(),
        parts: std::collections::BTreeMap::new(),
    };
    let effect = EffectRow { effect: EffectId([5; 32]), run: 1, node: name("db-1"), section: b"{}".to_vec() };
    let commit = Commit { clock_ms: 1, runs: vec![run], open: vec![effect], ..Commit::default() };
    store.commit(&commit).unwrap();
    let registry = store.registry().unwrap();
    let handed = |node: &str, effect| registry.was_handed(&name(node), EffectId([effect; 32])).unwrap();
    assert_eq!((handed("db-1", 5), handed("db-2", 5), handed("db-1", 6)), (true, false, false));
}
