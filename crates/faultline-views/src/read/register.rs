//! The risk register: the list of its entries, one by its id, and who may see one.

use std::collections::BTreeSet;

use faultline_model::catalog::service_key;
use faultline_model::id::Id;
use faultline_model::register::{Attention, RegisterEntry};
use faultline_model::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::bodies;
use super::conditions::Conditions;
use super::list::{Query, Shape};
use crate::codes;
use crate::error::ViewError;
use crate::filter::RegisterFilter;
use crate::options::Bounds;
use crate::page::{ListKind, PAGE_ITEMS, Page, Position};
use crate::views::Views;
use crate::within::Within;
use crate::words::Word;

const SHAPE: Shape = Shape { table: "entry", index: "entry_list", columns: "n, stage, rank, id, watch, review" };

impl Views {
    /// Entries of the risk register, those that end first, then by id. What asks for attention does so now.
    pub fn register(
        &self,
        filter: &RegisterFilter,
        now: Timestamp,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegisterEntry>, ViewError> {
        let after = cursor.map(|text| Position::from_cursor(text, &self.options.cursors, ListKind::Register, filter)).transpose()?;
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let query = query(self.options.bounds, filter, now);
        let listed = query.page(&snapshot, after, limit.clamp(1, PAGE_ITEMS))?;
        let (items, unreadable) = bodies::all(listed.rows, |number| bodies::entry(&snapshot, number))?;
        let total = match after {
            None => Some(query.total(&snapshot)?),
            Some(_) => None,
        };
        let next = listed.next.map(|position| position.to_cursor(&self.options.cursors, ListKind::Register, filter));
        Ok(Page { items, next, total, unreadable })
    }

    /// An entry of the risk register, if a reader may see it.
    pub fn register_entry(&self, id: Id, within: &Within) -> Result<Option<RegisterEntry>, ViewError> {
        let reader = self.connections.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        match number_of(&snapshot, id, within)? {
            Some(number) => bodies::entry(&snapshot, number),
            None => Ok(None),
        }
    }
}

impl Views {
    /// Whether a reader reaches all of these names, which are at least one: each stands at or below a name of every part. Everything reaches
    /// everywhere too, which no name says.
    pub fn reaches(&self, names: &[String], within: &Within) -> Result<bool, ViewError> {
        if within.is_everything() {
            return Ok(true);
        }
        let reader = self.connections.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        for part in within.each() {
            let below = at_or_below(part);
            let mut statement = snapshot.prepare_cached(&below.sql())?;
            let known = statement.query_map(params_from_iter(below.values()), |row| row.get::<_, String>(0))?;
            let known = known.collect::<rusqlite::Result<BTreeSet<_>>>()?;
            if !names.iter().all(|name| known.contains(name)) {
                return Ok(false);
            }
        }
        Ok(!names.is_empty())
    }

    /// The first of these names that is none by which a scope may be restricted, as far as a reader may see: a node, or a service with its prefix.
    pub fn unknown_name(&self, names: &[String], within: &Within) -> Result<Option<String>, ViewError> {
        let nodes = if names.iter().all(|name| name.starts_with(&service_key(""))) { Vec::new() } else { self.node_ids(within)? };
        for name in names {
            let is_known = match name.strip_prefix(&service_key("")) {
                Some(service) => self.has_service(service)? && self.reaches(std::slice::from_ref(name), within)?,
                None => nodes.contains(name),
            };
            if !is_known {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Whether anything is known of a service, be it only what was found there.
    fn has_service(&self, service: &str) -> Result<bool, ViewError> {
        let reader = self.connections.reader()?;
        let sql = "SELECT 1 FROM word WHERE kind = ? AND text = ?";
        Ok(reader.prepare_cached(sql)?.query_row((Word::Service as i64, service), |_| Ok(())).optional()?.is_some())
    }
}

/// Whether an entry is known and a reader may see it.
pub(super) fn shows(connection: &Connection, id: Id, within: &Within) -> Result<bool, ViewError> {
    Ok(number_of(connection, id, within)?.is_some())
}

fn number_of(connection: &Connection, id: Id, within: &Within) -> Result<Option<i64>, ViewError> {
    let mut which = Conditions::of("id = ?", [Value::from(id.0.to_vec())]);
    let seen = seen(within);
    which.push(seen.sql(), seen.values());
    let sql = format!("SELECT n FROM entry WHERE {}", which.sql());
    Ok(connection.prepare_cached(&sql)?.query_row(params_from_iter(which.values()), |row| row.get(0)).optional()?)
}

/// Entries that a reader may see, over the column `n` of an entry. An entry is of all that its scope may reach: who sees a part of the
/// organisation sees those that reach nothing outside, and none that is everywhere.
pub(super) fn seen(within: &Within) -> Conditions {
    let mut seen = Conditions::default();
    if within.is_everything() {
        return seen;
    }
    seen.push("EXISTS (SELECT 1 FROM entry_within w WHERE w.entry = n)", []);
    for part in within.each() {
        let below = at_or_below(part);
        seen.push(
            format!("NOT EXISTS (SELECT 1 FROM entry_within w WHERE w.entry = n AND w.name NOT IN ({}))", below.sql()),
            below.values(),
        );
    }
    seen
}

fn query(bounds: Bounds, filter: &RegisterFilter, now: Timestamp) -> Query<'static> {
    let stages = if filter.stages.is_empty() { codes::STAGES.as_slice() } else { filter.stages.as_slice() };
    let stages: BTreeSet<i64> = stages.iter().map(|stage| codes::code(&codes::STAGES, stage)).collect();
    let mut filters = seen(&filter.within);
    if let Some(node) = &filter.node {
        let near = near(node);
        filters.push(near.sql(), near.values());
    }
    if !filter.attention.is_empty() {
        let review = if filter.attention.contains(&Attention::ReviewDue) { now.millis() } else { i64::MIN };
        filters.push("(watch & ? <> 0 OR review <= ?)", [Value::from(codes::bits(&filter.attention)), Value::from(review)]);
    }
    Query {
        shape: &SHAPE,
        bounds,
        arms: stages.into_iter().map(|stage| Conditions::of("stage = ?", [Value::from(stage)])).collect(),
        filters,
        row_filters: Conditions::default(),
        drivers: Vec::new(),
    }
}

/// Entries whose scope is everywhere, or names a node, one below it or one above it.
fn near(node: &str) -> Conditions {
    let below = at_or_below(&BTreeSet::from([node.to_owned()]));
    let above = above(node);
    let sql = format!(
        "(NOT EXISTS (SELECT 1 FROM entry_within w WHERE w.entry = n) OR EXISTS (SELECT 1 FROM entry_within w WHERE w.entry = n AND \
         (w.name = ? OR w.name IN ({}) OR w.name IN ({}))))",
        below.sql(),
        above.sql()
    );
    Conditions::of(sql, [Value::from(node.to_owned())].into_iter().chain(below.values()).chain(above.values()))
}

/// A SELECT of the names that the catalog has at or below one of some: nodes by their parents, services by their paths. What is named
/// itself need not be in the catalog, as with services' rows. UNION leaves a circle of nodes, which only a catalog amid an apply may have.
fn at_or_below(names: &BTreeSet<String>) -> Conditions {
    let marks = vec!["?"; names.len()].join(", ");
    let sql = format!(
        "WITH RECURSIVE below (name) AS (\
         SELECT node FROM node_parent WHERE node IN ({marks}) OR parent IN ({marks}) \
         UNION SELECT node_parent.node FROM below JOIN node_parent ON node_parent.parent = below.name) \
         SELECT name FROM below UNION ALL SELECT '{}' || word.text FROM service_of_node JOIN word ON word.n = service_of_node.service \
         WHERE service_of_node.node IN ({marks})",
        service_key("")
    );
    let values = || names.iter().cloned().map(Value::from);
    Conditions::of(sql, values().chain(values()).chain(values()))
}

/// A SELECT of the names above a node or a service.
fn above(name: &str) -> Conditions {
    let service = name.strip_prefix(&service_key("")).unwrap_or_default();
    let sql = format!(
        "WITH RECURSIVE above (name) AS (\
         SELECT parent FROM node_parent WHERE node = ? AND parent IS NOT NULL \
         UNION SELECT node FROM service_of_node WHERE service = (SELECT n FROM word WHERE kind = {} AND text = ?) \
         UNION SELECT node_parent.parent FROM above JOIN node_parent ON node_parent.node = above.name WHERE parent IS NOT NULL) \
         SELECT name FROM above",
        Word::Service as i64
    );
    Conditions::of(sql, [Value::from(name.to_owned()), Value::from(service.to_owned())])
}
