//! A bound of a measurement.

use core::{cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A finite number.
#[derive(Debug, Clone, Copy)]
pub struct Threshold(f64);

impl Threshold {
    /// `None` for what is no finite number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        // Zero has two spellings and one meaning.
        value.is_finite().then_some(Self(value + 0.0))
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0) == Ordering::Equal
    }
}

impl Eq for Threshold {}

impl fmt::Display for Threshold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(from)?;
        Self::new(value).ok_or_else(|| de::Error::custom("a bound is a finite number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_finite_and_read_back_as_it_was_written() {
        assert!(Threshold::new(f64::NAN).is_none() && Threshold::new(f64::INFINITY).is_none());
        assert_eq!(Threshold::new(-0.0), Threshold::new(0.0));
        for text in ["0.01", "5", "-3", "1e300"] {
            let read: Threshold = serde_json::from_str(text).unwrap();
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Threshold>(&written).unwrap(), read, "{text} as {written}");
        }
    }
}
