//! track, by asset: what is there?
//!
//! Reports come in as scans with numbered observations; what goes out is each finding as it stands now, routes, and lines of
//! scans, for each service that the catalog says. Nearly every observation repeats what is known: it costs one look-up and a mark.
//!
//! Everything published is a function of facts (which scans there are, what each saw, decisions, the catalog's places), never of
//! the order in which they came: whatever changes a fact notes which findings it may touch, and [`work_out`] works each out from
//! the facts as they are. What may touch many goes through `pending` ([`pending`]).
//!
//! The way through: [`observe`] reads records of `findings`, whichever lane they came by, [`decide`] those of `decisions`, [`places`] those of `catalog`;
//! [`line`], [`stand`] and [`timeline`] hold the rules, free of state; [`rows`] says what the tables hold and [`keys`] where.

mod codec;
mod decide;
mod desk;
mod fold;
mod keys;
pub mod line;
mod moves;
mod observe;
mod ordinals;
mod pending;
mod places;
mod publish;
mod routes;
mod rows;
mod scans;
mod stand;
mod texts;
mod timeline;
mod timers;
mod work_out;

use std::collections::BTreeMap;

use faultline_model::asset::AssetId;
use faultline_model::time::Timestamp;
use faultline_model::topic::{self, Topic};

use crate::correlate::Correlate;
use crate::stage::{Batch, Bulk, Formats, Input, Pending, Stage, StageError};
use crate::store::Store;
use desk::Desk;
pub(crate) use keys::{group_of, home_of};

type Result<T, E = StageError> = std::result::Result<T, E>;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The stage, with its settings.
#[derive(Clone, Debug)]
pub struct Track {
    /// How many scans of a line are kept. Default [`line::SCANS_KEPT`].
    pub scans_kept: usize,
    /// How long after its start a scan without its end is cut off. Default one hour.
    pub scan_timeout_ms: i64,
    /// How far a scan may be dated after its record. Default one day.
    pub future_ms: i64,
    /// How long a record stays that says where a fact went. Default 7 days.
    pub went_kept_ms: i64,
    /// How many findings the end of a scan may have to look at for it to be worked off in the batch that brought it, rather than
    /// in slices. Default 256.
    pub closed_at_once: usize,
    /// How long an idempotency key, or a refused scan, is remembered. Default 90 days.
    pub asked_kept_ms: i64,
    /// The format of its rows up to which the operator has finalised.
    pub finalised: Option<u16>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            scans_kept: line::SCANS_KEPT,
            scan_timeout_ms: HOUR_MS,
            future_ms: DAY_MS,
            went_kept_ms: 7 * DAY_MS,
            closed_at_once: 256,
            asked_kept_ms: 90 * DAY_MS,
            finalised: None,
        }
    }
}

/// What a batch gathers: the assets that it touched.
#[derive(Default)]
pub struct Gathered {
    desks: BTreeMap<String, Desk>,
}

impl Gathered {
    /// The asset of a record's key.
    fn desk(&mut self, state: &dyn Store, asset: &str) -> Result<&mut Desk> {
        if !self.desks.contains_key(asset) {
            let id: AssetId = asset.parse().map_err(StageError::poison)?;
            if id.as_str() != asset {
                return Err(StageError::poison(format!(
                    "the key {asset:?} is an asset's name, but its canonical form is {:?}",
                    id.as_str()
                )));
            }
            self.desks.insert(asset.to_owned(), Desk::open(state, id)?);
        }
        Ok(self.desks.get_mut(asset).expect("it was put there just now"))
    }
}

/// A stage at work on one asset in one batch.
struct Work<'w, 'b> {
    track: &'w Track,
    batch: &'w mut Batch<'b>,
    desk: &'w mut Desk,
}

/// A time so many milliseconds later; stays at the ends of what can be counted.
fn later(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add(millis))
}

impl Stage for Track {
    const NAME: &'static str = "track";
    const INPUTS: &'static [Topic] = &[topic::FINDINGS, topic::DECISIONS, topic::FINDINGS_BULK];
    const GLOBALS: &'static [Topic] = &[topic::CATALOG];
    const FORMATS: Formats = Formats { oldest: codec::VERSION as u16, newest: codec::NEWEST as u16 };
    const BULK: Option<Bulk> = Some(Bulk { topic: topic::FINDINGS_BULK, said: topic::TRACKED, reader: Correlate::NAME });
    type Gathered = Gathered;

    fn finalised(&self) -> Option<u16> {
        self.finalised
    }

    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut Gathered, input: &Input<'_>) -> Result<()> {
        if input.topic == topic::CATALOG {
            places::catalog_changed(batch, input.key);
            return Ok(());
        }
        if [topic::FINDINGS, topic::FINDINGS_BULK].contains(&input.topic) {
            let Some(record) = input.record()? else { return Ok(()) };
            let desk = gathered.desk(&batch.state, input.key)?;
            return Work { track: self, batch, desk }.observe(record, input.time);
        }
        let Some(decision) = input.record()? else { return Ok(()) };
        let desk = gathered.desk(&batch.state, input.key)?;
        Work { track: self, batch, desk }.decide(decision)
    }

    fn end(&self, batch: &mut Batch<'_>, gathered: Gathered) -> Result<()> {
        for mut desk in gathered.desks.into_values().filter(Desk::is_known) {
            Work { track: self, batch, desk: &mut desk }.finish()?;
        }
        Ok(())
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending> {
        pending::slice(self, batch, budget_bytes)
    }

    fn next_due(&self, state: &dyn Store) -> Result<Option<Timestamp>> {
        timers::next_due(state)
    }
}

impl Work<'_, '_> {
    /// Puts a row.
    fn put<R: codec::Row>(&mut self, key: Vec<u8>, row: &R) {
        codec::put(&mut self.batch.state, key, row);
    }

    /// Works off what was noted, and writes what is at hand.
    fn finish(&mut self) -> Result<()> {
        self.desk.put_away_open(self.batch)?;
        self.settle()?;
        self.end_scans()?;
        self.settle()?;
        self.desk.put_away(self.batch)
    }

    /// Works out what was noted until nothing is left to.
    fn settle(&mut self) -> Result<()> {
        while let Some((ordinal, with_those_alike)) = self.desk.dirty.pop_first() {
            self.work_out(ordinal, with_those_alike)?;
        }
        for line in std::mem::take(&mut self.desk.routes_dirty) {
            self.settle_routes(line)?;
        }
        for line in std::mem::take(&mut self.desk.lines_dirty) {
            self.publish_line(line)?;
            self.want_fold(line)?;
        }
        Ok(())
    }
}
