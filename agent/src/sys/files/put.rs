//! Putting a file where none is, and taking it away again: archives, not binaries.

use std::{fs::File, io};

use drydock_failpoint::durable;
use drydock_types::Sha256;
use nix::{
    fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2},
    sys::stat::{Mode, fchmod, mkdirat},
};

use super::{
    FileError, hash, io_result,
    place::{Beside, Place},
    swap::copy,
};

impl Place {
    /// Makes a directory of this name where nothing is; one that is there is as good.
    ///
    /// # Errors
    /// When something else has the name, or the system refuses.
    pub fn make_dir(&self) -> Result<(), FileError> {
        let mode = Mode::from_bits_truncate(0o755);
        let made = durable!("agent.put.mkdir", io_result(mkdirat(&self.dir, self.name(), mode)));
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.path.is_dir() => Ok(()),
            made => made.map_err(FileError::io("make the directory", &self.path)).and_then(|()| self.sync()),
        }
    }

    /// Puts a copy of `source` where nothing is: whole and durable, or not at all. What is there by now stays.
    ///
    /// # Errors
    /// When something is there, there is no room, the bytes are not those of `sha256`, or the system refuses.
    pub fn put(&self, source: &File, sha256: Sha256) -> Result<(), FileError> {
        let size = source.metadata().map_err(FileError::io("look at the artifact", &self.path))?.len();
        self.room(size, 0)?;
        let new = self.beside(Beside::New);
        self.remove(&new)?;
        let put = self.write_new(&new, source, sha256).and_then(|()| {
            let flags = RenameFlags::RENAME_NOREPLACE;
            durable!(
                "agent.put.rename",
                io_result(renameat2(&self.dir, new.as_str(), &self.dir, self.name(), flags))
            )
            .map_err(FileError::io("give it its name", &self.path))?;
            self.sync()
        });
        if put.is_err() {
            let _ = self.remove(&new);
        }
        put
    }

    fn write_new(&self, name: &str, source: &File, sha256: Sha256) -> Result<(), FileError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = durable!("agent.put.create", io_result(openat2(&self.dir, name, how).map(File::from)));
        let file = file.map_err(FileError::io("create the new file", &self.path))?;
        let written = copy(source, &file).map_err(FileError::io("write the new file", &self.path))?;
        let mode = io_result(fchmod(&file, Mode::from_bits_truncate(0o644)));
        mode.map_err(FileError::io("set the new file's mode", &self.path))?;
        durable!("agent.put.sync", file.sync_all())
            .map_err(FileError::io("sync the new file", &self.path))?;
        let read_back = hash(&file).map_err(FileError::io("read the new file back", &self.path))?;
        if written == sha256 && read_back == sha256 {
            return Ok(());
        }
        Err(FileError::refused(
            format!(
                "{}: the new file has digest {read_back}, and {sha256} was expected",
                self.path.display()
            ),
            "fetch the artifact again; if this repeats, look at the node's disk and memory",
        ))
    }

    /// Takes away what was put here, if it is that still; nothing there is as good. `true` when it had to be.
    ///
    /// # Errors
    /// When something else lies there: it is left alone.
    pub fn withdraw(&self, sha256: Sha256) -> Result<bool, FileError> {
        self.remove(&self.beside(Beside::New))?;
        match self.digest()? {
            None => Ok(false),
            Some(found) if found == sha256 => {
                self.remove(self.name())?;
                self.sync()?;
                Ok(true)
            }
            Some(found) => Err(FileError::refused(
                format!(
                    "{} has digest {}, and what was put there had {}: it is left alone",
                    self.path.display(),
                    found.short(),
                    sha256.short()
                ),
                "find out who writes there",
            )),
        }
    }
}
