//! The stage: risks, register entries and what became of attempts in; notices out.

use std::ops::ControlFlow;

use faultline_model::id::Id;
use faultline_model::notice::{Delivery, DeliveryStatus, Notice, NoticeKind};
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{self, Risk, RiskState};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, DELIVERIES, NOTICES, RISK_REGISTRY, RISKS, Topic};

use super::happened::{excepted, is_verified, kind_of, verified};
use super::placed;
use super::rows::{Due, ROW_VERSION, Stood, Table, Waits, outbox, read_place, read_timer, ready, timer};
use crate::row::{StageTable, keys};
use crate::stage::{Batch, Formats, Input, Pending, Stage, StageError};
use crate::store::Store;

/// What is older than this when a task first looks is nobody's news.
const NEWS_MS: i64 = 60 * 60 * 1000;
/// How long a notice that is not tried again is kept, where nothing else is said: 30 days.
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The row of a risk that is verified and was never open: that of others is empty.
const ACCEPTED: [u8; 1] = [1];
/// Rows that a slice works on before it looks at its budget.
const AT_ONCE: usize = 256;

/// Somebody who is told, as far as it matters which notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Lower-case letters, digits and `-`.
    pub name: String,
    /// Nothing else is told.
    pub kinds: Vec<NoticeKind>,
    /// Units of the organisation, or `service/<id>`: what happens there. Empty for everywhere.
    pub within: Vec<String>,
    /// Nothing below is told.
    pub score_at_least: i32,
}

/// notify: who is to be told what happened?
#[derive(Clone, Debug)]
pub struct Notify {
    pub destinations: Vec<Destination>,
    /// How long a notice that is not tried again is kept.
    pub kept_ms: i64,
}

impl Default for Notify {
    fn default() -> Self {
        Self { destinations: Vec::new(), kept_ms: KEPT_MS }
    }
}

impl Stage for Notify {
    const NAME: &'static str = "notify";
    const INPUTS: &'static [Topic] = &[RISKS, RISK_REGISTRY, DELIVERIES];
    const GLOBALS: &'static [Topic] = &[CATALOG];
    const FORMATS: Formats = Formats::only(ROW_VERSION as u16);
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        begun(batch)?;
        match input.topic {
            // Units are looked up when something happens: what was said is not said anew as the organisation changes.
            CATALOG => Ok(()),
            RISKS => self.risk(batch, input),
            RISK_REGISTRY => self.entry(batch, input),
            _ => self.delivery(batch, input),
        }
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending, StageError> {
        let end = batch.bytes() + budget_bytes;
        begun(batch)?;
        loop {
            let is_any = self.forget_unknown(batch)? | fire(batch)?;
            if !is_any {
                return Ok(Pending::None);
            }
            if batch.bytes() >= end {
                return Ok(Pending::Some);
            }
        }
    }

    fn next_due(&self, state: &dyn Store) -> Result<Option<Timestamp>, StageError> {
        let first = keys(state, &Table::Timers.all(), &Table::Timers.all(), 1)?.pop();
        first.map(|key| Ok(read_timer(&key)?.0)).transpose()
    }
}

impl Notify {
    fn risk(&self, batch: &mut Batch<'_>, input: &Input<'_>) -> Result<(), StageError> {
        let risk = input.record::<Risk>()?;
        let key = Table::Verified.of(input.key.as_bytes());
        let before = batch.state.get(&key)?;
        let Some(risk) = risk.filter(is_verified) else {
            if before.is_some() {
                batch.state.delete(key);
            }
            return Ok(());
        };
        let was_open = match &before {
            Some(row) => row.is_empty(),
            None => was_open_as_another(batch, &risk)?,
        };
        // One that is accepted as soon as it is there is news once it is not accepted any more.
        let now = if was_open || risk.state == RiskState::Open { Vec::new() } else { ACCEPTED.to_vec() };
        if before.as_ref() != Some(&now) {
            batch.state.put(key, now);
        }
        if risk.state == RiskState::Open && !was_open && is_news(batch, input)? {
            self.say(batch, verified(input.key, &risk, input.time))?;
        }
        Ok(())
    }

    fn entry(&self, batch: &mut Batch<'_>, input: &Input<'_>) -> Result<(), StageError> {
        let id: Id = input.key.parse().map_err(|_| StageError::poison(format!("{:?} is no key of {}", input.key, input.topic.name)))?;
        let key = Table::Entries.of(&id.0);
        let Some(entry) = input.record::<RegisterEntry>()? else {
            batch.state.delete(key);
            return Ok(());
        };
        let now = Stood { stage: entry.stage, version: entry.version };
        let before: Option<Stood> = Table::Entries.get(&batch.state, &key)?;
        if before == Some(now) {
            return Ok(());
        }
        let row = Table::Entries.row(&key, &now)?;
        batch.state.put(key, row);
        let is_same_standing = before.is_some_and(|before| before.stage == now.stage);
        match kind_of(&entry).filter(|_| !is_same_standing) {
            Some(kind) if is_news(batch, input)? => self.say(batch, excepted(input.key, &entry, kind, input.time)),
            _ => Ok(()),
        }
    }

    /// Says a notice, and puts it into the outbox of each destination that is to be told.
    fn say(&self, batch: &mut Batch<'_>, notice: Notice) -> Result<(), StageError> {
        let places = placed::places(batch, &notice.within)?;
        let to = self.destinations.iter().filter(|destination| destination.is_told(&notice, &places));
        let notice = Notice { to: to.map(|destination| destination.name.clone()).collect(), ..notice };
        for name in &notice.to {
            let key = outbox(name, notice.id);
            // The same again is nobody's news.
            if batch.state.get(&key)?.is_some() {
                continue;
            }
            let due = Due { notice: notice.clone(), attempts: 0, standing: Waits::Ready, reason: String::new() };
            put(batch, name, None, &due)?;
        }
        batch.emit(NOTICES, notice.id.to_string(), notice)
    }

    /// What became of an attempt. One that is not of the row that is there says nothing: it is told again, or late.
    fn delivery(&self, batch: &mut Batch<'_>, input: &Input<'_>) -> Result<(), StageError> {
        let Some(delivery) = input.record::<Delivery>()? else { return Ok(()) };
        let Delivery { notice, destination, attempt, status, reason, at, again_at } = delivery;
        let key = outbox(&destination, notice);
        let Some(before) = Table::Outbox.get::<Due>(&batch.state, &key)? else { return Ok(()) };
        if input.key != before.notice.delivery_key(&destination) {
            return Err(StageError::poison(format!("what became of notice {notice} lies under the key {:?}", input.key)));
        }
        if attempt != before.attempts.saturating_add(1) || before.standing != Waits::Ready {
            return Ok(());
        }
        let standing = match (status, again_at) {
            (DeliveryStatus::Delivered, _) => {
                forget(batch, &destination, &before);
                return Ok(());
            }
            (DeliveryStatus::Failed, Some(again_at)) => Waits::Until(again_at),
            (DeliveryStatus::Failed, None) => Waits::Until(at),
            (DeliveryStatus::GivenUp, _) => Waits::Forgotten(Timestamp::from_millis(batch.now.millis().saturating_add(self.kept_ms))),
        };
        let now = Due { attempts: attempt, standing, reason, ..before.clone() };
        put(batch, &destination, Some(&before), &now)
    }

    /// What nobody here has told for long, and is no destination any more, goes; whether there was any.
    fn forget_unknown(&self, batch: &mut Batch<'_>) -> Result<bool, StageError> {
        let all = Table::Ready.all();
        let (mut from, mut left) = (all.clone(), AT_ONCE);
        while let Some(key) = keys(&batch.state, &all, &from, 1)?.pop() {
            let (destination, notice) = read_place(&key).ok_or_else(|| Table::Ready.corrupt(&key, "no notice"))?;
            let row: Option<Due> = Table::Outbox.get(&batch.state, &outbox(destination, notice))?;
            let due = row.ok_or_else(|| Table::Ready.corrupt(&key, "ready, and not in the outbox"))?;
            // Processes of one installation may have other files for a while.
            let is_old = due.notice.at.millis() < batch.now.millis().saturating_sub(self.kept_ms);
            if self.knows(destination) || !is_old {
                // Behind all of its own: they are in the order of their times.
                from = Table::Ready.to(destination);
                from.pop();
                from.push(1);
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            forget(batch, destination, &due);
            let delivery = Delivery {
                notice,
                destination: destination.to_owned(),
                attempt: due.attempts.saturating_add(1),
                status: DeliveryStatus::GivenUp,
                reason: "it is no destination any more".to_owned(),
                at: batch.now,
                again_at: None,
            };
            batch.emit(DELIVERIES, due.notice.delivery_key(destination), delivery)?;
        }
        Ok(left < AT_ONCE)
    }

    fn knows(&self, destination: &str) -> bool {
        self.destinations.iter().any(|known| known.name == destination)
    }
}

impl Destination {
    fn is_told(&self, notice: &Notice, places: &[String]) -> bool {
        let is_within = self.within.is_empty() || places.iter().any(|place| self.within.contains(place));
        self.kinds.contains(&notice.kind) && notice.score >= self.score_at_least && is_within
    }
}

/// What waited is ready, or forgotten; whether there was any.
fn fire(batch: &mut Batch<'_>) -> Result<bool, StageError> {
    let mut due = Vec::new();
    let all = Table::Timers.all();
    batch.state.scan(&all, &all, &mut |key, _| {
        // One that cannot be read is for below to say.
        if due.len() >= AT_ONCE || read_timer(key).is_ok_and(|(at, ..)| at > batch.now) {
            return ControlFlow::Break(());
        }
        due.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in &due {
        let (_, destination, notice) = read_timer(key)?;
        let row: Option<Due> = Table::Outbox.get(&batch.state, &outbox(destination, notice))?;
        let before = row.ok_or_else(|| Table::Timers.corrupt(key, "of no notice in the outbox"))?;
        match before.standing {
            Waits::Until(_) => put(batch, destination, Some(&before), &Due { standing: Waits::Ready, ..before.clone() })?,
            _ => forget(batch, destination, &before),
        }
    }
    Ok(!due.is_empty())
}

/// Whether a risk that has no row is one that had: its founder is another one, and it is known by the ids that it had.
fn was_open_as_another(batch: &Batch<'_>, risk: &Risk) -> Result<bool, StageError> {
    for id in &risk.also {
        let row = batch.state.get(&Table::Verified.of(risk::key(&risk.service, *id).as_bytes()))?;
        if row.is_some_and(|row| row.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When the task began to look: takes note of it where it is the first time.
fn begun(batch: &mut Batch<'_>) -> Result<Timestamp, StageError> {
    let key = Table::Begun.all();
    if let Some(begun) = Table::Begun.get(&batch.state, &key)? {
        return Ok(begun);
    }
    let row = Table::Begun.row(&key, &batch.now)?;
    batch.state.put(key, row);
    Ok(batch.now)
}

/// Whether a record came while the task was looking, or not long before.
fn is_news(batch: &mut Batch<'_>, input: &Input<'_>) -> Result<bool, StageError> {
    let begun = begun(batch)?;
    Ok(input.time.millis() >= begun.millis().saturating_sub(NEWS_MS))
}

/// Puts a row of the outbox in place of another, with what leads to it.
fn put(batch: &mut Batch<'_>, destination: &str, before: Option<&Due>, now: &Due) -> Result<(), StageError> {
    if let Some(before) = before {
        batch.state.delete(leads(destination, before));
    }
    let key = outbox(destination, now.notice.id);
    let row = Table::Outbox.row(&key, now)?;
    batch.state.put(key, row);
    batch.state.put(leads(destination, now), Vec::new());
    Ok(())
}

fn forget(batch: &mut Batch<'_>, destination: &str, due: &Due) {
    batch.state.delete(leads(destination, due));
    batch.state.delete(outbox(destination, due.notice.id));
}

/// The key that leads to a row of the outbox when something is to be done about it.
fn leads(destination: &str, due: &Due) -> Vec<u8> {
    match due.standing {
        Waits::Ready => ready(destination, &due.notice),
        Waits::Until(at) | Waits::Forgotten(at) => timer(at, destination, due.notice.id),
    }
}
