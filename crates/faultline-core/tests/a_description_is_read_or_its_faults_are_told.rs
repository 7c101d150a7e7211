//! A description of the organisation as a person writes it, and what she is told where it does not fit together.

use std::collections::BTreeMap;

use faultline_core::catalog::{File, Organisation, code_owners::owners_of, plan, read};
use faultline_core::policy::Policy;
use faultline_model::catalog::{CatalogRecord, Places, Service};
use faultline_model::time::Timestamp;

const ACME: &str = r#"
organisation:
  - id: retail
    name: Retail
    owners: ["ana@acme.example"]
    children:
      - id: shop-product
        children: [{ id: payments, name: Payments }, { id: web, kind: squad }]
  - { id: platform, kind: business_unit }
services:
  - id: shop
    name: Web shop
    parent: payments
    tier: 1
    exposure: internet
    data: [personal]
    owners: ["@acme/payments"]
    places:
      - asset: repo:git@github.com:Acme/Shop.git
        path: ./services/cart/
        used_by: [mobile]
        default_branch: main
      - url: https://shop.example:443/api/
        rewrite: /
      - image: ghcr.io/acme/shop:1.2
  - id: mobile
    places: [{ repo: "github.com/acme/*" }]
code_owners:
  - asset: repo:github.com/acme/shop
    file: owners/CODEOWNERS
policy: { preset: balanced, overrides: { control: { least: -100 } } }
"#;

fn beside(name: &str) -> Result<String, String> {
    match name {
        "org/owners/CODEOWNERS" => Ok("* @acme/all\n!no\n/services/ @acme/services\n".to_owned()),
        "org/policy.yaml" => Ok("preset: threat-led".to_owned()),
        _ => Err("there is no such file".to_owned()),
    }
}

fn read_one(text: &str) -> Result<Organisation, String> {
    read(&[File { name: "org/acme.yaml".into(), text: text.into() }], &beside).map_err(|error| error.to_string())
}

fn service<'a>(organisation: &'a Organisation, id: &str) -> &'a Service {
    match &organisation.records[&format!("service/{id}")] {
        CatalogRecord::Service(service) => service,
        other => panic!("{other:?}"),
    }
}

fn places<'a>(organisation: &'a Organisation, assets: &str) -> &'a Places {
    match &organisation.records[&format!("places/{assets}")] {
        CatalogRecord::Places(places) => places,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_description_becomes_records() {
    let acme = read_one(ACME).unwrap();
    let shop = service(&acme, "shop");
    assert_eq!(shop.path, ["payments", "shop-product", "retail"]);
    assert_eq!((shop.tier, shop.exposure.as_str(), shop.data.as_slice()), (1, "internet", ["personal".to_owned()].as_slice()));
    let mobile = service(&acme, "mobile");
    assert_eq!((mobile.name.as_str(), mobile.tier, mobile.exposure.as_str(), mobile.path.len()), ("mobile", 3, "internal", 0));
    let kinds: Vec<String> = acme
        .records
        .values()
        .filter_map(|record| match record {
            CatalogRecord::Node(node) => Some(format!("{} is a {} of {}", node.id, node.kind, node.parent)),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "payments is a team of shop-product",
            "platform is a business_unit of ",
            "retail is a business_unit of ",
            "shop-product is a product of retail",
            "web is a squad of shop-product"
        ]
    );
    let repo = places(&acme, "repo:github.com/acme/shop");
    let rules: Vec<(&str, &str)> = repo.rules.iter().map(|rule| (rule.prefix.as_str(), rule.owner.as_str())).collect();
    assert_eq!((rules.as_slice(), repo.default_branch.as_str()), ([("", "mobile"), ("services/cart", "shop")].as_slice(), "main"));
    assert_eq!(owners_of(&repo.code_owners, "services/x"), ["@acme/services"]);
    assert_eq!(acme.warnings.len(), 1);
    assert!(acme.warnings[0].starts_with("org/owners/CODEOWNERS:2 is left out"), "{:?}", acme.warnings);
    let url = places(&acme, "url:https://shop.example");
    assert_eq!((url.rules[0].prefix.as_str(), url.rules[0].rewrite.as_deref()), ("/api", Some("/")));
    assert_eq!(places(&acme, "image:ghcr.io/acme/shop").rules[0].owner, "shop");
    assert!(acme.records.contains_key("places/repo:github.com/acme/*"));
    let CatalogRecord::Policy(policy) = &acme.records["policy"] else { panic!("a policy") };
    assert_eq!(Policy::read(&policy.yaml).unwrap().control.least, -100);
}

#[test]
fn the_plan_counts_and_numbers_what_it_changes() {
    let (first, second) =
        (read_one(ACME).unwrap(), read_one(&ACME.replace("tier: 1", "tier: 2").replace("- { id: platform", "- { id: infra")).unwrap());
    let at = Timestamp::from_millis(5);
    let made = plan(&first, &BTreeMap::new(), "ana", at);
    assert_eq!((made.head.version, made.head.digest.len()), (1, 64));
    let current: BTreeMap<String, CatalogRecord> = made.changes.into_iter().filter_map(|(key, record)| Some((key, record?))).collect();
    let changed = plan(&second, &current, "ben", at);
    assert_eq!(changed.counts(&current), (1, 1, 1));
    assert_eq!((changed.head.version, changed.head.actor.as_str()), (2, "ben"));
    assert_ne!(changed.head.digest, made.head.digest);
}

#[test]
fn a_policy_is_a_file_a_preset_or_a_whole_one() {
    for (policy, version) in [
        ("policy.yaml".to_owned(), "threat-led-1"),
        ("{ preset: ssvc }".to_owned(), "ssvc-1"),
        (Policy::balanced().to_yaml().replace('\n', "\n  ").replace("name: balanced", "\n  name: balanced"), "balanced-1"),
    ] {
        let organisation = read_one(&format!("policy: {policy}\n")).unwrap();
        let CatalogRecord::Policy(text) = &organisation.records["policy"] else { panic!("a policy") };
        assert_eq!((text.version.as_str(), Policy::read(&text.yaml).unwrap().version.as_str()), (version, version));
    }
    let refused = read_one("policy: threat-led\n").unwrap_err();
    assert!(refused.contains("{preset: threat-led}"), "{refused}");
}

#[test]
fn every_fault_is_told_at_once_with_its_place_and_the_nearest_word() {
    let text = r#"
organisation:
  - { id: retail, children: [{ id: payments }, { id: payments }] }
  - { id: a, parent: b }
  - { id: b, parent: a }
  - { id: "bad id" }
  - { id: top, parent: retial }
servces: []
services:
  - { id: shop, parent: paymnets, tier: 5, exposure: interent, onwers: [] }
  - id: cart
    name: 7
    places:
      - { asset: repo:github.com/acme/shop, used_by: [shpo, cart], path: "../x" }
      - { asset: repo:github.com/acme/shop, path: "src/*", rewrite: / }
      - { asset: repo:github.com/acme/shop, path: src }
      - { url: "https://x.example/a?b", image: nginx }
      - { url: "https://x.example/a?b" }
      - { path: src }
      - { asset: "repo:*" }
      - { asset: "host:a*b" }
  - { id: bank, places: [{ repo: github.com/acme/shop, path: src/, default_branch: main }, { repo: github.com/acme/shop, default_branch: trunk }] }
code_owners:
  - { asset: repo:github.com/acme/shop, file: none }
  - { asset: repo:github.com/acme/*, rules: [{ pattern: "!a", owners: [bob] }] }
policy: { preset: balancd }
"#;
    let told = read_one(text).unwrap_err();
    for says in [
        "org/acme.yaml: organisation[0].children[1] is a second node \"payments\"; expected one of each id",
        "organisation[1].parent is \"b\"; expected a node that does not itself stand below \"a\"",
        "organisation[3].id is \"bad id\"; expected an id",
        "organisation[4].parent is \"retial\"; expected the id of a node of the organisation; did you mean \"retail\"?",
        "servces is no known field; expected organisation, services, code_owners, policy, tickets or exceptions; did you mean \"services\"?",
        "services[0].parent is \"paymnets\"; expected the id of a node of the organisation; did you mean \"payments\"?",
        "services[0].tier is 5; expected a business tier, 1 (vital) to 4",
        "services[0].exposure is \"interent\"; expected internet, partner, internal or not_deployed; did you mean \"internet\"?",
        "services[0].onwers is no known field",
        "services[1].name is 7; expected a name (a text, in quotes)",
        "services[1].places[0].used_by[0] is \"shpo\"; expected the id of a service; did you mean \"shop\"?",
        "services[1].places[0].used_by[1] is \"cart\"; expected a service other than the owner",
        "services[1].places[0].path is \"../x\"; expected a path inside the asset",
        "services[1].places[1].path is \"src/*\"; expected a prefix of whole folders without wildcards",
        "services[1].places[1].rewrite is \"/\"; expected none",
        "services[1].places[3] is a place with several assets",
        "a place has no query and no fragment",
        "services[1].places[5] is a place without an asset; expected one of asset, repo",
        "services[1].places[6].asset",
        "a `*` stands at the end only",
        "services[2].places[0] is repo:github.com/acme/shop at src again, for bank; expected one owner of a place, which is cart at org/acme.yaml: services[1].places[2]",
        "services[2].places[1].default_branch is \"trunk\"; expected one default branch of repo:github.com/acme/shop, which is \"main\"",
        "code_owners[0].file is there is no such file; expected a readable CODEOWNERS file at org/none",
        "code_owners[1].rules[0]",
        "preset is \"balancd\"",
    ] {
        assert!(told.contains(says), "missing: {says}\nin:\n{told}");
    }
    assert_eq!(told.matches("does not itself stand below").count(), 1, "a cycle is told once:\n{told}");
}

#[test]
fn what_is_no_description_is_refused() {
    for (text, says) in [
        ("services: [", "expected YAML"),
        ("- a", "a list; expected a mapping with organisation"),
        ("services: { a: b }", "services is a mapping; expected a list"),
        ("services: [{ id: a, tier: 1, tier: 2 }]", "duplicate"),
        ("organisation: [{ id: a, children: [{ id: b, parent: a }] }]", "children[0].parent is no known field"),
    ] {
        let told = read_one(text).unwrap_err();
        assert!(told.contains(says), "{text}: {told}");
    }
    assert!(read(&[], &beside).unwrap_err().to_string().contains("at least one YAML file"));
    let deep = (0..40).fold(String::new(), |yaml, n| format!("{yaml}  - {{ id: n{n}, parent: n{} }}\n", n + 1));
    let told = read_one(&format!("organisation:\n{deep}  - {{ id: n40 }}\nservices: [{{ id: s, parent: n0 }}]")).unwrap_err();
    assert!(told.contains("levels deep; expected at most 16 levels"), "{told}");
}

#[test]
fn bounds_are_told_where_they_cut() {
    let users: Vec<String> = (0..17).map(|n| format!("s{n}")).collect();
    let services: Vec<String> = users.iter().map(|id| format!("{{ id: {id} }}")).collect();
    let text = format!(
        "services: [{}, {{ id: shop, places: [{{ repo: github.com/acme/shop, used_by: [{}] }}] }}]",
        services.join(", "),
        users.join(", ")
    );
    assert!(read_one(&text).unwrap_err().contains("used_by is a list of 17 entries; expected at most 16"));
    let rules: Vec<String> = (0..10_001).map(|n| format!("{{ repo: github.com/acme/shop, path: p{n} }}")).collect();
    let told = read_one(&format!("services: [{{ id: shop, places: [{}] }}]", rules.join(", "))).unwrap_err();
    assert!(told.contains("10001 place rules for repo:github.com/acme/shop; expected at most 10000"), "{told}");
}

#[test]
fn the_example_of_the_documentation_is_one() {
    let page = include_str!("../../../docs/catalog.md");
    let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let organisation = read_one(yaml).unwrap_or_else(|error| panic!("{error}"));
    let shop = faultline_model::asset::AssetId::read("repo:github.com/acme/shop").unwrap();
    let places = places(&organisation, shop.as_str());
    let owner = |path: &str| faultline_core::catalog::places::place(Some(places), &shop, path).owner;
    assert_eq!((owner("services/cart/Main.java").as_str(), owner("pom.xml").as_str()), ("shop", "mobile"));
}
