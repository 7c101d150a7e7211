//! Records into rows: one transaction a batch, positions included.

mod catalog;
mod moments;
mod outcomes;
mod register;
mod risks;
mod slim;
mod told;
mod tracked;

use std::collections::BTreeMap;

use faultline_model::avro::{self, TopicValue};
use faultline_model::topic;
use rusqlite::Connection;

use crate::connections::Writer;
use crate::error::ViewError;
use crate::options::{Bodies, Options};
use crate::views::Positions;
use crate::words::Words;

pub(crate) use moments::applied_at;
pub(crate) use risks::HIGHEST;
pub(crate) use tracked::shelf;

/// The most unreadable records that an apply names; it counts them all.
const UNREADABLE_NAMED: usize = 20;

/// A record of a topic, as a log has it.
#[derive(Clone, Copy, Debug)]
pub struct ViewRecord<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
    pub key: &'a [u8],
    /// `None` if the key went.
    pub value: Option<&'a [u8]>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that are in the views now.
    pub applied: u64,
    /// Records that were applied before.
    pub repeated: u64,
    /// Records that are none of ours or cannot be read. They are passed over: a bad record blocks nobody.
    pub unreadable: u64,
    /// The first of them.
    pub named: Vec<Unreadable>,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub reason: String,
}

/// What stops a record, or the batch.
enum Fault {
    Record(String),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    fn record(reason: impl std::fmt::Display) -> Self {
        Self::Record(reason.to_string())
    }
}

/// A batch in work.
struct Work<'a> {
    connection: &'a Connection,
    words: &'a mut Words,
    /// Whether bodies of risks and findings are stored here.
    holds_bodies: bool,
    /// Changes of `tally`, written at the end.
    tallies: BTreeMap<risks::TallyKey, risks::Tally>,
}

/// The next offset to read of each topic and partition.
pub(crate) fn positions(connection: &Connection) -> Result<Positions, ViewError> {
    let mut statement = connection.prepare_cached("SELECT topic, part, next FROM position")?;
    let rows = statement.query_map([], |row| {
        let next: i64 = row.get(2)?;
        Ok(((row.get(0)?, row.get(1)?), next as u64))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn apply(writer: &mut Writer, options: &Options, batch: &[ViewRecord<'_>]) -> Result<Applied, ViewError> {
    let Writer { connection, words } = writer;
    let transaction = connection.transaction()?;
    let holds_bodies = matches!(options.bodies, Bodies::Here);
    let mut work = Work { connection: &transaction, words, holds_bodies, tallies: BTreeMap::new() };
    let applied = work.batch(batch).and_then(|applied| {
        outcomes::prune(&transaction, options)?;
        told::prune(&transaction, options)?;
        moments::prune(&transaction)?;
        Ok(applied)
    });
    let applied = applied.and_then(|applied| {
        transaction.commit()?;
        Ok(applied)
    });
    if applied.is_err() {
        // Words that were given numbers in this transaction have none now.
        words.forget();
    }
    applied
}

impl Work<'_> {
    fn batch(&mut self, batch: &[ViewRecord<'_>]) -> Result<Applied, ViewError> {
        let mut applied = Applied::default();
        let before = positions(self.connection)?;
        let mut positions = before.clone();
        for part in batch.chunk_by(|one, next| (one.topic, one.partition) == (next.topic, next.partition)) {
            let next = positions.entry((part[0].topic.to_owned(), part[0].partition)).or_insert(0);
            for record in part {
                if record.offset < *next {
                    applied.repeated += 1;
                    continue;
                }
                *next = record.offset + 1;
                match self.record(record) {
                    Ok(()) => applied.applied += 1,
                    Err(Fault::Database(error)) => return Err(error.into()),
                    Err(Fault::Record(reason)) => applied.passes_over(record, reason),
                }
            }
        }
        self.store_tallies()?;
        self.store_positions(&positions)?;
        moments::store(self.connection, &before, &positions)?;
        Ok(applied)
    }

    fn record(&mut self, record: &ViewRecord<'_>) -> Result<(), Fault> {
        let key = std::str::from_utf8(record.key).map_err(|_| Fault::record("the key is no UTF-8"))?;
        match topic::Topic::named(record.topic) {
            Some(topic::RISKS) => self.risk(key, record.value),
            Some(topic::TRACKED) => self.tracked(key, record.value),
            Some(topic::CATALOG) => self.catalog(key, record.value),
            Some(topic::RISK_REGISTRY) => self.entry(key, record.value),
            Some(topic::NOTICES) => self.notice(record.value),
            Some(topic::DELIVERIES) => self.delivery(record.value),
            Some(topic::OUTCOMES) => self.outcome(key, record),
            _ => Err(Fault::record("the views are not made of this topic")),
        }
    }

    fn store_positions(&self, positions: &Positions) -> Result<(), ViewError> {
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO position (topic, part, next) VALUES (?, ?, ?)")?;
        for ((topic, partition), next) in positions {
            statement.execute((topic, partition, *next as i64))?;
        }
        Ok(())
    }
}

impl Applied {
    fn passes_over(&mut self, record: &ViewRecord<'_>, reason: String) {
        self.unreadable += 1;
        if self.named.len() < UNREADABLE_NAMED {
            self.named.push(Unreadable { topic: record.topic.to_owned(), partition: record.partition, offset: record.offset, reason });
        }
    }
}

fn decoded<T: TopicValue>(value: &[u8]) -> Result<T, Fault> {
    avro::decode(value).map_err(Fault::record)
}
