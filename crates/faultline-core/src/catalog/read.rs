//! A description of the organisation as records: one YAML file or several, as if they were one.
//!
//! Every list may be split over files; the order of lists says nothing, but for the rules of a CODEOWNERS file.

use std::collections::BTreeMap;

use faultline_model::catalog::{self, CatalogRecord, CodeOwners, Node, PlaceRule, Places, PolicyText, Service};
use serde_yaml_ng::Value;

use super::{inherit, owner_entries, place_entries, units};
use crate::act::policy::ExceptionPolicy;
use crate::description::cursor::{Cursor, Place};
use crate::description::fault::{DescriptionError, Faults};
use crate::policy::{PRESETS, Policy};
use crate::tickets::{self, TicketPolicy, Units};

/// The largest file, in bytes.
const FILE_BYTES: usize = 16 << 20;
/// The most rules of one asset.
const RULES_OF_AN_ASSET: usize = 10_000;
/// The most rules of all assets, those taken over from prefixes included.
const RULES_IN_ALL: usize = 1_000_000;
/// The largest record, in bytes: Kafka's default limit of a message, less what frames it.
const RECORD_BYTES: usize = 1_000_000;

/// One file of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// As errors name it, and what other files are named relative to.
    pub name: String,
    pub text: String,
}

/// What is to be, as records by key; the head is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organisation {
    pub records: BTreeMap<String, CatalogRecord>,
    /// What was left out and why: lines of CODEOWNERS files that GitHub leaves out as well.
    pub warnings: Vec<String>,
}

/// What the files say, with where they say it, before it is known to fit together.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) nodes: BTreeMap<String, (Place, Node)>,
    pub(super) services: BTreeMap<String, (Place, Service)>,
    /// By assets and prefix.
    pub(super) rules: BTreeMap<(String, String), (Place, PlaceRule)>,
    pub(super) branches: BTreeMap<String, (Place, String)>,
    pub(super) code_owners: BTreeMap<String, (Place, Vec<CodeOwners>)>,
    pub(super) policy: Option<(Place, PolicyText)>,
    pub(super) tickets: Option<(Place, tickets::Places, TicketPolicy)>,
    pub(super) exceptions: Option<(Place, ExceptionPolicy)>,
    /// Services that are named as users.
    pub(super) used_by: Vec<(Place, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) faults: Faults,
}

/// Opens what a description names beside itself (CODEOWNERS, a policy): its name, relative to the same place as the names of the
/// files, gives its text or why not.
pub(super) type Beside<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Reads a description; tells everything that is wrong with it.
pub fn read(files: &[File], beside: &dyn Fn(&str) -> Result<String, String>) -> Result<Organisation, DescriptionError> {
    let mut draft = Draft::default();
    if files.is_empty() {
        let nothing = Place { file: "the description".to_owned(), at: String::new() };
        draft.faults.add(nothing.fault("has no files".to_owned(), "at least one YAML file".to_owned()));
    }
    for file in files {
        if let Some(document) = parse(file, &mut draft.faults) {
            draft.take(&Cursor::root(&file.name, &document), beside);
        }
    }
    units::fit(&mut draft);
    if let Some((_, places, _)) = &draft.tickets {
        let nodes = draft.nodes.keys().map(String::as_str).collect();
        let units = Units { nodes, services: draft.services.keys().map(String::as_str).collect() };
        tickets::fit(places, &units, &mut draft.faults);
    }
    let places = draft.places();
    draft.faults.none_or_error()?;
    let nodes = draft.nodes.into_values().map(|(_, node)| (catalog::node_key(&node.id), CatalogRecord::Node(node)));
    let services = draft.services.into_values().map(|(_, service)| (catalog::service_key(&service.id), CatalogRecord::Service(service)));
    let places = places.into_iter().map(|(assets, places)| (catalog::places_key(&assets), CatalogRecord::Places(places)));
    let policy = draft.policy.map(|(_, text)| (catalog::POLICY_KEY.to_owned(), CatalogRecord::Policy(text)));
    let tickets = draft.tickets.map(|(_, _, policy)| {
        let text = PolicyText { name: catalog::TICKETS_KEY.to_owned(), version: policy.version(), yaml: policy.to_yaml() };
        (catalog::TICKETS_KEY.to_owned(), CatalogRecord::Policy(text))
    });
    let exceptions = draft.exceptions.map(|(_, policy)| {
        let text = PolicyText { name: catalog::EXCEPTIONS_KEY.to_owned(), version: policy.version(), yaml: policy.to_yaml() };
        (catalog::EXCEPTIONS_KEY.to_owned(), CatalogRecord::Policy(text))
    });
    let records = nodes.chain(services).chain(places).chain(policy).chain(tickets).chain(exceptions).collect();
    Ok(Organisation { records, warnings: draft.warnings })
}

fn parse(file: &File, faults: &mut Faults) -> Option<Value> {
    let whole = Place { file: file.name.clone(), at: String::new() };
    if file.text.len() > FILE_BYTES {
        faults.add(whole.fault(format!("the file has {} bytes", file.text.len()), format!("at most {FILE_BYTES}")));
        return None;
    }
    match serde_yaml_ng::from_str::<Value>(&file.text) {
        Ok(Value::Null) => None,
        Ok(document) => Some(document),
        Err(error) => {
            faults.add(whole.fault(error.to_string(), "YAML".to_owned()));
            None
        }
    }
}

impl Draft {
    fn take(&mut self, root: &Cursor<'_>, beside: Beside<'_>) {
        if root.fields(&["organisation", "services", "code_owners", "policy", "tickets", "exceptions"], &mut self.faults) {
            units::read(root, self);
            owner_entries::read(root, beside, self);
            if let Some(policy) = root.get("policy") {
                self.policy(&policy, beside);
            }
            if let Some(at) = root.get("tickets") {
                self.tickets(&at);
            }
            if let Some(at) = root.get("exceptions") {
                self.exceptions(&at);
            }
        }
    }

    fn exceptions(&mut self, at: &Cursor<'_>) {
        let place = at.place();
        if let Some((first, _)) = &self.exceptions {
            self.faults.add(place.fault("a second policy of exceptions".to_owned(), format!("one, which is at {first}")));
            return;
        }
        match ExceptionPolicy::of_value(at.value().clone()) {
            Ok(policy) => self.exceptions = Some((place, policy)),
            Err(error) => {
                let expected = "longest_days (critical, high, medium, low) and warning_days".to_owned();
                self.faults.add(place.fault(format!("no policy of exceptions ({error})"), expected));
            }
        }
    }

    /// A file's name, a preset with what differs, or a whole policy. It is kept whole, so that a later preset changes no score.
    fn policy(&mut self, at: &Cursor<'_>, beside: Beside<'_>) {
        let place = at.place();
        if let Some((first, _)) = &self.policy {
            self.faults.add(place.fault("a second policy".to_owned(), format!("one, which is at {first}")));
            return;
        }
        let read = if at.is_text() {
            let Some(name) = at.text("the name of a policy file", &mut self.faults) else { return };
            let path = beside_name(at.file(), name);
            let is_preset = PRESETS.iter().any(|(preset, _)| *preset == name);
            let hint = |error| if is_preset { format!("{error}; the preset is written {{preset: {name}}}") } else { error };
            beside(&path).map_err(hint).and_then(|yaml| Policy::read(&yaml).map_err(|error| format!("{path}: {error}")))
        } else {
            Policy::of_value(at.value().clone()).map_err(|error| error.to_string())
        };
        match read {
            Ok(policy) => {
                let text = PolicyText { name: policy.name.clone(), version: policy.version.clone(), yaml: policy.to_yaml() };
                self.policy = Some((place, text));
            }
            Err(error) => {
                let expected = "the name of a policy file, a preset with overrides, or a whole policy";
                self.faults.add(place.fault(format!("no policy ({error})"), expected.to_owned()));
            }
        }
    }

    fn tickets(&mut self, at: &Cursor<'_>) {
        if let Some((first, ..)) = &self.tickets {
            self.faults.add(at.place().fault("a second ticket policy".to_owned(), format!("one, which is at {first}")));
        } else if let Some((places, policy)) = tickets::read(at, &mut self.faults) {
            self.tickets = Some((at.place(), places, policy));
        }
    }

    /// All rules of one text of assets in one record, within bounds.
    fn places(&mut self) -> BTreeMap<String, Places> {
        let mut all: BTreeMap<String, Places> = BTreeMap::new();
        let of = |assets: &String| Places { assets: assets.clone(), ..Places::default() };
        let mut first: BTreeMap<String, Place> = BTreeMap::new();
        for ((assets, _), (place, rule)) in &self.rules {
            all.entry(assets.clone()).or_insert_with(|| of(assets)).rules.push(rule.clone());
            first.entry(assets.clone()).or_insert_with(|| place.clone());
        }
        for (assets, (_, branch)) in &self.branches {
            all.entry(assets.clone()).or_insert_with(|| of(assets)).default_branch.clone_from(branch);
        }
        for (assets, (place, rules)) in &self.code_owners {
            all.entry(assets.clone()).or_insert_with(|| of(assets)).code_owners.clone_from(rules);
            first.entry(assets.clone()).or_insert_with(|| place.clone());
        }
        let mut in_all = 0;
        inherit::inherit(&mut all, &mut |places| in_all += places.rules.len());
        for (assets, places) in &all {
            let Some(place) = first.get(assets) else { continue };
            if places.rules.len() > RULES_OF_AN_ASSET {
                let found = format!("{} place rules for {assets}", places.rules.len());
                self.faults.add(place.fault(found, format!("at most {RULES_OF_AN_ASSET}, those of its prefixes included")));
            }
            if bytes(places) > RECORD_BYTES {
                let found = format!("{} bytes of rules and owners for {assets}", bytes(places));
                self.faults.add(place.fault(found, format!("at most {RECORD_BYTES}")));
            }
        }
        if in_all > RULES_IN_ALL {
            let everything = Place { file: "the description".to_owned(), at: String::new() };
            self.faults.add(everything.fault(format!("has {in_all} place rules"), format!("at most {RULES_IN_ALL}")));
        }
        all
    }

    /// Reads the places of a service.
    pub(super) fn places_of(&mut self, service: &Cursor<'_>, owner: &str) {
        place_entries::read(service, owner, self);
    }
}

/// What a record weighs, about.
fn bytes(places: &Places) -> usize {
    let of = |texts: &[String]| texts.iter().map(|text| text.len() + 2).sum::<usize>();
    let rules = places.rules.iter().map(|rule| rule.prefix.len() + rule.owner.len() + of(&rule.users) + 16);
    let owners = places.code_owners.iter().map(|rule| rule.pattern.len() + of(&rule.owners) + 8);
    rules.sum::<usize>() + owners.sum::<usize>() + places.assets.len()
}

/// The name of what a file names relative to itself.
pub(super) fn beside_name(file: &str, name: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !name.starts_with('/') => format!("{folder}/{name}"),
        _ => name.to_owned(),
    }
}
