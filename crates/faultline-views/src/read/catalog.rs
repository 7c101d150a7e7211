//! The organisation with what it carries: nodes, services, and places that nobody owns.

use std::collections::BTreeMap;
use std::iter::successors;

use faultline_model::catalog::{self, CatalogRecord, Head, Node, Service, UNASSIGNED};
use faultline_model::fixed;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::bodies;
use super::conditions::Conditions;
use super::summary::{self, Summary};
use crate::codes;
use crate::error::ViewError;
use crate::views::Views;
use crate::within::Within;
use crate::words::{self, Word};

/// The most services that are listed, those with the highest roll-up.
pub const SERVICES_LISTED: usize = 10_000;

/// A service with what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSummary {
    pub id: String,
    /// As the catalog has it; none for a place that no rule matches, or a service that left the catalog.
    pub service: Option<Service>,
    pub open: u64,
    /// 100 × log2(Σ 2^(score/100)) over open risks.
    pub roll_up: u32,
}

/// A node with what the services below it carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    pub node: Node,
    pub summary: Summary,
}

impl Views {
    /// Services by roll-up, the highest first, then by id: those of the catalog and all that have open risks, of what a reader may see;
    /// at most 10,000.
    pub fn services(&self, node: Option<&str>, within: &Within) -> Result<Vec<ServiceSummary>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let mut which = Conditions::of(
            "(w.n IN (SELECT service FROM tally WHERE state = 0) OR 'service/' || w.text IN (SELECT key FROM catalog WHERE kind = 'service'))",
            [],
        );
        if let Some(node) = node {
            which.push("w.n IN (SELECT service FROM service_of_node WHERE node = ?)", [Value::from(node.to_owned())]);
        }
        which.within("w.n", within);
        services(&snapshot, &which)
    }

    /// Services that stand for a place which no rule of the catalog matches, and that have a finding or risk. They stand below nothing,
    /// so a reader who may not see everything sees none.
    pub fn unassigned(&self, within: &Within) -> Result<Vec<ServiceSummary>, ViewError> {
        if !within.is_everything() {
            return Ok(Vec::new());
        }
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        // `0` follows `/`: all texts that begin with the prefix.
        let end = UNASSIGNED.replace('/', "0");
        let mut which = Conditions::of("w.text >= ? AND w.text < ?", [Value::from(UNASSIGNED.to_owned()), Value::from(end)]);
        which.push(
            "(EXISTS (SELECT 1 FROM finding f WHERE f.service = w.n AND f.state = 0) OR EXISTS (SELECT 1 FROM tally t WHERE t.service = w.n AND t.state = 0))",
            [],
        );
        services(&snapshot, &which)
    }

    /// The nodes that a reader may see, by id.
    pub fn nodes(&self, within: &Within) -> Result<Vec<NodeSummary>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let mut listed = Vec::new();
        for node in nodes(&snapshot, within)? {
            let summary = summary::of(&snapshot, &summary::services(Some(&node.id), within))?;
            listed.push(NodeSummary { node, summary });
        }
        Ok(listed)
    }

    /// The ids of the nodes that a reader may see, in order.
    pub fn node_ids(&self, within: &Within) -> Result<Vec<String>, ViewError> {
        Ok(nodes(&*self.reader()?, within)?.into_iter().map(|node| node.id).collect())
    }

    /// Which version of the catalog holds; none before the first apply.
    pub fn catalog_head(&self) -> Result<Option<Head>, ViewError> {
        Ok(match record(&*self.reader()?, catalog::HEAD_KEY)? {
            Some(CatalogRecord::Head(head)) => Some(head),
            _ => None,
        })
    }
}

/// Nodes of which each part names the node itself or one above it: all that stands below such a node may be seen.
fn nodes(connection: &Connection, within: &Within) -> Result<Vec<Node>, ViewError> {
    let mut statement = connection.prepare_cached("SELECT body FROM catalog WHERE kind = 'node' ORDER BY key")?;
    let bodies = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut nodes = Vec::with_capacity(bodies.len());
    for body in bodies {
        if let CatalogRecord::Node(node) = bodies::decoded(&body, "catalog", 0)? {
            nodes.push(node);
        }
    }
    let parents: BTreeMap<String, String> = nodes.iter().map(|node| (node.id.clone(), node.parent.clone())).collect();
    nodes.retain(|node| within.has(upwards(&parents, &node.id)));
    Ok(nodes)
}

/// A node and those above it. A circle, which only a catalog amid an apply may have, is left after as many steps as there are nodes.
fn upwards<'a>(parents: &'a BTreeMap<String, String>, id: &'a str) -> impl Iterator<Item = &'a str> + Clone {
    let above = move |id: &&'a str| parents.get(*id).map(String::as_str).filter(|parent| !parent.is_empty());
    successors(Some(id), above).take(parents.len() + 1)
}

fn services(connection: &Connection, which: &Conditions) -> Result<Vec<ServiceSummary>, ViewError> {
    let open = codes::code(&codes::RISK_STATES, &faultline_model::risk::RiskState::Open);
    let sql = format!(
        "SELECT w.text, coalesce(sum(t.risks), 0), coalesce(sum(t.loss), 0) AS loss FROM word w LEFT JOIN tally t ON t.service = w.n AND t.state = {open} \
         WHERE w.kind = {} AND {} GROUP BY w.n ORDER BY loss DESC, w.text LIMIT {SERVICES_LISTED}",
        Word::Service as i64,
        which.sql()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(which.values()), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))
    })?;
    let mut listed = Vec::new();
    for row in rows {
        let (id, open, loss) = row?;
        let service = match record(connection, &catalog::service_key(&id))? {
            Some(CatalogRecord::Service(service)) => Some(service),
            _ => None,
        };
        listed.push(ServiceSummary { id, service, open, roll_up: fixed::roll_up(loss) });
    }
    Ok(listed)
}

fn record(connection: &Connection, key: &str) -> Result<Option<CatalogRecord>, ViewError> {
    let mut statement = connection.prepare_cached("SELECT body FROM catalog WHERE key = ?")?;
    let body: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
    body.map(|body| bodies::decoded(&body, "catalog", 0)).transpose()
}

/// How many routes and visits a service has.
pub(super) fn routes(connection: &Connection, service: &str) -> Result<(u64, u64), ViewError> {
    let Some(service) = words::number_of(connection, Word::Service, service)? else {
        return Ok((0, 0));
    };
    let mut statement = connection.prepare_cached("SELECT count(*) FROM route WHERE service = ? AND is_visit = ?")?;
    let mut count = |is_visit: bool| statement.query_row((service, is_visit), |row| row.get::<_, i64>(0)).map(|count| count as u64);
    Ok((count(false)?, count(true)?))
}
