//! Where destinations stand: what they have not been told yet, and why.

use faultline_model::notice::DeliveryStatus;
use faultline_model::time::Timestamp;

use crate::codes;
use crate::error::ViewError;
use crate::views::Views;

/// Where a destination stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub destination: String,
    /// Notices that it is still to be told.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Timestamp>,
    pub delivered: u64,
    /// Notices that are not tried again.
    pub given_up: u64,
    /// When it was last told one.
    pub last_delivered: Option<Timestamp>,
    /// When it was last tried in vain, and why; none if it has taken one since.
    pub last_failed: Option<(Timestamp, String)>,
}

impl Views {
    /// All destinations that were ever to be told something which the views remember, by name.
    pub fn told(&self) -> Result<Vec<Told>, ViewError> {
        let reader = self.reader()?;
        let code = |status: DeliveryStatus| codes::code(&codes::DELIVERIES, &status);
        let sql = "SELECT destination, \
                   count(*) FILTER (WHERE status IS NULL OR status = ?2), min(at) FILTER (WHERE status IS NULL OR status = ?2), \
                   count(*) FILTER (WHERE status = ?1), count(*) FILTER (WHERE status = ?3), \
                   max(tried) FILTER (WHERE status = ?1), max(tried) FILTER (WHERE status <> ?1) \
                   FROM told GROUP BY destination ORDER BY destination";
        let mut statement = reader.prepare_cached(sql)?;
        let codes = [DeliveryStatus::Delivered, DeliveryStatus::Failed, DeliveryStatus::GivenUp].map(code);
        let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let count = |count: i64| count as u64;
        let rows = statement.query_map(codes, |row| {
            let failed: Option<i64> = row.get(6)?;
            let told = Told {
                destination: row.get(0)?,
                waiting: count(row.get(1)?),
                oldest: time(row.get(2)?),
                delivered: count(row.get(3)?),
                given_up: count(row.get(4)?),
                last_delivered: time(row.get(5)?),
                last_failed: None,
            };
            Ok((told, failed))
        })?;
        let mut all = Vec::new();
        let mut reason = reader.prepare_cached("SELECT reason FROM told WHERE destination = ? AND tried = ? AND status <> ? LIMIT 1")?;
        for row in rows {
            let (told, failed) = row?;
            let failed = time(failed).filter(|failed| told.last_delivered.is_none_or(|delivered| delivered < *failed));
            let last_failed = match failed {
                Some(at) => Some((at, reason.query_row((&told.destination, at.millis(), codes[0]), |row| row.get(0))?)),
                None => None,
            };
            all.push(Told { last_failed, ..told });
        }
        Ok(all)
    }
}
