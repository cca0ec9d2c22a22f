//! Enrolled machines. A node is its key; its name is the operator's word for it.

use std::collections::BTreeMap;

use drydock_proto::tls::{Serial, TokenId};
use drydock_types::{Label, NodeKey, NodeName, Sha256};
use rusqlite::{Row, Transaction, params};

use super::{Refusal, Registry, RegistryError, Work, revoke, serial, tokens};
use crate::{
    store::{
        StoreError,
        sqlite::{database::Fault, rows::parsed},
    },
    trust::token::EnrolRefusal,
};

/// The most labels on one node.
const MAX_LABELS: usize = 64;

/// A machine that wants to be a node. Its labels are the token's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// The token that it came with; its secret has been checked.
    pub token: TokenId,
    /// The name that it asks for.
    pub name: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// Its certificate.
    pub serial: Serial,
    /// When that ends, in Unix seconds.
    pub until_unix_s: i64,
}

/// A node as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its identity.
    pub key: NodeKey,
    /// Its name.
    pub name: NodeName,
    /// Set by operators, at first by its token.
    pub labels: BTreeMap<Label, Label>,
    /// Its last certificate.
    pub serial: Serial,
    /// When that ends, in Unix seconds.
    pub certificate_until_unix_s: i64,
    /// In Unix seconds.
    pub enrolled_at_unix_s: i64,
    /// When it ceased to be believed, and why.
    pub revoked: Option<(i64, String)>,
}

/// A machine has become a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The node.
    pub node: NodeRow,
    /// The key that had the name until now: put it on the trust's revocation list.
    pub replaced: Option<NodeKey>,
}

const COLUMNS: &str =
    "node_key, name, labels, serial, certificate_until_s, enrolled_at_s, revoked_at_s, revoked_why";

fn node(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    let revoked_at: Option<i64> = row.get(6)?;
    let why: Option<String> = row.get(7)?;
    Ok(NodeRow {
        key: parsed(row, 0, Sha256::parse)?,
        name: parsed(row, 1, NodeName::parse)?,
        labels: parsed(row, 2, |text| serde_json::from_str(text))?,
        serial: parsed(row, 3, serial)?,
        certificate_until_unix_s: row.get(4)?,
        enrolled_at_unix_s: row.get(5)?,
        revoked: revoked_at.map(|at| (at, why.unwrap_or_default())),
    })
}

fn find(tx: &Transaction<'_>, which: &str, value: &str) -> Work<Option<NodeRow>> {
    let sql = format!("SELECT {COLUMNS} FROM nodes WHERE {which}");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut found = statement.query_map([value], node)?;
    Ok(found.next().transpose()?)
}

fn active(tx: &Transaction<'_>, name: &NodeName) -> Work<Option<NodeRow>> {
    find(tx, "name = ?1 AND revoked_at_s IS NULL", name.as_str())
}

fn active_or_refuse(tx: &Transaction<'_>, name: &NodeName) -> Work<NodeRow> {
    active(tx, name)?.ok_or_else(|| Fault::No(Refusal::UnknownNode(name.clone())))
}

/// No certificate over this key is believed from now on; the row stays.
fn end(tx: &Transaction<'_>, node: &NodeRow, why: &str, now_s: i64) -> Work<()> {
    let key = node.key.to_string();
    tx.prepare_cached("UPDATE nodes SET revoked_at_s = ?2, revoked_why = ?3 WHERE node_key = ?1")?
        .execute(params![key, now_s, why])?;
    // Whoever comes in its place is another machine until an operator has said which Node it is.
    tx.prepare_cached("DELETE FROM bindings WHERE node_key = ?1")?.execute([&key])?;
    Ok(revoke(tx, "key", &key, node.name.as_str(), why, now_s)?)
}

/// Whoever has the name or the key already makes room, or refuses.
fn make_room(tx: &Transaction<'_>, new: &NewNode, replaces: bool, now_s: i64) -> Work<Option<NodeKey>> {
    let holder = active(tx, &new.name)?;
    if let Some(known) = find(tx, "node_key = ?1", &new.key.to_string())? {
        // The same machine with the same key, and an operator's word that it may come again.
        let again = replaces && known.revoked.is_none() && known.name == new.name;
        if !again {
            return Err(Fault::No(Refusal::KeyTaken { node: known.name }));
        }
        tx.prepare_cached("DELETE FROM nodes WHERE node_key = ?1")?.execute([new.key.to_string()])?;
        return Ok(None);
    }
    match holder {
        None => Ok(None),
        Some(holder) if replaces => {
            end(tx, &holder, "replaced by a new enrolment", now_s)?;
            Ok(Some(holder.key))
        }
        Some(holder) => Err(Fault::No(Refusal::NameTaken { node: holder.name, key: holder.key.short() })),
    }
}

fn enrol(tx: &Transaction<'_>, new: &NewNode, now_s: i64) -> Work<Enrolled> {
    let no = |why: EnrolRefusal| Fault::No(Refusal::Token(why));
    let token = tokens::find(tx, new.token)?.ok_or_else(|| no(EnrolRefusal::Unknown))?;
    if token.row.node != new.name {
        let (token, presented) = (token.row.node, new.name.clone());
        return Err(no(EnrolRefusal::OtherNode { token, presented }));
    }
    if !tokens::consume(tx, new.token, now_s)? {
        return Err(no(tokens::why_not(&token.row)));
    }
    let replaced = make_room(tx, new, token.replaces, now_s)?;
    tx.prepare_cached(
        "INSERT INTO nodes (node_key, name, labels, serial, certificate_until_s, enrolled_at_s, token_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        new.key.to_string(),
        new.name.as_str(),
        tokens::json(&token.row.labels)?,
        new.serial.to_string(),
        new.until_unix_s,
        now_s,
        new.token.to_string()
    ])?;
    let node = active_or_refuse(tx, &new.name)?;
    Ok(Enrolled { node, replaced })
}

impl Registry {
    /// Uses the token up and makes the node, both or neither. It has the labels of the token and inherits
    /// nothing else from whoever had its name before. A name that is enrolled needs a token that replaces;
    /// the name of a revoked node is free.
    ///
    /// # Errors
    /// When the token is no good (any more), the name is another's, or the key is or was a node's.
    pub fn enrol_node(&self, new: &NewNode, now_unix_s: i64) -> Result<Enrolled, RegistryError> {
        self.change("enrolling a node", |tx| enrol(tx, new, now_unix_s))
    }

    /// A new certificate for the same key.
    ///
    /// # Errors
    /// When no node that is believed has the key.
    pub fn renew_node(&self, key: NodeKey, serial: Serial, until_unix_s: i64) -> Result<(), RegistryError> {
        self.change("renewing a certificate", |tx| {
            let sql = "UPDATE nodes SET serial = ?2, certificate_until_s = ?3
                       WHERE node_key = ?1 AND revoked_at_s IS NULL";
            let renewed = tx.prepare_cached(sql)?.execute(params![
                key.to_string(),
                serial.to_string(),
                until_unix_s
            ])?;
            if renewed == 1 { Ok(()) } else { Err(Fault::No(Refusal::UnknownKey(key.short()))) }
        })
    }

    /// Takes a node out of the fleet: no certificate over its key is believed, and no token for its name
    /// that is still open can bring it back. Gives the row, for the trust's list.
    ///
    /// # Errors
    /// When no such node is enrolled.
    pub fn revoke_node(&self, name: &NodeName, why: &str, now_unix_s: i64) -> Result<NodeRow, RegistryError> {
        self.change("revoking a node", |tx| {
            let node = active_or_refuse(tx, name)?;
            end(tx, &node, why, now_unix_s)?;
            let sql = "UPDATE tokens SET revoked_at_s = ?2
                       WHERE node = ?1 AND used_at_s IS NULL AND revoked_at_s IS NULL";
            tx.prepare_cached(sql)?.execute(params![name.as_str(), now_unix_s])?;
            Ok(NodeRow { revoked: Some((now_unix_s, why.to_owned())), ..node })
        })
    }

    /// Sets a label, or another value of it.
    ///
    /// # Errors
    /// When no such node is enrolled, or it has too many.
    pub fn set_label(&self, name: &NodeName, key: &Label, value: &Label) -> Result<NodeRow, RegistryError> {
        self.relabel(name, |labels| drop(labels.insert(key.clone(), value.clone())))
    }

    /// Takes a label away; one that is not there is no error.
    ///
    /// # Errors
    /// When no such node is enrolled.
    pub fn remove_label(&self, name: &NodeName, key: &Label) -> Result<NodeRow, RegistryError> {
        self.relabel(name, |labels| drop(labels.remove(key)))
    }

    fn relabel(
        &self,
        name: &NodeName,
        change: impl FnOnce(&mut BTreeMap<Label, Label>),
    ) -> Result<NodeRow, RegistryError> {
        self.change("labelling a node", |tx| {
            let mut node = active_or_refuse(tx, name)?;
            change(&mut node.labels);
            if node.labels.len() > MAX_LABELS {
                let (node, wanted) = (node.name, node.labels.len());
                return Err(Fault::No(Refusal::TooManyLabels { node, wanted, most: MAX_LABELS }));
            }
            tx.prepare_cached("UPDATE nodes SET labels = ?2 WHERE node_key = ?1")?
                .execute(params![node.key.to_string(), tokens::json(&node.labels)?])?;
            Ok(node)
        })
    }

    /// The node of this key, revoked or not: look at [`NodeRow::revoked`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn node_by_key(&self, key: NodeKey) -> Result<Option<NodeRow>, StoreError> {
        self.one(&format!("SELECT {COLUMNS} FROM nodes WHERE node_key = ?1"), [key.to_string()], node)
    }

    /// The node that has this name now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn node(&self, name: &NodeName) -> Result<Option<NodeRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE name = ?1 AND revoked_at_s IS NULL");
        self.one(&sql, [name.as_str()], node)
    }

    /// The fleet by name, without those that are revoked.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.list(&format!("SELECT {COLUMNS} FROM nodes WHERE revoked_at_s IS NULL ORDER BY name"), [], node)
    }
}
