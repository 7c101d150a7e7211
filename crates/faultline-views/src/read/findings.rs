//! Findings: the list, and one by its id.

use faultline_model::asset::AssetId;
use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::tracked::TrackedFinding;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::bodies;
use super::conditions::Conditions;
use super::list::{Query, Shape};
use super::risks::{BELOW_NODE, add, add_within, of_id, title_holds};
use crate::apply::shelf;
use crate::codes;
use crate::error::ViewError;
use crate::filter::FindingFilter;
use crate::options::{Bodies, Bounds};
use crate::page::{ListKind, PAGE_ITEMS, Page, Position, Total};
use crate::views::Views;
use crate::within::Within;
use crate::words::{self, NOBODY, Word};

const SHAPE: Shape = Shape {
    table: "finding",
    index: "finding_list",
    columns: "n, shelf, state, rank, id, service, tool, kind, rule, asset, verdict, assigned, first_seen",
};

/// A finding with what its lines of scans say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFinding {
    pub finding: TrackedFinding,
    /// When the newest complete scan of the lines that have it began; none if no line has it.
    pub last_seen: Option<Timestamp>,
}

impl Views {
    /// Findings by severity, the highest first, then by id.
    pub fn findings(&self, filter: &FindingFilter, cursor: Option<&str>, limit: usize) -> Result<Page<ListedFinding>, ViewError> {
        let after = cursor.map(|text| Position::from_cursor(text, &self.options.cursors, ListKind::Findings, filter)).transpose()?;
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let Some(query) = query(&snapshot, self.options.bounds, filter)? else {
            // Something that was named is unknown, so nothing has it.
            let total = after.is_none().then_some(Total { count: 0, is_exact: true });
            return Ok(Page { items: Vec::new(), next: None, total, unreadable: 0 });
        };
        let listed = query.page(&snapshot, after, limit.clamp(1, PAGE_ITEMS))?;
        let (items, unreadable) = bodies::all(listed.rows, |number| of_row(&snapshot, &self.options.bodies, number))?;
        let total = match after {
            None => Some(query.total(&snapshot)?),
            Some(_) => None,
        };
        let next = listed.next.map(|position| position.to_cursor(&self.options.cursors, ListKind::Findings, filter));
        Ok(Page { items, next, total, unreadable })
    }

    /// A finding: as its owner has it where it is published, else as a service that uses it has it; of these, what a reader may see.
    pub fn finding(&self, id: Id, within: &Within) -> Result<Option<ListedFinding>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        Ok(findings_of(&snapshot, &self.options.bodies, id, within)?.into_iter().next())
    }
}

/// A finding in each service that has it and may be seen, the owner first.
pub(super) fn findings_of(connection: &Connection, bodies: &Bodies, id: Id, within: &Within) -> Result<Vec<ListedFinding>, ViewError> {
    let which = of_id(id, "service", within);
    let mut statement = connection.prepare_cached(&format!("SELECT n FROM finding WHERE {} ORDER BY shelf, service", which.sql()))?;
    let numbers = statement.query_map(params_from_iter(which.values()), |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut found = Vec::new();
    for number in numbers {
        found.extend(of_row(connection, bodies, number)?);
    }
    Ok(found)
}

fn of_row(connection: &Connection, bodies: &Bodies, number: i64) -> Result<Option<ListedFinding>, ViewError> {
    let Some(finding) = bodies::finding(connection, bodies, number)? else {
        return Ok(None);
    };
    let mut last_seen: Option<i64> = None;
    let mut statement = connection.prepare_cached("SELECT max(last_seen) FROM line WHERE id = ?")?;
    for line in &finding.lines {
        last_seen = last_seen.max(statement.query_row([line.0.as_slice()], |row| row.get(0))?);
    }
    Ok(Some(ListedFinding { finding, last_seen: last_seen.map(Timestamp::from_millis) }))
}

/// The filter as conditions; none if it names something that does not exist.
fn query(connection: &Connection, bounds: Bounds, filter: &FindingFilter) -> Result<Option<Query<'static>>, ViewError> {
    let states = if filter.states.is_empty() { codes::FINDING_STATES.as_slice() } else { filter.states.as_slice() };
    let mut states: Vec<i64> = states.iter().map(|state| codes::code(&codes::FINDING_STATES, state)).collect();
    states.sort_unstable();
    states.dedup();
    let arms = shelves(filter).into_iter().flat_map(|shelf| {
        let arm = move |state: &i64| Conditions::of("shelf = ? AND state = ?", [Value::from(shelf), Value::from(*state)]);
        states.iter().map(arm).collect::<Vec<_>>()
    });
    let mut query = Query {
        shape: &SHAPE,
        bounds,
        arms: arms.collect(),
        filters: Conditions::default(),
        row_filters: Conditions::default(),
        drivers: Vec::new(),
    };
    add_codes(filter, &mut query)?;
    Ok(add_words(connection, filter, &mut query)?.then_some(query))
}

/// Where the rows stand that a filter may show. Of all services together, each finding stands once.
fn shelves(filter: &FindingFilter) -> Vec<i64> {
    let mut shelves = Vec::new();
    for is_owner in [true, false] {
        for is_preview in [false, true] {
            if (is_owner || filter.service.is_some()) && (!is_preview || filter.with_previews) {
                shelves.push(shelf(is_owner, is_preview));
            }
        }
    }
    shelves
}

fn add_codes(filter: &FindingFilter, query: &mut Query<'_>) -> Result<(), ViewError> {
    let filters = &mut query.filters;
    filters.one_of("rank", filter.severities.iter().map(|severity| 4 - codes::severity(*severity)));
    filters.one_of("kind", filter.kind.map(codes::kind_bit));
    filters.one_of("verdict", filter.verdict.map(|verdict| codes::verdict(Some(verdict))));
    if let Some(from) = filter.first_seen_from {
        filters.push("first_seen >= ?", [Value::from(from.millis())]);
    }
    if let Some(before) = filter.first_seen_before {
        filters.push("first_seen < ?", [Value::from(before.millis())]);
    }
    if let Some(text) = &filter.text {
        query.row_filters = title_holds(text)?;
    }
    Ok(())
}

/// Filters by names, some of which have an index of their own. False if a name is unknown.
fn add_words(connection: &Connection, filter: &FindingFilter, query: &mut Query<'_>) -> Result<bool, ViewError> {
    let named = [
        (Word::Tool, filter.tool.as_deref(), "tool = ?", None),
        (
            Word::Service,
            filter.service.as_deref(),
            "service = ?",
            Some("SELECT n FROM finding INDEXED BY finding_service WHERE service = ?"),
        ),
        (
            Word::Asset,
            filter.asset.as_ref().map(AssetId::as_str),
            "asset = ?",
            Some("SELECT n FROM finding INDEXED BY finding_asset WHERE asset = ?"),
        ),
        (Word::Rule, filter.rule.as_deref(), "rule = ?", Some("SELECT n FROM finding INDEXED BY finding_rule WHERE rule = ?")),
    ];
    for (kind, name, sql, driver) in named {
        let Some(name) = name else { continue };
        let Some(number) = words::number_of(connection, kind, name)? else {
            return Ok(false);
        };
        add(query, Value::from(number), sql, driver);
    }
    if let Some(node) = &filter.node {
        let driver =
            "SELECT n FROM finding INDEXED BY finding_service WHERE service IN (SELECT service FROM service_of_node WHERE node = ?)";
        add(query, Value::from(node.clone()), BELOW_NODE, Some(driver));
    }
    add_within(query, &filter.within, "SELECT n FROM finding INDEXED BY finding_service");
    match filter.assigned_to.as_deref() {
        None => {}
        Some("") => add(query, Value::from(NOBODY), "assigned = ?", None),
        Some(person) => {
            let Some(number) = words::number_of(connection, Word::Person, person)? else {
                return Ok(false);
            };
            let driver = "SELECT n FROM finding INDEXED BY finding_assigned WHERE assigned = ? AND assigned <> 0";
            add(query, Value::from(number), "assigned = ?", Some(driver));
        }
    }
    Ok(true)
}
