//! Records of `steps`, `exceptions`, `shares` and `risk-registry`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{id_lists, ids, lists, maybe, numbers, texts, timestamps};
use crate::exception::{Assumptions, Broken, Category, Control, Held, NewEnd, Response, Scope, Stage, Step, StepRecord, Terms};
use crate::observation::Severity;
use crate::register::{AskedEnd, Assessment, Completeness, Event, RegisterEntry, ResponseType};
use crate::share::{FixShare, Rating, Share, ShareRisk};

fn scopes() -> impl Strategy<Value = Scope> + Clone {
    (id_lists(), texts(), texts(), texts(), texts(), lists()).prop_map(|(founders, vulnerability, package, asset, family, within)| Scope {
        founders,
        vulnerability,
        package,
        asset,
        family,
        within,
    })
}

fn assumptions() -> impl Strategy<Value = Assumptions> + Clone {
    (any::<bool>(), any::<bool>(), maybe(numbers()), any::<bool>()).prop_map(
        |(not_internet_facing, not_in_kev, score_at_most, controls_in_place)| Assumptions {
            not_internet_facing,
            not_in_kev,
            score_at_most,
            controls_in_place,
        },
    )
}

fn terms() -> impl Strategy<Value = Terms> + Clone {
    let controls = vec((texts(), maybe(timestamps())).prop_map(|(name, ends)| Control { name, ends }), 0..3);
    let what = (texts(), scopes(), prop::sample::select(Category::ALL.to_vec()), texts(), controls, assumptions(), lists());
    (what, maybe(timestamps()), timestamps(), timestamps(), numbers()).prop_map(|(what, starts, review_at, ends, covers_at_most)| {
        let (title, scope, category, reason, controls, assumptions, evidence) = what;
        Terms { title, scope, category, reason, controls, assumptions, evidence, starts, review_at, ends, covers_at_most }
    })
}

fn new_ends() -> impl Strategy<Value = NewEnd> + Clone {
    (timestamps(), timestamps()).prop_map(|(review_at, ends)| NewEnd { review_at, ends })
}

/// What breaks, sorted.
pub fn broken() -> impl Strategy<Value = Vec<Broken>> + Clone {
    prop::sample::subsequence(Broken::ALL.to_vec(), 0..=Broken::ALL.len())
}

/// Values of `steps`.
pub fn steps() -> impl Strategy<Value = StepRecord> {
    let step = prop_oneof![
        3 => terms().prop_map(|terms| Step::Propose(Box::new(terms))),
        1 => new_ends().prop_map(Step::Renew),
        3 => prop::sample::select(vec![Step::Request, Step::Review, Step::Approve, Step::Reject, Step::Withdraw, Step::Revoke]),
    ];
    let response = (texts(), texts()).prop_map(|(owner, cost)| Response { owner, cost });
    (texts(), ids(), texts(), texts(), timestamps(), maybe(numbers()), step, maybe(response)).prop_map(
        |(key, subject, actor, reason, at, expected_version, step, response)| StepRecord {
            key,
            subject,
            actor,
            reason,
            at,
            expected_version,
            step,
            response,
        },
    )
}

/// Values of `exceptions`.
pub fn held() -> impl Strategy<Value = Held> {
    (ids(), numbers(), scopes(), assumptions()).prop_map(|(exception, grant, scope, assumptions)| Held {
        exception,
        grant,
        scope,
        assumptions,
    })
}

pub(super) fn share_risks() -> impl Strategy<Value = ShareRisk> + Clone {
    (ids(), texts(), texts(), numbers(), broken()).prop_map(|(risk, service, title, score, broken)| ShareRisk {
        risk,
        service,
        title,
        score,
        broken,
    })
}

/// Values of `shares`.
pub fn shares() -> impl Strategy<Value = Share> {
    let counts = (numbers(), numbers(), numbers(), any::<i64>(), any::<i64>(), numbers());
    let rating =
        (numbers(), numbers(), bands(), texts()).prop_map(|(likelihood, impact, band, family)| Rating { likelihood, impact, band, family });
    let claim = (texts(), any::<bool>(), timestamps(), timestamps());
    let fix = (claim, texts(), texts(), texts(), lists(), id_lists()).prop_map(|(claim, kind, what, guidance, fixed_versions, also)| {
        let (queue, is_owner, first_seen, due) = claim;
        FixShare { queue, is_owner, first_seen, kind, what, guidance, fixed_versions, also, due }
    });
    (ids(), texts(), counts, broken(), vec(share_risks(), 0..3), maybe(rating), maybe(fix)).prop_map(
        |(subject, service, counts, broken, first, rating, fix)| {
            let (grant, risks, contested, loss, inherent_loss, highest) = counts;
            Share { subject, service, grant, risks, contested, loss, inherent_loss, highest, broken, first, rating, fix }
        },
    )
}

pub(super) fn bands() -> impl Strategy<Value = Severity> + Clone {
    prop::sample::select(Severity::ALL.to_vec())
}

fn assessments() -> impl Strategy<Value = Assessment> + Clone {
    let responses = prop::sample::select(vec![ResponseType::Accept, ResponseType::Transfer, ResponseType::Mitigate]);
    let completeness = prop::sample::select(vec![Completeness::Counted, Completeness::Awaited, Completeness::NotCounted]);
    let rated = (maybe(bands()), texts(), maybe(numbers()), maybe(numbers()));
    (rated, responses, texts(), (texts(), any::<bool>()), completeness).prop_map(
        |(rated, response_type, response_cost, (owner, is_owner_named), completeness)| {
            let (priority, category, likelihood, impact) = rated;
            Assessment { priority, category, likelihood, impact, response_type, response_cost, owner, is_owner_named, completeness }
        },
    )
}

/// Values of `risk-registry`.
pub fn register_entries() -> impl Strategy<Value = RegisterEntry> {
    let renewal = (new_ends(), texts(), texts()).prop_map(|(end, asked_by, reviewed_by)| AskedEnd { end, asked_by, reviewed_by });
    let event = (texts(), texts(), maybe(timestamps()), texts()).prop_map(|(what, actor, at, reason)| Event { what, actor, at, reason });
    let stands = (ids(), prop::sample::select(Stage::ALL.to_vec()), terms(), numbers(), broken(), lists());
    let people = (lists(), texts(), texts(), texts(), maybe(timestamps()), maybe(renewal));
    let covered = (numbers(), numbers(), numbers(), numbers(), numbers(), numbers(), vec(share_risks(), 0..3));
    (stands, people, covered, vec(event, 0..3), maybe(assessments())).prop_map(|(stands, people, covered, history, assessment)| {
        let (entry, stage, terms, version, broken, possible) = stands;
        let (authors, requested_by, reviewed_by, approved_by, approved_at, renewal) = people;
        let (risks, services, contested, residual, inherent, highest, first) = covered;
        RegisterEntry {
            entry,
            stage,
            terms,
            version,
            authors,
            requested_by,
            reviewed_by,
            approved_by,
            approved_at,
            renewal,
            broken,
            possible,
            risks,
            services,
            contested,
            residual,
            inherent,
            highest,
            first,
            history,
            assessment,
        }
    })
}
