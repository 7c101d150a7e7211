//! What was published of a unit, and what becomes of it when the unit yields something else.

use std::collections::BTreeMap;

use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::risk::{self, Risk, id_of};
use faultline_model::time::Timestamp;
use faultline_model::topic::RISKS;
use serde::{Deserialize, Serialize};

use super::tables::{Table, put_text, time_bytes, with_id};
use super::units::Grain;
use crate::stage::{Batch, StageError};
use crate::store::Store;

/// What was published of a unit. Every unit that has findings has a row, be it one that says nothing: so without a row the store
/// needs not be asked for findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub grain: Grain,
    /// When age will change a score of it next.
    pub due: Option<Timestamp>,
    /// The asset under which it stands among the units with several lines of scans.
    pub several: Option<Several>,
    /// Its risks, by founder.
    pub said: Vec<Said>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Several {
    #[serde(with = "super::raw")]
    pub asset: Id,
}

/// A risk that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    #[serde(with = "super::raw")]
    pub founder: Id,
    /// Of the record.
    #[serde(with = "super::raw")]
    pub digest: Id,
}

/// What a unit yields now.
pub struct Yield {
    pub grain: Grain,
    /// Whether it has no finding.
    pub is_empty: bool,
    pub several: Option<Several>,
    pub risks: Vec<Risk>,
}

/// Says what changed since what was published before, and only that.
pub fn publish(
    batch: &mut Batch<'_>,
    service: &str,
    unit: Id,
    key: Vec<u8>,
    before: Option<Published>,
    now: Yield,
) -> Result<(), StageError> {
    let due = now.risks.iter().filter_map(|risk| risk.score.changes_at).min();
    let mut left: BTreeMap<Id, Id> = before.iter().flat_map(|row| &row.said).map(|said| (said.founder, said.digest)).collect();
    let mut said = Vec::with_capacity(now.risks.len());
    for risk in now.risks {
        let (id, founder) = (risk.risk, risk.founder);
        let value = avro::encode(risk)?;
        let digest = digest(&value);
        if left.remove(&founder) != Some(digest) {
            batch.emit_encoded(RISKS, risk::key(service, id), value);
        }
        said.push(Said { founder, digest });
    }
    for founder in left.into_keys() {
        batch.emit_gone(RISKS, risk::key(service, id_of(service, founder)));
    }
    said.sort_unstable_by_key(|said| said.founder);
    let is_there = !now.is_empty;
    let now = Published { grain: now.grain, due, several: now.several, said };
    if before.as_ref() != is_there.then_some(&now) {
        replace(batch, service, unit, key, before.as_ref(), is_there.then_some(now))?;
    }
    Ok(())
}

/// A unit that is looked at later has a row until then.
pub fn put_off(batch: &mut Batch<'_>, service: &str, grain: &Grain) -> Result<(), StageError> {
    let key = Table::Published.at(service, grain.id());
    if batch.state.get(&key)?.is_none() {
        let row = Published { grain: grain.clone(), due: None, several: None, said: Vec::new() };
        batch.state.put(key.as_slice(), Table::Published.row(&key, &row)?);
    }
    Ok(())
}

fn digest(value: &[u8]) -> Id {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(value).as_bytes()[..16]);
    Id(short)
}

/// A founder leaves its unit: what was said of its risk goes with it, or is taken back where it is nowhere any more.
///
/// So what was said of a risk always stands at the unit where its founder is, whenever that unit is looked at again.
pub fn founder_left(batch: &mut Batch<'_>, service: &str, founder: Id, from: Id, to: Option<&Grain>) -> Result<(), StageError> {
    let key = Table::Published.at(service, from);
    let Some(mut left) = Table::Published.get::<Published>(&batch.state, &key)? else { return Ok(()) };
    let Some(at) = left.said.iter().position(|said| said.founder == founder) else { return Ok(()) };
    let said = left.said.remove(at);
    let row = Table::Published.row(&key, &left)?;
    batch.state.put(key, row);
    let Some(grain) = to else {
        batch.emit_gone(RISKS, risk::key(service, id_of(service, founder)));
        return Ok(());
    };
    let key = Table::Published.at(service, grain.id());
    let row: Option<Published> = Table::Published.get(&batch.state, &key)?;
    let mut row = row.unwrap_or_else(|| Published { grain: grain.clone(), due: None, several: None, said: Vec::new() });
    row.said.push(said);
    row.said.sort_unstable_by_key(|said| said.founder);
    let row = Table::Published.row(&key, &row)?;
    batch.state.put(key, row);
    Ok(())
}

fn replace(
    batch: &mut Batch<'_>,
    service: &str,
    unit: Id,
    key: Vec<u8>,
    before: Option<&Published>,
    now: Option<Published>,
) -> Result<(), StageError> {
    let (due_before, due_now) = (before.and_then(|row| row.due), now.as_ref().and_then(|row| row.due));
    if due_before != due_now {
        if let Some(due) = due_before {
            batch.state.delete(timer_key(due, service, unit));
        }
        if let Some(due) = due_now {
            batch.state.put(timer_key(due, service, unit), Vec::new());
        }
    }
    let (several_before, several_now) = (before.and_then(|row| row.several), now.as_ref().and_then(|row| row.several));
    if several_before != several_now {
        let key = |several: Several| with_id(Table::Several.at(service, several.asset), unit);
        if let Some(several) = several_before {
            batch.state.delete(key(several));
        }
        if let Some(several) = several_now {
            batch.state.put(key(several), Vec::new());
        }
    }
    match now {
        Some(now) => {
            let row = Table::Published.row(&key, &now)?;
            batch.state.put(key, row);
        }
        None => batch.state.delete(key),
    }
    Ok(())
}

/// The key of a unit's timer.
pub fn timer_key(due: Timestamp, service: &str, unit: Id) -> Vec<u8> {
    let mut key = Table::Timers.all();
    key.extend(time_bytes(due));
    put_text(&mut key, service);
    with_id(key, unit)
}
