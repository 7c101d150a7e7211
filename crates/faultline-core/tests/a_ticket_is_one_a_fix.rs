//! The ticket policy: how it is read, which rule decides, and that a fix is one ticket whatever the order of its risks.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use faultline_core::catalog::{self, File};
use faultline_core::tickets::{Plan, Planned, TicketPolicy, Units};
use faultline_model::catalog::TICKETS_KEY;
use faultline_model::id::Id;
use faultline_model::risk::{EvidenceState, Risk, RiskState};
use faultline_model::testing::records;
use faultline_model::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

const POLICY: &str = r"
tickets:
  mode: watch
  queues:
    - { id: web, site: acme, project: SHOP, issue_type: Bug, fields: { labels: [security] }, open_at_most: 2, new_per_day: 1 }
    - { id: platform, site: acme, project: PLAT }
  rules:
    - { name: play, queue: none, when: { services: [playground] } }
    - { name: proved, queue: web, when: { nodes: [web-team], evidence: [verified] } }
    - { name: old, queue: platform, when: { first_seen_before: 2026-01-02, score_at_least: 100 } }
    - { name: high, queue: web, when: { score_at_least: 700, fixes: [upgrade, code] } }
";

fn units() -> Units<'static> {
    Units { nodes: ["web-team", "platform-team"].into(), services: ["shop", "pay", "playground"].into() }
}

fn policy() -> TicketPolicy {
    TicketPolicy::alone("t.yaml", POLICY, &units()).expect("a policy")
}

fn day(text: &str) -> Timestamp {
    text.parse().expect("a date")
}

fn fix(name: &str) -> Id {
    Id::of("fix", &[name.as_bytes()])
}

prop_compose! {
    /// An open risk of a few services and fixes, so that many share one.
    fn risk()(
        mut risk in records::risks(),
        service in select(vec!["shop", "pay", "playground"]),
        fixed in 0..6_u8,
        score in select(vec![0, 99, 100, 699, 700, 1000]),
        evidence in select(vec![EvidenceState::Reported, EvidenceState::Verified]),
        first_seen in select(vec!["2026-01-01", "2026-01-02", "2026-03-01"]),
        kind in select(vec!["upgrade", "base_image"]),
        founder in any::<u64>(),
    ) -> Risk {
        risk.state = RiskState::Open;
        risk.founder = Id::of("founder", &[&founder.to_be_bytes()]);
        (risk.service, risk.score.total, risk.evidence) = (service.into(), score, evidence);
        (risk.fix.fix, risk.fix.what, risk.fix.kind) = (Id::of("fix", &[&[fixed]]), format!("fix {fixed} of {}", founder % 3), kind.into());
        risk.first_seen = day(first_seen);
        risk
    }
}

fn one() -> Risk {
    let mut risk = risk().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).expect("a risk").current();
    (risk.service, risk.score.total, risk.evidence) = ("shop".into(), 500, EvidenceState::Reported);
    (risk.fix.fix, risk.fix.kind, risk.first_seen) = (fix("a"), "code".into(), day("2026-03-01"));
    risk
}

/// Shop and pay stand below the web team.
fn nodes(risk: &Risk) -> Vec<String> {
    if risk.service == "playground" { Vec::new() } else { vec!["web-team".into(), "retail".into()] }
}

fn planned(risks: &[Risk], owner: &BTreeMap<Id, String>) -> Planned {
    let mut plan = Plan::new(policy());
    for risk in risks {
        plan.add(risk.clone(), &nodes(risk)).expect("few tickets");
    }
    plan.end(|founder| Ok::<_, Infallible>(owner.get(&founder).cloned())).unwrap_or_else(|never| match never {})
}

#[test]
fn the_first_rule_that_fits_decides() {
    let policy = policy();
    let rule = |change: &dyn Fn(&mut Risk)| {
        let mut risk = one();
        change(&mut risk);
        policy.rule_for(&risk, &nodes(&risk)).map(|(_, rule)| (rule.name.as_str(), rule.queue()))
    };
    assert_eq!(rule(&|_| ()), None);
    assert_eq!(rule(&|risk| risk.score.total = 700), Some(("high", Some("web"))));
    assert_eq!(rule(&|risk| (risk.score.total, risk.fix.kind) = (1000, "rotate".into())), None);
    assert_eq!(rule(&|risk| risk.evidence = EvidenceState::Verified), Some(("proved", Some("web"))));
    assert_eq!(rule(&|risk| risk.first_seen = day("2026-01-01")), Some(("old", Some("platform"))));
    assert_eq!(rule(&|risk| risk.first_seen = day("2026-01-02")), None, "before a day is before it begins");
    assert_eq!(rule(&|risk| (risk.service, risk.score.total) = ("playground".into(), 1000)), Some(("play", None)));
    assert_eq!(rule(&|risk| (risk.state, risk.score.total) = (RiskState::Closed, 1000)), None);
}

#[test]
fn a_fix_of_several_queues_goes_to_who_owns_what_is_changed_else_to_the_first() {
    let mut proved = one();
    proved.evidence = EvidenceState::Verified;
    let mut old = one();
    (old.service, old.first_seen, old.founder) = ("pay".into(), day("2026-01-01"), Id::of("founder", &[b"old"]));
    let tickets = |planned: &Planned| planned.queues.iter().map(|queue| (queue.queue.clone(), queue.tickets)).collect::<Vec<_>>();
    let both = [proved.clone(), old.clone()];
    assert_eq!(tickets(&planned(&both, &BTreeMap::new())), [("web".into(), 0), ("platform".into(), 1)], "pay had it first");
    let owner = BTreeMap::from([(proved.founder, "shop".to_owned())]);
    let planned = planned(&both, &owner);
    assert_eq!(tickets(&planned), [("web".into(), 1), ("platform".into(), 0)]);
    assert_eq!((planned.queues[0].first[0].risks, &planned.queues[0].first[0].services), (2, &vec!["pay".to_owned(), "shop".to_owned()]));
}

#[test]
fn ceilings_hold_back_the_lowest_scores() {
    let risks: Vec<Risk> = (0..4)
        .map(|number| {
            let mut risk = one();
            (risk.fix.fix, risk.score.total) = (fix(&number.to_string()), 700 + number);
            risk
        })
        .collect();
    let planned = planned(&risks, &BTreeMap::new());
    let web = &planned.queues[0];
    assert_eq!((web.tickets, web.held_back, web.days), (4, 2, Some(2)));
    assert_eq!(web.first.iter().map(|ticket| ticket.score).collect::<Vec<_>>(), [703, 702, 701, 700]);
    assert_eq!(planned.queues[1].days, None);
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let yaml = r"
tickets:
  mode: soon
  queues:
    - { id: none, site: acme, project: A }
    - { id: web, site: acme, project: A, fields: { summary: x }, open_at_most: 0 }
    - { id: web, site: acme, project: B }
    - { id: late, project: B }
  rules:
    - { name: a, queue: wbe }
    - { name: a, queue: web, when: { nodes: [web-taem], evidence: [proved], score_at_least: 1001, first_seen_from: yesterday, score: 3 } }
    - { name: b, queue: web, when: { services: [shpo], families: [sql-injecton], fixes: [], nodes: } }
    - { name: c, queue: web, when: }
";
    let told = TicketPolicy::alone("t.yaml", yaml, &units()).expect_err("much is wrong").to_string();
    for part in [
        "tickets.mode is",
        "expected off, watch or on",
        "tickets.queues[0] is \"none\"",
        "tickets.queues[1].fields is \"summary\"",
        "tickets.queues[1].open_at_most is 0; expected a whole number from 1",
        "tickets.queues[2] is a second queue \"web\"",
        "tickets.queues[3].site is missing",
        "no queue \"wbe\"; expected web or none; did you mean \"web\"?",
        "tickets.rules[1] is a second rule \"a\"",
        "no unit \"web-taem\"; expected the id of a unit; did you mean \"web-team\"?",
        "tickets.rules[1].when.evidence is \"proved\"",
        "tickets.rules[1].when.score_at_least is 1001",
        "tickets.rules[1].when.first_seen_from is \"yesterday\"; expected a date",
        "tickets.rules[1].when.score is no known field",
        "no service \"shpo\"; expected the id of a service; did you mean \"shop\"?",
        "no weakness family \"sql-injecton\"; expected one, such as sql-injection; did you mean \"sql-injection\"?",
        "tickets.rules[2].when is fixes without anything",
        "tickets.rules[2].when is nodes without anything",
        "tickets.rules[3] is when without anything",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(TicketPolicy::alone("t.yaml", "services: []", &units()).expect_err("no tickets").to_string().contains("has no tickets"));
}

/// What is shown of a description is read again as the same records, the ticket policy among them.
#[test]
fn a_policy_stands_in_the_description_and_comes_back_from_it() {
    let organisation = "organisation: [{ id: retail, children: [{ id: web-team, kind: team, name: Web }] }]\nservices: [{ id: shop, parent: web-team }, { id: playground }]\n";
    let read =
        |text: &str| catalog::read(&[File { name: "acme.yaml".into(), text: text.into() }], &|name| Err(format!("there is no {name}")));
    let records = read(&format!("{organisation}{POLICY}")).expect("a description").records;
    assert!(records.contains_key(TICKETS_KEY));
    assert_eq!(read(&catalog::show(&records)).expect("what is shown is a description").records, records);
    assert_eq!(TicketPolicy::of_yaml(&policy().to_yaml()), Some(policy()));
    let misplaced = read(POLICY).expect_err("there are no units").to_string();
    assert!(misplaced.contains("no unit \"web-team\""), "{misplaced}");
}

proptest! {
    #[test]
    fn a_fix_is_one_ticket_whatever_the_order(mut risks in vec(risk(), 0..40), owned in vec(any::<bool>(), 40), seed in any::<u64>()) {
        let owner: BTreeMap<Id, String> =
            risks.iter().zip(owned).filter(|(_, is_owned)| *is_owned).map(|(risk, _)| (risk.founder, risk.service.clone())).collect();
        let before = planned(&risks, &owner);
        let policy = policy();
        let hits = |risk: &Risk| policy.rule_for(risk, &nodes(risk)).and_then(|(_, rule)| rule.queue().map(ToOwned::to_owned));
        let fixes: BTreeSet<Id> = risks.iter().filter(|risk| hits(risk).is_some()).map(|risk| risk.fix.fix).collect();
        prop_assert_eq!(before.queues.iter().map(|queue| queue.tickets).sum::<u64>(), fixes.len() as u64);
        let covered = risks.iter().filter(|risk| hits(risk).is_some()).count() as u64;
        prop_assert_eq!(before.queues.iter().map(|queue| queue.risks).sum::<u64>(), covered);
        prop_assert_eq!(before.rules.iter().map(|rule| rule.risks).sum::<u64>() + before.without_rule, risks.len() as u64);
        let at = (seed % (risks.len() as u64 + 1)) as usize;
        risks.rotate_left(at);
        risks.reverse();
        prop_assert_eq!(planned(&risks, &owner), before);
    }
}
