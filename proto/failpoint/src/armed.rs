//! What is behind the macros in a build of the kill matrix.

use std::{
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

static ARM: LazyLock<Option<PathBuf>> = LazyLock::new(|| place("DRYDOCK_FAILPOINT_ARM"));
static LOG: LazyLock<Option<PathBuf>> = LazyLock::new(|| place("DRYDOCK_FAILPOINT_LOG"));
static ARMED: Mutex<Armed> = Mutex::new(Armed { text: String::new(), passed: 0, due: None });

fn place(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// What the file said when it was last read, and how often its point was passed since then.
struct Armed {
    text: String,
    passed: u64,
    /// The point whose `after` belongs to the `before` that was due.
    due: Option<Due>,
}

/// What is to happen behind the work that is at it now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Kill,
    LateEio,
}

/// Right before the work of a point.
///
/// # Errors
/// The error that the work is to answer in place of being done.
#[doc(hidden)]
pub fn before(name: &str) -> io::Result<()> {
    log(name, "before");
    let Some(file) = ARM.as_ref() else { return Ok(()) };
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    if text != armed.text {
        (armed.text, armed.passed, armed.due) = (text, 0, None);
    }
    let action = {
        let mut words = armed.text.split_whitespace();
        let (point, nth, action) = (words.next(), words.next(), words.next());
        if point != Some(name) {
            return Ok(());
        }
        let nth: u64 = nth.and_then(|nth| nth.parse().ok()).unwrap_or(1);
        let action = action.unwrap_or_default().to_owned();
        armed.passed += 1;
        if armed.passed != nth { String::new() } else { action }
    };
    if !action.is_empty() {
        log(name, "fired");
    }
    match action.as_str() {
        "kill-before" => die(),
        "kill-after" => armed.due = Some(Due::Kill),
        "late-eio" => armed.due = Some(Due::LateEio),
        "enospc" => return Err(Errno::ENOSPC.into()),
        "eio" => return Err(Errno::EIO.into()),
        _ => {}
    }
    Ok(())
}

/// Right behind the work of a point.
///
/// # Errors
/// The error that the work is to answer although it was done.
#[doc(hidden)]
pub fn after(name: &str) -> io::Result<()> {
    let due = {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = armed.text.split_whitespace().next() == Some(name);
        if ours { armed.due.take() } else { None }
    };
    log(name, "after");
    match due {
        Some(Due::Kill) => die(),
        Some(Due::LateEio) => Err(Errno::EIO.into()),
        None => Ok(()),
    }
}

/// `kill -9` of this process: nothing of it runs after that.
fn die() -> ! {
    loop {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}

/// One write a line: lines of two threads never mix. Nothing of it is synced; only the process dies, and what
/// it wrote stays with the kernel.
fn log(name: &str, when: &str) {
    let Some(file) = LOG.as_ref() else { return };
    let opened = fs::OpenOptions::new().create(true).append(true).open(file);
    if let Ok(mut file) = opened {
        let _ = file.write_all(format!("{name} {when}\n").as_bytes());
    }
}
