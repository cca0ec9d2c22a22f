//! Fetches from honest and hostile coordinators.

use std::io::Cursor;

use drydock_types::section::ArtifactLabel;
use drydock_types::{ComponentName, Section, SectionKind, Version};
use minisign::KeyPair;

use super::*;
use crate::{policy::Policy, remote::remote, section};

#[path = "../../tests/common/coordinator.rs"]
pub(crate) mod coordinator;
use coordinator::{Double, Manner, serve};

const MINUTE: Duration = Duration::from_secs(60);

fn bytes(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

fn label(of: &[u8]) -> ArtifactLabel {
    ArtifactLabel {
        component: ComponentName::parse("etcd").unwrap(),
        version: Version::parse("3.5.16").unwrap(),
        os: "linux".into(),
        arch: std::env::consts::ARCH.into(),
        size: of.len() as u64,
        sha256: Sha256::of(of),
    }
}

fn signature(pair: &KeyPair, of: &[u8], label: &ArtifactLabel) -> String {
    let comment = label.to_comment();
    minisign::sign(None, &pair.sk, Cursor::new(of), Some(&comment), None).unwrap().into_string()
}

pub(crate) fn section(artifact: ArtifactRef) -> Section {
    Section { artifact: Some(artifact), ..section::empty(SectionKind::Stage) }
}

fn policy(pair: &KeyPair, more: &str) -> Policy {
    let text = format!("{more}\n[[signing_keys]]\nkey = \"{}\"\n", pair.pk.to_base64());
    Policy::parse(&text, Path::new("/etc/drydock/agent.toml")).unwrap()
}

struct Scene {
    pair: KeyPair,
    dir: tempfile::TempDir,
    store: ArtifactStore,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { idle: Duration::from_secs(5), reserve_bytes: 0, ..Limits::default() };
        let store = ArtifactStore::new(dir.path().join("artifacts"), limits);
        Self { pair: KeyPair::generate_unencrypted_keypair().unwrap(), dir, store }
    }

    fn artifact(&self, of: &[u8]) -> ArtifactRef {
        let signature = signature(&self.pair, of, &label(of));
        ArtifactRef { sha256: Sha256::of(of), size: of.len() as u64, signature }
    }

    fn judge(&self, artifact: &ArtifactRef) -> Result<Signed, Problem> {
        let section = section(artifact.clone());
        trust::judge(&policy(&self.pair, ""), &section).map(|(_, signed)| signed)
    }

    async fn fetch(
        &self,
        artifact: &ArtifactRef,
        served: Vec<u8>,
        manner: Manner,
    ) -> (Result<Fetched, FetchError>, std::sync::Arc<Double>) {
        let signed = self.judge(artifact).unwrap();
        let (channel, double) = serve(served, manner).await;
        let (sender, remote) = remote();
        sender.publish(Some(channel));
        (self.store.fetch(&remote, artifact, &signed, MINUTE, &|_, _| {}).await, double)
    }

    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("artifacts")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

#[tokio::test]
async fn a_signed_artifact_is_fetched_once_and_proven_the_second_time() {
    let scene = Scene::new();
    let file = bytes(300_000);
    let artifact = scene.artifact(&file);
    let (fetched, _) = scene.fetch(&artifact, file.clone(), Manner::Honest).await;
    let fetched = fetched.unwrap();
    assert_eq!(fetched.fetched, 300_000);
    assert_eq!(fs::read(&fetched.path).unwrap(), file);
    assert_eq!(scene.store.verified(&artifact), Some(fetched.path));
    let (again, double) = scene.fetch(&artifact, file, Manner::Missing).await;
    assert_eq!(again.unwrap().fetched, 0);
    assert!(double.held.lock().unwrap().fetch_offsets.is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_again_and_again_is_resumed_where_it_ended() {
    let scene = Scene::new();
    let file = bytes(100_000);
    let artifact = scene.artifact(&file);
    let (fetched, double) = scene.fetch(&artifact, file, Manner::BreaksAfter(40_000)).await;
    assert_eq!(fetched.unwrap().fetched, 100_000, "no byte twice");
    assert_eq!(double.held.lock().unwrap().fetch_offsets, [0, 40_000, 80_000]);
}

/// Hostile input 19.
#[tokio::test]
async fn an_artifact_with_a_wrong_digest_is_refused_and_nothing_is_left() {
    let scene = Scene::new();
    let artifact = scene.artifact(&bytes(50_000));
    let mut other = bytes(50_000);
    other[49_999] ^= 1;
    let (fetched, _) = scene.fetch(&artifact, other, Manner::Honest).await;
    assert!(matches!(fetched, Err(FetchError::Digest { .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

/// Hostile input 19.
#[tokio::test]
async fn a_truncated_artifact_is_refused_and_nothing_is_left() {
    let scene = Scene::new();
    let artifact = scene.artifact(&bytes(50_000));
    let (fetched, _) = scene.fetch(&artifact, bytes(30_000), Manner::Honest).await;
    assert!(matches!(fetched, Err(FetchError::Truncated { held: 30_000, .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

/// Hostile input 19.
#[tokio::test]
async fn an_artifact_larger_than_declared_is_cut_off_and_refused() {
    let scene = Scene::new();
    let artifact = scene.artifact(&bytes(50_000));
    let (fetched, _) = scene.fetch(&artifact, bytes(50_001), Manner::Honest).await;
    assert!(matches!(fetched, Err(FetchError::TooLong { .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

/// Hostile input 19.
#[tokio::test]
async fn an_endless_artifact_is_cut_off_at_its_declared_size() {
    let scene = Scene::new();
    let file = bytes(50_000);
    let artifact = scene.artifact(&file);
    let (fetched, _) = scene.fetch(&artifact, file, Manner::Endless).await;
    assert!(matches!(fetched, Err(FetchError::TooLong { .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn an_artifact_that_the_coordinator_does_not_have_is_not_waited_for() {
    let scene = Scene::new();
    let artifact = scene.artifact(&bytes(10));
    let (fetched, double) = scene.fetch(&artifact, vec![], Manner::Missing).await;
    assert!(matches!(fetched, Err(FetchError::Refused { code: Code::NotFound, .. })), "{fetched:?}");
    assert_eq!(double.held.lock().unwrap().fetch_offsets.len(), 1);
}

#[tokio::test]
async fn a_part_that_went_bad_on_the_disk_is_fetched_again_from_the_start() {
    let scene = Scene::new();
    let file = bytes(60_000);
    let artifact = scene.artifact(&file);
    fs::create_dir_all(scene.dir.path().join("artifacts")).unwrap();
    fs::write(scene.store.part(artifact.sha256), vec![0; 20_000]).unwrap();
    let (fetched, double) = scene.fetch(&artifact, file, Manner::Honest).await;
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(double.held.lock().unwrap().fetch_offsets, [20_000, 0]);
}

#[tokio::test]
async fn an_artifact_that_went_bad_in_the_store_is_not_proven_and_is_removed() {
    let scene = Scene::new();
    let file = bytes(60_000);
    let artifact = scene.artifact(&file);
    let signed = scene.judge(&artifact).unwrap();
    scene.fetch(&artifact, file, Manner::Honest).await.0.unwrap();
    let path = scene.store.path(artifact.sha256);
    fs::write(&path, vec![0; 60_000]).unwrap();
    let proven = scene.store.prove(&artifact, &signed).await;
    assert!(matches!(proven, Err(FetchError::Digest { .. })), "{proven:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_signature_over_other_bytes_with_a_fitting_comment_is_refused_after_the_download() {
    let scene = Scene::new();
    let file = bytes(50_000);
    // The comment is true to the file, the signature is over something else.
    let forged = signature(&scene.pair, b"something else", &label(&file));
    let artifact = ArtifactRef { signature: forged, ..scene.artifact(&file) };
    let (fetched, _) = scene.fetch(&artifact, file, Manner::Honest).await;
    assert!(matches!(fetched, Err(FetchError::Signature { .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn a_trusted_comment_that_was_changed_after_signing_is_refused_after_the_download() {
    let scene = Scene::new();
    let file = bytes(50_000);
    let older = ArtifactLabel { version: Version::parse("3.4.1").unwrap(), ..label(&file) };
    let changed = signature(&scene.pair, &file, &older).replace("version=3.4.1", "version=3.5.16");
    let artifact = ArtifactRef { signature: changed, ..scene.artifact(&file) };
    let (fetched, _) = scene.fetch(&artifact, file, Manner::Honest).await;
    assert!(matches!(fetched, Err(FetchError::Signature { .. })), "{fetched:?}");
    assert_eq!(scene.left(), [""; 0]);
}

fn refused(scene: &Scene, change: impl FnOnce(&mut ArtifactLabel)) -> String {
    let file = bytes(10);
    let mut label = label(&file);
    change(&mut label);
    let artifact = ArtifactRef { signature: signature(&scene.pair, &file, &label), ..scene.artifact(&file) };
    scene.judge(&artifact).unwrap_err().what
}

/// Hostile input 16.
#[test]
fn a_signed_artifact_of_another_component_version_or_machine_is_refused_before_the_download() {
    let scene = Scene::new();
    assert!(
        refused(&scene, |l| l.component = ComponentName::parse("k3s").unwrap()).contains("component k3s")
    );
    assert!(refused(&scene, |l| l.version = Version::parse("3.5.15").unwrap()).contains("version 3.5.15"));
    assert!(refused(&scene, |l| l.arch = "riscv64".into()).contains("linux/riscv64"));
    assert!(refused(&scene, |l| l.os = "freebsd".into()).contains("freebsd/"));
    assert!(refused(&scene, |l| l.size = 11).contains("size 11"));
    assert!(refused(&scene, |l| l.sha256 = Sha256::of(b"x")).contains("SHA-256"));
}

/// Hostile input 16.
#[test]
fn an_older_signed_artifact_below_the_floor_is_refused_before_the_download() {
    let scene = Scene::new();
    let section = section(scene.artifact(&bytes(10)));
    let floor = policy(&scene.pair, "[version_floor]\netcd = \"3.5.17\"");
    let problem = trust::judge(&floor, &section).unwrap_err();
    assert!(problem.what.contains("floor 3.5.17"), "{problem}");
}

#[test]
fn an_artifact_signed_by_a_key_that_the_node_does_not_believe_is_refused_before_the_download() {
    let scene = Scene::new();
    let stranger = KeyPair::generate_unencrypted_keypair().unwrap();
    let section = section(scene.artifact(&bytes(10)));
    assert!(trust::judge(&policy(&stranger, ""), &section).unwrap_err().what.contains("does not believe"));
    let key = scene.pair.pk.to_base64();
    let other = format!("[[signing_keys]]\nkey = \"{key}\"\ncomponents = [\"k3s\"]\n");
    let other = Policy::parse(&other, Path::new("agent.toml")).unwrap();
    assert!(trust::judge(&other, &section).is_err(), "the key is for another component");
}

#[test]
fn a_signature_that_is_none_or_has_another_comment_is_refused_before_the_download() {
    let scene = Scene::new();
    let file = bytes(10);
    let mut artifact = scene.artifact(&file);
    for bad in [String::new(), "x".repeat(10_000), "untrusted comment: x\nRUQ\n".into()] {
        artifact.signature = bad;
        assert!(scene.judge(&artifact).is_err());
    }
    let sign = |comment| minisign::sign(None, &scene.pair.sk, Cursor::new(&file), Some(comment), None);
    artifact.signature = sign("timestamp:1 file:etcd").unwrap().into_string();
    assert!(scene.judge(&artifact).unwrap_err().what.contains("trusted comment"));
}

#[test]
fn an_artifact_larger_than_the_disk_or_the_limit_is_refused_with_what_is_missing() {
    let scene = Scene::new();
    let large = ArtifactRef { size: 5 << 30, ..scene.artifact(&bytes(10)) };
    assert!(matches!(scene.store.fits(&large), Err(FetchError::Size { .. })));
    let reserve = Limits { reserve_bytes: u64::MAX / 2, ..Limits::default() };
    let store = ArtifactStore::new(scene.dir.path(), reserve);
    let error = store.fits(&scene.artifact(&bytes(10))).unwrap_err().to_string();
    assert!(error.contains("bytes too few are free"), "{error}");
}

#[tokio::test]
async fn pruning_removes_what_is_not_referred_to_and_nothing_else() {
    let scene = Scene::new();
    let (kept, gone) = (Sha256::of(b"kept"), Sha256::of(b"gone"));
    fs::create_dir_all(scene.dir.path().join("artifacts")).unwrap();
    for path in [scene.store.path(kept), scene.store.path(gone), scene.store.part(gone)] {
        fs::write(path, b"x").unwrap();
    }
    fs::write(scene.dir.path().join("artifacts/README"), b"x").unwrap();
    assert_eq!(scene.store.prune(&BTreeSet::from([kept])).unwrap().len(), 2);
    let mut left = scene.left();
    left.sort();
    let mut want = vec!["README".to_owned(), kept.to_string()];
    want.sort();
    assert_eq!(left, want);
}

#[test]
fn what_can_be_pruned_counts_as_free() {
    let scene = Scene::new();
    fs::create_dir_all(scene.dir.path().join("artifacts")).unwrap();
    let file = fs::File::create(scene.store.path(Sha256::of(b"an old one"))).unwrap();
    file.set_len(1 << 43).unwrap();
    let reserve_bytes = free_bytes(scene.dir.path()).unwrap() + (1 << 42);
    let store = |dir: &Path| ArtifactStore::new(dir, Limits { reserve_bytes, ..Limits::default() });
    let artifact = scene.artifact(&bytes(10));
    store(&scene.dir.path().join("artifacts")).fits(&artifact).unwrap();
    let empty = scene.dir.path().join("empty");
    assert!(matches!(store(&empty).fits(&artifact), Err(FetchError::NoSpace { .. })));
}
