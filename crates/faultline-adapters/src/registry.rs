//! All adapters, one line each, and the choice among them by content.

use faultline_model::observation::Observation;

use crate::adapter::{Adapter, Emit, ReadError, Report, RouteSeen, ScanFacts};
use crate::head::{HEAD_BYTES, Head};
use crate::ranked::Ranked;

/// Every format that is read, in the order of the list that people see.
pub const ADAPTERS: &[&Adapter] = &[
    &crate::formats::checkov::ADAPTER,
    &crate::formats::generic_csv::ADAPTER,
    &crate::formats::generic_json::ADAPTER,
    &crate::formats::gitleaks::ADAPTER,
    &crate::formats::grype::ADAPTER,
    &crate::formats::openapi::ADAPTER,
    &crate::formats::route_list::ADAPTER,
    &crate::formats::sarif::ADAPTER,
    &crate::formats::trivy::ADAPTER,
    &crate::formats::zap_xml::ADAPTER,
];

/// The adapter of this name, if the report can be one of its.
///
/// A report that nobody recognises is read all the same if that yields anything: it may be written in an unusual way. One that
/// yields nothing would be an empty report, which may close what is open.
pub fn named(report: &mut Report<'_>, name: &str) -> Result<&'static Adapter, ReadError> {
    let found = ADAPTERS.iter().find(|adapter| adapter.name == name);
    let adapter = *found.ok_or_else(|| ReadError::NoSuchAdapter { name: name.to_owned() })?;
    let (bytes, is_whole) = beginning(report)?;
    let head = Head::new(&bytes, is_whole);
    if (adapter.recognises)(&head) || (adapter.may_be_empty)(&head) {
        return Ok(adapter);
    }
    let is_of_another = ADAPTERS.iter().any(|other| (other.recognises)(&head));
    let mut seen = Anything(false);
    if !is_of_another {
        (adapter.read)(report, &mut seen)?;
    }
    if seen.0 { Ok(adapter) } else { Err(ReadError::NotRecognised { tool: adapter.name, head: head.excerpt() }) }
}

/// The one adapter that knows this content. Two that fit are an error that names both.
pub fn detect(report: &mut Report<'_>) -> Result<&'static Adapter, ReadError> {
    let (bytes, is_whole) = beginning(report)?;
    let head = Head::new(&bytes, is_whole);
    let mut fitting = ADAPTERS.iter().filter(|adapter| (adapter.recognises)(&head));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(first), Some(second)) => Err(ReadError::Ambiguous { first: first.name, second: second.name }),
        (None, _) => Err(ReadError::Unknown { head: head.excerpt() }),
    }
}

/// The first bytes of a report, and whether they are all of it.
fn beginning(report: &mut Report<'_>) -> Result<(Vec<u8>, bool), ReadError> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    let input = report.rewound()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(input, HEAD_BYTES as u64), &mut bytes)?;
    let is_whole = bytes.len() < HEAD_BYTES;
    Ok((bytes, is_whole))
}

/// Whether a report holds anything.
struct Anything(bool);

impl Emit for Anything {
    fn scan(&mut self, _: ScanFacts) {}

    fn finding(&mut self, _: Observation) -> Result<(), ReadError> {
        self.0 = true;
        Ok(())
    }

    fn route(&mut self, _: RouteSeen) -> Result<(), ReadError> {
        self.0 = true;
        Ok(())
    }

    fn refused(&mut self, _: String, _: String) {
        self.0 = true;
    }
}

/// Reads a report with an adapter and ranks findings that are otherwise equal (by line and column, not by arrival).
pub fn read(adapter: &Adapter, report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut ranked = Ranked::first_pass();
    (adapter.read)(report, &mut ranked)?;
    let mut second = ranked.second_pass(emit);
    (adapter.read)(report, &mut second)
}
