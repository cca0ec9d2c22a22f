//! The file and the disk under it.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn big(store: &mut dyn RunStore) -> Result<u64, StoreError> {
    for nth in 0..10_000 {
        let events = vec![event(1, &"x".repeat(20_000))];
        store.commit(&Commit { clock_ms: nth, events, ..Commit::default() })?;
    }
    panic!("the disk never filled");
}

fn check_full(store: &mut dyn RunStore) {
    let error = big(store).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.to_string().contains("Free some space"), "{error}");
    let RecordCheck::Whole { events, .. } = store.verify_chain().unwrap() else { panic!() };
    let loaded = store.load().unwrap();
    assert_eq!(loaded.clock_ms, events.saturating_sub(1), "a part of the failed commit is there");
    assert_eq!(store.events(1, u32::MAX).unwrap().len() as u64, events);
}

#[test]
fn a_full_database_refuses_the_commit_and_stays_readable() {
    let mut subject = sqlite();
    subject.0.take_over(InstanceId([1; 16])).unwrap();
    subject.0.let_no_page_be_added();
    check_full(&mut subject.0);
}

/// With a real full disk, where a small one can be mounted (root).
#[test]
fn a_full_disk_refuses_the_commit_stays_readable_and_goes_on_when_there_is_room_again() {
    use nix::mount::{MsFlags, mount, umount};
    let dir = tempfile::tempdir().unwrap();
    let options = Some("size=2m");
    if let Err(why) = mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options) {
        eprintln!("not run: no tmpfs can be mounted here ({why})");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let path = dir.path().join("drydock.db");
        let ballast = dir.path().join("ballast");
        std::fs::write(&ballast, vec![1; 300_000]).unwrap();
        let mut store = SqliteStore::create(&path).unwrap();
        store.take_over(InstanceId([1; 16])).unwrap();
        check_full(&mut store);
        // Whatever cannot be written changes nothing that can be read, however often.
        assert!(matches!(big(&mut store), Err(StoreError::Full { .. })));
        std::fs::remove_file(&ballast).unwrap();
        store.commit(&Commit { events: vec![event(1, "room again")], ..Commit::default() }).unwrap();
        drop(store);
        let store = SqliteStore::open(&path).unwrap();
        assert!(matches!(store.verify_chain().unwrap(), RecordCheck::Whole { .. }));
    });
    umount(dir.path()).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_store_is_made_once_for_us_alone_and_opened_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/drydock.db");
    assert!(matches!(SqliteStore::open(&path.with_file_name("x")), Err(StoreError::Missing { .. })));
    let store = SqliteStore::open_or_create(&path).unwrap();
    let fleet = store.load().unwrap().fleet;
    for file in ["drydock.db", "drydock.db-wal", "drydock.db-shm", "drydock.db.lock"] {
        let mode = std::fs::metadata(path.with_file_name(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for second in [SqliteStore::open(&path), SqliteStore::create(&path), SqliteStore::open_or_create(&path)] {
        let error = second.unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    }
    let registry = store.registry().unwrap();
    drop(store);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse { .. })), "the registry still has it");
    drop(registry);
    assert!(matches!(SqliteStore::create(&path), Err(StoreError::Exists { .. })));
    assert_eq!(SqliteStore::open(&path).unwrap().load().unwrap().fleet, fleet);
}

#[test]
fn a_creation_that_was_cut_short_is_no_store_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drydock.db");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Missing { .. })));
    SqliteStore::open_or_create(&path).unwrap();
}

#[test]
fn a_file_of_a_newer_build_of_another_program_or_of_nothing_known_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drydock.db");
    drop(SqliteStore::create(&path).unwrap());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 77).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Schema { found: 77, known: 2, .. }), "{error}");
    conn.pragma_update(None, "application_id", 5).unwrap();
    let error = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("some other program"), "{error}");
    drop(conn);
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, vec![0x5a; 10_000]).unwrap();
    let error = SqliteStore::open_or_create(&garbage).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(std::fs::read(&garbage).unwrap(), vec![0x5a; 10_000]);
}

/// As a coordinator that knew of no clusters left it.
#[test]
fn a_file_of_the_first_schema_is_brought_to_this_one_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drydock.db");
    let store = SqliteStore::create(&path).unwrap();
    let fleet = store.load().unwrap().fleet;
    store.registry().unwrap().set_meta("kept", "yes").unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("DROP TABLE bindings; DROP TABLE clusters; PRAGMA user_version = 1;").unwrap();
    drop(conn);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap().fleet, fleet);
    let registry = store.registry().unwrap();
    assert_eq!(registry.meta("kept").unwrap().as_deref(), Some("yes"));
    assert!(registry.clusters().unwrap().is_empty() && registry.bindings().unwrap().is_empty());
}

#[test]
fn an_operators_open_transaction_is_waited_for_and_then_named() {
    let mut subject = sqlite();
    subject.0.take_over(InstanceId([1; 16])).unwrap();
    let shell = rusqlite::Connection::open(subject.0.path()).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = subject.0.commit(&Commit::default()).unwrap_err().to_string();
    assert!(error.contains("sqlite3"), "{error}");
    shell.execute_batch("ROLLBACK").unwrap();
    subject.0.commit(&Commit::default()).unwrap();
}

#[test]
fn a_copy_that_was_taken_over_elsewhere_fences_off_whoever_still_writes() {
    let mut subject = sqlite();
    subject.0.take_over(InstanceId([1; 16])).unwrap();
    let other = rusqlite::Connection::open(subject.0.path()).unwrap();
    other.execute("UPDATE fleet SET epoch = 9, instance = ?1", ["09".repeat(16)]).unwrap();
    let error = subject.0.commit(&Commit::default()).unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { found: 9, ours: 1 }), "{error}");
    // The same number from another start is somebody else too.
    other.execute("UPDATE fleet SET epoch = 1", []).unwrap();
    assert!(matches!(subject.0.commit(&Commit::default()), Err(StoreError::TakenOver { .. })));
}

#[test]
fn a_number_or_text_that_sqlite_cannot_hold_is_refused() {
    let mut subject = sqlite();
    subject.0.take_over(InstanceId([1; 16])).unwrap();
    let commit = Commit { clock_ms: u64::MAX, ..Commit::default() };
    assert!(matches!(subject.0.commit(&commit), Err(StoreError::Refused { .. })));
    let bytes = NewEvent { run: 1, wall_ms: 1, event: vec![0xff] };
    let commit = Commit { events: vec![bytes], ..Commit::default() };
    assert!(matches!(subject.0.commit(&commit), Err(StoreError::Refused { .. })));
    assert!(subject.0.events(u64::MAX, 1).unwrap().is_empty());
}
