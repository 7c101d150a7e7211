//! Links between routes and code: which code a runtime finding is proved in, and which of several is its home. What people say of a link stands above
//! what the rules find.

use faultline_model::id::Id;
use faultline_model::risk::{Link, id_of};

use super::facts::{Entry, Finding, Place, SaidWord, Visit};
use super::groups::{Group, route_words};
use super::templates::{SameFile, handles, methods_agree};
use crate::score::MILLION;

/// The most code groups that one route group is linked with, its home included: the best by (weight, risk id).
pub const LINKED_MOST: usize = 16;

/// A code group that a route group is linked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub weight_ppm: u32,
    /// The id of the risk at the code group.
    pub risk: Id,
    /// The finding in code that the link leads to.
    pub code: Id,
    pub rule: &'static str,
    pub inputs: Vec<String>,
}

/// A group of route findings as its links are looked for.
pub struct RouteGroup<'f> {
    founder: &'f Finding,
    /// What people said of links of any of them, with who is at the link's beginning.
    words: Vec<(Id, &'f SaidWord)>,
}

impl<'f> RouteGroup<'f> {
    pub fn of(findings: &'f [Finding], group: &Group) -> Self {
        let said = |finding: &'f Finding| finding.said.words.iter().map(|word| (finding.id, word));
        Self { founder: &findings[group.founder], words: group.findings(findings).flat_map(said).collect() }
    }

    /// The newest word on a link with one of a code group: findings of a group are one flaw, so it holds for all of them. Of words of the same
    /// time a rejection stands.
    fn word_on(&self, findings: &[Finding], group: &Group) -> Option<&'f SaidWord> {
        let on = self.words.iter().filter(|(_, word)| group.weight_of(findings, word.to) > 0);
        on.max_by_key(|(from, word)| (word.at, !word.is_confirmed, *from, word.to)).map(|(_, word)| *word)
    }
}

impl Candidate {
    /// The best comes first: the strongest, then the smallest risk id.
    pub fn order(&self) -> (std::cmp::Reverse<u32>, Id) {
        (std::cmp::Reverse(self.weight_ppm), self.risk)
    }

    /// The link of one of the route's findings.
    pub fn link_from(&self, route: &Finding) -> Link {
        let rule = self.rule.to_owned();
        Link { rule, from: route.id, to: self.code, weight_ppm: self.weight_ppm as i32, inputs: self.inputs.clone() }
    }
}

/// The link of a route group (whose route, method, parameter and family are the same) with a code group: what people say; else the
/// strongest through any of the entries that its route matched.
pub fn candidate(service: &str, route: &RouteGroup<'_>, entries: &[Entry], findings: &[Finding], group: &Group) -> Option<Candidate> {
    let candidate =
        |weight_ppm, code, rule, inputs| Candidate { weight_ppm, risk: id_of(service, findings[group.founder].id), code, rule, inputs };
    if !matches!(findings[group.founder].place, Place::Code(_)) {
        return None;
    }
    if let Some(word) = route.word_on(findings, group) {
        let inputs = vec![format!("confirmed by {}", word.actor)];
        return word.is_confirmed.then(|| candidate(MILLION, word.to, "confirmed", inputs));
    }
    let route = route.founder;
    let joins = |code: &&Finding| code.family() == route.family() && code.family().is_joinable();
    let pairs = group.findings(findings).filter(joins).flat_map(|code| entries.iter().map(move |entry| (code, entry)));
    let links = pairs.filter_map(|(code, entry)| {
        let (weight_ppm, inputs) = through(route, entry, code)?;
        Some((std::cmp::Reverse(weight_ppm), code.id, inputs))
    });
    let (weight, code, inputs) = links.min()?;
    Some(candidate(weight.0, code, "route-handler", inputs))
}

/// The weight of one route finding and one code finding through one entry, with what it goes by.
fn through(route: &Finding, entry: &Entry, code: &Finding) -> Option<(u32, Vec<String>)> {
    let (Place::Route(at), Place::Code(place)) = (&route.place, &code.place) else { return None };
    if !methods_agree(&at.method, &entry.method) {
        return None;
    }
    let same = handles(entry, code.asset.as_str(), &place.file)?;
    let has_parameter = !at.parameter.is_empty()
        && (at.parameter == place.parameter || (entry.parameters.contains(&at.parameter) && names(&code.title, &at.parameter)));
    let weight = match (has_parameter, same) {
        (true, SameFile::Exactly) => 970_000,
        (true, SameFile::ByEnd) => 960_000,
        (false, SameFile::Exactly) => 900_000,
        (false, SameFile::ByEnd) => 890_000,
    };
    let method = if at.method.is_empty() { &entry.method } else { &at.method };
    let handler = if entry.line > 0 { format!("handler {}:{}", entry.file, entry.line) } else { format!("handler {}", entry.file) };
    let mut inputs = vec![route_words(method, &entry.template), handler, format!("family {}", route.family())];
    if has_parameter {
        inputs.push(format!("parameter {}", at.parameter));
    }
    Some((weight, inputs))
}

/// Whether a text has a name in it as a whole word.
fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(|word| word == name)
}

/// The best candidates, the home first, and how many were cut.
pub fn best(mut candidates: Vec<Candidate>) -> (Vec<Candidate>, usize) {
    candidates.sort_unstable_by_key(Candidate::order);
    let cut = candidates.len().saturating_sub(LINKED_MOST);
    candidates.truncate(LINKED_MOST);
    (candidates, cut)
}

/// What dynamic scans say by silence of a family in a file: that all of the file's routes were visited by scans that cover the family.
/// `None` if one was not, or if the file has none. The caller knows that no such finding is there.
pub fn silence(family: &str, entries: &[Entry], visits: &[Visit]) -> Option<Vec<String>> {
    const SHOWN: usize = 4;
    let mut inputs = Vec::new();
    let mut templates: Vec<&str> = entries.iter().map(|entry| entry.template.as_str()).collect();
    templates.sort_unstable();
    templates.dedup();
    for template in &templates {
        let covers = |visit: &&Visit| {
            let agrees = |entry: &Entry| entry.template == *template && methods_agree(&entry.method, &visit.method);
            visit.template == *template && visit.families.iter().any(|covered| covered == family) && entries.iter().any(agrees)
        };
        let tool = visits.iter().filter(covers).map(|visit| visit.tool.as_str()).min()?;
        if inputs.len() < SHOWN {
            inputs.push(format!("{tool} visited {} for {family} and reported none", route_words("", template)));
        }
    }
    (!inputs.is_empty()).then_some(inputs)
}
