//! One exchange or restore at a time in a directory, over threads and processes, and none that was given up.
//!
//! A thread cannot be ended from outside: when the time of a step is over its future is dropped, and the thread that
//! exchanges for it goes on, perhaps after somebody else has begun to take the exchange back. Hence the lock, which
//! dies with its process, and hence [`Stop`], which is asked under the lock right before the file changes.

use std::{
    fmt,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{FileError, place::Place};

/// How long the other one is waited for. Under the lock nothing is copied: a rename, fsyncs of the directory, and
/// two readings of a binary.
const WAIT: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Says why it is over; `None` while it is not.
type Over = dyn Fn() -> Option<String> + Send + Sync;

/// Whether file work was given up by whoever wanted it. The default never is.
#[derive(Clone, Default)]
pub struct Stop {
    dropped: Arc<AtomicBool>,
    over: Option<Arc<Over>>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stop").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

/// Gives the work up when it is dropped.
#[derive(Debug)]
pub struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Stop {
    /// Given up as well once `over` says why. It is asked while the lock is waited for, and under the lock.
    pub fn once(over: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { over: Some(Arc::new(over)), ..Self::default() }
    }

    /// To be kept by the future that waits for the work.
    #[must_use]
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.dropped.clone())
    }

    fn why(&self) -> Option<String> {
        if self.dropped.load(Ordering::SeqCst) {
            return Some("the step that wanted it has ended, its time was over".into());
        }
        self.over.as_ref().and_then(|over| over())
    }
}

/// The directory's lock, let go when it is dropped.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl Place {
    /// Takes the lock of its directory.
    ///
    /// # Errors
    /// When another process or thread keeps it for too long, or the work was given up meanwhile.
    pub(super) fn hold(&self) -> Result<Held, FileError> {
        self.hold_within(WAIT)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "blocking file work; a lock that is waited for in the kernel has no end"
    )]
    pub(super) fn hold_within(&self, wait: Duration) -> Result<Held, FileError> {
        // Opened anew: a lock belongs to what was opened, and a second one through the same would be had at once.
        let mut dir = self.reopened()?;
        let until = Instant::now() + wait;
        loop {
            match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Held(held)),
                Err((free, Errno::EWOULDBLOCK | Errno::EINTR)) => dir = free,
                Err((_, error)) => return Err(FileError::io("lock its directory", &self.path)(error)),
            }
            self.is_wanted()?;
            if Instant::now() >= until {
                return Err(self.busy(&dir, wait));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// # Errors
    /// When the work was given up.
    pub(super) fn is_wanted(&self) -> Result<(), FileError> {
        self.stop.why().map_or(Ok(()), |why| {
            Err(FileError::refused(
                format!("{} was left as it is: {why}", self.path.display()),
                "see how the section ended, then try again",
            ))
        })
    }

    fn busy(&self, dir: &File, wait: Duration) -> FileError {
        let shown = self.path.parent().unwrap_or(&self.path).display();
        let what = |who: String| {
            format!(
                "{}: nothing was changed, because {shown} has been locked (flock) for {wait:?} by {who}",
                self.path.display()
            )
        };
        match holder(dir) {
            Some(pid) => {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let name = if name.is_empty() { "has ended, a child of it holds it" } else { name.trim() };
                FileError::refused(
                    what(format!("process {pid} ({name})")),
                    format!(
                        "see what it is at: ps -fp {pid}; fuser -v {shown}; when it has let go, try again"
                    ),
                )
            }
            None => FileError::refused(
                what("a process that is not seen from here".into()),
                format!("find it: fuser -v {shown}; lslocks; when it has let go, try again"),
            ),
        }
    }
}

/// The process that took the lock, as the kernel has it.
fn holder(dir: &File) -> Option<u32> {
    let meta = dir.metadata().ok()?;
    let (major, minor) = (nix::sys::stat::major(meta.dev()), nix::sys::stat::minor(meta.dev()));
    holder_in(&fs::read_to_string("/proc/locks").ok()?, &format!("{major:02x}:{minor:02x}:{}", meta.ino()))
}

/// `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`; one that waits has `->` behind the number.
pub(super) fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, pid) = (words.next()?, words.nth(2)?);
        (kind == "FLOCK" && words.next()? == file).then(|| pid.parse().ok())?
    })
}
