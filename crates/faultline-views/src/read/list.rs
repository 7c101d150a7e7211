//! A page of a sorted list, at a bounded cost whatever the filter.
//!
//! Two ways lead to it. Where a filter has an index of its own and few rows behind it (one asset, one vulnerability), those rows are
//! filtered and sorted. Else the list's covering index is read in order, filtered as it goes, and left after a bounded number of rows:
//! the page then ends early and its cursor goes on from there.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;
use crate::options::Bounds;
use crate::page::{Position, Total};

/// A list in the database.
pub(super) struct Shape {
    pub table: &'static str,
    /// Its index, which begins with the columns of an arm, rank and id.
    pub index: &'static str,
    /// The columns of the index.
    pub columns: &'static str,
}

/// What a list is asked for, as conditions.
pub(super) struct Query<'a> {
    pub shape: &'a Shape,
    pub bounds: Bounds,
    /// Parts of the index that are read in order and merged: each fixes the columns before rank.
    pub arms: Vec<Conditions>,
    /// What must hold, over the index's columns.
    pub filters: Conditions,
    /// What must hold, over other columns.
    pub row_filters: Conditions,
    /// Row numbers by those filters that have an index of their own: `SELECT n FROM …`.
    pub drivers: Vec<Conditions>,
}

/// Rows of a page: their numbers, and where the next page begins.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    pub rows: Vec<i64>,
    pub next: Option<Position>,
}

type Row = (Position, i64);

impl Query<'_> {
    /// The page after a position.
    pub fn page(&self, connection: &Connection, after: Option<Position>, limit: usize) -> rusqlite::Result<Listed> {
        let driver = self.driver(connection)?;
        let (mut rows, horizon) = match driver {
            Some(driver) => (self.driven(connection, driver, after, limit + 1)?, None),
            None => self.scanned(connection, after, limit + 1)?,
        };
        rows.sort_unstable();
        if let Some(horizon) = horizon {
            // Another arm stopped here: what it has behind would stand before the rest of these.
            rows.retain(|(position, _)| *position <= horizon);
        }
        let is_full = rows.len() > limit;
        rows.truncate(limit);
        let next = if is_full { rows.last().map(|(position, _)| *position) } else { horizon };
        Ok(Listed { rows: rows.into_iter().map(|(_, number)| number).collect(), next })
    }

    /// How many there are in all: exact if counting did not stop at its bound.
    pub fn total(&self, connection: &Connection) -> rusqlite::Result<Total> {
        if let Some(driver) = self.driver(connection)? {
            let (sql, values) = self.driven_sql("count(*)", driver, None);
            let count: i64 = connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
            return Ok(Total { count: count as u64, is_exact: true });
        }
        let mut total = Total { count: 0, is_exact: true };
        for arm in &self.arms {
            let (inner, mut values) = self.scan_sql(arm, None);
            let sql = format!("SELECT count(*) FILTER (WHERE {}), count(*) FROM ({inner})", self.all_filters().sql());
            // The filter stands before the scan in the text.
            let mut ordered: Vec<Value> = self.all_filters().values().collect();
            ordered.append(&mut values);
            let (count, seen): (i64, i64) =
                connection.prepare_cached(&sql)?.query_row(params_from_iter(ordered), |row| Ok((row.get(0)?, row.get(1)?)))?;
            total.count += count as u64;
            total.is_exact &= seen < self.scan_rows();
        }
        Ok(total)
    }

    /// The filter with the fewest rows behind it, if these are few enough.
    fn driver(&self, connection: &Connection) -> rusqlite::Result<Option<&Conditions>> {
        let most = i64::from(self.bounds.driven_rows);
        let mut best: Option<(i64, &Conditions)> = None;
        for driver in &self.drivers {
            let sql = format!("SELECT count(*) FROM ({} LIMIT {})", driver.sql(), most + 1);
            let rows: i64 = connection.prepare_cached(&sql)?.query_row(params_from_iter(driver.values()), |row| row.get(0))?;
            if rows <= most && best.is_none_or(|(fewest, _)| rows < fewest) {
                best = Some((rows, driver));
            }
        }
        Ok(best.map(|(_, driver)| driver))
    }

    fn driven(&self, connection: &Connection, driver: &Conditions, after: Option<Position>, limit: usize) -> rusqlite::Result<Vec<Row>> {
        let (sql, mut values) = self.driven_sql("rank, id, n", driver, after);
        values.push(Value::from(limit as i64));
        rows_of(connection, &format!("{sql} ORDER BY rank, id LIMIT ?"), values)
    }

    fn driven_sql(&self, what: &str, driver: &Conditions, after: Option<Position>) -> (String, Vec<Value>) {
        let arms: Vec<String> = self.arms.iter().map(|arm| format!("({})", arm.sql())).collect();
        let filters = self.all_filters();
        // Without its indexes the table is read by row number; SQLite would take the list's index for the order, and all of it.
        let mut sql = format!(
            "SELECT {what} FROM {} NOT INDEXED WHERE n IN ({}) AND ({}) AND {}",
            self.shape.table,
            driver.sql(),
            arms.join(" OR "),
            filters.sql()
        );
        let mut values: Vec<Value> = driver.values().chain(self.arms.iter().flat_map(Conditions::values)).chain(filters.values()).collect();
        add_position(&mut sql, &mut values, after);
        (sql, values)
    }

    /// Rows in order from all arms, and the earliest place where an arm stopped at its bound.
    fn scanned(&self, connection: &Connection, after: Option<Position>, limit: usize) -> rusqlite::Result<(Vec<Row>, Option<Position>)> {
        let filters = self.all_filters();
        let mut rows = Vec::new();
        let mut horizon: Option<Position> = None;
        for arm in &self.arms {
            let (inner, mut values) = self.scan_sql(arm, after);
            values.extend(filters.values());
            values.push(Value::from(limit as i64));
            let sql = format!("SELECT rank, id, n FROM ({inner}) WHERE {} LIMIT ?", filters.sql());
            let found = rows_of(connection, &sql, values)?;
            // A page that is not full has seen the arm's end, or the scan's; without filters their lengths tell which.
            let has_seen_all = filters.is_empty() && (found.len() as i64) < self.scan_rows();
            if found.len() < limit
                && !has_seen_all
                && let Some(stopped) = self.bound_of(connection, arm, after)?
            {
                horizon = Some(horizon.map_or(stopped, |earlier| earlier.min(stopped)));
            }
            rows.extend(found);
        }
        Ok((rows, horizon))
    }

    /// Where a scan of an arm stops at its bound; none if it ends before.
    fn bound_of(&self, connection: &Connection, arm: &Conditions, after: Option<Position>) -> rusqlite::Result<Option<Position>> {
        let (sql, mut values) = self.arm_sql("rank, id, n", arm, after);
        values.push(Value::from(self.scan_rows() - 1));
        Ok(rows_of(connection, &format!("{sql} LIMIT 1 OFFSET ?"), values)?.first().map(|(position, _)| *position))
    }

    /// A bounded part of an arm. SQLite runs a sub-query with a LIMIT row by row as its outer query asks, and no further.
    fn scan_sql(&self, arm: &Conditions, after: Option<Position>) -> (String, Vec<Value>) {
        let columns = if self.row_filters.is_empty() { self.shape.columns.to_owned() } else { format!("{}, title", self.shape.columns) };
        let (sql, values) = self.arm_sql(&columns, arm, after);
        (format!("{sql} LIMIT {}", self.scan_rows()), values)
    }

    fn arm_sql(&self, columns: &str, arm: &Conditions, after: Option<Position>) -> (String, Vec<Value>) {
        let Shape { table, index, .. } = self.shape;
        let mut sql = format!("SELECT {columns} FROM {table} INDEXED BY {index} WHERE {}", arm.sql());
        let mut values: Vec<Value> = arm.values().collect();
        add_position(&mut sql, &mut values, after);
        sql.push_str(" ORDER BY rank, id");
        (sql, values)
    }

    fn all_filters(&self) -> Conditions {
        let mut all = self.filters.clone();
        if !self.row_filters.is_empty() {
            all.push(self.row_filters.sql(), self.row_filters.values());
        }
        all
    }

    fn scan_rows(&self) -> i64 {
        let rows = if self.row_filters.is_empty() { self.bounds.scan_rows } else { self.bounds.text_rows };
        i64::from(rows.max(1))
    }
}

fn add_position(sql: &mut String, values: &mut Vec<Value>, after: Option<Position>) {
    if let Some(Position { rank, id }) = after {
        sql.push_str(" AND (rank, id) > (?, ?)");
        values.extend([Value::from(rank), Value::from(id.to_vec())]);
    }
}

fn rows_of(connection: &Connection, sql: &str, values: Vec<Value>) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((Position { rank: row.get(0)?, id: row.get(1)? }, row.get(2)?)))?;
    rows.collect()
}
