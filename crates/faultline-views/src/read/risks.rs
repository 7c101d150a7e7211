//! Risks: the list, one by its id, and the one that a finding is part of.

use std::ops::ControlFlow;

use faultline_model::asset::AssetId;
use faultline_model::id::Id;
use faultline_model::risk::{self, Risk};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::bodies;
use super::conditions::{Conditions, like};
use super::list::{Query, Shape};
use crate::apply::HIGHEST;
use crate::codes;
use crate::error::ViewError;
use crate::filter::{RiskFilter, TEXT_BYTES};
use crate::options::{Bodies, Bounds};
use crate::page::{ListKind, PAGE_ITEMS, Page, Position, Total};
use crate::views::Views;
use crate::within::Within;
use crate::words::{self, NOBODY, Word};

const SHAPE: Shape = Shape {
    table: "risk",
    index: "risk_list",
    columns: "n, state, rank, id, band, evidence, family, service, asset, assigned, kinds, tools, first_seen",
};

impl Views {
    /// Risks by score, the highest first, then by id. The total is exact for filters by state, band, evidence, service and node,
    /// and by whose rows may be seen.
    pub fn risks(&self, filter: &RiskFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Risk>, ViewError> {
        let after = cursor.map(|text| Position::from_cursor(text, &self.options.cursors, ListKind::Risks, filter)).transpose()?;
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let Some(query) = query(&snapshot, self.options.bounds, filter)? else {
            // Something that was named is unknown, so nothing has it.
            let total = after.is_none().then_some(Total { count: 0, is_exact: true });
            return Ok(Page { items: Vec::new(), next: None, total, unreadable: 0 });
        };
        let listed = query.page(&snapshot, after, limit.clamp(1, PAGE_ITEMS))?;
        let (items, unreadable) = bodies::all(listed.rows, |number| bodies::risk(&snapshot, &self.options.bodies, number))?;
        let total = match after {
            None => Some(total(&snapshot, filter, &query)?),
            Some(_) => None,
        };
        let next = listed.next.map(|position| position.to_cursor(&self.options.cursors, ListKind::Risks, filter));
        Ok(Page { items, next, total, unreadable })
    }

    /// Visits every risk of a filter as they are at one moment, the highest score first, until the visitor says that it is enough. Gives how many cannot
    /// be read.
    pub fn each_risk(&self, filter: &RiskFilter, visit: &mut dyn FnMut(Risk) -> ControlFlow<()>) -> Result<usize, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let Some(query) = query(&snapshot, self.options.bounds, filter)? else { return Ok(0) };
        let (mut after, mut unreadable) = (None, 0);
        loop {
            let listed = query.page(&snapshot, after, PAGE_ITEMS)?;
            let (items, unread) = bodies::all(listed.rows, |number| bodies::risk(&snapshot, &self.options.bodies, number))?;
            unreadable += unread;
            for risk in items {
                if visit(risk).is_break() {
                    return Ok(unreadable);
                }
            }
            after = listed.next;
            if after.is_none() {
                return Ok(unreadable);
            }
        }
    }

    /// The risk of an id; also one that took in the risk which had the id. Of these, one that a reader may see.
    pub fn risk(&self, id: Id, within: &Within) -> Result<Option<Risk>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        by_id(&snapshot, &self.options.bodies, id, within)
    }

    /// The risks that a finding is part of, as its home or cited, of all services that a reader may see; the highest score first.
    pub fn risks_of_finding(&self, finding: Id, within: &Within) -> Result<Vec<Risk>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        risks_of(&snapshot, &self.options.bodies, finding, within)
    }
}

pub(super) fn by_id(connection: &Connection, bodies: &Bodies, id: Id, within: &Within) -> Result<Option<Risk>, ViewError> {
    match number_of(connection, id, within)? {
        Some(number) => bodies::risk(connection, bodies, number),
        None => Ok(None),
    }
}

/// The service of a row of `risk_name`.
pub(super) const SERVICE_OF_NAME: &str = "(SELECT service FROM risk WHERE risk.n = risk_name.n)";

/// Rows of an id that a reader may see, by the column that has their service.
pub(super) fn of_id(id: Id, column: &str, within: &Within) -> Conditions {
    let mut which = Conditions::of("id = ?", [Value::from(id.0.to_vec())]);
    which.within(column, within);
    which
}

/// The row of a risk by its id, else by a name that leads to it. A name may lead to several: the first of those that may be seen.
fn number_of(connection: &Connection, id: Id, within: &Within) -> Result<Option<i64>, ViewError> {
    for (table, column) in [("risk", "service"), ("risk_name", SERVICE_OF_NAME)] {
        let which = of_id(id, column, within);
        let sql = format!("SELECT n FROM {table} WHERE {} ORDER BY n LIMIT 1", which.sql());
        let number = connection.prepare_cached(&sql)?.query_row(params_from_iter(which.values()), |row| row.get(0)).optional()?;
        if number.is_some() {
            return Ok(number);
        }
    }
    Ok(None)
}

/// The rows of risks that a finding may be part of and a reader may see. A risk does not name its founder beside its own id, so that is
/// tried for each service that has the finding.
pub(super) fn numbers_of_finding(connection: &Connection, finding: Id, within: &Within) -> Result<Vec<i64>, ViewError> {
    let named = of_id(finding, SERVICE_OF_NAME, within);
    let mut statement = connection.prepare_cached(&format!("SELECT n FROM risk_name WHERE {}", named.sql()))?;
    let mut numbers = statement.query_map(params_from_iter(named.values()), |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let had = of_id(finding, "service", within);
    let sql = format!("SELECT text FROM word WHERE n IN (SELECT service FROM finding WHERE {})", had.sql());
    let mut statement = connection.prepare_cached(&sql)?;
    let services = statement.query_map(params_from_iter(had.values()), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    for service in services {
        let mut statement = connection.prepare_cached("SELECT n FROM risk WHERE id = ?")?;
        numbers.extend(statement.query_row([risk::id_of(&service, finding).0.as_slice()], |row| row.get::<_, i64>(0)).optional()?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

pub(super) fn risks_of(connection: &Connection, bodies: &Bodies, finding: Id, within: &Within) -> Result<Vec<Risk>, ViewError> {
    let mut risks = Vec::new();
    for number in numbers_of_finding(connection, finding, within)? {
        risks.extend(bodies::risk(connection, bodies, number)?.filter(|risk| risk.findings.iter().any(|member| member.finding == finding)));
    }
    risks.sort_by_key(|risk| (-risk.score.total, risk.risk));
    Ok(risks)
}

/// The filter as conditions; none if it names something that does not exist.
pub(super) fn query(connection: &Connection, bounds: Bounds, filter: &RiskFilter) -> Result<Option<Query<'static>>, ViewError> {
    let states = if filter.states.is_empty() { codes::RISK_STATES.as_slice() } else { filter.states.as_slice() };
    let mut states: Vec<i64> = states.iter().map(|state| codes::code(&codes::RISK_STATES, state)).collect();
    states.sort_unstable();
    states.dedup();
    let arms = states.into_iter().map(|state| {
        let mut arm = Conditions::of("state = ?", [Value::from(state)]);
        if let Some(score) = filter.min_score {
            arm.push("rank <= ?", [Value::from(HIGHEST - i64::from(score))]);
        }
        arm
    });
    let mut query = Query {
        shape: &SHAPE,
        bounds,
        arms: arms.collect(),
        filters: Conditions::default(),
        row_filters: Conditions::default(),
        drivers: Vec::new(),
    };
    let is_known = add_codes(connection, filter, &mut query)? && add_words(connection, filter, &mut query)?;
    Ok(is_known.then_some(query))
}

fn add_codes(connection: &Connection, filter: &RiskFilter, query: &mut Query<'_>) -> Result<bool, ViewError> {
    let filters = &mut query.filters;
    filters.one_of("band", filter.bands.iter().map(|band| codes::severity(*band)));
    filters.one_of("evidence", filter.evidence.iter().map(|state| codes::code(&codes::EVIDENCE, state)));
    if let Some(kind) = filter.kind {
        filters.push(format!("kinds & {} <> 0", codes::kind_bit(kind)), []);
    }
    if let Some(from) = filter.first_seen_from {
        filters.push("first_seen >= ?", [Value::from(from.millis())]);
    }
    if let Some(before) = filter.first_seen_before {
        filters.push("first_seen < ?", [Value::from(before.millis())]);
    }
    if let Some(text) = &filter.text {
        query.row_filters = title_holds(text)?;
    }
    if let Some(tool) = &filter.tool {
        let Some(tool) = words::number_of(connection, Word::Tool, tool)? else {
            return Ok(false);
        };
        filters.push("tools IN (SELECT tools FROM tool_of_set WHERE tool = ?)", [Value::from(tool)]);
    }
    Ok(true)
}

/// A condition on the title.
pub(super) fn title_holds(text: &str) -> Result<Conditions, ViewError> {
    if text.len() > TEXT_BYTES {
        return Err(ViewError::Filter { name: "text", value: text.chars().take(40).collect(), why: "is longer than 200 bytes" });
    }
    Ok(Conditions::of(r"title LIKE ? ESCAPE '\'", [Value::from(like(text))]))
}

/// Filters by names, some of which have an index of their own. False if a name is unknown.
fn add_words(connection: &Connection, filter: &RiskFilter, query: &mut Query<'_>) -> Result<bool, ViewError> {
    let vulnerability = filter.vulnerability.as_ref().map(|name| name.to_ascii_uppercase());
    let named = [
        (Word::Family, filter.family.as_deref(), "family = ?", None),
        (Word::Service, filter.service.as_deref(), "service = ?", Some("SELECT n FROM risk INDEXED BY risk_service WHERE service = ?")),
        (
            Word::Asset,
            filter.asset.as_ref().map(AssetId::as_str),
            "asset = ?",
            Some("SELECT n FROM risk INDEXED BY risk_asset WHERE asset = ?"),
        ),
        (
            Word::Vulnerability,
            vulnerability.as_deref(),
            "n IN (SELECT n FROM risk_vulnerability WHERE vulnerability = ?)",
            Some("SELECT n FROM risk_vulnerability WHERE vulnerability = ?"),
        ),
    ];
    for (kind, name, sql, driver) in named {
        let Some(name) = name else { continue };
        let Some(number) = words::number_of(connection, kind, name)? else {
            return Ok(false);
        };
        add(query, Value::from(number), sql, driver);
    }
    if let Some(node) = &filter.node {
        let driver = "SELECT n FROM risk INDEXED BY risk_service WHERE service IN (SELECT service FROM service_of_node WHERE node = ?)";
        add(query, Value::from(node.clone()), BELOW_NODE, Some(driver));
    }
    if let Some(exception) = filter.exception {
        let rows = "SELECT n FROM risk_exception WHERE exception = ?";
        add(query, Value::from(exception.0.to_vec()), &format!("n IN ({rows})"), Some(rows));
    }
    add_within(query, &filter.within, "SELECT n FROM risk INDEXED BY risk_service");
    match filter.assigned_to.as_deref() {
        None => {}
        Some("") => add(query, Value::from(NOBODY), "assigned = ?", None),
        Some(person) => {
            let Some(number) = words::number_of(connection, Word::Person, person)? else {
                return Ok(false);
            };
            // The index leaves nobody out, and is used only where the query says so too.
            let driver = "SELECT n FROM risk INDEXED BY risk_assigned WHERE assigned = ? AND assigned <> 0";
            add(query, Value::from(number), "assigned = ?", Some(driver));
        }
    }
    Ok(true)
}

/// Services anywhere below a node.
pub(super) const BELOW_NODE: &str = "service IN (SELECT service FROM service_of_node WHERE node = ?)";

/// A filter by one value, and the rows that it leads to where it has an index of its own.
pub(super) fn add(query: &mut Query<'_>, value: Value, sql: &str, driver: Option<&str>) {
    query.filters.push(sql, [value.clone()]);
    query.drivers.extend(driver.map(|driver| Conditions::of(driver, [value])));
}

/// Whose rows may be seen, and how the index of services leads to them.
pub(super) fn add_within(query: &mut Query<'_>, within: &Within, rows: &str) {
    if within.is_everything() {
        return;
    }
    let mut seen = Conditions::default();
    seen.within("service", within);
    query.filters.push(seen.sql(), seen.values());
    query.drivers.push(Conditions::of(format!("{rows} WHERE {}", seen.sql()), seen.values()));
}

/// From the tallies where the filter can be answered by them; else by counting.
fn total(connection: &Connection, filter: &RiskFilter, query: &Query<'_>) -> Result<Total, ViewError> {
    let plain = RiskFilter {
        states: filter.states.clone(),
        bands: filter.bands.clone(),
        evidence: filter.evidence.clone(),
        service: filter.service.clone(),
        node: filter.node.clone(),
        within: filter.within.clone(),
        ..RiskFilter::everything()
    };
    if *filter != plain {
        return Ok(query.total(connection)?);
    }
    let mut conditions = query.filters.clone();
    conditions.one_of("state", filter.states.iter().map(|state| codes::code(&codes::RISK_STATES, state)));
    let sql = format!("SELECT coalesce(sum(risks), 0) FROM tally WHERE {}", conditions.sql());
    let values = params_from_iter(conditions.values());
    let count: i64 = connection.prepare_cached(&sql)?.query_row(values, |row| row.get(0))?;
    Ok(Total { count: count as u64, is_exact: true })
}
