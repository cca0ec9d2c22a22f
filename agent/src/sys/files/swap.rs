//! Putting the new file in the old one's place.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use drydock_failpoint::durable;
use drydock_types::Sha256;
use nix::{
    fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2},
    sys::stat::Mode,
    unistd::linkat,
};
use sha2::Digest as _;

use super::{
    FileError, PIECE, attributes, hash, io_result,
    place::{Beside, Place, Stamp, Target, changed},
};
use crate::sys::process::digest;

/// The new file, whole and durable beside its target; the old one is kept under a second name.
#[derive(Debug)]
pub struct Staged {
    stamp: Stamp,
    sha256: Sha256,
}

impl Place {
    /// Copies `source` beside the target with the target's owner, mode and attributes, synced and read back,
    /// and keeps the target under a second name. The target itself is untouched.
    ///
    /// # Errors
    /// When there is no room, the bytes are not those of `sha256`, or the system refuses; what was staged is removed.
    pub fn stage(&self, target: &Target, source: &File, sha256: Sha256) -> Result<Staged, FileError> {
        let size = source.metadata().map_err(FileError::io("look at the artifact", &self.path))?.len();
        self.room(size, target.size())?;
        let new = self.beside(Beside::New);
        // Of an attempt of this same effect that was cut off before its exchange.
        self.remove(&new)?;
        let staged = self.fill(&new, target, source, sha256).and_then(|stamp| {
            self.keep(target)?;
            self.sync()?;
            Ok(Staged { stamp, sha256 })
        });
        if staged.is_err() {
            let _ = self.remove(&new);
        }
        staged
    }

    fn fill(&self, name: &str, target: &Target, source: &File, sha256: Sha256) -> Result<Stamp, FileError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = durable!("agent.swap.create", io_result(openat2(&self.dir, name, how).map(File::from)));
        let file = file.map_err(FileError::io("create the new file beside it", &self.path))?;
        let wrong = |found: Sha256| {
            FileError::refused(
                format!(
                    "{}: the new file has digest {found}, and {sha256} was expected",
                    self.path.display()
                ),
                "fetch the artifact again; if this repeats, look at the node's disk and memory",
            )
        };
        let written =
            copy(source, &file).map_err(FileError::io("write the new file beside it", &self.path))?;
        if written != sha256 {
            return Err(wrong(written));
        }
        attributes::copy(&target.file, &file, &self.path)?;
        durable!("agent.swap.sync", file.sync_all())
            .map_err(FileError::io("sync the new file beside it", &self.path))?;
        let read_back = hash(&file).map_err(FileError::io("read the new file back", &self.path))?;
        if read_back != sha256 {
            return Err(wrong(read_back));
        }
        self.stamp(name)?.ok_or_else(|| changed(&self.path))
    }

    /// A second name for the old file, seen to be the file that was checked.
    fn keep(&self, target: &Target) -> Result<(), FileError> {
        let old = self.beside(Beside::Old);
        if let Some(present) = self.stamp(&old)? {
            if present == target.stamp {
                return Ok(());
            }
            return Err(FileError::refused(
                format!(
                    "{} is there already and is not the file at {}",
                    self.path.with_file_name(&old).display(),
                    self.path.display()
                ),
                "it is a copy that Drydock kept: compare the two by sha256sum and remove it if it is not needed",
            ));
        }
        durable!(
            "agent.swap.keep",
            io_result(linkat(&self.dir, self.name(), &self.dir, old.as_str(), AtFlags::empty()))
        )
        .map_err(FileError::io("keep the old file under a second name", &self.path))?;
        if self.stamp(&old)? == Some(target.stamp) {
            return Ok(());
        }
        self.remove(&old)?;
        Err(changed(&self.path))
    }

    /// Exchanges the staged file and the target in one step. Afterwards the new one lies there, durable, and
    /// the old one only under its kept name; what is no longer needed is tidied away.
    ///
    /// # Errors
    /// When what was displaced is not what was checked: it is put back, and both names are as before. When this was
    /// given up or taken back meanwhile, or a restore that is at work does not end: nothing is exchanged.
    pub fn exchange(&self, target: &Target, staged: &Staged) -> Result<(), FileError> {
        let new = self.beside(Beside::New);
        let held = self.hold().inspect_err(|_| drop(self.remove(&new)));
        let _held = held?;
        if let Err(error) = self.is_wanted().and_then(|()| self.is_staged(target, staged)) {
            self.unstage(target);
            return Err(error);
        }
        self.trade(&new, target.stamp, staged.stamp)?;
        self.remove(&new)?;
        self.sync()?;
        let now = self.present()?;
        // Read anew (the exchange moved its change time), and remembered for the look at the process that will run it.
        let found = digest(&now.file).map_err(FileError::io("read it", &self.path))?;
        if now.stamp == staged.stamp && found == staged.sha256 {
            // Under the lock as well: later it could take away what another effect has staged.
            return self.tidy();
        }
        Err(FileError::refused(
            format!("{} was exchanged, and then changed by somebody else", self.path.display()),
            "find out who writes there; the old file is kept beside it",
        ))
    }

    /// Do both names still stand for what was staged? A restore that came in between has removed them, in whatever
    /// process it was, and without the kept name the old file would be lost.
    fn is_staged(&self, target: &Target, staged: &Staged) -> Result<(), FileError> {
        let is = |which, stamp| Ok::<_, FileError>(self.stamp(&self.beside(which))? == Some(stamp));
        if is(Beside::New, staged.stamp)? && is(Beside::Old, target.stamp)? {
            return Ok(());
        }
        Err(FileError::refused(
            format!(
                "{} was left as it is: what was staged beside it was removed or changed meanwhile",
                self.path.display()
            ),
            "was it taken back? Otherwise find out who writes there; then try again",
        ))
    }

    /// Under the lock: lets go of what was staged, the old file's second name only while its first is there.
    fn unstage(&self, target: &Target) {
        let _ = self.remove(&self.beside(Beside::New));
        let (old, there) = (self.beside(Beside::Old), Some(target.stamp));
        if self.stamp(self.name()).is_ok_and(|now| now == there)
            && self.stamp(&old).is_ok_and(|kept| kept == there)
        {
            let _ = self.remove(&old);
        }
    }

    /// Exchanges `ours` (a name beside the target) with the target, which must be `expected`; durable on return.
    pub(super) fn trade(&self, ours: &str, expected: Stamp, mine: Stamp) -> Result<(), FileError> {
        let flags = RenameFlags::RENAME_EXCHANGE;
        let swap = || {
            durable!(
                "agent.swap.exchange",
                io_result(renameat2(&self.dir, ours, &self.dir, self.name(), flags))
            )
        };
        let failed = FileError::io("exchange it with the file beside it", &self.path);
        swap().map_err(failed)?;
        if self.stamp(ours)? == Some(expected) {
            return self.sync();
        }
        // Somebody was quicker than the check. His file goes back to where he put it.
        swap().map_err(FileError::io("put back what somebody else had put there", &self.path))?;
        if self.stamp(ours)? == Some(mine) {
            self.remove(ours)?;
        }
        self.sync()?;
        Err(changed(&self.path))
    }

    /// Removes what the agent left beside the target and no longer needs: the displaced file of this effect,
    /// and of earlier effects all but the newest kept file.
    ///
    /// # Errors
    /// When the directory cannot be listed or a file not removed.
    pub fn tidy(&self) -> Result<(), FileError> {
        let ours = [Beside::New, Beside::Old, Beside::Back].map(|which| self.beside(which));
        let mut kept = Vec::new();
        for name in self.own_names()?.into_iter().filter(|name| !ours.contains(name)) {
            if name.ends_with(".old") {
                let file = self.entry(&name).map_err(FileError::io("look at a kept file", &self.path))?;
                // The change time: when it was kept, not when it was built.
                kept.push((file.metadata().map(|meta| (meta.ctime(), meta.ctime_nsec())).ok(), name));
            } else {
                self.remove(&name)?;
            }
        }
        kept.sort();
        kept.pop();
        kept.iter().try_for_each(|(_, name)| self.remove(name))?;
        self.remove(&ours[0])
    }
}

/// Copies all bytes and returns the digest of what was written.
pub(super) fn copy(source: &File, to: &File) -> io::Result<Sha256> {
    use std::io::Seek as _;
    let (mut source, mut to) = (source, to);
    source.rewind()?;
    let mut hash = sha2::Sha256::new();
    let mut piece = vec![0u8; PIECE];
    loop {
        let read = match source.read(&mut piece) {
            Ok(0) => return Ok(Sha256(hash.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&piece[..read]);
        durable!("agent.swap.write", to.write_all(&piece[..read]))?;
    }
}

/// Opens an artifact of the agent's own store for reading.
///
/// # Errors
/// When it is gone.
pub fn open_artifact(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(FileError::io("open the fetched artifact", path))
}
