use std::future::Future;

use drydock_types::{Epoch, InstanceId, Millis, Section, SectionKind, outcome::SectionResult};
use proptest::prelude::*;

use super::{
    memory::{Fault, MemoryDisk, Survives},
    *,
};
use crate::section;

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn open(disk: &MemoryDisk) -> Result<Journal, JournalError> {
    Journal::open(Box::new(disk.clone()), || JournalId([7; 16])).await
}

fn effect(number: u8) -> EffectId {
    EffectId([number; 32])
}

fn accepted(number: u8) -> Record {
    let (section, deadline) = (section::empty(SectionKind::Apply), Millis::secs(10));
    let section = Section { effect: effect(number), deadline, ..section };
    let bytes = document::encode(&section);
    let payload = Sha256::of(&bytes);
    Record::Accepted { effect: section.effect, payload, section: String::from_utf8(bytes).unwrap() }
}

fn outcome(number: u8) -> Outcome {
    Outcome {
        effect: effect(number),
        result: SectionResult::Done {},
        steps: vec![],
        took: Millis(number.into()),
        out_of_service: None,
        evidence: vec![],
    }
}

fn ended(number: u8) -> Record {
    Record::Ended { effect: effect(number), payload: Sha256([number; 32]), outcome: outcome(number) }
}

fn fence(epoch: u64) -> Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([9; 16]) }
}

#[test]
fn what_was_written_durably_is_there_after_a_crash_and_what_was_not_is_gone() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.append(&[Record::FenceSeen { fence: fence(3) }, accepted(1)], true).await.unwrap();
        journal
            .append(
                &[Record::StepBegun { effect: effect(1), index: 0, note: crate::actions::Note::none() }],
                false,
            )
            .await
            .unwrap();
        assert_eq!(journal.length(), 2, "what is not on the disk is not counted");
        disk.crash(Survives::Nothing);
        let journal = open(&disk).await.unwrap();
        assert_eq!((journal.length(), journal.seen()), (2, Some(&fence(3))));
        let open = journal.open_section().unwrap();
        assert_eq!((open.effect, open.steps.len()), (effect(1), 0));
    });
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.append(&[accepted(1), ended(1)], true).await.unwrap();
        let safe = disk.length();
        journal.append(&[accepted(2)], false).await.unwrap();
        let all = disk.length();
        for survives in 0..usize::try_from(all - safe).unwrap() {
            for left in [Survives::Prefix(survives), Survives::AllBut(survives + 3)] {
                let torn = MemoryDisk::new();
                let bytes = disk.read(0, usize::try_from(all).unwrap()).unwrap();
                torn.edit(|file| *file = bytes[..usize::try_from(safe).unwrap()].to_vec());
                let mut handle = torn.clone();
                handle.append(bytes[usize::try_from(safe).unwrap()..].to_vec(), false).await.unwrap();
                torn.crash(left);
                let journal = open(&torn).await.unwrap();
                assert_eq!((journal.length(), torn.length()), (2, safe), "{left:?}");
                assert!(matches!(journal.stored(effect(1)).unwrap(), Stored::Ended { .. }));
            }
        }
    });
}

#[test]
fn pages_lost_within_the_unsynced_tail_are_no_corruption() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.append(&[accepted(1)], true).await.unwrap();
        let begun =
            |index| Record::StepBegun { effect: effect(1), index, note: crate::actions::Note::none() };
        journal.append(&[begun(0)], false).await.unwrap();
        journal.append(&[begun(1)], false).await.unwrap();
        disk.crash(Survives::AllBut(40));
        assert_eq!(open(&disk).await.unwrap().length(), 1);
    });
}

#[test]
fn damage_where_the_journal_had_been_safe_stops_the_agent() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.append(&[accepted(1)], true).await.unwrap();
        journal.append(&[ended(1)], true).await.unwrap();
        for at in [HEADER_BYTES + 2, HEADER_BYTES + 9, HEADER_BYTES + FRAME_BYTES + 3, 20, 45] {
            disk.edit(|file| file[at] ^= 0x40);
            let error = open(&disk).await.unwrap_err();
            assert!(
                matches!(error, JournalError::Damaged { .. }) && error.stops_the_agent(),
                "{at}: {error}"
            );
            assert!(error.to_string().contains("aside"), "it says what to do");
            disk.edit(|file| file[at] ^= 0x40);
        }
        assert!(open(&disk).await.is_ok());
    });
}

#[test]
fn a_full_disk_refuses_and_leaves_nothing_behind() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        disk.set_capacity(Some(disk.length()));
        assert!(matches!(journal.reserve(1 << 20).await, Err(JournalError::Full)));
        let before = disk.length();
        disk.fail(disk.operations(), Fault::Full);
        let error = journal.append(&[accepted(1)], true).await.unwrap_err();
        assert!(matches!(error, JournalError::Full) && !error.stops_the_agent());
        assert_eq!((disk.length(), journal.open_section()), (before, None));
        disk.set_capacity(None);
        journal.append(&[accepted(1)], true).await.unwrap();
    });
}

#[test]
fn a_fence_finds_room_on_a_full_disk() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        disk.set_capacity(Some(0));
        journal.append(&[Record::FenceSeen { fence: fence(3) }], true).await.unwrap();
    });
}

#[test]
fn an_fsync_that_failed_is_never_tried_again() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        disk.fail(disk.operations(), Fault::Io);
        let error = journal.append(&[accepted(1)], true).await.unwrap_err();
        assert!(error.stops_the_agent(), "{error}");
        assert!(matches!(journal.append(&[accepted(1)], true).await, Err(JournalError::Stopped)));
        disk.crash(Survives::Nothing);
        assert_eq!(open(&disk).await.unwrap().length(), 0);
    });
}

#[test]
fn compaction_keeps_fence_outcomes_and_id_and_the_length_never_falls() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.append(&[Record::FenceSeen { fence: fence(5) }], true).await.unwrap();
        let mut length = 0;
        for round in 0..400u32 {
            let number = u8::try_from(round % 200).unwrap();
            journal.append(&[accepted(number), ended(number)], true).await.unwrap();
            if number % 10 != 0 {
                journal.forget(&[effect(number)]).await.unwrap();
            }
            journal.tidy().await.unwrap();
            assert!(journal.length() >= length);
            length = journal.length();
        }
        assert!(disk.length() < COMPACT_FROM_BYTES * 2, "{}", disk.length());
        disk.crash(Survives::Nothing);
        let journal = open(&disk).await.unwrap();
        assert!(journal.length() >= length && journal.id() == JournalId([7; 16]));
        assert_eq!(journal.seen(), Some(&fence(5)));
        let stored = Stored::Ended { payload: Sha256([10; 32]), outcome: Box::new(outcome(10)) };
        assert_eq!(journal.stored(effect(10)).unwrap(), stored);
        assert_eq!(journal.stored(effect(11)).unwrap(), Stored::Unknown);
    });
}

#[test]
fn a_compaction_without_room_leaves_the_journal_as_it_is() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        for number in 0..200 {
            journal.append(&[accepted(number), ended(number)], true).await.unwrap();
        }
        let effects: Vec<_> = (0..199).map(effect).collect();
        // The append of `Forgotten` is the next operation, the replacement the one behind it.
        disk.edit(|_| ());
        journal.append(&[Record::Forgotten { effects }], false).await.unwrap();
        disk.fail(disk.operations(), Fault::Full);
        let before = disk.length();
        journal.tidy().await.unwrap();
        assert_eq!(disk.length(), before);
        assert!(matches!(journal.stored(effect(199)).unwrap(), Stored::Ended { .. }));
    });
}

#[test]
fn too_many_unreleased_outcomes_refuse_new_sections() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        for number in 0..MAX_ENDED {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let outcome = Outcome { effect: EffectId(id), ..outcome(1) };
            let record = Record::Ended { effect: EffectId(id), payload: Sha256(id), outcome };
            journal.append(&[record], false).await.unwrap();
        }
        assert!(matches!(journal.reserve(1).await, Err(JournalError::Crowded { .. })));
    });
}

#[test]
fn a_real_file_survives_reopening_and_reserved_space_is_not_read_as_records() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("journal");
        let reopen = || async {
            let disk = FileDisk::open(&place).unwrap();
            Journal::open(Box::new(disk), || JournalId([3; 16])).await.unwrap()
        };
        let mut journal = reopen().await;
        journal.reserve(1 << 20).await.unwrap();
        journal.append(&[accepted(1)], true).await.unwrap();
        drop(journal);
        let mut journal = reopen().await;
        assert_eq!((journal.length(), journal.open_section().unwrap().effect), (1, effect(1)));
        journal.append(&[ended(1)], true).await.unwrap();
        for number in 2..200 {
            journal.append(&[accepted(number), ended(number)], false).await.unwrap();
        }
        let effects: Vec<_> = (2..200).map(effect).collect();
        journal.forget(&effects).await.unwrap();
        assert!(std::fs::metadata(place.join("journal")).unwrap().len() < 4096, "compacted");
        let length = journal.length();
        drop(journal);
        let journal = reopen().await;
        assert_eq!(journal.length(), length);
        assert!(matches!(journal.stored(effect(1)).unwrap(), Stored::Ended { .. }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is written and wherever the machine dies: what was durable is there, the length that was
    /// said never falls, and nothing is read as corruption.
    #[test]
    fn no_crash_loses_what_was_durable(
        plan in prop::collection::vec((0u8..4, any::<bool>(), 0usize..400), 1..40),
    ) {
        run(async {
            let disk = MemoryDisk::new();
            let mut journal = open(&disk).await.unwrap();
            let (mut said, mut next, mut safe) = (0, 0u8, None);
            for (what, durable, cut) in plan {
                match what {
                    0 | 1 if journal.open_section().is_none() => {
                        next = next.wrapping_add(1);
                        journal.append(&[accepted(next), ended(next)], durable).await.unwrap();
                        if durable { safe = Some(next); }
                    }
                    2 => {
                        disk.crash(if durable { Survives::Prefix(cut) } else { Survives::AllBut(cut) });
                        journal = open(&disk).await.unwrap();
                    }
                    _ => journal.tidy().await.unwrap(),
                }
                assert!(journal.length() >= said);
                said = journal.length();
                if let Some(safe) = safe {
                    assert!(matches!(journal.stored(effect(safe)).unwrap(), Stored::Ended { .. }));
                }
            }
        });
    }
}

fn head(seq: u64, hash: u8) -> Head {
    Head { fleet: drydock_types::FleetId([3; 16]), epoch: Epoch(1), seq, hash: Sha256([hash; 32]) }
}

#[test]
fn a_head_goes_to_the_disk_with_the_next_write_and_costs_none_of_its_own() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        let before = disk.operations();
        assert_eq!(journal.hear_head(head(3, 3)), Followed::News);
        assert_eq!(journal.hear_head(head(4, 4)), Followed::News);
        assert_eq!(journal.heads().head, Some(head(4, 4)));
        assert_eq!(disk.operations(), before, "nothing is written for it");
        journal.append(&[accepted(1)], true).await.unwrap();
        assert_eq!(disk.operations(), before + 1, "one write takes both");
        assert_eq!(journal.length(), 2, "the later head alone, and the section");
        journal.hear_head(head(5, 5));
        disk.crash(Survives::Nothing);
        let mut journal = open(&disk).await.unwrap();
        assert_eq!(journal.heads().head, Some(head(4, 4)), "the last one that a write took along");
        // Told again after the crash, it is news again.
        assert_eq!(journal.hear_head(head(5, 5)), Followed::News);
        journal.keep_heads().await.unwrap();
        let written = disk.operations();
        journal.keep_heads().await.unwrap();
        assert_eq!(disk.operations(), written, "once");
    });
}

#[test]
fn heads_that_are_refused_are_kept_with_what_they_contradict_through_crash_and_compaction() {
    run(async {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk).await.unwrap();
        journal.hear_head(head(9, 9));
        for (told, followed) in [
            (head(8, 8), Followed::Back),
            (head(9, 1), Followed::Fork),
            (head(9, 9), Followed::Known),
            (head(10, 10), Followed::News),
            (head(10, 11), Followed::Fork),
        ] {
            assert_eq!(journal.hear_head(told), followed, "{told}");
        }
        let kept = |journal: &Journal| {
            let heads = journal.heads();
            assert_eq!(heads.head, Some(head(10, 10)));
            let pairs: Vec<_> = heads.conflicts.iter().map(|both| (both.kept.seq, both.told.seq)).collect();
            assert_eq!(pairs, [(9, 8), (10, 10)]);
        };
        kept(&journal);
        journal.append(&[accepted(1), ended(1)], true).await.unwrap();
        disk.crash(Survives::Nothing);
        let mut journal = open(&disk).await.unwrap();
        kept(&journal);
        for number in 2..=200 {
            journal.append(&[accepted(number), ended(number)], false).await.unwrap();
        }
        let (long, count) = (disk.length(), journal.length());
        let all: Vec<_> = (1..=200).map(effect).collect();
        journal.forget(&all).await.unwrap();
        assert!(disk.length() < long && journal.length() > count, "it was compacted");
        kept(&journal);
        kept(&open(&disk).await.unwrap());
        // However many coordinators contradict themselves, the journal does not grow by it.
        for seq in 11..100 {
            journal.hear_head(head(seq, 1));
            journal.hear_head(head(seq, 2));
        }
        assert_eq!(journal.heads().conflicts.len(), drydock_types::signed::MAX_CONFLICTS);
    });
}
