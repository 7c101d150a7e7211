//! Records of `risks`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{assets, broken, id_lists, ids, lists, loci, maybe, numbers, scan_kinds, severities, states, texts, timestamps, verdicts};
use crate::risk::{Contribution, Covering, EvidenceState, Factor, Fix, Link, Member, Risk, RiskState, Score};

fn scores() -> impl Strategy<Value = Score> {
    use Factor::{Age, Business, Cap, Control, Data, Evidence, Exploitation, Exposure, Reachability, Technical};
    let factors = vec![Technical, Exploitation, Exposure, Business, Data, Evidence, Reachability, Control, Age, Cap];
    let contribution = (prop::sample::select(factors), any::<i32>(), texts()).prop_map(|(factor, points, because)| Contribution {
        factor,
        points,
        because,
    });
    (0..=1000_i32, 0..=1000_i32, severities(), vec(contribution, 0..10), timestamps(), maybe(timestamps()), texts()).prop_map(
        |(total, inherent, band, contributions, due, changes_at, policy_version)| Score {
            total,
            inherent,
            band,
            contributions,
            due,
            changes_at,
            policy_version,
        },
    )
}

fn members() -> impl Strategy<Value = Member> {
    let who = (ids(), assets(), texts(), scan_kinds(), texts(), texts(), severities());
    let standing = (loci(), states(), maybe(verdicts()), any::<bool>(), timestamps(), numbers(), id_lists());
    (who, standing).prop_map(|(who, standing)| {
        let (finding, asset, tool, kind, rule, title, severity) = who;
        let (locus, state, verdict, is_home, first_seen, version, lines) = standing;
        Member { finding, asset, tool, kind, rule, title, severity, locus, state, verdict, is_home, first_seen, version, lines }
    })
}

fn links() -> impl Strategy<Value = Link> {
    (texts(), ids(), ids(), numbers(), lists()).prop_map(|(rule, from, to, weight_ppm, inputs)| Link { rule, from, to, weight_ppm, inputs })
}

fn fixes() -> impl Strategy<Value = Fix> {
    (ids(), id_lists(), texts(), texts(), texts(), lists()).prop_map(|(fix, also, kind, what, guidance, fixed_versions)| Fix {
        fix,
        also,
        kind,
        what,
        guidance,
        fixed_versions,
    })
}

/// Values of `risks`.
pub fn risks() -> impl Strategy<Value = Risk> {
    let states = prop::sample::select(RiskState::ALL.to_vec());
    let evidence = prop::sample::select(vec![EvidenceState::Reported, EvidenceState::Corroborated, EvidenceState::Verified]);
    let who = (ids(), texts(), texts(), texts(), states, evidence, scores(), numbers(), ids(), id_lists());
    let why = (assets(), loci(), vec(members(), 0..3), numbers(), vec(links(), 0..3), numbers());
    let covering = (ids(), any::<bool>(), broken()).prop_map(|(exception, at_anchor, broken)| Covering { exception, at_anchor, broken });
    let how = (lists(), fixes(), lists(), texts(), timestamps(), vec(covering, 0..2));
    (who, why, how).prop_map(|(who, why, how)| {
        let (risk, service, title, family, state, evidence, score, confidence_ppm, founder, also) = who;
        let (asset, anchor, findings, findings_total, links, links_total) = why;
        let (vulnerabilities, fix, owners, assigned_to, first_seen, exceptions) = how;
        Risk {
            risk,
            service,
            title,
            family,
            state,
            evidence,
            score,
            confidence_ppm,
            founder,
            also,
            asset,
            anchor,
            findings,
            findings_total,
            links,
            links_total,
            vulnerabilities,
            fix,
            owners,
            assigned_to,
            first_seen,
            exceptions,
        }
    })
}
