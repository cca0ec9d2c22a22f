//! The record, read beside the driver: page by page, over the registry's own connection, so that no audit keeps
//! the driver from its commits.

use drydock_types::Sha256;
use rusqlite::params;

use super::Registry;
use crate::store::{
    EventRow, RecordEnd, StoreError,
    sqlite::rows::{self, integer},
};

impl Registry {
    /// The number and hash of the last event, as the last commit left them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn record_end(&self) -> Result<RecordEnd, StoreError> {
        let sql = "SELECT last_event, last_hash FROM fleet WHERE one = 1";
        let end = self.one(sql, [], rows::record_end)?;
        end.ok_or_else(|| StoreError::Unreadable { place: "table fleet".into(), what: "it is empty".into() })
    }

    /// Events after this number, in the order of numbers. One that is not of an event's form ends the page as an
    /// error of its own, so that what is whole before it can still be looked at.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn record(&self, after: u64, most: u32) -> Result<Vec<Result<EventRow, Unreadable>>, StoreError> {
        let sql = format!("SELECT {} FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2", rows::EVENT);
        self.list(&sql, params![integer("event", after)?, most], |row| {
            Ok(rows::event(row)
                .map_err(|why| Unreadable { seq: row.get(0).unwrap_or(-1), why: why.to_string() }))
        })
    }

    /// Operators whom the services' part of the store names: who made tokens, and who added artifacts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn operators_heard(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT created_by FROM tokens UNION SELECT added_by FROM artifacts LIMIT 1000";
        self.list(sql, [], |row| row.get(0))
    }

    /// The hash of one event.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn event_hash(&self, seq: u64) -> Result<Option<Sha256>, StoreError> {
        let sql = "SELECT hash FROM events WHERE seq = ?1";
        self.one(sql, [integer("event", seq)?], |row| rows::parsed(row, 0, Sha256::parse))
    }

    /// A document that the record names by its digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(rows::DOCUMENT, [digest.to_string()], rows::document)
    }

    /// The first event of a run, and the last.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn events_of(&self, run: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let sql = "SELECT min(seq), max(seq) FROM events WHERE run = ?1 HAVING count(*) > 0";
        self.one(sql, [integer("run", run)?], |row| Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?)))
    }
}

/// What stands in an event's place and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The number that it has in the file.
    pub seq: i64,
    /// What is wrong.
    pub why: String,
}
