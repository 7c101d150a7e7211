//! Ids by their first digits.

use std::collections::BTreeSet;

use faultline_model::id::{Id, IdPrefix};

use crate::error::ViewError;
use crate::views::Views;

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
    Anything,
}

const RISKS: [&str; 2] = ["SELECT id FROM risk WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", NAMES];
const NAMES: &str = "SELECT DISTINCT id FROM risk_name WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?";
const FINDINGS: &str = "SELECT DISTINCT id FROM finding WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?";
const SCANS: &str = "SELECT DISTINCT id FROM scan WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?";
/// An outcome's id is a text: a scan's id, or any key of a decision.
const OUTCOMES: &str = "SELECT id FROM outcome WHERE id BETWEEN ? AND ? AND length(id) = 32 ORDER BY id LIMIT ?";

impl Views {
    /// The ids that begin so, sorted; of very many the first six.
    pub fn ids(&self, prefix: IdPrefix, of: Named) -> Result<Vec<Id>, ViewError> {
        let tables: &[&str] = match of {
            Named::Risk => &RISKS,
            Named::Finding => &[FINDINGS],
            Named::Scan => &[SCANS],
            Named::Anything => &[RISKS[0], NAMES, FINDINGS, SCANS],
        };
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let (lowest, highest) = prefix.bounds();
        let mut ids = BTreeSet::new();
        for sql in tables {
            let mut statement = snapshot.prepare_cached(sql)?;
            let bounds = (lowest.0.as_slice(), highest.0.as_slice(), IDS_GIVEN);
            for id in statement.query_map(bounds, |row| Ok(Id(row.get(0)?)))? {
                ids.insert(id?);
            }
        }
        if matches!(of, Named::Scan | Named::Anything) {
            let mut statement = snapshot.prepare_cached(OUTCOMES)?;
            for text in statement.query_map((lowest.to_string(), highest.to_string(), IDS_GIVEN), |row| row.get::<_, String>(0))? {
                ids.extend(text?.parse::<Id>().ok());
            }
        }
        Ok(ids.into_iter().take(IDS_GIVEN as usize).collect())
    }
}
