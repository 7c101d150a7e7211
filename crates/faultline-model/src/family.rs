//! Weakness families: what two tools may call by different CWE numbers and what one fix removes.
//!
//! The families and their roots are `data/families.tsv`, the CWE tree is `data/cwe.tsv`; both are read once. A number belongs
//! to its nearest listed ancestor, itself first; where none is listed, to the "other" of its pillar, which joins nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

const FAMILIES: &str = include_str!("data/families.tsv");
const CWES: &str = include_str!("data/cwe.tsv");

const OTHER: &str = "other:";
const UNKNOWN: Family = Family("other:unknown");
/// Joined by package and never by family alone.
const VULNERABLE_COMPONENT: &str = "vulnerable-component";

/// A weakness family. Ordered by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(&'static str);

/// What is known of one CWE number.
#[derive(Clone, Copy)]
struct Weakness {
    family: Family,
    /// Empty for a category and for a number that is not in use.
    name: &'static str,
}

struct Table {
    /// By CWE number.
    weaknesses: Vec<Weakness>,
    families: BTreeSet<Family>,
}

static TABLE: LazyLock<Table> = LazyLock::new(build);

impl Family {
    /// The family of a CWE number; `other:unknown` for a number that is none, or that is deprecated and stands nowhere in the tree.
    pub fn of_cwe(cwe: u32) -> Self {
        TABLE.weaknesses.get(cwe as usize).map_or(UNKNOWN, |weakness| weakness.family)
    }

    /// The family of a finding's CWE numbers: the first that can be joined, else the first, else `other:unknown`.
    pub fn of_cwes(cwes: &[i32]) -> Self {
        let mut families = cwes.iter().map(|cwe| u32::try_from(*cwe).map_or(UNKNOWN, Self::of_cwe));
        families.clone().find(|family| family.is_joinable()).or_else(|| families.next()).unwrap_or(UNKNOWN)
    }

    /// The family of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.families.iter().find(|family| family.0 == name).copied()
    }

    /// Every family, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.families.iter().copied()
    }

    /// The name, as it stands in records: `sql-injection`, `other:707`.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether findings of two kinds of tool may be one risk because both are of this family.
    pub fn is_joinable(self) -> bool {
        self.0 != VULNERABLE_COMPONENT && !self.0.starts_with(OTHER)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// MITRE's name of a weakness; `None` for categories and for numbers that are not in the tree.
pub fn cwe_name(cwe: u32) -> Option<&'static str> {
    TABLE.weaknesses.get(cwe as usize).map(|weakness| weakness.name).filter(|name| !name.is_empty())
}

type Tree = BTreeMap<u32, (Vec<u32>, &'static str)>;

fn build() -> Table {
    let mut roots = BTreeMap::new();
    for line in FAMILIES.lines() {
        let (name, cwes) = line.split_once('\t').expect("families.tsv: a name, a tab, numbers");
        roots.extend(numbers(cwes).into_iter().map(|cwe| (cwe, Family(name))));
    }
    let mut tree = Tree::new();
    for line in CWES.lines() {
        let (id, rest) = line.split_once('\t').expect("cwe.tsv: three columns");
        let (parents, name) = rest.split_once('\t').expect("cwe.tsv: three columns");
        tree.insert(id.parse().expect("cwe.tsv: a number first"), (numbers(parents), name));
    }
    let others = others(&tree);

    let largest = roots.keys().chain(tree.keys()).max().map_or(0, |cwe| *cwe as usize);
    let mut weaknesses = vec![Weakness { family: UNKNOWN, name: "" }; largest + 1];
    for cwe in roots.keys().chain(tree.keys()) {
        let family = nearest(&tree, *cwe, &roots).or_else(|| nearest(&tree, *cwe, &others)).unwrap_or(UNKNOWN);
        let name = tree.get(cwe).map_or("", |(_, name)| name);
        weaknesses[*cwe as usize] = Weakness { family, name };
    }
    let families = roots.into_values().chain(others.into_values()).chain([UNKNOWN]).collect();
    Table { weaknesses, families }
}

/// The "other" of each pillar: of what has no parents, but children. Deprecated entries have neither.
fn others(tree: &Tree) -> BTreeMap<u32, Family> {
    let parents: BTreeSet<u32> = tree.values().flat_map(|(parents, _)| parents).copied().collect();
    let pillars = parents.into_iter().filter(|cwe| tree.get(cwe).is_some_and(|(above, _)| above.is_empty()));
    // Leaked on purpose: ten short names, once a process.
    pillars.map(|cwe| (cwe, Family(format!("{OTHER}{cwe}").leak()))).collect()
}

/// The nearest listed ancestor, itself first: breadth first over parents, the smallest number of a level first.
fn nearest(tree: &Tree, cwe: u32, listed: &BTreeMap<u32, Family>) -> Option<Family> {
    let mut level = BTreeSet::from([cwe]);
    // The tree is not as deep as it has entries; a circle in the data would end here.
    for _ in 0..tree.len() {
        if let Some(family) = level.iter().find_map(|cwe| listed.get(cwe)) {
            return Some(*family);
        }
        level = level.iter().filter_map(|cwe| tree.get(cwe)).flat_map(|(parents, _)| parents).copied().collect();
    }
    None
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().expect("CWE numbers with commas between")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_their_family() {
        for (cwe, name) in [
            (89, "sql-injection"),
            (564, "sql-injection"),
            (80, "cross-site-scripting"),
            (24, "path-traversal"),
            (1336, "code-injection"),
            (16, "misconfiguration"),
            (937, "vulnerable-component"),
            (1035, "vulnerable-component"),
            (20, "other:707"),
            (707, "other:707"),
            (71, "other:unknown"),
            (0, "other:unknown"),
            (9999, "other:unknown"),
            (u32::MAX, "other:unknown"),
        ] {
            assert_eq!(Family::of_cwe(cwe).name(), name, "CWE-{cwe}");
        }
    }

    #[test]
    fn of_several_numbers_the_first_that_joins_counts() {
        for (cwes, name) in [
            (&[20, 79, 89][..], "cross-site-scripting"),
            (&[1035, 20], "vulnerable-component"),
            (&[20, 1035], "other:707"),
            (&[-1, 89], "sql-injection"),
            (&[-1], "other:unknown"),
            (&[], "other:unknown"),
        ] {
            assert_eq!(Family::of_cwes(cwes).name(), name, "{cwes:?}");
        }
    }

    #[test]
    fn ties_go_to_the_smallest_number_and_nearer_goes_first() {
        let tree = Tree::from([(9, (vec![7, 3], "")), (7, (vec![1], "")), (3, (vec![2], "")), (1, (vec![], "")), (2, (vec![], ""))]);
        let listed = |numbers: &[u32]| numbers.iter().map(|cwe| (*cwe, Family(["", "one", "two", "three"][*cwe as usize]))).collect();
        assert_eq!(nearest(&tree, 9, &listed(&[1, 2])), Some(Family("one")));
        assert_eq!(nearest(&tree, 9, &listed(&[1, 3])), Some(Family("three")));
        assert_eq!(nearest(&tree, 9, &listed(&[])), None);
    }
}
