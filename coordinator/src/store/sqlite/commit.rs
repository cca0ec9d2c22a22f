//! One transition as SQL. Everything here runs inside one transaction.

use std::convert::Infallible;

use drydock_types::{Epoch, Fence, InstanceId, Sha256};
use rusqlite::{Transaction, params};

use super::{
    database::Fault,
    rows::{integer, parsed, text, unsigned},
};
use crate::store::{
    BEFORE_FIRST, Commit, ComponentRow, EffectRow, LET_OUT_KEPT_MS, NewEvent, RecordEnd, RememberedRow,
    RunRow, SampleRow, StoreError, chain, next_epoch,
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
        .chain(commit.open.iter().map(|effect| effect.section.len()))
        .chain(commit.documents.iter().map(Vec::len))
        .chain(commit.standings.iter().map(|row| row.document.len()));
    // A page of 4 KiB for each touched B-tree, and a dozen of them.
    documents.map(|bytes| bytes as u64 + 4096).sum::<u64>() + 12 * 4096
}

/// All of a commit; the record's end behind it.
pub(super) fn write(tx: &Transaction<'_>, ours: Option<Fence>, commit: &Commit) -> Done<RecordEnd> {
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
    commit.remembered.iter().try_for_each(|row| remember(tx, row))?;
    for effect in &commit.forgotten {
        tx.prepare_cached("DELETE FROM remembered WHERE effect_id = ?1")?.execute([effect.to_string()])?;
    }
    commit.documents.iter().try_for_each(|document| put_document(tx, document))?;
    put_standings(tx, commit)?;
    note_let_out(tx, commit)?;
    for effect in &commit.adopted {
        tx.prepare_cached("INSERT INTO adopted (effect_id) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([effect.to_string()])?;
    }
    tx.prepare_cached(
        "UPDATE fleet SET clock_ms = max(clock_ms, ?1), last_event = ?2, last_hash = ?3 WHERE one = 1",
    )?
    .execute(params![
        integer("clock", commit.clock_ms)?,
        integer("event", head.seq)?,
        head.hash.to_string()
    ])?;
    Ok(head)
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

/// Raises the epoch above every other, with its reason in the record.
pub(super) fn take_over_above(
    tx: &Transaction<'_>,
    instance: InstanceId,
    above: Epoch,
    record: &NewEvent,
) -> Done<(Fence, RecordEnd)> {
    let (own, _) = owner(tx)?;
    let fence = Fence { epoch: next_epoch(own, above)?, instance };
    tx.execute(
        "UPDATE fleet SET epoch = ?1, instance = ?2 WHERE one = 1",
        params![integer("epoch", fence.epoch.0)?, instance.to_string()],
    )?;
    let mut head = owned_head(tx, Some(fence))?;
    append(tx, &mut head, record)?;
    tx.execute(
        "UPDATE fleet SET last_event = ?1, last_hash = ?2 WHERE one = 1",
        params![integer("event", head.seq)?, head.hash.to_string()],
    )?;
    Ok((fence, head))
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
fn owned_head(tx: &Transaction<'_>, ours: Option<Fence>) -> Done<RecordEnd> {
    let (epoch, instance) = owner(tx)?;
    if ours.is_none() || ours.map(|ours| (ours.epoch, Some(ours.instance))) != Some((epoch, instance)) {
        let ours = ours.map_or(BEFORE_FIRST, |fence| fence.epoch).0;
        return Err(StoreError::TakenOver { found: epoch.0, ours }.into());
    }
    let mut statement = tx.prepare_cached("SELECT last_event, last_hash FROM fleet WHERE one = 1")?;
    let head = statement.query_row([], |row| {
        Ok(RecordEnd { seq: unsigned(row, 0)?, hash: parsed(row, 1, Sha256::parse)? })
    })?;
    Ok(head)
}

fn put_run(tx: &Transaction<'_>, run: &RunRow) -> Done<()> {
    let changed = tx
        .prepare_cached(
            "INSERT INTO runs (number, run_id, open, undoes, state) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (number) DO UPDATE SET open = excluded.open, state = excluded.state
             WHERE run_id = excluded.run_id",
        )?
        .execute(params![
            integer("run", run.number)?,
            run.id.to_string(),
            run.open,
            run.undoes.map(|undoes| integer("run", undoes)).transpose()?,
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

fn append(tx: &Transaction<'_>, head: &mut RecordEnd, event: &NewEvent) -> Done<()> {
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
    *head = RecordEnd { seq, hash };
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

fn remember(tx: &Transaction<'_>, row: &RememberedRow) -> Done<()> {
    tx.prepare_cached(
        "INSERT INTO remembered (effect_id, run, node, node_key, component) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (effect_id) DO UPDATE SET component = excluded.component",
    )?
    .execute(params![
        row.effect.to_string(),
        integer("run", row.run)?,
        row.node.as_str(),
        row.key.to_string(),
        row.keeps.as_ref().map(drydock_types::ComponentName::as_str)
    ])?;
    Ok(())
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

fn put_document(tx: &Transaction<'_>, document: &[u8]) -> Done<()> {
    // Its name is its digest: what is there under it is the same.
    tx.prepare_cached(
        "INSERT INTO documents (sha256, document) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING",
    )?
    .execute(params![Sha256::of(document).to_string(), text("a document", document)?])?;
    Ok(())
}

fn put_standings(tx: &Transaction<'_>, commit: &Commit) -> Done<()> {
    for row in &commit.standings {
        tx.prepare_cached(
            "INSERT INTO standings (node_key, document) VALUES (?1, ?2)
             ON CONFLICT (node_key) DO UPDATE SET document = excluded.document",
        )?
        .execute(params![row.node.to_string(), text("a node's standing", &row.document)?])?;
    }
    if let Some(state) = &commit.fleet_state {
        tx.prepare_cached("UPDATE fleet SET state = ?1 WHERE one = 1")?
            .execute([text("the fleet's state", state)?])?;
    }
    Ok(())
}

/// What left service more than an hour ago limits nobody any more.
fn note_let_out(tx: &Transaction<'_>, commit: &Commit) -> Done<()> {
    if commit.let_out.is_empty() {
        return Ok(());
    }
    let old_ms = commit.clock_ms.saturating_sub(LET_OUT_KEPT_MS);
    if commit.clock_ms >= LET_OUT_KEPT_MS {
        tx.prepare_cached("DELETE FROM let_out WHERE clock_ms <= ?1")?
            .execute([integer("clock", old_ms)?])?;
    }
    for row in &commit.let_out {
        tx.prepare_cached(
            "INSERT INTO let_out (node_key, run, stage, attempt, clock_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (node_key, run, stage, attempt) DO UPDATE SET clock_ms = excluded.clock_ms",
        )?
        .execute(params![
            row.node.to_string(),
            integer("run", row.run)?,
            row.stage,
            row.attempt,
            integer("clock", row.clock_ms)?
        ])?;
    }
    Ok(())
}
