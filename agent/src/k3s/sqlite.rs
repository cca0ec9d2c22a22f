//! An online copy of the SQLite datastore: made while K3s writes on, and seen to be whole.
//!
//! K3s's documentation says to copy the file while the server is stopped. SQLite's backup interface copies it while
//! it is written to. Here it reads inside one read transaction, so that the copy is the state of one moment and writers
//! are not kept waiting (the database is in WAL mode). A copy that fails `integrity_check`, or is none of kine's, is
//! thrown away.
//!
//! Sources: docs/datastore/backup-restore.md of k3s-io/docs (what to copy: `server/db/` and the token);
//! pkg/drivers/sqlite of k3s-io/kine (table `kine`; its highest `id` is the revision).

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
};

use super::token::{BOOTSTRAP, MOST_KEYS};
use crate::actions::Problem;

/// How much is copied between two looks at the clock.
const PAGES: i32 = 2048;
/// How long a lock of the writer is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// How many of its own steps SQLite makes between two looks at the clock: some hundred microseconds.
const STEPS: i32 = 1000;
/// Between two tries while the database is locked.
const PAUSE: Duration = Duration::from_millis(20);

/// A whole copy. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Copied {
    path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// The revision of the cluster's state in it.
    pub revision: i64,
}

impl Copied {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys of K3s's bootstrap data in it, for [`super::token::Token::opens`].
    ///
    /// # Errors
    /// When the copy cannot be read, or `until` is past.
    pub fn bootstrap_keys(&self, until: Instant) -> Result<Vec<String>, Problem> {
        bootstrap_keys(&self.path, until)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Copies `source` to the new file `to`, which only the agent reads. Blocks.
///
/// # Errors
/// When there is no such database, it is not K3s's, the copy is not whole, or `until` is past. Then no file is left.
pub fn copy(source: &Path, to: &Path, until: Instant) -> Result<Copied, Problem> {
    let mut copied = Copied { path: to.to_owned(), size: 0, revision: 0 };
    private(to).map_err(|error| Problem::new(format!("{}: {error}", to.display())))?;
    let revision = pages(source, to, until)?;
    let size = fs::metadata(to).map_err(|error| Problem::new(format!("{}: {error}", to.display())))?.len();
    (copied.size, copied.revision) = (size, revision);
    Ok(copied)
}

/// The keys of K3s's bootstrap data in a datastore, which may be written to meanwhile. Blocks.
///
/// # Errors
/// When there is no such database, it is not K3s's, or `until` is past.
pub fn bootstrap_keys(source: &Path, until: Instant) -> Result<Vec<String>, Problem> {
    let look = |database: &Connection| {
        let mut found = database.prepare(
            // Without a value it is K3s's lock for the time in which it makes them.
            "SELECT name FROM kine AS it WHERE name >= ?1 AND name < ?2 AND deleted = 0 AND length(value) > 0
             AND id = (SELECT MAX(id) FROM kine WHERE name = it.name) LIMIT ?3",
        )?;
        // What begins with it ends before the next sign behind its last one.
        let end = format!("{}0", BOOTSTRAP.trim_end_matches('/'));
        let keys = found.query_map((BOOTSTRAP, end, MOST_KEYS), |row| row.get(0))?;
        keys.collect::<rusqlite::Result<Vec<String>>>()
    };
    let mut database = read_only(source).map_err(|error| not_copied(source, &error))?;
    ends_at(&mut database, until).map_err(|error| not_copied(source, &error))?;
    look(&database).map_err(|error| late_or_not_kine(source, &error))
}

fn read_only(source: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(source, flags)?;
    database.busy_timeout(BUSY)?;
    Ok(database)
}

/// From then on whatever is asked of the database is broken off, with an error that [`late`] knows.
fn ends_at(database: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    database.progress_handler(STEPS, Some(move || Instant::now() >= until))
}

/// Was it the time that was over?
fn late(source: &Path, error: &rusqlite::Error) -> Option<Problem> {
    let over = error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
    over.then(|| not_in_time(source))
}

fn not_in_time(source: &Path) -> Problem {
    Problem::new(format!("{} was not read in time", source.display()))
        .next("give the step more time (`within`)")
}

fn not_copied(source: &Path, error: &rusqlite::Error) -> Problem {
    let shown = source.display();
    Problem::new(format!("the K3s datastore {shown} cannot be copied: {error}"))
        .next(format!("see that it is whole: sqlite3 -readonly {shown} 'PRAGMA integrity_check'"))
}

fn pages(source: &Path, to: &Path, until: Instant) -> Result<i64, Problem> {
    let shown = source.display();
    let bad = |error: rusqlite::Error| not_copied(source, &error);
    let from = read_only(source).map_err(bad)?;
    // From the first read on this connection sees one moment, however long the copying takes.
    from.execute_batch("BEGIN").map_err(bad)?;
    let revision = revision(&from).map_err(|error| not_kine(source, &error))?;
    let mut copy = Connection::open(to).map_err(bad)?;
    {
        let backup = Backup::new(&from, &mut copy).map_err(bad)?;
        loop {
            if Instant::now() >= until {
                return Err(not_in_time(source));
            }
            match backup.step(PAGES).map_err(bad)? {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked => wait(),
                _ => {}
            }
        }
    }
    from.execute_batch("ROLLBACK").map_err(bad)?;
    // One file, without a log beside it.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(bad)?;
    ends_at(&mut copy, until).map_err(bad)?;
    whole(&copy, source)?;
    let copied = self::revision(&copy).map_err(|error| late_or_not_kine(source, &error))?;
    if copied == revision {
        return Ok(revision);
    }
    Err(Problem::new(format!("the copy of {shown} is at revision {copied}, and it was taken at {revision}")))
}

fn revision(database: &Connection) -> rusqlite::Result<i64> {
    database.query_row("SELECT COALESCE(MAX(id), 0) FROM kine", [], |row| row.get(0))
}

fn not_kine(source: &Path, error: &rusqlite::Error) -> Problem {
    Problem::new(format!("{} is no datastore of K3s: {error}", source.display()))
        .next("see which datastore the server uses, and whether its data directory is another one")
}

fn late_or_not_kine(source: &Path, error: &rusqlite::Error) -> Problem {
    late(source, error).unwrap_or_else(|| not_kine(source, error))
}

fn whole(copy: &Connection, source: &Path) -> Result<(), Problem> {
    let shown = source.display();
    let damaged = |why: String| {
        Problem::new(format!("the copy of {shown} is not whole: {why}; nothing of it is kept"))
            .next(format!(
                "sqlite3 -readonly {shown} 'PRAGMA integrity_check'; see the disk's and the kernel's log"
            ))
            .next("do not upgrade this server before its datastore is well, or restored")
    };
    let said: String = copy
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| late(source, &error).unwrap_or_else(|| damaged(error.to_string())))?;
    if said == "ok" { Ok(()) } else { Err(damaged(said.lines().last().unwrap_or_default().to_owned())) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "on a thread of its own, between two tries at a locked database"
)]
fn wait() {
    std::thread::sleep(PAUSE);
}

/// A new file that only the agent reads.
fn private(path: &Path) -> io::Result<()> {
    remove(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

fn remove(path: &Path) {
    for end in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %Path::new(&name).display(), %error, "could not be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io::{Read as _, Seek as _, SeekFrom, Write as _},
        os::unix::fs::PermissionsExt as _,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A datastore as kine makes it: WAL, a table, an index, and so many rows.
    pub(crate) fn datastore(path: &Path, rows: i64) -> Connection {
        let database = Connection::open(path).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database
            .execute_batch(
                "CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, deleted INTEGER DEFAULT 0,
                  value BLOB);
                 CREATE INDEX kine_name_index ON kine (name);",
            )
            .unwrap();
        for row in 0..rows {
            add(&database, row);
        }
        database
    }

    fn add(database: &Connection, row: i64) {
        let value = vec![u8::try_from(row % 251).unwrap(); 300];
        database
            .execute("INSERT INTO kine (name, value) VALUES (?1, ?2)", (format!("/registry/{row}"), value))
            .unwrap();
    }

    fn count(path: &Path) -> (i64, i64) {
        let database = Connection::open(path).unwrap();
        database
            .query_row("SELECT COUNT(*), MAX(id) FROM kine", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    }

    #[test]
    fn a_copy_is_one_moment_of_a_database_that_is_being_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (source, to) = (dir.path().join("state.db"), dir.path().join("copy"));
        let database = datastore(&source, 2000);
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let writer = {
            let (stop, written) = (stop.clone(), written.clone());
            std::thread::spawn(move || {
                let mut row = 2000;
                while !stop.load(Ordering::Relaxed) {
                    add(&database, row);
                    row += 1;
                    written.store(row > 2100, Ordering::Relaxed);
                }
                row
            })
        };
        while !written.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        for _ in 0..3 {
            let copied = copy(&source, &to, Instant::now() + MINUTE).unwrap();
            assert!(copied.revision > 2000);
            let mode = fs::metadata(&to).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(
                count(&to),
                (copied.revision, copied.revision),
                "every row up to its revision, and no other"
            );
        }
        stop.store(true, Ordering::Relaxed);
        let rows = writer.join().unwrap();
        assert_eq!(count(&source), (rows, rows), "no write was lost to the copying");
    }

    #[test]
    fn a_copy_leaves_no_file_behind_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (source, to) = (dir.path().join("state.db"), dir.path().join("copy"));
        let _database = datastore(&source, 10);
        drop(copy(&source, &to, Instant::now() + MINUTE).unwrap());
        assert!(!to.exists());
    }

    #[test]
    fn a_database_with_a_flipped_bit_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (source, to) = (dir.path().join("state.db"), dir.path().join("copy"));
        let database = datastore(&source, 2000);
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(database);
        // In the first bytes of a page in the middle: what kind of page it is.
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&source).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(4096 * 20)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(4096 * 20)).unwrap();
        file.write_all(&[byte[0] ^ 0x40]).unwrap();
        let problem = copy(&source, &to, Instant::now() + MINUTE).unwrap_err();
        assert!(problem.what.contains("not whole"), "{problem}");
        assert!(!to.exists());
    }

    #[test]
    fn what_is_no_datastore_of_k3s_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (source, to) = (dir.path().join("state.db"), dir.path().join("copy"));
        let refused = |word: &str| {
            let problem = copy(&source, &to, Instant::now() + MINUTE).unwrap_err();
            assert!(problem.what.contains(word) && !to.exists(), "{problem}");
        };
        refused("cannot be copied");
        fs::write(&source, vec![b'x'; 8192]).unwrap();
        refused("no datastore of K3s");
        fs::remove_file(&source).unwrap();
        Connection::open(&source).unwrap().execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
        refused("no datastore of K3s");
    }

    #[test]
    fn the_look_at_the_whole_copy_ends_at_its_deadline_and_is_not_taken_for_damage() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("state.db");
        // Of many thousand of SQLite's steps, in one transaction.
        let mut database = datastore(&source, 0);
        let all = database.transaction().unwrap();
        (0..20_000).for_each(|row| add(&all, row));
        all.commit().unwrap();
        ends_at(&mut database, Instant::now() + MINUTE).unwrap();
        whole(&database, &source).unwrap();
        ends_at(&mut database, Instant::now()).unwrap();
        let problem = whole(&database, &source).unwrap_err();
        assert!(problem.what.contains("not read in time"), "{problem}");
        assert!(problem.next[0].contains("within"), "{problem:?}");
        drop(database);
        let problem = bootstrap_keys(&dir.path().join("missing"), Instant::now() + MINUTE).unwrap_err();
        assert!(problem.what.contains("cannot be copied"), "{problem}");
    }

    #[test]
    fn a_copy_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (source, to) = (dir.path().join("state.db"), dir.path().join("copy"));
        let _database = datastore(&source, 10);
        let problem = copy(&source, &to, Instant::now()).unwrap_err();
        assert!(problem.what.contains("not read in time") && !to.exists(), "{problem}");
    }
}
