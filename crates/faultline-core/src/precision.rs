//! How often what a tool says is true: a prior for each kind of tool, each tool and each rule of a tool, as data of the policy.

use std::collections::BTreeMap;

use faultline_model::observation::ScanKind;
use serde::{Deserialize, Serialize};

use crate::score::MILLION;

/// Priors in millionths. The most specific that is named counts: `tool/rule`, then `tool`, then the kind of tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precision {
    pub by_kind: ByKind,
    /// By `tool` or `tool/rule`.
    pub by_tool: BTreeMap<String, u32>,
}

/// Priors of the kinds of tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByKind {
    pub sast: u32,
    pub sca: u32,
    pub secret: u32,
    pub iac: u32,
    pub dast: u32,
    pub posture: u32,
    pub other: u32,
}

impl Default for ByKind {
    /// Rounded from what is measured or published: on the OWASP Benchmark static analysis is right in 0.66 of what it says and dynamic
    /// in 0.99 (the field's reports are lower for both); a version match is a fact, whether it matters is another question.
    fn default() -> Self {
        Self { sast: 500_000, sca: 900_000, secret: 700_000, iac: 800_000, dast: 900_000, posture: 900_000, other: 500_000 }
    }
}

impl Precision {
    /// The chance that a finding of this tool and rule is real, in millionths.
    pub fn of(&self, kind: ScanKind, tool: &str, rule: &str) -> u32 {
        let by_kind = match kind {
            ScanKind::Sast => self.by_kind.sast,
            ScanKind::Sca => self.by_kind.sca,
            ScanKind::Secret => self.by_kind.secret,
            ScanKind::Iac => self.by_kind.iac,
            ScanKind::Dast => self.by_kind.dast,
            ScanKind::Posture => self.by_kind.posture,
            ScanKind::Other => self.by_kind.other,
        };
        if self.by_tool.is_empty() {
            return by_kind;
        }
        let named = self.by_tool.get(&format!("{tool}/{rule}")).or_else(|| self.by_tool.get(tool));
        named.copied().unwrap_or(by_kind)
    }

    /// The first prior that is more than certainty, with its key.
    pub(crate) fn beyond_one(&self) -> Option<(&'static str, String)> {
        let k = &self.by_kind;
        let by_kind = [k.sast, k.sca, k.secret, k.iac, k.dast, k.posture, k.other];
        let of_kind = by_kind.iter().find(|ppm| **ppm > MILLION).map(|ppm| ("precision.by_kind", ppm.to_string()));
        of_kind.or_else(|| {
            let (name, ppm) = self.by_tool.iter().find(|(_, ppm)| **ppm > MILLION)?;
            Some(("precision.by_tool", format!("{name}: {ppm}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_prior_counts() {
        let by_tool = BTreeMap::from([("zap".to_owned(), 950_000), ("zap/40018".to_owned(), 990_000)]);
        let precision = Precision { by_tool, ..Precision::default() };
        for (tool, rule, ppm) in [("zap", "40018", 990_000), ("zap", "1", 950_000), ("burp", "1", 900_000)] {
            assert_eq!(precision.of(ScanKind::Dast, tool, rule), ppm, "{tool}/{rule}");
        }
    }
}
