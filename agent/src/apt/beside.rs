//! Configuration that somebody changed is kept, and the package's own is laid beside it as `FILE.dpkg-dist`.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, time::Duration};

use super::{database::Database, root::Root, staged::Change};
use crate::actions::Problem;

/// How long dpkg's database may take to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// What lies beside the configuration of these packages, each with inode and time: `/etc/x.conf.dpkg-dist`.
///
/// # Errors
/// When dpkg does not say what their configuration is.
pub async fn look(root: &Root, changes: &[Change]) -> Result<BTreeMap<String, (u64, i64)>, Problem> {
    let database = Database::look_in(root).await?;
    let here =
        changes.iter().filter(|change| database.named(&change.name).any(|known| known.version.is_some()));
    let names: Vec<&str> = here.map(|change| change.name.as_str()).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let args: Vec<&str> = ["-W", "-f", "${Conffiles}\\n"].into_iter().chain(names).collect();
    let unknown =
        |why: String| Problem::new(format!("the packages' configuration files cannot be seen: {why}"));
    let output = root.query(&args, PATIENCE)?.run().await.map_err(|error| unknown(error.to_string()))?;
    if !output.status.success() {
        return Err(unknown(format!("dpkg-query ended with {}", output.status)));
    }
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((path, _)) = line.trim().split_once(' ') else { continue };
        let beside = format!("{path}.dpkg-dist");
        if let Ok(meta) = fs::symlink_metadata(root.path(&beside)) {
            found.insert(beside, (meta.ino(), meta.mtime()));
        }
    }
    Ok(found)
}

/// Which configuration was kept since: those with something new beside them.
#[must_use]
pub fn kept(before: &BTreeMap<String, (u64, i64)>, now: &BTreeMap<String, (u64, i64)>) -> Vec<String> {
    let new = now.iter().filter(|(path, is)| before.get(*path) != Some(is));
    new.map(|(path, _)| path.trim_end_matches(".dpkg-dist").to_owned()).collect()
}
