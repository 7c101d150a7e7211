//! Groups: findings of a unit that are one flaw, with their founder and why they belong together.

use std::collections::BTreeMap;

use faultline_model::id::Id;
use faultline_model::risk::Link;

use super::code;
use super::facts::{Finding, Lines, Place, shown};
use super::units::{Key, standing_for};
use crate::score::MILLION;

/// Findings that are one flaw, by their position among their unit's.
#[derive(Clone, Debug)]
pub struct Group {
    /// The earliest of them.
    pub founder: usize,
    /// All of them, in the order of their ids.
    pub members: Vec<Joined>,
    /// One for each member but the founder, along the shortest chain to it.
    pub links: Vec<Link>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    pub at: usize,
    /// The chance that it is the founder's flaw, in millionths: weights multiply along a chain.
    pub weight_ppm: u32,
}

/// The groups of a unit's findings.
pub fn of_unit(findings: &[Finding], lines: &Lines) -> Vec<Group> {
    let mut keyed: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
    for (at, finding) in findings.iter().enumerate() {
        if let Some(key) = Key::of(finding) {
            keyed.entry(key).or_default().push(at);
        }
    }
    let groups = if keyed.is_empty() { code::grouped(findings, lines) } else { keyed.into_values().collect() };
    groups.into_iter().map(|members| Group::of(findings, members, lines)).collect()
}

impl Group {
    /// A group of these findings, of which each is joined to some other.
    pub fn of(findings: &[Finding], mut members: Vec<usize>, lines: &Lines) -> Self {
        members.sort_unstable_by_key(|at| findings[*at].id);
        let founder = members.iter().copied().min_by_key(|at| findings[*at].seniority()).expect("a group has a member");
        if members.len() == 1 {
            return Self { founder, members: vec![Joined { at: founder, weight_ppm: MILLION }], links: Vec::new() };
        }
        let is_code = matches!(findings[founder].place, Place::Code(_));
        let is_joined = |one: usize, other: usize| !is_code || code::is_same_place(&findings[one], &findings[other], lines);
        let mut joined = vec![Joined { at: founder, weight_ppm: MILLION }];
        let mut links = Vec::new();
        let mut left: Vec<usize> = members.into_iter().filter(|at| *at != founder).collect();
        let mut level = 0;
        // Breadth first, each level in the order of ids: the shortest chain, and of equal ones the same whatever came first.
        while !left.is_empty() && level < joined.len() {
            let end = joined.len();
            left.retain(|at| {
                let parent = joined[level..end].iter().find(|known| is_joined(known.at, *at)).copied();
                if let Some(parent) = parent {
                    let link = link(&findings[*at], &findings[parent.at]);
                    let weight_ppm = times(parent.weight_ppm, link.weight_ppm as u32);
                    joined.push(Joined { at: *at, weight_ppm });
                    links.push(link);
                }
                parent.is_none()
            });
            level = end;
        }
        joined.sort_unstable_by_key(|member| findings[member.at].id);
        Self { founder, members: joined, links }
    }

    /// The members' findings, in the order of their ids.
    pub fn findings<'f>(&self, findings: &'f [Finding]) -> impl Iterator<Item = &'f Finding> {
        self.members.iter().map(|member| &findings[member.at])
    }

    /// How surely a finding is the founder's flaw.
    pub fn weight_of(&self, findings: &[Finding], id: Id) -> u32 {
        self.members.iter().find(|member| findings[member.at].id == id).map_or(0, |member| member.weight_ppm)
    }
}

/// The product of two chances in millionths.
pub fn times(one: u32, other: u32) -> u32 {
    (u64::from(one) * u64::from(other) / u64::from(MILLION)) as u32
}

/// Why two findings of one group are one flaw.
fn link(from: &Finding, to: &Finding) -> Link {
    let (rule, weight_ppm, inputs) = match &from.place {
        Place::Code(at) => {
            let other = if let Place::Code(other) = &to.place { other.line } else { 0 };
            let places = [format!("{}:{}", at.file, at.line), format!("{}:{other}", at.file)];
            ("same-place", 900_000, [vec![from.family().name().to_owned()], places.to_vec()].concat())
        }
        Place::Package(package) => {
            let vulnerability = shown(standing_for(&from.learned.vulnerabilities));
            ("same-package", 990_000, vec![package.purl.clone(), vulnerability])
        }
        Place::Secret(_) => ("secret", 990_000, vec!["equal keyed hash".to_owned()]),
        Place::Resource(resource) => {
            let address = if resource.address.is_empty() { &resource.file } else { &resource.address };
            ("resource", 850_000, vec![address.clone(), from.family().name().to_owned()])
        }
        Place::Host(host) => ("same-host", 850_000, vec![format!("{}:{}", host.address, host.port), from.family().name().to_owned()]),
        Place::Route(route) => {
            let mut inputs = vec![route_words(&route.method, &from.learned.template)];
            if !route.parameter.is_empty() {
                inputs.push(format!("parameter {}", route.parameter));
            }
            ("same-route", 900_000, inputs)
        }
    };
    Link { rule: rule.to_owned(), from: from.id, to: to.id, weight_ppm, inputs }
}

/// A route in words: `route GET /users/{}`.
pub fn route_words(method: &str, template: &str) -> String {
    if method.is_empty() { format!("route {template}") } else { format!("route {method} {template}") }
}
