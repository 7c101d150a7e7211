//! All adapters, one line each, and the choice among them by content.

use crate::adapter::{Adapter, Emit, ReadError, Report};
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

/// The adapter of this name.
pub fn named(name: &str) -> Result<&'static Adapter, ReadError> {
    let found = ADAPTERS.iter().find(|adapter| adapter.name == name);
    found.copied().ok_or_else(|| ReadError::NoSuchAdapter { name: name.to_owned() })
}

/// The one adapter that knows this content. Two that fit are an error that names both.
pub fn detect(report: &mut Report<'_>) -> Result<&'static Adapter, ReadError> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    let input = report.rewound()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(input, HEAD_BYTES as u64), &mut bytes)?;
    let head = Head::new(&bytes, bytes.len() < HEAD_BYTES);
    let mut fitting = ADAPTERS.iter().filter(|adapter| (adapter.recognises)(&head));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(first), Some(second)) => Err(ReadError::Ambiguous { first: first.name, second: second.name }),
        (None, _) => Err(ReadError::Unknown { head: head.excerpt() }),
    }
}

/// Reads a report with an adapter and ranks findings that are otherwise equal (RISK 4: by line and column, not by arrival).
pub fn read(adapter: &Adapter, report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut ranked = Ranked::first_pass();
    (adapter.read)(report, &mut ranked)?;
    let mut second = ranked.second_pass(emit);
    (adapter.read)(report, &mut second)
}
