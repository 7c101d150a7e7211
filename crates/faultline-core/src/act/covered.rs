//! What an exception covers, or the ticket of a fix repairs, service by service and together.

use faultline_model::exception::Broken;
use faultline_model::id::Id;
use faultline_model::share::{RISKS_NAMED, Rating, Share, ShareRisk};

use super::rows::{self, Row, Sums, Table, ranked, ranking};
use crate::row::{StageTable, pairs};
use crate::stage::{Batch, StageError};
use crate::store::Store;

/// Takes a share over, or that there is none any more.
pub fn replace(batch: &mut Batch<'_>, exception: Id, service: &str, now: Option<Share>) -> Result<(), StageError> {
    let key = Table::Shares.at(exception, service);
    let before = rows::share(&batch.state, &key)?;
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
            batch.state.put(key.as_slice(), rows::share_row(&key, share)?);
        }
        None => batch.state.delete(key),
    }
    put_sums(batch, exception, sums)
}

/// From now on only shares of this grant count. There are none yet, unless shares came before the step.
pub fn begin(batch: &mut Batch<'_>, exception: Id, grant: i32) -> Result<(), StageError> {
    let mut sums = Sums { grant, ..Sums::default() };
    let all = Table::Shares.of(exception);
    for (key, row) in pairs(&batch.state, &all, &all, usize::MAX)? {
        sums = sums.with(&rows::read_share(&key, &row)?, 1);
    }
    put_sums(batch, exception, sums)
}

pub fn sums(state: &dyn Store, exception: Id) -> Result<Sums, StageError> {
    Ok(Table::Sums.get(state, &Table::Sums.of(exception))?.unwrap_or_default())
}

fn put_sums(batch: &mut Batch<'_>, exception: Id, sums: Sums) -> Result<(), StageError> {
    let key = Table::Sums.of(exception);
    if sums == Sums::default() {
        batch.state.delete(key);
        return Ok(());
    }
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
    Ok(first_of(&leading(state, exception, grant)?))
}

/// The first risks of the shares that lead.
pub fn first_of(leading: &[Share]) -> Vec<ShareRisk> {
    let mut first: Vec<ShareRisk> = leading.iter().flat_map(|share| share.first.iter().cloned()).collect();
    first.sort_unstable_by_key(ShareRisk::order);
    first.truncate(RISKS_NAMED);
    first
}

/// The highest score that it covers, with what that is made of; 0 if there is none.
pub fn highest(state: &dyn Store, exception: Id, grant: i32) -> Result<(i32, Option<Rating>), StageError> {
    let mut leading = Vec::new();
    for is_whole in [false, true] {
        let services = ranking(state, exception, grant, is_whole, 1)?;
        leading.extend(shares(state, exception, services)?);
    }
    let highest = leading.into_iter().rev().max_by_key(|share| share.highest);
    Ok(highest.map_or((0, None), |share| (share.highest, share.rating)))
}

/// The shares that lead: they hold the first risks of all, and what is broken if anything is.
pub fn leading(state: &dyn Store, exception: Id, grant: i32) -> Result<Vec<Share>, StageError> {
    let services = ranking(state, exception, grant, false, RISKS_NAMED)?;
    shares(state, exception, services)
}

fn shares(state: &dyn Store, exception: Id, services: Vec<String>) -> Result<Vec<Share>, StageError> {
    let share = |service: String| {
        let key = Table::Shares.at(exception, &service);
        rows::share(state, &key)?.ok_or_else(|| Table::Ranked.corrupt(&key, "ranked, and no share").into())
    };
    services.into_iter().map(share).collect()
}
