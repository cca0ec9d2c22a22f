//! How many nodes of a wave: a number, or a share of them.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many nodes: `3`, or `25%` of the wave's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many; at least 1.
    Nodes(u32),
    /// Such a share, from 1 to 100; rounded down, and never less than one node.
    Percent(u8),
}

impl Default for Count {
    fn default() -> Self {
        Self::Nodes(1)
    }
}

impl Count {
    /// As it is written: `3` or `25%`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no number of nodes: write 3, or \"25%\"");
        match text.strip_suffix('%') {
            Some(share) => match share.parse::<u8>().map_err(|_| wrong())? {
                share @ 1..=100 => Ok(Self::Percent(share)),
                _ => Err(format!("{text:?} is no share: it goes from 1% to 100%")),
            },
            None => Self::nodes(text.parse().map_err(|_| wrong())?),
        }
    }

    fn nodes(count: u64) -> Result<Self, String> {
        match u32::try_from(count) {
            Ok(0) => Err("0 nodes at once let nobody leave service".to_string()),
            Ok(count) => Ok(Self::Nodes(count)),
            Err(_) => Err(format!("{count} nodes are more than a fleet has")),
        }
    }

    /// How many that is of so many.
    #[must_use]
    pub fn of(self, all: usize) -> u32 {
        match self {
            Self::Nodes(count) => count.max(1),
            Self::Percent(share) => {
                let part = all as u64 * u64::from(share) / 100;
                u32::try_from(part).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(count) => write!(out, "{count}"),
            Self::Percent(share) => write!(out, "{share}%"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nodes(count) => to.serialize_u32(*count),
            Self::Percent(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Count;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number of nodes (3) or a share of them (\"25%\")")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                Count::nodes(count).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                Count::parse(text).map_err(E::custom)
            }
        }
        from.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_never_nobody() {
        assert_eq!(Count::Percent(10).of(50), 5);
        assert_eq!(Count::Percent(10).of(19), 1);
        assert_eq!(Count::Percent(10).of(3), 1);
        assert_eq!(Count::Nodes(4).of(3), 4);
    }

    #[test]
    fn nothing_but_a_number_or_a_share_is_read() {
        assert_eq!(Count::parse("25%"), Ok(Count::Percent(25)));
        assert_eq!(Count::parse("3"), Ok(Count::Nodes(3)));
        for wrong in ["0", "0%", "101%", "-1", "many", "", "%", "4294967296"] {
            assert!(Count::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        for count in [Count::Nodes(3), Count::Percent(25)] {
            let json = serde_json::to_string(&count).unwrap();
            assert_eq!(serde_json::from_str::<Count>(&json).unwrap(), count);
        }
    }
}
