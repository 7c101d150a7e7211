//! What an exception covers, service by service and together.

use faultline_model::exception::Broken;
use faultline_model::id::Id;
use faultline_model::share::{RISKS_NAMED, Share, ShareRisk};

use super::rows::{Row, Sums, Table, ranked, ranking};
use crate::stage::{Batch, StageError};
use crate::store::Store;

/// Takes a share over, or that there is none any more.
pub fn replace(batch: &mut Batch<'_>, exception: Id, service: &str, now: Option<Share>) -> Result<(), StageError> {
    let key = Table::Shares.at(exception, service);
    let before: Option<Share> = Table::Shares.get(&batch.state, &key)?;
    if before == now {
        return Ok(());
    }
    let mut sums = sums(&batch.state, exception)?;
    if let Some(before) = &before {
        sums = sums.with(before, -1);
        batch.state.delete(ranked(before));
    }
    match &now {
        Some(share) => {
            sums = sums.with(share, 1);
            batch.state.put(ranked(share), Vec::new());
            batch.state.put(key.as_slice(), Table::Shares.row(&key, share)?);
        }
        None => batch.state.delete(key),
    }
    put_sums(batch, exception, sums)
}

/// From now on only shares of this grant count: there are none yet.
pub fn begin(batch: &mut Batch<'_>, exception: Id, grant: i32) -> Result<(), StageError> {
    put_sums(batch, exception, Sums { grant, ..Sums::default() })
}

pub fn sums(state: &dyn Store, exception: Id) -> Result<Sums, StageError> {
    Ok(Table::Sums.get(state, &Table::Sums.of(exception))?.unwrap_or_default())
}

fn put_sums(batch: &mut Batch<'_>, exception: Id, sums: Sums) -> Result<(), StageError> {
    let key = Table::Sums.of(exception);
    let row = Table::Sums.row(&key, &sums)?;
    batch.state.put(key, row);
    Ok(())
}

/// What breaks of what it assumes, as far as shares say.
pub fn broken(state: &dyn Store, exception: Id, row: &Row) -> Result<Vec<Broken>, StageError> {
    let sums = sums(state, exception)?;
    let mut broken: Vec<Broken> = leading(state, exception, row.grant)?.into_iter().flat_map(|share| share.broken).collect();
    if sums.risks > row.exception.terms.covers_at_most {
        broken.push(Broken::CoversMore);
    }
    Ok(broken)
}

/// The first risks that it covers, of all services.
pub fn first(state: &dyn Store, exception: Id, grant: i32) -> Result<Vec<ShareRisk>, StageError> {
    let mut first: Vec<ShareRisk> = leading(state, exception, grant)?.into_iter().flat_map(|share| share.first).collect();
    first.sort_unstable_by_key(ShareRisk::order);
    first.truncate(RISKS_NAMED);
    Ok(first)
}

/// The highest score that it covers; 0 if there is none.
pub fn highest(state: &dyn Store, exception: Id, grant: i32) -> Result<i32, StageError> {
    let mut highest = 0;
    for is_whole in [false, true] {
        let services = ranking(state, exception, grant, is_whole, 1)?;
        highest = shares(state, exception, services)?.into_iter().map(|share| share.highest).fold(highest, i32::max);
    }
    Ok(highest)
}

/// The shares that lead: they hold the first risks of all, and what is broken if anything is.
fn leading(state: &dyn Store, exception: Id, grant: i32) -> Result<Vec<Share>, StageError> {
    let services = ranking(state, exception, grant, false, RISKS_NAMED)?;
    shares(state, exception, services)
}

fn shares(state: &dyn Store, exception: Id, services: Vec<String>) -> Result<Vec<Share>, StageError> {
    let share = |service: String| {
        let key = Table::Shares.at(exception, &service);
        let share: Option<Share> = Table::Shares.get(state, &key)?;
        share.ok_or_else(|| Table::Ranked.corrupt(&key, "ranked, and no share").into())
    };
    services.into_iter().map(share).collect()
}
