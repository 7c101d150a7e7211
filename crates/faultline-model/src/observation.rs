//! What one tool says of one place: the normalized finding, before anything is known about it.

use serde::{Deserialize, Serialize};

use crate::locus::Locus;

/// The longest title that is kept, in bytes; the rest is cut at a character boundary.
pub const TITLE_BYTES: usize = 512;
/// The longest description or guidance that is kept, in bytes.
pub const TEXT_BYTES: usize = 4 * 1024;
/// The most entries of any list of an observation (CWEs, ids, references, fixed versions).
pub const LIST_ENTRIES: usize = 64;

/// A tool's own level, on the five-step scale that all tools can be mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All levels, the lowest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The level's lower-case name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The level of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The level of a CVSS base score in tenths (0 to 100), by the bands of CVSS 3 and 4.
    pub fn of_cvss_tenths(tenths: u8) -> Self {
        match tenths {
            0 => Self::Info,
            1..=39 => Self::Low,
            40..=69 => Self::Medium,
            70..=89 => Self::High,
            _ => Self::Critical,
        }
    }
}

/// The kind of scanner that an observation comes from. Kinds that differ are independent witnesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanKind {
    /// Static analysis of source or byte code.
    Sast,
    /// Software composition: packages with known vulnerabilities, in manifests or images.
    Sca,
    /// Secrets in files or history.
    Secret,
    /// Infrastructure as code.
    Iac,
    /// Dynamic analysis of a running application.
    Dast,
    /// Posture of a running cloud account or host.
    Posture,
    /// Reported by a person or by a tool of a kind that is not known.
    Other,
}

impl ScanKind {
    /// The kind's lower-case name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sast => "sast",
            Self::Sca => "sca",
            Self::Secret => "secret",
            Self::Iac => "iac",
            Self::Dast => "dast",
            Self::Posture => "posture",
            Self::Other => "other",
        }
    }

    /// Whether such a tool observes the running system, so that what it sees is proved at runtime.
    pub fn is_runtime(self) -> bool {
        matches!(self, Self::Dast | Self::Posture)
    }
}

/// A CVSS vector with the base score that it yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cvss {
    /// `2.0`, `3.0`, `3.1` or `4.0`.
    pub version: String,
    /// The vector as published, e.g. `CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H`; empty where a tool gives only a score.
    pub vector: String,
    /// The base score in tenths, 0 to 100 (9.8 is 98), computed from the vector where there is one.
    pub base_tenths: i32,
}

/// What a tool itself says of its finding's standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolVerdict {
    /// Reported as a problem.
    #[default]
    Reported,
    /// Suppressed in the code or the tool's configuration, or marked as a false alarm there.
    Suppressed,
}

/// One finding as one scan reported it. Everything in it comes from the report; nothing is learned elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The tool's identifier of the rule or check (`java/sql-injection`, `CKV_AWS_20`), or the vulnerability id.
    pub rule: String,
    /// One line for people. Never part of an identity.
    pub title: String,
    /// What is wrong, as the tool explains it; at most [`TEXT_BYTES`].
    pub description: String,
    /// How to repair it, as the tool explains it; at most [`TEXT_BYTES`].
    pub guidance: String,
    /// The tool's level, mapped to five steps.
    pub severity: Severity,
    /// CWE numbers, the tool's primary one first.
    pub cwes: Vec<i32>,
    /// Vulnerability ids (CVE, GHSA, …), the tool's own first.
    pub vulnerabilities: Vec<String>,
    /// CVSS vectors with their scores, the newest version first.
    pub cvss: Vec<Cvss>,
    /// Where.
    pub locus: Locus,
    /// Versions that repair it, as the tool lists them.
    pub fixed_versions: Vec<String>,
    /// Links for reading on; http and https only.
    pub references: Vec<String>,
    /// The tool's own stable id of this finding (SARIF `fingerprints`, then `partialFingerprints`), if it has one.
    pub stable_id: Option<String>,
    /// Rank by (line, column) among observations of one report that are equal in every part of their identity; 0 for the first.
    pub rank: i32,
    /// What the tool says of the finding's standing.
    pub tool_verdict: ToolVerdict,
}

impl Observation {
    /// An observation of a rule at a place; everything else empty, the title is the rule.
    pub fn new(rule: impl Into<String>, severity: Severity, locus: Locus) -> Self {
        let rule = rule.into();
        Self {
            title: rule.clone(),
            rule,
            description: String::new(),
            guidance: String::new(),
            severity,
            cwes: Vec::new(),
            vulnerabilities: Vec::new(),
            cvss: Vec::new(),
            locus,
            fixed_versions: Vec::new(),
            references: Vec::new(),
            stable_id: None,
            rank: 0,
            tool_verdict: ToolVerdict::Reported,
        }
    }

    /// Cuts texts and lists to their bounds and drops links that are not http(s). Adapters call it last.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.title, TITLE_BYTES);
        cut(&mut self.description, TEXT_BYTES);
        cut(&mut self.guidance, TEXT_BYTES);
        self.cwes.truncate(LIST_ENTRIES);
        self.vulnerabilities.truncate(LIST_ENTRIES);
        self.cvss.truncate(LIST_ENTRIES);
        self.fixed_versions.truncate(LIST_ENTRIES);
        self.references.retain(|link| link.starts_with("https://") || link.starts_with("http://"));
        self.references.truncate(LIST_ENTRIES);
        self
    }
}

/// Cuts a text to at most `bytes`, at a character boundary, with an ellipsis where something was cut.
pub fn cut(text: &mut String, bytes: usize) {
    const ELLIPSIS: &str = "…";
    if text.len() > bytes {
        let mut end = bytes - ELLIPSIS.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_at_a_character_and_keeps_its_bound() {
        let mut text = "ä".repeat(400);
        cut(&mut text, 100);
        assert!(text.len() <= 100 && text.ends_with('…'));
        let mut short = "as it was".to_owned();
        cut(&mut short, 100);
        assert_eq!(short, "as it was");
    }

    #[test]
    fn links_that_are_not_http_do_not_leave() {
        let locus = Locus::Code(crate::locus::Code::at("a.rs", 1));
        let mut seen = Observation::new("r", Severity::Low, locus);
        seen.references = vec!["javascript:alert(1)".into(), "https://cwe.mitre.org".into()];
        assert_eq!(seen.bounded().references, ["https://cwe.mitre.org"]);
    }

    #[test]
    fn bands_of_cvss_are_those_of_the_specification() {
        let bands = [
            (0, "info"),
            (1, "low"),
            (39, "low"),
            (40, "medium"),
            (69, "medium"),
            (70, "high"),
            (89, "high"),
            (90, "critical"),
            (100, "critical"),
        ];
        for (tenths, name) in bands {
            assert_eq!(Severity::of_cvss_tenths(tenths).name(), name, "{tenths}");
        }
    }
}
