//! Two stages of the real shape, small enough to be read: facts of assets become amounts of services, and those a sum.
//!
//! They have what the real ones have: inputs by key in two lanes and a global one, rows that are worked off in slices, timers, what is gathered for
//! the end of a batch, and records that are poison at once, too late, or at the end.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use faultline_core::stage::{Batch, Bulk, Input, Pending, Stage, StageError};
use faultline_core::store::{Store, StoreError};
use faultline_model::dead_letter::DeadLetter;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, Kept, Topic};
use faultline_stream::TopicPlan;

pub const FACTS: Topic = Topic { name: "facts", kept: Kept::ByTime, is_global: false };
pub const FACTS_BULK: Topic = Topic { name: "facts.bulk", kept: Kept::ByTime, is_global: false };
pub const VETOES: Topic = Topic { name: "vetoes", kept: Kept::ByTime, is_global: false };
pub const FACTORS: Topic = Topic { name: "factors", kept: Kept::ByKey, is_global: true };
pub const AMOUNTS: Topic = Topic { name: "amounts", kept: Kept::ByKey, is_global: false };
pub const SUMS: Topic = Topic { name: "sums", kept: Kept::ByKey, is_global: false };

pub fn plans() -> Vec<TopicPlan> {
    [FACTS, FACTS_BULK, VETOES, FACTORS, AMOUNTS, SUMS, DEAD_LETTERS].map(TopicPlan::of).to_vec()
}

/// A record that carries a number; any record type of the contract would do.
pub fn number(number: i64) -> DeadLetter {
    DeadLetter { topic: String::new(), partition: 0, offset: number, reason: String::new(), stage: String::new(), value: None }
}

const FACT: u8 = 1;
const VETO: u8 = 2;
const BY_FACTOR: u8 = 3;
const PENDING: u8 = 4;
const DUE: u8 = 5;

fn key(table: u8, parts: &[&str]) -> Vec<u8> {
    let mut key = vec![table];
    key.extend(parts.join("\u{1f}").as_bytes());
    key
}

type Row = (Vec<u8>, Vec<u8>);

fn first(state: &dyn Store, table: u8) -> Result<Option<Row>, StoreError> {
    let mut found = None;
    state.scan(&[table], &[], &mut |key, value| {
        found = Some((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A fact: `id factor amount until`. Of several with one id the greatest text holds, so that order and repetition do not matter.
pub struct Amounts;

impl Amounts {
    /// Says of a fact what now follows from its row, its vetoes, its factor and the time.
    fn say(batch: &mut Batch<'_>, asset: &str, id: &str) -> Result<(), StageError> {
        let said = format!("{}\u{1f}{asset}/{id}", asset.split('-').next().unwrap_or(asset));
        let fact = batch.state.get(&key(FACT, &[asset, id]))?.map(|row| text(&row));
        let is_vetoed = batch.state.get(&key(VETO, &[asset, id]))?.is_some();
        let Some((factor, amount, until)) = fact.as_deref().and_then(parse) else { return Ok(()) };
        if is_vetoed || until <= batch.now.millis() {
            batch.emit_gone(AMOUNTS, said);
            return Ok(());
        }
        let factor = batch.globals.get(FACTORS, factor)?.map_or(1, |value| text(&value).parse().unwrap());
        batch.emit(AMOUNTS, said, number(factor * amount))
    }
}

fn parse(fact: &str) -> Option<(&str, i64, i64)> {
    let mut words = fact.split(' ');
    let (factor, amount, until) = (words.next()?, words.next()?, words.next()?);
    Some((factor, amount.parse().ok()?, until.parse().ok()?))
}

impl Stage for Amounts {
    const NAME: &'static str = "amounts";
    const INPUTS: &'static [Topic] = &[FACTS, VETOES, FACTS_BULK];
    const GLOBALS: &'static [Topic] = &[FACTORS];
    const BULK: Option<Bulk> = Some(Bulk { topic: FACTS_BULK, said: AMOUNTS, reader: Sums::NAME });
    type Gathered = Vec<String>;

    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut Vec<String>, input: &Input<'_>) -> Result<(), StageError> {
        if input.topic == FACTORS {
            batch.state.put(key(PENDING, &[input.key]), Vec::new());
            return Ok(());
        }
        let value = input.value.map(text).ok_or_else(|| StageError::poison("no value"))?;
        let (id, fact) = value.split_once(' ').unwrap_or((&value, ""));
        if input.topic == VETOES {
            batch.state.put(key(VETO, &[input.key, id]), Vec::new());
            return Self::say(batch, input.key, id);
        }
        match id {
            "late" => {
                batch.state.put(key(FACT, &[input.key, "half"]), b"f 1000 99999999999".to_vec());
                Self::say(batch, input.key, "half")?;
            }
            "end" => gathered.push(value.clone()),
            _ => {}
        }
        let (factor, _, until) = parse(fact).ok_or_else(|| StageError::poison("no fact"))?;
        let row = key(FACT, &[input.key, id]);
        if batch.state.get(&row)?.is_none_or(|known| known.as_slice() < fact.as_bytes()) {
            batch.state.put(row, fact.as_bytes());
            batch.state.put(key(BY_FACTOR, &[factor, input.key, id]), Vec::new());
            batch.state.put(key(DUE, &[&format!("{until:020}"), input.key, id]), Vec::new());
        }
        Self::say(batch, input.key, id)
    }

    fn end(&self, _: &mut Batch<'_>, gathered: Vec<String>) -> Result<(), StageError> {
        if gathered.is_empty() { Ok(()) } else { Err(StageError::poison("found at the end")) }
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending, StageError> {
        let until = batch.bytes().saturating_add(budget_bytes);
        let now = batch.now;
        while let Some((row, _)) = first(&batch.state, DUE)?.filter(|(row, _)| due(row) <= now) {
            let row_text = text(&row[1..]);
            let mut parts = row_text.split('\u{1f}').skip(1);
            Self::say(batch, parts.next().unwrap(), parts.next().unwrap())?;
            batch.state.delete(row);
            if batch.bytes() >= until {
                return Ok(Pending::Some);
            }
        }
        while let Some((pending, cursor)) = first(&batch.state, PENDING)? {
            let prefix = [&[BY_FACTOR], &pending[1..], b"\x1f"].concat();
            let mut next = None;
            batch.state.scan(&prefix, &cursor, &mut |row, _| {
                next = Some(row.to_vec());
                ControlFlow::Break(())
            })?;
            let Some(row) = next else {
                batch.state.delete(pending);
                continue;
            };
            let row_text = text(&row[1..]);
            let mut parts = row_text.split('\u{1f}').skip(1);
            Self::say(batch, parts.next().unwrap(), parts.next().unwrap())?;
            batch.state.put(pending, [&row[..], &[0]].concat());
            if batch.bytes() >= until {
                return Ok(Pending::Some);
            }
        }
        Ok(Pending::None)
    }

    fn next_due(&self, state: &dyn Store) -> Result<Option<Timestamp>, StageError> {
        Ok(first(state, DUE)?.map(|(row, _)| due(&row)))
    }
}

fn due(row: &[u8]) -> Timestamp {
    Timestamp::from_millis(text(&row[1..]).split('\u{1f}').next().unwrap().parse().unwrap())
}

/// Sums the amounts of a service; all but one of a batch are left to slices.
pub struct Sums;

impl Sums {
    fn say(batch: &mut Batch<'_>, service: &str) -> Result<(), StageError> {
        let (mut sum, mut count) = (0, 0);
        batch.state.scan(&key(1, &[service, ""]), &[], &mut |_, value| {
            (sum, count) = (sum + text(value).parse::<i64>().unwrap(), count + 1);
            ControlFlow::Continue(())
        })?;
        if count > 0 {
            return batch.emit(SUMS, service.to_owned(), number(sum));
        }
        batch.emit_gone(SUMS, service.to_owned());
        Ok(())
    }
}

impl Stage for Sums {
    const NAME: &'static str = "sums";
    const INPUTS: &'static [Topic] = &[AMOUNTS];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = BTreeSet<String>;

    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut BTreeSet<String>, input: &Input<'_>) -> Result<(), StageError> {
        let row = key(1, &[input.key]);
        match input.record::<DeadLetter>()? {
            Some(amount) => batch.state.put(row, amount.offset.to_string().into_bytes()),
            None => batch.state.delete(row),
        }
        gathered.insert(input.key.split('\u{1f}').next().unwrap().to_owned());
        Ok(())
    }

    fn end(&self, batch: &mut Batch<'_>, gathered: BTreeSet<String>) -> Result<(), StageError> {
        for (at, service) in gathered.into_iter().enumerate() {
            if at < 1 {
                Self::say(batch, &service)?;
            } else {
                batch.state.put(key(PENDING, &[&service]), Vec::new());
            }
        }
        Ok(())
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending, StageError> {
        let until = batch.bytes().saturating_add(budget_bytes);
        while let Some((pending, _)) = first(&batch.state, PENDING)? {
            Self::say(batch, &text(&pending[1..]))?;
            batch.state.delete(pending);
            if batch.bytes() >= until {
                return Ok(Pending::Some);
            }
        }
        Ok(Pending::None)
    }
}
