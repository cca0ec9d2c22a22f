//! What was rehearsed: by the plan's digest the last time of each, and what the fleet was then.

use drydock_types::Sha256;
use rusqlite::{Row, params};

use super::Registry;
use crate::store::{
    StoreError,
    sqlite::rows::{integer, parsed, unsigned},
};

/// Rehearsals that are remembered; the oldest go.
const KEPT: u32 = 200;

/// A rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsalRow {
    /// Of which plan.
    pub digest: Sha256,
    /// Its name.
    pub plan: String,
    /// When it ended, in Unix milliseconds.
    pub at_unix_ms: u64,
    /// Who asked for it.
    pub by: String,
    /// How much it found that would stop the run.
    pub blockers: u64,
    /// `rehearsal::fleet::FleetSeen` as JSON.
    pub fleet: String,
}

const COLUMNS: &str = "digest, plan, at_ms, by, blockers, fleet";

fn read(row: &Row<'_>) -> rusqlite::Result<RehearsalRow> {
    Ok(RehearsalRow {
        digest: parsed(row, 0, Sha256::parse)?,
        plan: row.get(1)?,
        at_unix_ms: unsigned(row, 2)?,
        by: row.get(3)?,
        blockers: unsigned(row, 4)?,
        fleet: row.get(5)?,
    })
}

impl Registry {
    /// Keeps a rehearsal; an earlier one of the same plan goes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember_rehearsal(&self, row: &RehearsalRow) -> Result<(), StoreError> {
        self.put("keeping a rehearsal", |tx| {
            let sql =
                format!("INSERT OR REPLACE INTO rehearsals ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
            tx.prepare_cached(&sql)?.execute(params![
                row.digest.to_string(),
                row.plan,
                integer("time", row.at_unix_ms)?,
                row.by,
                integer("count", row.blockers)?,
                row.fleet
            ])?;
            let newest = "SELECT digest FROM rehearsals ORDER BY at_ms DESC, digest LIMIT ?1";
            tx.execute(&format!("DELETE FROM rehearsals WHERE digest NOT IN ({newest})"), [KEPT])?;
            Ok(())
        })
    }

    /// The last rehearsal of exactly this plan; else the last of one of its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn rehearsal(&self, digest: Sha256, plan: &str) -> Result<Option<RehearsalRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM rehearsals WHERE digest = ?1 OR plan = ?2
             ORDER BY digest = ?1 DESC, at_ms DESC LIMIT 1"
        );
        self.one(&sql, params![digest.to_string(), plan], read)
    }
}
