//! How a finding stands on a line, worked out scan by scan in their order.
//!
//! This is [`super::line::standing`] as a machine of one step a scan, so that the oldest scans can be folded into what they
//! came to and forgotten; that both say the same is a property test.

use faultline_model::time::Timestamp;

/// What became of a finding on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Standing {
    Open = 0,
    /// A newer complete scan looked at its place without running its rule.
    Unknown = 1,
    /// A newer complete scan looked for it and does not have it.
    Closed = 2,
    /// Only scans saw it that came when they were older than all that are kept: closed, and nobody knows since when.
    Forgotten = 3,
}

impl Standing {
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Open, Self::Unknown, Self::Closed, Self::Forgotten].into_iter().find(|standing| *standing as u8 == byte)
    }

    /// Whether a complete scan may still close it.
    pub fn can_close(self) -> bool {
        matches!(self, Self::Open | Self::Unknown)
    }
}

/// A standing, and the scan that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stand {
    pub standing: Standing,
    /// The start of that scan, or the time of the retirement.
    pub since: Timestamp,
    /// Its number; 0 for a retirement.
    pub by: u32,
}

/// What a scan says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Seen,
    /// It is complete and its scope holds the place and the rule.
    Gone,
    /// It is complete and its scope holds the place; the rule did not run.
    NotRun,
    Nothing,
}

/// The stand after one more scan, which is newer than all before.
pub(super) fn after(before: Option<Stand>, says: Says, since: Timestamp, by: u32) -> Option<Stand> {
    let to = |standing| Some(Stand { standing, since, by });
    match (before.map(|stand| stand.standing), says) {
        (Some(Standing::Open), Says::Seen) => before,
        (_, Says::Seen) => to(Standing::Open),
        (Some(Standing::Open | Standing::Unknown), Says::Gone) => to(Standing::Closed),
        (Some(Standing::Open), Says::NotRun) => to(Standing::Unknown),
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::line::{self, Progress, Scan, ScanOrder, Scope, Subject};
    use faultline_model::id::Id;
    use proptest::prelude::*;

    fn scan(number: u32, scope: u8, is_complete: bool) -> Scan {
        let time = Timestamp::from_millis(i64::from(number));
        let scope = match scope {
            0 => Scope::default(),
            1 => Scope { is_full: true, ..Scope::default() },
            2 => Scope { is_full: true, rules: vec!["other".into()], ..Scope::default() },
            _ => Scope { paths: vec!["elsewhere".into()], ..Scope::default() },
        };
        let progress = if is_complete { Progress::Complete } else { Progress::Unfinished };
        Scan { order: ScanOrder { as_of: time, started: time, id: Id([number as u8; 16]) }, revision: String::new(), scope, progress }
    }

    proptest! {
        #[test]
        fn step_by_step_is_what_the_whole_line_says(scans in prop::collection::vec((0_u8..4, any::<bool>(), any::<bool>()), 1..12)) {
            let mut stand = None;
            let mut all = Vec::new();
            for (number, (scope, is_complete, saw)) in (1..).zip(&scans) {
                let scan = scan(number, *scope, *is_complete);
                let looked = *is_complete && scan.scope.holds_path("a");
                let says = match (saw, looked, scan.scope.ran("r")) {
                    (true, ..) => Says::Seen,
                    (false, true, true) => Says::Gone,
                    (false, true, false) => Says::NotRun,
                    _ => Says::Nothing,
                };
                stand = after(stand, says, scan.order.started, number);
                all.push(scan);
            }
            let whole = line::standing(&all, Subject { path: "a", rule: "r" }, |id| scans[usize::from(id.0[0]) - 1].2);
            let expected = whole.map(|standing| match standing {
                line::Standing::Open => (Standing::Open, None),
                line::Standing::Closed { by } => (Standing::Closed, Some(by.started)),
                line::Standing::Unknown { since } => (Standing::Unknown, Some(since.started)),
            });
            let found = stand.map(|stand| (stand.standing, (stand.standing != Standing::Open).then_some(stand.since)));
            prop_assert_eq!(found, expected);
        }
    }
}
