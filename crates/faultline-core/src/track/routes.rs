//! Routes: entries of route maps, and places that dynamic scans visited. They close nothing.
//!
//! Entries of a map are those of the newest complete scan of the whole asset and of the complete scans after it; visits are
//! those of the newest complete scan alone. Only lines that count have any.

use std::collections::BTreeSet;

use faultline_model::id::Id;
use faultline_model::record::RouteObserved;
use faultline_model::tracked::{FactKind, TrackedRecord, TrackedRoute};

use super::codec::{self, Writer};
use super::desk::{delete_all, each, keys_under};
use super::keys::{Table, key, number_at};
use super::line::Progress;
use super::observe::hash_of;
use super::rows::line::{LineRow, Scan};
use super::rows::route::{RouteRow, RouteSet};
use super::{Result, Work};
use crate::store::{Store, StoreError};

/// The most routes of one scan; what is beyond is left out, counted, and said in the scan's outcome.
const ROUTES: u32 = 20_000;

impl Work<'_, '_> {
    /// One route of a scan. A route that its line knows costs two look-ups and a mark.
    pub(super) fn see_route(&mut self, seen: RouteObserved) -> Result<()> {
        if !self.read_scan(seen.scan)? {
            return Ok(());
        }
        let (id_of_scan, is_visit) = (seen.scan, seen.is_visit);
        let open = &self.desk.open[&id_of_scan];
        let (line, scan) = (open.line, open.scan);
        let row = RouteRow::of(&open.tool, seen);
        let id = id_of(self.desk.asset.as_str(), &row);
        let known = self.route_of(id)?;
        let before = if open.routes.is_none() { Some(self.routes_of(scan)?) } else { None };
        let open = self.desk.open.get_mut(&id_of_scan).expect("it is at hand");
        let routes = open.routes.get_or_insert_with(|| before.unwrap_or_default());
        if known.is_some_and(|route| routes.has(route)) {
            return Ok(());
        }
        open.is_changed = true;
        if open.progress.routes >= ROUTES {
            open.progress.routes_cut += 1;
            return Ok(());
        }
        open.progress.routes += 1;
        let route = known.unwrap_or(self.desk.next.route);
        routes.insert(route, is_visit);
        open.routes_now.insert(route, is_visit);
        if known.is_none() {
            self.desk.next.route += 1;
            self.batch.state.put(self.route_of_key(id), route.to_be_bytes());
        }
        if self.desk.known_routes(&self.batch.state, line)?.insert(route) {
            self.desk.known_routes_changed(line);
            let mut row = self.route(route)?.unwrap_or(row);
            row.named += 1;
            self.put(self.route_key(route), &row);
        }
        let kept = self.desk.line(&self.batch.state, line)?;
        if !kept.has_routes {
            self.desk.line_mut(&self.batch.state, line)?.has_routes = true;
        }
        if kept.scan(scan).is_some_and(|scan| scan.has_ended) {
            self.desk.routes_dirty.insert(line);
        }
        Ok(())
    }

    fn route_key(&self, route: u32) -> Vec<u8> {
        self.desk.number(Table::Route, &[route])
    }

    fn route_of_key(&self, id: Id) -> Vec<u8> {
        key(Table::RouteOf, self.desk.key, &[&id.0])
    }

    /// The number of a route.
    fn route_of(&self, id: Id) -> Result<Option<u32>> {
        let at = self.route_of_key(id);
        let Some(row) = self.batch.state.get(&at)? else { return Ok(None) };
        let number = row.as_slice().try_into().map(u32::from_be_bytes);
        number.map(Some).map_err(|_| StoreError::corrupt("route numbers", &at, "it has not four bytes").into())
    }

    fn route(&self, route: u32) -> Result<Option<RouteRow>> {
        Ok(codec::get(&self.batch.state, &self.route_key(route))?)
    }

    /// The routes that a scan reported, those of this batch apart.
    fn routes_of(&self, scan: u32) -> Result<RouteSet> {
        let mut routes = RouteSet::default();
        each(&self.batch.state, &self.desk.number(Table::ScanRoutes, &[scan]), |at, row| {
            routes.add(&codec::Row::parse(at, row)?);
            Ok(())
        })?;
        Ok(routes)
    }

    /// The routes of a line or its floor.
    fn routes(&self, table: Table, line: u32) -> Result<RouteSet> {
        Ok(codec::get(&self.batch.state, &self.desk.number(table, &[line]))?.unwrap_or_default())
    }

    fn put_routes(&mut self, table: Table, line: u32, routes: &RouteSet) {
        let at = self.desk.number(table, &[line]);
        if routes.is_empty() {
            self.batch.state.delete(at);
        } else {
            self.put(at, routes);
        }
    }

    /// Removes what a scan says of routes, and the routes that nothing else names.
    pub(super) fn drop_routes(&mut self, line: u32, scan: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        if !row.has_routes {
            return Ok(());
        }
        delete_all(self.batch, &self.desk.number(Table::ScanRoutes, &[scan]))?;
        let mut named: BTreeSet<u32> = self.routes(Table::FloorRoutes, line)?.iter().collect();
        for scan in &row.scans {
            named.extend(self.routes_of(scan.number)?.iter());
        }
        let known = self.desk.known_routes(&self.batch.state, line)?;
        let gone: Vec<u32> = known.difference(&named).copied().collect();
        if gone.is_empty() {
            return Ok(());
        }
        known.retain(|route| named.contains(route));
        self.desk.known_routes_changed(line);
        for route in gone {
            if let Some(mut row) = self.route(route)? {
                row.named = row.named.saturating_sub(1);
                self.put_route(route, &row);
            }
        }
        Ok(())
    }

    fn put_route(&mut self, route: u32, row: &RouteRow) {
        if row.named == 0 && row.holds.is_empty() {
            self.batch.state.delete(self.route_key(route));
            self.batch.state.delete(self.route_of_key(id_of(self.desk.asset.as_str(), row)));
        } else {
            self.put(self.route_key(route), row);
        }
    }

    /// Works out which routes hold on a line, and says what changed.
    pub(super) fn settle_routes(&mut self, number: u32) -> Result<()> {
        let line = self.desk.line(&self.batch.state, number)?;
        if !line.has_routes {
            return Ok(());
        }
        let before = self.routes(Table::LineRoutes, number)?;
        let after = if line.counts { self.holding(number, &line)? } else { RouteSet::default() };
        if before == after {
            return Ok(());
        }
        self.put_routes(Table::LineRoutes, number, &after);
        let either: BTreeSet<u32> = before.iter().chain(after.iter()).collect();
        for route in either.into_iter().filter(|route| before.families_of(*route) != after.families_of(*route)) {
            let Some(mut row) = self.route(route)? else { continue };
            row.holds.retain(|(line, _)| *line != number);
            row.holds.extend(after.families_of(route).map(|families| (number, families.to_vec())));
            self.publish_route(route, row)?;
        }
        Ok(())
    }

    /// The routes that hold on a line.
    fn holding(&mut self, number: u32, line: &LineRow) -> Result<RouteSet> {
        let retired = self.desk.row.retired.filter(|at| line.floor_retired.is_none_or(|folded| folded < *at));
        let first = match retired {
            Some(at) => line.scans.iter().position(|scan| scan.counts() && scan.order.started > at).unwrap_or(line.scans.len()),
            None => 0,
        };
        let complete: Vec<&Scan> = line.scans[first..].iter().filter(|scan| scan.counts() && scan.progress == Progress::Complete).collect();
        // Nothing before the newest scan of the whole asset holds after it.
        let newest_full = complete.iter().rposition(|scan| scan.is_full);
        let is_floor_needed = retired.is_none() && newest_full.is_none();
        let mut holding = if is_floor_needed { self.routes(Table::FloorRoutes, number)? } else { RouteSet::default() };
        for scan in &complete[newest_full.unwrap_or(0)..] {
            self.add_routes(number, scan, &mut holding)?;
        }
        Ok(holding)
    }

    /// What holds after one more complete scan, which is newer than all before.
    fn add_routes(&mut self, number: u32, scan: &Scan, holding: &mut RouteSet) -> Result<()> {
        if scan.is_full {
            holding.entries.clear();
        }
        holding.visits.clear();
        holding.families.clear();
        holding.add(&self.routes_of(scan.number)?);
        if !holding.visits.is_empty() {
            holding.families.clone_from(&self.desk.progress(&self.batch.state, number, scan.number)?.families);
        }
        Ok(())
    }

    /// Folds the routes of a scan into the floor, after a retirement that goes there before it.
    pub(super) fn fold_routes(&mut self, number: u32, scan: &Scan, is_retired: bool) -> Result<()> {
        if !self.desk.line(&self.batch.state, number)?.has_routes {
            return Ok(());
        }
        let before = self.routes(Table::FloorRoutes, number)?;
        let mut after = if is_retired { RouteSet::default() } else { before.clone() };
        if scan.counts() && scan.progress == Progress::Complete {
            self.add_routes(number, scan, &mut after)?;
        }
        if before != after {
            self.put_routes(Table::FloorRoutes, number, &after);
        }
        Ok(())
    }

    /// Publishes a route where the catalog says, if anything changed.
    fn publish_route(&mut self, route: u32, mut row: RouteRow) -> Result<()> {
        row.holds.sort_unstable();
        let families: BTreeSet<&String> = row.holds.iter().flat_map(|(_, families)| families).collect();
        let families: Vec<String> = families.into_iter().cloned().collect();
        let place = if row.file.is_empty() { row.path.clone() } else { row.file.clone() };
        let services = if row.holds.is_empty() { Vec::new() } else { self.services(&place)? };
        let set = self.set_of(&services)?;
        let digest = if row.holds.is_empty() { 0 } else { digest_of(&families) };
        if digest != row.digest || set != row.services {
            let before = self.set(row.services)?;
            let id = id_of(self.desk.asset.as_str(), &row);
            let record = tracked_route(id, self.desk.asset.clone(), &row, families);
            self.publish(FactKind::Route, id, &before, &services, |service, _| {
                TrackedRecord::Route(TrackedRoute { service: service.to_owned(), ..record.clone() })
            })?;
            (row.digest, row.services) = (digest, set);
        }
        self.put_route(route, &row);
        Ok(())
    }

    /// Publishes the routes of the asset anew, since the catalog changed.
    pub(super) fn publish_routes(&mut self) -> Result<()> {
        let prefix = key(Table::Route, self.desk.key, &[]);
        for at in keys_under(&self.batch.state, &prefix, &prefix, usize::MAX)? {
            let route = number_at(&at, 0);
            if let Some(row) = self.route(route)? {
                self.publish_route(route, row)?;
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
