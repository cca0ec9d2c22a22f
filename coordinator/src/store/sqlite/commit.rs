//! One transition as SQL. Everything here runs inside one transaction.

use std::convert::Infallible;

use drydock_types::{Epoch, Fence, InstanceId, Sha256};
use rusqlite::{Transaction, params};

use super::{
    database::Fault,
    rows::{integer, parsed, text, unsigned},
};
use crate::store::{
    BEFORE_FIRST, Commit, ComponentRow, EffectRow, NewEvent, RunRow, SampleRow, StoreError, chain,
};

type Done<T> = Result<T, Fault<Infallible>>;

/// About how many bytes the commit will want on the disk.
pub(super) fn weight_bytes(commit: &Commit) -> u64 {
    let documents = commit
        .runs
        .iter()
        .flat_map(|run| run.parts.values().chain([&run.state]))
        .map(Vec::len)
        .chain(commit.events.iter().map(|event| event.event.len()))
        .chain(commit.open.iter().map(|effect| effect.section.len()));
    // A page of 4 KiB for each touched B-tree, and a dozen of them.
    documents.map(|bytes| bytes as u64 + 4096).sum::<u64>() + 12 * 4096
}

/// All of a commit.
pub(super) fn write(tx: &Transaction<'_>, ours: Option<Fence>, commit: &Commit) -> Done<()> {
    let mut head = owned_head(tx, ours)?;
    commit.runs.iter().try_for_each(|run| put_run(tx, run))?;
    commit.events.iter().try_for_each(|event| append(tx, &mut head, event))?;
    commit.open.iter().try_for_each(|effect| open_effect(tx, effect))?;
    for effect in &commit.close {
        tx.prepare_cached("UPDATE effects SET open = 0 WHERE effect_id = ?1 AND open = 1")?
            .execute([effect.to_string()])?;
    }
    commit.components.iter().try_for_each(|seen| put_component(tx, seen))?;
    commit.samples.iter().try_for_each(|sample| put_sample(tx, sample))?;
    tx.prepare_cached(
        "UPDATE fleet SET clock_ms = max(clock_ms, ?1), last_event = ?2, last_hash = ?3 WHERE one = 1",
    )?
    .execute(params![
        integer("clock", commit.clock_ms)?,
        integer("event", head.seq)?,
        head.hash.to_string()
    ])?;
    Ok(())
}

/// Raises the epoch by one.
pub(super) fn take_over(tx: &Transaction<'_>, instance: InstanceId) -> Done<Fence> {
    let (epoch, _) = owner(tx)?;
    let next = epoch.0.saturating_add(1);
    tx.execute(
        "UPDATE fleet SET epoch = ?1, instance = ?2 WHERE one = 1",
        params![integer("epoch", next)?, instance.to_string()],
    )?;
    Ok(Fence { epoch: Epoch(next), instance })
}

/// The end of the record.
struct Head {
    seq: u64,
    hash: Sha256,
}

fn owner(tx: &Transaction<'_>) -> Done<(Epoch, Option<InstanceId>)> {
    let mut statement = tx.prepare_cached("SELECT epoch, instance FROM fleet WHERE one = 1")?;
    let row = statement.query_row([], |row| {
        let instance = match row.get_ref(1)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(parsed(row, 1, InstanceId::parse)?),
        };
        Ok((Epoch(unsigned(row, 0)?), instance))
    })?;
    Ok(row)
}

/// The end of the record, if the store is still ours.
fn owned_head(tx: &Transaction<'_>, ours: Option<Fence>) -> Done<Head> {
    let (epoch, instance) = owner(tx)?;
    if ours.is_none() || ours.map(|ours| (ours.epoch, Some(ours.instance))) != Some((epoch, instance)) {
        let ours = ours.map_or(BEFORE_FIRST, |fence| fence.epoch).0;
        return Err(StoreError::TakenOver { found: epoch.0, ours }.into());
    }
    let mut statement = tx.prepare_cached("SELECT last_event, last_hash FROM fleet WHERE one = 1")?;
    let head = statement
        .query_row([], |row| Ok(Head { seq: unsigned(row, 0)?, hash: parsed(row, 1, Sha256::parse)? }))?;
    Ok(head)
}

fn put_run(tx: &Transaction<'_>, run: &RunRow) -> Done<()> {
    let changed = tx
        .prepare_cached(
            "INSERT INTO runs (number, run_id, open, state) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (number) DO UPDATE SET open = excluded.open, state = excluded.state
             WHERE run_id = excluded.run_id",
        )?
        .execute(params![
            integer("run", run.number)?,
            run.id.to_string(),
            run.open,
            text("a run's state", &run.state)?
        ])?;
    if changed != 1 {
        let what = format!("run {} is another run than {}", run.number, run.id);
        return Err(StoreError::Refused { what }.into());
    }
    for (part, document) in &run.parts {
        tx.prepare_cached(
            "INSERT INTO run_parts (run, part, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (run, part) DO UPDATE SET document = excluded.document",
        )?
        .execute(params![integer("run", run.number)?, part, text("a part of a run", document)?])?;
    }
    Ok(())
}

fn append(tx: &Transaction<'_>, head: &mut Head, event: &NewEvent) -> Done<()> {
    let seq = head.seq + 1;
    let hash = chain(head.hash, seq, event);
    tx.prepare_cached("INSERT INTO events (seq, run, wall_ms, event, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            integer("event", seq)?,
            integer("run", event.run)?,
            integer("time", event.wall_ms)?,
            text("an event", &event.event)?,
            hash.to_string()
        ])?;
    *head = Head { seq, hash };
    Ok(())
}

fn open_effect(tx: &Transaction<'_>, effect: &EffectRow) -> Done<()> {
    let changed = tx
        .prepare_cached(
            "INSERT INTO effects (effect_id, run, node, section, open) VALUES (?1, ?2, ?3, ?4, 1)
             ON CONFLICT (effect_id) DO UPDATE SET open = 1
             WHERE run = excluded.run AND node = excluded.node AND section = excluded.section",
        )?
        .execute(params![
            effect.effect.to_string(),
            integer("run", effect.run)?,
            effect.node.as_str(),
            text("a section", &effect.section)?
        ])?;
    if changed == 1 {
        return Ok(());
    }
    let what = format!("effect {} on {} is known with another payload", effect.effect.short(), effect.node);
    Err(StoreError::Refused { what }.into())
}

fn put_component(tx: &Transaction<'_>, seen: &ComponentRow) -> Done<()> {
    tx.prepare_cached(
        "INSERT INTO components (node, component, version, problem, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (node, component) DO UPDATE
         SET version = excluded.version, problem = excluded.problem, seen_ms = excluded.seen_ms",
    )?
    .execute(params![
        seen.node.as_str(),
        seen.component.as_str(),
        seen.version.as_ref().ok().map(drydock_types::Version::as_str),
        seen.version.as_ref().err(),
        integer("time", seen.seen_ms)?
    ])?;
    Ok(())
}

fn put_sample(tx: &Transaction<'_>, sample: &SampleRow) -> Done<()> {
    tx.prepare_cached("INSERT INTO samples (recipe, component, took_ms) VALUES (?1, ?2, ?3)")?.execute(
        params![sample.recipe.to_string(), sample.component.as_str(), integer("duration", sample.took_ms)?],
    )?;
    Ok(())
}
