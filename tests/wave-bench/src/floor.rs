//! The least that a serial node can cost: one round trip, two fsyncs at the agent, two commits at the
//! coordinator. Measured by this file alone, which knows nothing of Drydock.
//!
//! One process a node, as in the fleet, each with its own file and its own connection; plain TCP on loopback,
//! blocking reads, no encryption, no checks. The rows and records are of the size of the real ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, params};

use crate::process::Process;

/// A section as it is sent and journalled.
const SECTION_BYTES: usize = 1024;
/// An outcome.
const OUTCOME_BYTES: usize = 512;
/// What is kept of a node's progress.
const NODE_BYTES: usize = 1024;
/// An event of the record.
const EVENT_BYTES: usize = 512;

/// The coordinator's side, and its agents.
#[derive(Debug)]
pub(crate) struct Floor {
    db: Connection,
    agents: Vec<TcpStream>,
    _processes: Vec<Process>,
}

impl Floor {
    /// Starts an agent a node, each on this program's own other side.
    pub(crate) fn start(dir: &Path, nodes: u32) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let db = open(&dir.join("floor.db")).context("cannot make the floor's database")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (mut agents, mut processes) = (Vec::new(), Vec::new());
        for number in 0..nodes {
            let place = dir.join(crate::fleet::name(number));
            fs::create_dir(&place)?;
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("floor-agent").arg(&place).arg(&address);
            processes.push(Process::start("a floor agent", &mut command, &place.join("log"))?);
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            db.execute("INSERT INTO nodes (number, state) VALUES (?1, '')", [number])?;
            agents.push(stream);
        }
        Ok(Self { db, agents, _processes: processes })
    }

    /// All nodes once, one after another; each one's time in milliseconds.
    pub(crate) fn wave(&mut self) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(self.agents.len());
        for (number, agent) in (0..).zip(&mut self.agents) {
            let began = Instant::now();
            commit(&mut self.db, number, true)?;
            agent.write_all(&[b's'; SECTION_BYTES])?;
            agent.read_exact(&mut [0; OUTCOME_BYTES]).context("a floor agent did not answer")?;
            commit(&mut self.db, number, false)?;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(times)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // As the coordinator's: a commit is never a checkpoint.
    db.pragma_update(None, "wal_autocheckpoint", 8192)?;
    db.execute_batch(
        "CREATE TABLE nodes (number INTEGER PRIMARY KEY, state TEXT NOT NULL) STRICT;
         CREATE TABLE events (seq INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;
         CREATE TABLE effects (seq INTEGER PRIMARY KEY, section TEXT NOT NULL) STRICT;",
    )?;
    Ok(db)
}

/// One transition: a node's row and an event, and the section where one is decided.
fn commit(db: &mut Connection, number: u32, decided: bool) -> rusqlite::Result<()> {
    let text = |bytes: usize| "x".repeat(bytes);
    let tx = db.transaction()?;
    tx.prepare_cached("UPDATE nodes SET state = ?2 WHERE number = ?1")?
        .execute(params![number, text(NODE_BYTES)])?;
    tx.prepare_cached("INSERT INTO events (event) VALUES (?1)")?.execute([text(EVENT_BYTES)])?;
    if decided {
        tx.prepare_cached("INSERT INTO effects (section) VALUES (?1)")?.execute([text(SECTION_BYTES)])?;
    }
    tx.commit()
}

/// The agent's side: what comes is on the disk before it is taken, and the answer before it is sent.
pub(crate) fn serve(dir: &Path, address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut journal = OpenOptions::new().create(true).append(true).open(dir.join("journal"))?;
    let mut section = [0; SECTION_BYTES];
    // An error means that the coordinator's side has gone: there is nothing more to do.
    while stream.read_exact(&mut section).is_ok() {
        write(&mut journal, &section)?;
        let outcome = [b'o'; OUTCOME_BYTES];
        write(&mut journal, &outcome)?;
        stream.write_all(&outcome)?;
    }
    Ok(())
}

fn write(journal: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    journal.write_all(bytes)?;
    journal.sync_data()
}
