//! Exceptions that hold, as the task has them: copies of the global topic, and which risks a change of one can touch.

use std::sync::Arc;

use faultline_model::exception::{Held, Scope};
use faultline_model::id::Id;
use serde::{Deserialize, Serialize};

use super::apply::Gathered;
use super::copies::{heeds, rates};
use super::covering::Index;
use super::pending::Cause;
use super::tables::{Table, pairs, rows_by};
use crate::row::{StageTable, digest};
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

/// What the copies of exceptions are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heeded {
    /// Another one for other copies: the sum of their digests, which is the same in whatever order they came.
    pub digest: u128,
    /// Whether risks are looked at with them; not as long as an older program may take over.
    pub is_heeded: bool,
}

/// What exceptions are heeded; none if none is.
pub fn heeded(state: &dyn Store) -> Result<Option<Heeded>, StoreError> {
    let row: Option<Heeded> = Table::Heeded.get(state, &Table::Heeded.all())?;
    Ok(row.filter(|row| row.is_heeded))
}

/// All copies, to be found by what risks have.
pub fn index(state: &dyn Store) -> Result<Arc<Index>, StoreError> {
    let all = Table::Exceptions.all();
    let copies = rows_by(state, &all, usize::MAX, |key, row| Table::Exceptions.read::<Held>(key, row))?;
    Ok(Arc::new(Index::of(copies)))
}

/// An exception as it holds now; none if it does not.
pub fn changed(batch: &mut Batch<'_>, gathered: &mut Gathered, id: Id, now: Option<Held>) -> Result<(), StageError> {
    let mut key = Table::Exceptions.all();
    key.extend(id.0);
    let before: Option<Held> = Table::Exceptions.get(&batch.state, &key)?;
    if before == now {
        return Ok(());
    }
    let summary = Table::Heeded.all();
    let mut heeded: Heeded = Table::Heeded.get(&batch.state, &summary)?.unwrap_or_default();
    for (held, is_new) in before.iter().map(|held| (held, false)).chain(now.iter().map(|held| (held, true))) {
        let digest = u128::from_be_bytes(digest(&Table::Exceptions.row(&key, held)?).0);
        heeded.digest = if is_new { heeded.digest.wrapping_add(digest) } else { heeded.digest.wrapping_sub(digest) };
        if heeded.is_heeded {
            gathered.causes.insert(Cause::Scope { scope: held.scope.clone() });
        }
    }
    match &now {
        Some(held) => {
            let row = Table::Exceptions.row(&key, held)?;
            batch.state.put(key, row);
        }
        None => batch.state.delete(key),
    }
    let row = Table::Heeded.row(&summary, &heeded)?;
    batch.state.put(summary, row);
    Ok(())
}

/// Once rows may say so: begins to heed what was copied meanwhile, and to rate it.
pub fn begin(batch: &mut Batch<'_>, gathered: &mut Gathered) -> Result<(), StageError> {
    if !is_to_begin(batch)? {
        return Ok(());
    }
    let all = Table::Exceptions.all();
    for (key, row) in pairs(&batch.state, &all, &all, usize::MAX)? {
        let Held { scope, .. } = Table::Exceptions.read(&key, &row)?;
        gathered.causes.insert(Cause::Scope { scope });
    }
    let key = Table::Heeded.all();
    let heeded: Heeded = Table::Heeded.get(&batch.state, &key)?.unwrap_or_default();
    let row = Table::Heeded.row(&key, &Heeded { is_heeded: true, ..heeded })?;
    batch.state.put(key, row);
    if rates(batch) {
        batch.state.put(rated_key(), Vec::new());
    }
    Ok(())
}

/// Whether [`begin`] has something to do.
pub fn is_to_begin(batch: &Batch<'_>) -> Result<bool, StageError> {
    if !heeds(batch) {
        return Ok(false);
    }
    let row: Option<Heeded> = Table::Heeded.get(&batch.state, &Table::Heeded.all())?;
    let Some(row) = row else { return Ok(false) };
    Ok(!row.is_heeded || (rates(batch) && batch.state.get(&rated_key())?.is_none()))
}

/// There is a row once what is heeded was looked at with ratings.
pub fn rated_key() -> Vec<u8> {
    let mut key = Table::Heeded.all();
    key.push(0);
    key
}

/// Whether a scope names what only a look at each risk tells.
pub fn is_of_any_unit(scope: &Scope) -> bool {
    let Scope { founders, vulnerability, .. } = scope;
    founders.is_empty() && vulnerability.is_empty()
}
