//! Backups to willing and unwilling coordinators.

use std::{collections::BTreeMap, io::Read as _, os::unix::fs::PermissionsExt as _, sync::Arc};

use drydock_types::{ArtifactRef, Section};

use super::*;
use crate::{
    artifacts::tests::{
        coordinator::{Double, Manner, serve},
        section,
    },
    remote::{Remote, remote},
};

const MINUTE: Duration = Duration::from_secs(60);
const EFFECT: EffectId = EffectId([1; 32]);
const RUN: RunId = RunId([2; 16]);

fn etcd() -> ComponentName {
    ComponentName::parse("etcd").unwrap()
}

fn snapshot() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..512 * 1000u32).map(|i| (i % 251) as u8).collect();
    bytes.extend_from_slice(&Sha256::of(&bytes).0);
    bytes
}

async fn seal(backups: &Backups, key: &age::x25519::Identity, plain: &[u8]) -> Result<Receipt, BackupError> {
    let sealing = backups.seal(EFFECT, RUN, &etcd(), 7, &key.to_public().to_string())?;
    for piece in plain.chunks(10_000) {
        sealing.put(Piece::Bytes(piece.to_vec())).await;
    }
    sealing.put(Piece::End).await;
    sealing.end().await
}

fn left(backups: &Backups) -> Vec<String> {
    let entries = fs::read_dir(backups.dir()).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn coordinator() -> (Remote, Arc<Double>) {
    let (channel, double) = serve(vec![], Manner::Honest).await;
    let (sender, remote) = remote();
    sender.publish(Some(channel));
    (remote, double)
}

#[tokio::test]
async fn a_backup_is_encrypted_sent_resumed_and_opens_with_the_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let key = age::x25519::Identity::generate();
    let plain = snapshot();
    let receipt = seal(&backups, &key, &plain).await.unwrap();
    assert_eq!((receipt.sha256, receipt.size), (Sha256::of(&plain), plain.len() as u64));
    let mode = fs::metadata(backups.sealed_file(EFFECT)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (remote, double) = coordinator().await;
    double.held.lock().unwrap().break_upload_after = Some(100_000);
    upload(&backups, &remote, &receipt, MINUTE, &|_, _| {}).await.unwrap();
    let held = double.held.lock().unwrap();
    assert_eq!(held.uploads, 2);
    assert_eq!(Sha256::of(&held.backup), receipt.stored_sha256);
    let mut opened = Vec::new();
    let decryptor = age::Decryptor::new(&held.backup[..]).unwrap();
    decryptor.decrypt(std::iter::once(&key as &dyn age::Identity)).unwrap().read_to_end(&mut opened).unwrap();
    assert_eq!(opened, plain);
    assert_eq!(left(&backups), [format!("{EFFECT}.json")], "only the receipt stays");
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_nothing_of_it_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let key = age::x25519::Identity::generate();
    let mut plain = snapshot();
    plain[4711] ^= 1;
    let refused = seal(&backups, &key, &plain).await;
    assert!(matches!(refused, Err(BackupError::NotWhole(NotWhole::Digest))), "{refused:?}");
    assert_eq!(left(&backups), [""; 0]);
}

#[tokio::test]
async fn a_snapshot_whose_stream_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let key = age::x25519::Identity::generate();
    let sealing = backups.seal(EFFECT, RUN, &etcd(), 7, &key.to_public().to_string()).unwrap();
    sealing.put(Piece::Bytes(snapshot())).await;
    assert!(matches!(sealing.end().await, Err(BackupError::BrokenOff)));
    assert_eq!(left(&backups), [""; 0]);
}

#[tokio::test]
async fn the_plain_bytes_never_lie_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let key = age::x25519::Identity::generate();
    let mut plain = vec![0; 512 * 400];
    plain[..6].copy_from_slice(b"SECRET");
    plain.extend_from_slice(&Sha256::of(&plain).0);
    seal(&backups, &key, &plain).await.unwrap();
    for name in left(&backups) {
        let bytes = fs::read(backups.dir().join(&name)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"SECRET"), "{name}");
    }
}

#[tokio::test]
async fn a_coordinator_that_is_full_is_not_asked_again_and_the_file_stays_for_another_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let receipt = seal(&backups, &age::x25519::Identity::generate(), &snapshot()).await.unwrap();
    let (remote, double) = coordinator().await;
    double.held.lock().unwrap().refuse_upload = Some(Code::ResourceExhausted);
    let refused = upload(&backups, &remote, &receipt, MINUTE, &|_, _| {}).await;
    assert!(matches!(refused, Err(BackupError::Refused { .. })), "{refused:?}");
    assert_eq!(double.held.lock().unwrap().uploads, 1);
    assert!(backups.holds(&receipt));
}

#[tokio::test]
async fn a_coordinator_that_claims_to_hold_more_than_there_is_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let receipt = seal(&backups, &age::x25519::Identity::generate(), &snapshot()).await.unwrap();
    let (remote, double) = coordinator().await;
    double.held.lock().unwrap().claims_to_hold = Some(receipt.stored_size + 1);
    assert!(upload(&backups, &remote, &receipt, MINUTE, &|_, _| {}).await.is_err());
}

#[tokio::test]
async fn without_a_connection_the_upload_ends_at_its_deadline_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    let receipt = seal(&backups, &age::x25519::Identity::generate(), &snapshot()).await.unwrap();
    let (_sender, remote) = remote();
    let within = Duration::from_millis(300);
    let late = upload(&backups, &remote, &receipt, within, &|_, _| {}).await;
    assert!(matches!(late, Err(BackupError::Late { .. })), "{late:?}");
}

#[tokio::test]
async fn a_sweep_removes_what_a_crash_left_and_keeps_this_runs_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    seal(&backups, &age::x25519::Identity::generate(), &snapshot()).await.unwrap();
    let other = EffectId([9; 32]);
    fs::write(backups.unfinished_file(other), b"x").unwrap();
    fs::write(backups.sealed_file(other), b"x").unwrap();
    backups.sweep(Some((EffectId([3; 32]), RUN))).unwrap();
    assert_eq!(left(&backups), [format!("{EFFECT}.json")], "the run's receipt");
    assert!(backups.recent(RUN, &etcd(), MINUTE).is_some());
    assert!(backups.recent(RUN, &ComponentName::parse("k3s").unwrap(), MINUTE).is_none());
    backups.sweep(None).unwrap();
    assert_eq!(left(&backups), [""; 0]);
}

#[test]
fn a_backup_from_before_the_last_boot_has_no_age() {
    let now = Moment::now().unwrap();
    assert_eq!(now.age_at(&now), Some(Duration::ZERO));
    assert_eq!(Moment { boot: "another".into(), ms: now.ms }.age_at(&now), None);
    assert_eq!(Moment { ms: now.ms + 1, ..now.clone() }.age_at(&now), None, "from the future");
}

#[tokio::test]
async fn a_recipient_that_is_no_public_key_is_refused_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Backups::in_state(dir.path()).seal(EFFECT, RUN, &etcd(), 1, "AGE-SECRET-KEY-1SECRET");
    assert!(!refused.unwrap_err().to_string().contains("SECRET"));
}

#[tokio::test]
async fn the_sweep_at_the_start_keeps_what_the_open_section_needs() {
    let dir = tempfile::tempdir().unwrap();
    let backups = Backups::in_state(dir.path());
    backups.sweep_at_start(None);
    seal(&backups, &age::x25519::Identity::generate(), &snapshot()).await.unwrap();
    fs::write(backups.sealed_file(EffectId([9; 32])), b"x").unwrap();
    let artifact = ArtifactRef { sha256: Sha256::of(b"x"), size: 1, signature: String::new() };
    let open = Open {
        effect: EFFECT,
        payload: Sha256::of(b""),
        section: Section { effect: EFFECT, run: RUN, ..section(artifact) },
        steps: BTreeMap::new(),
        failure: None,
        resumed: 0,
        armed: false,
    };
    backups.sweep_at_start(Some(&open));
    let mut kept = left(&backups);
    kept.sort();
    assert_eq!(kept, [format!("{EFFECT}.age"), format!("{EFFECT}.json")]);
    backups.sweep_at_start(None);
    assert_eq!(left(&backups), [""; 0]);
}
