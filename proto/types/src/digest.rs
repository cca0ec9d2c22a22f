//! SHA-256 digests: how artifacts, plans, sections and recipes are named.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Digest as _;

use crate::Invalid;

/// A SHA-256 digest, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of several parts, each preceded by its length, so that no two lists of parts meet.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Reads 64 hex digits, with or without a leading `sha256:`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        from_hex::<32>(hex)
            .map(Self)
            .ok_or_else(|| Invalid::new("SHA-256 digest", text, "it is 64 hex digits"))
    }

    /// The first eight hex digits: enough to tell two apart on a screen.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

/// Hex digits of exactly `N` bytes.
pub(crate) fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0u8; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |c: u8| char::from(c).to_digit(16).and_then(|v| u8::try_from(v).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(out)
}

/// Lower-case hex of these bytes.
pub(crate) fn write_hex(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Ids and digests are most of what goes to disk and wire: formatting them byte by byte shows in profiles.
    for chunk in bytes.chunks(32) {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(chunk) {
            (pair[0], pair[1]) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        }
        let digits = core::str::from_utf8(&text[..chunk.len() * 2]);
        out.write_str(digits.map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

impl fmt::Display for Sha256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{self}")
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_prints() {
        let digest = Sha256::of(b"drydock");
        assert_eq!(Sha256::parse(&digest.to_string()), Ok(digest));
        assert_eq!(Sha256::parse(&format!("sha256:{digest}")), Ok(digest));
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(Sha256::of_parts(&[b"ab", b"c"]), Sha256::of_parts(&[b"a", b"bc"]));
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused() {
        assert!(Sha256::parse("abcd").is_err());
        assert!(Sha256::parse(&"é".repeat(32)).is_err());
    }
}
