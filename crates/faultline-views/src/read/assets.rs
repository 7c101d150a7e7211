//! Whether a reader may see an asset, and whether all of it is hers: by the services that have its findings.

use faultline_model::asset::AssetId;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;
use crate::apply::shelf;
use crate::error::ViewError;
use crate::views::Views;
use crate::within::Within;
use crate::words::{self, Word};

impl Views {
    /// Whether a reader sees a finding of the asset, in whatever state, of a service that owns or uses it. Who may see everything may see
    /// assets that nobody has heard of, too.
    pub fn shows_asset(&self, asset: &AssetId, within: &Within) -> Result<bool, ViewError> {
        shows(&*self.reader()?, asset, within)
    }

    /// Whether the asset has findings at their owners, and a reader may see all of these owners. Who may see everything owns every asset.
    pub fn owns_asset(&self, asset: &AssetId, within: &Within) -> Result<bool, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        owns(&snapshot, asset, within)
    }
}

pub(super) fn shows(connection: &Connection, asset: &AssetId, within: &Within) -> Result<bool, ViewError> {
    if within.is_everything() {
        return Ok(true);
    }
    let Some(number) = words::number_of(connection, Word::Asset, asset.as_str())? else {
        return Ok(false);
    };
    let mut seen = of_asset(number);
    seen.within("service", within);
    has_finding(connection, &seen)
}

pub(super) fn owns(connection: &Connection, asset: &AssetId, within: &Within) -> Result<bool, ViewError> {
    if within.is_everything() {
        return Ok(true);
    }
    let Some(number) = words::number_of(connection, Word::Asset, asset.as_str())? else {
        return Ok(false);
    };
    let mut owned = of_asset(number);
    owned.one_of("shelf", [shelf(true, false), shelf(true, true)]);
    let mut seen = Conditions::default();
    seen.within("service", within);
    let mut foreign = owned.clone();
    foreign.push(format!("NOT ({})", seen.sql()), seen.values());
    // One row of another's ends the search; only what is all hers is read to its end.
    Ok(!has_finding(connection, &foreign)? && has_finding(connection, &owned)?)
}

fn of_asset(number: i64) -> Conditions {
    Conditions::of("asset = ?", [Value::from(number)])
}

/// Whether a finding meets conditions, one of which is its asset.
fn has_finding(connection: &Connection, which: &Conditions) -> Result<bool, ViewError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM finding INDEXED BY finding_asset WHERE {})", which.sql());
    Ok(connection.prepare_cached(&sql)?.query_row(params_from_iter(which.values()), |row| row.get(0))?)
}
