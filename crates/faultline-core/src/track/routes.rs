//! Routes: entries of route maps, and places that dynamic scans visited. They are not numbered and close nothing.
//!
//! Entries of a map are those of the newest complete scan of the whole asset and of the complete scans after it; visits are
//! those of the newest complete scan alone. Only lines that count have any.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::id::Id;
use faultline_model::record::RouteObserved;
use faultline_model::tracked::{FactKind, TrackedRecord, TrackedRoute};

use super::codec::{self, Row, Writer};
use super::desk::{each, keys_under};
use super::keys::{Table, id_at, key};
use super::line::Progress;
use super::observe::hash_of;
use super::rows::line::{LineRow, Scan};
use super::rows::route::{HasRoute, RouteRow};
use super::{Result, Work};
use crate::store::Store;

/// The most routes of one scan; what is beyond is left out, counted, and said in the scan's outcome.
const ROUTES: u32 = 20_000;

type Routes = BTreeMap<Id, HasRoute>;

impl Work<'_, '_> {
    /// One route of a scan.
    pub(super) fn see_route(&mut self, route: RouteObserved) -> Result<()> {
        if !self.read_scan(route.scan)? {
            return Ok(());
        }
        let open = &self.desk.open[&route.scan];
        let (id_of_scan, line, scan, is_visit) = (route.scan, open.line, open.scan, route.is_visit);
        let row = RouteRow::of(&open.tool, route);
        let id = id_of(self.desk.asset.as_str(), &row);
        let at = self.has_key(Table::ScanRoute, scan, id);
        if self.batch.state.get(&at)?.is_some() {
            return Ok(());
        }
        let open = self.desk.open.get_mut(&id_of_scan).expect("it is at hand");
        open.is_changed = true;
        if open.progress.routes >= ROUTES {
            open.progress.routes_cut += 1;
            return Ok(());
        }
        open.progress.routes += 1;
        self.put(at, &HasRoute { is_visit, families: Vec::new() });
        let mut row = self.route(id)?.unwrap_or(row);
        row.named += 1;
        self.put(self.route_key(id), &row);
        let kept = self.desk.line(&self.batch.state, line)?;
        if !kept.has_routes {
            self.desk.line_mut(&self.batch.state, line)?.has_routes = true;
        }
        if kept.scan(scan).is_some_and(|scan| scan.has_ended) {
            self.desk.routes_dirty.insert(line);
        }
        Ok(())
    }

    fn route_key(&self, id: Id) -> Vec<u8> {
        key(Table::Route, self.desk.key, &[&id.0])
    }

    fn route(&self, id: Id) -> Result<Option<RouteRow>> {
        Ok(codec::get(&self.batch.state, &self.route_key(id))?)
    }

    fn has_key(&self, table: Table, number: u32, id: Id) -> Vec<u8> {
        key(table, self.desk.key, &[&number.to_be_bytes(), &id.0])
    }

    /// The routes of a scan, a line or a floor.
    fn routes(&self, table: Table, number: u32) -> Result<Routes> {
        let mut routes = Routes::new();
        each(&self.batch.state, &self.desk.number(table, &[number]), |at, row| {
            routes.insert(id_at(at, 21), HasRoute::parse(at, row)?);
            Ok(())
        })?;
        Ok(routes)
    }

    /// Removes what a scan or a floor says of routes.
    pub(super) fn drop_routes(&mut self, table: Table, number: u32) -> Result<()> {
        for id in self.routes(table, number)?.into_keys() {
            self.batch.state.delete(self.has_key(table, number, id));
            self.name_less(id)?;
        }
        Ok(())
    }

    /// One scan or floor less names a route.
    fn name_less(&mut self, id: Id) -> Result<()> {
        if let Some(mut row) = self.route(id)? {
            row.named = row.named.saturating_sub(1);
            self.put_route(id, &row);
        }
        Ok(())
    }

    fn put_route(&mut self, id: Id, row: &RouteRow) {
        if row.named == 0 && row.holds.is_empty() {
            self.batch.state.delete(self.route_key(id));
        } else {
            self.put(self.route_key(id), row);
        }
    }

    /// Works out which routes hold on a line, and says what changed.
    pub(super) fn settle_routes(&mut self, number: u32) -> Result<()> {
        let line = self.desk.line(&self.batch.state, number)?;
        if !line.has_routes {
            return Ok(());
        }
        let before = self.routes(Table::LineRoute, number)?;
        let after = if line.counts { self.holding(number, &line)? } else { Routes::new() };
        let ids: BTreeSet<&Id> = before.keys().chain(after.keys()).collect();
        for id in ids.into_iter().filter(|id| before.get(id) != after.get(id)) {
            let at = self.has_key(Table::LineRoute, number, *id);
            match after.get(id) {
                Some(has) => self.put(at, has),
                None => self.batch.state.delete(at),
            }
            let Some(mut row) = self.route(*id)? else { continue };
            row.holds.retain(|(line, _)| *line != number);
            row.holds.extend(after.get(id).map(|has| (number, has.families.clone())));
            self.publish_route(*id, row)?;
        }
        Ok(())
    }

    /// The routes that hold on a line.
    fn holding(&mut self, number: u32, line: &LineRow) -> Result<Routes> {
        let retired = self.desk.row.retired.filter(|at| line.floor_retired.is_none_or(|folded| folded < *at));
        let first = match retired {
            Some(at) => line.scans.iter().position(|scan| scan.counts() && scan.order.started > at).unwrap_or(line.scans.len()),
            None => 0,
        };
        let complete: Vec<&Scan> = line.scans[first..].iter().filter(|scan| scan.counts() && scan.progress == Progress::Complete).collect();
        let mut holding = if retired.is_none() { self.routes(Table::FloorRoute, number)? } else { Routes::new() };
        for scan in complete {
            self.add_routes(number, scan, &mut holding)?;
        }
        Ok(holding)
    }

    /// What holds after one more complete scan, which is newer than all before.
    fn add_routes(&mut self, number: u32, scan: &Scan, holding: &mut Routes) -> Result<()> {
        holding.retain(|_, has| !has.is_visit && !scan.is_full);
        let mut families = self.desk.progress(&self.batch.state, scan.number)?.families.clone();
        let said = self.desk.said(&self.batch.state, number, scan.said)?;
        families.retain(|family| said.tests_for.binary_search(family).is_ok());
        for (id, has) in self.routes(Table::ScanRoute, scan.number)? {
            let families = if has.is_visit { families.clone() } else { Vec::new() };
            holding.insert(id, HasRoute { families, ..has });
        }
        Ok(())
    }

    /// Folds the routes of a scan into the floor, after a retirement that goes there before it.
    pub(super) fn fold_routes(&mut self, number: u32, scan: &Scan, is_retired: bool) -> Result<()> {
        if !self.desk.line(&self.batch.state, number)?.has_routes {
            return Ok(());
        }
        let before = self.routes(Table::FloorRoute, number)?;
        let mut after = if is_retired { Routes::new() } else { before.clone() };
        if scan.counts() && scan.progress == Progress::Complete {
            self.add_routes(number, scan, &mut after)?;
        }
        for (id, has) in after.iter().filter(|(id, has)| before.get(id) != Some(has)) {
            self.put(self.has_key(Table::FloorRoute, number, *id), has);
            if !before.contains_key(id)
                && let Some(mut row) = self.route(*id)?
            {
                row.named += 1;
                self.put_route(*id, &row);
            }
        }
        for id in before.into_keys().filter(|id| !after.contains_key(id)) {
            self.batch.state.delete(self.has_key(Table::FloorRoute, number, id));
            self.name_less(id)?;
        }
        Ok(())
    }

    /// Publishes a route where the catalog says, if anything changed.
    fn publish_route(&mut self, id: Id, mut row: RouteRow) -> Result<()> {
        row.holds.sort_unstable();
        let families: BTreeSet<&String> = row.holds.iter().flat_map(|(_, families)| families).collect();
        let families: Vec<String> = families.into_iter().cloned().collect();
        let place = if row.file.is_empty() { row.path.clone() } else { row.file.clone() };
        let services = if row.holds.is_empty() { Vec::new() } else { self.services(&place)? };
        let set = self.set_of(&services)?;
        let digest = if row.holds.is_empty() { 0 } else { digest_of(&families) };
        if digest != row.digest || set != row.services {
            let before = self.set(row.services)?;
            let record = tracked_route(id, self.desk.asset.clone(), &row, families);
            self.publish(FactKind::Route, id, &before, &services, |service, _| {
                TrackedRecord::Route(TrackedRoute { service: service.to_owned(), ..record.clone() })
            })?;
            (row.digest, row.services) = (digest, set);
        }
        self.put_route(id, &row);
        Ok(())
    }

    /// Publishes the routes of the asset anew, since the catalog changed.
    pub(super) fn publish_routes(&mut self) -> Result<()> {
        let prefix = key(Table::Route, self.desk.key, &[]);
        for at in keys_under(&self.batch.state, &prefix, &prefix, usize::MAX)? {
            let id = id_at(&at, 17);
            if let Some(row) = self.route(id)? {
                self.publish_route(id, row)?;
            }
        }
        Ok(())
    }
}

fn tracked_route(id: Id, asset: faultline_model::asset::AssetId, row: &RouteRow, families: Vec<String>) -> TrackedRoute {
    TrackedRoute {
        route: id,
        asset,
        service: String::new(),
        tool: row.tool.clone(),
        method: row.method.clone(),
        path: row.path.clone(),
        file: row.file.clone(),
        symbol: row.symbol.clone(),
        line: row.line,
        parameters: row.parameters.clone(),
        is_visit: row.is_visit,
        families,
    }
}

/// Who a route is: the asset and everything that was reported of it.
fn id_of(asset: &str, row: &RouteRow) -> Id {
    let (line, is_visit) = (row.line.to_string(), [u8::from(row.is_visit)]);
    let texts = [asset, &row.tool, &row.method, &row.path, &row.file, &row.symbol, &line];
    let mut parts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    parts.push(&is_visit);
    parts.extend(row.parameters.iter().map(String::as_bytes));
    Id::of("route", &parts)
}

fn digest_of(families: &[String]) -> u64 {
    let mut out = Writer::default();
    out.texts(families);
    hash_of(&out.0)
}
