//! What the file looks like, and how an older one becomes the present one.
//!
//! For whoever opens it with `sqlite3`: ids, keys and digests are hex, documents are JSON as text, a
//! time is Unix milliseconds (`…_ms`) or seconds (`…_s`). Open it read-only (`sqlite3 -readonly`) while a coordinator runs.

use rusqlite::Connection;

use crate::store::StoreError;

/// "DRYD": marks the file as ours, for `file(1)` and against mix-ups.
pub(super) const APPLICATION_ID: i64 = 0x4452_5944;

/// Forward only: entry n brings a file of schema n to n + 1. Never edited once released; appended to.
const MIGRATIONS: [&str; 2] = [V1, V2];

const V1: &str = "
-- One row: whose store it is and how far it has come.
CREATE TABLE fleet (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    fleet_id       TEXT    NOT NULL,
    epoch          INTEGER NOT NULL,   -- rises with every coordinator that takes over
    instance       TEXT,               -- the start that holds the epoch
    clock_ms       INTEGER NOT NULL,   -- the fleet's clock; never falls
    last_event     INTEGER NOT NULL,   -- events.seq of the end of the record
    last_hash      TEXT    NOT NULL,   -- events.hash of it
    state          TEXT                -- what operators said of the whole fleet (frozen); NULL: nothing
) STRICT;

CREATE TABLE runs (
    number         INTEGER PRIMARY KEY,
    run_id         TEXT    NOT NULL UNIQUE,
    open           INTEGER NOT NULL CHECK (open IN (0, 1)),
    undoes         INTEGER,            -- the run that it takes back
    state          TEXT    NOT NULL
) STRICT;
CREATE INDEX runs_open ON runs (number) WHERE open = 1;
CREATE INDEX runs_undoes ON runs (undoes, number) WHERE undoes IS NOT NULL;

-- Of each run: part 0 is its plan, part 1 and up are its nodes in the plan's order.
CREATE TABLE run_parts (
    run            INTEGER NOT NULL REFERENCES runs (number),
    part           INTEGER NOT NULL,
    document       TEXT    NOT NULL,
    PRIMARY KEY (run, part)
) STRICT, WITHOUT ROWID;

-- The record. Each hash covers the one before it: `drydock audit verify`.
CREATE TABLE events (
    seq            INTEGER PRIMARY KEY,
    run            INTEGER NOT NULL,
    wall_ms        INTEGER NOT NULL,
    event          TEXT    NOT NULL,
    hash           TEXT    NOT NULL
) STRICT;
CREATE INDEX events_of_run ON events (run, seq);

-- What events name by digest: outcomes exactly as their nodes signed them, the nodes' certificates (PEM).
CREATE TABLE documents (
    sha256         TEXT    PRIMARY KEY,
    document       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Everything that was ever decided to be done; open = 1 while its end is not known.
CREATE TABLE effects (
    effect_id      TEXT    PRIMARY KEY,
    run            INTEGER NOT NULL REFERENCES runs (number),
    node           TEXT    NOT NULL,
    section        TEXT    NOT NULL,
    open           INTEGER NOT NULL CHECK (open IN (0, 1))
) STRICT;
CREATE INDEX effects_open ON effects (effect_id) WHERE open = 1;
CREATE INDEX effects_of_run ON effects (run);

-- Effects of runs that are over, which their agents' journals still hold. With a component: its last change on that
-- node, whose notes are kept so that it can be taken back. Without: to be forgotten, and not yet said to be.
CREATE TABLE remembered (
    effect_id      TEXT    PRIMARY KEY,
    run            INTEGER NOT NULL,
    node           TEXT    NOT NULL,
    node_key       TEXT    NOT NULL,
    component      TEXT
) STRICT, WITHOUT ROWID;

-- Effects that only an agent's journal knew after this store was restored from an older copy, and that an
-- operator has decided about.
CREATE TABLE adopted (
    effect_id      TEXT    PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What was rehearsed, by the plan's digest: the last time of each, and what the fleet was then (JSON).
CREATE TABLE rehearsals (
    digest         TEXT    PRIMARY KEY,
    plan           TEXT    NOT NULL,
    at_ms          INTEGER NOT NULL,
    by             TEXT    NOT NULL,
    blockers       INTEGER NOT NULL,
    fleet          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What stands on record about nodes beyond any run: set aside, quarantined versions, what runs left in doubt.
CREATE TABLE standings (
    node_key       TEXT    PRIMARY KEY,
    document       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Nodes that were let out of service within the last hour of the fleet's clock.
CREATE TABLE let_out (
    node_key       TEXT    NOT NULL,
    run            INTEGER NOT NULL,
    stage          INTEGER NOT NULL,
    attempt        INTEGER NOT NULL,
    clock_ms       INTEGER NOT NULL,
    PRIMARY KEY (node_key, run, stage, attempt)
) STRICT, WITHOUT ROWID;

-- What was seen running: a version, or the problem that hides it.
CREATE TABLE components (
    node           TEXT    NOT NULL,
    component      TEXT    NOT NULL,
    version        TEXT,
    problem        TEXT,
    seen_ms        INTEGER NOT NULL,
    PRIMARY KEY (node, component),
    CHECK ((version IS NULL) <> (problem IS NULL))
) STRICT, WITHOUT ROWID;

-- How long nodes took, for estimates.
CREATE TABLE samples (
    sample         INTEGER PRIMARY KEY,
    recipe         TEXT    NOT NULL,
    component      TEXT    NOT NULL,
    took_ms        INTEGER NOT NULL
) STRICT;
CREATE INDEX samples_of_recipe ON samples (recipe, sample);
CREATE INDEX samples_of_component ON samples (component, sample);

-- Enrolled machines. A revoked or replaced one stays, as a record of its key.
CREATE TABLE nodes (
    node_key             TEXT    PRIMARY KEY,
    name                 TEXT    NOT NULL,
    labels               TEXT    NOT NULL,
    serial               TEXT    NOT NULL,
    certificate_until_s  INTEGER NOT NULL,
    enrolled_at_s        INTEGER NOT NULL,
    token_id             TEXT    NOT NULL,
    revoked_at_s         INTEGER,
    revoked_why          TEXT
) STRICT;
CREATE UNIQUE INDEX nodes_name ON nodes (name) WHERE revoked_at_s IS NULL;

-- Join tokens. The secret itself is nowhere.
CREATE TABLE tokens (
    token_id       TEXT    PRIMARY KEY,
    secret_hash    TEXT    NOT NULL,
    node           TEXT    NOT NULL,
    labels         TEXT    NOT NULL,
    replaces       INTEGER NOT NULL CHECK (replaces IN (0, 1)),
    created_by     TEXT    NOT NULL,
    created_at_s   INTEGER NOT NULL,
    expires_at_s   INTEGER NOT NULL,
    used_at_s      INTEGER,
    revoked_at_s   INTEGER
) STRICT;
CREATE INDEX tokens_of_node ON tokens (node);

-- Whose certificates are good for nothing any more: those over a key, one serial, those of an operator.
CREATE TABLE revocations (
    kind           TEXT    NOT NULL CHECK (kind IN ('key', 'serial', 'operator')),
    value          TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    why            TEXT    NOT NULL,
    at_s           INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

-- The files are artifacts/SHA256.
CREATE TABLE artifacts (
    sha256         TEXT    PRIMARY KEY,
    size           INTEGER NOT NULL,
    component      TEXT    NOT NULL,
    version        TEXT    NOT NULL,
    os             TEXT    NOT NULL,
    arch           TEXT    NOT NULL,
    signature      TEXT    NOT NULL,
    added_by       TEXT    NOT NULL,
    added_at_ms    INTEGER NOT NULL
) STRICT;

-- The files are backups/NODE/EFFECT8-COMPONENT.age; encrypted for somebody who is not the coordinator.
CREATE TABLE backups (
    node           TEXT    NOT NULL,
    effect_id      TEXT    NOT NULL,
    component      TEXT    NOT NULL,
    sha256         TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    complete       INTEGER NOT NULL CHECK (complete IN (0, 1)),
    at_ms          INTEGER NOT NULL,
    PRIMARY KEY (node, effect_id)
) STRICT, WITHOUT ROWID;

-- Small things by name.
CREATE TABLE meta (
    key            TEXT    PRIMARY KEY,
    value          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
";

const V2: &str = "
-- Kubernetes clusters, and what they are reached with: sealed by the key that seals the CA, for this name alone.
CREATE TABLE clusters (
    name           TEXT    PRIMARY KEY,
    context        TEXT    NOT NULL,   -- of the kubeconfig that it came from; empty: the coordinator's own pod
    endpoints      TEXT    NOT NULL,   -- a list of URLs, the preferred one first
    sealed         BLOB    NOT NULL,
    valid_until_s  INTEGER,            -- when the credentials end; NULL: they do not say
    added_by       TEXT    NOT NULL,
    added_at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which Node of which cluster a machine is, by an operator's word. It belongs to the machine's key.
CREATE TABLE bindings (
    node_key       TEXT    PRIMARY KEY,
    node           TEXT    NOT NULL,
    cluster        TEXT    NOT NULL REFERENCES clusters (name),
    kube_node      TEXT    NOT NULL,
    bound_by       TEXT    NOT NULL,
    bound_at_ms    INTEGER NOT NULL,
    UNIQUE (cluster, kube_node)
) STRICT, WITHOUT ROWID;
";

/// The schema that this build writes.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What stands in a file's head.
pub(super) enum Found {
    /// A new or empty file, or one whose creation was cut short.
    Empty,
    /// Ours, of this schema.
    Ours(i64),
}

/// Looks at a file's head.
pub(super) fn look(conn: &Connection, path: &str) -> Result<Found, StoreError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let head = || {
        let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok::<_, rusqlite::Error>((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let unread = |why: rusqlite::Error| StoreError::Database {
        path: path.to_owned(),
        what: format!("reading what kind of file it is: {why}"),
    };
    match head().map_err(unread)? {
        (0, 0, 0) => Ok(Found::Empty),
        (APPLICATION_ID, version, _) if (1..=known()).contains(&version) => Ok(Found::Ours(version)),
        (APPLICATION_ID, found, _) => {
            Err(StoreError::Schema { path: path.to_owned(), found, known: known() })
        }
        _ => Err(StoreError::Database {
            path: path.to_owned(),
            what: "this is a database of some other program; move it away or use another directory".into(),
        }),
    }
}

/// Brings a file of schema `from` to [`known`], within the caller's transaction.
pub(super) fn migrate(conn: &Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        conn.execute_batch(migration)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", known())
}
