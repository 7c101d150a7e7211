//! Opens a task: its positions, then its state, then what it reads of the global topics, in the one order that is safe.

use std::cell::Cell;

use faultline_model::topic::Topic;

use super::cluster::{Changelog, Kept};
use super::restore::restore;
use super::unfenced::{self, Mends};
use super::{KafkaError, POSITIONS_ROW};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::layout::corrupt;
use crate::log::{Place, Positions};
use crate::topics::Topics;

/// A task that is to be opened.
pub(crate) struct Wanted<'w> {
    pub(crate) task: TaskId,
    /// Its inputs but for the global ones.
    pub(crate) keyed: &'w [Place],
    pub(crate) globals: &'w [Topic],
    pub(crate) topics: &'w Topics,
    /// It was elsewhere for so long that its changelog may have forgotten that a row went.
    pub(crate) is_stale: bool,
    /// Where there are no transactions: who puts its changelog in order.
    pub(crate) mends: Option<&'w dyn Mends>,
}

/// Where a task goes on.
pub(crate) struct Opened {
    pub(crate) positions: Positions,
    /// The first offsets of inputs that begin behind the task's position: what was before them is lost.
    pub(crate) begins: Positions,
}

/// Where the task goes on, with its state here; nothing if it was told to stop on the way. `goes_on` hears how many offsets of the
/// changelog were read, of how many.
pub(crate) fn open(
    changelog: &impl Changelog,
    local: &impl Kept,
    wanted: &Wanted<'_>,
    goes_on: &dyn Fn(u64, u64) -> bool,
) -> Result<Option<Opened>, HostError> {
    let Wanted { task, keyed, globals, topics, is_stale, mends } = *wanted;
    // Positions first: what is written to the changelog after them is by nobody else.
    let committed = changelog.committed(keyed)?;
    if is_stale {
        local.forget(task)?;
    }
    let heard = Cell::new((0, 0));
    let restores = |restored, of| {
        heard.set((restored, of));
        goes_on(restored, of)
    };
    let is_restored = match mends {
        None => restore(changelog, local, task, &restores)?,
        Some(mends) => unfenced::restore(changelog, local, task, mends, &restores)?,
    };
    if !is_restored {
        return Ok(None);
    }
    let mut positions = positions_in_state(local, topics, task)?;
    let begins = begins(changelog, task, keyed, &mut positions, &committed)?;
    // Brokers forget positions of topics to which a group does not subscribe: then the state's are what there is.
    if committed.iter().any(|(place, position)| positions.get(place).copied().unwrap_or(0) != *position) {
        if changelog.committed(keyed)? != committed {
            // The new owner is at work, and this process has not heard that it is no owner any more.
            return Err(KafkaError::NotOwner { task }.into());
        }
        if mends.is_none() {
            let (state, group) = (format!("{positions:?}"), format!("{committed:?}"));
            return Err(KafkaError::PositionsDiffer { task, state, group }.into());
        }
        // The group hears them last, and who slept may have told it older ones.
        tracing::warn!(%task, state = ?positions, group = ?committed, "the group has other positions than the state, whose hold");
    }
    for topic in globals {
        let position = positions.get(&(topic.name, 0)).copied().unwrap_or(0);
        while local.copied(topic.name)? < position {
            let (restored, of) = heard.get();
            if !goes_on(restored, of) {
                return Ok(None);
            }
            local.await_copy();
        }
    }
    Ok(Some(Opened { positions, begins }))
}

/// Compares positions with what there is of the inputs. Of one that ends before the position its group's holds, if somebody has set that to
/// where something is.
fn begins(
    changelog: &impl Changelog,
    task: TaskId,
    keyed: &[Place],
    positions: &mut Positions,
    committed: &Positions,
) -> Result<Positions, HostError> {
    let mut begins = Positions::new();
    for place in keyed {
        let (first, end) = changelog.bounds(*place)?;
        let mut position = positions.get(place).copied().unwrap_or(0);
        if position > end {
            let Some(told) = committed.get(place).copied().filter(|told| *told <= end) else {
                let (topic, partition) = *place;
                return Err(KafkaError::BeyondEnd { reader: task.to_string(), topic, partition, position, end }.into());
            };
            tracing::warn!(%task, topic = place.0, partition = place.1, position, end, told, "an input ends before the task's position; it goes on at its group's");
            positions.insert(*place, told);
            position = told;
        }
        if position < first {
            begins.insert(*place, first);
        }
    }
    Ok(begins)
}

/// Positions as the task's state says them.
pub(crate) fn positions_in_state(local: &impl Kept, topics: &Topics, task: TaskId) -> Result<Positions, HostError> {
    let row = local.state(task).get(&POSITIONS_ROW);
    let row = row.map_err(|source| HostError::Stage { task, source: source.into() })?;
    row.map_or_else(|| Ok(Positions::new()), |row| decode_positions(topics, &row))
}

fn decode_positions(topics: &Topics, row: &[u8]) -> Result<Positions, HostError> {
    let cut = || corrupt("the positions of a task", "it is cut short");
    let (mut positions, mut rest) = (Positions::new(), row);
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
        let (topic, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(cut)?;
        let (partition, after) = after.split_first_chunk().ok_or_else(cut)?;
        let (offset, after) = after.split_first_chunk().ok_or_else(cut)?;
        let plan = topics.plan(&String::from_utf8_lossy(topic), u32::from_be_bytes(*partition))?;
        positions.insert((plan.name, u32::from_be_bytes(*partition)), u64::from_be_bytes(*offset));
        rest = after;
    }
    Ok(positions)
}

pub(crate) fn encode_positions(positions: &Positions) -> Vec<u8> {
    let mut row = Vec::new();
    for ((topic, partition), offset) in positions {
        // Names of topics have at most 249 bytes.
        row.extend((topic.len() as u16).to_be_bytes());
        row.extend(topic.as_bytes());
        row.extend(partition.to_be_bytes());
        row.extend(offset.to_be_bytes());
    }
    row
}
