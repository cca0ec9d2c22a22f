use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::store::sqlite::SqliteStore;

fn artifacts() -> (Artifacts, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
    (Artifacts::open(&dir.path().join("artifacts"), store.registry().unwrap()).unwrap(), dir)
}

/// A signature by form: whose it is, is not judged here.
fn signature(comment: &str) -> String {
    let (mut signed, global) = (vec![0; 74], [0; 64]);
    signed[..2].copy_from_slice(b"ED");
    let (signed, global) = (STANDARD.encode(signed), STANDARD.encode(global));
    format!("untrusted comment: x\n{signed}\ntrusted comment: {comment}\n{global}\n")
}

fn comment(bytes: &[u8], component: &str) -> String {
    let (size, sha256) = (bytes.len(), Sha256::of(bytes));
    format!(
        "drydock:v1 component={component} version=3.5.16 os=linux arch=x86_64 size={size} sha256={sha256}"
    )
}

fn header(bytes: &[u8]) -> ArtifactHeader {
    ArtifactHeader {
        sha256: Sha256::of(bytes),
        size: bytes.len() as u64,
        signature: signature(&comment(bytes, "etcd")),
        added_by: "alice".into(),
    }
}

fn add(artifacts: &Artifacts, bytes: &[u8]) -> ArtifactRow {
    let mut incoming = artifacts.begin(header(bytes)).unwrap();
    bytes.chunks(CHUNK_BYTES).for_each(|chunk| incoming.write(chunk).unwrap());
    incoming.finish(77).unwrap()
}

fn read(artifacts: &Artifacts, sha256: Sha256, offset: u64) -> Vec<u8> {
    let mut reader = artifacts.open_at(sha256, offset).unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        assert!(chunk.len() <= CHUNK_BYTES);
        all.extend(chunk);
    }
    all
}

fn files(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("artifacts")).unwrap().count()
}

#[test]
fn an_artifact_reads_back_from_any_offset_and_is_what_its_signature_says() {
    let (artifacts, dir) = artifacts();
    let bytes: Vec<u8> = (0..=255).cycle().take(CHUNK_BYTES * 2 + 5).collect();
    let row = add(&artifacts, &bytes);
    assert_eq!(
        (row.component.as_str(), row.version.as_str(), row.arch.as_str()),
        ("etcd", "3.5.16", "x86_64")
    );
    assert_eq!(artifacts.list(9).unwrap(), std::slice::from_ref(&row));
    for offset in [0, 1, CHUNK_BYTES, bytes.len() - 1, bytes.len()] {
        assert!(read(&artifacts, row.sha256, offset as u64) == bytes[offset..], "from {offset}");
    }
    let behind = artifacts.open_at(row.sha256, row.size + 1).unwrap_err();
    assert!(matches!(behind, ArtifactError::Offset { .. }));
    assert!(matches!(artifacts.open_at(Sha256([0; 32]), 0), Err(ArtifactError::Unknown(_))));
    add(&artifacts, &bytes);
    assert_eq!((files(&dir), artifacts.list(9).unwrap().len()), (1, 1));
}

/// Hostile input 19.
#[test]
fn an_artifact_that_is_wrong_short_long_endless_or_abandoned_leaves_nothing() {
    let (artifacts, dir) = artifacts();
    let bytes = vec![7u8; 1000];
    let begin = || artifacts.begin(header(&bytes)).unwrap();
    let mut short = begin();
    short.write(&bytes[..999]).unwrap();
    let error = short.finish(1).unwrap_err();
    assert!(matches!(error, ArtifactError::Truncated { came: 999, declared: 1000 }), "{error}");
    let mut wrong = begin();
    wrong.write(&[8u8; 1000]).unwrap();
    assert!(matches!(wrong.finish(1), Err(ArtifactError::WrongDigest { .. })));
    let mut long = begin();
    long.write(&bytes).unwrap();
    for _ in 0..3 {
        assert!(matches!(long.write(b"x"), Err(ArtifactError::TooLong { declared: 1000 })));
    }
    drop(long);
    drop(begin());
    assert_eq!((files(&dir), artifacts.list(9).unwrap().len()), (0, 0));
}

/// Hostile inputs 16 and 19.
#[test]
fn an_artifact_whose_signature_is_none_or_another_files_is_refused_before_its_bytes() {
    let (artifacts, dir) = artifacts();
    let bytes = b"etcd";
    let with =
        |signature: String| artifacts.begin(ArtifactHeader { signature, ..header(bytes) }).unwrap_err();
    assert!(matches!(with(String::new()), ArtifactError::Signature(_)));
    assert!(matches!(with("x".repeat(1 << 20)), ArtifactError::Signature(_)));
    assert!(matches!(with(signature("v3.5.16")), ArtifactError::Signature(_)));
    assert!(matches!(with(signature(&comment(b"k3s!", "etcd"))), ArtifactError::OtherFile { .. }));
    for size in [0, MAX_ARTIFACT_BYTES + 1, u64::MAX] {
        let error = artifacts.begin(ArtifactHeader { size, ..header(bytes) }).unwrap_err();
        assert!(matches!(error, ArtifactError::Size { .. }));
    }
    assert_eq!(files(&dir), 0);
    add(&artifacts, bytes);
    let renamed = ArtifactHeader { signature: signature(&comment(bytes, "k3s")), ..header(bytes) };
    let mut incoming = artifacts.begin(renamed).unwrap();
    incoming.write(bytes).unwrap();
    let error = incoming.finish(1).unwrap_err().to_string();
    assert!(error.contains("etcd 3.5.16") && error.contains("k3s 3.5.16"), "{error}");
    assert_eq!(artifacts.list(9).unwrap()[0].component.as_str(), "etcd");
}

#[test]
fn a_part_of_an_earlier_life_is_swept_and_a_cut_file_is_not_given_out() {
    let (artifacts, dir) = artifacts();
    let row = add(&artifacts, b"whole");
    let base = dir.path().join("artifacts");
    std::fs::write(base.join("abc.1-0.part"), b"half").unwrap();
    let again = Artifacts::open(&base, artifacts.registry.clone()).unwrap();
    assert_eq!(files(&dir), 1);
    assert_eq!(read(&again, row.sha256, 0), b"whole");
    std::fs::write(base.join(row.sha256.to_string()), b"who").unwrap();
    let error = again.open_at(row.sha256, 0).unwrap_err();
    assert!(matches!(error, ArtifactError::Damaged { found: 3, size: 5, .. }), "{error}");
}

#[test]
fn an_artifact_that_is_here_need_not_come_again_unless_its_file_is_damaged_or_its_signature_is_new() {
    let (artifacts, _dir) = artifacts();
    let bytes = b"the binary";
    assert_eq!(artifacts.already(&header(bytes)).unwrap(), None);
    let row = add(&artifacts, bytes);
    assert_eq!(artifacts.already(&header(bytes)).unwrap(), Some(row.clone()));
    let signature =
        signature(&comment(bytes, "etcd")).replace("untrusted comment: x", "untrusted comment: y");
    assert_eq!(artifacts.already(&ArtifactHeader { signature, ..header(bytes) }).unwrap(), None);
    std::fs::write(artifacts.place(row.sha256), b"the bIinary").unwrap();
    assert_eq!(artifacts.already(&header(bytes)).unwrap(), None, "else nothing would ever mend it");
    add(&artifacts, bytes);
    assert_eq!(read(&artifacts, row.sha256, 0), bytes);
}
