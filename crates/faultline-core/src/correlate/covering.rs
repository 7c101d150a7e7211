//! Which exceptions bear on a risk. A pure function of what it is made of, and of each exception by itself.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use faultline_model::catalog;
use faultline_model::exception::{Broken, Held, Scope};
use faultline_model::id::Id;
use faultline_model::risk::{Covering, EXCEPTIONS_SHOWN, Risk, RiskState};

use super::assemble::{Context, Parts};
use super::facts::Place;
use crate::score::Exposure;

/// The most exceptions that bear on one risk: those that hold first, then by id. What is cut is counted.
const BEAR_MOST: usize = 256;

/// What exceptions go by.
pub struct About {
    /// Findings at what the risk is anchored at.
    anchors: BTreeSet<Id>,
    /// Its other home findings.
    others: BTreeSet<Id>,
    package: String,
    /// In upper case.
    vulnerabilities: BTreeSet<String>,
    /// The service by itself, and the nodes above it.
    within: BTreeSet<String>,
    is_internet_facing: bool,
    is_in_kev: bool,
}

impl About {
    pub fn of(context: &Context<'_>, parts: &Parts<'_>) -> Self {
        let home = || parts.members.iter().filter(|part| part.is_home);
        let ids = |is_anchor: bool| home().filter(|part| part.is_anchor == is_anchor).map(|part| part.finding.id).collect();
        let vulnerabilities: BTreeSet<String> = home().flat_map(|part| part.finding.learned.vulnerabilities.iter().cloned()).collect();
        let is_in_kev = vulnerabilities.iter().any(|id| context.intel.get(id).is_some_and(|known| known.kev.is_some()));
        let above = context.facts.above.iter().flatten().cloned();
        Self {
            anchors: ids(true),
            others: ids(false),
            package: if let Place::Package(package) = &parts.founder.place { package.purl.clone() } else { String::new() },
            vulnerabilities,
            within: above.chain([catalog::service_key(context.service)]).collect(),
            is_internet_facing: context.facts.exposure == Exposure::Internet,
            is_in_kev,
        }
    }

    /// What an exception is to this risk; none if it does not cover it.
    fn covering(&self, risk: &Risk, held: &Held) -> Option<Covering> {
        let Held { exception, scope, .. } = held;
        if !is_within(scope, &self.within) {
            return None;
        }
        let exception = *exception;
        if scope.founders.is_empty() {
            let is_covered = !scope.is_everything() && self.has_all(risk, scope);
            return is_covered.then(|| Covering { exception, at_anchor: true, broken: self.broken(risk, held) });
        }
        if scope.founders.iter().any(|id| self.anchors.contains(id)) {
            return Some(Covering { exception, at_anchor: true, broken: self.broken(risk, held) });
        }
        let is_about_more = scope.founders.iter().any(|id| self.others.contains(id));
        is_about_more.then(|| Covering { exception, at_anchor: false, broken: Vec::new() })
    }

    fn has_all(&self, risk: &Risk, scope: &Scope) -> bool {
        let Scope { founders: _, vulnerability, package, asset, family, within: _ } = scope;
        (vulnerability.is_empty() || self.vulnerabilities.contains(&vulnerability.to_ascii_uppercase()))
            && (package.is_empty() || self.package == *package)
            && (asset.is_empty() || risk.asset.as_str() == asset)
            && (family.is_empty() || risk.family == *family)
    }

    fn broken(&self, risk: &Risk, held: &Held) -> Vec<Broken> {
        let assumed = &held.assumptions;
        let checks = [
            (assumed.not_internet_facing && self.is_internet_facing, Broken::InternetFacing),
            (assumed.not_in_kev && self.is_in_kev, Broken::InKev),
            (assumed.score_at_most.is_some_and(|most| risk.score.total > most), Broken::ScoreAbove),
        ];
        checks.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, broken)| broken).collect()
    }
}

/// Whether a scope reaches a service, by the names that it stands below.
pub fn is_within(scope: &Scope, names: &BTreeSet<String>) -> bool {
    scope.within.is_empty() || scope.within.iter().any(|name| names.contains(name))
}

/// A risk as its record shows it, which has room for the first exceptions only.
pub fn shown(mut risk: Risk) -> Risk {
    risk.exceptions.truncate(EXCEPTIONS_SHOWN);
    risk
}

/// Applies what exceptions are to a risk: of an open one that one holds for, that it is accepted. How many were cut comes back.
///
/// What is closed or false is as it is, whatever was excepted.
pub fn cover<'h>(about: &About, risk: &mut Risk, exceptions: impl IntoIterator<Item = &'h Held>) -> u64 {
    if risk.state != RiskState::Open {
        return 0;
    }
    let covering = exceptions.into_iter().filter_map(|held| about.covering(risk, held));
    let mut covering: Vec<Covering> = covering.collect();
    covering.sort_unstable_by_key(|covering| (Reverse(covering.holds()), covering.exception));
    let cut = covering.len().saturating_sub(BEAR_MOST);
    covering.truncate(BEAR_MOST);
    if covering.iter().any(Covering::holds) {
        risk.state = RiskState::Accepted;
    }
    risk.exceptions = covering;
    cut as u64
}

/// All exceptions that hold, found by what a risk has.
#[derive(Debug, Default)]
pub struct Index {
    all: Vec<Held>,
    grants: HashMap<Id, i32>,
    /// By the first thing that a scope names; the others are compared.
    founders: HashMap<Id, Vec<usize>>,
    vulnerabilities: HashMap<String, Vec<usize>>,
    packages: HashMap<String, Vec<usize>>,
    /// Of an asset or a family many are: with each name that a scope is restricted to; empty for none.
    assets: HashMap<(String, String), Vec<usize>>,
    families: HashMap<(String, String), Vec<usize>>,
}

impl Index {
    pub fn of(all: Vec<Held>) -> Self {
        let mut index = Self { grants: all.iter().map(|held| (held.exception, held.grant)).collect(), ..Self::default() };
        for (at, held) in all.iter().enumerate() {
            let Scope { founders, vulnerability, package, asset, family, within } = &held.scope;
            for founder in founders {
                index.founders.entry(*founder).or_default().push(at);
            }
            let everywhere = [String::new()];
            let names = if within.is_empty() { &everywhere[..] } else { within };
            if !founders.is_empty() {
                continue;
            }
            if !vulnerability.is_empty() {
                index.vulnerabilities.entry(vulnerability.to_ascii_uppercase()).or_default().push(at);
            } else if !package.is_empty() {
                index.packages.entry(package.clone()).or_default().push(at);
            } else {
                let (map, what) = if asset.is_empty() { (&mut index.families, family) } else { (&mut index.assets, asset) };
                for name in names {
                    map.entry((what.clone(), name.clone())).or_default().push(at);
                }
            }
        }
        Self { all, ..index }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Of which grant an exception holds; none if it does not.
    pub fn grant(&self, exception: Id) -> Option<i32> {
        self.grants.get(&exception).copied()
    }

    /// Those that may bear on a risk, each once.
    pub fn candidates(&self, about: &About, risk: &Risk) -> Vec<&Held> {
        let founders = about.anchors.iter().chain(&about.others).filter_map(|id| self.founders.get(id));
        let vulnerabilities = about.vulnerabilities.iter().filter_map(|id| self.vulnerabilities.get(id));
        let packages = self.packages.get(&about.package);
        let found = founders.chain(vulnerabilities).chain(packages).flatten();
        let mut found: BTreeSet<usize> = found.copied().collect();
        for (map, what) in [(&self.assets, risk.asset.as_str()), (&self.families, risk.family.as_str())] {
            if map.is_empty() {
                continue;
            }
            for name in about.within.iter().map(String::as_str).chain([""]) {
                found.extend(map.get(&(what.to_owned(), name.to_owned())).into_iter().flatten());
            }
        }
        found.into_iter().map(|at| &self.all[at]).collect()
    }
}
