//! Which code serves which routes in a service, while no fact changes: what was read once of it is kept at hand. Route maps say it, and people who
//! confirm a link.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::rc::Rc;

use faultline_model::id::Id;

use super::facts::{Entry, Place};
use super::pending::located;
use super::tables::{Table, is_any, keys, last_id, template_key};
use super::templates::{file_key, handles};
use super::units::Grain;
use crate::row::StageTable;
use crate::store::{Store, StoreError};

/// The most units of code that the entries of one route are looked for in, in the order of their keys. What is cut is counted.
const FILES_MOST: usize = 64;
/// The most files, templates and services that are kept at hand, each.
const KEPT_MOST: usize = 1024;

/// A service with a file's key, or with a template.
type Part = (String, String);

#[derive(Default)]
pub struct RouteMaps {
    services: HashMap<String, Rc<Known>>,
    files: HashMap<Part, Rc<Vec<Entry>>>,
    templates: HashMap<Part, Rc<Template>>,
}

/// What is known of a service before anything else is looked up.
struct Known {
    /// Whether it has entries that name their handler's file. Most have none: then no unit of code needs to look for them.
    has_entries: bool,
    /// Units of code by the templates of routes that people say are proved in them, and back.
    code: BTreeMap<String, BTreeSet<Grain>>,
    templates: BTreeMap<Grain, BTreeSet<String>>,
}

/// A template's entries, and the units of code in which their handlers lie.
pub struct Template {
    pub entries: Vec<Entry>,
    pub code: Vec<Grain>,
    /// How many units of code were too many.
    pub cut: u64,
}

impl RouteMaps {
    /// The entries whose handler may lie in a file.
    pub fn entries_of_file(&mut self, state: &dyn Store, service: &str, asset: &str, file: &str) -> Result<Vec<Entry>, StoreError> {
        if !self.known(state, service)?.has_entries {
            return Ok(Vec::new());
        }
        let key = file_key(file);
        let part = (service.to_owned(), key.to_owned());
        let entries = match self.files.get(&part) {
            Some(entries) => Rc::clone(entries),
            None => {
                let rows: Vec<Entry> = Table::EntryFiles.rows(state, &Table::EntryFiles.below(service, key), usize::MAX)?;
                kept(&mut self.files, part, rows)
            }
        };
        Ok(entries.iter().filter(|entry| handles(entry, asset, file).is_some()).cloned().collect())
    }

    /// The templates of routes that may be proved in a file, whose entries are these.
    pub fn templates_of_file(
        &mut self,
        state: &dyn Store,
        service: &str,
        (asset, file): (&str, &str),
        entries: &[Entry],
    ) -> Result<BTreeSet<String>, StoreError> {
        let mut templates: BTreeSet<String> = entries.iter().map(|entry| entry.template.clone()).collect();
        let known = self.known(state, service)?;
        if !known.templates.is_empty() {
            let grain = Grain::Code { asset: asset.to_owned(), file: file.to_owned() };
            templates.extend(known.templates.get(&grain).into_iter().flatten().cloned());
        }
        Ok(templates)
    }

    pub fn template(&mut self, state: &dyn Store, service: &str, template: &str) -> Result<Rc<Template>, StoreError> {
        let part = (service.to_owned(), template.to_owned());
        if let Some(known) = self.templates.get(&part) {
            return Ok(Rc::clone(known));
        }
        let entries: Vec<Entry> = Table::Entries.rows(state, &template_key(service, template), usize::MAX)?;
        let (mut code, cut) = code_of(state, service, &entries)?;
        let confirmed = self.known(state, service)?;
        for grain in confirmed.code.get(template).into_iter().flatten() {
            if !code.contains(grain) {
                code.push(grain.clone());
            }
        }
        Ok(kept(&mut self.templates, part, Template { entries, code, cut }))
    }

    fn known(&mut self, state: &dyn Store, service: &str) -> Result<Rc<Known>, StoreError> {
        if let Some(known) = self.services.get(service) {
            return Ok(Rc::clone(known));
        }
        let known = Known::of(state, service)?;
        Ok(kept(&mut self.services, service.to_owned(), known))
    }
}

impl Known {
    fn of(state: &dyn Store, service: &str) -> Result<Self, StoreError> {
        let has_entries = is_any(state, &Table::EntryFiles.of(service))?;
        let mut known = Self { has_entries, code: BTreeMap::new(), templates: BTreeMap::new() };
        let prefix = Table::Confirmed.of(service);
        for key in keys(state, &prefix, &prefix, usize::MAX)? {
            let ids = last_id(&key).zip(last_id(&key[..key.len() - size_of::<Id>()]));
            let (route, code) = ids.ok_or_else(|| Table::Confirmed.corrupt(&key, "no ids"))?;
            // A link waits for what it leads to.
            let Some(((_, route), (_, code))) = located(state, service, route)?.zip(located(state, service, code)?) else { continue };
            if matches!((&route.place, &code.place), (Place::Route(_), Place::Code(_))) {
                let (template, grain) = (route.learned.template.clone(), Grain::of(&code));
                known.templates.entry(grain.clone()).or_default().insert(template.clone());
                known.code.entry(template).or_default().insert(grain);
            }
        }
        Ok(known)
    }
}

fn kept<K: Clone + Eq + Hash, T>(all: &mut HashMap<K, Rc<T>>, part: K, value: T) -> Rc<T> {
    if all.len() >= KEPT_MOST {
        all.clear();
    }
    let value = Rc::new(value);
    all.insert(part, Rc::clone(&value));
    value
}

/// The units of code in which handlers of these entries lie, and how many more there are.
fn code_of(state: &dyn Store, service: &str, entries: &[Entry]) -> Result<(Vec<Grain>, u64), StoreError> {
    let keys: BTreeSet<&str> = entries.iter().filter(|entry| !entry.file.is_empty()).map(|entry| file_key(&entry.file)).collect();
    let mut units = BTreeSet::new();
    for key in keys {
        for grain in Table::Files.rows::<Grain>(state, &Table::Files.below(service, key), usize::MAX)? {
            if is_handled(&grain, entries) {
                units.insert(grain);
            }
        }
    }
    let cut = units.len().saturating_sub(FILES_MOST) as u64;
    Ok((units.into_iter().take(FILES_MOST).collect(), cut))
}

fn is_handled(grain: &Grain, entries: &[Entry]) -> bool {
    let Grain::Code { asset, file } = grain else { return false };
    entries.iter().any(|entry| handles(entry, asset, file).is_some())
}
