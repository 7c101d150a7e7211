//! One writer and as many readers as read at a time. Readers see the last committed batch and never wait for the writer (WAL).

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::ViewError;
use crate::options::Options;
use crate::schema;
use crate::words::Words;

/// SQL texts whose compiled form a connection keeps.
const STATEMENTS_KEPT: usize = 128;
/// A page of the file. Changes come at random places of it, so that small pages are written less.
const PAGE_BYTES: i64 = 4096;
/// Pages of the write-ahead log after which it is worked into the file: a page that changes often is then written once.
const WAL_PAGES: i64 = 16_384;
/// The log of a large transaction is brought back to this size afterwards.
const WAL_BYTES: i64 = PAGE_BYTES * WAL_PAGES;

/// The connection that writes, with what it remembers.
pub(crate) struct Writer {
    pub connection: Connection,
    pub words: Words,
}

/// Where readers come from.
enum Readers {
    /// The file, and connections that are not in use.
    File { path: PathBuf, idle: Mutex<Vec<Connection>>, options: Options },
    /// A database in memory belongs to its one connection.
    Writer,
}

pub(crate) struct Connections {
    writer: Mutex<Writer>,
    readers: Readers,
}

/// A connection to read with.
pub(crate) enum Reader<'a> {
    Own { connection: Option<Connection>, idle: &'a Mutex<Vec<Connection>>, kept: usize },
    Writer(MutexGuard<'a, Writer>),
}

impl Connections {
    /// Opens a file; one of another version, or one that is no database, is thrown away. Tells whether the tables are new.
    pub fn open(path: &Path, options: &Options) -> Result<(Self, bool), ViewError> {
        let fails = |source| ViewError::Open { path: path.display().to_string(), source };
        let (connection, is_new) = match open_current(path) {
            Ok(Some(found)) => found,
            Ok(None) => {
                remove(path)?;
                open_current(path).map_err(fails)?.ok_or_else(|| fails(rusqlite::Error::InvalidQuery))?
            }
            Err(error) if is_no_database(&error) => {
                remove(path)?;
                open_current(path).map_err(fails)?.ok_or_else(|| fails(rusqlite::Error::InvalidQuery))?
            }
            Err(error) => return Err(fails(error)),
        };
        cache(&connection, options.writer_cache_bytes).map_err(fails)?;
        let readers = Readers::File { path: path.to_owned(), idle: Mutex::new(Vec::new()), options: options.clone() };
        Ok((Self { writer: Mutex::new(Writer { connection, words: Words::default() }), readers }, is_new))
    }

    pub fn in_memory() -> Result<Self, ViewError> {
        let mut connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        schema::create(&mut connection)?;
        Ok(Self { writer: Mutex::new(Writer { connection, words: Words::default() }), readers: Readers::Writer })
    }

    /// The writer. A batch that panicked was undone by its transaction, so its lock is as good as any.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn reader(&self) -> Result<Reader<'_>, ViewError> {
        let Readers::File { path, idle, options } = &self.readers else {
            return Ok(Reader::Writer(self.writer()));
        };
        let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match waiting {
            Some(connection) => connection,
            None => open_reader(path, options)?,
        };
        Ok(Reader::Own { connection: Some(connection), idle, kept: options.idle_readers })
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Own { connection, .. } => connection.as_ref().expect("a reader gives its connection away only when it is dropped"),
            Self::Writer(writer) => &writer.connection,
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Self::Own { connection, idle, kept } = self
            && let Some(connection) = connection.take()
        {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < *kept {
                idle.push(connection);
            }
        }
    }
}

/// The file with our tables, and whether they are new; none if it holds other tables.
fn open_current(path: &Path) -> rusqlite::Result<Option<(Connection, bool)>> {
    let mut connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may take the last batches; their positions go with them, so they are read again.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    if schema::is_empty(&connection)? {
        schema::create(&mut connection)?;
        return Ok(Some((connection, true)));
    }
    Ok(schema::is_current(&connection)?.then_some((connection, false)))
}

fn open_reader(path: &Path, options: &Options) -> Result<Connection, ViewError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(Duration::from_secs(10))?;
    cache(&connection, options.reader_cache_bytes)?;
    Ok(connection)
}

/// SQLite takes a negative number as KiB.
fn cache(connection: &Connection, bytes: usize) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", -i64::try_from(bytes / 1024).unwrap_or(i64::MAX))
}

fn is_no_database(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code == Some(rusqlite::ErrorCode::NotADatabase) || code == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}

/// Removes the file with its log and its shared memory.
pub(crate) fn remove(path: &Path) -> Result<(), ViewError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ViewError::Replace { path: path.display().to_string(), source });
            }
            _ => {}
        }
    }
    Ok(())
}
