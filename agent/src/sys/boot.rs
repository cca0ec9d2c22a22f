//! Which boot of the machine this is, and how old it is.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// As PID 1 sees it. A service with a mount namespace of its own sees another one where the node is a
/// container whose manager has put a file there.
const OF_INIT: &str = "/proc/1/root/proc/sys/kernel/random/boot_id";
const OWN: &str = "/proc/sys/kernel/random/boot_id";

/// The boot's id: another one after each start of the machine.
///
/// # Errors
/// When the system does not say it.
pub fn id() -> io::Result<String> {
    let text = fs::read_to_string(OF_INIT).or_else(|_| fs::read_to_string(OWN))?;
    match text.trim() {
        "" => Err(io::Error::other(format!("{OWN} is empty"))),
        id => Ok(id.to_owned()),
    }
}

/// Since the machine was started, also while it slept. Nobody can set this clock.
///
/// # Errors
/// When the system does not say it.
pub fn age() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_an_id_that_stays_and_an_age_that_grows() {
        assert_eq!(id().unwrap(), id().unwrap());
        assert_eq!(id().unwrap().len(), 36);
        let before = age().unwrap();
        assert!(age().unwrap() >= before && before > Duration::ZERO);
    }
}
