//! Small numbers for the model's words in rows. They are the views' own: another numbering is another schema version.

use faultline_model::decision::Verdict;
use faultline_model::exception::Stage;
use faultline_model::notice::DeliveryStatus;
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::register::Attention;
use faultline_model::risk::{EvidenceState, RiskState};
use faultline_model::tracked::FindingState;

/// The states of a risk, by code.
pub(crate) const RISK_STATES: [RiskState; 4] = [RiskState::Open, RiskState::Closed, RiskState::FalsePositive, RiskState::Accepted];
/// The states of evidence, by code.
pub(crate) const EVIDENCE: [EvidenceState; 3] = [EvidenceState::Reported, EvidenceState::Corroborated, EvidenceState::Verified];
/// The states of a finding, by code.
pub(crate) const FINDING_STATES: [FindingState; 3] = [FindingState::Open, FindingState::Unknown, FindingState::Closed];
/// The stages of an exception, by code.
pub(crate) const STAGES: [Stage; 11] = [
    Stage::Draft,
    Stage::Requested,
    Stage::Reviewed,
    Stage::Rejected,
    Stage::Withdrawn,
    Stage::Approved,
    Stage::Active,
    Stage::Expiring,
    Stage::Suspended,
    Stage::Expired,
    Stage::Revoked,
];
/// What becomes of telling somebody, by code.
pub(crate) const DELIVERIES: [DeliveryStatus; 3] = [DeliveryStatus::Delivered, DeliveryStatus::Failed, DeliveryStatus::GivenUp];
/// Kinds of tools, by the bit that they have in a set.
pub(crate) const KINDS: [ScanKind; 7] =
    [ScanKind::Sast, ScanKind::Sca, ScanKind::Secret, ScanKind::Iac, ScanKind::Dast, ScanKind::Posture, ScanKind::Other];

/// A word's place in its table.
pub(crate) fn code<T: PartialEq>(table: &[T], word: &T) -> i64 {
    table.iter().position(|known| known == word).expect("the tables above hold every word") as i64
}

pub(crate) fn severity(severity: Severity) -> i64 {
    code(&Severity::ALL, &severity)
}

/// 0 for none, which no filter asks for.
pub(crate) fn verdict(verdict: Option<Verdict>) -> i64 {
    verdict.map_or(0, |verdict| 1 + code(&Verdict::ALL, &verdict))
}

pub(crate) fn kind_bit(kind: ScanKind) -> i64 {
    1 << code(&KINDS, &kind)
}

/// A set of reasons to look at an entry, a bit each.
pub(crate) fn bits(attention: &[Attention]) -> i64 {
    attention.iter().fold(0, |bits, why| bits | 1 << code(&Attention::ALL, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_stage_has_a_code_of_its_own() {
        let mut states = RiskState::ALL.map(|state| code(&RISK_STATES, &state));
        states.sort_unstable();
        assert_eq!(states, [0, 1, 2, 3]);
        let mut stages = Stage::ALL.map(|stage| code(&STAGES, &stage));
        stages.sort_unstable();
        assert_eq!(stages, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
