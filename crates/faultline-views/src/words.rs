//! Names that stand once: a service, an asset or a tool is a small number in every row and index.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

/// What a word names. Words of two kinds are different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    Service = 1,
    Asset = 2,
    Tool = 3,
    Family = 4,
    Vulnerability = 5,
    Person = 6,
    Rule = 7,
    /// A sorted list of tools' numbers: few differ, whatever the number of risks.
    ToolSet = 8,
}

/// The number of nobody: no word has it.
pub(crate) const NOBODY: i64 = 0;

/// The most words of a kind that the writer remembers; more and it begins afresh. About 100 bytes each.
const REMEMBERED: usize = 100_000;

/// The writer's memory of words.
#[derive(Default)]
pub(crate) struct Words {
    /// By kind, so that looking up needs no text of its own.
    known: [HashMap<Box<str>, i64>; Word::ToolSet as usize + 1],
}

impl Words {
    /// The number of a word, which it gets if it has none yet.
    pub fn number(&mut self, connection: &Connection, kind: Word, text: &str) -> rusqlite::Result<i64> {
        self.number_or(connection, kind, text, |_, _| Ok(()))
    }

    /// As [`Self::number`]; `first` sees the number of a word that is new.
    pub fn number_or(
        &mut self,
        connection: &Connection,
        kind: Word,
        text: &str,
        first: impl FnOnce(&Connection, i64) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<i64> {
        if let Some(number) = self.known[kind as usize].get(text) {
            return Ok(*number);
        }
        let number = match number_of(connection, kind, text)? {
            Some(number) => number,
            None => {
                connection.prepare_cached("INSERT INTO word (kind, text) VALUES (?, ?)")?.execute((kind as i64, text))?;
                let number = connection.last_insert_rowid();
                first(connection, number)?;
                number
            }
        };
        let known = &mut self.known[kind as usize];
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(text.into(), number);
        Ok(number)
    }

    /// The number of a person; nobody for the empty name.
    pub fn person(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<i64> {
        if name.is_empty() { Ok(NOBODY) } else { self.number(connection, Word::Person, name) }
    }

    /// Forgets all, after a transaction that gave numbers was undone.
    pub fn forget(&mut self) {
        self.known.iter_mut().for_each(HashMap::clear);
    }
}

/// The number of a word, if it has one.
pub(crate) fn number_of(connection: &Connection, kind: Word, text: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT n FROM word WHERE kind = ? AND text = ?")?;
    statement.query_row((kind as i64, text), |row| row.get(0)).optional()
}

/// The text of a word.
pub(crate) fn text_of(connection: &Connection, number: i64) -> rusqlite::Result<String> {
    connection.prepare_cached("SELECT text FROM word WHERE n = ?")?.query_row([number], |row| row.get(0))
}
