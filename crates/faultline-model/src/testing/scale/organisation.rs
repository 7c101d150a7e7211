//! The organisation as records of `catalog`: units, products, teams, services, and which places are whose.

use super::random::{draw, pick};
use super::shape::Part;
use super::{Scale, asset, service_id};
use crate::catalog::{self, CatalogRecord, Head, Node, PlaceRule, Places, Service};
use crate::id::Id;
use crate::time::Timestamp;

/// Services of a team, teams of a product, products of a business unit.
const A_TEAM: u64 = 5;
const A_PRODUCT: u64 = 5;
const A_UNIT: u64 = 4;

impl Scale {
    /// The catalog with its keys: nodes from the top, then each service with its places, then the head.
    pub fn catalog(&self) -> impl Iterator<Item = (String, CatalogRecord)> {
        let teams = self.services.div_ceil(A_TEAM);
        let products = teams.div_ceil(A_PRODUCT);
        let units = products.div_ceil(A_UNIT);
        let nodes = (0..units)
            .map(|unit| node("business_unit", &unit_id(unit), String::new()))
            .chain((0..products).map(|product| node("product", &product_id(product), unit_id(product / A_UNIT))))
            .chain((0..teams).map(|team| node("team", &team_id(team), product_id(team / A_PRODUCT))));
        let services = (0..self.services).flat_map(move |service| {
            let places = [Part::Repo, Part::Image, Part::Url].map(|part| places(service, part));
            std::iter::once(self.service(service)).chain(places)
        });
        nodes.chain(services).chain(std::iter::once(self.head()))
    }

    fn service(&self, number: u64) -> (String, CatalogRecord) {
        let own = |purpose: u64| draw(self.seed, &[number, 1_000 + purpose]);
        let id = service_id(number);
        let team = number / A_TEAM;
        let product = team / A_PRODUCT;
        let data: &[&str] = pick(&[&["personal"][..], &["regulated"], &["public"], &[]], own(1));
        let service = Service {
            name: format!("Service {number}"),
            parent: team_id(team),
            tier: 1 + (own(2) % 4) as i32,
            exposure: pick(&["internet", "internet", "partner", "internal"], own(3)).into(),
            data: data.iter().map(|word| (*word).to_owned()).collect(),
            owners: vec![format!("@acme/{}", team_id(team))],
            path: vec![team_id(team), product_id(product), unit_id(product / A_UNIT)],
            id: id.clone(),
        };
        (catalog::service_key(&id), CatalogRecord::Service(service))
    }

    fn head(&self) -> (String, CatalogRecord) {
        let digest = Id::of("scale", &[&self.seed.to_le_bytes(), &self.services.to_le_bytes()]).to_string();
        let head = Head { version: 1, applied: Timestamp::from_millis(super::BEGIN_MS), actor: "scale".into(), digest };
        (catalog::HEAD_KEY.to_owned(), CatalogRecord::Head(head))
    }
}

fn places(service: u64, part: Part) -> (String, CatalogRecord) {
    let asset = asset(service, part).to_string();
    let rule = PlaceRule { prefix: String::new(), owner: service_id(service), users: vec![], rewrite: None };
    let default_branch = if part == Part::Repo { "main" } else { "" };
    let places = Places { assets: asset.clone(), default_branch: default_branch.into(), rules: vec![rule], code_owners: vec![] };
    (catalog::places_key(&asset), CatalogRecord::Places(places))
}

fn node(kind: &str, id: &str, parent: String) -> (String, CatalogRecord) {
    let node = Node { id: id.into(), name: id.into(), kind: kind.into(), parent, owners: vec![format!("lead-of-{id}@acme.example")] };
    (catalog::node_key(id), CatalogRecord::Node(node))
}

fn unit_id(number: u64) -> String {
    format!("unit-{number:03}")
}

fn product_id(number: u64) -> String {
    format!("product-{number:04}")
}

fn team_id(number: u64) -> String {
    format!("team-{number:04}")
}
