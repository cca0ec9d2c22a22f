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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
