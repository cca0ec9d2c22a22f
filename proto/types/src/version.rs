//! Versions as the field writes them, and the order between them.
//!
//! Upstreams do not agree on one form: `3.4.23`, `v1.33.4+k3s1`, `28.0.0-p1`, `1.2.0-rc.1`,
//! `v0.28.0-54-g22cf18ff` (54 commits *after* its tag). What cannot be ordered is not ordered: the caller
//! gets `None` and must fail closed.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::Invalid;

mod debian;

/// A version, kept as it was written. Equality is of the text without a leading `v`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

/// What stands behind the numbers, in rising order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    /// `-alpha.1` < `-beta` < `-rc.2`: before the release of the same numbers.
    Before(String, u64),
    /// The release itself.
    None,
    /// `+k3s1`, `-p1`, `-54-g22cf18ff`: after it, by that number within one family.
    After(String, u64),
}

impl Version {
    /// Reads a version: begins with a number (after an optional `v`), 64 characters of
    /// `A-Z a-z 0-9 . + - _ ~ :` at most, each number within 64 bits.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let why =
            "it begins with a number, such as \"3.5.16\" or \"v1.33.4+k3s1\", and has 64 characters at most";
        let bad = || Invalid::new("version", text, why);
        let plain = text.strip_prefix('v').unwrap_or(text);
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_' | '~' | ':');
        if plain.len() > 64 || !plain.chars().all(fine) {
            return Err(bad());
        }
        numbers(plain).filter(|(numbers, _)| !numbers.is_empty()).ok_or_else(bad)?;
        Ok(Self(plain.to_string()))
    }

    /// The text without a leading `v`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Major and minor number; a missing minor is 0.
    #[must_use]
    pub fn minor(&self) -> (u64, u64) {
        let numbers = numbers(&self.0).map(|(numbers, _)| numbers).unwrap_or_default();
        (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0))
    }

    /// The order of two versions, or `None` where their suffixes are of different families. Where one has an epoch
    /// (`1:8.2.2`), or both have a Debian revision and no upstream's habit orders them, it is dpkg's order.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        if self.0.contains(':') || other.0.contains(':') {
            return debian::compare(&self.0, &other.0);
        }
        self.compare_plainly(other).or_else(|| {
            let both = debian::has_revision(&self.0) && debian::has_revision(&other.0);
            both.then(|| debian::compare(&self.0, &other.0)).flatten()
        })
    }

    /// dpkg's order, whatever the form; `None` where what stands before a colon is no epoch.
    #[must_use]
    pub fn compare_debian(&self, other: &Self) -> Option<Ordering> {
        debian::compare(&self.0, &other.0)
    }

    fn compare_plainly(&self, other: &Self) -> Option<Ordering> {
        let (mine, my_suffix) = numbers(&self.0)?;
        let (theirs, their_suffix) = numbers(&other.0)?;
        let width = mine.len().max(theirs.len());
        let at = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(0);
        let by_number = (0..width).map(|i| at(&mine, i).cmp(&at(&theirs, i))).find(|o| o.is_ne());
        if let Some(order) = by_number {
            return Some(order);
        }
        match (suffix(my_suffix)?, suffix(their_suffix)?) {
            (Suffix::After(mine, a), Suffix::After(theirs, b)) => (mine == theirs).then(|| a.cmp(&b)),
            (mine, theirs) => Some(mine.cmp(&theirs)),
        }
    }
}

/// The dotted numbers at the beginning and the rest behind them; `None` past 64 bits or 8 numbers.
fn numbers(text: &str) -> Option<(Vec<u64>, &str)> {
    let mut list = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if end == 0 || list.len() == 8 {
            return None;
        }
        list.push(rest[..end].parse().ok()?);
        rest = &rest[end..];
        match rest.strip_prefix('.') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => return Some((list, rest)),
        }
    }
}

fn suffix(text: &str) -> Option<Suffix> {
    if text.is_empty() {
        return Some(Suffix::None);
    }
    let body = text.trim_start_matches(['-', '+', '.', '~', '_']);
    // `54-g22cf18ff`: so many commits behind the tag.
    if let Some((commits, hash)) = body.split_once("-g") {
        let described = !hash.is_empty() && hash.chars().all(|c| c.is_ascii_hexdigit());
        if let (true, Ok(commits)) = (described, commits.parse()) {
            return Some(Suffix::After("git".to_string(), commits));
        }
    }
    let end = body.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(body.len());
    let (word, rest) = body.split_at(end);
    // `k3s1`: the family's name holds a digit.
    let (word, rest) = match (word, rest.strip_prefix("3s")) {
        ("k", Some(rest)) => ("k3s", rest),
        _ => (word, rest),
    };
    let number = rest.trim_start_matches(['.', '-']);
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    Some(match word {
        "alpha" | "beta" | "dev" | "pre" | "preview" | "rc" => Suffix::Before(word.to_string(), number),
        _ => Suffix::After(word.to_string(), number),
    })
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl core::str::FromStr for Version {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(a: &str, b: &str) -> Option<Ordering> {
        Version::parse(a).unwrap().compare(&Version::parse(b).unwrap())
    }

    #[test]
    fn versions_are_ordered_as_their_upstreams_mean_them() {
        let rising = [
            ("3.4.23", "3.5.16"),
            ("3.9.0", "3.10.0"),
            ("3.5", "3.5.1"),
            ("1.2.0-rc.1", "1.2.0"),
            ("1.2.0-alpha.2", "1.2.0-beta.1"),
            ("1.2.0-rc.9", "1.2.0-rc.10"),
            ("v1.33.4+k3s0", "v1.33.4+k3s1"),
            ("v1.33.4+k3s9", "v1.33.4+k3s10"),
            ("v0.28.0", "v0.28.0-54-g22cf18ff"),
            ("28.0.0", "28.0.0-p1"),
            ("v0.28.0-54-g22cf18ff", "v0.37.2"),
        ];
        for (low, high) in rising {
            assert_eq!(order(low, high), Some(Ordering::Less), "{low} < {high}");
            assert_eq!(order(high, low), Some(Ordering::Greater), "{high} > {low}");
        }
        assert_eq!(order("v3.5.0", "3.5.0"), Some(Ordering::Equal));
        assert_eq!(order("3.5", "3.5.0"), Some(Ordering::Equal));
    }

    #[test]
    fn suffixes_of_different_families_have_no_order() {
        assert_eq!(order("1.0.0+k3s1", "1.0.0+rke2r1"), None);
    }

    /// Hostile input 17.
    #[test]
    fn numbers_at_their_limits_are_read_or_refused_and_never_wrap() {
        assert!(Version::parse("18446744073709551615.0").is_ok());
        assert!(Version::parse("18446744073709551616.0").is_err());
        assert!(Version::parse(&"9".repeat(10_000)).is_err());
        assert_eq!(order("18446744073709551615", "0.1"), Some(Ordering::Greater));
        for bad in ["", "v", "latest", "-1", "1.0\n", "1 0", "1.0;reboot", "1.0/../"] {
            assert!(Version::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
