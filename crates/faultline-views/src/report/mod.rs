//! The risk register for others: as a table, and as a plan of action and milestones.
//!
//! What it is: two ways to write the same entries, each a function of entries and a time. What it is not: a query. Which entries a
//! reader may see and asked for is settled before they come here.
//!
//! The way through it: [`csv::CsvReport`] takes entry after entry, so that a register of any size goes out page by page;
//! [`oscal::poam`] makes one document of entries.

pub mod csv;
pub mod oscal;

use faultline_model::exception::{Assumptions, Scope};
use faultline_model::register::{RegisterEntry, ResponseType};

/// Which risks a scope names, in one line: `CVE-2021-44228 within retail; service/shop`.
fn scope_in_words(scope: &Scope) -> String {
    let Scope { founders, vulnerability, package, asset, family, within } = scope;
    let findings: Vec<String> = founders.iter().map(ToString::to_string).collect();
    let named = [
        ("findings ", findings.join(", ")),
        ("", vulnerability.clone()),
        ("in ", package.clone()),
        ("at ", asset.clone()),
        ("of family ", family.clone()),
        ("within ", within.join("; ")),
    ];
    let said: Vec<String> =
        named.into_iter().filter(|(_, what)| !what.is_empty()).map(|(before, what)| format!("{before}{what}")).collect();
    if said.is_empty() { "everything".to_owned() } else { said.join(" ") }
}

/// What must stay so.
fn assumptions_in_words(assumptions: &Assumptions) -> Vec<String> {
    let Assumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place } = assumptions;
    let facts = [
        not_internet_facing.then(|| "not internet facing".to_owned()),
        not_in_kev.then(|| "not known to be exploited".to_owned()),
        score_at_most.map(|most| format!("score at most {most}")),
        controls_in_place.then(|| "controls in place".to_owned()),
    ];
    facts.into_iter().flatten().collect()
}

/// What is done about the risk. An entry without an assessment says it by its category.
fn response_type(entry: &RegisterEntry) -> ResponseType {
    entry.assessment.as_ref().map_or_else(|| entry.terms.category.into(), |assessment| assessment.response_type)
}

/// Who answers for it; empty where nobody does yet.
fn owner(entry: &RegisterEntry) -> &str {
    let named = entry.assessment.as_ref().map_or("", |assessment| &assessment.owner);
    [named, &entry.approved_by, &entry.requested_by].into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}
