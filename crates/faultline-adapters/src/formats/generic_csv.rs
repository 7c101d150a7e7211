//! Generic findings as CSV: a row a finding, from a spreadsheet or a script.
//!
//! Shape: a header with `Date,Title,CweId,Url,Severity,Description` and more, in any case and order. Source: DefectDojo's generic import,
//! <https://docs.defectdojo.com/supported_tools/parsers/generic_findings_import/>. Cells are text and stay text: what looks like a formula
//! is carried as it is and never evaluated.

use std::io::BufReader;

use csv::{ByteRecord, Reader, ReaderBuilder};
use faultline_model::observation::ScanKind;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report};
use crate::formats::generic_json::{Finding, cwe_number, line_number, links};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter =
    Adapter { name: "generic-csv", kind: ScanKind::Other, tests_for: &[], recognises, may_be_empty: NEVER, read };

/// Columns that every such file has.
const REQUIRED: [&str; 3] = ["title", "severity", "description"];
/// Columns of which it has at least one.
const TELLING: [&str; 2] = ["url", "cweid"];

fn recognises(head: &Head<'_>) -> bool {
    let mut reader = reader(head.text().as_bytes());
    let mut header = ByteRecord::new();
    if !matches!(reader.read_byte_record(&mut header), Ok(true)) {
        return false;
    }
    let columns = columns(&header);
    let has = |name: &&str| columns.iter().any(|column| column == name);
    REQUIRED.iter().all(has) && TELLING.iter().any(has)
}

fn reader<R: std::io::Read>(input: R) -> Reader<R> {
    // Rows of another length are refused one by one, so the reader lets them pass.
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input)
}

/// Column names without case, spaces and `_`: `Vulnerability Id` is `vulnerabilityid`.
fn columns(header: &ByteRecord) -> Vec<String> {
    let fold = |cell: &[u8]| String::from_utf8_lossy(cell).chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    header.iter().map(fold).collect()
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut reader = reader(BufReader::new(report.rewound()?));
    let mut row = ByteRecord::new();
    if !reader.read_byte_record(&mut row).map_err(shape)? {
        return Err(ReadError::Shape { tool: ADAPTER.name, place: "line 1".to_owned(), reason: "the file has no header".to_owned() });
    }
    let columns = columns(&row);
    if let Some(missing) = ["title", "severity"].into_iter().find(|name| !columns.iter().any(|column| column == name)) {
        return Err(ReadError::Shape {
            tool: ADAPTER.name,
            place: "line 1".to_owned(),
            reason: format!("the header has no column {missing}"),
        });
    }
    while reader.read_byte_record(&mut row).map_err(shape)? {
        let place = row.position().map_or_else(String::new, |at| format!("line {}", at.line()));
        if row.len() == columns.len() {
            finding(&columns, &row).send(&place, emit)?;
        } else {
            emit.refused(place, format!("the row has {} cells, the header {}", row.len(), columns.len()));
        }
    }
    Ok(())
}

fn shape(error: csv::Error) -> ReadError {
    let place = error.position().map_or_else(|| "a row".to_owned(), |at| format!("line {}", at.line()));
    let reason = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReadError::Io(error),
        _ => ReadError::Shape { tool: ADAPTER.name, place, reason },
    }
}

fn finding(columns: &[String], row: &ByteRecord) -> Finding {
    let of = |name: &str| {
        let cell = columns.iter().position(|column| column == name).and_then(|at| row.get(at)).unwrap_or_default();
        String::from_utf8_lossy(cell).trim().to_owned()
    };
    let is = |name: &str, words: &[&str]| words.iter().any(|word| of(name).eq_ignore_ascii_case(word));
    let or_info = |severity: String| if severity.is_empty() { "info".to_owned() } else { severity };
    let (no, yes) = (&["false", "no", "0"][..], &["true", "yes", "1"][..]);
    let mut vulnerabilities: Vec<String> = [of("cve"), of("vulnerabilityid")].into_iter().filter(|id| !id.is_empty()).collect();
    vulnerabilities.dedup();
    Finding {
        title: of("title"),
        severity: or_info(of("severity")),
        description: of("description"),
        mitigation: of("mitigation"),
        references: links(&of("references")),
        cwes: cwe_number(&of("cweid")).into_iter().collect(),
        vulnerabilities,
        cvss_vectors: vec![of("cvssv4"), of("cvssv3")],
        fix_version: of("fixversion"),
        rule: of("vulnidfromtool"),
        stable_id: of("uniqueidfromtool"),
        file: of("filepath"),
        line: line_number(&of("line")),
        purl: of("purl"),
        component: of("componentname"),
        component_version: of("componentversion"),
        resource: of("resource"),
        method: of("method"),
        parameter: of("parameter"),
        endpoints: [of("url")].into_iter().filter(|url| !url.is_empty()).collect(),
        is_suppressed: is("active", no) || is("falsepositive", yes) || is("ismitigated", yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_generic(header: &str) -> bool {
        recognises(&Head::new(header.as_bytes(), true))
    }

    #[test]
    fn the_header_is_known_in_any_case_and_order() {
        assert!(is_generic("Date,Title,CweId,Url,Severity,Description\n"));
        assert!(is_generic("\u{feff}severity,DESCRIPTION,cwe_id,title\r\n"));
        assert!(!is_generic("Title,Severity,Description\n") && !is_generic("{\"title\": 1}") && !is_generic(""));
    }

    #[test]
    fn a_formula_is_text_like_any_other() {
        let cells = ByteRecord::from(vec!["=HYPERLINK(\"http://x\")", "High", "@SUM(A1)"]);
        let read = finding(&["title".into(), "severity".into(), "description".into()], &cells);
        assert_eq!((read.title.as_str(), read.description.as_str()), ("=HYPERLINK(\"http://x\")", "@SUM(A1)"));
    }
}
