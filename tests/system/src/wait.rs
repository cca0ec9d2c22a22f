//! Waits: each is bounded and has a name.

use std::time::{Duration, Instant};

/// How long anything that should be quick may take on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a whole run may take.
pub const RUN: Duration = Duration::from_secs(90);

/// Between two looks at a foreign process.
pub fn moment() {
    pause(Duration::from_millis(10));
}

/// Lets foreign processes go on for a while.
#[expect(clippy::disallowed_methods, reason = "foreign processes are polled: there is no event to await")]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Looks until there is something to see.
///
/// # Panics
/// With `what` when the time is over.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < within, "waited {within:?} in vain: {what}");
        moment();
    }
}

/// Looks until it is true.
///
/// # Panics
/// With `what` when the time is over.
pub fn until_true(what: &str, within: Duration, mut look: impl FnMut() -> bool) {
    until(what, within, || look().then_some(()));
}
