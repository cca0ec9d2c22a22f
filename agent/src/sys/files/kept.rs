//! Documents that are there whole after a power cut, or not at all: JSON under its own digest.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use drydock_failpoint::durable;
use drydock_types::Sha256;
use serde::{Serialize, de::DeserializeOwned};

/// The name of a folder's lock, where it has one.
pub const LOCK: &str = "lock";

/// Writes a digest, a newline, and the JSON text that it is of. On return it is on the disk, for root alone, and so is every
/// folder that was made for it. Gives the digest.
///
/// # Errors
/// When the disk says no, or the value has no JSON form.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<Sha256> {
    let json = serde_json::to_vec(value)?;
    let digest = Sha256::of(&json);
    let text = [digest.to_string().as_bytes(), b"\n", &json].concat();
    let dir = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    make(dir)?;
    let new = path.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    durable!("agent.kept.write", out.write_all(&text))?;
    durable!("agent.kept.sync", out.sync_all())?;
    durable!("agent.kept.rename", fs::rename(&new, path))?;
    let dir = File::open(dir)?;
    durable!("agent.kept.sync-dir", dir.sync_all())?;
    Ok(digest)
}

/// Reads it back, with its digest. `None`: there is none.
///
/// # Errors
/// When it cannot be read, is longer than `most` bytes, or is damaged.
pub fn read<T: DeserializeOwned>(path: &Path, most: u64) -> io::Result<Option<(T, Sha256)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text)?;
    let at = text.iter().position(|byte| *byte == b'\n').filter(|_| text.len() as u64 <= most);
    let Some(at) = at else { return Err(io::Error::other("it is damaged")) };
    let (digest, json) = (&text[..at], &text[at + 1..]);
    let found = Sha256::of(json);
    if digest != found.to_string().as_bytes() {
        return Err(io::Error::other("it is damaged: its digest is another one"));
    }
    Ok(Some((serde_json::from_slice(json)?, found)))
}

/// Makes a folder for root alone, and those above it that are lacking; each that was made is on the disk.
///
/// # Errors
/// When the disk says no.
pub fn make(dir: &Path) -> io::Result<()> {
    let lacking: Vec<&Path> = dir.ancestors().take_while(|it| !it.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for parent in lacking.iter().rev().filter_map(|it| it.parent()) {
        let parent = File::open(parent)?;
        durable!("agent.kept.sync-made", parent.sync_all())?;
    }
    Ok(())
}

/// Leaves the youngest entries of a folder, so many in all with one whose name begins like this and that is not to go. They are named
/// by their changes, so what the last few have left stays for their way back. A folder that is not there has none.
///
/// # Errors
/// When the disk says no.
pub fn prune(dir: &Path, most: usize, but: &str) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut old = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // A lock belongs to no change.
        if name != LOCK && !name.to_str().is_some_and(|name| name.starts_with(but)) {
            old.push((entry.metadata()?.modified()?, entry.path(), entry.file_type()?.is_dir()));
        }
    }
    old.sort();
    let over = old.len().saturating_sub(most.saturating_sub(1));
    old.into_iter().take(over).try_for_each(|(_, path, is_dir)| match is_dir {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_last_few_stay_and_this_one_and_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let left = || {
            let names =
                fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
            std::collections::BTreeSet::from_iter(names)
        };
        prune(&dir.path().join("none"), 3, "x").unwrap();
        for (age, name) in ["lock", "mine", "oldest", "older", "a", "b"].iter().enumerate() {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(age as u64)).unwrap();
        }
        fs::create_dir_all(dir.path().join("folder/in")).unwrap();
        prune(dir.path(), 3, "mine").unwrap();
        assert_eq!(left(), ["b", "folder", "lock", "mine"].map(str::to_owned).into());
        prune(dir.path(), 1, "mine").unwrap();
        assert_eq!(left(), ["lock", "mine"].map(str::to_owned).into());
    }

    #[test]
    fn what_was_written_is_read_with_its_digest_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/it.json");
        assert_eq!(read::<String>(&path, 99).unwrap(), None);
        let digest = write(&path, &"one").unwrap();
        assert_eq!(write(&path, &"one").unwrap(), digest, "once more is the same");
        assert_eq!(read(&path, 99).unwrap(), Some(("one".to_owned(), digest)));
        for (path, mode) in [(path.clone(), 0o600), (dir.path().join("a"), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(
            read::<String>(&path, 60).unwrap_err().to_string().contains("damaged"),
            "longer than it may be"
        );
        let mut text = fs::read(&path).unwrap();
        let last = text.len() - 2;
        text[last] ^= 1;
        fs::write(&path, text).unwrap();
        assert!(read::<String>(&path, 99).unwrap_err().to_string().contains("its digest is another one"));
    }
}
