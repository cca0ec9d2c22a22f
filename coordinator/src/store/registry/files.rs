//! The indices of the files beside the database: artifacts and backups. The files are `artifacts`' and
//! `backups`' own.

use drydock_types::{ComponentName, EffectId, NodeName, Sha256, Version};
use rusqlite::{Row, Transaction, params};

use super::{Refusal, Registry, RegistryError, Work};
use crate::store::{
    StoreError,
    sqlite::{
        database::Fault,
        rows::{integer, parsed, unsigned},
    },
};

/// An artifact that is in the store, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// What its signature's trusted comment says that it is.
    pub component: ComponentName,
    /// Its version, by the same.
    pub version: Version,
    /// `linux`, by the same.
    pub os: String,
    /// `x86_64`, by the same.
    pub arch: String,
    /// The whole minisign signature file.
    pub signature: String,
    /// The operator who added it.
    pub added_by: String,
    /// When, in Unix milliseconds.
    pub added_unix_ms: u64,
}

/// A backup of a node's: whole, or on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// Whose.
    pub node: NodeName,
    /// Of which section.
    pub effect: EffectId,
    /// Of which component.
    pub component: ComponentName,
    /// Digest of the encrypted file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Is every byte here and verified?
    pub complete: bool,
    /// When it was begun or completed, in Unix milliseconds.
    pub at_unix_ms: u64,
}

/// What was found when room for a backup was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// Nothing of it is here.
    New,
    /// An upload of the same bytes was begun: go on.
    Begun,
    /// An upload of other bytes was begun and never ended: what is here of it is void.
    Replaced,
    /// It is here, whole.
    Complete,
}

const ARTIFACT: &str = "sha256, size, component, version, os, arch, signature, added_by, added_at_ms";

fn artifact(row: &Row<'_>) -> rusqlite::Result<ArtifactRow> {
    Ok(ArtifactRow {
        sha256: parsed(row, 0, Sha256::parse)?,
        size: unsigned(row, 1)?,
        component: parsed(row, 2, ComponentName::parse)?,
        version: parsed(row, 3, Version::parse)?,
        os: row.get(4)?,
        arch: row.get(5)?,
        signature: row.get(6)?,
        added_by: row.get(7)?,
        added_unix_ms: unsigned(row, 8)?,
    })
}

const BACKUP: &str = "node, effect_id, component, sha256, size, complete, at_ms";

fn backup(row: &Row<'_>) -> rusqlite::Result<BackupRow> {
    Ok(BackupRow {
        node: parsed(row, 0, NodeName::parse)?,
        effect: parsed(row, 1, EffectId::parse)?,
        component: parsed(row, 2, ComponentName::parse)?,
        sha256: parsed(row, 3, Sha256::parse)?,
        size: unsigned(row, 4)?,
        complete: row.get(5)?,
        at_unix_ms: unsigned(row, 6)?,
    })
}

fn find_backup(tx: &Transaction<'_>, node: &NodeName, effect: EffectId) -> Work<Option<BackupRow>> {
    let sql = format!("SELECT {BACKUP} FROM backups WHERE node = ?1 AND effect_id = ?2");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut found = statement.query_map(params![node.as_str(), effect.to_string()], backup)?;
    Ok(found.next().transpose()?)
}

const HELD: &str = "SELECT coalesce(sum(size), 0) FROM backups WHERE node = ?1";

fn reserve(tx: &Transaction<'_>, row: &BackupRow, quota_bytes: u64) -> Work<Reservation> {
    let known = find_backup(tx, &row.node, row.effect)?;
    let same = known.as_ref().is_some_and(|known| {
        (known.sha256, known.size, &known.component) == (row.sha256, row.size, &row.component)
    });
    match &known {
        Some(known) if same && known.complete => return Ok(Reservation::Complete),
        Some(_) if same => return Ok(Reservation::Begun),
        Some(known) if known.complete => return Err(Fault::No(Refusal::BackupKnown(known.sha256))),
        _ => {}
    }
    let held = tx.prepare_cached(HELD)?.query_row([row.node.as_str()], |held| unsigned(held, 0))?;
    let others = held - known.as_ref().map_or(0, |known| known.size).min(held);
    let wanted_bytes = others.saturating_add(row.size);
    if wanted_bytes > quota_bytes {
        let node = row.node.clone();
        return Err(Fault::No(Refusal::Quota { node, wanted_bytes, quota_bytes }));
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO backups (node, effect_id, component, sha256, size, complete, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
    )?
    .execute(params![
        row.node.as_str(),
        row.effect.to_string(),
        row.component.as_str(),
        row.sha256.to_string(),
        integer("size", row.size)?,
        integer("time", row.at_unix_ms)?
    ])?;
    Ok(if known.is_some() { Reservation::Replaced } else { Reservation::New })
}

impl Registry {
    /// Puts an artifact into the index; its file is there already. The same one again takes the newer
    /// signature.
    ///
    /// # Errors
    /// When the same bytes are known as something else.
    pub fn insert_artifact(&self, row: &ArtifactRow) -> Result<(), RegistryError> {
        self.change("adding an artifact", |tx| {
            let changed = tx
                .prepare_cached(
                    "INSERT INTO artifacts (sha256, size, component, version, os, arch, signature, added_by,
                                            added_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (sha256) DO UPDATE SET signature = excluded.signature
                     WHERE size = excluded.size AND component = excluded.component
                       AND version = excluded.version AND os = excluded.os AND arch = excluded.arch",
                )?
                .execute(params![
                    row.sha256.to_string(),
                    integer("size", row.size)?,
                    row.component.as_str(),
                    row.version.as_str(),
                    row.os,
                    row.arch,
                    row.signature,
                    row.added_by,
                    integer("time", row.added_unix_ms)?
                ])?;
            if changed == 1 {
                return Ok(());
            }
            let sql = format!("SELECT {ARTIFACT} FROM artifacts WHERE sha256 = ?1");
            let known = tx.prepare_cached(&sql)?.query_row([row.sha256.to_string()], artifact)?;
            let said =
                |row: &ArtifactRow| format!("{} {} {}/{}", row.component, row.version, row.os, row.arch);
            let (sha256, known, wanted) = (row.sha256, said(&known), said(row));
            Err(Fault::No(Refusal::ArtifactKnown { sha256, known, wanted }))
        })
    }

    /// An artifact by its digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn artifact(&self, sha256: Sha256) -> Result<Option<ArtifactRow>, StoreError> {
        let sql = format!("SELECT {ARTIFACT} FROM artifacts WHERE sha256 = ?1");
        self.one(&sql, [sha256.to_string()], artifact)
    }

    /// Artifacts, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn artifacts(&self, most: u32) -> Result<Vec<ArtifactRow>, StoreError> {
        let sql = format!("SELECT {ARTIFACT} FROM artifacts ORDER BY added_at_ms DESC, sha256 LIMIT ?1");
        self.list(&sql, [most], artifact)
    }

    /// Was this effect ever handed to this node?
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn was_handed(&self, node: &NodeName, effect: EffectId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM effects WHERE effect_id = ?1 AND node = ?2";
        let found = self.one(sql, params![effect.to_string(), node.as_str()], |row| row.get::<_, i64>(0))?;
        Ok(found.is_some())
    }

    /// Room for a backup within its node's quota. What is declared counts from here on, sent or not.
    ///
    /// # Errors
    /// When the quota does not suffice, or the effect has a whole backup of other bytes.
    pub fn reserve_backup(&self, row: &BackupRow, quota_bytes: u64) -> Result<Reservation, RegistryError> {
        self.change("making room for a backup", |tx| reserve(tx, row, quota_bytes))
    }

    /// Every byte of a backup is here.
    ///
    /// # Errors
    /// When no room was made for exactly this one, or it cannot be written.
    pub fn complete_backup(&self, row: &BackupRow, now_unix_ms: u64) -> Result<(), StoreError> {
        self.put("completing a backup", |tx| {
            let sql = "UPDATE backups SET complete = 1, at_ms = ?4
                       WHERE node = ?1 AND effect_id = ?2 AND sha256 = ?3";
            let (node, effect) = (row.node.as_str(), row.effect.to_string());
            let done = tx.prepare_cached(sql)?.execute(params![
                node,
                effect,
                row.sha256.to_string(),
                integer("time", now_unix_ms)?
            ])?;
            if done == 1 {
                return Ok(());
            }
            let what = format!("the backup {} of {node} is not in the index", row.effect.short());
            Err(Fault::Store(StoreError::Refused { what }))
        })
    }

    /// Takes a backup out of the index, and out of its node's quota.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove_backup(&self, node: &NodeName, effect: EffectId) -> Result<(), StoreError> {
        self.put("removing a backup", |tx| {
            tx.prepare_cached("DELETE FROM backups WHERE node = ?1 AND effect_id = ?2")?
                .execute(params![node.as_str(), effect.to_string()])?;
            Ok(())
        })
    }

    /// A backup of a node's.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn backup(&self, node: &NodeName, effect: EffectId) -> Result<Option<BackupRow>, StoreError> {
        let sql = format!("SELECT {BACKUP} FROM backups WHERE node = ?1 AND effect_id = ?2");
        self.one(&sql, params![node.as_str(), effect.to_string()], backup)
    }

    /// A node's backups, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn backups(&self, node: &NodeName) -> Result<Vec<BackupRow>, StoreError> {
        let sql = format!("SELECT {BACKUP} FROM backups WHERE node = ?1 ORDER BY at_ms DESC, effect_id");
        self.list(&sql, [node.as_str()], backup)
    }

    /// Bytes that count against a node's quota.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn backup_bytes(&self, node: &NodeName) -> Result<u64, StoreError> {
        Ok(self.one(HELD, [node.as_str()], |row| unsigned(row, 0))?.unwrap_or(0))
    }
}
