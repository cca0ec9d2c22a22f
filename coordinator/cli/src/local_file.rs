//! The files that this binary writes: keys and signatures. All of them are new or replaced whole.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// Writes a file that must not exist yet. What is half written is removed.
pub(crate) fn create(path: &Path, content: &str, mode: u32) -> Result<(), CliError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::usage(format!("{} exists already and is left as it is", path.display()))
                .hint("name another file, or move that one away")
        }
        _ => CliError::failed(format!("making {}: {why}", path.display())),
    })?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(|why| {
        drop(fs::remove_file(path));
        CliError::failed(format!("writing {}: {why}", path.display()))
    })
}

/// Writes a file in the place of another, in one step.
pub(crate) fn replace(path: &Path, content: &str) -> Result<(), CliError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    create(&draft, content, 0o644)?;
    fs::rename(&draft, path).map_err(|why| {
        drop(fs::remove_file(&draft));
        CliError::failed(format!("renaming to {}: {why}", path.display()))
    })
}

/// Reads a small text file that a person named: what cannot be read is a bad file.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, CliError> {
    let bad = |why: String| CliError::usage(format!("{}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|why| bad(why.to_string()))?.len();
    if size > most {
        return Err(bad(format!("it has {size} bytes, {most} are allowed")));
    }
    fs::read_to_string(path).map_err(|why| bad(why.to_string()))
}

/// The path with something behind its last part: `etcd` → `etcd.minisig`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_never_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, "one", 0o600).unwrap();
        let error = create(&path, "two", 0o600).unwrap_err();
        assert_eq!((error.exit.code(), fs::read_to_string(&path).unwrap().as_str()), (2, "one"));
        replace(&path, "three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        create(&path, "0123456789", 0o600).unwrap();
        assert!(read_text(&path, 10).is_ok());
        assert_eq!(read_text(&path, 9).unwrap_err().exit.code(), 2);
    }
}
