use super::*;
use crate::store::sqlite::SqliteStore;

fn backups() -> (Backups, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
    (Backups::open(&dir.path().join("backups"), store.registry().unwrap()).unwrap(), dir)
}

fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn header(effect: u8, bytes: &[u8]) -> BackupHeader {
    BackupHeader {
        effect: EffectId([effect; 32]),
        component: ComponentName::parse("etcd").unwrap(),
        sha256: Sha256::of(bytes),
        size: bytes.len() as u64,
    }
}

fn upload(backups: &Backups, name: &str, header: &BackupHeader, offset: u64) -> Upload {
    match backups.begin(&node(name), header, offset, 1).unwrap() {
        Begun::Upload(upload) => upload,
        Begun::Complete(held) => panic!("{held:?}"),
    }
}

fn stat(backups: &Backups, name: &str, header: &BackupHeader) -> Held {
    backups.stat(&node(name), header.effect, header.sha256, header.size).unwrap()
}

#[test]
fn an_upload_goes_on_where_it_stopped_also_after_a_restart() {
    let (backups, dir) = backups();
    let header = header(1, b"0123456789");
    assert_eq!(stat(&backups, "db-1", &header), Held { held: 0, complete: false });
    let mut first = upload(&backups, "db-1", &header, 0);
    first.write(b"0123").unwrap();
    assert_eq!(first.finish(2).unwrap(), Held { held: 4, complete: false });
    let mut cut = upload(&backups, "db-1", &header, 4);
    cut.write(b"45").unwrap();
    drop(cut);
    let again = Backups::open(&dir.path().join("backups"), backups.registry.clone()).unwrap();
    assert_eq!(stat(&again, "db-1", &header), Held { held: 6, complete: false });
    let mut last = upload(&again, "db-1", &header, 6);
    last.write(b"6789").unwrap();
    assert_eq!(last.finish(3).unwrap(), Held { held: 10, complete: true });
    assert_eq!(stat(&again, "db-1", &header), Held { held: 10, complete: true });
    let place = dir.path().join("backups/db-1/01010101-etcd.age");
    assert_eq!(std::fs::read(&place).unwrap(), b"0123456789");
    assert_eq!(again.path_of(&again.list(&node("db-1")).unwrap()[0]), Some(place));
    assert!(matches!(again.begin(&node("db-1"), &header, 0, 4).unwrap(), Begun::Complete(_)));
    assert_eq!(std::fs::read_dir(dir.path().join("backups/db-1")).unwrap().count(), 1);
}

#[test]
fn an_upload_elsewhere_than_at_the_held_offset_or_beside_another_is_refused() {
    let (backups, _dir) = backups();
    let header = header(1, b"0123456789");
    let mut first = upload(&backups, "db-1", &header, 0);
    first.write(b"0123").unwrap();
    assert!(matches!(backups.begin(&node("db-1"), &header, 4, 1), Err(BackupError::Busy)));
    drop(first);
    for offset in [0, 3, 5, u64::MAX] {
        let error = backups.begin(&node("db-1"), &header, offset, 1).unwrap_err();
        assert!(matches!(error, BackupError::Offset { held: 4, .. }), "{error}");
    }
    upload(&backups, "db-1", &header, 4).write(b"45").unwrap();
}

/// Hostile input 19.
#[test]
fn more_bytes_than_declared_are_refused_and_wrong_ones_are_not_kept() {
    let (backups, dir) = backups();
    let right = header(1, b"0123456789");
    let mut long = upload(&backups, "db-1", &right, 0);
    assert!(matches!(long.write(&[0; 11]), Err(BackupError::TooLong { declared: 10 })));
    long.write(b"9876543210").unwrap();
    assert!(matches!(long.write(b"x"), Err(BackupError::TooLong { .. })));
    assert!(matches!(long.finish(1), Err(BackupError::WrongDigest { .. })));
    assert_eq!(stat(&backups, "db-1", &right), Held { held: 0, complete: false });
    assert_eq!(std::fs::read_dir(dir.path().join("backups/db-1")).unwrap().count(), 0);
    for size in [0, MAX_BACKUP_BYTES + 1, u64::MAX] {
        let error = backups.begin(&node("db-1"), &BackupHeader { size, ..right.clone() }, 0, 1).unwrap_err();
        assert!(matches!(error, BackupError::Size { .. }));
    }
}

#[test]
fn the_quota_is_judged_before_a_byte_is_taken_and_removal_gives_room_back() {
    let (backups, dir) = backups();
    let backups = backups.with_quota(15);
    upload(&backups, "db-1", &header(1, b"0123456789"), 0).write(b"01").unwrap();
    let error = backups.begin(&node("db-1"), &header(2, b"abcdef"), 0, 1).unwrap_err();
    assert!(matches!(error, BackupError::Refused(Refusal::Quota { wanted_bytes: 16, .. })), "{error}");
    assert_eq!(std::fs::read_dir(dir.path().join("backups/db-1")).unwrap().count(), 1);
    drop(upload(&backups, "db-2", &header(2, b"abcdef"), 0));
    assert!(backups.remove(&node("db-1"), EffectId([1; 32])).unwrap());
    assert!(!backups.remove(&node("db-1"), EffectId([1; 32])).unwrap());
    drop(upload(&backups, "db-1", &header(2, b"abcdef"), 0));
}

#[test]
fn a_node_reaches_only_its_own_and_a_whole_backup_is_not_replaced() {
    let (backups, dir) = backups();
    let mine = header(1, b"mine");
    let mut whole = upload(&backups, "db-1", &mine, 0);
    whole.write(b"mine").unwrap();
    assert!(whole.finish(1).unwrap().complete);
    assert_eq!(stat(&backups, "db-2", &mine), Held { held: 0, complete: false });
    let mut theirs = upload(&backups, "db-2", &header(1, b"theirs"), 0);
    theirs.write(b"theirs").unwrap();
    assert!(theirs.finish(1).unwrap().complete);
    assert!(backups.begin(&node("db-1"), &header(1, b"ransom"), 0, 2).is_err());
    assert_eq!(std::fs::read(dir.path().join("backups/db-1/01010101-etcd.age")).unwrap(), b"mine");
}

#[test]
fn a_half_sent_backup_gives_way_to_a_newer_one_of_the_same_section() {
    let (backups, _dir) = backups();
    upload(&backups, "db-1", &header(1, b"0123456789"), 0).write(b"0123").unwrap();
    let newer = header(1, b"abc");
    let mut upload = upload(&backups, "db-1", &newer, 0);
    upload.write(b"abc").unwrap();
    assert!(upload.finish(1).unwrap().complete);
}

#[test]
fn two_effects_that_share_a_file_name_are_not_mixed_up() {
    let (backups, dir) = backups();
    let first = header(1, b"one");
    let mut effect = first.effect;
    effect.0[31] = 9;
    let second = BackupHeader { effect, ..header(1, b"two") };
    let mut whole = upload(&backups, "db-1", &first, 0);
    whole.write(b"one").unwrap();
    whole.finish(1).unwrap();
    let mut other = upload(&backups, "db-1", &second, 0);
    other.write(b"two").unwrap();
    assert!(matches!(other.finish(1), Err(BackupError::NameTaken(_))));
    assert_eq!(std::fs::read(dir.path().join("backups/db-1/01010101-etcd.age")).unwrap(), b"one");
}
