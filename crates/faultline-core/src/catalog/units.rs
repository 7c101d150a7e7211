//! Business units, products, teams and services, and how they hang together.

use std::collections::BTreeSet;

use faultline_model::catalog::{Node, Service};

use super::read::Draft;
use crate::description::cursor::{Cursor, LIST_ENTRIES, Place};
use crate::description::fault::shown;

/// The most nodes above a service.
pub const DEPTH: usize = 16;
/// The most owners of a node or service.
const OWNERS: usize = 64;
/// The most kinds of data of a service.
const DATA_KINDS: usize = 32;
/// The longest id, in bytes.
const ID_BYTES: usize = 128;
/// What a node is called by its depth, where the description does not say.
const KINDS: [&str; 3] = ["business_unit", "product", "team"];
/// Who can reach a service.
const EXPOSURES: [&str; 4] = ["internet", "partner", "internal", "not_deployed"];
/// Of a service that says nothing, as of a place without a service.
const DEFAULT_TIER: i32 = 3;
const AN_ID: &str = "an id of up to 128 letters, digits, `.`, `_` and `-` that begins with a letter or digit";

/// Reads the nodes and services of a file.
pub(super) fn read(root: &Cursor<'_>, draft: &mut Draft) {
    for entry in root.list("organisation", LIST_ENTRIES, &mut draft.faults) {
        node(&entry, None, 0, draft);
    }
    for entry in root.list("services", LIST_ENTRIES, &mut draft.faults) {
        service(&entry, draft);
    }
}

fn node(at: &Cursor<'_>, above: Option<&str>, depth: usize, draft: &mut Draft) {
    let faults = &mut draft.faults;
    if depth >= DEPTH {
        faults.add(at.place().fault(format!("{} levels deep", depth + 1), format!("at most {DEPTH} levels")));
        return;
    }
    // What stands inside another has its parent there.
    let fields = ["id", "kind", "name", "owners", "children", "parent"];
    let known = if above.is_some() { &fields[..5] } else { &fields[..] };
    if !at.fields(known, faults) {
        return;
    }
    let kind = at.text_of("kind", "a kind of unit", faults).unwrap_or_default().to_owned();
    let owners = at.set_of("owners", OWNERS, "a person or team", faults);
    let parent = above.or_else(|| at.text_of("parent", "the id of a node", faults)).unwrap_or_default().to_owned();
    let id = id(at, draft);
    let name = at.text_of("name", "a name", &mut draft.faults).or(id).unwrap_or_default().to_owned();
    for child in at.list("children", LIST_ENTRIES, &mut draft.faults) {
        node(&child, Some(id.unwrap_or_default()), depth + 1, draft);
    }
    let Some(id) = id else { return };
    if let Some((first, _)) = draft.nodes.get(id) {
        draft.faults.add(at.place().fault(format!("a second node {}", shown(id)), format!("one of each id, which is at {first}")));
        return;
    }
    draft.nodes.insert(id.to_owned(), (at.place(), Node { id: id.to_owned(), name, kind, parent, owners }));
}

fn service(at: &Cursor<'_>, draft: &mut Draft) {
    let faults = &mut draft.faults;
    if !at.fields(&["id", "name", "parent", "tier", "exposure", "data", "owners", "places"], faults) {
        return;
    }
    let parent = at.text_of("parent", "the id of a node", faults).unwrap_or_default().to_owned();
    let exposure = at.choice("exposure", &EXPOSURES, "internal", faults);
    let data = at.set_of("data", DATA_KINDS, "a kind of data", faults);
    let owners = at.set_of("owners", OWNERS, "a person or team", faults);
    let tier = tier(at, draft);
    let Some(id) = id(at, draft) else { return };
    let name = at.text_of("name", "a name", &mut draft.faults).unwrap_or(id).to_owned();
    draft.places_of(at, id);
    if let Some((first, _)) = draft.services.get(id) {
        draft.faults.add(at.place().fault(format!("a second service {}", shown(id)), format!("one of each id, which is at {first}")));
        return;
    }
    let service = Service { id: id.to_owned(), name, parent, tier, exposure, data, owners, path: Vec::new() };
    draft.services.insert(id.to_owned(), (at.place(), service));
}

fn tier(at: &Cursor<'_>, draft: &mut Draft) -> i32 {
    let Some(field) = at.get("tier") else { return DEFAULT_TIER };
    match field.value().as_i64() {
        Some(tier @ 1..=4) => tier as i32,
        _ => {
            field.wrong("a business tier, 1 (vital) to 4", &mut draft.faults);
            DEFAULT_TIER
        }
    }
}

fn id<'a>(at: &Cursor<'a>, draft: &mut Draft) -> Option<&'a str> {
    let id = at.required("id", AN_ID, &mut draft.faults)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if id.len() <= ID_BYTES && id.bytes().all(is_plain) && id.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Some(id);
    }
    at.get("id")?.wrong(AN_ID, &mut draft.faults);
    None
}

/// Checks that parents and users are there, fills in kinds and paths.
pub(super) fn fit(draft: &mut Draft) {
    let ids: Vec<String> = draft.nodes.keys().cloned().collect();
    for id in &ids {
        let (place, node) = &draft.nodes[id];
        let (place, parent) = (place.clone(), node.parent.clone());
        known_parent(&place, &parent, draft);
        match path(&parent, draft) {
            Some(path) => {
                let kind = KINDS[path.len().min(KINDS.len() - 1)];
                if let Some((_, node)) = draft.nodes.get_mut(id).filter(|(_, node)| node.kind.is_empty()) {
                    kind.clone_into(&mut node.kind);
                }
            }
            None => not_a_tree(id, &place, &parent, draft),
        }
    }
    let ids: Vec<String> = draft.services.keys().cloned().collect();
    for id in &ids {
        let (place, service) = &draft.services[id];
        let (place, parent) = (place.clone(), service.parent.clone());
        known_parent(&place, &parent, draft);
        let path = path(&parent, draft).unwrap_or_default();
        let owners = owners_above(&path, |node| draft.nodes.get(node).map(|(_, node)| node)).to_vec();
        if let Some((_, service)) = draft.services.get_mut(id) {
            service.path = path;
            if service.owners.is_empty() {
                service.owners = owners;
            }
        }
    }
    for (place, user) in std::mem::take(&mut draft.used_by) {
        if !draft.services.contains_key(&user) {
            let fault = place.fault(shown(&user), "the id of a service".to_owned());
            draft.faults.add_near(fault, &user, draft.services.keys().map(String::as_str));
        }
    }
}

/// Who answers for a service that names nobody: the owners of the nearest node above it that has some.
pub(super) fn owners_above<'n>(path: &[String], node: impl Fn(&str) -> Option<&'n Node>) -> &'n [String] {
    path.iter().filter_map(|id| node(id)).map(|node| node.owners.as_slice()).find(|owners| !owners.is_empty()).unwrap_or_default()
}

fn known_parent(place: &Place, parent: &str, draft: &mut Draft) {
    if !parent.is_empty() && !draft.nodes.contains_key(parent) {
        let at = Place { at: format!("{}.parent", place.at), ..place.clone() };
        let fault = at.fault(shown(parent), "the id of a node of the organisation".to_owned());
        draft.faults.add_near(fault, parent, draft.nodes.keys().map(String::as_str));
    }
}

/// Ids from a node up to the top; `None` if they do not end within the bound.
fn path(from: &str, draft: &Draft) -> Option<Vec<String>> {
    let (mut path, mut next) = (Vec::new(), from);
    while !next.is_empty() {
        if path.len() == DEPTH {
            return None;
        }
        path.push(next.to_owned());
        next = draft.nodes.get(next).map_or("", |(_, node)| node.parent.as_str());
    }
    Some(path)
}

/// A way up that does not end: a cycle, told once by the first of its ids, or too many levels.
fn not_a_tree(id: &str, place: &Place, parent: &str, draft: &mut Draft) {
    let (mut seen, mut next) = (BTreeSet::new(), parent);
    while !next.is_empty() && next != id && seen.insert(next.to_owned()) {
        next = draft.nodes.get(next).map_or("", |(_, node)| node.parent.as_str());
    }
    let at = Place { at: format!("{}.parent", place.at), ..place.clone() };
    if next == id {
        if seen.first().is_none_or(|first| id < first.as_str()) {
            draft.faults.add(at.fault(shown(parent), format!("a node that does not itself stand below {}", shown(id))));
        }
    } else if next.is_empty() {
        draft.faults.add(at.fault(format!("{} levels deep", seen.len()), format!("at most {DEPTH} levels")));
    }
}
