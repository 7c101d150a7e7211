//! What was published of a unit, and what becomes of it when the unit yields something else.

use std::collections::BTreeMap;

use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::risk::{self, Risk, id_of};
use faultline_model::time::Timestamp;
use faultline_model::topic::RISKS;
use serde::{Deserialize, Serialize};

use super::copies;
use super::covering::{Index, shown};
use super::shares::{self, Claim, Part, Rated, Told, Touched};
use super::tables::{HEED_VERSION, RATE_VERSION, TICKET_VERSION, Table, put_text, time_bytes, with_id};
use super::units::Grain;
use crate::row::{StageTable, digest};
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    #[serde(with = "super::raw")]
    pub founder: Id,
    /// Of the record.
    #[serde(with = "super::raw")]
    pub digest: Id,
    /// What it gave to exceptions, and to the ticket of its fix.
    #[serde(skip)]
    pub parts: Vec<Part>,
}

impl Published {
    fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let table = Table::Published;
        let row = table.row(key, self)?;
        let parts = || self.said.iter().flat_map(|said| &said.parts);
        if parts().next().is_none() {
            return Ok(row);
        }
        let all: Vec<&Vec<Part>> = self.said.iter().map(|said| &said.parts).collect();
        let row = table.extended(key, row, HEED_VERSION, &all)?;
        if parts().all(|part| part.rated.is_none()) {
            return Ok(row);
        }
        let rated: Vec<Option<Rated>> = parts().map(|part| part.rated).collect();
        let row = table.extended(key, row, RATE_VERSION, &rated)?;
        if parts().all(|part| part.claim.is_none()) {
            return Ok(row);
        }
        let claims: Vec<Option<&Claim>> = parts().map(|part| part.claim.as_ref()).collect();
        table.extended(key, row, TICKET_VERSION, &claims)
    }

    pub fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&version @ (HEED_VERSION | RATE_VERSION | TICKET_VERSION), body)) = row.split_first() else {
            return Table::Published.read(key, row);
        };
        let (mut published, rest): (Self, _) = Table::Published.take(key, body)?;
        let (parts, rest): (Vec<Vec<Part>>, _) = Table::Published.take(key, rest)?;
        for (said, parts) in published.said.iter_mut().zip(parts) {
            said.parts = parts;
        }
        if version == HEED_VERSION {
            return Ok(published);
        }
        let (rated, rest): (Vec<Option<Rated>>, _) = Table::Published.take(key, rest)?;
        let claims: Vec<Option<Claim>> = if version == TICKET_VERSION { Table::Published.rest(key, rest)? } else { Vec::new() };
        let parts = published.said.iter_mut().flat_map(|said| &mut said.parts);
        for ((part, rated), claim) in parts.zip(rated).zip(claims.into_iter().chain(std::iter::repeat(None))) {
            (part.rated, part.claim) = (rated, claim);
        }
        Ok(published)
    }

    pub fn get(state: &dyn Store, key: &[u8]) -> Result<Option<Self>, StoreError> {
        state.get(key)?.map(|row| Self::read(key, &row)).transpose()
    }
}

/// What a unit yields now.
pub struct Yield {
    pub grain: Grain,
    /// Whether it has no finding.
    pub is_empty: bool,
    pub several: Option<Several>,
    pub risks: Vec<Found>,
}

/// A risk, and that it deserves a ticket if it does.
pub struct Found {
    pub risk: Risk,
    pub claim: Option<Claim>,
}

/// Says what changed since what was published before, and only that. What it changes of shares is `touched`.
pub fn publish(
    batch: &mut Batch<'_>,
    (exceptions, touched): (&Index, &mut Touched),
    service: &str,
    unit: Id,
    key: Vec<u8>,
    before: Option<Published>,
    now: Yield,
) -> Result<(), StageError> {
    let due = now.risks.iter().filter_map(|found| found.risk.score.changes_at).min();
    let is_rated = copies::rates(batch);
    let mut left: BTreeMap<Id, Said> = before.iter().flat_map(|row| &row.said).map(|said| (said.founder, said.clone())).collect();
    let mut said = Vec::with_capacity(now.risks.len());
    for Found { risk, claim } in now.risks {
        let (id, founder) = (risk.risk, risk.founder);
        let parts = shares::parts(&risk, claim, exceptions, is_rated);
        let told = Told::of(&risk, &parts);
        let value = avro::encode(shown(risk))?;
        let digest = digest(&value);
        let old = left.remove(&founder);
        if old.as_ref().map(|old| old.digest) != Some(digest) {
            batch.emit_encoded(RISKS, risk::key(service, id), value);
        }
        let old_parts = old.as_ref().map_or(&[][..], |old| &old.parts);
        // A part says nothing that the record or the grant does not: where both stand, so does what is told of it.
        if old_parts != parts || (!parts.is_empty() && old.as_ref().map(|old| old.digest) != Some(digest)) {
            shares::replace(batch, touched, service, (id, &told), old_parts, &parts)?;
        }
        said.push(Said { founder, digest, parts });
    }
    for (founder, old) in left {
        let risk = id_of(service, founder);
        batch.emit_gone(RISKS, risk::key(service, risk));
        shares::replace(batch, touched, service, (risk, &Told::default()), &old.parts, &[])?;
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
        batch.state.put(key.as_slice(), row.row(&key)?);
    }
    Ok(())
}

/// A founder leaves its unit: what was said of its risk goes with it, or is taken back where it is nowhere any more.
///
/// So what was said of a risk always stands at the unit where its founder is, whenever that unit is looked at again.
pub fn founder_left(
    batch: &mut Batch<'_>,
    touched: &mut Touched,
    service: &str,
    founder: Id,
    from: Id,
    to: Option<&Grain>,
) -> Result<(), StageError> {
    let key = Table::Published.at(service, from);
    let Some(mut left) = Published::get(&batch.state, &key)? else { return Ok(()) };
    let Some(at) = left.said.iter().position(|said| said.founder == founder) else { return Ok(()) };
    let said = left.said.remove(at);
    let row = left.row(&key)?;
    batch.state.put(key, row);
    let Some(grain) = to else {
        let risk = id_of(service, founder);
        batch.emit_gone(RISKS, risk::key(service, risk));
        return shares::replace(batch, touched, service, (risk, &Told::default()), &said.parts, &[]);
    };
    let key = Table::Published.at(service, grain.id());
    let row = Published::get(&batch.state, &key)?;
    let mut row = row.unwrap_or_else(|| Published { grain: grain.clone(), due: None, several: None, said: Vec::new() });
    row.said.push(said);
    row.said.sort_unstable_by_key(|said| said.founder);
    let row = row.row(&key)?;
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
            let row = now.row(&key)?;
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
