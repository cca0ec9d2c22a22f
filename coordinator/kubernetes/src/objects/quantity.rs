//! Kubernetes' quantities: `100m`, `1.5Gi`, `129e6`; and sums of what pods ask for.
//!
//! Source: `apimachinery/pkg/api/resource/quantity.go`. Counted in thousandths; what is finer is rounded up, as the
//! scheduler does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Thousandths of a unit: of a core, a byte, a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milli(pub i128);

impl Milli {
    /// One whole.
    pub const ONE: Self = Self(1000);

    /// Reads a quantity.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // More digits than any machine has bytes are no quantity.
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return None;
        }
        if (whole.is_empty() && fraction.is_empty()) || whole.len() + fraction.len() > 24 {
            return None;
        }
        let joined: i128 = format!("{whole}{fraction}").parse().ok()?;
        let (times, divide) = scale(suffix)?;
        let below = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divide)?;
        let above = joined.checked_mul(times)?.checked_mul(1000)?;
        let milli = above / below + i128::from(above % below != 0);
        Some(Self(if negative { -milli } else { milli }))
    }
}

/// What a suffix multiplies by, and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let (times, divide) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some((times, divide))
}

/// Amounts of resources by name: `cpu`, `memory`, `nvidia.com/gpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Milli>);

impl Amounts {
    /// How much of one; nothing where it is not named.
    #[must_use]
    pub fn get(&self, name: &str) -> Milli {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, amount: Milli) {
        self.0.insert(name.to_owned(), amount);
    }

    /// Adds all.
    pub fn add(&mut self, others: &Self) {
        for (name, amount) in &others.0 {
            let sum = self.get(name).0.saturating_add(amount.0);
            self.set(name, Milli(sum));
        }
    }

    /// Takes the greater of each.
    pub fn raise(&mut self, others: &Self) {
        for (name, amount) in &others.0 {
            if *amount > self.get(name) {
                self.set(name, *amount);
            }
        }
    }

    /// The first resource of which `asked` on top of `used` is more than there is here. What is not asked for never
    /// lacks.
    #[must_use]
    pub fn lacks<'a>(&self, used: &Self, asked: &'a Self) -> Option<&'a str> {
        let short = |(name, amount): &(&String, &Milli)| {
            amount.0 > 0 && used.get(name).0.saturating_add(amount.0) > self.get(name).0
        };
        asked.0.iter().find(short).map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// Servers write quantities as text; clients may have written numbers.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Whole(i64),
        }
        let written = BTreeMap::<String, Written>::deserialize(from)?;
        let read = |(name, amount): (String, Written)| {
            let milli = match &amount {
                Written::Text(text) => Milli::parse(text),
                Written::Whole(whole) => i128::from(*whole).checked_mul(1000).map(Milli),
            };
            let Some(milli) = milli else {
                return Err(serde::de::Error::custom(format_args!("the amount of {name} is no quantity")));
            };
            Ok((name, milli))
        };
        written.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}
