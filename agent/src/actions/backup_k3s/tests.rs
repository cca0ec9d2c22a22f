use std::{
    fs,
    sync::{Arc, Mutex},
};

use drydock_types::{Millis, Sha256};

use super::*;
use crate::{
    artifacts::tests::coordinator::{Double, Manner, serve},
    backups::{BackupError, Backups},
    k3s::{
        sqlite::tests::datastore,
        tests::{Member, Node, bootstrap_key, snapshot, unit},
    },
};

const NAME: &str = "k3s-1-0badcafe";

fn step() -> BackupK3s {
    BackupK3s {
        unit: unit(),
        max_age: Millis::secs(900),
        within: Millis::secs(60),
        external_datastore_backed_up_by: None,
    }
}

async fn coordinator(node: &Node) -> Arc<Double> {
    let (channel, double) = serve(vec![], Manner::Honest).await;
    node.sender.publish(Some(channel));
    double
}

/// Check, note and apply, as the executor does.
async fn run(node: &Node, step: &BackupK3s) -> Result<Vec<Evidence>, Problem> {
    let (action, cx) = (Backup(step), node.cx());
    action.check(&cx).await?;
    let note = action.note(&cx).await?;
    action.apply(&cx, &note).await
}

/// What the coordinator holds, opened with the key that is not on the node: names and bytes.
fn opened(node: &Node, double: &Double) -> Vec<(String, Vec<u8>)> {
    let held = double.held.lock().unwrap();
    let decryptor = age::Decryptor::new(&held.backup[..]).unwrap();
    let plain = decryptor.decrypt(std::iter::once(&node.key as &dyn age::Identity)).unwrap();
    let mut archive = tar::Archive::new(plain);
    let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(entry).collect()
}

fn left(node: &Node) -> Vec<String> {
    let dir = Backups::in_state(&node.bench.host.state_dir).dir().to_owned();
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

async fn with_etcd(member: Member, name: &str) -> Node {
    let node = Node::new().await.reaches(member.start().await);
    node.has_etcd(name).await;
    node
}

/// As K3s saves what it has encrypted with this password.
fn put(database: &rusqlite::Connection, password: &str) {
    let sql = "INSERT INTO kine (name, deleted, value) VALUES (?1, 0, 'x')";
    database.execute(sql, [bootstrap_key(password)]).unwrap();
}

#[tokio::test]
async fn a_snapshot_of_k3s_s_own_etcd_goes_away_with_the_token_beside_it() {
    let node = with_etcd(Member::named(NAME), NAME).await;
    let double = coordinator(&node).await;
    let seen = run(&node, &step()).await.unwrap();
    let [Evidence::Snapshot { revision: 4711, stored_sha256, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(*stored_sha256, Sha256::of(&double.held.lock().unwrap().backup));
    let token = fs::read(node.data().await.join("server/token")).unwrap();
    let held = opened(&node, &double);
    assert_eq!(held, [("token".to_owned(), token), (etcd::SNAPSHOT.to_owned(), snapshot())]);
    assert_eq!(left(&node), [format!("{}.json", node.bench.section.effect)], "only the receipt stays");
}

#[tokio::test]
async fn a_database_goes_away_as_it_is_at_one_moment_with_the_token_beside_it() {
    let node = Node::new().await;
    let double = coordinator(&node).await;
    let database = node.data().await.join("server/db/state.db");
    put(&datastore(&database, 500), "hunter2");
    node.starts_with(&database).await;
    let seen = run(&node, &step()).await.unwrap();
    assert!(matches!(&seen[..], [Evidence::Snapshot { revision: 501, .. }]), "{seen:?}");
    let held = opened(&node, &double);
    assert_eq!((held.len(), held[0].0.as_str(), held[1].0.as_str()), (2, "token", DATABASE));
    let restored = tempfile::tempdir().unwrap();
    let path = restored.path().join(DATABASE);
    fs::write(&path, &held[1].1).unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = database.query_row("SELECT COUNT(*) FROM kine", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 501);
    assert_eq!(left(&node), [format!("{}.json", node.bench.section.effect)], "no plain copy stays");
}

#[tokio::test]
async fn taken_again_one_is_sent_and_none_is_left() {
    let node = with_etcd(Member::named(NAME), NAME).await;
    let double = coordinator(&node).await;
    run(&node, &step()).await.unwrap();
    run(&node, &step()).await.unwrap();
    assert_eq!(double.held.lock().unwrap().uploads, 1, "a young one of this run is good enough");
    let note = Note::none();
    assert_eq!(Backup(&step()).probe(&node.cx(), &note).await, Found::Done);
    for _ in 0..2 {
        Backup(&step()).undo(&node.cx(), &note).await.unwrap();
        assert_eq!(left(&node).len(), 1);
    }
}

/// Refused, and nothing was sent, nothing is left, nothing secret was said.
async fn refused(node: &Node, step: &BackupK3s, word: &str) {
    let double = coordinator(node).await;
    let problem = run(node, step).await.unwrap_err();
    assert!(problem.what.contains(word), "{problem}");
    assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    assert_eq!(double.held.lock().unwrap().uploads, 0);
    assert!(left(node).is_empty(), "{:?}", left(node));
}

#[tokio::test]
async fn a_snapshot_with_a_flipped_bit_is_refused() {
    let mut member = Member::named(NAME);
    member.snapshot[4711] ^= 1;
    refused(&with_etcd(member, NAME).await, &step(), "damaged").await;
}

#[tokio::test]
async fn a_snapshot_that_is_cut_off_is_refused() {
    for pieces in [0, 1, 5] {
        let member = Member { cut_at: Some(pieces), ..Member::named(NAME) };
        refused(&with_etcd(member, NAME).await, &step(), "announced a snapshot of").await;
    }
}

#[tokio::test]
async fn a_snapshot_of_another_cluster_s_member_is_refused() {
    let node = with_etcd(Member::named("other-1-cafe0bad"), NAME).await;
    refused(&node, &step(), "another cluster's").await;
}

#[tokio::test]
async fn without_the_token_or_with_another_cluster_s_nothing_is_taken() {
    let node = with_etcd(Member::named(NAME), NAME).await;
    let token = node.data().await.join("server/token");
    fs::write(&token, format!("K10{}::server:hunter2\n", Sha256::of(b"another"))).unwrap();
    refused(&node, &step(), "another cluster").await;
    fs::remove_file(&token).unwrap();
    refused(&node, &step(), "token cannot be read").await;
}

#[tokio::test]
async fn a_database_that_is_not_whole_is_refused() {
    let node = Node::new().await;
    let database = node.data().await.join("server/db/state.db");
    fs::write(&database, vec![b'x'; 8192]).unwrap();
    node.starts_with(&database).await;
    refused(&node, &step(), "no datastore of K3s").await;
}

#[tokio::test]
async fn a_token_whose_password_does_not_open_the_database_s_bootstrap_data_is_refused() {
    let node = Node::new().await;
    let path = node.data().await.join("server/db/state.db");
    let database = datastore(&path, 10);
    node.starts_with(&path).await;
    refused(&node, &step(), "no bootstrap data").await;
    put(&database, "another");
    refused(&node, &step(), "not the token of this datastore").await;
    put(&database, "hunter2");
    let _double = coordinator(&node).await;
    run(&node, &step()).await.unwrap();
    // A password that was rotated away opens nothing any more.
    let node = Node::new().await;
    let path = node.data().await.join("server/db/state.db");
    let database = datastore(&path, 10);
    node.starts_with(&path).await;
    let sql = "INSERT INTO kine (name, deleted, value) VALUES ('/bootstrap/f52fbd32b2b3', 0, 'x'),
               ('/bootstrap/f52fbd32b2b3', 1, 'x'), ('/bootstrap/000000000000', 0, 'x')";
    database.execute(sql, []).unwrap();
    refused(&node, &step(), "not the token of this datastore").await;
    // K3s's lock, while it makes them: there are none yet.
    let node = Node::new().await;
    let path = node.data().await.join("server/db/state.db");
    let database = datastore(&path, 10);
    node.starts_with(&path).await;
    let sql = "INSERT INTO kine (name, deleted, value) VALUES (?1, 0, '')";
    database.execute(sql, [bootstrap_key("hunter2")]).unwrap();
    refused(&node, &step(), "no bootstrap data").await;
}

#[tokio::test]
async fn a_token_whose_password_does_not_open_etcd_s_bootstrap_data_is_refused() {
    let with = |keys: &[&str]| {
        let keys = keys.iter().map(|password| bootstrap_key(password)).collect();
        with_etcd(Member { keys, ..Member::named(NAME) }, NAME)
    };
    let seen = |node: Node| async move {
        refused(&node, &step(), "not the token of this datastore").await;
        // Seen ahead, and of the snapshot itself: what the step's check saw may have been rotated since.
        let (action, _double) = (Backup(&step()), coordinator(&node).await);
        let problem = action.apply(&node.cx(), &Note::none()).await.unwrap_err();
        assert!(problem.what.contains("not the token of this datastore"), "{problem}");
        assert!(problem.next[0].contains("put the token there"), "{problem:?}");
        assert!(left(&node).is_empty(), "{:?}", left(&node));
    };
    seen(with(&["another"]).await).await;
    seen(with(&["another", "a third"]).await).await;
    refused(&with(&[]).await, &step(), "no bootstrap data").await;
    // While it is rotated both are there.
    let node = with(&["another", "hunter2"]).await;
    let _double = coordinator(&node).await;
    run(&node, &step()).await.unwrap();
    // Rotated from the snapshot's moment to its end: what it holds is encrypted with the one before.
    let [now, before] = ["hunter2", "another"].map(|password| vec![bootstrap_key(password)]);
    let at_first = Arc::new(Mutex::new([now, before].into()));
    let node = with_etcd(Member { at_first, ..Member::named(NAME) }, NAME).await;
    refused(&node, &step(), "not the token of this datastore").await;
    // More keys than anybody has are not read.
    let keys = (0..70).map(|key| format!("/bootstrap/{key:012}")).collect();
    let node = with_etcd(Member { keys, ..Member::named(NAME) }, NAME).await;
    refused(&node, &step(), "more than 64 keys").await;
}

#[tokio::test]
async fn a_database_that_k3s_does_not_have_open_is_refused() {
    let node = Node::new().await;
    let database = node.data().await.join("server/db/state.db");
    let _database = datastore(&database, 10);
    refused(&node, &step(), "does not run").await;
    let used = node.data().await.join("elsewhere.db");
    let _used = datastore(&used, 10);
    node.starts_with(&used).await;
    refused(&node, &step(), "writes to another datastore").await;
}

#[tokio::test]
async fn a_datastore_of_somebody_else_is_refused_until_it_is_said_who_saves_it() {
    let node = Node::with(", \"--datastore-endpoint=mysql://root:hunter2@tcp(db:3306)/k3s\"").await;
    refused(&node, &step(), "somebody else (mysql)").await;
    let said =
        BackupK3s { external_datastore_backed_up_by: Some(" the DBA team, nightly ".into()), ..step() };
    let double = coordinator(&node).await;
    let seen = run(&node, &said).await.unwrap();
    assert!(
        matches!(&seen[..], [Evidence::BackedUpElsewhere { by, .. }] if by == "the DBA team, nightly"),
        "{seen:?}"
    );
    assert_eq!(double.held.lock().unwrap().uploads, 0);
}

/// What stands around a snapshot in an archive takes no part in its check, and none of its away.
#[tokio::test]
async fn an_archive_is_no_whole_backup_by_its_frame_alone() {
    let node = Node::new().await;
    let backups = Backups::in_state(&node.bench.host.state_dir);
    let Section { effect, run, component, .. } = &node.bench.section;
    let recipient = node.key.to_public().to_string();
    let sealing = backups.seal_as(Holds::EtcdSnapshot, (*effect, *run, component), 1, &recipient).unwrap();
    sealing.put(Piece::Frame(snapshot())).await;
    sealing.put(Piece::End).await;
    assert!(matches!(sealing.end().await, Err(BackupError::NotWhole(_))));
}
