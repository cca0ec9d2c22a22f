//! The store in one SQLite file, `drydock.db`.
//!
//! WAL with `synchronous=FULL`: a commit is one transaction and one fsync. One process holds the file
//! ([`lock`]); within it the run store and the [`Registry`] have a connection each and take turns at writing
//! ([`database`]). What the tables mean stands in [`schema`].

mod commit;
pub(in crate::store) mod database;
mod lock;
pub(in crate::store) mod rows;
mod schema;

use std::{path::Path, sync::Arc};

use drydock_types::{ComponentName, EffectId, Epoch, Fence, FleetId, InstanceId, NodeName, Sha256};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

pub use self::database::Checkpoint;
use self::database::Database;
use super::{
    Commit, ComponentRow, EventRow, Loaded, NewEvent, RecordEnd, RunRow, RunStore, StoreError,
    record::{RecordCheck, Walk},
    registry::Registry,
};

/// The driver's store.
#[derive(Debug)]
pub struct SqliteStore {
    db: Arc<Database>,
    conn: Connection,
    fence: Option<Fence>,
    /// As our last commit left it.
    end: Option<RecordEnd>,
}

impl SqliteStore {
    /// Makes a store, with a new fleet id. Its directory is made too (0700); the file is ours alone (0600).
    ///
    /// # Errors
    /// When there is one already, another process has it, or it cannot be written.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::over(Database::create(path)?)
    }

    /// Opens a store; an older schema is brought to the present one.
    ///
    /// # Errors
    /// When there is none, another process has it, a newer build wrote it, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::over(Database::open(path)?)
    }

    /// Opens the store, or makes it where there is none (or one whose making was cut short).
    ///
    /// # Errors
    /// As [`SqliteStore::open`] and [`SqliteStore::create`].
    pub fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        match Self::open(path) {
            Err(StoreError::Missing { .. }) => Self::create(path),
            other => other,
        }
    }

    fn over(db: Database) -> Result<Self, StoreError> {
        let conn = db.connect()?;
        Ok(Self { db: Arc::new(db), conn, fence: None, end: None })
    }

    /// What only the services need, over a connection of its own.
    ///
    /// # Errors
    /// When the file cannot be opened a second time.
    pub fn registry(&self) -> Result<Registry, StoreError> {
        Ok(Registry::over(Arc::clone(&self.db), self.db.connect()?))
    }

    /// Takes what the WAL holds into the database. For when nothing happens, so that no commit does it;
    /// [`Registry::checkpoint`] does the same without keeping the driver from its commits.
    ///
    /// # Errors
    /// When the disk says no; nothing is lost by that.
    pub fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.db.checkpoint(&self.conn)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.db.path()
    }

    /// A second opener of the same file, which has taken nothing over yet. Only tests get past the lock.
    #[cfg(test)]
    pub(super) fn reopen(&self) -> Self {
        Self { db: Arc::clone(&self.db), conn: self.db.connect().unwrap(), fence: None, end: None }
    }

    /// The disk is full for this store, without one.
    #[cfg(test)]
    pub(super) fn let_no_page_be_added(&self) {
        self.conn.pragma_update(None, "max_page_count", 1).unwrap();
    }

    fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = || self.conn.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>();
        rows().map_err(|why| self.unread(sql, why))
    }

    /// Runs with their parts.
    fn whole(&self, mut runs: Vec<RunRow>) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!("SELECT {} FROM run_parts WHERE run = ?1", rows::PART);
        for run in &mut runs {
            let number = rows::integer("run", run.number)?;
            run.parts = self.list(&sql, [number], rows::part)?.into_iter().collect();
        }
        Ok(runs)
    }

    /// A row that cannot be read back, or a disk that cannot be read.
    fn unread(&self, sql: &str, why: rusqlite::Error) -> StoreError {
        unread(&self.db, sql, why)
    }
}

/// The same for every reader of the file.
pub(in crate::store) fn unread(db: &Database, sql: &str, why: rusqlite::Error) -> StoreError {
    match why {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::QueryReturnedNoRows => {
            let table = sql.split_once(" FROM ").and_then(|(_, rest)| rest.split(' ').next());
            let place = format!("{}, table {}", db.name(), table.unwrap_or("?"));
            StoreError::Unreadable { place, what: why.to_string() }
        }
        why => db.error("reading", 0, why),
    }
}

impl RunStore for SqliteStore {
    fn take_over(&mut self, instance: InstanceId) -> Result<Fence, StoreError> {
        let taken = self
            .db
            .write(&mut self.conn, "taking the store over", 4096, |tx| commit::take_over(tx, instance));
        let fence = taken.map_err(StoreError::from)?;
        self.fence = Some(fence);
        Ok(fence)
    }

    fn take_over_above(
        &mut self,
        instance: InstanceId,
        above: Epoch,
        record: &NewEvent,
    ) -> Result<Fence, StoreError> {
        let bytes = 4096 + record.event.len() as u64;
        let taken = self.db.write(&mut self.conn, "taking the store over", bytes, |tx| {
            commit::take_over_above(tx, instance, above, record)
        });
        let (fence, end) = taken.map_err(StoreError::from)?;
        (self.fence, self.end) = (Some(fence), Some(end));
        Ok(fence)
    }

    fn knows_effect(&self, effect: EffectId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM effects WHERE effect_id = ?1)
                       OR EXISTS (SELECT 1 FROM adopted WHERE effect_id = ?1)";
        let read = || self.conn.prepare_cached(sql)?.query_row([effect.to_string()], |row| row.get(0));
        read().map_err(|why| self.unread(" FROM effects", why))
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let fleet =
            "SELECT fleet_id, clock_ms, (SELECT coalesce(max(number), 0) FROM runs), state FROM fleet";
        let read = self.conn.query_row(fleet, [], |row| {
            let state: Option<String> = row.get(3)?;
            let fleet = rows::parsed(row, 0, FleetId::parse)?;
            Ok((fleet, rows::unsigned(row, 1)?, rows::unsigned(row, 2)?, state.map(String::into_bytes)))
        });
        let (fleet, clock_ms, last_run, fleet_state) = read.map_err(|why| self.unread(" FROM fleet", why))?;
        let standings = format!("SELECT {} FROM standings ORDER BY node_key", rows::STANDING);
        let let_out =
            format!("SELECT {} FROM let_out ORDER BY clock_ms, node_key, run, stage, attempt", rows::LET_OUT);
        let runs = format!("SELECT {} FROM runs WHERE open = 1 ORDER BY number", rows::RUN);
        let effects = format!("SELECT {} FROM effects WHERE open = 1 ORDER BY effect_id", rows::EFFECT);
        let remembered = format!("SELECT {} FROM remembered ORDER BY effect_id", rows::REMEMBERED);
        Ok(Loaded {
            fleet,
            clock_ms,
            runs: self.whole(self.list(&runs, [], rows::run)?)?,
            last_run,
            effects: self.list(&effects, [], rows::effect)?,
            standings: self.list(&standings, [], rows::standing)?,
            fleet_state,
            let_out: self.list(&let_out, [], rows::let_out)?,
            remembered: self.list(&remembered, [], rows::remembered)?,
        })
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let (ours, wanted_bytes) = (self.fence, commit::weight_bytes(commit));
        let done =
            self.db.write(&mut self.conn, "committing", wanted_bytes, |tx| commit::write(tx, ours, commit));
        self.end = Some(done.map_err(StoreError::from)?);
        Ok(())
    }

    fn run(&self, number: u64) -> Result<Option<RunRow>, StoreError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let sql = format!("SELECT {} FROM runs WHERE number = ?1", rows::RUN);
        let read = || self.conn.prepare_cached(&sql)?.query_row([number], rows::run).optional();
        let row = read().map_err(|why| self.unread(&sql, why))?;
        Ok(self.whole(row.into_iter().collect())?.pop())
    }

    fn undone_by(&self, number: u64) -> Result<Vec<u64>, StoreError> {
        let Ok(number) = i64::try_from(number) else { return Ok(Vec::new()) };
        let sql = "SELECT number FROM runs WHERE undoes = ?1 ORDER BY number";
        self.list(sql, [number], |row| rows::unsigned(row, 0))
    }

    fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!("SELECT {} FROM runs ORDER BY number DESC LIMIT ?1", rows::RUN);
        self.whole(self.list(&sql, [most], rows::run)?)
    }

    fn events(&self, run: u64, most: u32) -> Result<Vec<EventRow>, StoreError> {
        let Ok(run) = i64::try_from(run) else { return Ok(Vec::new()) };
        let sql = format!("SELECT {} FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT ?2", rows::EVENT);
        let mut events = self.list(&sql, params![run, most], rows::event)?;
        events.reverse();
        Ok(events)
    }

    fn components(&self, node: &NodeName) -> Result<Vec<ComponentRow>, StoreError> {
        let sql = format!("SELECT {} FROM components WHERE node = ?1 ORDER BY component", rows::COMPONENT);
        self.list(&sql, [node.as_str()], rows::component)
    }

    fn samples(&self, recipe: Sha256, component: &ComponentName, most: u32) -> Result<Vec<u64>, StoreError> {
        let newest = |column: &str, value: String| {
            let sql =
                format!("SELECT took_ms FROM samples WHERE {column} = ?1 ORDER BY sample DESC LIMIT ?2");
            self.list(&sql, params![value, most], |row| rows::unsigned(row, 0))
        };
        let of_recipe = newest("recipe", recipe.to_string())?;
        if of_recipe.is_empty() { newest("component", component.to_string()) } else { Ok(of_recipe) }
    }

    fn record_end(&self) -> Result<RecordEnd, StoreError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let sql = "SELECT last_event, last_hash FROM fleet WHERE one = 1";
        self.conn.query_row(sql, [], rows::record_end).map_err(|why| self.unread(sql, why))
    }

    fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            self.conn
                .prepare_cached(rows::DOCUMENT)?
                .query_row([digest.to_string()], rows::document)
                .optional()
        };
        read().map_err(|why| self.unread(rows::DOCUMENT, why))
    }

    fn verify_chain(&self) -> Result<RecordCheck, StoreError> {
        // One read transaction: commits that happen meanwhile are not seen by half.
        let tx = self.conn.unchecked_transaction().map_err(|why| self.db.error("reading", 0, why))?;
        let sql = "SELECT fleet_id, last_event, last_hash FROM fleet";
        let read = tx.query_row(sql, [], |row| {
            let fleet = rows::parsed(row, 0, FleetId::parse)?;
            Ok((fleet, rows::unsigned(row, 1)?, rows::parsed(row, 2, Sha256::parse)?))
        });
        let (fleet, last_event, last_hash) = read.map_err(|why| self.unread(sql, why))?;
        let sql = format!("SELECT {} FROM events ORDER BY seq", rows::EVENT);
        let mut walk = Walk::begin(fleet);
        let mut walked = || {
            let mut statement = tx.prepare_cached(&sql)?;
            let mut events = statement.query([])?;
            while let Some(row) = events.next()? {
                let step = match rows::event(row) {
                    Ok(event) => walk.step(event),
                    Err(why @ rusqlite::Error::FromSqlConversionFailure(..)) => Err(walk.unreadable(&why)),
                    Err(why) => return Err(why),
                };
                if let Err(broken) = step {
                    return Ok(Some(broken));
                }
            }
            Ok(None)
        };
        let broken = walked().map_err(|why| self.unread(&sql, why))?;
        Ok(broken.unwrap_or_else(|| walk.end(last_event, last_hash)))
    }
}
