//! The machine of an exception: a table of every step at every place, and walks over it by which nothing holds that nobody else looked over.

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::act::exception::{Exception, Limits, Longest, Refusal, Taken, TermsFault, take};
use faultline_model::exception::{Assumptions, Broken, Category, Control, NewEnd, Scope, Stage, Step, StepKind, Terms};
use faultline_model::observation::Severity;
use faultline_model::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { band: Severity::High, longest: Longest { critical: 30, high: 90, medium: 180, low: 365 }, warning_days: 14 };

fn day(day: i64) -> Timestamp {
    Timestamp::from_millis(0).plus_days(day)
}

fn terms() -> Terms {
    Terms {
        title: "Log4j on the batch host".into(),
        scope: Scope { vulnerability: "CVE-2021-44228".into(), within: vec!["retail".into()], ..Scope::default() },
        category: Category::CannotFix,
        reason: "the vendor has no version without it".into(),
        controls: vec![Control { name: "egress is closed".into(), ends: None }],
        assumptions: Assumptions { not_in_kev: true, ..Assumptions::default() },
        evidence: vec![],
        starts: None,
        review_at: day(40),
        ends: day(80),
        covers_at_most: 10,
    }
}

fn by(known: Option<&Exception>, actor: &str, at: i64, step: &Step) -> Result<Exception, Refusal> {
    take(known, Taken { step, actor, at: day(at), expected_version: None }, &LIMITS)
}

/// What a path of steps by these people on these days leads to.
fn after(path: &[(&str, i64, Step)]) -> Exception {
    let mut known: Option<Exception> = None;
    for (actor, at, step) in path {
        known = Some(by(known.as_ref(), actor, *at, step).unwrap_or_else(|error| panic!("{actor} on day {at}: {error}")));
    }
    known.expect("a path has a step")
}

fn granted(starts: Option<i64>) -> Vec<(&'static str, i64, Step)> {
    let terms = Terms { starts: starts.map(day), ..terms() };
    vec![("ana", 0, Step::Propose(Box::new(terms))), ("ana", 1, Step::Request), ("ben", 2, Step::Review), ("cem", 3, Step::Approve)]
}

fn renewing() -> Step {
    Step::Renew(NewEnd { review_at: day(90), ends: day(95) })
}

/// One exception at each place that there is, with the day on which it is there.
fn places() -> BTreeMap<&'static str, (Exception, i64)> {
    let with = |mut path: Vec<(&'static str, i64, Step)>, more: &[(&'static str, i64, Step)]| {
        path.extend_from_slice(more);
        after(&path)
    };
    let short = |steps: usize| after(&granted(None)[..steps]);
    let suspended = after(&granted(None)).suspended(vec![Broken::InKev], day(10), &LIMITS).expect("it holds");
    BTreeMap::from([
        ("draft", (short(1), 1)),
        ("requested", (short(2), 2)),
        ("reviewed", (short(3), 3)),
        ("approved", (after(&granted(Some(20))), 4)),
        ("active", (after(&granted(None)), 10)),
        ("active, renewal asked", (with(granted(None), &[("ana", 10, renewing())]), 70)),
        ("active, renewal reviewed", (with(granted(None), &[("ana", 10, renewing()), ("ben", 11, Step::Review)]), 70)),
        ("expiring", (after(&granted(None)), 70)),
        ("suspended", (suspended.clone(), 11)),
        ("expired", (after(&granted(None)), 80)),
        ("expired while suspended", (suspended, 80)),
        ("expired, renewal asked", (with(granted(None), &[("ana", 10, renewing())]), 80)),
        ("expired, renewal reviewed", (with(granted(None), &[("ana", 10, renewing()), ("ben", 11, Step::Review)]), 80)),
        ("rejected", (with(granted(None)[..2].to_vec(), &[("ben", 3, Step::Reject)]), 4)),
        ("withdrawn", (with(granted(None)[..1].to_vec(), &[("ana", 3, Step::Withdraw)]), 4)),
        ("revoked", (with(granted(None), &[("dan", 9, Step::Revoke)]), 10)),
    ])
}

/// Where each step leads from each place: the machine as people know it. What is not here is refused.
fn leads(place: &str, step: StepKind) -> Option<Stage> {
    use StepKind::{Approve, Propose, Reject, Renew, Request, Review, Revoke, Withdraw};
    Some(match (place, step) {
        ("draft", Propose) => Stage::Draft,
        ("draft" | "suspended", Request) => Stage::Requested,
        ("requested", Review) => Stage::Reviewed,
        ("reviewed" | "expired, renewal reviewed" | "active, renewal reviewed", Approve) | ("active", Renew) => Stage::Active,
        ("requested" | "reviewed", Reject) => Stage::Rejected,
        ("draft" | "requested" | "reviewed" | "approved", Withdraw) => Stage::Withdrawn,
        ("active" | "expiring" | "suspended" | "active, renewal asked" | "active, renewal reviewed", Revoke) => Stage::Revoked,
        ("active, renewal asked", Review | Reject | Withdraw) | ("active, renewal reviewed", Reject | Withdraw) | ("expiring", Renew) => {
            Stage::Expiring
        }
        ("expired", Renew) | ("expired, renewal asked", Review | Reject | Withdraw) | ("expired, renewal reviewed", Reject | Withdraw) => {
            Stage::Expired
        }
        _ => return None,
    })
}

fn step_of(kind: StepKind) -> Step {
    match kind {
        StepKind::Propose => Step::Propose(Box::new(terms())),
        StepKind::Request => Step::Request,
        StepKind::Review => Step::Review,
        StepKind::Approve => Step::Approve,
        StepKind::Reject => Step::Reject,
        StepKind::Withdraw => Step::Withdraw,
        StepKind::Revoke => Step::Revoke,
        StepKind::Renew => renewing(),
    }
}

#[test]
fn every_step_at_every_place_leads_where_it_should_or_is_refused() {
    let mut reached = BTreeSet::new();
    for (place, (exception, today)) in places() {
        reached.insert(exception.stage(day(today), &LIMITS));
        for kind in StepKind::ALL {
            // Somebody who had no part in it.
            let found = by(Some(&exception), "eve", today, &step_of(kind));
            match (leads(place, kind), found) {
                (Some(stage), Ok(now)) => {
                    assert_eq!((now.stage(day(today), &LIMITS), now.version), (stage, exception.version + 1), "{place}: {kind:?}");
                    reached.insert(stage);
                }
                (None, Err(Refusal::NotNow { step, stage, possible })) => {
                    assert_eq!((step, stage), (kind, exception.stage(day(today), &LIMITS)), "{place}");
                    assert!(
                        StepKind::ALL.iter().all(|other| possible.contains(other) == leads(place, *other).is_some()),
                        "{place}: {possible:?}"
                    );
                }
                (expected, found) => panic!("{place}: {kind:?} leads to {expected:?}, not {found:?}"),
            }
        }
    }
    assert!(Stage::ALL.iter().all(|stage| reached.contains(stage)), "{reached:?}");
    let early = by(None, "ana", 0, &Step::Request).expect_err("nothing is there");
    assert_eq!(early.to_string(), "there is no such exception: propose it first");
    let refused = by(Some(&after(&granted(None))), "eve", 10, &Step::Approve).expect_err("it holds already");
    assert_eq!(refused.to_string(), "approve is not possible while it is active: possible is revoke, renew");
}

#[test]
fn nobody_looks_over_what_is_their_own() {
    let proposed = [("ana", 0, Step::Propose(Box::new(terms()))), ("bob", 0, Step::Propose(Box::new(terms()))), ("cem", 1, Step::Request)];
    let requested = after(&proposed);
    for (actor, did) in [("ana", "wrote"), ("bob", "wrote"), ("cem", "asked for")] {
        let refused = by(Some(&requested), actor, 2, &Step::Review).expect_err("it is their own");
        assert_eq!(refused.to_string(), format!("{actor} {did} it: somebody else is to review"));
    }
    let reviewed = by(Some(&requested), "dan", 2, &Step::Review).expect("another reviews");
    for actor in ["ana", "bob", "cem", "dan"] {
        assert!(matches!(by(Some(&reviewed), actor, 3, &Step::Approve), Err(Refusal::SamePerson { .. })), "{actor}");
    }
    let active = by(Some(&reviewed), "eve", 3, &Step::Approve).expect("another approves");
    let asked = by(Some(&active), "eve", 10, &renewing()).expect("anybody asks for a renewal");
    assert!(matches!(by(Some(&asked), "eve", 11, &Step::Review), Err(Refusal::SamePerson { .. })));
    let looked_over = by(Some(&asked), "dan", 62, &Step::Review).expect("another reviews");
    assert!(matches!(by(Some(&looked_over), "dan", 63, &Step::Approve), Err(Refusal::SamePerson { .. })));
    let renewed = by(Some(&looked_over), "ana", 63, &Step::Approve).expect("another approves");
    assert_eq!((renewed.terms.ends, renewed.stage(day(80), &LIMITS)), (day(95), Stage::Active));
}

#[test]
fn terms_that_cannot_be_meant_are_refused_with_what_to_do() {
    let refused = |change: &dyn Fn(&mut Terms)| {
        let mut changed = terms();
        change(&mut changed);
        match by(None, "ana", 0, &Step::Propose(Box::new(changed))) {
            Err(Refusal::Terms(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|terms| terms.title = " ".into()), TermsFault::Title);
    assert_eq!(refused(&|terms| terms.reason.clear()), TermsFault::Reason);
    assert_eq!(refused(&|terms| terms.scope.vulnerability.clear()), TermsFault::EverythingCovered);
    assert_eq!(refused(&|terms| terms.scope.founders = vec![faultline_model::id::Id::of("x", &[])]), TermsFault::TwoScopes);
    assert_eq!(refused(&|terms| terms.evidence = vec![String::new(); 257]), TermsFault::TooMany { what: "places to read it up" });
    assert_eq!(refused(&|terms| terms.covers_at_most = 0), TermsFault::CoversNothing(0));
    let without = |terms: &mut Terms| (terms.controls, terms.assumptions.controls_in_place) = (vec![], true);
    assert_eq!(refused(&without), TermsFault::NoControl);
    assert_eq!(refused(&|terms| terms.ends = day(0)), TermsFault::Over(day(0)));
    assert_eq!(refused(&|terms| terms.starts = Some(day(80))), TermsFault::EndsBeforeStart(day(80)));
    assert_eq!(refused(&|terms| terms.review_at = day(81)), TermsFault::Review(day(81)));
    let long = refused(&|terms| terms.ends = day(91));
    assert_eq!(long.to_string(), "it would hold for 91 days, and 90 is the most where it may cover high risks");
    // What was short enough when it was asked for is still judged when it is approved.
    let critical = Limits { band: Severity::Critical, ..LIMITS };
    let reviewed = after(&granted(None)[..3]);
    let taken = Taken { step: &Step::Approve, actor: "cem", at: day(3), expected_version: Some(3) };
    assert!(matches!(take(Some(&reviewed), taken, &critical), Err(Refusal::Terms(TermsFault::TooLong { most: 30, .. }))));
    let stale = take(Some(&reviewed), Taken { expected_version: Some(2), ..taken }, &LIMITS);
    assert_eq!(stale, Err(Refusal::Stale { expected: 2, now: 3 }));
}

#[test]
fn it_is_suspended_once_and_goes_back_through_review() {
    let active = after(&granted(None));
    assert_eq!(active.suspended(vec![], day(10), &LIMITS), None);
    let suspended = active.suspended(vec![Broken::ScoreAbove, Broken::InKev], day(10), &LIMITS).expect("it holds");
    assert_eq!((suspended.stage(day(10), &LIMITS), &suspended.broken), (Stage::Suspended, &vec![Broken::InKev, Broken::ScoreAbove]));
    assert_eq!(suspended.suspended(vec![Broken::ControlEnded], day(11), &LIMITS), None);
    let requested = by(Some(&suspended), "ana", 12, &Step::Request).expect("back to review");
    assert!(
        matches!(by(Some(&requested), "cem", 13, &Step::Approve), Err(Refusal::NotNow { .. })),
        "who approved before has to see a review"
    );
    let reviewed = by(Some(&requested), "ben", 13, &Step::Review).expect("it is looked over");
    let again = by(Some(&reviewed), "cem", 14, &Step::Approve).expect("it is approved");
    assert_eq!((again.stage(day(14), &LIMITS), again.broken), (Stage::Active, vec![]));
}

prop_compose! {
    fn step()(
        kind in prop::sample::select(StepKind::ALL.to_vec()),
        actor in prop::sample::select(vec!["ana", "ben", "cem", "dan"]),
        later in 0..12_i64,
        starts in prop::option::weighted(0.3, 0..40_i64),
        lasts in 1..100_i64,
        breaks in prop::bool::weighted(0.1),
    ) -> (StepKind, &'static str, i64, Option<i64>, i64, bool) {
        (kind, actor, later, starts, lasts, breaks)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// However people go: what holds was asked for, looked over and approved by three, ends in time, and what has ended stays so.
    #[test]
    fn nothing_holds_that_three_people_did_not_bring_there(steps in vec(step(), 1..60)) {
        let (mut known, mut today): (Option<Exception>, i64) = (None, 0);
        for (kind, actor, later, starts, lasts, breaks) in steps {
            today += later;
            if breaks && let Some(suspended) = known.as_ref().and_then(|known| known.suspended(vec![Broken::InKev], day(today), &LIMITS)) {
                prop_assert_eq!(suspended.stage(day(today), &LIMITS), Stage::Suspended);
                known = Some(suspended);
            }
            let (review_at, ends) = (day(today + lasts), day(today + lasts));
            let step = match kind {
                StepKind::Propose => Step::Propose(Box::new(Terms { starts: starts.map(|days| day(today + days)), review_at, ends, ..terms() })),
                StepKind::Renew => Step::Renew(NewEnd { review_at, ends }),
                other => step_of(other),
            };
            let before = known.as_ref().map(|known| known.stage(day(today), &LIMITS));
            match by(known.as_ref(), actor, today, &step) {
                Ok(now) => {
                    prop_assert!(!matches!(before, Some(Stage::Rejected | Stage::Withdrawn | Stage::Revoked)), "{:?} after its end", kind);
                    prop_assert_eq!(now.version, known.as_ref().map_or(0, |known| known.version) + 1);
                    known = Some(now);
                }
                Err(Refusal::NotNow { stage, .. }) => prop_assert_eq!(Some(stage), before),
                Err(_) => {}
            }
            let Some(exception) = &known else { continue };
            // At any time, without anybody: it holds within what three people gave it, and changes only when it says so.
            let mut at = day(today);
            for _ in 0..6 {
                if exception.stage(at, &LIMITS).holds() {
                    let people = [&exception.requested_by, &exception.reviewed_by, &exception.approved_by];
                    let names: BTreeSet<&str> = people.iter().map(|name| name.as_str()).filter(|name| !name.is_empty()).collect();
                    prop_assert_eq!(names.len(), 3, "{:?}", exception);
                    let approved = exception.approved_at.expect("who approved it did so at a time");
                    prop_assert!(at >= approved && at < exception.terms.ends);
                    let begins = exception.terms.starts.map_or(approved, |starts| starts.max(approved));
                    prop_assert!(exception.terms.ends <= begins.plus_days(90));
                }
                let Some(due) = exception.due(at, &LIMITS) else { break };
                prop_assert!(due > at);
                let before = Timestamp::from_millis(due.millis() - 1);
                prop_assert_eq!(exception.stage(before, &LIMITS), exception.stage(at, &LIMITS), "until {:?}", due);
                at = due;
            }
        }
    }
}
