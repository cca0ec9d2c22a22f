//! Unix time in milliseconds that never runs backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time read once, then carried forward by the monotonic clock: a step of the system's
/// time in the middle of a scenario must not create or swallow an outage.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base_unix_ms: u64,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock. A machine whose clock stands before 1970 counts from zero.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(0), started: Instant::now() }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base_unix_ms.saturating_add(elapsed_ms)
    }
}
