//! The simulated cluster as the host's own code asks it: a task's changelog, and the producers of a process.

use std::sync::{Arc, Mutex};

use super::brokers::{Member, Outcome, at, refused};
use super::process::Shared;
use super::turns;
use crate::commit::TaskId;
use crate::error::HostError;
use crate::kafka::changelog_of;
use crate::kafka::cluster::{self, Changelog, Next, Tell};
use crate::kafka::transact::{Reached, Sent};
use crate::log::{Place, Positions, Stored};
use crate::sync::held;

/// A task's changelog.
pub(super) struct OfCluster {
    pub(super) shared: Arc<Shared>,
    pub(super) task: TaskId,
    pub(super) next: Mutex<u64>,
}

impl OfCluster {
    pub(super) fn at(&self) -> (String, u32) {
        at(&changelog_of(self.task.stage), self.task.partition)
    }
}

impl Changelog for OfCluster {
    fn committed(&self, places: &[Place]) -> Result<Positions, HostError> {
        loop {
            turns::give_way();
            if self.shared.fails_once_in(50) {
                return Err(refused("no answer"));
            }
            let positions = held(&self.shared.brokers).positions(self.task.stage, places);
            if let Some(positions) = positions {
                turns::give_way();
                return Ok(positions);
            }
        }
    }

    fn bounds(&self, place: Place) -> Result<(u64, u64), HostError> {
        Ok((0, held(&self.shared.brokers).end(&at(place.0, place.1))))
    }

    fn written(&self) -> Result<u64, HostError> {
        turns::give_way();
        let end = held(&self.shared.brokers).end(&self.at());
        turns::give_way();
        Ok(end)
    }

    fn stable(&self) -> Result<(u64, u64), HostError> {
        turns::give_way();
        let end = held(&self.shared.brokers).stable(&self.at());
        turns::give_way();
        Ok((0, end))
    }

    fn seek(&self, from: u64) -> Result<(), HostError> {
        *held(&self.next) = from;
        Ok(())
    }

    fn next(&self, tell: &mut Tell<'_>) -> Result<Next, HostError> {
        if self.shared.once_in(8) {
            turns::give_way();
        }
        let mut next = held(&self.next);
        let from = *next;
        Ok(held(&self.shared.brokers).next(&self.at(), from, &mut |offset, key, value| {
            *next = offset + 1;
            tell(offset, key, value);
        }))
    }

    fn pause(&self, _: u64) {
        turns::rest();
    }
}

/// A process's producers.
pub(super) struct ToCluster {
    pub(super) shared: Arc<Shared>,
    pub(super) instance: usize,
    /// With the epoch that each has, if any.
    pub(super) free: Mutex<Vec<(usize, Option<u64>)>>,
}

impl ToCluster {
    pub(super) fn init(&self, number: usize) -> Result<u64, HostError> {
        loop {
            turns::give_way();
            if self.shared.fails_once_in(50) {
                return Err(refused("no answer"));
            }
            let epoch = held(&self.shared.brokers).init((self.instance, number));
            if let Some(epoch) = epoch {
                return Ok(epoch);
            }
        }
    }

    fn commit(&self, name: (usize, usize), epoch: u64, records: &[Sent<'_>], reached: &Reached<'_, Group>) -> Result<Vec<u64>, HostError> {
        let number = loop {
            turns::give_way();
            let begun = held(&self.shared.brokers).begin(name, epoch)?;
            if let Some(number) = begun {
                break number;
            }
        };
        match self.write(number, records, reached) {
            Ok(offsets) => self.end(number).map(|()| offsets),
            Err(error) => {
                // The word to abort may get lost as well.
                if !self.shared.fails_once_in(2) {
                    held(&self.shared.brokers).abort(number);
                }
                Err(error)
            }
        }
    }

    fn write(&self, number: u64, records: &[Sent<'_>], reached: &Reached<'_, Group>) -> Result<Vec<u64>, HostError> {
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            let stored = Stored {
                offset: 0,
                key: record.key.to_vec(),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.into(),
                timestamp_ms: record.timestamp_ms.unwrap_or_default(),
            };
            offsets.push(held(&self.shared.brokers).produce(number, at(record.topic, record.partition), stored)?);
            if self.shared.once_in(6) {
                turns::give_way();
            }
        }
        turns::give_way();
        let Group { stage, member } = *reached.group;
        // Without a position nothing is asked of the group.
        if !reached.positions.is_empty() {
            held(&self.shared.brokers).reach(number, stage, member, reached.positions)?;
        }
        turns::give_way();
        Ok(offsets)
    }

    fn end(&self, number: u64) -> Result<(), HostError> {
        // The word gets lost on its way, or is on it for long.
        if self.shared.fails_once_in(40) {
            return Err(refused("no answer"));
        }
        held(&self.shared.brokers).ask(number)?;
        loop {
            turns::give_way();
            let outcome = held(&self.shared.brokers).outcome(number);
            match outcome {
                _ if self.shared.fails_once_in(40) => return Err(refused("no answer")),
                Outcome::Committed => return Ok(()),
                Outcome::Aborted => return Err(refused("the transaction was aborted")),
                Outcome::Open => {}
            }
        }
    }
}

/// A member of a stage's group.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) stage: &'static str,
    pub(super) member: Member,
}

impl cluster::Brokers for ToCluster {
    type Group = Group;

    fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_, Group>>) -> Result<Vec<u64>, HostError> {
        let reached = reached.ok_or_else(|| refused("tasks alone write here"))?;
        let (number, epoch) = loop {
            if let Some(free) = held(&self.free).pop() {
                break free;
            }
            turns::give_way();
        };
        let epoch = epoch.map_or_else(|| self.init(number), Ok);
        let written = match &epoch {
            Ok(epoch) => self.commit((self.instance, number), *epoch, records, reached),
            Err(_) => Err(refused("no producer")),
        };
        // After an error it is made anew.
        held(&self.free).push((number, epoch.ok().filter(|_| written.is_ok())));
        written
    }

    fn passed(&self, _: Place, _: u64) {}
}
