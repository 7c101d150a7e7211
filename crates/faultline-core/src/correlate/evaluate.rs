//! What a unit yields: its groups, their links, and the risks that are anchored in it. Reads facts through indexes, writes nothing
//! but copies of what it looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use faultline_model::id::Id;
use faultline_model::risk::{Risk, id_of};
use faultline_model::time::Timestamp;

use super::assemble::{Context, Part, Parts, assemble};
use super::copies;
use super::covering::{About, Index, cover};
use super::facts::{Entry, Finding, IntelById, Lines, Place, ServiceFacts, Visit, asset_id};
use super::groups::{self, Group, times};
use super::links::{self, Candidate, RouteGroup, best, candidate};
use super::publish::{Found, Several, Yield};
use super::route_maps::RouteMaps;
use super::shares::Claim;
use super::tables::{Table, rows_by};
use super::units::{FINDINGS_MOST, Grain};
use crate::policy::Policy;
use crate::row::StageTable;
use crate::stage::{Batch, StageError};
use crate::store::{Overlay, Store, StoreError};
use crate::tickets::TicketPolicy;

/// The most units that are kept at hand during one run.
const UNITS_KEPT: usize = 1024;

/// A unit with its groups.
struct Unit {
    findings: Vec<Finding>,
    groups: Vec<Group>,
    several: Option<Several>,
}

/// A group of route findings with the code groups that it is linked with, its home first.
struct Linked {
    routes: Rc<Unit>,
    group: usize,
    candidates: Vec<Candidate>,
}

/// One run over units while no fact changes: what was read once is kept at hand.
pub struct Run {
    policy: Arc<Policy>,
    now: Timestamp,
    /// The service that was looked at last: units come in the order of their services.
    service: Option<(String, Rc<ServiceFacts>)>,
    pub route_maps: RouteMaps,
    pub exceptions: Arc<Index>,
    /// Where its mode is on.
    tickets: Option<Arc<TicketPolicy>>,
    /// Findings as the batch wrote them, by the keys of their rows.
    fresh: HashMap<Vec<u8>, Finding>,
    units: HashMap<(String, Id), Rc<Unit>>,
    /// Findings beyond the bound of their unit, files and links beyond theirs.
    pub cut: u64,
}

impl Run {
    pub fn new(
        (policy, exceptions, tickets): (Arc<Policy>, Arc<Index>, Option<Arc<TicketPolicy>>),
        now: Timestamp,
        fresh: HashMap<Vec<u8>, Finding>,
    ) -> Self {
        Self { policy, exceptions, tickets, now, service: None, route_maps: RouteMaps::default(), fresh, units: HashMap::new(), cut: 0 }
    }

    /// What a unit yields. Without a row of what was published of it no finding of it is below this batch.
    pub fn evaluate(&mut self, batch: &mut Batch<'_>, service: &str, grain: &Grain, id: Id, is_stored: bool) -> Result<Yield, StageError> {
        let facts = self.facts_of(batch, service)?;
        let state = &batch.state;
        let unit = self.unit(state, service, id, Some(is_stored))?;
        let risks = match grain {
            Grain::Code { asset, file } => self.code(state, service, &facts, &unit, asset, file)?,
            Grain::Route { template } => self.routes(state, service, &facts, &unit, template)?,
            _ => {
                let risk = |group| self.risk(state, service, &facts, anchored(&unit.findings, group));
                unit.groups.iter().map(risk).collect::<Result<_, _>>()?
            }
        };
        Ok(Yield { grain: grain.clone(), is_empty: unit.findings.is_empty(), several: unit.several, risks })
    }

    fn facts_of(&mut self, batch: &mut Batch<'_>, service: &str) -> Result<Rc<ServiceFacts>, StageError> {
        if let Some((known, facts)) = &self.service
            && known == service
        {
            return Ok(Rc::clone(facts));
        }
        let facts = Rc::new(copies::service(batch, service)?);
        self.service = Some((service.to_owned(), Rc::clone(&facts)));
        Ok(facts)
    }

    fn risk(&mut self, state: &Overlay<'_>, service: &str, facts: &ServiceFacts, parts: Parts<'_>) -> Result<Found, StoreError> {
        let intel = intel(state, &parts)?;
        let context = Context { service, facts, policy: &self.policy, intel: &intel, now: self.now };
        let is_used = parts.founder.is_used;
        let risk = if self.exceptions.is_empty() {
            assemble(&context, parts)
        } else {
            let about = About::of(&context, &parts);
            let mut risk = assemble(&context, parts);
            let found = self.exceptions.candidates(&about, &risk);
            self.cut += cover(&about, &mut risk, found);
            risk
        };
        let claim = self.tickets.as_ref().and_then(|tickets| claim(tickets, &risk, facts, is_used));
        Ok(Found { risk, claim })
    }

    /// Risks at code: each group with the route groups that have their home in it, citing others that it is linked with.
    fn code(
        &mut self,
        state: &Overlay<'_>,
        service: &str,
        facts: &ServiceFacts,
        unit: &Unit,
        asset: &str,
        file: &str,
    ) -> Result<Vec<Found>, StoreError> {
        let entries = self.route_maps.entries_of_file(state, service, asset, file)?;
        let templates = self.route_maps.templates_of_file(state, service, (asset, file), &entries)?;
        let mut linked = Vec::new();
        let mut visits: Vec<Visit> = Vec::new();
        for template in &templates {
            linked.extend(self.linked(state, service, template)?);
            let prefix = Table::Visits.below(service, template);
            visits.extend(Table::Visits.rows::<Visit>(state, &prefix, usize::MAX)?);
        }
        let mut risks = Vec::with_capacity(unit.groups.len());
        for group in &unit.groups {
            let mut parts = anchored(&unit.findings, group);
            attach(&mut parts, service, unit, group, &linked);
            if !entries.is_empty() {
                parts.silence = silence(&parts, &entries, &visits);
            }
            risks.push(self.risk(state, service, facts, parts)?);
        }
        Ok(risks)
    }

    /// Risks at routes: each group that is linked with no code.
    fn routes(
        &mut self,
        state: &Overlay<'_>,
        service: &str,
        facts: &ServiceFacts,
        unit: &Unit,
        template: &str,
    ) -> Result<Vec<Found>, StoreError> {
        let linked: Vec<usize> = self.linked(state, service, template)?.into_iter().map(|linked| linked.group).collect();
        let unlinked = unit.groups.iter().enumerate().filter(|(at, _)| !linked.contains(at));
        unlinked.map(|(_, group)| self.risk(state, service, facts, anchored(&unit.findings, group))).collect()
    }

    /// The groups of a route's findings that are linked with code.
    fn linked(&mut self, state: &Overlay<'_>, service: &str, template: &str) -> Result<Vec<Linked>, StoreError> {
        let id = Grain::Route { template: template.to_owned() }.id();
        let routes = self.unit(state, service, id, None)?;
        let may_be = |group: &Group| {
            let is_confirmed = || group.findings(&routes.findings).any(|finding| finding.confirmed().next().is_some());
            routes.findings[group.founder].family().is_joinable() || is_confirmed()
        };
        if !routes.groups.iter().any(may_be) {
            return Ok(Vec::new());
        }
        let served = self.route_maps.template(state, service, template)?;
        self.cut += served.cut;
        let mut units = Vec::new();
        for grain in &served.code {
            units.push(self.unit(state, service, grain.id(), None)?);
        }
        let mut linked = Vec::new();
        for (at, group) in routes.groups.iter().enumerate() {
            let route = RouteGroup::of(&routes.findings, group);
            let of_unit = |unit: &Rc<Unit>| {
                let groups = unit.groups.iter();
                groups.filter_map(|group| candidate(service, &route, &served.entries, &unit.findings, group)).collect::<Vec<_>>()
            };
            let (candidates, cut) = best(units.iter().flat_map(of_unit).collect());
            self.cut += cut as u64;
            if !candidates.is_empty() {
                linked.push(Linked { routes: Rc::clone(&routes), group: at, candidates });
            }
        }
        Ok(linked)
    }

    /// A unit with its groups. Who knows whether findings of it may be below this batch says so; else it is looked up.
    fn unit(&mut self, state: &Overlay<'_>, service: &str, id: Id, is_stored: Option<bool>) -> Result<Rc<Unit>, StoreError> {
        let key = (service.to_owned(), id);
        if let Some(unit) = self.units.get(&key) {
            return Ok(Rc::clone(unit));
        }
        let below = Table::Findings.at(service, id);
        let is_stored = match is_stored {
            Some(known) => known,
            None => state.get(&Table::Published.at(service, id))?.is_some(),
        };
        let changed = state.changed();
        let from: &dyn Store = if is_stored { state } else { &changed };
        let fresh = &mut self.fresh;
        let mut findings: Vec<Finding> =
            rows_by(from, &below, FINDINGS_MOST + 1, |key, row| fresh.remove(key).map_or_else(|| Finding::read(key, row), Ok))?;
        if findings.len() > FINDINGS_MOST {
            self.cut += 1;
            findings.truncate(FINDINGS_MOST);
        }
        let several = several(&findings);
        let lines = if several.is_some() { lines_of(state, service, &findings)? } else { Lines::new() };
        let groups = groups::of_unit(&findings, &lines);
        let unit = Rc::new(Unit { findings, groups, several });
        if self.units.len() >= UNITS_KEPT {
            self.units.clear();
        }
        self.units.insert(key, Rc::clone(&unit));
        Ok(unit)
    }
}

/// What a risk claims by a ticket policy, if that gives it a ticket.
pub fn claim(tickets: &TicketPolicy, risk: &Risk, facts: &ServiceFacts, is_used: bool) -> Option<Claim> {
    let (_, rule) = tickets.rule_for(risk, facts.above.as_deref().unwrap_or_default())?;
    Some(Claim { is_used, first_seen: risk.first_seen, queue: rule.queue()?.to_owned() })
}

/// Whether places of a unit of code are compared across lines of scans.
fn several(findings: &[Finding]) -> Option<Several> {
    let first = findings.first().filter(|finding| matches!(finding.place, Place::Code(_)))?;
    let is_one = findings.iter().all(|finding| finding.lines.len() <= 1 && finding.lines == first.lines);
    (!is_one).then(|| Several { asset: asset_id(&first.asset) })
}

fn lines_of(state: &dyn Store, service: &str, findings: &[Finding]) -> Result<Lines, StoreError> {
    let mut lines = Lines::new();
    for id in findings.iter().flat_map(|finding| &finding.lines) {
        if !lines.contains_key(id)
            && let Some(line) = Table::Lines.get(state, &Table::Lines.at(service, *id))?
        {
            lines.insert(*id, line);
        }
    }
    Ok(lines)
}

/// The parts of a group alone.
pub fn anchored<'a>(findings: &'a [Finding], group: &Group) -> Parts<'a> {
    let part =
        |member: &groups::Joined| Part { finding: &findings[member.at], weight_ppm: member.weight_ppm, is_home: true, is_anchor: true };
    Parts {
        founder: &findings[group.founder],
        members: group.members.iter().map(part).collect(),
        links: group.links.clone(),
        silence: None,
    }
}

/// Adds the route groups that a code group is linked with: as their home, or citing them.
fn attach<'a>(parts: &mut Parts<'a>, service: &str, unit: &Unit, group: &Group, linked: &'a [Linked]) {
    if linked.is_empty() {
        return;
    }
    let own = id_of(service, parts.founder.id);
    for route in linked {
        let Some(rank) = route.candidates.iter().position(|candidate| candidate.risk == own) else { continue };
        let candidate = &route.candidates[rank];
        let to_founder = times(candidate.weight_ppm, group.weight_of(&unit.findings, candidate.code));
        for finding in route.routes.groups[route.group].findings(&route.routes.findings) {
            parts.members.push(Part { finding, weight_ppm: to_founder, is_home: rank == 0, is_anchor: false });
            parts.links.push(candidate.link_from(finding));
        }
    }
}

/// What dynamic scans say of a code group by having reported nothing, if they have reported nothing.
pub fn silence(parts: &Parts<'_>, entries: &[Entry], visits: &[Visit]) -> Option<Vec<String>> {
    let family = parts.founder.family();
    let is_proved = parts.members.iter().any(|part| part.finding.kind.is_runtime() && part.finding.counts());
    if is_proved || !family.is_joinable() { None } else { links::silence(family.name(), entries, visits) }
}

/// What is known of the vulnerabilities of these findings.
fn intel(state: &dyn Store, parts: &Parts<'_>) -> Result<IntelById, StoreError> {
    let ids: BTreeSet<&String> = parts.members.iter().flat_map(|part| &part.finding.learned.vulnerabilities).collect();
    let mut known = BTreeMap::new();
    for id in ids {
        if let Some(said) = copies::intel_of(state, id)? {
            known.insert(id.clone(), said);
        }
    }
    Ok(known)
}
