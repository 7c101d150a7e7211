//! Whose rows a reader may see.

use std::collections::BTreeSet;

use rusqlite::types::Value;

/// Whose rows a reader may see. Each part restricts: a service must stand below one of the names of every part. No part: everything.
///
/// A name is the id of a node of the organisation, or `service/<id>` for one service; one that the catalog does not have shows nothing.
/// Places that no rule matches and services that left the catalog stand below no name, so only [`Self::everything`] shows them.
/// Names are looked up at each read: after a reorganisation they show other rows at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Within(Vec<BTreeSet<String>>);

impl Within {
    /// All rows, those of nobody's services too.
    pub fn everything() -> Self {
        Self(Vec::new())
    }

    /// What stands below one of the names of every part; a part without names shows nothing at all, and no part is everything.
    /// SQLite takes 32,766 values a statement, and a list has each name twice: there may be some ten thousand of them.
    pub fn parts(parts: impl IntoIterator<Item = BTreeSet<String>>) -> Self {
        // In order and once, so that the same parts are the same value and a cursor of one fits the other.
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_unstable();
        parts.dedup();
        Self(parts)
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// As SQL over the column that has a row's service: conditions that all hold, each with the values of its `?`.
    pub(crate) fn conditions(&self, column: &str) -> impl Iterator<Item = (String, Vec<Value>)> {
        self.0.iter().map(move |part| {
            if part.is_empty() {
                return ("0".to_owned(), Vec::new());
            }
            let marks = vec!["?"; part.len()].join(", ");
            let sql = format!("{column} IN (SELECT service FROM service_of_node WHERE node IN ({marks}))");
            (sql, part.iter().cloned().map(Value::from).collect())
        })
    }

    /// The names of each part.
    pub(crate) fn each(&self) -> impl Iterator<Item = &BTreeSet<String>> {
        self.0.iter()
    }

    /// Whether every part has one of these names.
    pub(crate) fn has<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.0.iter().all(|part| names.clone().any(|name| part.contains(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_part_is_a_condition_and_one_without_names_never_holds() {
        let conditions = |within: &Within| -> Vec<String> { within.conditions("w.n").map(|(sql, _)| sql).collect() };
        let below = |marks| format!("w.n IN (SELECT service FROM service_of_node WHERE node IN ({marks}))");
        assert!(Within::everything().is_everything() && conditions(&Within::everything()).is_empty());
        assert_eq!(conditions(&Within::parts([part(&["a", "b"]), part(&["c"])])), [below("?, ?"), below("?")]);
        assert_eq!(conditions(&Within::parts([part(&[])])), ["0"]);
    }

    #[test]
    fn the_same_parts_are_the_same_value() {
        let (one, other) = (part(&["a", "b"]), part(&["c"]));
        assert_eq!(Within::parts([one.clone(), other.clone()]), Within::parts([other, one.clone(), one]));
    }
}
