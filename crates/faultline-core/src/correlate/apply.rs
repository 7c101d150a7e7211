//! Facts into tables: what a change of one fact changes in the rows and indexes, and what is to be looked at again.

use std::collections::{BTreeSet, HashMap};

use faultline_model::id::Id;

use super::facts::{Entry, Finding, Line, Place, Route, Visit};
use super::pending::{Cause, located};
use super::publish::founder_left;
use super::resolve;
use super::shares::Touched;
use super::tables::{Location, Placed, Table, is_any, keys, last_id, path_key, put_text, template_key, with_id};
use super::templates::file_key;
use super::units::Grain;
use crate::row::StageTable;
use crate::stage::{Batch, StageError};
use crate::store::Store;

/// What a batch left to be looked at again.
#[derive(Debug, Default)]
pub struct Gathered {
    pub units: BTreeSet<(String, Grain)>,
    /// As above, but what they are linked with is seen to already.
    pub alone: BTreeSet<(String, Grain)>,
    pub causes: BTreeSet<Cause>,
    /// What shares may say otherwise.
    pub touched: Touched,
    /// Findings as they were written, by the keys of their rows: nearly all are read again at the batch's end.
    pub fresh: HashMap<Vec<u8>, Finding>,
}

/// So many at most; the others are read.
const FRESH_MOST: usize = 1024;

/// A batch whose facts change.
pub struct Facts<'b, 'a> {
    pub batch: &'b mut Batch<'a>,
    pub gathered: &'b mut Gathered,
}

impl Facts<'_, '_> {
    fn touch(&mut self, service: &str, grain: Grain) {
        self.gathered.units.insert((service.to_owned(), grain));
    }

    fn touch_route(&mut self, service: &str, template: &str) {
        self.touch(service, Grain::Route { template: template.to_owned() });
    }

    /// A finding as it stands now; `None` if it is not there any more.
    pub fn finding(&mut self, service: &str, id: Id, now: Option<Finding>) -> Result<(), StageError> {
        let before = located(&self.batch.state, service, id)?;
        let now = match (&before, now) {
            (None, None) => return Ok(()),
            (Some((_, before)), Some(mut now)) => {
                now.learned = before.learned.clone();
                if now == *before {
                    return Ok(());
                }
                Some(now)
            }
            (_, now) => now,
        };
        self.named_together(service, before.as_ref().map(|(_, before)| before), now.as_ref())?;
        let now = match now {
            Some(mut now) => {
                now.learned = resolve::learned(self.batch, service, &now)?;
                Some(now)
            }
            None => None,
        };
        self.replace(service, id, before, now)
    }

    /// Looks again at what other facts say of a finding.
    pub fn resolve_finding(&mut self, service: &str, id: Id) -> Result<(), StageError> {
        let Some((key, before)) = located(&self.batch.state, service, id)? else { return Ok(()) };
        let learned = resolve::learned(self.batch, service, &before)?;
        if learned == before.learned {
            self.touch(service, Grain::of(&before));
            return Ok(());
        }
        let now = Finding { learned, ..before.clone() };
        self.replace(service, id, Some((key, before)), Some(now))
    }

    fn replace(&mut self, service: &str, id: Id, before: Option<(Vec<u8>, Finding)>, now: Option<Finding>) -> Result<(), StageError> {
        let at = Table::Locations.at(service, id);
        let (before_key, before) = before.map_or((None, None), |(key, finding)| (Some(key), Some(finding)));
        self.users(service, id, before.as_ref(), now.as_ref())?;
        self.confirmed(service, id, before.as_ref(), now.as_ref())?;
        self.paths(service, id, before.as_ref(), now.as_ref());
        if let Some(key) = before_key {
            self.gathered.fresh.remove(&key);
            self.batch.state.delete(key);
        }
        let to = now.as_ref().map(Grain::of);
        if let Some((now, grain)) = now.zip(to.clone()) {
            let location = Location { unit: grain.id(), state: now.state, first_seen: now.first_seen };
            let key = location.key(service, id);
            let row = now.row(&key)?;
            if self.gathered.fresh.len() < FRESH_MOST {
                self.gathered.fresh.insert(key.clone(), now);
            }
            self.batch.state.put(key, row);
            self.batch.state.put(at, location.to_bytes());
            self.file_has_unit(service, &grain, location.unit)?;
            self.touch(service, grain);
        } else {
            self.batch.state.delete(at);
        }
        if let Some(before) = &before {
            let grain = Grain::of(before);
            if to.as_ref() != Some(&grain) {
                founder_left(self.batch, &mut self.gathered.touched, service, id, grain.id(), to.as_ref())?;
            }
            self.file_lost_unit(service, &grain)?;
            self.touch(service, grain);
        }
        Ok(())
    }

    /// Who goes by which vulnerability. The copy of what nobody goes by any more is dropped.
    fn users(&mut self, service: &str, id: Id, before: Option<&Finding>, now: Option<&Finding>) -> Result<(), StageError> {
        let names = |finding: Option<&Finding>| finding.map_or(Vec::new(), |finding| finding.learned.vulnerabilities.clone());
        let (before, now) = (names(before), names(now));
        let user = |vulnerability: &str| {
            let mut key = Table::Users.under(vulnerability);
            put_text(&mut key, service);
            with_id(key, id)
        };
        for vulnerability in now.iter().filter(|vulnerability| before.binary_search(vulnerability).is_err()) {
            self.batch.state.put(user(vulnerability), Vec::new());
        }
        for vulnerability in before.iter().filter(|vulnerability| now.binary_search(vulnerability).is_err()) {
            self.batch.state.delete(user(vulnerability));
            if !is_any(&self.batch.state, &Table::Users.under(vulnerability))? {
                self.batch.state.delete(Table::Intel.under(vulnerability));
            }
        }
        Ok(())
    }

    /// The links that people confirmed. Where one goes, by a word or with either end, the other end is looked at again.
    fn confirmed(&mut self, service: &str, id: Id, before: Option<&Finding>, now: Option<&Finding>) -> Result<(), StageError> {
        let codes = |finding: Option<&Finding>| -> BTreeSet<Id> {
            let route = finding.filter(|finding| matches!(finding.place, Place::Route(_)));
            route.map_or_else(BTreeSet::new, |finding| finding.confirmed().collect())
        };
        let is_code = |finding: Option<&Finding>| finding.is_some_and(|finding| matches!(finding.place, Place::Code(_)));
        let (before_codes, now_codes) = (codes(before), codes(now));
        let link = |code: Id| with_id(Table::Confirmed.at(service, code), id);
        for code in now_codes.difference(&before_codes) {
            self.batch.state.put(link(*code), Vec::new());
        }
        for code in before_codes.difference(&now_codes) {
            self.batch.state.delete(link(*code));
            self.touch_unit_of(service, *code)?;
        }
        if is_code(before) && !is_code(now) {
            let prefix = Table::Confirmed.at(service, id);
            for key in keys(&self.batch.state, &prefix, &prefix, usize::MAX)? {
                let route = last_id(&key).ok_or_else(|| Table::Confirmed.corrupt(&key, "no id"))?;
                self.touch_unit_of(service, route)?;
            }
        }
        Ok(())
    }

    fn touch_unit_of(&mut self, service: &str, finding: Id) -> Result<(), StageError> {
        if let Some((_, finding)) = located(&self.batch.state, service, finding)? {
            self.touch(service, Grain::of(&finding));
        }
        Ok(())
    }

    fn paths(&mut self, service: &str, id: Id, before: Option<&Finding>, now: Option<&Finding>) {
        let key = |finding: Option<&Finding>| {
            let route = finding.filter(|finding| matches!(finding.place, Place::Route(_)));
            route.map(|finding| (path_key(service, &finding.learned.path, Placed::Finding, id), finding.asset.as_str().as_bytes().to_vec()))
        };
        let (before, now) = (key(before), key(now));
        if before == now {
            return;
        }
        if let Some((key, _)) = before {
            self.batch.state.delete(key);
        }
        if let Some((key, asset)) = now {
            self.batch.state.put(key, asset);
        }
    }

    /// How many findings of a package name two ids together; the first and the last of them rename.
    fn named_together(&mut self, service: &str, before: Option<&Finding>, now: Option<&Finding>) -> Result<(), StageError> {
        fn named(finding: Option<&Finding>) -> Option<(&str, &[String])> {
            let finding = finding?;
            if let Place::Package(package) = &finding.place { Some((&package.purl, &finding.named)) } else { None }
        }
        let (before, now) = (named(before), named(now));
        if before == now {
            return Ok(());
        }
        for ((purl, ids), more) in before.map(|named| (named, -1)).into_iter().chain(now.map(|named| (named, 1))) {
            for pair in ids.windows(2) {
                self.count_pair(service, purl, &pair[0], &pair[1], more)?;
                self.count_pair(service, purl, &pair[1], &pair[0], more)?;
            }
        }
        Ok(())
    }

    fn count_pair(&mut self, service: &str, purl: &str, one: &str, other: &str, more: i64) -> Result<(), StageError> {
        let mut key = resolve::alike_prefix(service, purl, one);
        put_text(&mut key, other);
        let before: i64 = Table::Alike.get(&self.batch.state, &key)?.unwrap_or_default();
        let now = before + more;
        if now > 0 {
            let row = Table::Alike.row(&key, &now)?;
            self.batch.state.put(key, row);
            super::copies::is_named_together(self.batch, one)?;
        } else {
            self.batch.state.delete(key);
        }
        if (before > 0) != (now > 0) {
            let cause = Cause::Vulnerability { id: one.to_owned(), service: Some(service.to_owned()), is_renamed: true };
            self.gathered.causes.insert(cause);
        }
        Ok(())
    }

    fn file_has_unit(&mut self, service: &str, grain: &Grain, unit: Id) -> Result<(), StageError> {
        if let Grain::Code { file, .. } = grain {
            let state = &self.batch.state;
            let key = with_id(Table::Files.below(service, file_key(file)), unit);
            if state.changed().get(&key)?.is_some() {
                return Ok(());
            }
            // A unit of which nothing was published has no rows below this batch. It is asked so at the batch's end in any case.
            let published = Table::Published.at(service, unit);
            state.look_up(vec![published.clone()])?;
            if state.get(&published)?.is_none() || state.get(&key)?.is_none() {
                let row = Table::Files.row(&key, grain)?;
                self.batch.state.put(key, row);
            }
        }
        Ok(())
    }

    fn file_lost_unit(&mut self, service: &str, grain: &Grain) -> Result<(), StageError> {
        if let Grain::Code { file, .. } = grain {
            let unit = grain.id();
            if !is_any(&self.batch.state, &Table::Findings.at(service, unit))? {
                self.batch.state.delete(with_id(Table::Files.below(service, file_key(file)), unit));
            }
        }
        Ok(())
    }

    /// A route as it stands now; `None` if it is not there any more.
    pub fn route(&mut self, service: &str, id: Id, now: Option<Route>) -> Result<(), StageError> {
        let key = Table::Routes.at(service, id);
        let before: Option<Route> = Table::Routes.get(&self.batch.state, &key)?;
        let now = match now {
            Some(Route::Visit(mut visit)) => {
                resolve::visited(self.batch, service, &mut visit)?;
                Some(Route::Visit(visit))
            }
            other => other,
        };
        if before == now {
            return Ok(());
        }
        match &before {
            Some(Route::Entry(entry)) => self.forget_entry(service, id, entry),
            Some(Route::Visit(visit)) => self.forget_visit(service, id, visit),
            None => {}
        }
        match &now {
            Some(Route::Entry(entry)) => self.learn_entry(service, id, entry)?,
            Some(Route::Visit(visit)) => self.learn_visit(service, id, visit)?,
            None => {}
        }
        match now {
            Some(now) => {
                let row = Table::Routes.row(&key, &now)?;
                self.batch.state.put(key, row);
            }
            None => self.batch.state.delete(key),
        }
        Ok(())
    }

    /// Looks again at the template of a visit.
    pub fn resolve_visit(&mut self, service: &str, id: Id) -> Result<(), StageError> {
        let key = Table::Routes.at(service, id);
        let Some(Route::Visit(visit)) = Table::Routes.get(&self.batch.state, &key)? else { return Ok(()) };
        self.touch_route(service, &visit.template);
        self.route(service, id, Some(Route::Visit(visit)))
    }

    fn entry_changed(&mut self, service: &str, entry: &Entry) {
        self.gathered.causes.insert(Cause::Template { service: service.to_owned(), template: entry.template.clone() });
        if !entry.file.is_empty() {
            self.gathered.causes.insert(Cause::File { service: service.to_owned(), file: entry.file.clone() });
        }
    }

    fn forget_entry(&mut self, service: &str, id: Id, entry: &Entry) {
        self.batch.state.delete(with_id(template_key(service, &entry.template), id));
        self.batch.state.delete(with_id(Table::EntryFiles.below(service, file_key(&entry.file)), id));
        self.entry_changed(service, entry);
    }

    fn learn_entry(&mut self, service: &str, id: Id, entry: &Entry) -> Result<(), StageError> {
        let key = with_id(template_key(service, &entry.template), id);
        let row = Table::Entries.row(&key, entry)?;
        self.batch.state.put(key, row.as_slice());
        if !entry.file.is_empty() {
            self.batch.state.put(with_id(Table::EntryFiles.below(service, file_key(&entry.file)), id), row);
        }
        self.entry_changed(service, entry);
        Ok(())
    }

    fn forget_visit(&mut self, service: &str, id: Id, visit: &Visit) {
        self.batch.state.delete(path_key(service, &visit.path, Placed::Visit, id));
        self.batch.state.delete(with_id(Table::Visits.below(service, &visit.template), id));
        self.touch_route(service, &visit.template);
    }

    fn learn_visit(&mut self, service: &str, id: Id, visit: &Visit) -> Result<(), StageError> {
        self.batch.state.put(path_key(service, &visit.path, Placed::Visit, id), visit.asset.as_str());
        let key = with_id(Table::Visits.below(service, &visit.template), id);
        let row = Table::Visits.row(&key, visit)?;
        self.batch.state.put(key, row);
        self.touch_route(service, &visit.template);
        Ok(())
    }

    /// A line of scans as it stands now; `None` if it is not there any more.
    pub fn line(&mut self, service: &str, id: Id, now: Option<&Line>) -> Result<(), StageError> {
        let key = Table::Lines.at(service, id);
        let before: Option<Line> = Table::Lines.get(&self.batch.state, &key)?;
        if before.as_ref() == now {
            return Ok(());
        }
        for line in before.iter().chain(now) {
            self.gathered.causes.insert(Cause::Line { service: service.to_owned(), asset: line.asset });
        }
        match now {
            Some(now) => {
                let row = Table::Lines.row(&key, now)?;
                self.batch.state.put(key, row);
            }
            None => self.batch.state.delete(key),
        }
        Ok(())
    }
}
