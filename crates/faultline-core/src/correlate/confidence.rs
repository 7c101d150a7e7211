//! How sure it is that a risk is real: what its tools are worth, by how surely they speak of the same flaw.
//!
//! Distinct rules of tools are taken as independent witnesses: the chance that all err is the product of their chances to err.

use std::collections::BTreeMap;

use super::facts::Finding;
use super::groups::times;
use crate::policy::Policy;
use crate::score::MILLION;

/// What is left of the confidence where a dynamic scan covered the place for the family and reported nothing, in millionths.
pub const SILENCE_PPM: u32 = 800_000;

/// The confidence of these findings, each with the chance that it is the anchor's flaw; in millionths.
pub fn confidence<'a>(policy: &Policy, witnesses: impl Iterator<Item = (&'a Finding, u32)>, is_silent: bool) -> u32 {
    let mut by_rule: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (finding, weight) in witnesses {
        let prior = if finding.is_confirmed() { MILLION } else { policy.precision.of(finding.kind, &finding.tool, &finding.rule) };
        let says = by_rule.entry((&finding.tool, &finding.rule)).or_default();
        *says = (*says).max(times(prior, weight));
    }
    let all_err = by_rule.into_values().fold(MILLION, |err, says| times(err, MILLION - says));
    let sure = MILLION - all_err;
    if is_silent { times(sure, SILENCE_PPM) } else { sure }
}
