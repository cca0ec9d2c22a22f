//! Small files that somebody else wrote, read whole: never more than such a file can have, so that whoever can write
//! one cannot fill the agent's memory with it. All of this blocks: call it within [`super::blocking`].

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

/// What kind of file it is, and by that how large one may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Settings of a service: YAML, or lines of an environment.
    Settings,
    /// Certificates in PEM; a bundle holds some hundred.
    Certificates,
    /// One private key in PEM.
    Key,
    /// A token of K3s.
    Token,
    /// A name on one line.
    Name,
    /// `/etc/os-release`.
    OsRelease,
}

impl Kind {
    /// The most that one has, in bytes.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            Self::Settings | Self::Certificates => 1 << 20,
            Self::Key | Self::OsRelease => 64 << 10,
            Self::Token | Self::Name => 4 << 10,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Settings => "file of settings",
            Self::Certificates => "file of certificates",
            Self::Key => "private key",
            Self::Token => "token",
            Self::Name => "name",
            Self::OsRelease => "os-release",
        }
    }
}

/// All of a file.
///
/// # Errors
/// When it cannot be read, is larger than its kind can be, or is a pipe, on which a read may wait for ever.
pub fn bytes(path: &Path, kind: Kind) -> io::Result<Vec<u8>> {
    // Opening a pipe that nobody writes to would wait, too.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe and no file"));
    }
    let (mut bytes, most) = (Vec::new(), kind.most());
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is over {most} bytes, and no {} is", kind.word())));
    }
    Ok(bytes)
}

/// As [`bytes`], of a file that is UTF-8.
///
/// # Errors
/// As [`bytes`], and when it is not UTF-8.
pub fn text(path: &Path, kind: Kind) -> io::Result<String> {
    String::from_utf8(bytes(path, kind)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused_with_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for kind in [Kind::Settings, Kind::Certificates, Kind::Key, Kind::Token, Kind::Name, Kind::OsRelease]
        {
            let most = usize::try_from(kind.most()).unwrap();
            fs::write(&path, vec![b'x'; most]).unwrap();
            assert_eq!(text(&path, kind).unwrap().len(), most, "{kind:?}");
            fs::write(&path, vec![b'x'; most + 1]).unwrap();
            let error = bytes(&path, kind).unwrap_err().to_string();
            assert!(error.contains(&format!("over {most} bytes")), "{kind:?}: {error}");
        }
    }

    #[test]
    fn what_never_ends_and_what_nobody_writes_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert!(bytes(&pipe, Kind::Token).unwrap_err().to_string().contains("pipe"));
        assert!(bytes(Path::new("/dev/zero"), Kind::Token).unwrap_err().to_string().contains("over 4096"));
        assert!(bytes(dir.path(), Kind::Token).is_err());
        let missing = bytes(&dir.path().join("missing"), Kind::Token).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::write(dir.path().join("x"), [0xff]).unwrap();
        assert!(text(&dir.path().join("x"), Kind::Name).unwrap_err().to_string().contains("UTF-8"));
    }
}
