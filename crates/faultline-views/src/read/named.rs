//! Ids by their first digits.

use std::collections::BTreeSet;

use faultline_model::id::{Id, IdPrefix};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;
use super::register;
use super::risks::SERVICE_OF_NAME;
use crate::error::ViewError;
use crate::views::Views;
use crate::within::Within;

/// The most ids that are given for one beginning.
const IDS_GIVEN: u32 = 6;

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A risk, also by an id that leads to it.
    Risk,
    Finding,
    /// A scan, which is what becomes of a report.
    Scan,
    /// An exception, by its entry in the risk register.
    Exception,
    /// A risk, a finding or a scan: what can be traced.
    Anything,
}

/// Where ids stand, and the column that has a row's service. Read by the index of ids, whose ends are near: SQLite would take the one of
/// services, with all of their rows, where only some may be seen.
const RISKS: (&str, &str) = ("risk INDEXED BY risk_id", "service");
const NAMES: (&str, &str) = ("risk_name", SERVICE_OF_NAME);
const FINDINGS: (&str, &str) = ("finding INDEXED BY finding_id", "service");
const SCANS: (&str, &str) = ("scan", "service");
const ENTRIES: &str = "entry INDEXED BY entry_id";
/// An outcome's id is a text: a scan's id, or any key of a decision.
const OUTCOMES: &str = "SELECT id FROM outcome WHERE id BETWEEN ? AND ? AND length(id) = 32 ORDER BY id LIMIT ?";

impl Views {
    /// The ids that begin so and that a reader may see, sorted; of very many the first six. Outcomes have no service, so only a reader
    /// who may see everything is given theirs.
    pub fn ids(&self, prefix: IdPrefix, of: Named, within: &Within) -> Result<Vec<Id>, ViewError> {
        let tables: &[(&str, &str)] = match of {
            Named::Risk => &[RISKS, NAMES],
            Named::Finding => &[FINDINGS],
            Named::Scan => &[SCANS],
            Named::Exception => &[],
            Named::Anything => &[RISKS, NAMES, FINDINGS, SCANS],
        };
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let (lowest, highest) = prefix.bounds();
        let mut ids = BTreeSet::new();
        for (table, column) in tables {
            let mut seen = Conditions::default();
            seen.within(column, within);
            ids.extend(ids_of(&snapshot, table, prefix, &seen)?);
        }
        if of == Named::Exception {
            ids.extend(ids_of(&snapshot, ENTRIES, prefix, &register::seen(within))?);
        }
        if within.is_everything() && matches!(of, Named::Scan | Named::Anything) {
            let mut statement = snapshot.prepare_cached(OUTCOMES)?;
            for text in statement.query_map((lowest.to_string(), highest.to_string(), IDS_GIVEN), |row| row.get::<_, String>(0))? {
                ids.extend(text?.parse::<Id>().ok());
            }
        }
        Ok(ids.into_iter().take(IDS_GIVEN as usize).collect())
    }
}

/// The first ids of a table that begin so, among the rows that may be seen.
fn ids_of(connection: &Connection, table: &str, prefix: IdPrefix, seen: &Conditions) -> rusqlite::Result<Vec<Id>> {
    let (lowest, highest) = prefix.bounds();
    let mut which = Conditions::of("id BETWEEN ? AND ?", [Value::from(lowest.0.to_vec()), Value::from(highest.0.to_vec())]);
    which.push(seen.sql(), seen.values());
    let sql = format!("SELECT DISTINCT id FROM {table} WHERE {} ORDER BY id LIMIT {IDS_GIVEN}", which.sql());
    let mut statement = connection.prepare_cached(&sql)?;
    let ids = statement.query_map(params_from_iter(which.values()), |row| Ok(Id(row.get(0)?)))?;
    ids.collect()
}
