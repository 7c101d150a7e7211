//! The risks of all services as one plain function of the facts that hold: no indexes, no state, nothing remembered.
//!
//! It is what the stage is judged by (law 1), and slow: it compares everything with everything. It shares with the stage what says of
//! one, two or few things what they are: families, templates, whether two places are the same, the assembly of a risk from its parts.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::catalog::{self, CatalogRecord};
use faultline_model::exception::Held;
use faultline_model::fingerprint::fold_path;
use faultline_model::id::Id;
use faultline_model::intel::{self, IntelRecord};
use faultline_model::risk::{self, Risk, id_of};
use faultline_model::share::{self, Share};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{self, FactKind, TrackedRecord};

use super::assemble::{Context, Part, Parts, assemble};
use super::code::is_same_place;
use super::covering::{About, Index, cover, shown};
use super::evaluate::{anchored, claim, silence};
use super::facts::{Entry, Finding, IntelById, Line, Lines, Place, Route, ServiceFacts, Visit};
use super::groups::{Group, times};
use super::links::{Candidate, RouteGroup, best, candidate};
use super::shares::Claim;
use super::stage::policy_of;
use super::templates::{handles, matches, methods_agree, more_specific};
use super::units::{Flaw, Key};
use crate::catalog::places::place;
use crate::policy::Policy;
use crate::tickets::{Mode, TicketPolicy};

/// Everything that risks are a function of: the newest record of each key, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub tracked: &'a BTreeMap<String, TrackedRecord>,
    pub catalog: &'a BTreeMap<String, CatalogRecord>,
    pub intel: &'a BTreeMap<String, IntelRecord>,
    /// Exceptions that hold.
    pub exceptions: &'a BTreeMap<String, Held>,
    pub now: Timestamp,
}

/// The risks by their key.
pub fn risks(known: &Known<'_>) -> BTreeMap<String, Risk> {
    with_all(known).into_iter().map(|(key, (risk, _))| (key, shown(risk))).collect()
}

/// With all exceptions, also those that a record has no room for, and with what each claims.
fn with_all(known: &Known<'_>) -> BTreeMap<String, (Risk, Option<Claim>)> {
    let mut services: BTreeMap<&str, Service> = BTreeMap::new();
    for (key, record) in known.tracked {
        let Some((service, kind, id)) = tracked::parse_key(key) else { continue };
        services.entry(service).or_default().learn(kind, id, record);
    }
    let policy = match known.catalog.get(catalog::POLICY_KEY) {
        Some(CatalogRecord::Policy(policy)) => policy_of(Some(&policy.yaml)),
        _ => policy_of(None),
    };
    let tickets = match known.catalog.get(catalog::TICKETS_KEY) {
        Some(CatalogRecord::Policy(policy)) => TicketPolicy::of_yaml(&policy.yaml).filter(|policy| policy.mode == Mode::On),
        _ => None,
    };
    let mut intel = IntelById::new();
    for (key, record) in known.intel {
        if let Some((vulnerability, _)) = intel::parse_key(key) {
            intel.entry(vulnerability.to_owned()).or_default().learn(record.clone());
        }
    }
    let risks = services.into_iter().flat_map(|(service, facts)| facts.risks(service, known, (&policy, tickets.as_ref()), &intel));
    risks.map(|found| (risk::key(&found.0.service, found.0.risk), found)).collect()
}

/// The shares of services in exceptions and in the tickets of fixes, by their key.
pub fn shares(known: &Known<'_>) -> BTreeMap<String, Share> {
    let exceptions = Index::of(known.exceptions.values().cloned().collect());
    let shares = super::shares::reference(with_all(known).values(), &exceptions);
    shares.into_iter().map(|share| (share::key(share.subject, &share.service), share)).collect()
}

#[derive(Default)]
struct Service {
    findings: Vec<Finding>,
    entries: Vec<Entry>,
    visits: Vec<Visit>,
    lines: Lines,
}

impl Service {
    fn learn(&mut self, kind: FactKind, id: Id, record: &TrackedRecord) {
        match (kind, record) {
            (FactKind::Finding, TrackedRecord::Finding(finding)) if !finding.is_preview => {
                self.findings.push(Finding::of(finding.clone()));
            }
            (FactKind::Route, TrackedRecord::Route(route)) => match Route::of(route.clone()) {
                Route::Entry(entry) => self.entries.push(entry),
                Route::Visit(visit) => self.visits.push(visit),
            },
            (FactKind::Line, TrackedRecord::Line(line)) => {
                self.lines.insert(id, Line::of(line));
            }
            _ => {}
        }
    }

    fn risks(
        mut self,
        service: &str,
        known: &Known<'_>,
        (policy, tickets): (&Policy, Option<&TicketPolicy>),
        intel: &IntelById,
    ) -> Vec<(Risk, Option<Claim>)> {
        self.resolve(known, intel);
        let facts = ServiceFacts::of(known.catalog.get(&catalog::service_key(service)).cloned());
        let context = Context { service, facts: &facts, policy, intel, now: known.now };
        let groups: Vec<Group> = self.groups();
        let links = self.links(service, &groups);
        let is_linked = |at: &usize| links.iter().any(|(route, _)| route == at);
        let anchors = (0..groups.len()).filter(|at| !is_linked(at));
        let risk = |at: usize| {
            let parts = self.parts(service, &groups, &links, &groups[at]);
            let (about, is_used) = (About::of(&context, &parts), parts.founder.is_used);
            let mut risk = assemble(&context, parts);
            cover(&about, &mut risk, known.exceptions.values());
            let claim = tickets.and_then(|tickets| claim(tickets, &risk, &facts, is_used));
            (risk, claim)
        };
        anchors.map(risk).collect()
    }

    /// What other facts say of each finding and visit.
    fn resolve(&mut self, known: &Known<'_>, intel: &IntelById) {
        let behind = |asset: &faultline_model::asset::AssetId, path: &str| {
            let keys = catalog::places_keys(asset.as_str());
            let records = keys.iter().filter_map(|key| match known.catalog.get(key) {
                Some(CatalogRecord::Places(places)) => Some(places),
                _ => None,
            });
            place(records, asset, path).rewritten(path)
        };
        let entries = &self.entries;
        let template = |method: &str, path: &str| {
            let fitting = entries.iter().filter(|entry| matches(&entry.template, path) && methods_agree(&entry.method, method));
            let best = fitting.map(|entry| &entry.template).min_by(|one, other| more_specific(one, other));
            best.cloned().unwrap_or_else(|| fold_path(path))
        };
        for visit in &mut self.visits {
            visit.path = behind(&visit.asset, &visit.requested);
            visit.template = template(&visit.method, &visit.path);
        }
        let names: Vec<Vec<String>> = self.findings.iter().map(|finding| self.names(finding, intel)).collect();
        for (finding, names) in self.findings.iter_mut().zip(names) {
            finding.learned.vulnerabilities = names;
            if let Place::Route(route) = &finding.place {
                finding.learned.path = behind(&finding.asset, &route.path);
                finding.learned.template = template(&route.method, &finding.learned.path);
            }
        }
    }

    /// All names of a finding's vulnerability, until no more are found.
    fn names(&self, finding: &Finding, intel: &IntelById) -> Vec<String> {
        let mut names: BTreeSet<String> = finding.named.iter().cloned().collect();
        loop {
            let before = names.len();
            for id in names.clone() {
                names.extend(intel.get(&id).map(|known| known.aliases.clone()).unwrap_or_default());
            }
            for other in self.findings.iter().filter(|other| is_same_package(finding, other)) {
                if other.named.iter().any(|id| names.contains(id)) {
                    names.extend(other.named.iter().cloned());
                }
            }
            if names.len() == before {
                return names.into_iter().collect();
            }
        }
    }

    fn groups(&self) -> Vec<Group> {
        let mut left: BTreeSet<usize> = (0..self.findings.len()).collect();
        let mut groups = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut members = vec![first];
            let mut next = 0;
            while next < members.len() {
                let from = members[next];
                let joined: Vec<usize> = left.iter().copied().filter(|at| self.are_one_flaw(from, *at)).collect();
                left.retain(|at| !joined.contains(at));
                members.extend(joined);
                next += 1;
            }
            groups.push(Group::of(&self.findings, members, &self.lines));
        }
        groups
    }

    fn are_one_flaw(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.findings[one], &self.findings[other]);
        match (&one.place, &other.place) {
            (Place::Code(at), Place::Code(other_at)) => {
                one.asset == other.asset
                    && at.file == other_at.file
                    && Flaw::of(one) == Flaw::of(other)
                    && is_same_place(one, other, &self.lines)
            }
            _ => Key::of(one).is_some() && Key::of(one) == Key::of(other),
        }
    }

    /// For each route group that is linked with code: its position and its candidates, the home first.
    fn links(&self, service: &str, groups: &[Group]) -> Vec<(usize, Vec<Candidate>)> {
        let mut links = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            let founder = &self.findings[group.founder];
            if !matches!(founder.place, Place::Route(_)) {
                continue;
            }
            let template = &founder.learned.template;
            let route = RouteGroup::of(&self.findings, group);
            let entries: Vec<Entry> = self.entries.iter().filter(|entry| entry.template == *template).cloned().collect();
            let found = groups.iter().filter_map(|code| candidate(service, &route, &entries, &self.findings, code));
            let (candidates, _) = best(found.collect());
            if !candidates.is_empty() {
                links.push((at, candidates));
            }
        }
        links
    }

    fn parts<'a>(&'a self, service: &str, groups: &[Group], links: &[(usize, Vec<Candidate>)], group: &Group) -> Parts<'a> {
        let mut parts = anchored(&self.findings, group);
        let own = id_of(service, parts.founder.id);
        for (route, candidates) in links {
            for (rank, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.risk == own) {
                let weight_ppm = times(candidate.weight_ppm, group.weight_of(&self.findings, candidate.code));
                for finding in groups[*route].findings(&self.findings) {
                    parts.members.push(Part { finding, weight_ppm, is_home: rank == 0, is_anchor: false });
                    parts.links.push(candidate.link_from(finding));
                }
            }
        }
        if let Place::Code(code) = &parts.founder.place {
            let handling = self.entries.iter().filter(|entry| handles(entry, parts.founder.asset.as_str(), &code.file).is_some());
            let entries: Vec<Entry> = handling.cloned().collect();
            parts.silence = silence(&parts, &entries, &self.visits);
        }
        parts
    }
}

fn is_same_package(one: &Finding, other: &Finding) -> bool {
    match (&one.place, &other.place) {
        (Place::Package(one), Place::Package(other)) => one.purl == other.purl,
        _ => false,
    }
}
