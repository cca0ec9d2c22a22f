//! Bounded waiting: every wait has a deadline and says what it waited for.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Asks `question` every `interval` until it gives a value. At the deadline the error carries what
/// `seen` reports.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut question: impl FnMut() -> Result<Option<T>>,
    seen: impl FnOnce() -> String,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = question()? {
            return Ok(value);
        }
        if started.elapsed() >= deadline {
            return Err(Error::Waited { what: what.to_owned(), waited: started.elapsed(), seen: seen() });
        }
        std::thread::sleep(interval);
    }
}
