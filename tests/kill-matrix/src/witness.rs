//! What took place at the target, seen by the kernel and not told by Drydock.

use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Counts how often a name in a directory came to stand for another file by a rename or an exchange.
#[derive(Debug)]
pub(crate) struct Exchanges {
    inotify: Inotify,
    name: String,
    seen: usize,
}

impl Exchanges {
    /// From now on.
    ///
    /// # Panics
    /// When the directory cannot be watched.
    #[must_use]
    pub(crate) fn of(file: &Path) -> Self {
        let opened = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let inotify = opened.unwrap_or_else(|error| panic!("inotify: {error}"));
        let dir = file.parent().unwrap_or(file);
        let watched = inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO);
        watched.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { inotify, name, seen: 0 }
    }

    /// So many until now.
    pub(crate) fn count(&mut self) -> usize {
        while let Ok(events) = self.inotify.read_events() {
            let ours = |event: &&nix::sys::inotify::InotifyEvent| {
                event.name.as_ref().is_some_and(|name| *name == *self.name)
            };
            self.seen += events.iter().filter(ours).count();
        }
        self.seen
    }
}
