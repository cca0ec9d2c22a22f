//! Join tokens: minted, kept as hashes, judged.

use std::collections::BTreeMap;

use drydock_proto::tls::{Address, JoinToken, TokenId, TokenSecret};
use drydock_types::{Label, NodeName, Sha256};

use super::{
    ca::Ca,
    seal::{SealError, random},
};

/// How long a token lives when nobody says otherwise: 1 h.
pub const TTL_S: i64 = 60 * 60;
/// The longest life: 7 days.
pub const MAX_TTL_S: i64 = 7 * 24 * 60 * 60;

/// What the store keeps of a token: never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number; the row's key.
    pub id: TokenId,
    /// [`TokenSecret::hash`].
    pub secret_hash: Sha256,
    /// The one node that it is for.
    pub node: NodeName,
    /// What the node is labelled with once it is enrolled.
    pub labels: BTreeMap<Label, Label>,
    /// Not after this.
    pub expires_unix_s: i64,
    /// The operator who made it.
    pub created_by: String,
    /// When it was made.
    pub created_unix_s: i64,
    /// When it was used.
    pub used_unix_s: Option<i64>,
    /// When it was revoked.
    pub revoked_unix_s: Option<i64>,
}

/// Why an enrolment is refused. For the record, and for the operator at the node: whoever shows the right
/// secret is told what is wrong; whoever does not learns nothing but [`EnrolRefusal::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolRefusal {
    /// Not of our making, or the secret is wrong. These two must look the same.
    #[error("the join token is unknown here; make one with `drydock token create NODE`")]
    Unknown,
    /// Somebody was there before.
    #[error(
        "the join token has been used already: if not by this node, then by whom? `drydock token list` and `drydock node list` show it; `drydock token create NODE` makes a new one"
    )]
    Used,
    /// Too late.
    #[error("the join token has expired; make a new one with `drydock token create NODE`")]
    Expired,
    /// Another node's.
    #[error("the join token is for node {token}, not for {presented}")]
    OtherNode {
        /// Whom it is for.
        token: NodeName,
        /// Who came.
        presented: NodeName,
    },
    /// Taken back.
    #[error("the join token has been revoked; make a new one with `drydock token create NODE`")]
    Revoked,
}

/// What enrolment needs of the store.
pub trait TokenStore {
    /// The store's error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The row of this number.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn token(&self, id: TokenId) -> Result<Option<TokenRow>, Self::Error>;

    /// Marks the token as used, in **one** conditional update that also demands what [`judge`] does:
    /// `… SET used = now WHERE id = ? AND used IS NULL AND revoked IS NULL AND expires >= now`.
    /// `true`: this call did it. Of two at once exactly one gets `true`.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn consume_token(&self, id: TokenId, now_unix_s: i64) -> Result<bool, Self::Error>;
}

/// A new token: the text goes to the operator once, the row to the store.
///
/// # Errors
/// When the system gives no random numbers.
pub fn mint(
    ca: &Ca,
    coordinator: &Address,
    node: NodeName,
    labels: BTreeMap<Label, Label>,
    created_by: &str,
    ttl_s: i64,
    now_unix_s: i64,
) -> Result<(JoinToken, TokenRow), SealError> {
    let token = JoinToken {
        id: TokenId(random()?),
        secret: TokenSecret(random()?),
        ca_pin: ca.pin(),
        fleet: ca.fleet(),
        node: node.clone(),
        coordinator: coordinator.clone(),
    };
    let row = TokenRow {
        id: token.id,
        secret_hash: token.secret.hash(),
        node,
        labels,
        expires_unix_s: now_unix_s + ttl_s.clamp(1, MAX_TTL_S),
        created_by: created_by.to_owned(),
        created_unix_s: now_unix_s,
        used_unix_s: None,
        revoked_unix_s: None,
    };
    Ok((token, row))
}

/// Is it the secret of this row? In a time that does not depend on where they differ.
#[must_use]
pub fn verify_hash(row: &TokenRow, secret: &TokenSecret) -> bool {
    let presented = secret.hash();
    let differs = row.secret_hash.0.iter().zip(presented.0).fold(0u8, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differs) == 0
}

/// May the holder of this token enrol as `name` now? Pure; [`TokenStore::consume_token`] has the last word.
///
/// # Errors
/// Why not.
pub fn judge(
    row: Option<&TokenRow>,
    presented: &JoinToken,
    now_unix_s: i64,
    name: &NodeName,
) -> Result<(), EnrolRefusal> {
    let row = row.filter(|row| verify_hash(row, &presented.secret)).ok_or(EnrolRefusal::Unknown)?;
    if row.revoked_unix_s.is_some() {
        return Err(EnrolRefusal::Revoked);
    }
    if row.used_unix_s.is_some() {
        return Err(EnrolRefusal::Used);
    }
    if now_unix_s > row.expires_unix_s {
        return Err(EnrolRefusal::Expired);
    }
    if row.node != *name {
        return Err(EnrolRefusal::OtherNode { token: row.node.clone(), presented: name.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use drydock_types::FleetId;

    use super::*;

    fn pair() -> (JoinToken, TokenRow) {
        let node = NodeName::parse("db-1").unwrap();
        let token = JoinToken {
            id: TokenId([1; 8]),
            secret: TokenSecret([0xc5; 32]),
            ca_pin: Sha256([0; 32]),
            fleet: FleetId([0; 16]),
            node: node.clone(),
            coordinator: Address::parse("c:1").unwrap(),
        };
        let row = TokenRow {
            id: token.id,
            secret_hash: token.secret.hash(),
            node,
            labels: BTreeMap::new(),
            expires_unix_s: 1000,
            created_by: "alice".into(),
            created_unix_s: 0,
            used_unix_s: None,
            revoked_unix_s: None,
        };
        (token, row)
    }

    /// Hostile inputs 6 and 7.
    #[test]
    fn every_token_that_is_not_good_is_refused_for_its_own_reason() {
        let (token, row) = pair();
        let name = row.node.clone();
        let other = NodeName::parse("db-2").unwrap();
        assert_eq!(judge(Some(&row), &token, 1000, &name), Ok(()));
        assert_eq!(judge(None, &token, 0, &name), Err(EnrolRefusal::Unknown));
        assert_eq!(judge(Some(&row), &token, 1001, &name), Err(EnrolRefusal::Expired));
        let used = TokenRow { used_unix_s: Some(5), ..row.clone() };
        assert_eq!(judge(Some(&used), &token, 6, &name), Err(EnrolRefusal::Used));
        let revoked = TokenRow { revoked_unix_s: Some(5), ..row.clone() };
        assert_eq!(judge(Some(&revoked), &token, 6, &name), Err(EnrolRefusal::Revoked));
        let refusal = judge(Some(&row), &token, 6, &other);
        assert_eq!(refusal, Err(EnrolRefusal::OtherNode { token: name.clone(), presented: other }));
    }

    /// Hostile inputs 6, 7, 27: a wrong secret learns nothing, whatever state the row is in.
    #[test]
    fn a_wrong_secret_is_unknown_even_for_a_used_expired_or_revoked_token() {
        let (mut token, row) = pair();
        token.secret.0[31] ^= 1;
        let name = row.node.clone();
        for row in [
            row.clone(),
            TokenRow { used_unix_s: Some(1), ..row.clone() },
            TokenRow { revoked_unix_s: Some(1), ..row.clone() },
            TokenRow { expires_unix_s: -1, ..row },
        ] {
            assert_eq!(judge(Some(&row), &token, 5, &name), Err(EnrolRefusal::Unknown));
        }
    }
}
