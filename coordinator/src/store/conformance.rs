//! One suite over every store: what [`RunStore`] promises, and what a record must show. What only a file
//! can suffer (a kill, a full disk) is in [`crash`] and [`disk`].

mod crash;
mod disk;
mod latency;

use std::collections::BTreeMap;

use drydock_types::{
    ComponentName, EffectId, Epoch, Fence, FleetId, InstanceId, NodeName, RunId, Sha256, Version,
};

use super::{
    Commit, ComponentRow, EffectRow, LET_OUT_KEPT_MS, LetOutRow, NewEvent, RememberedRow, RunRow, RunStore,
    SampleRow, StandingRow, StoreError, memory::MemoryStore, record::RecordCheck, sqlite::SqliteStore,
};

/// A store under test, a way to open it a second time, and a way behind its back.
trait Subject {
    fn store(&mut self) -> &mut dyn RunStore;
    fn reopen(&self) -> Box<dyn RunStore>;
    fn tamper(&mut self, how: Tamper);
}

/// What somebody at the file may do to its record of five events.
#[derive(Debug, Clone, Copy)]
enum Tamper {
    EditText,
    EditTime,
    EditRun,
    EditHash,
    DeleteThird,
    DeleteLast,
    SwapSecondAndThird,
    Renumber,
}

struct Memory(MemoryStore);

impl Subject for Memory {
    fn store(&mut self) -> &mut dyn RunStore {
        &mut self.0
    }
    fn reopen(&self) -> Box<dyn RunStore> {
        Box::new(self.0.reopen())
    }
    fn tamper(&mut self, how: Tamper) {
        self.0.tamper(|events| match how {
            Tamper::EditText => events[2].event = b"{}".to_vec(),
            Tamper::EditTime => events[2].wall_ms += 1,
            Tamper::EditRun => events[2].run += 1,
            Tamper::EditHash => events[2].hash = Sha256([0; 32]),
            Tamper::DeleteThird => drop(events.remove(2)),
            Tamper::DeleteLast => drop(events.pop()),
            Tamper::SwapSecondAndThird => events.swap(1, 2),
            Tamper::Renumber => {
                events.remove(2);
                events.iter_mut().skip(2).for_each(|event| event.seq -= 1);
            }
        });
    }
}

struct Sqlite(SqliteStore, #[expect(dead_code, reason = "keeps the directory")] tempfile::TempDir);

impl Subject for Sqlite {
    fn store(&mut self) -> &mut dyn RunStore {
        &mut self.0
    }
    fn reopen(&self) -> Box<dyn RunStore> {
        Box::new(self.0.reopen())
    }
    fn tamper(&mut self, how: Tamper) {
        let sql = match how {
            Tamper::EditText => "UPDATE events SET event = '{}' WHERE seq = 3",
            Tamper::EditTime => "UPDATE events SET wall_ms = wall_ms + 1 WHERE seq = 3",
            Tamper::EditRun => "UPDATE events SET run = run + 1 WHERE seq = 3",
            Tamper::EditHash => "UPDATE events SET hash = 'none' WHERE seq = 3",
            Tamper::DeleteThird => "DELETE FROM events WHERE seq = 3",
            Tamper::DeleteLast => "DELETE FROM events WHERE seq = 5",
            Tamper::SwapSecondAndThird => {
                "UPDATE events SET seq = -2 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 3;
                 UPDATE events SET seq = 3 WHERE seq = -2;"
            }
            Tamper::Renumber => {
                "DELETE FROM events WHERE seq = 3; UPDATE events SET seq = seq - 1 WHERE seq > 3;"
            }
        };
        rusqlite::Connection::open(self.0.path()).unwrap().execute_batch(sql).unwrap();
    }
}

fn sqlite() -> Sqlite {
    let dir = tempfile::tempdir().unwrap();
    Sqlite(SqliteStore::create(&dir.path().join("drydock.db")).unwrap(), dir)
}

/// Both, taken over by instance 1.
fn both() -> Vec<Box<dyn Subject>> {
    let mut both: Vec<Box<dyn Subject>> =
        vec![Box::new(Memory(MemoryStore::new(FleetId([7; 16])))), Box::new(sqlite())];
    for subject in &mut both {
        subject.store().take_over(InstanceId([1; 16])).unwrap();
    }
    both
}

fn run(number: u64) -> RunRow {
    RunRow {
        number,
        id: RunId([u8::try_from(number).unwrap(); 16]),
        open: true,
        undoes: None,
        state: b"{\"a\":1}".to_vec(),
        parts: BTreeMap::from([(0, b"{\"plan\":1}".to_vec()), (2, b"{}".to_vec())]),
    }
}

fn event(run: u64, text: &str) -> NewEvent {
    NewEvent { run, wall_ms: 1000 + run, event: text.as_bytes().to_vec() }
}

fn effect(id: u8, section: &str) -> EffectRow {
    let node = NodeName::parse("db-1").unwrap();
    EffectRow { effect: EffectId([id; 32]), run: 1, node, section: section.as_bytes().to_vec() }
}

fn etcd() -> ComponentName {
    ComponentName::parse("etcd").unwrap()
}

/// Run 1 with five events in three commits.
fn five_events(store: &mut dyn RunStore) {
    let begin =
        Commit { runs: vec![run(1)], events: vec![event(1, "1"), event(1, "2")], ..Commit::default() };
    store.commit(&begin).unwrap();
    store.commit(&Commit { events: vec![event(1, "3")], ..Commit::default() }).unwrap();
    store.commit(&Commit { events: vec![event(1, "4"), event(1, "5")], ..Commit::default() }).unwrap();
}

#[test]
fn taking_over_raises_the_epoch_and_fences_the_older_owner_off() {
    for mut subject in both() {
        five_events(subject.store());
        let mut newer = subject.reopen();
        let before = newer.commit(&Commit::default()).unwrap_err();
        assert!(matches!(before, StoreError::TakenOver { found: 1, ours: 0 }), "{before}");
        let fence = newer.take_over(InstanceId([2; 16])).unwrap();
        assert_eq!((fence.epoch, fence.instance), (Epoch(2), InstanceId([2; 16])));
        let late = Commit { events: vec![event(1, "late")], clock_ms: 9, ..Commit::default() };
        let error = subject.store().commit(&late).unwrap_err();
        assert!(matches!(error, StoreError::TakenOver { found: 2, ours: 1 }), "{error}");
        assert_eq!(newer.events(1, 100).unwrap().len(), 5);
        assert_eq!(newer.load().unwrap().clock_ms, 0);
        newer.commit(&late).unwrap();
    }
}

#[test]
fn a_store_from_before_is_taken_over_above_what_agents_obeyed_and_says_so_in_its_record() {
    for mut subject in both() {
        five_events(subject.store());
        let mut newer = subject.reopen();
        let said = event(0, "restored");
        let fence = newer.take_over_above(InstanceId([2; 16]), Epoch(7), &said).unwrap();
        assert_eq!(fence, Fence { epoch: Epoch(8), instance: InstanceId([2; 16]) });
        assert_eq!(newer.record_end().unwrap().seq, 6);
        assert_eq!(newer.events(0, 9).unwrap()[0].event, said.event);
        assert!(matches!(newer.verify_chain().unwrap(), RecordCheck::Whole { events: 6, .. }));
        let error = subject.store().commit(&Commit::default()).unwrap_err();
        assert!(matches!(error, StoreError::TakenOver { found: 8, ours: 1 }), "{error}");
        // Its own epoch counts too, and there is none above the last.
        assert_eq!(newer.take_over_above(InstanceId([3; 16]), Epoch(2), &said).unwrap().epoch, Epoch(9));
        let error = newer.take_over_above(InstanceId([4; 16]), Epoch(u64::MAX), &said).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        newer.commit(&Commit { events: vec![event(1, "6")], ..Commit::default() }).unwrap();
        assert!(matches!(newer.verify_chain().unwrap(), RecordCheck::Whole { events: 8, .. }));
    }
}

#[test]
fn an_effect_is_known_when_it_was_decided_here_or_an_operator_has_decided_about_it() {
    for mut subject in both() {
        let (decided, adopted, other) = (EffectId([1; 32]), EffectId([2; 32]), EffectId([3; 32]));
        let begin = Commit { runs: vec![run(1)], open: vec![effect(1, "a")], ..Commit::default() };
        subject.store().commit(&begin).unwrap();
        subject.store().commit(&Commit { close: vec![decided], ..Commit::default() }).unwrap();
        subject.store().commit(&Commit { adopted: vec![adopted, adopted], ..Commit::default() }).unwrap();
        let store = subject.reopen();
        assert!(store.knows_effect(decided).unwrap() && store.knows_effect(adopted).unwrap());
        assert!(!store.knows_effect(other).unwrap());
        // What an operator decided about is not thereby an effect of ours: its id may still be decided here.
        subject.store().commit(&Commit { open: vec![effect(2, "b")], ..Commit::default() }).unwrap();
    }
}

#[test]
fn what_was_committed_is_what_is_loaded() {
    for mut subject in both() {
        let closed = RunRow { open: false, ..run(1) };
        let commit = Commit {
            clock_ms: 50,
            runs: vec![run(1), run(2), closed.clone(), run(3)],
            open: vec![EffectRow { run: 2, ..effect(1, "{}") }, EffectRow { run: 2, ..effect(2, "{}") }],
            close: vec![EffectId([1; 32]), EffectId([9; 32])],
            ..Commit::default()
        };
        subject.store().commit(&commit).unwrap();
        let store = subject.reopen();
        let loaded = store.load().unwrap();
        assert_eq!((loaded.runs, loaded.last_run, loaded.clock_ms), (vec![run(2), run(3)], 3, 50));
        assert_eq!(loaded.effects, [EffectRow { run: 2, ..effect(2, "{}") }]);
        assert_eq!(store.run(1).unwrap(), Some(closed.clone()));
        assert_eq!(store.run(4).unwrap(), None);
        assert_eq!(store.runs(2).unwrap(), [run(3), run(2)]);
        assert_eq!(store.runs(9).unwrap(), [run(3), run(2), closed]);
    }
}

#[test]
fn a_part_of_a_run_that_is_not_written_again_stays_as_it_is() {
    for mut subject in both() {
        subject.store().commit(&Commit { runs: vec![run(1), run(2)], ..Commit::default() }).unwrap();
        let parts = BTreeMap::from([(2, b"{\"b\":2}".to_vec()), (3, b"{}".to_vec())]);
        let changed = RunRow { state: b"{\"a\":2}".to_vec(), parts, ..run(1) };
        subject.store().commit(&Commit { runs: vec![changed.clone()], ..Commit::default() }).unwrap();
        let mut parts = run(1).parts;
        parts.extend(changed.parts.clone());
        let whole = RunRow { parts, ..changed };
        let store = subject.reopen();
        assert_eq!(store.run(1).unwrap(), Some(whole.clone()));
        assert_eq!(store.load().unwrap().runs, [whole, run(2)]);
    }
}

#[test]
fn a_commit_that_fails_in_its_middle_leaves_nothing_of_itself() {
    for mut subject in both() {
        five_events(subject.store());
        subject.store().commit(&Commit { open: vec![effect(1, "old")], ..Commit::default() }).unwrap();
        let before = subject.store().load().unwrap();
        let bad = [
            Commit { open: vec![effect(2, "x"), effect(1, "other")], ..Commit::default() },
            Commit { open: vec![effect(2, "x"), effect(2, "y")], ..Commit::default() },
            Commit { open: vec![EffectRow { run: 77, ..effect(2, "x") }], ..Commit::default() },
            Commit { runs: vec![RunRow { id: RunId([99; 16]), ..run(1) }], ..Commit::default() },
            Commit { runs: vec![RunRow { number: 9, ..run(1) }], ..Commit::default() },
        ];
        for half in bad {
            let runs = [run(2)].into_iter().chain(half.runs).collect();
            let component = ComponentRow {
                node: NodeName::parse("db-1").unwrap(),
                component: etcd(),
                version: Err("gone".into()),
                seen_ms: 1,
            };
            let commit = Commit {
                clock_ms: 99,
                runs,
                events: vec![event(1, "6")],
                close: vec![EffectId([1; 32])],
                components: vec![component],
                ..half
            };
            let error = subject.store().commit(&commit).unwrap_err();
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
            assert_eq!(subject.store().load().unwrap(), before);
            assert_eq!(subject.store().events(1, 100).unwrap().len(), 5);
            assert!(subject.store().components(&NodeName::parse("db-1").unwrap()).unwrap().is_empty());
        }
        assert!(matches!(subject.store().verify_chain().unwrap(), RecordCheck::Whole { events: 5, .. }));
        subject.store().commit(&Commit { events: vec![event(1, "6")], ..Commit::default() }).unwrap();
    }
}

#[test]
fn an_effect_may_be_decided_again_with_the_same_bytes_and_never_with_others() {
    for mut subject in both() {
        subject.store().commit(&Commit { runs: vec![run(1)], ..Commit::default() }).unwrap();
        let open = |section| Commit { open: vec![effect(1, section)], ..Commit::default() };
        subject.store().commit(&open("a")).unwrap();
        subject.store().commit(&open("a")).unwrap();
        let error = subject.store().commit(&open("b")).unwrap_err().to_string();
        assert!(error.contains("01010101") && error.contains("another payload"), "{error}");
        subject.store().commit(&Commit { close: vec![EffectId([1; 32])], ..Commit::default() }).unwrap();
        assert!(subject.store().load().unwrap().effects.is_empty());
        assert!(subject.store().commit(&open("b")).is_err(), "an ended effect got other bytes");
        subject.store().commit(&open("a")).unwrap();
        assert_eq!(subject.store().load().unwrap().effects.len(), 1);
    }
}

#[test]
fn the_clock_never_falls() {
    for mut subject in both() {
        for (clock_ms, reads) in [(5, 5), (3, 5), (0, 5), (6, 6)] {
            subject.store().commit(&Commit { clock_ms, ..Commit::default() }).unwrap();
            assert_eq!(subject.reopen().load().unwrap().clock_ms, reads);
        }
    }
}

#[test]
fn events_come_back_in_order_with_their_exact_bytes() {
    for mut subject in both() {
        five_events(subject.store());
        let other =
            Commit { events: vec![event(0, "fleet"), event(1, "6 é\u{1F6A2}")], ..Commit::default() };
        subject.store().commit(&other).unwrap();
        let last = subject.reopen().events(1, 3).unwrap();
        let texts: Vec<_> = last.iter().map(|row| String::from_utf8(row.event.clone()).unwrap()).collect();
        assert_eq!(texts, ["4", "5", "6 é\u{1F6A2}"]);
        assert_eq!(last.iter().map(|row| row.seq).collect::<Vec<_>>(), [4, 5, 7]);
        let RecordCheck::Whole { events, head } = subject.store().verify_chain().unwrap() else { panic!() };
        assert_eq!((events, head), (7, last[2].hash));
    }
}

/// Hostile input 24.
#[test]
fn an_event_edited_deleted_moved_or_cut_off_is_found_at_its_place() {
    use Tamper::{
        DeleteLast, DeleteThird, EditHash, EditRun, EditText, EditTime, Renumber, SwapSecondAndThird,
    };
    let expected = [
        (EditText, 3),
        (EditTime, 3),
        (EditRun, 3),
        (EditHash, 3),
        (DeleteThird, 3),
        (DeleteLast, 5),
        (SwapSecondAndThird, 2),
        (Renumber, 3),
    ];
    for (how, place) in expected {
        for mut subject in both() {
            five_events(subject.store());
            assert!(matches!(subject.store().verify_chain().unwrap(), RecordCheck::Whole { events: 5, .. }));
            subject.tamper(how);
            match subject.store().verify_chain().unwrap() {
                RecordCheck::Broken { seq, why } => assert_eq!(seq, place, "{how:?}: {why}"),
                whole => panic!("{how:?} was not found: {whole:?}"),
            }
        }
    }
}

#[test]
fn components_are_replaced_and_samples_fall_back_to_the_component() {
    for mut subject in both() {
        let node = NodeName::parse("db-1").unwrap();
        let seen =
            |version, seen_ms| ComponentRow { node: node.clone(), component: etcd(), version, seen_ms };
        let first = seen(Ok(Version::parse("3.5.16").unwrap()), 1);
        let second = seen(Err("connection refused".to_owned()), 2);
        let sample = |recipe, took_ms| SampleRow { recipe: Sha256([recipe; 32]), component: etcd(), took_ms };
        let samples = vec![sample(1, 10), sample(2, 20), sample(1, 30)];
        let commit = Commit { components: vec![first.clone()], samples, ..Commit::default() };
        subject.store().commit(&commit).unwrap();
        assert_eq!(subject.store().components(&node).unwrap(), [first]);
        let commit = Commit { components: vec![second.clone()], ..Commit::default() };
        subject.store().commit(&commit).unwrap();
        let store = subject.reopen();
        assert_eq!(store.components(&node).unwrap(), [second]);
        assert_eq!(store.samples(Sha256([1; 32]), &etcd(), 9).unwrap(), [30, 10]);
        assert_eq!(store.samples(Sha256([1; 32]), &etcd(), 1).unwrap(), [30]);
        assert_eq!(store.samples(Sha256([9; 32]), &etcd(), 2).unwrap(), [30, 20]);
        assert!(store.samples(Sha256([9; 32]), &ComponentName::parse("k3s").unwrap(), 2).unwrap().is_empty());
    }
}

#[test]
fn what_stands_on_record_is_replaced_and_comes_back_as_it_was_written() {
    let standing = |node: u8, text: &str| StandingRow { node: Sha256([node; 32]), document: text.into() };
    for mut subject in both() {
        assert_eq!(subject.store().load().unwrap().fleet_state, None);
        let first = Commit {
            standings: vec![standing(2, "{\"a\":1}"), standing(1, "{}")],
            fleet_state: Some(b"{\"frozen\":null}".to_vec()),
            ..Commit::default()
        };
        subject.store().commit(&first).unwrap();
        let second = Commit { standings: vec![standing(2, "{\"a\":2}")], ..Commit::default() };
        subject.store().commit(&second).unwrap();
        let loaded = subject.reopen().load().unwrap();
        assert_eq!(loaded.standings, [standing(1, "{}"), standing(2, "{\"a\":2}")]);
        assert_eq!(
            loaded.fleet_state.as_deref(),
            Some(&b"{\"frozen\":null}"[..]),
            "not named is not changed"
        );
    }
}

#[test]
fn who_was_let_out_is_kept_for_an_hour_of_the_fleets_clock() {
    let row = |node: u8, attempt, clock_ms| LetOutRow {
        node: Sha256([node; 32]),
        run: 1,
        stage: 0,
        attempt,
        clock_ms,
    };
    let commit =
        |clock_ms, rows: &[LetOutRow]| Commit { clock_ms, let_out: rows.to_vec(), ..Commit::default() };
    for mut subject in both() {
        subject.store().commit(&commit(10, &[row(1, 1, 10), row(2, 1, 10)])).unwrap();
        // The same departure again has a later time; another attempt is another one.
        subject.store().commit(&commit(20, &[row(1, 1, 20), row(1, 2, 20)])).unwrap();
        let kept = |subject: &dyn Subject| subject.reopen().load().unwrap().let_out;
        assert_eq!(kept(&*subject), [row(2, 1, 10), row(1, 1, 20), row(1, 2, 20)]);
        subject.store().commit(&commit(10 + LET_OUT_KEPT_MS, &[])).unwrap();
        assert_eq!(kept(&*subject).len(), 3, "nothing is cleared away for its own sake");
        let now = 10 + LET_OUT_KEPT_MS;
        subject.store().commit(&commit(now, &[row(3, 1, now)])).unwrap();
        assert_eq!(kept(&*subject), [row(1, 1, 20), row(1, 2, 20), row(3, 1, now)]);
    }
}

#[test]
fn an_injected_failure_of_the_memory_store_leaves_nothing() {
    let mut store = MemoryStore::new(FleetId([7; 16]));
    store.take_over(InstanceId([1; 16])).unwrap();
    let full = || StoreError::Full { path: "x".into(), wanted_bytes: 1, free_bytes: 0 };
    store.fail_next_commit(full());
    let commit = Commit { runs: vec![run(1)], ..Commit::default() };
    assert!(matches!(store.commit(&commit), Err(StoreError::Full { .. })));
    assert_eq!(store.load().unwrap().last_run, 0);
    store.commit(&commit).unwrap();
    assert_eq!(store.load().unwrap().last_run, 1);
}

#[test]
fn documents_are_kept_to_the_byte_under_their_digest_with_the_commit_or_not_at_all() {
    for mut subject in both() {
        let (signed, certificate) = (br#"{"a": 1 }"#.to_vec(), "-----BEGIN…\n".as_bytes().to_vec());
        let documents = vec![signed.clone(), certificate.clone()];
        let commit =
            Commit { runs: vec![run(1)], events: vec![event(1, "1")], documents, ..Commit::default() };
        subject.store().commit(&commit).unwrap();
        // Named again by a later event: the same bytes, once.
        let again = Commit { documents: vec![signed.clone()], ..Commit::default() };
        subject.store().commit(&again).unwrap();
        let refused = Commit {
            open: vec![EffectRow { run: 9, ..effect(1, "{}") }],
            documents: vec![b"never".to_vec()],
            ..Commit::default()
        };
        subject.store().commit(&refused).unwrap_err();
        let again = subject.reopen();
        for store in [&*again, &*subject.store()] {
            for bytes in [&signed, &certificate] {
                assert_eq!(store.document(Sha256::of(bytes)).unwrap().as_ref(), Some(bytes));
            }
            assert_eq!(store.document(Sha256::of(b"never")).unwrap(), None);
            assert_eq!(
                store.document(Sha256::of(br#"{"a":1}"#)).unwrap(),
                None,
                "not what it means: what it is"
            );
        }
    }
}

#[test]
fn the_records_end_is_that_of_the_last_commit_for_its_writer_and_for_the_next() {
    for mut subject in both() {
        let fleet = subject.store().load().unwrap().fleet;
        let start = subject.store().record_end().unwrap();
        assert_eq!((start.seq, start.hash), (0, super::chain_start(fleet)));
        five_events(subject.store());
        let end = subject.store().record_end().unwrap();
        assert_eq!(
            (end.seq, Some(end.hash)),
            (5, subject.store().events(1, 1).unwrap().pop().map(|row| row.hash))
        );
        subject.store().commit(&Commit { clock_ms: 3, ..Commit::default() }).unwrap();
        assert_eq!(subject.store().record_end().unwrap(), end, "a commit without events moves nothing");
        assert_eq!(subject.reopen().record_end().unwrap(), end);
    }
}

#[test]
fn the_chain_can_be_followed_by_digests_alone() {
    for mut subject in both() {
        let mut hash = super::chain_start(subject.store().load().unwrap().fleet);
        five_events(subject.store());
        for row in subject.store().events(1, 9).unwrap() {
            hash = super::chain_over(hash, row.seq, row.run, row.wall_ms, Sha256::of(&row.event));
            assert_eq!(hash, row.hash);
        }
    }
}

#[test]
fn what_agents_hold_of_closed_runs_is_kept_until_it_is_forgotten() {
    for subject in &mut both() {
        let component = |text: &str| ComponentName::parse(text).unwrap();
        let row = |id: u8, keeps: Option<&str>| RememberedRow {
            effect: EffectId([id; 32]),
            run: 1,
            node: NodeName::parse("db-1").unwrap(),
            key: Sha256::of(b"db-1"),
            keeps: keeps.map(component),
        };
        let begin = Commit {
            runs: vec![run(1)],
            remembered: vec![row(2, None), row(1, Some("etcd"))],
            ..Commit::default()
        };
        subject.store().commit(&begin).unwrap();
        assert_eq!(subject.reopen().load().unwrap().remembered, [row(1, Some("etcd")), row(2, None)]);
        let release = Commit {
            remembered: vec![row(1, None), row(3, Some("etcd"))],
            forgotten: vec![EffectId([2; 32]), EffectId([99; 32])],
            ..Commit::default()
        };
        subject.store().commit(&release).unwrap();
        assert_eq!(subject.reopen().load().unwrap().remembered, [row(1, None), row(3, Some("etcd"))]);
    }
}

#[test]
fn a_run_is_found_by_what_it_takes_back() {
    for subject in &mut both() {
        let back = |number| RunRow { undoes: Some(1), ..run(number) };
        subject
            .store()
            .commit(&Commit { runs: vec![run(1), back(2), run(3), back(4)], ..Commit::default() })
            .unwrap();
        assert_eq!(subject.store().undone_by(1).unwrap(), [2, 4]);
        assert!(subject.store().undone_by(2).unwrap().is_empty());
        assert_eq!(subject.store().run(4).unwrap().unwrap().undoes, Some(1));
        assert_eq!(subject.store().runs(1).unwrap()[0].undoes, Some(1));
    }
}
