//! The tables, and their version: another version throws the file away, and the topics fill it again.
//!
//! `risk` and `finding` hold what is filtered and sorted by, in small rows; bodies stand apart. Each list has one covering index, in the
//! list's order, with every column that is filtered by: a page reads that index alone and fetches bodies by rowid. Names of services,
//! assets, tools, vulnerabilities and people stand once, in `word`.

use rusqlite::{Connection, ErrorCode};

/// Raised with every change of a table's meaning.
pub(crate) const VERSION: i64 = 7;

pub(crate) const TABLES: &str = "
CREATE TABLE position (topic TEXT NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, part)) WITHOUT ROWID;
-- When offsets from `first` to below `next` were applied; the newest batches.
CREATE TABLE applied (
    n INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, part INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX applied_place ON applied (topic, part, next);
CREATE TABLE word (n INTEGER PRIMARY KEY, kind INTEGER NOT NULL, text TEXT NOT NULL);
CREATE UNIQUE INDEX word_text ON word (kind, text);
CREATE TABLE tool_of_set (tool INTEGER NOT NULL, tools INTEGER NOT NULL, PRIMARY KEY (tool, tools)) WITHOUT ROWID;

CREATE TABLE risk (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL, service INTEGER NOT NULL, state INTEGER NOT NULL,
    rank INTEGER NOT NULL, -- 1000 less the score, so that everything sorts upwards
    band INTEGER NOT NULL, evidence INTEGER NOT NULL, family INTEGER NOT NULL, asset INTEGER NOT NULL, assigned INTEGER NOT NULL,
    kinds INTEGER NOT NULL, tools INTEGER NOT NULL, first_seen INTEGER NOT NULL,
    title TEXT NOT NULL,
    vulnerabilities BLOB NOT NULL, -- numbers of words, as they stand in risk_vulnerability
    names BLOB NOT NULL, -- ids, as they stand in risk_name
    exceptions BLOB NOT NULL -- ids, as they stand in risk_exception
);
CREATE UNIQUE INDEX risk_id ON risk (id);
CREATE TABLE risk_body (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE risk_vulnerability (vulnerability INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (vulnerability, n)) WITHOUT ROWID;
-- Other ids that lead to a risk: those in `also`, and its findings but the founder.
CREATE TABLE risk_name (id BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (id, n)) WITHOUT ROWID;
-- Exceptions that a risk names, whether they hold or not.
CREATE TABLE risk_exception (exception BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (exception, n)) WITHOUT ROWID;
CREATE TABLE tally (
    service INTEGER NOT NULL, state INTEGER NOT NULL, band INTEGER NOT NULL, evidence INTEGER NOT NULL,
    risks INTEGER NOT NULL, loss INTEGER NOT NULL, PRIMARY KEY (service, state, band, evidence)
) WITHOUT ROWID;

CREATE TABLE finding (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL, service INTEGER NOT NULL,
    shelf INTEGER NOT NULL, -- 0 at its owner, 1 a preview at its owner, 2 and 3 the same at a user
    state INTEGER NOT NULL,
    rank INTEGER NOT NULL, -- 4 less the severity
    tool INTEGER NOT NULL, kind INTEGER NOT NULL, rule INTEGER NOT NULL, asset INTEGER NOT NULL, verdict INTEGER NOT NULL,
    assigned INTEGER NOT NULL, first_seen INTEGER NOT NULL,
    title TEXT NOT NULL
);
CREATE UNIQUE INDEX finding_id ON finding (id, service);
CREATE TABLE finding_body (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE line (id BLOB NOT NULL, service INTEGER NOT NULL, last_seen INTEGER, body BLOB NOT NULL, PRIMARY KEY (id, service)) WITHOUT ROWID;
CREATE TABLE scan (id BLOB NOT NULL, line BLOB NOT NULL, service INTEGER NOT NULL, PRIMARY KEY (id, line, service)) WITHOUT ROWID;
CREATE TABLE route (id BLOB NOT NULL, service INTEGER NOT NULL, is_visit INTEGER NOT NULL, PRIMARY KEY (id, service)) WITHOUT ROWID;
CREATE INDEX route_service ON route (service, is_visit);

CREATE TABLE entry (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL, stage INTEGER NOT NULL,
    rank INTEGER NOT NULL, -- when it ends, in ms
    watch INTEGER NOT NULL, -- a bit for each reason to look at it that does not depend on the time
    review INTEGER NOT NULL, -- when it is to be looked at again, in ms, if it holds
    body BLOB NOT NULL -- always here: an organisation has few of them
);
CREATE UNIQUE INDEX entry_id ON entry (id);
-- Names of the organisation that an entry's scope is restricted to; none for one that is everywhere.
CREATE TABLE entry_within (entry INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (entry, name)) WITHOUT ROWID;

CREATE TABLE outcome (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,
    part INTEGER NOT NULL, offset INTEGER NOT NULL, -- where its record stands
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX outcome_id ON outcome (id);
-- Who was to be told which notice, and what became of it: of one that was not tried yet, or whose notice is not here yet, a part.
CREATE TABLE told (
    n INTEGER PRIMARY KEY AUTOINCREMENT, notice BLOB NOT NULL, destination TEXT NOT NULL,
    at INTEGER, -- of the notice
    attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, reason TEXT, tried INTEGER, again INTEGER
);
CREATE UNIQUE INDEX told_notice ON told (notice, destination);
CREATE INDEX told_destination ON told (destination, status, tried, at);
CREATE TABLE catalog (key TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
-- Names that the catalog's services stand below: the nodes above each, and `service/<id>` for itself.
CREATE TABLE service_of_node (node TEXT NOT NULL, service INTEGER NOT NULL, PRIMARY KEY (node, service)) WITHOUT ROWID;
CREATE INDEX service_of_node_service ON service_of_node (service);
-- The catalog's nodes and what each stands directly below; null at the top, so that no name has all of these below it.
CREATE TABLE node_parent (node TEXT NOT NULL PRIMARY KEY, parent TEXT) WITHOUT ROWID;
CREATE INDEX node_parent_parent ON node_parent (parent);
";

/// The indexes of lists and filters. A first fill goes without them and builds them at its end, which is several times faster.
pub(crate) const INDEXES: &[(&str, &str)] = &[
    (
        "risk_list",
        "CREATE INDEX risk_list ON risk (state, rank, id, band, evidence, family, service, asset, assigned, kinds, tools, first_seen)",
    ),
    ("risk_service", "CREATE INDEX risk_service ON risk (service)"),
    ("risk_asset", "CREATE INDEX risk_asset ON risk (asset)"),
    ("risk_assigned", "CREATE INDEX risk_assigned ON risk (assigned) WHERE assigned <> 0"),
    (
        "finding_list",
        "CREATE INDEX finding_list ON finding (shelf, state, rank, id, service, tool, kind, rule, asset, verdict, assigned, first_seen)",
    ),
    ("finding_service", "CREATE INDEX finding_service ON finding (service)"),
    ("finding_asset", "CREATE INDEX finding_asset ON finding (asset)"),
    ("finding_rule", "CREATE INDEX finding_rule ON finding (rule)"),
    ("finding_assigned", "CREATE INDEX finding_assigned ON finding (assigned) WHERE assigned <> 0"),
    ("entry_list", "CREATE INDEX entry_list ON entry (stage, rank, id, watch, review)"),
];

/// Whether a file holds these tables, in this version.
pub(crate) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version == VERSION)
}

/// Whether the file is new.
pub(crate) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// Makes all tables, as one.
pub(crate) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Makes the indexes that are missing.
///
/// What the writer's cache does not hold of an index is sorted in temporary files: in memory a first fill of millions would take
/// hundreds of megabytes. Where the system has no room for such files, memory it is.
pub(crate) fn create_indexes(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "file")?;
    let made = make_indexes(connection);
    connection.pragma_update(None, "temp_store", "memory")?;
    if made.as_ref().is_err_and(has_no_room) { make_indexes(connection) } else { made }
}

fn has_no_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull))
}

fn make_indexes(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (name, sql) in INDEXES {
        let known: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?", [name], |row| row.get(0))?;
        if known == 0 {
            transaction.execute(sql, [])?;
        }
    }
    transaction.commit()
}

/// Removes all tables.
pub(crate) fn drop_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    names.iter().try_for_each(|name| connection.execute_batch(&format!("DROP TABLE {name}")))
}
