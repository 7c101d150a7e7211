//! What is due when. Records carry due times as facts; when a timer fires shows nowhere.

use std::ops::ControlFlow;

use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::topic;

use super::codec::Row;
use super::desk::Desk;
use super::keys::{Table, due_of, id_at, key, timer};
use super::rows::job::Alarm;
use super::rows::line::ScanAt;
use super::{Result, Track, Work};
use crate::stage::Batch;
use crate::store::Store;

/// When the earliest timer is due.
pub(super) fn next_due(state: &dyn Store) -> Result<Option<Timestamp>> {
    Ok(first(state)?.and_then(|(at, _)| due_of(&at)))
}

/// A row: its key and its bytes.
type Stored = (Vec<u8>, Vec<u8>);

fn first(state: &dyn Store) -> Result<Option<Stored>> {
    let mut found = None;
    state.scan(&[Table::Timer as u8], &[], &mut |at, row| {
        found = Some((at.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Fires the earliest timer if it is due; false if none is.
pub(super) fn fire(track: &Track, batch: &mut Batch<'_>) -> Result<bool> {
    let Some((at, row)) = first(&batch.state)?.filter(|(at, _)| due_of(at).is_some_and(|due| due <= batch.now)) else {
        return Ok(false);
    };
    let alarm = Alarm::parse(&at, &row)?;
    let due = due_of(&at).unwrap_or_default();
    batch.state.delete(at.clone());
    let mut desk = Desk::of_key(&batch.state, id_at(&at, 9))?;
    let mut work = Work { track, batch, desk: &mut desk };
    work.ring(alarm, due)?;
    work.finish()?;
    Ok(true)
}

impl Work<'_, '_> {
    pub(super) fn set_alarm(&mut self, due: Timestamp, alarm: &Alarm) {
        let bytes = alarm.bytes();
        let mut at = timer(due);
        at.extend(self.desk.key.0);
        at.extend(Id::of("alarm", &[&bytes]).0);
        self.batch.state.put(at, bytes);
    }

    fn ring(&mut self, alarm: Alarm, due: Timestamp) -> Result<()> {
        match alarm {
            Alarm::CutOff { line, scan } => self.cut_off(line, scan)?,
            Alarm::Tombstone { key } => {
                // The fact may have come back, or have gone again since.
                let at = self.went_key(&key);
                if self.batch.state.get(&at)?.as_deref() == Some(&due.millis().to_be_bytes()) {
                    self.batch.state.delete(at);
                    self.batch.emit_gone(topic::TRACKED, key);
                }
            }
            Alarm::Forget { key } => {
                let at = self.asked_key(&key);
                self.batch.state.delete(at);
            }
            Alarm::ForgetScan { scan } => {
                if self.desk.scan_at(&self.batch.state, scan)? == Some(ScanAt::Refused) {
                    self.desk.put_scan_at(self.batch, scan, None);
                }
            }
        }
        Ok(())
    }

    pub(super) fn asked_key(&self, asked: &str) -> Vec<u8> {
        key(Table::Asked, self.desk.key, &[&Id::of("asked", &[asked.as_bytes()]).0])
    }
}
