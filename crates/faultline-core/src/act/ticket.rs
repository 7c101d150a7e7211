//! The ticket that a fix should have: what its services' shares ask for together, in which queue, and what is left where it was before.

use std::collections::BTreeSet;

use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::share::{Rating, Share};
use faultline_model::ticket::{self, MovedTicket, OTHERS_NAMED, TicketRecord, WantedTicket};
use faultline_model::time::Timestamp;
use faultline_model::topic::TICKETS_DESIRED;
use serde::{Deserialize, Serialize};

use super::covered;
use super::rows::{Alarm, Table, timer};
use crate::row::{StageTable, digest, is_any, keys, pairs, take_time, time_bytes};
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

/// A ticket that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    queue: String,
    /// Of the record that was said last.
    #[serde(with = "crate::row::raw")]
    said: Id,
    /// When it will be wanted no more, unless somebody asks for it until then.
    ends: Option<Timestamp>,
}

/// How long things wait.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// A risk that moves to another service is nowhere for a moment: so long its ticket stays.
    pub empty_ms: i64,
    /// So long it is said where a ticket went.
    pub moved_ms: i64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { empty_ms: 60_000, moved_ms: 60 * 60 * 1000 }
    }
}

/// Whether anybody asks for the ticket of a fix, or did a moment ago.
pub fn is_known(state: &dyn Store, fix: Id) -> Result<bool, StoreError> {
    Ok(state.get(&Table::Tickets.of(fix))?.is_some() || is_any(state, &Table::Claims.of(fix))?)
}

/// Takes a share over, or that there is none any more.
pub fn replace(batch: &mut Batch<'_>, fix: Id, before: Option<&Share>, service: &str, now: Option<Share>) -> Result<(), StageError> {
    if let Some(before) = before.and_then(|share| share.fix.as_ref()) {
        batch.state.delete(claim_key(fix, !before.is_owner, before.first_seen, service));
    }
    if let Some(now) = now.as_ref().and_then(|share| share.fix.as_ref()) {
        batch.state.put(claim_key(fix, !now.is_owner, now.first_seen, service), now.queue.as_bytes());
    }
    covered::replace(batch, fix, service, now)
}

/// Says what differs from what was said of a fix's ticket, and when to look at it again.
pub fn settle(batch: &mut Batch<'_>, fix: Id, waits: &Waits) -> Result<(), StageError> {
    let at = Table::Tickets.of(fix);
    let before: Option<Row> = Table::Tickets.get(&batch.state, &at)?;
    let claim = first_claim(&batch.state, fix)?;
    let now = match (claim, &before) {
        (None, None) => None,
        (None, Some(row)) => {
            let ends = row.ends.unwrap_or_else(|| later(batch.now, waits.empty_ms));
            if ends <= batch.now {
                batch.emit_gone(TICKETS_DESIRED, ticket::key(&row.queue, fix));
                None
            } else {
                Some(Row { ends: Some(ends), ..row.clone() })
            }
        }
        (Some((first_seen, queue)), _) => {
            if let Some(row) = before.as_ref().filter(|row| row.queue != queue) {
                leave(batch, fix, &row.queue, &queue, waits)?;
            }
            let left = Table::Left.at(fix, &queue);
            if let Some(until) = Table::Left.get::<Timestamp>(&batch.state, &left)? {
                batch.state.delete(timer(until, fix, &Alarm::Left(queue.clone())));
                batch.state.delete(left);
            }
            let key = ticket::key(&queue, fix);
            let record = avro::encode(TicketRecord::Wanted(wanted(&batch.state, fix, queue.clone(), first_seen)?))?;
            let said = digest(&record);
            if before.as_ref().is_none_or(|row| (row.said, &row.queue) != (said, &queue)) {
                batch.emit_encoded(TICKETS_DESIRED, key, record);
            }
            Some(Row { queue, said, ends: None })
        }
    };
    if now == before {
        return Ok(());
    }
    let ends = |row: &Option<Row>| row.as_ref().and_then(|row| row.ends);
    if ends(&before) != ends(&now) {
        if let Some(ends) = ends(&before) {
            batch.state.delete(timer(ends, fix, &Alarm::Ticket));
        }
        if let Some(ends) = ends(&now) {
            batch.state.put(timer(ends, fix, &Alarm::Ticket), Vec::new());
        }
    }
    match now {
        Some(row) => {
            let row = Table::Tickets.row(&at, &row)?;
            batch.state.put(at, row);
        }
        None => batch.state.delete(at),
    }
    Ok(())
}

/// The time has come at which it is said no more that a ticket left a queue; the timer itself is gone.
pub fn forget_left(batch: &mut Batch<'_>, fix: Id, queue: &str) {
    batch.state.delete(Table::Left.at(fix, queue));
    batch.emit_gone(TICKETS_DESIRED, ticket::key(queue, fix));
}

/// A ticket goes from one queue to another.
fn leave(batch: &mut Batch<'_>, fix: Id, from: &str, to: &str, waits: &Waits) -> Result<(), StageError> {
    batch.emit(TICKETS_DESIRED, ticket::key(from, fix), TicketRecord::Moved(MovedTicket { fix, to: to.to_owned() }))?;
    let until = later(batch.now, waits.moved_ms);
    let left = Table::Left.at(fix, from);
    let row = Table::Left.row(&left, &until)?;
    batch.state.put(left, row);
    batch.state.put(timer(until, fix, &Alarm::Left(from.to_owned())), Vec::new());
    Ok(())
}

fn wanted(state: &dyn Store, fix: Id, queue: String, first_seen: Timestamp) -> Result<WantedTicket, StageError> {
    let below = Table::Left.of(fix);
    let left = keys(state, &below, &below, usize::MAX)?;
    let moved_from = left.iter().filter_map(|key| String::from_utf8(key[below.len()..].to_vec()).ok()).collect();
    let leading = covered::leading(state, fix, 0)?;
    let mut also: BTreeSet<Id> = leading.iter().flat_map(|share| share.fix.iter().flat_map(|fix| fix.also.iter().copied())).collect();
    also.remove(&fix);
    let first = covered::first_of(&leading);
    // The first by score: all that is said beside the counts is of the risk that leads.
    let share = leading.into_iter().next().ok_or_else(|| Table::Claims.corrupt(&Table::Claims.of(fix), "a claim without a share"))?;
    let Some(repair) = share.fix else { return Err(Table::Shares.corrupt(&Table::Shares.of(fix), "no share of a fix").into()) };
    let sums = covered::sums(state, fix)?;
    let band = share.rating.map_or(Severity::Info, |Rating { band, .. }| band);
    Ok(WantedTicket {
        fix,
        queue,
        moved_from,
        also: also.into_iter().take(OTHERS_NAMED).collect(),
        kind: repair.kind,
        what: repair.what,
        guidance: repair.guidance,
        fixed_versions: repair.fixed_versions,
        score: share.highest,
        band,
        due: repair.due,
        risks: sums.risks,
        services: sums.services,
        first_seen,
        first,
    })
}

/// The claim that comes before all others: of who owns what is changed, then the earliest. With the queue that it is for.
fn first_claim(state: &dyn Store, fix: Id) -> Result<Option<(Timestamp, String)>, StoreError> {
    let below = Table::Claims.of(fix);
    let Some((key, queue)) = pairs(state, &below, &below, 1)?.pop() else { return Ok(None) };
    let parsed = || Some((take_time(key.get(below.len() + 1..)?)?.0, String::from_utf8(queue).ok()?));
    parsed().map(Some).ok_or_else(|| Table::Claims.corrupt(&key, "no claim"))
}

fn claim_key(fix: Id, is_used: bool, first_seen: Timestamp, service: &str) -> Vec<u8> {
    let mut key = Table::Claims.of(fix);
    key.push(u8::from(is_used));
    key.extend(time_bytes(first_seen));
    key.extend(service.as_bytes());
    key
}

fn later(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_add(ms))
}
