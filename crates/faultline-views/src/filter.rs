//! What a list is asked for.

use faultline_model::asset::AssetId;
use faultline_model::decision::Verdict;
use faultline_model::exception::Stage;
use faultline_model::id::Id;
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::register::Attention;
use faultline_model::risk::{EvidenceState, RiskState};
use faultline_model::time::Timestamp;
use faultline_model::tracked::FindingState;

use crate::within::Within;

/// The longest text that is searched for, in bytes.
pub const TEXT_BYTES: usize = 200;

/// Which risks. Empty lists and `None` do not restrict; the default is all open ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RiskFilter {
    pub states: Vec<RiskState>,
    pub bands: Vec<Severity>,
    pub evidence: Vec<EvidenceState>,
    pub family: Option<String>,
    pub service: Option<String>,
    /// A node of the organisation: the services anywhere below it.
    pub node: Option<String>,
    /// A tool that has one of its findings.
    pub tool: Option<String>,
    /// A kind of tool that has one of its findings.
    pub kind: Option<ScanKind>,
    /// The asset of its anchor.
    pub asset: Option<AssetId>,
    /// A vulnerability id or alias; case does not matter.
    pub vulnerability: Option<String>,
    /// An exception that it names, whether it holds for it or not.
    pub exception: Option<Id>,
    /// Who it is assigned to; empty for nobody.
    pub assigned_to: Option<String>,
    /// A part of the title; ASCII case does not matter.
    pub text: Option<String>,
    pub min_score: Option<i32>,
    pub first_seen_from: Option<Timestamp>,
    pub first_seen_before: Option<Timestamp>,
    /// Whose rows may be seen. Part of the filter, so that a cursor of one reader does not fit another.
    pub within: Within,
}

impl Default for RiskFilter {
    fn default() -> Self {
        Self { states: vec![RiskState::Open], ..Self::everything() }
    }
}

impl RiskFilter {
    /// All risks in all states.
    pub fn everything() -> Self {
        Self {
            states: Vec::new(),
            bands: Vec::new(),
            evidence: Vec::new(),
            family: None,
            service: None,
            node: None,
            tool: None,
            kind: None,
            asset: None,
            vulnerability: None,
            exception: None,
            assigned_to: None,
            text: None,
            min_score: None,
            first_seen_from: None,
            first_seen_before: None,
            within: Within::everything(),
        }
    }
}

/// Which findings. Empty lists and `None` do not restrict; the default is all open ones that make risks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindingFilter {
    pub states: Vec<FindingState>,
    pub severities: Vec<Severity>,
    /// Also those that only branches without risks have.
    pub with_previews: bool,
    /// Those that a service owns or uses; without it each finding stands once, at its owner.
    pub service: Option<String>,
    /// A node of the organisation: what the services anywhere below it own.
    pub node: Option<String>,
    pub tool: Option<String>,
    pub kind: Option<ScanKind>,
    /// The tool's rule, or the vulnerability id where that is the rule.
    pub rule: Option<String>,
    pub asset: Option<AssetId>,
    pub verdict: Option<Verdict>,
    /// Who it is assigned to; empty for nobody.
    pub assigned_to: Option<String>,
    /// A part of the title; ASCII case does not matter.
    pub text: Option<String>,
    pub first_seen_from: Option<Timestamp>,
    pub first_seen_before: Option<Timestamp>,
    /// Whose rows may be seen. Part of the filter, so that a cursor of one reader does not fit another.
    pub within: Within,
}

impl Default for FindingFilter {
    fn default() -> Self {
        Self { states: vec![FindingState::Open], ..Self::everything() }
    }
}

impl FindingFilter {
    /// All findings that make risks, in all states.
    pub fn everything() -> Self {
        Self {
            states: Vec::new(),
            severities: Vec::new(),
            with_previews: false,
            service: None,
            node: None,
            tool: None,
            kind: None,
            rule: None,
            asset: None,
            verdict: None,
            assigned_to: None,
            text: None,
            first_seen_from: None,
            first_seen_before: None,
            within: Within::everything(),
        }
    }
}

/// Which entries of the risk register. No stages and `None` do not restrict; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterFilter {
    pub stages: Vec<Stage>,
    /// A node of the organisation, or `service/<id>`: entries that may bear on it. Their scope names it, one below it or one above it, or
    /// is everywhere.
    pub node: Option<String>,
    /// Why somebody is to look at them, one of these.
    pub attention: Vec<Attention>,
    /// Whose entries may be seen. Part of the filter, so that a cursor of one reader does not fit another.
    pub within: Within,
}
