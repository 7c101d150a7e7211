//! A reader is shown the rows of its own part of the organisation. Of the others it is not told that there are any.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use common::{
    Owned, apply, asset, finding, finding_id, finding_record, gone, line, line_record, member, node, outcome, risk, risk_record, service,
};
use faultline_model::asset::AssetId;
use faultline_model::catalog::service_key;
use faultline_model::decision::OutcomeStatus;
use faultline_model::id::{Id, IdPrefix};
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::risk;
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_model::tracked::TrackedFinding;
use faultline_views::{
    Bodies, BodySource, Bounds, FindingFilter, Named, Options, RiskFilter, SourceError, Step, Total, Trace, Views, Within, Written,
};

/// A place that no rule matches.
const LOST: &str = "unassigned/repo:github.com/acme/lost";

/// Service, founder and score of each risk, in the order of the list.
const RISKS: [(&str, u32, i32); 4] = [(LOST, 4, 900), ("search", 3, 700), ("pay", 2, 600), ("shop", 1, 500)];

/// Findings that risks cite beside their founder.
const CITED: [(&str, u32); 3] = [("search", 5), ("search", 6), ("shop", 5)];

/// Service, number and asset of each finding, and whether the service owns it; owners before users.
const FINDINGS: [(&str, u32, &str, bool); 8] = [
    ("shop", 1, "shop", true),
    ("pay", 2, "pay", true),
    ("search", 3, "search", true),
    (LOST, 4, "lost", true),
    ("shop", 5, "shared", true),
    ("search", 5, "shared", false),
    ("pay", 6, "shared", true),
    ("search", 7, "borrowed", false),
];

/// Whose rows may be seen, and what these are.
struct Case {
    within: Within,
    services: &'static [&'static str],
    nodes: &'static [&'static str],
}

fn within(parts: &[&[&str]]) -> Within {
    Within::parts(parts.iter().map(|part| part.iter().map(ToString::to_string).collect::<BTreeSet<String>>()))
}

fn case(parts: &[&[&str]], services: &'static [&'static str], nodes: &'static [&'static str]) -> Case {
    Case { within: within(parts), services, nodes }
}

fn cases() -> Vec<Case> {
    vec![
        case(&[], &["pay", "search", "shop", LOST], &["checkout", "discovery", "retail"]),
        case(&[&["retail"]], &["pay", "search", "shop"], &["checkout", "discovery", "retail"]),
        case(&[&["checkout"]], &["pay", "shop"], &["checkout"]),
        case(&[&["checkout", "discovery"]], &["pay", "search", "shop"], &["checkout", "discovery"]),
        case(&[&["service/search"]], &["search"], &[]),
        case(&[&["discovery", "service/shop"]], &["search", "shop"], &["discovery"]),
        case(&[&["retail"], &["discovery"]], &["search"], &["discovery"]),
        case(&[&["checkout"], &["discovery", "service/pay"]], &["pay"], &[]),
        case(&[&["checkout"], &["discovery"]], &[], &[]),
        case(&[&["retail"], &[]], &[], &[]),
        case(&[&[]], &[], &[]),
        case(&[&["nobody", "service/nothing"]], &[], &[]),
        case(&[&[LOST, "unassigned", "service/unassigned/repo:github.com/acme/lost"]], &[], &[]),
    ]
}

fn repo(name: &str) -> AssetId {
    asset(&format!("repo:github.com/acme/{name}"))
}

fn finding_in(service: &str, number: u32, of: &str, is_owner: bool) -> TrackedFinding {
    TrackedFinding { asset: repo(of), is_owner, ..finding(service, number, Severity::High) }
}

fn risk_of(service: &str, founder: u32) -> Id {
    risk::id_of(service, finding_id(founder))
}

/// The id of a risk that the one of `pay` took in.
fn absorbed() -> Id {
    risk_of("pay", 20)
}

fn scan() -> Id {
    Id::of("test scan", &[b"1"])
}

fn decision() -> Id {
    Id::of("test decision", &[b"1"])
}

/// Two teams of one node, their three services, and a place of nobody.
fn filled(driven_rows: u32) -> Views {
    let bounds = Bounds { driven_rows, ..Bounds::default() };
    let views = Views::in_memory_with(Options { bounds, ..Options::default() }).unwrap();
    let mut records = vec![
        node("retail", ""),
        node("checkout", "retail"),
        node("discovery", "retail"),
        service("shop", &["checkout", "retail"]),
        service("pay", &["checkout", "retail"]),
        service("search", &["discovery", "retail"]),
    ];
    records.extend(FINDINGS.iter().map(|(service, number, of, is_owner)| finding_record(&finding_in(service, *number, of, *is_owner))));
    records.extend(RISKS.iter().map(|(service, founder, score)| {
        let mut risk = risk(service, *founder, *score);
        let cited = CITED.iter().filter(|(citing, _)| citing == service);
        risk.findings.extend(cited.map(|(_, number)| member(finding_id(*number), "zap", ScanKind::Dast)));
        risk.also.extend((*service == "pay").then(absorbed));
        risk_record(&risk)
    }));
    records.extend(["shop", "pay"].map(|service| line_record(&line(service, scan(), 5_000))));
    records.push(outcome(&scan().to_string(), OutcomeStatus::Done, &repo("shop")));
    records.push(outcome(&decision().to_string(), OutcomeStatus::Done, &repo("search")));
    apply(&views, &records);
    views
}

/// The views, read by the index of services, and by the lists' own.
fn both_ways() -> [Views; 2] {
    [filled(5_000), filled(0)]
}

fn first_digits(id: Id) -> IdPrefix {
    id.to_string()[..8].parse().unwrap()
}

/// The services of risks that a reader sees in the list.
fn listed(views: &Views, within: &Within) -> Vec<String> {
    let filter = RiskFilter { within: within.clone(), ..RiskFilter::default() };
    views.risks(&filter, None, 10).unwrap().items.into_iter().map(|risk| risk.service).collect()
}

#[test]
fn lists_and_their_totals_are_of_what_may_be_seen() {
    for views in both_ways() {
        for Case { within, services, .. } in cases() {
            let wanted: Vec<&str> = RISKS.iter().map(|(service, ..)| *service).filter(|service| services.contains(service)).collect();
            assert_eq!(listed(&views, &within), wanted, "{within:?}");
            let filter = RiskFilter { within: within.clone(), ..RiskFilter::default() };
            let total = Some(Total { count: wanted.len() as u64, is_exact: true });
            assert_eq!(views.risks(&filter, None, 10).unwrap().total, total, "by tallies {within:?}");
            let counted = RiskFilter { min_score: Some(1), ..filter };
            assert_eq!(views.risks(&counted, None, 10).unwrap().total, total, "by counting {within:?}");

            let owned = FINDINGS.iter().filter(|(service, _, _, is_owner)| *is_owner && services.contains(service));
            let mut wanted: Vec<Id> = owned.map(|(_, number, ..)| finding_id(*number)).collect();
            wanted.sort_unstable();
            let page = views.findings(&FindingFilter { within: within.clone(), ..FindingFilter::default() }, None, 10).unwrap();
            assert_eq!(page.total, Some(Total { count: wanted.len() as u64, is_exact: true }), "{within:?}");
            let found: Vec<Id> = page.items.into_iter().map(|listed| listed.finding.finding).collect();
            assert_eq!(found, wanted, "{within:?}");
        }
    }
}

#[test]
fn a_service_or_a_node_that_is_asked_for_is_restricted_too() {
    for views in both_ways() {
        let found = |filter: RiskFilter| -> Vec<String> {
            views.risks(&filter, None, 10).unwrap().items.into_iter().map(|risk| risk.service).collect()
        };
        let checkout = within(&[&["checkout"]]);
        let of = |service: &str| RiskFilter { service: Some(service.into()), within: checkout.clone(), ..RiskFilter::default() };
        assert_eq!(found(of("pay")), ["pay"]);
        assert!(found(of("search")).is_empty() && found(of(LOST)).is_empty());
        let below = |node: &str| RiskFilter { node: Some(node.into()), within: checkout.clone(), ..RiskFilter::default() };
        assert_eq!(found(below("retail")), ["pay", "shop"]);
        assert!(found(below("discovery")).is_empty());
        let used = |within: Within| {
            let filter = FindingFilter { service: Some("search".into()), within, ..FindingFilter::default() };
            views.findings(&filter, None, 10).unwrap().items.len()
        };
        assert_eq!((used(within(&[&["discovery"]])), used(checkout.clone())), (3, 0));
    }
}

#[test]
fn the_organisation_and_its_counts_are_of_what_may_be_seen() {
    let views = filled(5_000);
    for Case { within, services, nodes } in cases() {
        let open = |node: Option<&str>| views.summary(node, &within).unwrap().by_state[0].1;
        let below = |among: &[&str]| services.iter().filter(|service| among.contains(service)).count();
        assert_eq!(open(None), services.len() as u64, "{within:?}");
        assert_eq!(open(Some("retail")), below(&["shop", "pay", "search"]) as u64, "{within:?}");
        assert_eq!(open(Some("checkout")), below(&["shop", "pay"]) as u64, "{within:?}");

        let ids = |node: Option<&str>| -> BTreeSet<String> {
            views.services(node, &within).unwrap().into_iter().map(|service| service.id).collect()
        };
        assert_eq!(ids(None), services.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), "{within:?}");
        assert_eq!(ids(Some("checkout")).len(), below(&["shop", "pay"]), "{within:?}");
        assert_eq!(views.unassigned(&within).unwrap().len(), below(&[LOST]), "{within:?}");

        assert_eq!(views.node_ids(&within).unwrap(), nodes, "{within:?}");
        let summaries = views.nodes(&within).unwrap();
        assert_eq!(summaries.iter().map(|node| node.node.id.as_str()).collect::<Vec<_>>(), nodes, "{within:?}");
        for node in summaries {
            let all = views.summary(Some(&node.node.id), &Within::everything()).unwrap();
            assert_eq!(node.summary, all, "a node is seen with all that stands below it: {within:?}");
        }
    }
}

#[test]
fn an_id_outside_is_unknown() {
    let views = filled(5_000);
    for Case { within, services, .. } in cases() {
        for (service, founder, _) in RISKS {
            let id = risk_of(service, founder);
            let seen = services.contains(&service).then_some(service);
            assert_eq!(views.risk(id, &within).unwrap().map(|risk| risk.service).as_deref(), seen, "{within:?}");
            let trace = views.trace(id, &within).unwrap();
            assert_eq!(trace.risks.first().map(|risk| risk.service.as_str()), seen, "{within:?}");
            assert_eq!(trace == Trace::default(), seen.is_none(), "{within:?}");
            let named: Vec<Id> = seen.map(|_| id).into_iter().collect();
            assert_eq!(views.ids(first_digits(id), Named::Risk, &within).unwrap(), named, "{within:?}");
            assert_eq!(views.ids(first_digits(id), Named::Anything, &within).unwrap(), named, "{within:?}");
        }
        for number in 1..=8 {
            let id = finding_id(number);
            let having = FINDINGS.iter().filter(|(service, of, ..)| *of == number && services.contains(service));
            let having: Vec<&str> = having.map(|(service, ..)| *service).collect();
            let found = views.finding(id, &within).unwrap().map(|listed| listed.finding.service);
            assert_eq!(found.as_deref(), having.first().copied(), "{number} {within:?}");
            let named: Vec<Id> = having.first().map(|_| id).into_iter().collect();
            assert_eq!(views.ids(first_digits(id), Named::Finding, &within).unwrap(), named, "{number} {within:?}");

            let has = |service: &str, founder: u32| founder == number || CITED.contains(&(service, number));
            let risks = RISKS.iter().filter(|(service, founder, _)| services.contains(service) && has(service, *founder));
            let risks: Vec<&str> = risks.map(|(service, ..)| *service).collect();
            let of_finding = views.risks_of_finding(id, &within).unwrap();
            assert_eq!(of_finding.iter().map(|risk| risk.service.as_str()).collect::<Vec<_>>(), risks, "{number} {within:?}");
            let trace = views.trace(id, &within).unwrap();
            let in_services: Vec<&str> = trace.findings.iter().map(|listed| listed.finding.service.as_str()).collect();
            assert_eq!((in_services, &trace.risks), (having, &of_finding), "{number} {within:?}");
        }
    }
}

#[test]
fn an_id_that_leads_to_several_risks_leads_to_one_that_may_be_seen() {
    let views = filled(5_000);
    let led_to = |id, parts: &[&[&str]]| views.risk(id, &within(parts)).unwrap().map(|risk| risk.service);
    assert_eq!(led_to(finding_id(5), &[]).as_deref(), Some("search"));
    assert_eq!(led_to(finding_id(5), &[&["checkout"]]).as_deref(), Some("shop"));
    assert_eq!(led_to(finding_id(5), &[&["service/pay"]]), None);
    assert_eq!(led_to(absorbed(), &[&["checkout"]]).as_deref(), Some("pay"));
    assert_eq!(led_to(absorbed(), &[&["discovery"]]), None);
    let named = |id, parts: &[&[&str]]| views.ids(first_digits(id), Named::Risk, &within(parts)).unwrap();
    assert_eq!((named(absorbed(), &[&["checkout"]]), named(absorbed(), &[&["discovery"]])), (vec![absorbed()], Vec::new()));
}

#[test]
fn a_report_is_shown_by_the_services_that_it_was_of() {
    let views = filled(5_000);
    let seen = |id, parts: &[&[&str]]| {
        let trace = views.trace(id, &within(parts)).unwrap();
        let lines: BTreeSet<String> = trace.lines.into_iter().map(|line| line.service).collect();
        (trace.outcome.is_some(), lines.into_iter().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(seen(scan(), &[]), (true, "pay shop".into()));
    assert_eq!(seen(scan(), &[&["checkout"]]), (true, "pay shop".into()));
    assert_eq!(seen(scan(), &[&["service/shop"]]), (true, "shop".into()));
    assert_eq!(seen(scan(), &[&["service/pay"]]), (false, "pay".into()), "its asset has findings of the shop only");
    assert_eq!(views.trace(scan(), &within(&[&["discovery"]])).unwrap(), Trace::default());
    assert_eq!(seen(decision(), &[&["discovery"]]), (true, String::new()));
    assert_eq!(views.trace(decision(), &within(&[&["checkout"]])).unwrap(), Trace::default());

    let named = |id, of, parts: &[&[&str]]| views.ids(first_digits(id), of, &within(parts)).unwrap();
    for of in [Named::Scan, Named::Anything] {
        assert_eq!((named(scan(), of, &[]), named(scan(), of, &[&["service/pay"]])), (vec![scan()], vec![scan()]));
        assert!(named(scan(), of, &[&["discovery"]]).is_empty());
        assert_eq!(named(decision(), of, &[]), [decision()]);
        assert!(named(decision(), of, &[&["retail"]]).is_empty(), "an outcome has no service");
    }
}

/// A log that has what it was given, all written at once.
struct Log(HashMap<(&'static str, String), Vec<u8>>);

impl BodySource for Log {
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(&(topic, key.to_owned())).cloned())
    }

    fn written(&self, topic: &'static str, key: &str) -> Result<Option<Written>, SourceError> {
        let is_known = self.0.contains_key(&(topic, key.to_owned()));
        Ok(is_known.then_some(Written { partition: 0, offset: 0, at: Timestamp::from_millis(5) }))
    }

    fn written_at(&self, _: &'static str, _: u32, _: u64) -> Result<Option<Timestamp>, SourceError> {
        Ok(Some(Timestamp::from_millis(9)))
    }

    fn came(&self, _: &AssetId, _: Id, _: Timestamp) -> Result<Option<Timestamp>, SourceError> {
        Ok(Some(Timestamp::from_millis(1)))
    }
}

#[test]
fn times_are_of_what_is_shown() {
    let records: Vec<Owned> = vec![
        service("shop", &["checkout"]),
        service("search", &["discovery"]),
        finding_record(&finding("shop", 1, Severity::High)),
        finding_record(&finding("search", 2, Severity::High)),
        risk_record(&risk("shop", 1, 500)),
        risk_record(&risk("search", 2, 500)),
        line_record(&line("shop", scan(), 5)),
        line_record(&line("search", scan(), 5)),
        outcome(&scan().to_string(), OutcomeStatus::Done, &repo("shop")),
    ];
    let log = Log(records.iter().map(|record| ((record.topic, record.key.clone()), record.value.clone().unwrap())).collect());
    let views = Views::in_memory_with(Options { bodies: Bodies::Elsewhere(Arc::new(log)), ..Options::default() }).unwrap();
    apply(&views, &records);
    let correlated = |id, parts: &[&[&str]]| -> BTreeSet<Id> {
        let times = views.trace(id, &within(parts)).unwrap().times;
        times.into_iter().filter(|moment| moment.step == Step::Correlate).map(|moment| moment.id).collect()
    };
    let (of_shop, of_search) = (risk_of("shop", 1), risk_of("search", 2));
    assert_eq!(correlated(scan(), &[]), BTreeSet::from([of_shop, of_search]));
    assert_eq!(correlated(scan(), &[&["checkout"]]), BTreeSet::from([of_shop]));
    assert_eq!(correlated(of_search, &[&["discovery"]]), BTreeSet::from([of_search]));
    assert_eq!(views.trace(of_search, &within(&[&["checkout"]])).unwrap(), Trace::default());
    assert_eq!(views.trace(scan(), &within(&[&["nobody"]])).unwrap(), Trace::default());
}

#[test]
fn an_asset_is_shown_by_any_of_its_findings_and_owned_by_all_owners_of_them() {
    let views = filled(5_000);
    let mut preview = finding_in("shop", 9, "draft", true);
    preview.is_preview = true;
    apply(&views, &[finding_record(&preview)]);
    let of = |name: &str, parts: &[&[&str]]| {
        let within = within(parts);
        (views.shows_asset(&repo(name), &within).unwrap(), views.owns_asset(&repo(name), &within).unwrap())
    };
    for name in ["shop", "shared", "lost", "unheard-of"] {
        assert_eq!(of(name, &[]), (true, true), "{name}");
        assert_eq!(of(name, &[&[]]), (false, false), "{name}");
    }
    assert_eq!(of("shop", &[&["service/shop"]]), (true, true));
    assert_eq!(of("shop", &[&["service/pay"]]), (false, false));
    assert_eq!(of("shared", &[&["checkout"]]), (true, true), "its owners are shop and pay; that search uses it does not matter");
    assert_eq!(of("shared", &[&["service/shop"]]), (true, false), "pay owns a part of it");
    assert_eq!(of("shared", &[&["discovery"]]), (true, false), "search only uses it");
    assert_eq!(of("borrowed", &[&["discovery"]]), (true, false), "nobody is known to own it");
    assert_eq!(of("draft", &[&["service/shop"]]), (true, true), "a preview is its owner's too");
    assert_eq!(of("draft", &[&["discovery"]]), (false, false));
    assert_eq!((of("lost", &[&["retail"]]), of("unheard-of", &[&["retail"]])), ((false, false), (false, false)));
}

#[test]
fn a_reorganisation_shows_other_rows_at_once() {
    let views = filled(5_000);
    let (checkout, discovery, pay) = (within(&[&["checkout"]]), within(&[&["discovery"]]), within(&[&["service/pay"]]));
    apply(&views, &[service("pay", &["discovery", "retail"])]);
    assert_eq!((listed(&views, &checkout), listed(&views, &discovery)), (vec!["shop".into()], vec!["search".into(), "pay".into()]));
    assert_eq!(listed(&views, &pay), ["pay"], "a service by its own name, wherever it stands");
    assert_eq!(views.risk(risk_of("pay", 2), &checkout).unwrap(), None);
    assert_eq!(views.summary(None, &discovery).unwrap().by_state[0].1, 2);

    apply(&views, &[gone(topic::CATALOG, service_key("pay"))]);
    assert_eq!(listed(&views, &discovery), ["search"]);
    assert!(listed(&views, &pay).is_empty(), "what left the catalog stands below nothing");
    assert_eq!(listed(&views, &Within::everything()).len(), RISKS.len());

    apply(&views, &[node("discovery", "checkout")]);
    assert_eq!(views.node_ids(&checkout).unwrap(), ["checkout", "discovery"]);
    apply(&views, &[node("checkout", "discovery")]);
    assert_eq!(views.node_ids(&within(&[&["retail"]])).unwrap(), ["retail"], "a circle ends");
    assert_eq!(views.node_ids(&discovery).unwrap(), ["checkout", "discovery"]);
}

#[test]
fn a_cursor_fits_the_reader_that_it_was_made_for() {
    for views in both_ways() {
        let risks = |within: &Within| RiskFilter { within: within.clone(), ..RiskFilter::default() };
        let findings = |within: &Within| FindingFilter { within: within.clone(), ..FindingFilter::default() };
        let (retail, checkout) = (within(&[&["retail"], &["checkout", "discovery"]]), within(&[&["checkout"]]));
        let cursor = views.risks(&risks(&retail), None, 1).unwrap().next.unwrap();
        let same = within(&[&["discovery", "checkout"], &["retail"]]);
        assert_eq!(views.risks(&risks(&same), Some(&cursor), 10).unwrap().items.len(), 2, "the order of names and parts does not matter");
        let cursor_of_findings = views.findings(&findings(&retail), None, 1).unwrap().next.unwrap();
        assert_eq!(views.findings(&findings(&same), Some(&cursor_of_findings), 10).unwrap().items.len(), 4);
        for other in [checkout, Within::everything()] {
            let error = views.risks(&risks(&other), Some(&cursor), 10).unwrap_err().to_string();
            assert!(error.contains("another filter"), "{error}");
            let error = views.findings(&findings(&other), Some(&cursor_of_findings), 10).unwrap_err().to_string();
            assert!(error.contains("another filter"), "{error}");
        }
    }
}
