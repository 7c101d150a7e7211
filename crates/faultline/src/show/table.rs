//! Columns as wide as their content.

use super::clean;

/// A table of text. The last column is never padded.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// With these heads; those that begin with `>` are aligned to the right.
    pub fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        Self { rows: vec![heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect()], right }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths.get(at).copied().unwrap_or(0).saturating_sub(cell.chars().count()));
                let is_right = self.right.get(at).copied().unwrap_or(false);
                line.push_str(&if is_right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&[">n", "name"]);
        table.row(["7".into(), "seven".into()]);
        table.row(["100".into(), "a\u{7}b".into()]);
        assert_eq!(table.to_string(), "  n  name\n  7  seven\n100  a b\n");
    }
}
