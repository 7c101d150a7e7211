//! Records of `tracked`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{assets, id_lists, ids, lists, maybe, numbers, observations, scan_kinds, states, texts, timestamps, verdicts};
use crate::decision::{Assignment, Word};
use crate::observation::Severity;
use crate::tracked::{
    CompleteScan, GivenAssignment, GivenSeverity, GivenVerdict, GivenWord, HeldPlace, TrackedFinding, TrackedLine, TrackedRecord,
    TrackedRoute, Went,
};

fn places() -> impl Strategy<Value = HeldPlace> + Clone {
    (ids(), timestamps(), numbers(), numbers()).prop_map(|(line_of_scans, since, line, end_line)| HeldPlace {
        line_of_scans,
        since,
        line,
        end_line,
    })
}

fn given_verdicts() -> impl Strategy<Value = GivenVerdict> + Clone {
    (verdicts(), texts(), texts(), timestamps()).prop_map(|(verdict, actor, reason, at)| GivenVerdict { verdict, actor, reason, at })
}

fn given_assignments() -> impl Strategy<Value = GivenAssignment> + Clone {
    (texts(), texts(), texts(), timestamps()).prop_map(|(to, actor, reason, at)| GivenAssignment {
        assignment: Assignment { to },
        actor,
        reason,
        at,
    })
}

fn given_severities() -> impl Strategy<Value = GivenSeverity> + Clone {
    let severities = prop::sample::select(Severity::ALL.to_vec());
    (severities, texts(), texts(), timestamps()).prop_map(|(severity, actor, reason, at)| GivenSeverity { severity, actor, reason, at })
}

fn given_words() -> impl Strategy<Value = Vec<GivenWord>> {
    let words = prop::sample::select(vec![Word::Confirmed, Word::Rejected]);
    let given = (ids(), words, texts(), texts(), timestamps());
    vec(given.prop_map(|(to, word, actor, reason, at)| GivenWord { to, word, actor, reason, at }), 0..3)
}

fn findings() -> impl Strategy<Value = TrackedFinding> {
    let who = (ids(), ids(), assets(), texts(), any::<bool>(), texts(), scan_kinds());
    let standing = (observations(), states(), any::<bool>(), timestamps(), timestamps(), id_lists(), vec(places(), 0..3));
    let said = (maybe(ids()), maybe(given_verdicts()), maybe(given_assignments()), numbers(), texts(), lists());
    let said = (said, maybe(given_severities()), given_words());
    (who, standing, said).prop_map(|(who, standing, (said, severity, words))| {
        let (finding, fingerprint, asset, service, is_owner, tool, kind) = who;
        let (observation, state, is_preview, first_seen, state_since, lines, places) = standing;
        let (moved_from, verdict, assignment, version, service_claim, owners) = said;
        TrackedFinding {
            finding,
            fingerprint,
            asset,
            service,
            is_owner,
            tool,
            kind,
            observation,
            state,
            is_preview,
            first_seen,
            state_since,
            lines,
            places,
            moved_from,
            verdict,
            assignment,
            severity,
            words,
            version,
            service_claim,
            owners,
        }
    })
}

fn routes() -> impl Strategy<Value = TrackedRoute> {
    let who = (ids(), assets(), texts(), texts());
    let what = (texts(), texts(), texts(), texts(), numbers(), lists(), any::<bool>(), lists());
    (who, what).prop_map(|((route, asset, service, tool), what)| {
        let (method, path, file, symbol, line, parameters, is_visit, families) = what;
        TrackedRoute { route, asset, service, tool, method, path, file, symbol, line, parameters, is_visit, families }
    })
}

fn lines() -> impl Strategy<Value = TrackedLine> {
    let scan = (ids(), texts(), timestamps(), timestamps(), any::<bool>(), numbers()).prop_map(
        |(scan, revision, as_of, started, is_full, observations)| CompleteScan { scan, revision, as_of, started, is_full, observations },
    );
    (ids(), assets(), texts(), texts(), scan_kinds(), texts(), texts(), any::<bool>(), vec(scan, 0..4)).prop_map(
        |(line, asset, service, tool, kind, branch, environment, counts, complete)| TrackedLine {
            line,
            asset,
            service,
            tool,
            kind,
            branch,
            environment,
            counts,
            complete,
        },
    )
}

/// Values of `tracked`.
pub fn tracked_records() -> impl Strategy<Value = TrackedRecord> {
    prop_oneof![
        5 => findings().prop_map(TrackedRecord::Finding),
        1 => routes().prop_map(TrackedRecord::Route),
        1 => lines().prop_map(TrackedRecord::Line),
        1 => lists().prop_map(|to| TrackedRecord::Went(Went { to })),
    ]
}
