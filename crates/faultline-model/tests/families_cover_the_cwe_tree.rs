//! Every weakness of CWE 4.14 has one family, and every listed root keeps to its own row.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use faultline_model::family::{Family, cwe_name};

const FAMILIES: &str = include_str!("../src/data/families.tsv");
const CWES: &str = include_str!("../src/data/cwe.tsv");
/// Categories: listed, and not in the tree.
const CATEGORIES: [u32; 3] = [16, 937, 1035];

/// Each row of `cwe.tsv`: number, parents, name.
fn tree() -> BTreeMap<u32, (Vec<u32>, &'static str)> {
    let row = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let parents = columns[1].split(',').filter(|parent| !parent.is_empty()).map(|parent| parent.parse().unwrap()).collect();
        assert_eq!(columns.len(), 3, "{line}");
        (columns[0].parse().unwrap(), (parents, columns[2]))
    };
    CWES.lines().map(row).collect()
}

fn roots() -> Vec<(u32, &'static str)> {
    let rows = FAMILIES.lines().map(|line| line.split_once('\t').unwrap());
    rows.flat_map(|(family, cwes)| cwes.split(',').map(move |cwe| (cwe.parse().unwrap(), family))).collect()
}

#[test]
fn the_tree_is_whole() {
    let tree = tree();
    assert_eq!(tree.len(), 963);
    for (cwe, (parents, name)) in &tree {
        assert!(parents.iter().all(|parent| tree.contains_key(parent)), "CWE-{cwe}");
        assert_eq!(cwe_name(*cwe), Some(*name));
    }
}

#[test]
fn every_weakness_has_one_family_that_its_name_finds_again() {
    for (cwe, (parents, name)) in tree() {
        let family = Family::of_cwe(cwe);
        assert_eq!(Family::named(family.name()), Some(family), "CWE-{cwe}");
        let is_unknown = family.name() == "other:unknown";
        assert_eq!(is_unknown, parents.is_empty() && name.starts_with("DEPRECATED"), "CWE-{cwe} {name}: {family}");
    }
    assert!(Family::all().all(|family| Family::named(family.name()) == Some(family)));
    assert_eq!(Family::named("sql"), None);
}

#[test]
fn a_listed_root_is_of_its_own_row_and_of_no_other() {
    let (tree, mut rows) = (tree(), BTreeMap::new());
    for (cwe, family) in roots() {
        assert_eq!(rows.insert(cwe, family), None, "CWE-{cwe} stands in two rows");
        assert_eq!(Family::of_cwe(cwe).name(), family, "CWE-{cwe}");
        assert_ne!(tree.contains_key(&cwe), CATEGORIES.contains(&cwe), "CWE-{cwe}");
    }
}

#[test]
fn a_family_that_is_not_listed_is_that_of_a_parent() {
    let roots: BTreeMap<u32, &str> = roots().into_iter().collect();
    for (cwe, (parents, _)) in tree().into_iter().filter(|(cwe, (parents, _))| !roots.contains_key(cwe) && !parents.is_empty()) {
        let family = Family::of_cwe(cwe);
        assert!(parents.iter().any(|parent| Family::of_cwe(*parent) == family), "CWE-{cwe} is {family}, no parent is");
    }
}

#[test]
fn only_named_families_join() {
    for family in Family::all() {
        let joins = !family.name().starts_with("other:") && family.name() != "vulnerable-component";
        assert_eq!(family.is_joinable(), joins, "{family}");
    }
    assert_eq!(Family::all().filter(|family| family.is_joinable()).count(), FAMILIES.lines().count() - 1);
}
