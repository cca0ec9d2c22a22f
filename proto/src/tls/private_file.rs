//! Files that hold a private key: ours alone, and there wholly or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use nix::{fcntl::OFlag, unistd::geteuid};

/// A key file is never larger.
const MAX_BYTES: u64 = 256 << 10;

/// Why a private file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// There is none.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// Others may read it, or write it.
    #[error("{path} holds a private key and is open to others (mode {mode:03o}); type: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else's.
    #[error(
        "{path} holds a private key and belongs to user {owner}, not to us ({us}); type: chown {us} {path}"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A directory, a link, a device, or far too large.
    #[error("{0} is not a plain file of at most 256 KiB (a link is not followed)")]
    NotPlain(PathBuf),
    /// The system says no.
    #[error("{doing} {path}: {why}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    let path = path.to_owned();
    move |why| PrivateFileError::Io { doing, path, why }
}

/// Reads a file that is ours and that nobody else can read.
///
/// The open file is judged, not its name: it cannot be exchanged between the two.
///
/// # Errors
/// When it is missing, another's, open to others or no plain file.
pub fn read(path: &Path) -> Result<String, PrivateFileError> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|why| {
        match (why.kind(), why.raw_os_error()) {
            (io::ErrorKind::NotFound, _) => PrivateFileError::Missing(path.to_owned()),
            (_, Some(code)) if code == nix::errno::Errno::ELOOP as i32 => {
                PrivateFileError::NotPlain(path.to_owned())
            }
            _ => io_error("opening", path)(why),
        }
    })?;
    let about = file.metadata().map_err(io_error("reading", path))?;
    if !about.is_file() || about.len() > MAX_BYTES {
        return Err(PrivateFileError::NotPlain(path.to_owned()));
    }
    let (owner, us) = (about.uid(), geteuid().as_raw());
    if owner != us {
        return Err(PrivateFileError::Owner { path: path.to_owned(), owner, us });
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io_error("reading", path))?;
    Ok(text)
}

/// A private file on its way: already open beside its place, so that a full or read-only disk is noticed
/// before anything depends on it. Dropped without [`Draft::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    at: PathBuf,
    place: PathBuf,
    committed: bool,
}

impl Draft {
    /// Opens the draft (0600) and makes its directory (0700) when there is none.
    ///
    /// # Errors
    /// When the system says no.
    pub fn open(place: &Path) -> Result<Self, PrivateFileError> {
        let dir = parent(place);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("making", dir))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let at = dir.join(format!(".{name}.{}.new", std::process::id()));
        // What a process of the same number left when it was killed.
        match fs::remove_file(&at) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error("removing", &at)(why)),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&at)
            .map_err(io_error("making", &at))?;
        Ok(Self { file, at, place: place.to_owned(), committed: false })
    }

    /// Writes, syncs, and puts the file in its place in one step.
    ///
    /// # Errors
    /// When the system says no; then the place is as it was.
    pub fn commit(mut self, content: &[u8]) -> Result<(), PrivateFileError> {
        durable!("private-file.write", self.file.write_all(content))
            .map_err(io_error("writing", &self.at))?;
        durable!("private-file.sync", self.file.sync_all()).map_err(io_error("syncing", &self.at))?;
        durable!("private-file.rename", fs::rename(&self.at, &self.place))
            .map_err(io_error("renaming to", &self.place))?;
        self.committed = true;
        let dir = parent(&self.place);
        let opened = File::open(dir).map_err(io_error("opening", dir))?;
        durable!("private-file.sync-dir", opened.sync_all()).map_err(io_error("syncing", dir))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing to do about a failure: the draft is 0600 and is replaced by the next one.
            drop(fs::remove_file(&self.at));
        }
    }
}

/// Writes a private file in one step.
///
/// # Errors
/// When the system says no.
pub fn write(place: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    Draft::open(place)?.commit(content)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_ours_alone_and_a_draft_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("made/here/key");
        drop(Draft::open(&place).unwrap());
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 0);
        write(&place, b"secret").unwrap();
        assert_eq!(read(&place).unwrap(), "secret");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o600);
        assert_eq!(mode(place.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("key");
        write(&place, b"s3cret").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&place).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn links_directories_and_missing_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (place, link) = (dir.path().join("key"), dir.path().join("link"));
        write(&place, b"secret").unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        assert!(matches!(read(&link), Err(PrivateFileError::NotPlain(_))));
        assert!(matches!(read(dir.path()), Err(PrivateFileError::NotPlain(_))));
        assert!(matches!(read(&dir.path().join("none")), Err(PrivateFileError::Missing(_))));
    }
}
