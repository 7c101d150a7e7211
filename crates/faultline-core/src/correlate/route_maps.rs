//! The route maps of services, while no fact changes: what was read once of them is kept at hand.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::facts::Entry;
use super::tables::{Table, is_any, template_key};
use super::templates::{file_key, handles};
use super::units::Grain;
use crate::store::{Store, StoreError};

/// The most units of code that the entries of one route are looked for in, in the order of their keys. What is cut is counted.
const FILES_MOST: usize = 64;
/// The most files, and the most templates, that are kept at hand.
const KEPT_MOST: usize = 1024;

/// A service with a file's key, or with a template.
type Part = (String, String);

#[derive(Default)]
pub struct RouteMaps {
    /// The service that was asked for last, and whether it has a map: units come in the order of their services.
    service: Option<(String, bool)>,
    files: HashMap<Part, Rc<Vec<Entry>>>,
    templates: HashMap<Part, Rc<Template>>,
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
        if !self.has_any(state, service)? {
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

    pub fn template(&mut self, state: &dyn Store, service: &str, template: &str) -> Result<Rc<Template>, StoreError> {
        let part = (service.to_owned(), template.to_owned());
        if let Some(known) = self.templates.get(&part) {
            return Ok(Rc::clone(known));
        }
        let entries: Vec<Entry> = Table::Entries.rows(state, &template_key(service, template), usize::MAX)?;
        let (code, cut) = code_of(state, service, &entries)?;
        Ok(kept(&mut self.templates, part, Template { entries, code, cut }))
    }

    /// Whether a service has entries that name their handler's file. Most have none: then no unit of code needs to look for them.
    fn has_any(&mut self, state: &dyn Store, service: &str) -> Result<bool, StoreError> {
        if let Some((known, has_any)) = &self.service
            && known == service
        {
            return Ok(*has_any);
        }
        let has_any = is_any(state, &Table::EntryFiles.of(service))?;
        self.service = Some((service.to_owned(), has_any));
        Ok(has_any)
    }
}

fn kept<T>(all: &mut HashMap<Part, Rc<T>>, part: Part, value: T) -> Rc<T> {
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
