//! Between rows and values. SQLite's integers are signed and its texts are anything: both are checked.

use std::{collections::BTreeMap, fmt::Display};

use drydock_types::{ComponentName, EffectId, NodeName, RunId, Sha256, Version};
use rusqlite::{Row, types::Type};

use crate::store::{
    ComponentRow, EffectRow, EventRow, LetOutRow, RecordEnd, RememberedRow, RunRow, StandingRow, StoreError,
};

/// A number that SQLite can hold.
pub(in crate::store) fn integer(what: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::Refused { what: format!("{what} {value} is over {}", i64::MAX) })
}

/// Bytes that are text, as every document is.
pub(in crate::store) fn text<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, StoreError> {
    std::str::from_utf8(bytes)
        .map_err(|why| StoreError::Refused { what: format!("{what} is not UTF-8 text: {why}") })
}

/// A number that we wrote.
pub(in crate::store) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|why| unreadable(column, Type::Integer, why))
}

/// A text that we wrote, read by its type's own reader.
pub(in crate::store) fn parsed<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: Display,
{
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|why| unreadable(column, Type::Text, why.to_string()))
}

fn unreadable(
    column: usize,
    of: Type,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, of, why.into())
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_str()?.as_bytes().to_vec())
}

/// Columns of [`run`].
pub(super) const RUN: &str = "number, run_id, open, state, undoes";

/// Without its parts.
pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        number: unsigned(row, 0)?,
        id: parsed(row, 1, RunId::parse)?,
        open: row.get(2)?,
        undoes: nullable(row, 4, unsigned)?,
        state: bytes(row, 3)?,
        parts: BTreeMap::new(),
    })
}

/// Columns of [`part`].
pub(super) const PART: &str = "part, document";

pub(super) fn part(row: &Row<'_>) -> rusqlite::Result<(u32, Vec<u8>)> {
    Ok((row.get(0)?, bytes(row, 1)?))
}

/// Columns of [`event`].
pub(in crate::store) const EVENT: &str = "seq, run, wall_ms, event, hash";

pub(in crate::store) fn event(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        seq: unsigned(row, 0)?,
        run: unsigned(row, 1)?,
        wall_ms: unsigned(row, 2)?,
        event: bytes(row, 3)?,
        hash: parsed(row, 4, Sha256::parse)?,
    })
}

/// Columns `last_event, last_hash` of the fleet.
pub(in crate::store) fn record_end(row: &Row<'_>) -> rusqlite::Result<RecordEnd> {
    Ok(RecordEnd { seq: unsigned(row, 0)?, hash: parsed(row, 1, Sha256::parse)? })
}

/// For [`document`], by digest.
pub(in crate::store) const DOCUMENT: &str = "SELECT document FROM documents WHERE sha256 = ?1";

pub(in crate::store) fn document(row: &Row<'_>) -> rusqlite::Result<Vec<u8>> {
    bytes(row, 0)
}

/// Columns of [`standing`].
pub(super) const STANDING: &str = "node_key, document";

pub(super) fn standing(row: &Row<'_>) -> rusqlite::Result<StandingRow> {
    Ok(StandingRow { node: parsed(row, 0, Sha256::parse)?, document: bytes(row, 1)? })
}

/// Columns of [`let_out`].
pub(super) const LET_OUT: &str = "node_key, run, stage, attempt, clock_ms";

pub(super) fn let_out(row: &Row<'_>) -> rusqlite::Result<LetOutRow> {
    Ok(LetOutRow {
        node: parsed(row, 0, Sha256::parse)?,
        run: unsigned(row, 1)?,
        stage: row.get(2)?,
        attempt: row.get(3)?,
        clock_ms: unsigned(row, 4)?,
    })
}

/// Columns of [`effect`].
pub(super) const EFFECT: &str = "effect_id, run, node, section";

pub(super) fn effect(row: &Row<'_>) -> rusqlite::Result<EffectRow> {
    Ok(EffectRow {
        effect: parsed(row, 0, EffectId::parse)?,
        run: unsigned(row, 1)?,
        node: parsed(row, 2, NodeName::parse)?,
        section: bytes(row, 3)?,
    })
}

/// Columns of [`remembered`].
pub(super) const REMEMBERED: &str = "effect_id, run, node, node_key, component";

pub(super) fn remembered(row: &Row<'_>) -> rusqlite::Result<RememberedRow> {
    Ok(RememberedRow {
        effect: parsed(row, 0, EffectId::parse)?,
        run: unsigned(row, 1)?,
        node: parsed(row, 2, NodeName::parse)?,
        key: parsed(row, 3, Sha256::parse)?,
        keeps: nullable(row, 4, |row, column| parsed(row, column, ComponentName::parse))?,
    })
}

fn nullable<T>(
    row: &Row<'_>,
    column: usize,
    read: impl FnOnce(&Row<'_>, usize) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => read(row, column).map(Some),
    }
}

/// Columns of [`component`].
pub(super) const COMPONENT: &str = "node, component, version, problem, seen_ms";

pub(super) fn component(row: &Row<'_>) -> rusqlite::Result<ComponentRow> {
    let version = match row.get_ref(2)? {
        rusqlite::types::ValueRef::Null => Err(row.get(3)?),
        _ => Ok(parsed(row, 2, Version::parse)?),
    };
    Ok(ComponentRow {
        node: parsed(row, 0, NodeName::parse)?,
        component: parsed(row, 1, ComponentName::parse)?,
        version,
        seen_ms: unsigned(row, 4)?,
    })
}
