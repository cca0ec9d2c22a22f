//! The fleet's clock: monotonic, persisted, still while no coordinator runs.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use drydock_core::Now;

/// Counts on from where the store says the last coordinator stopped.
#[derive(Debug, Clone, Copy)]
pub struct FleetClock {
    base_ms: u64,
    started: Instant,
}

impl FleetClock {
    /// `base_ms` is the clock that was last written.
    #[must_use]
    pub fn from(base_ms: u64) -> Self {
        Self { base_ms, started: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { clock_ms: self.base_ms.saturating_add(passed), wall_ms: wall_ms() }
    }
}

/// Unix time in milliseconds; for people, never for deadlines.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
