//! The register as a table for people with a spreadsheet: the columns of NIST IR 8286, and ours.
//!
//! A spreadsheet runs a cell that begins like a formula, and what people and scanners write ends up in cells. So every text is
//! [guarded](https://owasp.org/www-community/attacks/CSV_Injection): one that begins so gets an apostrophe in front, and every cell is
//! quoted. Only numbers, which are ours, may begin with a sign.

use std::io::{self, Write};

use faultline_model::observation::Severity;
use faultline_model::register::{Assessment, Attention, RegisterEntry};
use faultline_model::time::Timestamp;

use super::{assumptions_in_words, owner, response_type, scope_in_words};

/// What a spreadsheet takes for the beginning of a formula or of a cell, also in full width.
const BEGINS_A_FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Marks around a text that a spreadsheet may take off before it looks at what is inside.
const QUOTES: [char; 11] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»', '＂'];

/// Seen as nothing: a mark of byte order, and spaces without width.
const INVISIBLE: [char; 5] = ['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}'];

/// Between the parts of a list in one cell.
const BETWEEN: &str = "; ";

/// What stands in a cell. Nothing reaches a table past [`Cell::said`].
enum Cell {
    /// Written by us.
    Number(Option<i32>),
    /// Written by anybody; empty where nothing is known.
    Text(String),
    /// Texts, each guarded by itself: some programs part a line at semicolons.
    List(Vec<String>),
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn time(at: impl Into<Option<Timestamp>>) -> Self {
        Self::Text(at.into().map(|at| at.to_string()).unwrap_or_default())
    }

    fn list<T: Into<String>>(parts: impl IntoIterator<Item = T>) -> Self {
        Self::List(parts.into_iter().map(Into::into).filter(|part: &String| !part.is_empty()).collect())
    }

    /// As it is written.
    fn said(self) -> String {
        match self {
            Self::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
            Self::Text(text) => guarded(&text),
            Self::List(parts) => parts.iter().map(|part| guarded(part)).collect::<Vec<_>>().join(BETWEEN),
        }
    }
}

/// A text that no spreadsheet runs. Control characters become spaces, but for line ends.
fn guarded(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let is_passed_over = |c: char| c != '\n' && (c.is_whitespace() || QUOTES.contains(&c) || INVISIBLE.contains(&c));
    let is_dangerous = text.starts_with(BEGINS_A_FORMULA) || plain.trim_start_matches(is_passed_over).starts_with(BEGINS_A_FORMULA);
    if is_dangerous { format!("'{plain}") } else { plain }
}

/// How a column is read from an entry at a time.
type Column = fn(&RegisterEntry, Timestamp) -> Cell;

/// The columns, in their order.
const COLUMNS: [(&str, Column); 33] = [
    ("id", |entry, _| Cell::text(entry.entry.to_string())),
    ("priority", |entry, _| assessed(entry, |of| Cell::text(of.priority.map(Severity::name).unwrap_or_default()))),
    ("title", |entry, _| Cell::text(&entry.terms.title)),
    ("category", |entry, _| assessed(entry, |of| Cell::text(&of.category))),
    ("likelihood", |entry, _| assessed(entry, |of| Cell::Number(of.likelihood))),
    ("impact", |entry, _| assessed(entry, |of| Cell::Number(of.impact))),
    ("exposure_rating", |entry, _| counted(entry, entry.inherent)),
    ("residual", |entry, _| counted(entry, entry.residual)),
    ("response_type", |entry, _| Cell::text(response_type(entry).name())),
    ("response_cost", |entry, _| assessed(entry, |of| Cell::text(&of.response_cost))),
    ("response_description", |entry, _| {
        let controls = entry.terms.controls.iter().map(|control| &control.name);
        Cell::list(std::iter::once(&entry.terms.reason).chain(controls))
    }),
    ("owner", |entry, _| Cell::text(owner(entry))),
    ("status", |entry, _| Cell::text(entry.stage.name())),
    ("attention", |entry, now| Cell::list(entry.attention(now).into_iter().map(Attention::name))),
    ("broken", |entry, _| Cell::list(entry.broken.iter().map(|broken| broken.name()))),
    ("scope", |entry, _| Cell::text(scope_in_words(&entry.terms.scope))),
    ("risks", |entry, _| counted(entry, entry.risks)),
    ("services", |entry, _| counted(entry, entry.services)),
    ("contested", |entry, _| counted(entry, entry.contested)),
    ("highest", |entry, _| counted(entry, entry.highest)),
    ("authors", |entry, _| Cell::list(&entry.authors)),
    ("requested_by", |entry, _| Cell::text(&entry.requested_by)),
    ("reviewed_by", |entry, _| Cell::text(&entry.reviewed_by)),
    ("approved_by", |entry, _| Cell::text(&entry.approved_by)),
    ("approved_at", |entry, _| Cell::time(entry.approved_at)),
    ("starts", |entry, _| Cell::time(entry.terms.starts)),
    ("review_at", |entry, _| Cell::time(entry.terms.review_at)),
    ("ends", |entry, _| Cell::time(entry.terms.ends)),
    ("covers_at_most", |entry, _| Cell::Number(Some(entry.terms.covers_at_most))),
    ("assumptions", |entry, _| Cell::list(assumptions_in_words(&entry.terms.assumptions))),
    ("evidence", |entry, _| Cell::list(&entry.terms.evidence)),
    ("version", |entry, _| Cell::Number(Some(entry.version))),
    ("completeness", |entry, _| assessed(entry, |of| Cell::text(of.completeness.name()))),
];

/// A count; empty while nothing is counted, which is not the same as none.
fn counted(entry: &RegisterEntry, count: i32) -> Cell {
    Cell::Number(Some(count).filter(|_| entry.stage.holds()))
}

/// A cell of the assessment; empty where there is none.
fn assessed(entry: &RegisterEntry, cell: impl FnOnce(&Assessment) -> Cell) -> Cell {
    entry.assessment.as_ref().map_or_else(|| Cell::text(""), cell)
}

/// A report in work. A register of any size takes the memory of one row.
///
/// ```
/// use faultline_views::report::csv::CsvReport;
///
/// let report = CsvReport::new(Vec::new())?;
/// let written = report.finish()?;
/// assert!(written.starts_with(b"\"id\",\"priority\",\"title\""));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct CsvReport<W: Write> {
    rows: ::csv::Writer<W>,
}

impl<W: Write> CsvReport<W> {
    /// Begins a report: writes its header.
    pub fn new(out: W) -> io::Result<Self> {
        let mut rows = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(out);
        rows.write_record(COLUMNS.map(|(name, _)| name))?;
        Ok(Self { rows })
    }

    /// Writes one entry as it stands at a time.
    pub fn entry(&mut self, entry: &RegisterEntry, now: Timestamp) -> io::Result<()> {
        Ok(self.rows.write_record(COLUMNS.map(|(_, column)| column(entry, now).said()))?)
    }

    /// Writes what is left and gives back where it went. A report that is dropped may lack its last rows.
    pub fn finish(self) -> io::Result<W> {
        self.rows.into_inner().map_err(::csv::IntoInnerError::into_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_is_guarded() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("＝cmd|'/c calc'!A1", "'＝cmd|'/c calc'!A1"),
            ("  @SUM(A1)", "'  @SUM(A1)"),
            ("\u{a0}\"+1", "'\u{a0}\"+1"),
            ("'=1", "''=1"),
            ("\u{feff}-1", "'\u{feff}-1"),
            ("\tx", "' x"),
            ("\nx", "'\nx"),
            (" \r\n-x", "'  \n-x"),
        ] {
            assert_eq!(guarded(text), written, "{text:?}");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in ["", "Log4j", "a=b", "a\n-b", "'quoted' - and more", "7-zip", "ünïcode ＝"] {
            assert_eq!(guarded(text), text);
        }
        assert_eq!(guarded("a\tb\u{7}c\nd"), "a b c\nd");
    }

    #[test]
    fn each_part_of_a_list_is_guarded() {
        assert_eq!(Cell::list(["a", "", "=b"]).said(), "a; '=b");
    }
}
