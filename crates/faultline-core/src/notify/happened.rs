//! What came about, out of a record and what was known before.

use faultline_model::catalog::service_key;
use faultline_model::exception::Stage as Standing;
use faultline_model::id::Id;
use faultline_model::notice::{Notice, NoticeKind};
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{EvidenceState, Risk, RiskState};
use faultline_model::time::Timestamp;

/// The longest text of a notice, in bytes: what is longer is cut.
const TEXT_BYTES: usize = 512;

/// Whether a risk is proved at runtime, and is there.
pub fn is_verified(risk: &Risk) -> bool {
    risk.evidence == EvidenceState::Verified && matches!(risk.state, RiskState::Open | RiskState::Accepted)
}

/// A risk that was not open and verified, and is.
pub fn verified(key: &str, risk: &Risk, at: Timestamp) -> Notice {
    Notice {
        id: id_of(NoticeKind::RiskVerified, risk.risk, at),
        kind: NoticeKind::RiskVerified,
        at,
        origin: key.to_owned(),
        title: cut(&risk.title),
        because: format!("proved at runtime and located in code, {} of {}", of(risk.findings_total, "finding"), risk.service),
        score: risk.score.total,
        within: vec![service_key(&risk.service)],
        to: Vec::new(),
    }
}

/// What became of an exception that is worth a word.
pub fn kind_of(entry: &RegisterEntry) -> Option<NoticeKind> {
    match entry.stage {
        Standing::Suspended => Some(NoticeKind::ExceptionSuspended),
        Standing::Expiring => Some(NoticeKind::ExceptionExpiring),
        Standing::Expired => Some(NoticeKind::ExceptionExpired),
        _ => None,
    }
}

/// An exception that came to stand so.
pub fn excepted(key: &str, entry: &RegisterEntry, kind: NoticeKind, at: Timestamp) -> Notice {
    let because = match kind {
        NoticeKind::ExceptionSuspended => {
            let broken: Vec<&str> = entry.broken.iter().map(|broken| broken.because()).collect();
            format!("{}; what it covered is open again", broken.join("; "))
        }
        NoticeKind::ExceptionExpiring => format!("it ends on {}; {} open then", entry.terms.ends.date(), of(entry.risks, "risk")),
        _ => format!("it ended on {}; what it covered is open again", entry.terms.ends.date()),
    };
    // What a suspended one covered stands in its first risks.
    let first = entry.first.iter().map(|risk| risk.score).max().unwrap_or(0);
    Notice {
        id: id_of(kind, entry.entry, at),
        kind,
        at,
        origin: key.to_owned(),
        title: cut(&entry.terms.title),
        because: cut(&because),
        score: entry.highest.max(first),
        within: entry.terms.scope.within.clone(),
        to: Vec::new(),
    }
}

/// It may come about again, later.
fn id_of(kind: NoticeKind, subject: Id, at: Timestamp) -> Id {
    Id::of("notice", &[kind.name().as_bytes(), &subject.0, &at.millis().to_be_bytes()])
}

fn of(count: i32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// At a character's end.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(400);
        assert_eq!(cut(&long).len(), 512);
        assert_eq!(cut(&format!("a{long}")).len(), 511);
        assert_eq!((of(1, "risk"), of(2, "risk")), ("1 risk".to_owned(), "2 risks".to_owned()));
    }
}
