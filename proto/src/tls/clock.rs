//! What time it is when certificates are judged.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// No build is older than this (2026-01-01). A packager's `SOURCE_DATE_EPOCH` raises it.
const OLDEST_BUILD_UNIX_S: u64 = 1_767_225_600;

/// When this program was built, as far as the build says.
pub const BUILD_UNIX_S: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => digits(text.as_bytes()),
    None => OLDEST_BUILD_UNIX_S,
};

/// Reads decimal digits at compile time; anything else leaves the oldest build's time.
const fn digits(text: &[u8]) -> u64 {
    let (mut at, mut value) = (0, 0u64);
    // Ten digits last until the year 2286, and cannot overflow.
    if text.is_empty() || text.len() > 10 {
        return OLDEST_BUILD_UNIX_S;
    }
    while at < text.len() {
        if !text[at].is_ascii_digit() {
            return OLDEST_BUILD_UNIX_S;
        }
        value = value * 10 + (text[at] - b'0') as u64;
        at += 1;
    }
    if value > OLDEST_BUILD_UNIX_S { value } else { OLDEST_BUILD_UNIX_S }
}

/// max(system clock, build time, the latest time that this side has seen proof of).
///
/// A machine whose clock fell back to 1970 (an empty CMOS battery) must not lock itself out for that, and
/// nobody may set a clock back to revive an old certificate further than this floor.
#[derive(Debug)]
pub struct Clock {
    floor_unix_s: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { floor_unix_s: AtomicU64::new(BUILD_UNIX_S) }
    }
}

impl Clock {
    /// It is at least this late: the time of a journal's last record, the beginning of a certificate that
    /// our CA has issued. Never a peer's word.
    pub fn raise(&self, seen_unix_s: i64) {
        if let Ok(seen) = u64::try_from(seen_unix_s) {
            self.floor_unix_s.fetch_max(seen, Ordering::Relaxed);
        }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now_unix_s(&self) -> i64 {
        i64::try_from(self.now().as_secs()).unwrap_or(i64::MAX)
    }

    /// The same as rustls writes it.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        let floor = self.floor_unix_s.load(Ordering::Relaxed);
        let system = UnixTime::now().as_secs();
        UnixTime::since_unix_epoch(core::time::Duration::from_secs(system.max(floor)))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_reads_earlier_than_the_build_or_what_was_seen() {
        let clock = Clock::default();
        assert!(clock.now_unix_s() >= i64::try_from(BUILD_UNIX_S).unwrap());
        let future = clock.now_unix_s() + 1_000_000;
        clock.raise(future);
        assert!(clock.now_unix_s() >= future);
        clock.raise(-5);
        clock.raise(7);
        assert!(clock.now_unix_s() >= future, "the floor fell");
    }

    #[test]
    fn a_build_date_that_is_no_number_is_not_believed() {
        for bad in ["", "17672256oo", "99999999999999999999", "12"] {
            assert_eq!(digits(bad.as_bytes()), OLDEST_BUILD_UNIX_S, "{bad:?}");
        }
        assert_eq!(digits(b"1800000000"), 1_800_000_000);
    }
}
