//! What an exception would cover: the risks of a scope as they are now, by the same meaning as correlate gives it.

use std::collections::BTreeSet;

use faultline_model::asset::AssetId;
use faultline_model::catalog::service_key;
use faultline_model::exception::Scope;
use faultline_model::id::Id;
use faultline_model::locus::Locus;
use faultline_model::risk::{self, Risk, RiskState};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;
use super::{bodies, risks};
use crate::error::ViewError;
use crate::filter::RiskFilter;
use crate::options::Options;
use crate::page::{PAGE_ITEMS, Position};
use crate::views::Views;
use crate::within::Within;
use crate::words::Word;

/// The risks that count, whatever holds for them now.
const STATES: [RiskState; 2] = [RiskState::Open, RiskState::Accepted];

/// Risks of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    pub count: u64,
    /// Else there are at least so many: looking stopped at its bound, or a body cannot be read.
    pub is_exact: bool,
    /// Those with the highest scores, then by id, among what was looked at.
    pub risks: Vec<Risk>,
}

impl Covered {
    const NOTHING: Self = Self { count: 0, is_exact: true, risks: Vec::new() };
}

impl Views {
    /// The open and accepted risks that an exception of this scope would cover, of those that a reader may see; the `most` highest of
    /// them, which are at most a page. No more is looked at than a page of a list looks at: a package stands in bodies only, so of a
    /// scope with one so many bodies are read as rows are for a text.
    pub fn covered(&self, scope: &Scope, within: &Within, most: usize) -> Result<Covered, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let preview = Preview { connection: &snapshot, options: &self.options, scope, within, most: most.min(PAGE_ITEMS) };
        if scope.founders.is_empty() { preview.named() } else { preview.founded() }
    }
}

/// A preview in work.
struct Preview<'a> {
    connection: &'a Connection,
    options: &'a Options,
    scope: &'a Scope,
    within: &'a Within,
    most: usize,
}

impl Preview<'_> {
    /// Risks that have all that is named.
    fn named(&self) -> Result<Covered, ViewError> {
        let Some(filter) = self.filter() else { return Ok(Covered::NOTHING) };
        let Some(mut query) = risks::query(self.connection, self.options.bounds, &filter)? else {
            return Ok(Covered::NOTHING);
        };
        if !self.scope.within.is_empty() {
            let reached = reached(self.scope);
            query.filters.push(reached.sql(), reached.values());
            let rows = format!("SELECT n FROM risk INDEXED BY risk_service WHERE {}", reached.sql());
            query.drivers.push(Conditions::of(rows, reached.values()));
        }
        if self.scope.package.is_empty() {
            let total = query.total(self.connection)?;
            let listed = query.page(self.connection, None, self.most.max(1))?;
            return Ok(Covered { count: total.count, is_exact: total.is_exact, ..self.read(listed.rows)? });
        }
        let listed = query.page(self.connection, None, self.bodies_most().max(1))?;
        let is_all = listed.next.is_none();
        let covered = self.read(listed.rows)?;
        Ok(Covered { is_exact: covered.is_exact && is_all, ..covered })
    }

    /// Risks that are anchored where one of the named findings is. These are found by the ids that the findings found alone.
    fn founded(&self) -> Result<Covered, ViewError> {
        let (mut rows, mut left, mut is_all) = (BTreeSet::new(), self.bodies_most(), true);
        for founder in &self.scope.founders {
            let mut services = self.services_with(*founder, left + 1)?;
            is_all &= services.len() <= left;
            services.truncate(left);
            left -= services.len();
            for service in services {
                rows.extend(self.rows_of(risk::id_of(&service, *founder))?);
            }
        }
        is_all &= rows.len() <= self.bodies_most();
        let covered = self.read(rows.into_iter().map(|(_, number)| number).take(self.bodies_most()))?;
        Ok(Covered { is_exact: covered.is_exact && is_all, ..covered })
    }

    /// What is named, as far as columns have it; none if nothing can have it.
    fn filter(&self) -> Option<RiskFilter> {
        let Scope { founders: _, vulnerability, package: _, asset, family, within: _ } = self.scope;
        if self.scope.is_everything() {
            return None;
        }
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let asset = match named(asset) {
            None => None,
            // Assets are compared as they are written.
            Some(asset) => Some(asset.parse::<AssetId>().ok().filter(|read| read.as_str() == asset)?),
        };
        Some(RiskFilter {
            states: STATES.to_vec(),
            vulnerability: named(vulnerability),
            asset,
            family: named(family),
            within: self.within.clone(),
            ..RiskFilter::everything()
        })
    }

    /// Services of the scope that have a finding and may be seen.
    fn services_with(&self, finding: Id, most: usize) -> Result<Vec<String>, ViewError> {
        let mut which = risks::of_id(finding, "service", self.within);
        if !self.scope.within.is_empty() {
            let reached = reached(self.scope);
            which.push(reached.sql(), reached.values());
        }
        let sql = format!(
            "SELECT word.text FROM finding INDEXED BY finding_id JOIN word ON word.n = finding.service WHERE {} LIMIT {most}",
            which.sql()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let services = statement.query_map(params_from_iter(which.values()), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(services)
    }

    /// The rows of an id, which a risk has itself or in `also`, with their places in the list.
    fn rows_of(&self, id: Id) -> Result<Vec<(Position, i64)>, ViewError> {
        let sql = "SELECT rank, id, n FROM risk WHERE id = ?1 \
                   UNION SELECT risk.rank, risk.id, risk.n FROM risk_name JOIN risk ON risk.n = risk_name.n WHERE risk_name.id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([id.0.as_slice()], |row| Ok((Position { rank: row.get(0)?, id: row.get(1)? }, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Those of some rows that are covered, by their bodies.
    fn read(&self, rows: impl IntoIterator<Item = i64>) -> Result<Covered, ViewError> {
        let mut covered = Covered::NOTHING;
        for number in rows {
            match bodies::risk(self.connection, &self.options.bodies, number) {
                Ok(Some(risk)) if covers(self.scope, &risk) => {
                    covered.count += 1;
                    if covered.risks.len() < self.most {
                        covered.risks.push(risk);
                    }
                }
                Ok(_) => {}
                Err(ViewError::Corrupt { .. }) => covered.is_exact = false,
                Err(error) => return Err(error),
            }
        }
        Ok(covered)
    }

    /// The most bodies that are read.
    fn bodies_most(&self) -> usize {
        self.options.bounds.text_rows as usize
    }
}

/// Services that a scope reaches, over the column `service`. A name of one service is that service's also where the catalog lacks it.
fn reached(scope: &Scope) -> Conditions {
    let prefix = service_key("");
    let services: Vec<&str> = scope.within.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
    let marks = |count: usize| vec!["?"; count].join(", ");
    let sql = format!(
        "(service IN (SELECT service FROM service_of_node WHERE node IN ({})) \
         OR service IN (SELECT n FROM word WHERE kind = {} AND text IN ({})))",
        marks(scope.within.len()),
        Word::Service as i64,
        marks(services.len())
    );
    let names = scope.within.iter().map(String::as_str).chain(services);
    Conditions::of(sql, names.map(|name| Value::from(name.to_owned())))
}

/// Whether a scope covers a risk of a service that it reaches.
fn covers(scope: &Scope, risk: &Risk) -> bool {
    let is_meant = if scope.founders.is_empty() { has_all(scope, risk) } else { is_anchored(scope, risk) };
    STATES.contains(&risk.state) && is_meant
}

fn has_all(scope: &Scope, risk: &Risk) -> bool {
    let Scope { founders: _, vulnerability, package, asset, family, within: _ } = scope;
    (vulnerability.is_empty() || risk.vulnerabilities.iter().any(|id| id.eq_ignore_ascii_case(vulnerability)))
        && (package.is_empty() || matches!(&risk.anchor, Locus::Package(at) if at.purl == *package))
        && (asset.is_empty() || risk.asset.as_str() == asset)
        && (family.is_empty() || risk.family == *family)
}

/// Whether one of the named findings is at its anchor, and not cited there only.
fn is_anchored(scope: &Scope, risk: &Risk) -> bool {
    let is_cited = |finding: Id| risk.findings.iter().any(|member| member.finding == finding && !member.is_home);
    let mut founders = scope.founders.iter().copied();
    founders.any(|founder| {
        let id = risk::id_of(&risk.service, founder);
        (risk.risk == id || risk.also.contains(&id)) && !is_cited(founder)
    })
}
