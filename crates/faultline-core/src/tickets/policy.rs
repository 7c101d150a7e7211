//! The policy itself, and how it is read.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::catalog::UNASSIGNED;
use faultline_model::family::Family;
use faultline_model::id::Id;
use faultline_model::risk::{EvidenceState, Risk, RiskState};
use faultline_model::time::{TimeError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use crate::description::DescriptionError;
use crate::description::cursor::{Cursor, Place, listed};
use crate::description::fault::{Faults, shown};

/// The most queues, and the most rules.
const ENTRIES: usize = 1_000;
/// The most words of one condition.
const WORDS: usize = 1_000;
/// The most bytes that a queue's fields have as YAML.
const FIELDS_BYTES: usize = 64 << 10;
/// The largest policy, in bytes: it is one record, and Kafka's default limit of a message is little more.
const POLICY_BYTES: usize = 1_000_000;
/// What a ticket has of us whatever a queue says.
const OWN_FIELDS: [&str; 4] = ["project", "issuetype", "summary", "description"];
/// The queue of a rule that says: no ticket.
const NONE: &str = "none";
const MODES: [(&str, Mode); 3] = [("off", Mode::Off), ("watch", Mode::Watch), ("on", Mode::On)];
const EVIDENCE: [(&str, EvidenceState); 3] =
    [("reported", EvidenceState::Reported), ("corroborated", EvidenceState::Corroborated), ("verified", EvidenceState::Verified)];
/// Families that a risk has by its place.
const OF_PLACES: [&str; 3] = ["vulnerable-component", "hardcoded-secret", "misconfiguration"];
const FIXES: [&str; 5] = ["upgrade", "base_image", "code", "rotate", "configure"];

/// Which risks deserve a ticket, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketPolicy {
    pub mode: Mode,
    pub queues: Vec<Queue>,
    /// The first that fits decides.
    pub rules: Vec<Rule>,
}

/// What is done with what the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing.
    Off,
    /// It is told what would be done, and nothing is sent.
    Watch,
    /// It is said what tickets there should be.
    On,
}

/// Where tickets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub id: String,
    /// The tracker, as the configuration names it.
    pub site: String,
    pub project: String,
    pub issue_type: String,
    /// Further fields of its tickets, as the tracker takes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
    /// So many tickets are open at once at most; none, and there is no ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_at_most: Option<u32>,
    /// So many are new in one day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_per_day: Option<u32>,
}

/// Which risks go where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    /// The queue's id; `none`: such a risk gets no ticket, whatever later rules say.
    queue: String,
    #[serde(default, skip_serializing_if = "When::is_anything")]
    pub when: When,
}

impl Rule {
    /// Where its tickets go, if anywhere.
    pub fn queue(&self) -> Option<&str> {
        Some(self.queue.as_str()).filter(|queue| *queue != NONE)
    }
}

/// What a risk must be. Empty lists and `None` do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Units of the organisation: the services anywhere below one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_at_least: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Kinds of fix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
    /// A date or a time, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen_from: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen_before: Option<Moment>,
}

/// A time with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Moment(String, Timestamp);

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl TryFrom<String> for Moment {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, TimeError> {
        let time = text.parse()?;
        Ok(Self(text, time))
    }
}

impl When {
    fn is_anything(&self) -> bool {
        *self == Self::default()
    }

    fn holds(&self, risk: &Risk, nodes: &[String]) -> bool {
        let among = |words: &[String], word: &String| words.is_empty() || words.contains(word);
        (self.nodes.is_empty() || self.nodes.iter().any(|node| nodes.contains(node)))
            && among(&self.services, &risk.service)
            && self.score_at_least.is_none_or(|least| risk.score.total >= least)
            && (self.evidence.is_empty() || self.evidence.contains(&risk.evidence))
            && among(&self.families, &risk.family)
            && among(&self.fixes, &risk.fix.kind)
            && self.first_seen_from.as_ref().is_none_or(|from| risk.first_seen >= from.1)
            && self.first_seen_before.as_ref().is_none_or(|before| risk.first_seen < before.1)
    }
}

impl TicketPolicy {
    /// The rule that decides on an open risk, and where it stands; none where none fits. `nodes` are those above its service.
    pub fn rule_for(&self, risk: &Risk, nodes: &[String]) -> Option<(usize, &Rule)> {
        let is_open = risk.state == RiskState::Open;
        self.rules.iter().enumerate().find(|(_, rule)| is_open && rule.when.holds(risk, nodes))
    }

    /// A policy by itself: a description of which only `tickets` counts. The units and services that it names must be among these.
    pub fn alone(file: &str, yaml: &str, units: &Units<'_>) -> Result<Self, DescriptionError> {
        let mut faults = Faults::default();
        let whole = Place { file: file.to_owned(), at: String::new() };
        let policy = match serde_yaml_ng::from_str::<Value>(yaml) {
            Ok(document) => {
                let root = Cursor::root(file, &document);
                let tickets = root.get("tickets");
                if tickets.is_none() {
                    faults.add(whole.fault("has no tickets".to_owned(), "a mapping with tickets, as in a description".to_owned()));
                }
                tickets.and_then(|tickets| read(&tickets, &mut faults))
            }
            Err(error) => {
                faults.add(whole.fault(error.to_string(), "YAML".to_owned()));
                None
            }
        };
        if let Some((places, _)) = &policy {
            fit(places, units, &mut faults);
        }
        faults.none_or_error()?;
        Ok(policy.map(|(_, policy)| policy).expect("what was not read has a fault"))
    }

    /// What [`TicketPolicy::of_yaml`] reads.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).expect("a policy has text keys")
    }

    /// As it stands in its record; none if a newer program wrote what this one does not know.
    pub fn of_yaml(yaml: &str) -> Option<Self> {
        serde_yaml_ng::from_str(yaml).ok()
    }

    /// Who it is: another text is another version.
    pub fn version(&self) -> String {
        Id::of("ticket policy", &[self.to_yaml().as_bytes()]).to_string()[..12].to_owned()
    }
}

/// Where rules name units and services.
pub(crate) type Places = Vec<(Place, Named)>;

/// What must be in the catalog.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    Node(String),
    Service(String),
}

/// The units and services that there are.
#[derive(Debug, Default)]
pub struct Units<'a> {
    pub nodes: BTreeSet<&'a str>,
    pub services: BTreeSet<&'a str>,
}

/// Reads a policy, with where it names units.
pub(crate) fn read(at: &Cursor<'_>, faults: &mut Faults) -> Option<(Places, TicketPolicy)> {
    if !at.fields(&["mode", "queues", "rules"], faults) {
        return None;
    }
    let names = MODES.map(|(name, _)| name);
    let named = at.choice("mode", &names, "off", faults);
    let mode = MODES.into_iter().find(|(name, _)| *name == named).map_or(Mode::Off, |(_, mode)| mode);
    let mut queues: Vec<Queue> = Vec::new();
    for entry in at.list("queues", ENTRIES, faults) {
        let Some(queue) = queue(&entry, faults) else { continue };
        if queues.iter().any(|known| known.id == queue.id) {
            faults.add(entry.place().fault(format!("a second queue {}", shown(&queue.id)), "one of each id".to_owned()));
        } else {
            queues.push(queue);
        }
    }
    let known: Vec<&str> = queues.iter().map(|queue| queue.id.as_str()).chain([NONE]).collect();
    let (mut places, mut rules) = (Places::new(), Vec::<Rule>::new());
    for entry in at.list("rules", ENTRIES, faults) {
        let Some(rule) = rule(&entry, &known, &mut places, faults) else { continue };
        if rules.iter().any(|known| known.name == rule.name) {
            faults.add(entry.place().fault(format!("a second rule {}", shown(&rule.name)), "one of each name".to_owned()));
        }
        rules.push(rule);
    }
    let policy = TicketPolicy { mode, queues, rules };
    let bytes = policy.to_yaml().len();
    if bytes > POLICY_BYTES {
        faults.add(at.place().fault(format!("{bytes} bytes"), format!("at most {POLICY_BYTES} as a whole")));
    }
    Some((places, policy))
}

fn queue(at: &Cursor<'_>, faults: &mut Faults) -> Option<Queue> {
    if !at.fields(&["id", "site", "project", "issue_type", "fields", "open_at_most", "new_per_day"], faults) {
        return None;
    }
    let id = at.required("id", "the queue's id", faults);
    if id == Some(NONE) {
        faults.add(at.place().fault(shown(NONE), "another id: it says that there is no ticket".to_owned()));
        return None;
    }
    let site = at.required("site", "the site, as the configuration names it", faults);
    let project = at.required("project", "the project's key", faults);
    let issue_type = at.text_of("issue_type", "a type of issue", faults).unwrap_or("Task").to_owned();
    let fields = fields(at, faults);
    let [open_at_most, new_per_day] = ["open_at_most", "new_per_day"].map(|name| ceiling(at, name, faults));
    let (id, site, project) = (id?.to_owned(), site?.to_owned(), project?.to_owned());
    Some(Queue { id, site, project, issue_type, fields, open_at_most, new_per_day })
}

fn fields(at: &Cursor<'_>, faults: &mut Faults) -> BTreeMap<String, Value> {
    let Some(given) = at.get("fields") else { return BTreeMap::new() };
    let Value::Mapping(mapping) = given.value() else {
        given.wrong("a mapping of fields, as the tracker takes them", faults);
        return BTreeMap::new();
    };
    let mut fields = BTreeMap::new();
    for (name, value) in mapping {
        match name.as_str() {
            Some(name) if !OWN_FIELDS.contains(&name) => _ = fields.insert(name.to_owned(), value.clone()),
            Some(name) => faults.add(given.place().fault(shown(name), "fields that Faultline does not fill itself".to_owned())),
            None => given.wrong("a mapping whose keys are texts", faults),
        }
    }
    let bytes = serde_yaml_ng::to_string(&fields).map_or(usize::MAX, |text| text.len());
    if bytes > FIELDS_BYTES {
        faults.add(given.place().fault(format!("{bytes} bytes"), format!("at most {FIELDS_BYTES}")));
    }
    fields
}

fn ceiling(at: &Cursor<'_>, name: &str, faults: &mut Faults) -> Option<u32> {
    let given = at.get(name)?;
    let number = given.value().as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    if number.is_none() {
        given.wrong("a whole number from 1", faults);
    }
    number
}

fn rule(at: &Cursor<'_>, queues: &[&str], places: &mut Places, faults: &mut Faults) -> Option<Rule> {
    if !at.fields(&["name", "queue", "when"], faults) {
        return None;
    }
    let name = at.required("name", "the rule's name", faults);
    let queue = at.required("queue", "the id of a queue, or none", faults);
    if let Some(queue) = queue.filter(|queue| !queues.contains(queue)) {
        faults.add_near(at.place().fault(format!("no queue {}", shown(queue)), listed(queues)), queue, queues.iter().copied());
    }
    if is_empty(at.value().get("when")) {
        faults.add(at.place().fault("when without anything".to_owned(), "conditions, or no when for every risk".to_owned()));
    }
    let when = at.get("when").map_or_else(When::default, |when| conditions(&when, places, faults));
    Some(Rule { name: name?.to_owned(), queue: queue?.to_owned(), when })
}

/// What looks like a condition and would hold for everything: its entries are commented out, say.
fn is_empty(value: Option<&Value>) -> bool {
    value.is_some_and(|value| match value {
        Value::Null => true,
        Value::Sequence(entries) => entries.is_empty(),
        Value::Mapping(members) => members.is_empty(),
        _ => false,
    })
}

fn conditions(at: &Cursor<'_>, places: &mut Places, faults: &mut Faults) -> When {
    let known = ["nodes", "services", "score_at_least", "evidence", "families", "fixes", "first_seen_from", "first_seen_before"];
    if !at.fields(&known, faults) {
        return When::default();
    }
    for name in known.iter().filter(|name| is_empty(at.value().get(name))) {
        faults.add(at.place().fault(format!("{name} without anything"), "what a risk must be, or no such condition".to_owned()));
    }
    let nodes = at.set_of("nodes", WORDS, "the id of a unit", faults);
    let services = at.set_of("services", WORDS, "the id of a service", faults);
    places.extend(nodes.iter().map(|node| (at.place(), Named::Node(node.clone()))));
    places.extend(services.iter().map(|service| (at.place(), Named::Service(service.clone()))));
    let families = at.set_of("families", WORDS, "a weakness family", faults);
    for family in families.iter().filter(|family| Family::named(family).is_none() && !OF_PLACES.contains(&family.as_str())) {
        let names = Family::all().map(Family::name).chain(OF_PLACES);
        let fault = at.place().fault(format!("no weakness family {}", shown(family)), "one, such as sql-injection".to_owned());
        faults.add_near(fault, family, names);
    }
    let score_at_least = at.get("score_at_least").and_then(|given| {
        let score = given.value().as_i64().and_then(|score| i32::try_from(score).ok()).filter(|score| (0..=1000).contains(score));
        if score.is_none() {
            given.wrong("a score from 0 to 1000", faults);
        }
        score
    });
    let names: Vec<&str> = EVIDENCE.iter().map(|(name, _)| *name).collect();
    let evidence = at.words("evidence", &names, faults);
    let evidence = EVIDENCE.into_iter().filter(|(name, _)| evidence.iter().any(|word| word == name)).map(|(_, state)| state).collect();
    let [first_seen_from, first_seen_before] = ["first_seen_from", "first_seen_before"].map(|name| {
        let given = at.get(name)?;
        let text = given.text("a date: 2026-11-01", faults)?;
        let moment = Moment::try_from(text.to_owned()).ok();
        if moment.is_none() {
            faults.add(given.place().fault(shown(text), "a date: 2026-11-01".to_owned()));
        }
        moment
    });
    When {
        nodes,
        services,
        score_at_least,
        evidence,
        families,
        fixes: at.words("fixes", &FIXES, faults),
        first_seen_from,
        first_seen_before,
    }
}

/// Tells units and services that are named and are not there. A place that nobody owns is a service too.
pub(crate) fn fit(places: &Places, units: &Units<'_>, faults: &mut Faults) {
    for (place, named) in places {
        let (what, name, known) = match named {
            Named::Node(node) => ("unit", node, &units.nodes),
            Named::Service(service) => ("service", service, &units.services),
        };
        if !known.contains(name.as_str()) && !name.starts_with(UNASSIGNED) {
            faults.add_near(place.fault(format!("no {what} {}", shown(name)), format!("the id of a {what}")), name, known.iter().copied());
        }
    }
}
