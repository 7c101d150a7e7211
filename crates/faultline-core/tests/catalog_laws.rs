//! Laws of the catalog: an apply is done once, the order of lists says nothing, what is shown is read again, and the longest
//! prefix of the most specific record wins.

use std::collections::BTreeMap;

use faultline_core::catalog::{File, Organisation, Plan, places::place, plan, read, show};
use faultline_model::asset::AssetId;
use faultline_model::catalog::{CatalogRecord, HEAD_KEY, Places, places_keys};
use faultline_model::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const ASSETS: [&str; 5] =
    ["repo:github.com/*", "repo:github.com/acme/*", "repo:github.com/acme/shop", "repo:github.com/acme/bank", "url:https://shop.example"];
const PREFIXES: [&str; 5] = ["", "a", "a/b", "ab", "b/c/d"];
const SERVICES: usize = 5;

/// A description before it is written: which of five services owns which place, and the rest.
#[derive(Clone, Debug)]
struct Description {
    parents: Vec<usize>,
    owners: BTreeMap<(usize, usize), (usize, Vec<usize>, bool)>,
    branches: BTreeMap<usize, bool>,
    code_owners: BTreeMap<usize, Vec<(String, usize)>>,
    tiers: Vec<i32>,
    policy: Option<i32>,
}

prop_compose! {
    fn description()(
        parents in prop::collection::vec(0_usize..4, 0..5),
        owners in prop::collection::btree_map(
            (0..ASSETS.len(), 0..PREFIXES.len()),
            (0..SERVICES, prop::collection::vec(0..SERVICES, 0..3), any::<bool>()),
            0..14,
        ),
        branches in prop::collection::btree_map(0_usize..4, any::<bool>(), 0..4),
        code_owners in prop::collection::btree_map(2_usize..5, prop::collection::vec(("[a-c*/]{1,5}", 0_usize..3), 1..4), 0..3),
        tiers in prop::collection::vec(1_i32..=4, SERVICES),
        policy in prop::option::of(0_i32..100),
    ) -> Description {
        Description { parents, owners, branches, code_owners, tiers, policy }
    }
}

impl Description {
    /// As YAML (JSON is), with every list turned by `turn` and split over two files where `split`.
    fn files(&self, turn: usize, split: bool) -> Vec<File> {
        let turned = |mut list: Vec<Value>| {
            let by = if list.is_empty() { 0 } else { turn % list.len() };
            list.rotate_left(by);
            list
        };
        let nodes: Vec<Value> = self.parents.iter().enumerate().map(|(n, parent)| node(n, *parent)).collect();
        let services: Vec<Value> = (0..SERVICES).map(|n| self.service(n, &turned)).collect();
        let owners: Vec<Value> = self.code_owners.iter().filter_map(|(asset, rules)| code_owners(*asset, rules)).collect();
        let (nodes, services, owners) = (turned(nodes), turned(services), turned(owners));
        let cut = if split { SERVICES / 2 } else { SERVICES };
        let mut first = json!({ "services": services[..cut], "code_owners": owners });
        if let Some(partner) = self.policy {
            first["policy"] = json!({ "preset": "balanced", "overrides": { "exposure": { "partner": partner } } });
        }
        let second = json!({ "organisation": nodes, "services": services[cut..] });
        let file = |name: &str, value: &Value| File { name: name.to_owned(), text: value.to_string() };
        vec![file("a.yaml", &first), file("b.yaml", &second)]
    }

    fn service(&self, n: usize, turned: &dyn Fn(Vec<Value>) -> Vec<Value>) -> Value {
        let own = self.owners.iter().filter(|(_, (owner, ..))| *owner == n);
        let places = own.map(|((asset, prefix), (_, users, rewrites))| self.place(n, *asset, *prefix, users, *rewrites));
        let mut service = json!({ "id": format!("s{n}"), "tier": self.tiers[n], "places": turned(places.collect()) });
        if n < self.parents.len() {
            service["parent"] = json!(format!("n{n}"));
        }
        service
    }

    fn place(&self, owner: usize, asset: usize, prefix: usize, users: &[usize], rewrites: bool) -> Value {
        let users: Vec<String> = users.iter().filter(|user| **user != owner).map(|user| format!("s{user}")).collect();
        let mut place = json!({ "asset": ASSETS[asset], "path": PREFIXES[prefix], "used_by": users });
        if PREFIXES[prefix].is_empty() {
            place["path"] = Value::Null;
        }
        let is_url = ASSETS[asset].starts_with("url:");
        if is_url && rewrites {
            place["rewrite"] = json!("/v1");
        }
        if let Some(main) = self.branches.get(&asset).filter(|_| !is_url) {
            place["default_branch"] = json!(if *main { "main" } else { "trunk" });
        }
        place
    }

    fn read(&self, turn: usize, split: bool) -> Organisation {
        read(&self.files(turn, split), &|name| Err(format!("{name} is not there"))).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Who owns a place, from the definition: the most specific text of assets that has a rule for it, and there the longest.
    fn owner(&self, asset: &str, path: &str) -> Option<usize> {
        places_keys(asset).iter().find_map(|key| {
            let assets = ASSETS.iter().position(|text| key == &format!("places/{text}"))?;
            let holds = |prefix: &str| prefix.is_empty() || path == prefix || path.starts_with(&format!("{prefix}/"));
            let rules = self.owners.iter().filter(|((of, prefix), _)| *of == assets && holds(PREFIXES[*prefix]));
            rules.max_by_key(|((_, prefix), _)| PREFIXES[*prefix].len()).map(|(_, (owner, ..))| *owner)
        })
    }
}

fn node(n: usize, parent: usize) -> Value {
    // A parent has a smaller number, so this is a forest.
    let mut node = json!({ "id": format!("n{n}"), "name": format!("Node {n}"), "owners": ["@b", "@a"] });
    if parent < n {
        node["parent"] = json!(format!("n{parent}"));
    }
    node
}

fn code_owners(asset: usize, rules: &[(String, usize)]) -> Option<Value> {
    let rules: Vec<Value> = rules
        .iter()
        .filter(|(pattern, _)| faultline_core::catalog::code_owners::fault(pattern).is_none())
        .map(|(pattern, owners)| json!({ "pattern": pattern, "owners": (&["@z", "a@acme.example"][..*owners]) }))
        .collect();
    (!rules.is_empty()).then(|| json!({ "asset": ASSETS[asset], "rules": rules }))
}

fn apply(current: &mut BTreeMap<String, CatalogRecord>, plan: Plan) {
    for (key, record) in plan.changes {
        match record {
            Some(record) => _ = current.insert(key, record),
            None => _ = current.remove(&key),
        }
    }
}

fn places_of<'a>(records: &'a BTreeMap<String, CatalogRecord>, asset: &str) -> Vec<&'a Places> {
    let record = |key: &String| match records.get(key) {
        Some(CatalogRecord::Places(places)) => Some(places),
        _ => None,
    };
    places_keys(asset).iter().filter_map(record).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_apply_is_done_once(first in description(), second in description()) {
        let mut current = BTreeMap::new();
        for (version, description) in [&first, &second, &first].into_iter().enumerate() {
            let desired = description.read(0, false);
            let at = Timestamp::from_millis(version as i64);
            let before = current.clone();
            let made = plan(&desired, &current, "ana", at);
            prop_assert!(made.changes.is_empty() || made.changes.last().is_some_and(|(key, _)| key == HEAD_KEY));
            for (key, record) in made.changes.iter().filter(|(key, _)| key != HEAD_KEY) {
                prop_assert_ne!(before.get(key), record.as_ref(), "only what differs is written");
            }
            apply(&mut current, made.clone());
            let mut entities = current.clone();
            entities.remove(HEAD_KEY);
            prop_assert_eq!(&entities, &desired.records);
            let again = plan(&desired, &current, "ben", at.plus_days(1));
            prop_assert!(again.changes.is_empty(), "{:?}", again.changes);
            prop_assert_eq!(&again.head, &made.head);
        }
    }

    #[test]
    fn the_order_of_lists_says_nothing(description in description(), turn in 0_usize..7, split in any::<bool>()) {
        prop_assert_eq!(description.read(0, false).records, description.read(turn, split).records);
    }

    #[test]
    fn what_is_shown_is_read_again(description in description()) {
        let desired = description.read(0, false);
        let yaml = show(&desired.records);
        let file = File { name: "shown.yaml".into(), text: yaml.clone() };
        let again = read(&[file], &|name| Err(name.to_owned())).map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        prop_assert_eq!(&again.records, &desired.records, "{}", yaml);
    }

    #[test]
    fn the_longest_prefix_of_the_most_specific_record_wins(
        description in description(),
        asset in prop::sample::select(vec!["repo:github.com/acme/shop", "repo:github.com/acme/cart", "repo:github.com/evil/shop", "url:https://shop.example"]),
        path in prop::sample::select(vec!["", "a", "a/x", "a/b", "a/b/c", "ab", "abc", "b/c", "b/c/d/e"]),
    ) {
        let records = description.read(0, false).records;
        let id = AssetId::read(asset).unwrap();
        let expected = description.owner(asset, path).map_or(format!("unassigned/{asset}"), |owner| format!("s{owner}"));
        let places = places_of(&records, asset);
        prop_assert_eq!(&place(places.iter().copied(), &id, path).owner, &expected, "of all records");
        prop_assert_eq!(&place(places.first().copied(), &id, path).owner, &expected, "of the most specific alone");
    }
}
