//! What the coordinator holds of a K3s server's SQLite database is worth something: it opens with the key that no node
//! and no coordinator has, and a server that is given it, as the guide says, serves the cluster as it was then.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use drydock_test_cluster::binaries::{self, Release};
use drydock_test_cluster::cache::Cache;

use super::network::SOON;
use super::site::{BINARY, DATA, Site};
use super::witness;
use crate::scenarios::proofs::Proofs;
use crate::wait::until;

/// What is saved holds the token too: with another one K3s could not read its own bootstrap data.
const OPEN: &str = r#"set -eu
mkdir -m 700 /root/saved
age -d -i /root/backup.key -o /root/saved.tar /root/saved.age
tar -C /root/saved -xf /root/saved.tar
ls /root/saved
cmp /root/saved/token "$1/server/token""#;
/// As docs/guide/k3s.md has it, with the database that is left aside and not away.
const PUT_BACK: &str = r#"set -eu
systemctl stop k3s.service
mv "$1/server/db" "$1/server/db-after"
mkdir -m 700 "$1/server/db"
cp /root/saved/state.db "$1/server/db/""#;

/// Restores it on the only server, and reads back what was acknowledged before the run. What came after the backup is
/// gone from there on.
pub(super) fn prove(
    site: &Site<'_>,
    backup: &Path,
    before: &BTreeSet<String>,
    seen: &witness::Seen,
    proofs: &mut Proofs,
) -> Result<()> {
    let server = site.lab.node(1);
    server.copy_in(backup, "/root/saved.age", 0o600)?;
    server.copy_in(&site.fleet.backup_key(), "/root/backup.key", 0o600)?;
    let names = server.run(&["sh", "-c", OPEN, "sh", DATA])?;
    let names: Vec<&str> = names.split_whitespace().collect();
    proofs.check(
        names == ["state.db", "token"],
        format!("it opens with `age -d` and holds {names:?}, the token that of this server"),
    );

    println!("\nSomebody restores it: the database of before, under the program of before");
    server.run(&["sh", "-c", PUT_BACK, "sh", DATA])?;
    let older = Release::usual_before();
    server.copy_in(&binaries::server(&Cache::open()?, &older)?, BINARY, 0o755)?;
    server.run(&["systemctl", "start", "k3s.service"])?;
    let version = || site.network.get(site.admin(), "/version");
    until(
        "the server of before to serve what was restored",
        SOON,
        Duration::from_millis(200),
        || Ok(version().is_ok_and(|said| said["gitVersion"] == older.as_str()).then_some(())),
        || format!("{:?}", version()),
    )?;
    let there = witness::keys(&site.network, site.admin())?;
    let lost: Vec<&String> = before.difference(&there).collect();
    proofs.check(
        lost.is_empty() && !before.is_empty(),
        format!(
            "a server started over it serves each of {} keys acknowledged before the run: {lost:?}",
            before.len()
        ),
    );
    proofs.check(
        there.len() < seen.acknowledged,
        format!(
            "and it is the state of then: {} keys, where {} were at the end",
            there.len(),
            seen.acknowledged
        ),
    );
    Ok(())
}
