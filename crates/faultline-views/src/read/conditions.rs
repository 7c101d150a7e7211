//! Parts of a WHERE clause with their values.

use rusqlite::types::Value;

use crate::within::Within;

/// Conditions that all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// One condition; `values` stand for its `?`, in order.
    pub fn of(sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Self {
        Self { sql: vec![sql.into()], values: values.into_iter().collect() }
    }

    pub fn push(&mut self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.sql.push(sql.into());
        self.values.extend(values);
    }

    /// A column that is one of some codes; no codes do not restrict.
    pub fn one_of(&mut self, column: &str, codes: impl IntoIterator<Item = i64>) {
        let codes: Vec<String> = codes.into_iter().map(|code| code.to_string()).collect();
        if !codes.is_empty() {
            self.push(format!("{column} IN ({})", codes.join(", ")), []);
        }
    }

    /// Rows that a reader may see, by the column that has their service.
    pub fn within(&mut self, column: &str, within: &Within) {
        for (sql, values) in within.conditions(column) {
            self.push(sql, values);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    pub fn sql(&self) -> String {
        if self.sql.is_empty() { "1".to_owned() } else { self.sql.join(" AND ") }
    }

    pub fn values(&self) -> impl Iterator<Item = Value> + '_ {
        self.values.iter().cloned()
    }
}

/// A part of a title as a LIKE pattern; `\` is its escape.
pub(super) fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_text_are_letters() {
        assert_eq!(like(r"100%_\"), r"%100\%\_\\%");
    }
}
