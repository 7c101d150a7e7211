//! The risk policy: every weight of the score, as data with a version.

mod overlay;
pub mod ssvc;

use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use faultline_model::observation::Severity;

use crate::precision::Precision;

/// The presets that ship with the program: name and YAML.
pub const PRESETS: [(&str, &str); 4] = [
    ("balanced", include_str!("../policies/balanced.yaml")),
    ("threat-led", include_str!("../policies/threat-led.yaml")),
    ("cvss-only", include_str!("../policies/cvss-only.yaml")),
    ("ssvc", include_str!("../policies/ssvc.yaml")),
];

/// Weights of the score. Points are integers; 100 more is twice the risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: String,
    /// Travels with every score that it made.
    pub version: String,
    pub technical: Technical,
    pub threat: Threat,
    pub exposure: ExposurePoints,
    pub business: Business,
    pub evidence: Evidence,
    pub control: Control,
    pub age: Age,
    pub due_days: DueDays,
    pub bands: Bands,
    /// The band is SSVC's decision, and the points order risks within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssvc: Option<ssvc::Ssvc>,
    /// How often what a tool says is true; ours where the policy names none.
    #[serde(default)]
    pub precision: Precision,
}

/// Technical severity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Technical {
    /// Points for one whole CVSS point.
    pub points_per_cvss: i32,
    /// Points where a tool gives only a level.
    pub by_level: ByLevel,
}

/// Points by the tool's level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByLevel {
    pub info: i32,
    pub low: i32,
    pub medium: i32,
    pub high: i32,
    pub critical: i32,
}

impl ByLevel {
    /// The points of a level.
    pub fn of(&self, level: Severity) -> i32 {
        match level {
            Severity::Info => self.info,
            Severity::Low => self.low,
            Severity::Medium => self.medium,
            Severity::High => self.high,
            Severity::Critical => self.critical,
        }
    }
}

/// Threat intelligence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threat {
    /// EPSS probability in millionths at or below which there are no points.
    pub epss_floor_ppm: u32,
    /// EPSS probability in millionths at or above which there are all points.
    pub epss_ceiling_ppm: u32,
    pub epss_points: i32,
    pub kev_points: i32,
    pub kev_ransomware_points: i32,
    pub public_exploit_points: i32,
}

/// Points by exposure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposurePoints {
    pub internet: i32,
    pub partner: i32,
    pub internal: i32,
    pub not_deployed: i32,
}

/// Business impact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Business {
    pub tier_1: i32,
    pub tier_2: i32,
    pub tier_3: i32,
    pub tier_4: i32,
    /// For regulated or personal data.
    pub sensitive_data: i32,
}

/// Bounds of the evidence factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub most: i32,
    pub least: i32,
    /// Added where a named analysis says that the code cannot be reached; not positive.
    pub unreachable: i32,
}

/// Bound of compensating controls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub least: i32,
}

/// Growth past the due date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Age {
    pub points_per_period: i32,
    pub period_days: u32,
    pub most: i32,
}

/// Days from first seen to due, by band.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DueDays {
    pub critical: u32,
    pub high: u32,
    pub medium: u32,
    pub low: u32,
}

/// The lowest score of each band; what is below `low` is `info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    pub critical: i32,
    pub high: i32,
    pub medium: i32,
    pub low: i32,
}

impl Bands {
    /// The band of a score.
    pub fn of(&self, score: i32) -> Severity {
        match score {
            s if s >= self.critical => Severity::Critical,
            s if s >= self.high => Severity::High,
            s if s >= self.medium => Severity::Medium,
            s if s >= self.low => Severity::Low,
            _ => Severity::Info,
        }
    }
}

impl DueDays {
    /// Days to repair a risk of a band; a risk below `low` has the days of `low`.
    pub fn of(&self, band: Severity) -> u32 {
        match band {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low | Severity::Info => self.low,
        }
    }
}

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy cannot be read: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    #[error("the policy cannot be read: {0}")]
    Resolved(String),
    #[error("{key} is {found}; {expected}, else the score would not be monotone")]
    NotMonotone { key: &'static str, found: String, expected: &'static str },
    #[error("preset is {found:?}; expected one of {known}")]
    UnknownPreset { found: String, known: String },
    #[error("{key} is not a field of the preset {preset}; expected one of {known}")]
    UnknownOverride { key: String, preset: String, known: String },
}

impl Policy {
    /// Reads a policy, whole or as a preset with what differs, and checks that it keeps the score monotone in every factor (law 6).
    pub fn read(yaml: &str) -> Result<Self, PolicyError> {
        // Straight from the text where it can be: such an error names the line.
        let read = match serde_yaml_ng::from_str(yaml)? {
            overlay @ Value::Mapping(_) if overlay.get("preset").is_some() => return Self::of_value(overlay),
            _ => serde_yaml_ng::from_str(yaml)?,
        };
        Self::checked(read)
    }

    /// The same, from a part of a document.
    pub fn of_value(value: Value) -> Result<Self, PolicyError> {
        let whole = if value.get("preset").is_some() { overlay::merged(&value)? } else { value };
        Self::checked(resolved(&whole)?)
    }

    /// The whole policy, presets and overrides resolved; the same text for the same policy.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).expect("a policy is numbers and texts")
    }

    fn checked(policy: Self) -> Result<Self, PolicyError> {
        policy.check()?;
        policy.ssvc.as_ref().map_or(Ok(()), |ssvc| ssvc.check(&policy.bands))?;
        Ok(policy)
    }

    /// The default preset.
    pub fn balanced() -> Self {
        Self::read(PRESETS[0].1).expect("the presets are read by a test")
    }

    fn check(&self) -> Result<(), PolicyError> {
        let (t, l, e) = (&self.threat, &self.technical.by_level, &self.exposure);
        let (b, d, bands) = (&self.business, &self.due_days, &self.bands);
        let rules: [(&'static str, Vec<i32>, &'static str); 7] = [
            ("technical.by_level", vec![0, l.info, l.low, l.medium, l.high, l.critical], "levels may not fall from info to critical"),
            ("threat", vec![0, t.public_exploit_points], "points may not be negative"),
            ("threat.kev", vec![0, t.kev_points, t.kev_ransomware_points], "a KEV entry may not lower, ransomware not fall below it"),
            ("exposure", vec![e.not_deployed, e.internal, e.partner, e.internet], "points may not fall from not_deployed to internet"),
            ("business", vec![0, b.tier_4, b.tier_3, b.tier_2, b.tier_1], "points may not fall from tier 4 to tier 1"),
            ("evidence", vec![self.evidence.least, 0, self.evidence.most], "least is at most 0, most at least 0"),
            ("bands", vec![0, bands.low, bands.medium, bands.high, bands.critical], "bands may not fall from low to critical"),
        ];
        for (key, rising, expected) in rules {
            if !rising.is_sorted() {
                return Err(PolicyError::NotMonotone { key, found: format!("{rising:?}"), expected });
            }
        }
        let signs: [(&'static str, bool, String, &'static str); 8] = [
            ("technical.points_per_cvss", self.technical.points_per_cvss >= 0, self.technical.points_per_cvss.to_string(), "at least 0"),
            ("threat.epss_points", t.epss_points >= 0, t.epss_points.to_string(), "at least 0"),
            (
                "threat.epss_floor_ppm",
                0 < t.epss_floor_ppm && t.epss_floor_ppm < t.epss_ceiling_ppm && t.epss_ceiling_ppm <= 1_000_000,
                format!("{} to {}", t.epss_floor_ppm, t.epss_ceiling_ppm),
                "above 0 and below the ceiling, which is at most 1000000",
            ),
            ("business.sensitive_data", b.sensitive_data >= 0, b.sensitive_data.to_string(), "at least 0"),
            ("evidence.unreachable", self.evidence.unreachable <= 0, self.evidence.unreachable.to_string(), "at most 0"),
            ("control.least", self.control.least <= 0, self.control.least.to_string(), "at most 0"),
            (
                "age",
                self.age.points_per_period >= 0 && self.age.most >= 0 && self.age.period_days > 0,
                format!("{:?}", self.age),
                "points at least 0, period at least a day",
            ),
            ("due_days", [d.critical, d.high, d.medium, d.low].is_sorted(), format!("{d:?}"), "days may not fall from critical to low"),
        ];
        for (key, holds, found, expected) in signs {
            if !holds {
                return Err(PolicyError::NotMonotone { key, found, expected });
            }
        }
        if let Some((key, found)) = self.precision.beyond_one() {
            return Err(PolicyError::NotMonotone { key, found, expected: "at most 1000000, in millionths" });
        }
        Ok(())
    }
}

/// A policy from a value. Through text, as only then errors name the key; the line would be one that nobody wrote.
fn resolved(whole: &Value) -> Result<Policy, PolicyError> {
    let read = serde_yaml_ng::to_string(whole).and_then(|yaml| serde_yaml_ng::from_str(&yaml));
    read.map_err(|error| {
        let message = error.to_string();
        PolicyError::Resolved(message.split(" at line ").next().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read_and_is_named_as_its_file() {
        for (name, yaml) in PRESETS {
            let policy = Policy::read(yaml).unwrap();
            assert_eq!(policy.name, name);
            assert!(policy.version.starts_with(name));
        }
    }

    #[test]
    fn a_policy_that_would_not_be_monotone_is_refused_with_its_key() {
        for (from, to, key) in [
            ("kev_points: 250", "kev_points: -1", "threat.kev"),
            ("internet: 100", "internet: -200", "exposure"),
            ("tier_1: 150", "tier_1: 10", "business"),
            ("unreachable: -120", "unreachable: 1", "evidence.unreachable"),
            ("epss_floor_ppm: 1000", "epss_floor_ppm: 0", "threat.epss_floor_ppm"),
            ("low: 180 }", "low: 1 }", "due_days"),
        ] {
            let error = Policy::read(&PRESETS[0].1.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let unknown = Policy::read(&PRESETS[0].1.replace("kev_points", "kev_pionts")).unwrap_err().to_string();
        assert!(unknown.contains("kev_pionts"), "{unknown}");
    }
}
