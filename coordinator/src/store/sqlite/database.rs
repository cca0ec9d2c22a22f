//! The file itself: opening it, its connections, one writer at a time, and what its errors mean.

use std::{
    convert::Infallible,
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use drydock_failpoint::durable;
use drydock_types::FleetId;
use nix::sys::statvfs::statvfs;
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::{lock::ProcessLock, rows, schema};
use crate::store::{StoreError, chain_start};

/// How long another program's transaction (an operator's `sqlite3`) is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A commit checkpoints by itself only past this many pages of WAL (32 MiB): two more fsyncs that
/// [`checkpoint`] takes out of its way while nothing happens.
const AUTOCHECKPOINT_PAGES: i64 = 8192;

/// One open store of this process. Its connections are the run store's and the registry's.
#[derive(Debug)]
pub(in crate::store) struct Database {
    path: PathBuf,
    /// Writers queue here rather than in SQLite, which would make them sleep and poll. Holds why nothing
    /// may be written any more, once the disk has failed.
    writer: Mutex<Option<String>>,
    /// Says the same to whoever waits for it.
    gone: watch::Sender<Option<String>>,
    _lock: ProcessLock,
}

/// Inside a transaction: everything that ends it.
#[derive(Debug)]
pub(in crate::store) enum Fault<R> {
    /// SQLite.
    Sql(rusqlite::Error),
    /// A row, or whoever took over.
    Store(StoreError),
    /// The caller's own no.
    No(R),
}

impl<R> From<rusqlite::Error> for Fault<R> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl<R> From<StoreError> for Fault<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Outside of it.
#[derive(Debug)]
pub(in crate::store) enum Failed<R> {
    /// The store could not.
    Store(StoreError),
    /// The caller's own no.
    No(R),
}

impl From<Failed<Infallible>> for StoreError {
    fn from(failed: Failed<Infallible>) -> Self {
        match failed {
            Failed::Store(error) => error,
            Failed::No(never) => match never {},
        }
    }
}

impl Database {
    /// Makes a new store: refused where there is one.
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|why| io_error(path, "making its directory", &why))?;
        }
        let database = Self::locked(path)?;
        // SQLite would make the file readable by everybody; its WAL follows the file's mode.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|why| io_error(path, "making it", &why))?;
        let mut conn = database.connect()?;
        match schema::look(&conn, &database.name())? {
            schema::Found::Empty => {}
            schema::Found::Ours(_) => return Err(StoreError::Exists { path: database.name() }),
        }
        let fleet = new_fleet(path)?;
        let made = database.write(&mut conn, "making the store", 128 << 10, |tx| {
            schema::migrate(tx, 0)?;
            tx.execute(
                "INSERT INTO fleet (one, fleet_id, epoch, clock_ms, last_event, last_hash)
                 VALUES (1, ?1, 0, 0, 0, ?2)",
                [fleet.to_string(), chain_start(fleet).to_string()],
            )?;
            Ok(())
        });
        made.map_err(StoreError::from)?;
        sync_directory(path)?;
        Ok(database)
    }

    /// Opens a store that is there, and brings it to the present schema.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let missing = || StoreError::Missing { path: path.display().to_string() };
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(missing()),
            Err(why) => return Err(io_error(path, "looking for it", &why)),
        }
        let database = Self::locked(path)?;
        let mut conn = database.connect()?;
        match schema::look(&conn, &database.name())? {
            // A creation that was cut short left nothing worth opening.
            schema::Found::Empty => return Err(missing()),
            schema::Found::Ours(version) if version == schema::known() => {}
            schema::Found::Ours(version) => {
                let done = database.write(&mut conn, "bringing it to this build's schema", 1 << 20, |tx| {
                    Ok(schema::migrate(tx, version)?)
                });
                done.map_err(StoreError::from)?;
            }
        }
        Ok(database)
    }

    fn locked(path: &Path) -> Result<Self, StoreError> {
        let lock = ProcessLock::take(path)?;
        let gone = watch::Sender::new(None);
        Ok(Self { path: path.to_owned(), writer: Mutex::new(None), gone, _lock: lock })
    }

    /// A connection with everything set that the store relies on.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, flags).and_then(|conn| {
            conn.busy_timeout(BUSY_TIMEOUT)?;
            let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "foreign_keys", true)?;
            conn.pragma_update(None, "trusted_schema", false)?;
            conn.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)?;
            conn.set_prepared_statement_cache_capacity(64);
            Ok((conn, mode))
        });
        let (conn, mode) = opened.map_err(|why| self.error("opening it", 64 << 10, why))?;
        if mode == "wal" {
            return Ok(conn);
        }
        let what =
            format!("its file system does not carry a write-ahead log (mode {mode}); use a local disk");
        Err(StoreError::Database { path: self.name(), what })
    }

    /// One transaction: all of `work`, durable when this returns, or nothing. `wanted_bytes` is for the
    /// message on a full disk.
    pub(in crate::store) fn write<T, R>(
        &self,
        conn: &mut Connection,
        doing: &str,
        wanted_bytes: u64,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault<R>>,
    ) -> Result<T, Failed<R>> {
        let mut broken = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = broken.as_ref() {
            return Err(Failed::Store(self.failed_before(what)));
        }
        let done = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            durable!("coordinator.store.commit", as_sqlite_says, tx.commit())?;
            Ok(value)
        })();
        done.map_err(|fault| match fault {
            Fault::No(no) => Failed::No(no),
            Fault::Store(error) => Failed::Store(error),
            Fault::Sql(why) => {
                let disk_failed = why.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
                let error = self.error(doing, wanted_bytes, why);
                if disk_failed {
                    // Whether the last commit is on the disk is not known, and asking again would be
                    // answered by the page cache. Only a start that reads the disk knows.
                    *broken = Some(error.to_string());
                    self.gone.send_replace(Some(error.to_string()));
                }
                Failed::Store(error)
            }
        })
    }

    /// Returns when the disk has failed, with how: from then on nothing is written until a start.
    pub(in crate::store) async fn disk_failed(&self) -> String {
        let mut gone = self.gone.subscribe();
        let said = gone.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        said.ok().and_then(|said| said.clone()).unwrap_or_default()
    }

    fn failed_before(&self, what: &str) -> StoreError {
        let what = format!(
            "nothing more is written, because the disk failed before ({what}); look at the disk, then restart the coordinator"
        );
        StoreError::Database { path: self.name(), what }
    }

    /// What an error of SQLite means for whoever must act.
    pub(in crate::store) fn error(&self, doing: &str, wanted_bytes: u64, why: rusqlite::Error) -> StoreError {
        let path = self.name();
        match why.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                StoreError::Full { path, wanted_bytes, free_bytes: free_bytes(&self.path) }
            }
            Some(ErrorCode::ConstraintViolation) => StoreError::Refused { what: format!("{doing}: {why}") },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                let waited = BUSY_TIMEOUT.as_secs();
                let what = format!(
                    "{doing}: another program has held it for {waited} s; end transactions that are open in sqlite3"
                );
                StoreError::Database { path, what }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let what = format!("{doing}: the file is damaged ({why}); restore it from a backup");
                StoreError::Database { path, what }
            }
            _ => StoreError::Database { path, what: format!("{doing}: {why}") },
        }
    }

    /// For messages.
    pub(in crate::store) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Where it is.
    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what the WAL holds into the database, without making writers or readers wait.
    pub(in crate::store) fn checkpoint(&self, conn: &Connection) -> Result<Checkpoint, StoreError> {
        let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((rows::unsigned(row, 1)?, rows::unsigned(row, 2)?))
        });
        let (pages, moved) = done.map_err(|why| self.error("checkpointing", 1 << 20, why))?;
        Ok(Checkpoint { pages, moved })
    }
}

/// What a checkpoint found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Pages of 4 KiB that the WAL held.
    pub pages: u64,
    /// Those that are in the database now; fewer when a reader still needs the rest.
    pub moved: u64,
}

fn new_fleet(path: &Path) -> Result<FleetId, StoreError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io_error(path, "making the fleet's id", &"the system gives no random bytes"))?;
    Ok(FleetId(bytes))
}

fn io_error(path: &Path, doing: &str, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { path: path.display().to_string(), what: format!("{doing}: {why}") }
}

/// What SQLite answers where the system answered so: for the failpoint at the commit.
#[cfg(feature = "failpoints")]
fn as_sqlite_says(why: std::io::Error) -> rusqlite::Error {
    let full = why.kind() == std::io::ErrorKind::StorageFull;
    let code = if full { rusqlite::ffi::SQLITE_FULL } else { rusqlite::ffi::SQLITE_IOERR_FSYNC };
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(why.to_string()))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let synced =
        File::open(directory(path)).and_then(|dir| durable!("coordinator.store.sync-dir", dir.sync_all()));
    synced.map_err(|why| io_error(path, "syncing its directory", &why))
}

/// Bytes that this user may still write beside the file; 0 when it cannot be found out.
fn free_bytes(path: &Path) -> u64 {
    statvfs(directory(path)).map_or(0, |space| space.blocks_available().saturating_mul(space.fragment_size()))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn after_the_disk_has_failed_once_nothing_more_is_written_until_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drydock.db");
        let database = Database::create(&path).unwrap();
        let mut conn = database.connect().unwrap();
        let put = |tx: &Transaction<'_>| Ok(tx.execute("INSERT OR REPLACE INTO meta VALUES ('k', 'v')", [])?);
        let fail =
            |code| Err::<(), _>(Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
        for (code, fatal) in [(ffi::SQLITE_FULL, false), (ffi::SQLITE_IOERR_FSYNC, true)] {
            let failed = database.write::<_, Infallible>(&mut conn, "testing", 1, |tx| {
                put(tx)?;
                fail(code)
            });
            assert!(failed.is_err());
            assert_eq!(database.gone.borrow().is_some(), fatal, "whoever serves is told, so that it ends");
            let next = database.write(&mut conn, "testing", 1, put).map_err(StoreError::from);
            match next {
                Ok(_) => assert!(!fatal),
                Err(error) => {
                    assert!(fatal && error.to_string().contains("restart the coordinator"), "{error}")
                }
            }
            let read: i64 = conn.query_row("SELECT count(*) FROM meta", [], |row| row.get(0)).unwrap();
            assert_eq!(read, 1, "reading goes on");
        }
        drop((conn, database));
        let database = Database::open(&path).unwrap();
        let mut conn = database.connect().unwrap();
        let again = database
            .write::<_, Infallible>(&mut conn, "testing", 1, |tx| Ok(tx.execute("DELETE FROM meta", [])?));
        assert_eq!(again.unwrap(), 1);
    }
}
