//! What other facts say of a finding before it has a unit: the template of its route, the other names of its vulnerability.

use std::collections::BTreeSet;

use faultline_model::fingerprint::fold_path;

use super::copies;
use super::facts::{Entry, Finding, Learned, NAMES_MOST, Place, Visit};
use super::tables::{PATH_END, Table, is_any, keys, put_any, put_literal, put_rest, put_text, take_text};
use super::templates::{ANY, REST, SEGMENTS_MOST, methods_agree, segments};
use crate::row::StageTable;
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

/// The most steps of a search for a template; a path that needs more is folded.
const STEPS_MOST: usize = 1024;

/// What is known of a finding beside its own words.
pub fn learned(batch: &mut Batch<'_>, service: &str, finding: &Finding) -> Result<Learned, StageError> {
    let purl = if let Place::Package(package) = &finding.place { Some(package.purl.as_str()) } else { None };
    let vulnerabilities = if finding.named.is_empty() { Vec::new() } else { names(batch, service, purl, &finding.named)? };
    let Place::Route(route) = &finding.place else { return Ok(Learned { vulnerabilities, ..Learned::default() }) };
    let path = copies::rewritten(batch, service, &finding.asset, &route.path)?;
    let template = template(&batch.state, service, &route.method, &path)?;
    Ok(Learned { vulnerabilities, path, template })
}

/// Path and template of a visit.
pub fn visited(batch: &mut Batch<'_>, service: &str, visit: &mut Visit) -> Result<(), StageError> {
    visit.path = copies::rewritten(batch, service, &visit.asset, &visit.requested)?;
    visit.template = template(&batch.state, service, &visit.method, &visit.path)?;
    Ok(())
}

/// All names of a vulnerability: what aliases of the feeds lead to, and for a package what its findings name together.
fn names(batch: &mut Batch<'_>, service: &str, purl: Option<&str>, named: &[String]) -> Result<Vec<String>, StageError> {
    let mut known: BTreeSet<String> = named.iter().take(NAMES_MOST).cloned().collect();
    let mut level: Vec<String> = known.iter().cloned().collect();
    while !level.is_empty() {
        let mut others = BTreeSet::new();
        for id in &level {
            let known = copies::vulnerability(batch, id)?;
            others.extend(known.said.aliases);
            if let Some(purl) = purl.filter(|_| known.is_named_together) {
                others.extend(named_together(&batch.state, service, purl, id)?);
            }
        }
        level = others.into_iter().filter(|id| !known.contains(id)).take(NAMES_MOST - known.len()).collect();
        known.extend(level.iter().cloned());
    }
    Ok(known.into_iter().collect())
}

fn named_together(state: &dyn Store, service: &str, purl: &str, id: &str) -> Result<Vec<String>, StoreError> {
    let prefix = alike_prefix(service, purl, id);
    let rows = keys(state, &prefix, &prefix, NAMES_MOST)?;
    let other = |key: &Vec<u8>| take_text(&key[prefix.len()..]).map(|(text, _)| text.to_owned());
    rows.iter().map(|key| other(key).ok_or_else(|| Table::Alike.corrupt(key, "no id"))).collect()
}

/// The key of the ids that findings of a package name together with one.
pub fn alike_prefix(service: &str, purl: &str, id: &str) -> Vec<u8> {
    let mut key = Table::Alike.below(service, purl);
    put_text(&mut key, id);
    key
}

/// The template that a path matches, else the folded path.
pub fn template(state: &dyn Store, service: &str, method: &str, path: &str) -> Result<String, StoreError> {
    let parts: Vec<&str> = segments(path).collect();
    if parts.len() <= SEGMENTS_MOST {
        let mut search = Search { state, method, parts: &parts, taken: Vec::new(), steps: 0 };
        if search.walk(&Table::Entries.of(service), 0)? {
            return Ok(search.taken.iter().fold(String::new(), |text, part| text + "/" + part).into_root());
        }
    }
    Ok(fold_path(path))
}

trait IntoRoot {
    fn into_root(self) -> String;
}

impl IntoRoot for String {
    /// The template of no segments is the root.
    fn into_root(self) -> String {
        if self.is_empty() { "/".to_owned() } else { self }
    }
}

/// A walk along the index of templates: at each segment the literal first, then any one, then the rest.
struct Search<'a> {
    state: &'a dyn Store,
    method: &'a str,
    parts: &'a [&'a str],
    taken: Vec<&'a str>,
    steps: usize,
}

impl<'a> Search<'a> {
    fn walk(&mut self, key: &[u8], at: usize) -> Result<bool, StoreError> {
        self.steps += 1;
        if self.steps > STEPS_MOST {
            return Ok(false);
        }
        if let Some(part) = self.parts.get(at) {
            let mut literal = key.to_vec();
            put_literal(&mut literal, part);
            if self.step(&literal, part, at)? {
                return Ok(true);
            }
            let mut any = key.to_vec();
            put_any(&mut any);
            if self.step(&any, ANY, at)? {
                return Ok(true);
            }
        } else if self.is_served(key)? {
            return Ok(true);
        }
        let mut rest = key.to_vec();
        put_rest(&mut rest);
        if self.is_served(&rest)? {
            self.taken.push(REST);
            return Ok(true);
        }
        Ok(false)
    }

    fn step(&mut self, key: &[u8], segment: &'a str, at: usize) -> Result<bool, StoreError> {
        if !is_any(self.state, key)? {
            return Ok(false);
        }
        self.taken.push(segment);
        let found = self.walk(key, at + 1)?;
        if !found {
            self.taken.pop();
        }
        Ok(found)
    }

    /// Whether a template that ends here has an entry whose method agrees.
    fn is_served(&self, key: &[u8]) -> Result<bool, StoreError> {
        let mut prefix = key.to_vec();
        prefix.push(PATH_END);
        let entries: Vec<Entry> = Table::Entries.rows(self.state, &prefix, usize::MAX)?;
        Ok(entries.iter().any(|entry| methods_agree(&entry.method, self.method)))
    }
}
