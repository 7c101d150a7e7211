//! The records as a description in YAML, from which the same records are read again.

use std::collections::BTreeMap;

use faultline_model::asset::AssetKind;
use faultline_model::catalog::{CatalogRecord, EXCEPTIONS_KEY, Node, PlaceRule, Places, Service, TICKETS_KEY};
use serde::Serialize;
use serde_yaml_ng::Value;

use super::{inherit, units};

#[derive(Default, Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    organisation: Vec<ShownNode<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<ShownService<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    code_owners: Vec<ShownOwners<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tickets: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exceptions: Option<Value>,
}

#[derive(Serialize)]
struct ShownNode<'a> {
    id: &'a str,
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    owners: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<ShownNode<'a>>,
}

#[derive(Serialize)]
struct ShownService<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    tier: i32,
    exposure: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    data: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    owners: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<BTreeMap<&'static str, Value>>,
}

#[derive(Serialize)]
struct ShownOwners<'a> {
    asset: &'a str,
    rules: &'a [faultline_model::catalog::CodeOwners],
}

/// Renders records; the head is not shown.
pub fn show(records: &BTreeMap<String, CatalogRecord>) -> String {
    let (mut nodes, mut services, mut places): (Vec<&Node>, Vec<&Service>, BTreeMap<String, Places>) = Default::default();
    let mut shown = Shown::default();
    for (key, record) in records {
        match record {
            CatalogRecord::Node(node) => nodes.push(node),
            CatalogRecord::Service(service) => services.push(service),
            CatalogRecord::Places(record) => _ = places.insert(record.assets.clone(), record.clone()),
            CatalogRecord::Policy(policy) if key == TICKETS_KEY => shown.tickets = serde_yaml_ng::from_str(&policy.yaml).ok(),
            CatalogRecord::Policy(policy) if key == EXCEPTIONS_KEY => shown.exceptions = serde_yaml_ng::from_str(&policy.yaml).ok(),
            CatalogRecord::Policy(policy) => shown.policy = serde_yaml_ng::from_str(&policy.yaml).ok(),
            CatalogRecord::Head(_) => {}
        }
    }
    let own: Vec<Places> = places.values().map(|record| inherit::own(record, &places)).collect();
    let by_owner = by_owner(&own);
    let mut below: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    let by_id: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), *node)).collect();
    for node in nodes {
        below.entry(node.parent.as_str()).or_default().push(node);
    }
    shown.organisation = children("", &below);
    shown.services = services.into_iter().map(|service| shown_service(service, &by_id, &by_owner)).collect();
    let with_owners = own.iter().filter(|record| !record.code_owners.is_empty());
    shown.code_owners = with_owners.map(|record| ShownOwners { asset: &record.assets, rules: &record.code_owners }).collect();
    serde_yaml_ng::to_string(&shown).expect("texts, numbers and lists can be written")
}

/// The tree below a node. The nodes of an apply form one, so this ends.
fn children<'a>(parent: &str, below: &BTreeMap<&str, Vec<&'a Node>>) -> Vec<ShownNode<'a>> {
    let shown = |node: &&'a Node| ShownNode {
        id: &node.id,
        kind: &node.kind,
        name: &node.name,
        owners: &node.owners,
        children: children(&node.id, below),
    };
    below.get(parent).map(|nodes| nodes.iter().map(shown).collect()).unwrap_or_default()
}

fn by_owner(own: &[Places]) -> BTreeMap<&str, Vec<BTreeMap<&'static str, Value>>> {
    let mut by_owner: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for record in own {
        for (n, rule) in record.rules.iter().enumerate() {
            // A branch is written once.
            let branch = if n == 0 { record.default_branch.as_str() } else { "" };
            by_owner.entry(rule.owner.as_str()).or_default().push(shown_place(&record.assets, branch, rule));
        }
    }
    by_owner
}

fn shown_place(assets: &str, branch: &str, rule: &PlaceRule) -> BTreeMap<&'static str, Value> {
    let kind = AssetKind::ALL.into_iter().find(|kind| assets.starts_with(&format!("{}:", kind.name())));
    let (key, name) = kind.map_or(("asset", assets), |kind| (kind.name(), &assets[kind.name().len() + 1..]));
    let is_url = kind == Some(AssetKind::Url);
    let name = if is_url { format!("{name}{}", rule.prefix) } else { name.to_owned() };
    let mut fields = BTreeMap::from([(key, Value::from(name))]);
    if !is_url && !rule.prefix.is_empty() {
        fields.insert("path", rule.prefix.clone().into());
    }
    if !rule.users.is_empty() {
        fields.insert("used_by", rule.users.clone().into());
    }
    if !branch.is_empty() {
        fields.insert("default_branch", branch.into());
    }
    if let Some(rewrite) = &rule.rewrite {
        fields.insert("rewrite", rewrite.clone().into());
    }
    fields
}

fn shown_service<'a>(
    service: &'a Service,
    nodes: &BTreeMap<&str, &Node>,
    places: &BTreeMap<&str, Vec<BTreeMap<&'static str, Value>>>,
) -> ShownService<'a> {
    // What it has from the unit above follows that unit, so it is not written as its own.
    let above = units::owners_above(&service.path, |id| nodes.get(id).copied());
    ShownService {
        id: &service.id,
        name: &service.name,
        parent: &service.parent,
        tier: service.tier,
        exposure: &service.exposure,
        data: &service.data,
        owners: if service.owners == above { &[] } else { &service.owners },
        places: places.get(service.id.as_str()).cloned().unwrap_or_default(),
    }
}
