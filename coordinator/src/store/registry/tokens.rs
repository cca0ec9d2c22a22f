//! Join tokens: only the hash of a secret, used once.

use std::convert::Infallible;

use drydock_proto::tls::TokenId;
use drydock_types::{NodeName, Sha256};
use rusqlite::{Row, Transaction, params};

use super::{Refusal, Registry, RegistryError, Work};
use crate::{
    store::{
        StoreError,
        sqlite::{database::Fault, rows::parsed},
    },
    trust::token::{EnrolRefusal, TokenRow, TokenStore},
};

/// A token and what it may do beyond enrolling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Itself.
    pub row: TokenRow,
    /// May the new key take the place of a node that is enrolled under the name? An operator's word, once.
    pub replaces: bool,
}

const COLUMNS: &str = "token_id, secret_hash, node, labels, expires_at_s, created_by, created_at_s, used_at_s, \
                       revoked_at_s, replaces";

/// What [`TokenStore::consume_token`] demands, so that of two at once exactly one gets it.
const USABLE: &str = "used_at_s IS NULL AND revoked_at_s IS NULL AND expires_at_s >= ?2";

pub(super) fn token_id(text: &str) -> Result<TokenId, &'static str> {
    TokenId::parse(text).ok_or("a token id is 16 hex digits")
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    let row_of = TokenRow {
        id: parsed(row, 0, token_id)?,
        secret_hash: parsed(row, 1, Sha256::parse)?,
        node: parsed(row, 2, NodeName::parse)?,
        labels: parsed(row, 3, |text| serde_json::from_str(text))?,
        expires_unix_s: row.get(4)?,
        created_by: row.get(5)?,
        created_unix_s: row.get(6)?,
        used_unix_s: row.get(7)?,
        revoked_unix_s: row.get(8)?,
    };
    Ok(StoredToken { row: row_of, replaces: row.get(9)? })
}

/// Uses a token up: `false` when somebody else did, or time, or an operator.
pub(super) fn consume<R>(tx: &Transaction<'_>, id: TokenId, now_s: i64) -> Result<bool, Fault<R>> {
    let sql = format!("UPDATE tokens SET used_at_s = ?2 WHERE token_id = ?1 AND {USABLE}");
    Ok(tx.prepare_cached(&sql)?.execute(params![id.to_string(), now_s])? == 1)
}

/// A token within a transaction.
pub(super) fn find(tx: &Transaction<'_>, id: TokenId) -> Work<Option<StoredToken>> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE token_id = ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut found = statement.query_map([id.to_string()], stored)?;
    Ok(found.next().transpose()?)
}

/// Why a token that could not be consumed could not.
pub(super) fn why_not(token: &TokenRow) -> EnrolRefusal {
    if token.revoked_unix_s.is_some() {
        EnrolRefusal::Revoked
    } else if token.used_unix_s.is_some() {
        EnrolRefusal::Used
    } else {
        EnrolRefusal::Expired
    }
}

impl Registry {
    /// Keeps a token that was just made. `replaces`: see [`StoredToken::replaces`].
    ///
    /// # Errors
    /// When it cannot be written, or there is one of this number.
    pub fn insert_token(&self, row: &TokenRow, replaces: bool) -> Result<(), StoreError> {
        let labels = json(&row.labels)?;
        self.put("keeping a token", |tx| {
            tx.prepare_cached(
                "INSERT INTO tokens (token_id, secret_hash, node, labels, replaces, created_by, created_at_s,
                                     expires_at_s, used_at_s, revoked_at_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                row.id.to_string(),
                row.secret_hash.to_string(),
                row.node.as_str(),
                labels,
                replaces,
                row.created_by,
                row.created_unix_s,
                row.expires_unix_s,
                row.used_unix_s,
                row.revoked_unix_s
            ])?;
            Ok::<_, Fault<Infallible>>(())
        })
    }

    /// A token by its number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM tokens WHERE token_id = ?1");
        self.one(&sql, [id.to_string()], stored)
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tokens(&self, most: u32) -> Result<Vec<StoredToken>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM tokens ORDER BY created_at_s DESC, token_id LIMIT ?1");
        self.list(&sql, [most], stored)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// When there is none, or it was used or revoked before.
    pub fn revoke_token(&self, id: TokenId, now_s: i64) -> Result<(), RegistryError> {
        self.change("revoking a token", |tx| {
            let token = find(tx, id)?.ok_or(Fault::No(Refusal::TokenState(id, "is unknown here")))?;
            if token.row.used_unix_s.is_some() {
                return Err(Fault::No(Refusal::TokenState(id, "was used: revoke the node instead")));
            }
            if token.row.revoked_unix_s.is_none() {
                tx.prepare_cached("UPDATE tokens SET revoked_at_s = ?2 WHERE token_id = ?1")?
                    .execute(params![id.to_string(), now_s])?;
            }
            Ok(())
        })
    }

    /// A [`TokenStore`] that looks whether a token may be used and leaves the using up to
    /// [`Registry::enrol_node`], which does it together with the node's row. Two at once then both get as
    /// far as a certificate, and only one gets past `enrol_node`: send nothing before that.
    #[must_use]
    pub fn at_enrolment(&self) -> AtEnrolment<'_> {
        AtEnrolment(self)
    }
}

/// See [`Registry::at_enrolment`].
#[derive(Debug, Clone, Copy)]
pub struct AtEnrolment<'a>(&'a Registry);

impl TokenStore for AtEnrolment<'_> {
    type Error = StoreError;

    fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        TokenStore::token(self.0, id)
    }

    fn consume_token(&self, id: TokenId, now_unix_s: i64) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM tokens WHERE token_id = ?1 AND {USABLE}");
        let usable = self.0.one(&sql, params![id.to_string(), now_unix_s], |row| row.get::<_, i64>(0))?;
        Ok(usable.is_some())
    }
}

impl TokenStore for Registry {
    type Error = StoreError;

    fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        Ok(Self::token(self, id)?.map(|token| token.row))
    }

    fn consume_token(&self, id: TokenId, now_unix_s: i64) -> Result<bool, StoreError> {
        self.put("using a token up", |tx| consume(tx, id, now_unix_s))
    }
}

/// A map of names as it stands in a column.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|why| StoreError::Refused { what: format!("labels: {why}") })
}
