//! The text of a join token: what an agent needs to enrol, in one line that can be copied.
//!
//! `ddj1.` and base64url of: id (8), secret (32), CA pin (32), fleet (16), length and text of the node's
//! name, length and text of the coordinator's address, the first 4 bytes of the SHA-256 of all before. The
//! checksum is for slips of the hand, not against anybody.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use drydock_types::{FleetId, NodeName, Sha256};

use super::Address;

/// What a token's text begins with: its form's version.
const PREFIX: &str = "ddj1.";
/// Longer texts are not looked at.
const MAX_TEXT_BYTES: usize = 1024;
const CHECKSUM_BYTES: usize = 4;

/// A token's number: public, what `drydock token list` shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 8]);

impl TokenId {
    /// Reads 16 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let exact = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let value = u64::from_str_radix(text, 16).ok().filter(|_| exact)?;
        Some(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// A token's secret: 256 random bits. Shown by nothing but [`JoinToken::to_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(pub [u8; 32]);

impl TokenSecret {
    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        Sha256::of_parts(&[b"drydock join token", &self.0])
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenSecret(…)")
    }
}

/// A join token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its number.
    pub id: TokenId,
    /// What proves that one holds it.
    pub secret: TokenSecret,
    /// SHA-256 of the CA's certificate (DER): how the agent knows the coordinator.
    pub ca_pin: Sha256,
    /// The fleet.
    pub fleet: FleetId,
    /// The one node that it is for.
    pub node: NodeName,
    /// Whom to dial.
    pub coordinator: Address,
}

/// A text that is no join token. Never repeats the text: it may be nearly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Something else.
    #[error("this is not a join token (it begins with {PREFIX}); make one with `drydock token create`")]
    Form,
    /// A slip in copying.
    #[error("the join token is damaged: a part is missing or changed; copy the whole line")]
    Damaged,
}

impl JoinToken {
    /// The one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend(self.id.0);
        bytes.extend(self.secret.0);
        bytes.extend(self.ca_pin.0);
        bytes.extend(self.fleet.0);
        for text in [self.node.as_str(), self.coordinator.as_str()] {
            // Both types are shorter than 256 bytes by construction.
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend(text.as_bytes());
        }
        let checksum = Sha256::of(&bytes);
        bytes.extend(&checksum.0[..CHECKSUM_BYTES]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads the one line; blanks around it do not matter.
    ///
    /// # Errors
    /// When it is something else or was damaged.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(BadToken::Form)?;
        if body.len() > MAX_TEXT_BYTES {
            return Err(BadToken::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken::Damaged)?;
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(BadToken::Damaged)?;
        if Sha256::of(content).0[..CHECKSUM_BYTES] != checksum[..] {
            return Err(BadToken::Damaged);
        }
        read(content).ok_or(BadToken::Damaged)
    }
}

fn read(content: &[u8]) -> Option<JoinToken> {
    let (id, rest) = content.split_first_chunk::<8>()?;
    let (secret, rest) = rest.split_first_chunk::<32>()?;
    let (ca_pin, rest) = rest.split_first_chunk::<32>()?;
    let (fleet, rest) = rest.split_first_chunk::<16>()?;
    let (node, rest) = read_text(rest)?;
    let (coordinator, rest) = read_text(rest)?;
    rest.is_empty().then_some(())?;
    Some(JoinToken {
        id: TokenId(*id),
        secret: TokenSecret(*secret),
        ca_pin: Sha256(*ca_pin),
        fleet: FleetId(*fleet),
        node: NodeName::parse(node).ok()?,
        coordinator: Address::parse(coordinator).ok()?,
    })
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            id: TokenId([1; 8]),
            secret: TokenSecret([0xc5; 32]),
            ca_pin: Sha256([3; 32]),
            fleet: FleetId([4; 16]),
            node: NodeName::parse("db-1").unwrap(),
            coordinator: Address::parse("[fd00::1]:7440").unwrap(),
        }
    }

    #[test]
    fn a_token_is_one_line_that_reads_back() {
        let text = token().to_text();
        assert!(text.starts_with("ddj1.") && !text.contains(char::is_whitespace));
        assert_eq!(JoinToken::parse(&format!("  {text}\n")), Ok(token()));
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let text = token().to_text();
        for at in PREFIX.len()..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert_eq!(JoinToken::parse(&damaged), Err(BadToken::Damaged), "at {at}");
            assert_eq!(JoinToken::parse(&text[..at]), Err(BadToken::Damaged), "cut at {at}");
        }
        assert_eq!(JoinToken::parse("hello"), Err(BadToken::Form));
        assert_eq!(JoinToken::parse(&format!("ddj1.{}", "A".repeat(1 << 20))), Err(BadToken::Damaged));
    }

    /// Hostile input 27: c5 is 197 in decimal; neither form may be seen.
    #[test]
    fn a_secret_is_not_in_debug_output() {
        let shown = format!("{:?} {:#?}", token(), token());
        assert!(!shown.contains("c5c5") && !shown.contains("197"), "{shown}");
    }
}
