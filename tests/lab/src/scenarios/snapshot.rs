//! The snapshot that the coordinator holds is worth something: it opens with the key that no node and no
//! coordinator has, etcd restores it, and every key acknowledged before the run reads back from it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drydock_witness::acks::Ack;
use drydock_witness::lines;

use super::proofs::Proofs;
use super::scene::{Scene, Seen};

/// Where the restored member listens, beside the real one.
const CLIENT_PORT: u16 = 12_379;
const PEER_PORT: u16 = 12_380;
const RESTORE: &str = r#"set -eu
age -d -i /root/backup.key -o /root/snapshot.db /root/snapshot.age
rm -rf /root/restored
ETCDCTL_API=3 etcdctl snapshot restore /root/snapshot.db --name restored --data-dir /root/restored \
    --initial-cluster "restored=$1" --initial-advertise-peer-urls "$1""#;

/// Restores the newest snapshot on n1, beside the cluster.
pub(super) fn prove(
    scene: &Scene<'_>,
    seen: &Seen,
    run_started_unix_ms: u64,
    proofs: &mut Proofs,
) -> Result<()> {
    let backups = backups(&scene.fleet.state_dir().join("backups"))?;
    proofs
        .check(!backups.is_empty(), format!("the coordinator holds {} encrypted snapshot(s)", backups.len()));
    let Some(backup) = backups.last() else { return Ok(()) };
    let head = fs::read(backup).with_context(|| format!("read {}", backup.display()))?;
    ensure!(head.starts_with(b"age-encryption.org/"), "{} is not encrypted by age", backup.display());

    let node = scene.lab.node(1);
    node.copy_in(backup, "/root/snapshot.age", 0o600)?;
    node.copy_in(&scene.fleet.backup_key(), "/root/backup.key", 0o600)?;
    let peer_url = format!("http://{}:{PEER_PORT}", node.address());
    node.run(&["sh", "-c", RESTORE, "sh", &peer_url])?;
    let endpoint = format!("{}:{CLIENT_PORT}", node.address());
    let url = format!("http://{endpoint}");
    let words = [
        "etcd",
        "--name",
        "restored",
        "--data-dir",
        "/root/restored",
        "--listen-peer-urls",
        &peer_url,
        "--listen-client-urls",
        &url,
        "--advertise-client-urls",
        &url,
    ];
    let _restored = node.spawn("restored-etcd", &words)?;
    let (subset, count) = acknowledged_before(&seen.acks, run_started_unix_ms)?;
    let report = scene.cluster.verify_at(&endpoint, &subset, Duration::from_secs(20))?;
    proofs.check(
        report.is_intact(),
        format!(
            "the snapshot opens with `age -d`, etcd restores it, and each of {count} keys acknowledged before the \
             run reads back from it"
        ),
    );
    Ok(())
}

/// What the coordinator holds, the newest last.
pub(super) fn backups(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for node in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?.flatten() {
        let files = fs::read_dir(node.path()).with_context(|| format!("read {}", node.path().display()))?;
        found.extend(
            files
                .flatten()
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|e| e == "age")),
        );
    }
    found.sort_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    Ok(found)
}

/// The keys that were acknowledged before the run began, in a file of their own.
fn acknowledged_before(acks: &Path, unix_ms: u64) -> Result<(PathBuf, usize)> {
    let all: Vec<Ack> = lines::read_all(acks)?;
    let before: Vec<_> = all.into_iter().filter(|ack| ack.acked_unix_ms < unix_ms).collect();
    ensure!(
        !before.is_empty(),
        "nothing was acknowledged before the run: nothing can be looked for in the snapshot"
    );
    let path = acks.with_extension("before-run");
    let mut file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    for ack in &before {
        writeln!(file, "{}", serde_json::to_string(ack)?)?;
    }
    Ok((path, before.len()))
}
