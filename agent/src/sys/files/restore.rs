//! Putting the old file back.

use std::fs::File;

use drydock_failpoint::durable;
use drydock_types::Sha256;
use nix::{
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    unistd::linkat,
};

use super::{
    FileError, hash, io_result,
    place::{Beside, Place, Stamp, changed},
};

impl Place {
    /// Puts the kept old file back, if the new one lies there. `true` when it had to be; `false` when the old
    /// one lay there already. Done twice it does no harm.
    ///
    /// # Errors
    /// When neither of the two lies there, the kept file is not the old one, an exchange that is at work does not
    /// end, or this was given up: then nothing is changed.
    pub fn restore(&self, old: Sha256, new: Sha256) -> Result<bool, FileError> {
        // Before the first look: what is read must still be so when the kept file is let go.
        let _held = self.hold()?;
        let kept = self.beside(Beside::Old);
        let back = self.beside(Beside::Back);
        match self.digest()? {
            Some(found) if found == old => {
                self.forget()?;
                return Ok(false);
            }
            Some(found) if found == new => {
                let mine = self.old_file(&kept, old)?;
                let displaced = self.present()?;
                if displaced.sha256(&self.path)? != new {
                    return Err(changed(&self.path));
                }
                self.is_wanted()?;
                self.second_name(&kept, &back, mine)?;
                self.trade(&back, displaced.stamp, mine)?;
            }
            // Somebody removed the binary: nothing to exchange with, and nothing to lose.
            None => {
                let mine = self.old_file(&kept, old)?;
                let target = self.name().to_owned();
                self.is_wanted()?;
                self.second_name(&kept, &target, mine)?;
                self.sync()?;
            }
            Some(found) => {
                return Err(FileError::refused(
                    format!(
                        "{} has digest {}: neither the old file ({}) nor the new one ({}); it is left alone",
                        self.path.display(),
                        found.short(),
                        old.short(),
                        new.short()
                    ),
                    format!(
                        "find out who put it there; the old file is {}",
                        self.path.with_file_name(&kept).display()
                    ),
                ));
            }
        }
        if self.digest()? != Some(old) {
            return Err(changed(&self.path));
        }
        self.forget()?;
        Ok(true)
    }

    /// The kept file, opened and seen to be the old one.
    fn old_file(&self, kept: &str, old: Sha256) -> Result<Stamp, FileError> {
        let shown = self.path.with_file_name(kept);
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = openat2(&self.dir, kept, how).map(File::from);
        let file = file.map_err(FileError::io("open the old file that was kept", &shown))?;
        let found = hash(&file).map_err(FileError::io("read the old file that was kept", &shown))?;
        if found != old {
            return Err(FileError::refused(
                format!(
                    "{} has digest {found}, and the old file had {old}; nothing was changed",
                    shown.display()
                ),
                "put the old binary back by hand, from its package or release",
            ));
        }
        self.stamp(kept)?.ok_or_else(|| changed(&self.path))
    }

    fn second_name(&self, kept: &str, name: &str, expected: Stamp) -> Result<(), FileError> {
        if name != self.name() {
            self.remove(name)?;
        }
        durable!(
            "agent.swap.bring-back",
            io_result(linkat(&self.dir, kept, &self.dir, name, AtFlags::empty()))
        )
        .map_err(FileError::io("bring the old file back", &self.path))?;
        if self.stamp(name)? == Some(expected) { Ok(()) } else { Err(changed(&self.path)) }
    }

    /// Removes this effect's names once the old file lies in its place: it needs no second name.
    fn forget(&self) -> Result<(), FileError> {
        for which in [Beside::New, Beside::Back, Beside::Old] {
            self.remove(&self.beside(which))?;
        }
        self.sync()
    }
}
