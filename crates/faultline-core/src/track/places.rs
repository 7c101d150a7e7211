//! Which services a place of the asset belongs to: the catalog's records as the asset last saw them.
//!
//! The records lie beside the asset as a copy, those found missing included, so that everything that is published follows one
//! version of them; a change is a difference from that copy.

use std::sync::Arc;

use faultline_model::catalog::{CatalogRecord, Places, UNASSIGNED, places_keys};
use faultline_model::topic;

use super::codec;
use super::keys::{Table, key, looked_at};
use super::rows::asset::PlacesCopy;
use super::rows::job::{CatalogJob, Cause};
use super::{Result, Work};
use crate::catalog::code_owners::owners_of;
use crate::catalog::places::{self, place};
use crate::stage::Batch;

/// What the key of a record of places begins with.
const PLACES: &str = "places/";

/// A record of the catalog changed: the assets that looked at it are told in slices.
pub(super) fn catalog_changed(batch: &mut Batch<'_>, catalog_key: &str) {
    if catalog_key.starts_with(PLACES) {
        let row = CatalogJob { key: catalog_key.to_owned(), next: Vec::new() };
        codec::put(&mut batch.state, catalog_job_key(catalog_key), &row);
    }
}

pub(super) fn catalog_job_key(catalog_key: &str) -> Vec<u8> {
    let mut key = looked_at(catalog_key, None);
    key[0] = Table::Pending as u8;
    key
}

impl Work<'_, '_> {
    /// Notes which records a new asset looks at, and copies them.
    pub(super) fn look_at_places(&mut self) -> Result<()> {
        for catalog_key in places_keys(self.desk.asset.as_str()) {
            self.batch.state.put(looked_at(&catalog_key, Some(self.desk.key)), []);
        }
        let copy = self.places_now()?;
        self.put(self.copy_key(), &copy);
        Ok(())
    }

    fn copy_key(&self) -> Vec<u8> {
        key(Table::Places, self.desk.key, &[])
    }

    fn places_now(&self) -> Result<PlacesCopy> {
        let keys = places_keys(self.desk.asset.as_str());
        let records = keys.iter().map(|catalog_key| self.batch.globals.get(topic::CATALOG, catalog_key));
        Ok(PlacesCopy(records.collect::<Result<_, _>>()?))
    }

    /// Whether the catalog says otherwise than the copy.
    pub(super) fn have_places_changed(&self) -> Result<bool> {
        let copy: PlacesCopy = codec::get(&self.batch.state, &self.copy_key())?.unwrap_or_default();
        Ok(copy != self.places_now()?)
    }

    /// Takes the catalog as it is now; what it may touch goes through `pending`.
    pub(super) fn take_places(&mut self) -> Result<()> {
        if !self.have_places_changed()? {
            return Ok(());
        }
        let copy = self.places_now()?;
        self.put(self.copy_key(), &copy);
        self.desk.places = None;
        for line in self.desk.all_lines() {
            self.line_changed(line)?;
        }
        self.add_job(Cause::Asset)?;
        self.publish_routes()
    }

    fn places(&mut self) -> Result<Arc<Vec<Places>>> {
        if let Some(places) = &self.desk.places {
            return Ok(Arc::clone(places));
        }
        let copy: PlacesCopy = codec::get(&self.batch.state, &self.copy_key())?.unwrap_or_default();
        let mut places = Vec::new();
        for bytes in copy.0.iter().flatten() {
            // A record that cannot be read was written by a newer program: its places are as if they were not described.
            if let Ok(CatalogRecord::Places(record)) = faultline_model::avro::decode(bytes) {
                places.push(record);
            }
        }
        let places = Arc::new(places);
        self.desk.places = Some(Arc::clone(&places));
        Ok(places)
    }

    pub(super) fn default_branch(&mut self) -> Result<Option<String>> {
        Ok(places::default_branch(self.places()?.iter()).map(str::to_owned))
    }

    /// The people and teams that own a path.
    pub(super) fn owners(&mut self, path: &str) -> Result<Vec<String>> {
        let places = self.places()?;
        Ok(owners_of(places::code_owners(places.iter()), path).to_vec())
    }

    /// The services of a path: its owner, then its users.
    pub(super) fn services(&mut self, path: &str) -> Result<Vec<String>> {
        let places = self.places()?;
        let placement = place(places.iter(), &self.desk.asset, path);
        let mut services: Vec<String> = Vec::new();
        for service in placement.services() {
            if !services.iter().any(|known| known == service) {
                services.push(service.to_owned());
            }
        }
        Ok(services)
    }

    /// Every service that any part of the asset may belong to.
    pub(super) fn all_services(&mut self) -> Result<Vec<String>> {
        let places = self.places()?;
        let rules = || places.iter().flat_map(|record| &record.rules);
        let mut services: Vec<String> =
            rules().flat_map(|rule| std::iter::once(&rule.owner).chain(&rule.users)).map(String::clone).collect();
        if !rules().any(|rule| rule.prefix.trim_matches('/').is_empty()) {
            services.push(format!("{UNASSIGNED}{}", self.desk.asset));
        }
        services.sort_unstable();
        services.dedup();
        Ok(services)
    }
}
