//! A time on the clock: `22:00`.

use alloc::{format, string::String};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Hour and minute, on some zone's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl TimeOfDay {
    /// `HH:MM`, from `00:00` to `23:59`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time of day: write it as \"22:00\"");
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        if !digits(hour) || !digits(minute) {
            return Err(wrong());
        }
        match (hour.parse(), minute.parse()) {
            (Ok(hour @ 0..=23), Ok(minute @ 0..=59)) => Ok(Self { hour, minute }),
            _ => Err(wrong()),
        }
    }

    /// 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// 0 to 59.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:02}:{:02}", self.hour(), self.minute())
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = TimeOfDay;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a time of day (\"22:00\")")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeOfDay, E> {
                TimeOfDay::parse(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Reader)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn only_hours_and_minutes_of_a_day_are_read() {
        let time = TimeOfDay::parse("04:30").unwrap();
        assert_eq!((time.hour(), time.minute(), time.to_string().as_str()), (4, 30, "04:30"));
        for wrong in ["4:30", "24:00", "12:60", "1230", "12:3", "12:30:00", "", "+1:00"] {
            assert!(TimeOfDay::parse(wrong).is_err(), "{wrong}");
        }
    }
}
