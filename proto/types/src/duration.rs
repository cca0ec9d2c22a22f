//! Durations as people write them: `10s`, `2m`, `1h30m`, `250ms`.

use alloc::{format, string::String};
use core::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Invalid;

/// A length of time in milliseconds. Written `1h30m`, never as a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Millis {
    /// The longest duration that is read: a year.
    pub const MAX: Self = Self(365 * 86_400_000);

    /// Whole seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Reads `1h30m`, `10s`, `250ms`.
    ///
    /// # Errors
    /// When a unit is missing or unknown, or the whole is over a year.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad =
            || Invalid::new("duration", text, "write it as 250ms, 10s, 2m, 1h30m or 1d (a year at most)");
        let mut rest = text;
        let mut total = 0u64;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(bad)?.1;
            rest = &rest[letters..];
            total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
        }
        if total > Self::MAX.0 {
            return Err(bad());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Millis {
    /// The two largest units: `1h30m`, `2m10s`, `450ms`; `0s` for nothing.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut rest = self.0;
        let mut shown = 0;
        for (name, size) in UNITS.iter().rev() {
            if rest >= *size && shown < 2 {
                let _ = write!(text, "{}{name}", rest / size);
                rest %= size;
                shown += 1;
            }
        }
        out.pad(if text.is_empty() { "0s" } else { &text })
    }
}

impl Serialize for Millis {
    /// Exact: all units, so that what is read back is equal.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}ms", self.0))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(Millis::parse("1h30m"), Ok(Millis(5_400_000)));
        assert_eq!(Millis::parse("250ms"), Ok(Millis(250)));
        for bad in ["", "10", "s", "1x", "-5s", "1.5s", "99999999999999999999s", "400d"] {
            assert!(Millis::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_duration_prints_its_two_largest_units() {
        assert_eq!(Millis(130_450).to_string(), "2m10s");
        assert_eq!(Millis(0).to_string(), "0s");
        assert_eq!(Millis(90_061_000).to_string(), "1d1h");
    }
}
