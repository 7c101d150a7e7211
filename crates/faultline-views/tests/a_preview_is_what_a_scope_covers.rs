//! What an exception would cover is told before anybody asks for it: by the meaning of its scope, and of what the asker may see.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use common::{Owned, apply, finding, finding_id, finding_record, member, node, risk, risk_record, service};
use faultline_model::exception::Scope;
use faultline_model::id::Id;
use faultline_model::locus::{Locus, Package};
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::risk::{self, Risk, RiskState};
use faultline_views::{Bodies, BodySource, Bounds, Options, SourceError, Views, Within};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// A place that no rule matches.
const LOST: &str = "unassigned/repo:github.com/acme/lost";
const SERVICES: [&str; 3] = ["shop", "pay", LOST];
const PACKAGES: [&str; 2] = ["pkg:maven/org.example/parser", "pkg:npm/left-pad"];
const ASSETS: [&str; 2] = ["repo:github.com/acme/shop", "repo:github.com/acme/app"];

fn organisation() -> Vec<Owned> {
    vec![node("retail", ""), node("bank", ""), service("shop", &["retail"]), service("pay", &["bank"])]
}

/// The services that a name of a scope reaches.
fn reached(name: &str) -> &'static [&'static str] {
    match name {
        "retail" | "service/shop" => &["shop"],
        "bank" | "service/pay" => &["pay"],
        "service/unassigned/repo:github.com/acme/lost" => &[LOST],
        _ => &[],
    }
}

/// A risk, and those of its findings that an exception may name: at home in it and at its anchor.
#[derive(Clone, Debug)]
struct Made {
    risk: Risk,
    named: BTreeSet<Id>,
}

fn any_made() -> impl Strategy<Value = Made> {
    let who = (select(&SERVICES[..]), 0_u32..6, 0_i32..6, select(&RiskState::ALL[..]));
    // Others by number: whether they are at the anchor, and at home.
    let others = btree_map(6_u32..10, (any::<bool>(), any::<bool>()), 0..3);
    let what = (
        vec(select(&["CVE-1", "CVE-2", "ghsa-a"][..]), 0..3),
        proptest::option::of(select(&PACKAGES[..])),
        select(&ASSETS[..]),
        select(&["sql-injection", "xxe"][..]),
    );
    (who, others, what).prop_map(|((service, founder, hundreds, state), others, (vulnerabilities, package, asset, family))| {
        let mut risk = risk(service, founder, hundreds * 170);
        let mut named = BTreeSet::from([risk.founder]);
        for (number, (is_anchor, is_home)) in others {
            let id = finding_id(number);
            risk.findings.push(member_of(id, is_home));
            risk.also.extend(is_anchor.then(|| risk::id_of(service, id)));
            if is_anchor && is_home {
                named.insert(id);
            }
        }
        risk.also.sort_unstable();
        (risk.state, risk.family, risk.asset) = (state, family.into(), common::asset(asset));
        risk.vulnerabilities = vulnerabilities.into_iter().map(Into::into).collect();
        if let Some(purl) = package {
            risk.anchor = in_package(purl);
        }
        Made { risk, named }
    })
}

/// A finding beside the founder.
fn member_of(finding: Id, is_home: bool) -> risk::Member {
    risk::Member { is_home, ..member(finding, "zap", ScanKind::Dast) }
}

fn in_package(purl: &str) -> Locus {
    Locus::Package(Package { purl: purl.into(), version: "1.2.3".into(), manifest: "pom.xml".into(), layer: String::new() })
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let maybe = |names: &'static [&'static str]| prop_oneof![2 => Just(""), 1 => select(names)].prop_map(String::from);
    let founders = prop_oneof![2 => Just(Vec::new()), 1 => vec((0_u32..11).prop_map(finding_id), 1..4)];
    let names = &["retail", "bank", "nowhere", "service/shop", "service/unassigned/repo:github.com/acme/lost"][..];
    let within = prop_oneof![1 => Just(Vec::new()), 1 => vec(select(names).prop_map(String::from), 1..3)];
    let assets = &["repo:github.com/acme/app", "repo:github.com/acme/shop", "no asset"];
    let packages = &["pkg:maven/org.example/parser", "pkg:npm/left-pad", "pkg:npm/unheard-of"];
    (founders, maybe(&["cve-1", "GHSA-A", "CVE-9"]), maybe(packages), maybe(assets), maybe(&["xxe", "other:1"]), within).prop_map(
        |(founders, vulnerability, package, asset, family, within)| Scope { founders, vulnerability, package, asset, family, within },
    )
}

/// Whose rows may be seen, and the services that these are.
fn withins() -> Vec<(Within, &'static [&'static str])> {
    let part = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    vec![
        (Within::everything(), &SERVICES),
        (Within::parts([part(&["retail", "bank"])]), &["shop", "pay"]),
        (Within::parts([part(&["retail", "bank"]), part(&["service/pay"])]), &["pay"]),
        (Within::parts([part(&["nowhere"])]), &[]),
        (Within::parts([part(&[])]), &[]),
    ]
}

/// The scope, read aloud.
fn is_covered(scope: &Scope, Made { risk, named }: &Made) -> bool {
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    let purl = if let Locus::Package(at) = &risk.anchor { at.purl.as_str() } else { "" };
    let has_vulnerability = risk.vulnerabilities.iter().any(|id| id.eq_ignore_ascii_case(&scope.vulnerability));
    let names = [&scope.vulnerability, &scope.package, &scope.asset, &scope.family];
    let is_meant = if scope.founders.is_empty() {
        names.iter().any(|name| !name.is_empty())
            && (scope.vulnerability.is_empty() || has_vulnerability)
            && is(&scope.package, purl)
            && is(&scope.asset, risk.asset.as_str())
            && is(&scope.family, &risk.family)
    } else {
        scope.founders.iter().any(|id| named.contains(id))
    };
    let is_reached = scope.within.is_empty() || scope.within.iter().any(|name| reached(name).contains(&risk.service.as_str()));
    is_meant && is_reached && [RiskState::Open, RiskState::Accepted].contains(&risk.state)
}

/// A log of risks.
struct Log(HashMap<String, Vec<u8>>);

impl BodySource for Log {
    fn newest(&self, _: &'static str, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(key).cloned())
    }
}

fn log(records: &[Owned]) -> Bodies {
    Bodies::Elsewhere(Arc::new(Log(records.iter().map(|record| (record.key.clone(), record.value.clone().unwrap())).collect())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_preview_is_a_plain_filter(
        made in vec(any_made(), 1..30),
        scopes in vec((any_scope(), select(withins()), 0_usize..5), 10),
        tight in proptest::option::of((1_u32..8, 0_u32..8, 0_u32..8)),
        is_elsewhere: bool,
    ) {
        let expected: BTreeMap<Id, Made> = made.into_iter().map(|made| (made.risk.risk, made)).collect();
        let records: Vec<Owned> = expected.values().map(|made| risk_record(&made.risk)).collect();
        let bounds = tight.map_or_else(Bounds::default, |(scan_rows, text_rows, driven_rows)| Bounds { scan_rows, text_rows, driven_rows });
        let bodies = if is_elsewhere { log(&records) } else { Bodies::Here };
        let views = Views::in_memory_with(Options { bounds, bodies, ..Options::default() }).unwrap();
        apply(&views, &organisation());
        apply(&views, &records);
        let had: BTreeSet<(&str, u32)> = SERVICES.into_iter().flat_map(|service| (0..10).map(move |number| (service, number))).collect();
        let findings: Vec<Owned> = had.into_iter().map(|(service, number)| finding_record(&finding(service, number, Severity::High))).collect();
        apply(&views, &findings);
        for (scope, (within, services), most) in scopes {
            let seen = expected.values().filter(|made| services.contains(&made.risk.service.as_str()));
            let mut wanted: Vec<Risk> = seen.filter(|made| is_covered(&scope, made)).map(|made| made.risk.clone()).collect();
            wanted.sort_by_key(|risk| (-risk.score.total, risk.risk));
            let count = wanted.len() as u64;
            let found = views.covered(&scope, &within, most).unwrap();
            prop_assert!(found.is_exact || (tight.is_some() && found.count <= count), "{:?} of {}", found, count);
            prop_assert!(found.risks.len() <= most && found.risks.iter().all(|risk| wanted.contains(risk)));
            prop_assert!(found.risks.is_sorted_by_key(|risk| (-risk.score.total, risk.risk)));
            if found.is_exact {
                wanted.truncate(most);
                prop_assert_eq!((found.count, &found.risks), (count, &wanted));
            }
        }
    }
}

fn by_founder(number: u32) -> Scope {
    Scope { founders: vec![finding_id(number)], ..Scope::default() }
}

fn by_package() -> Scope {
    Scope { package: PACKAGES[0].into(), ..Scope::default() }
}

#[test]
fn no_more_bodies_are_read_than_rows_for_a_text() {
    let bounds = Bounds { text_rows: 3, ..Bounds::default() };
    let views = Views::in_memory_with(Options { bounds, ..Options::default() }).unwrap();
    let risks: Vec<Owned> =
        (0..5).map(|number| risk_record(&Risk { anchor: in_package(PACKAGES[0]), ..risk("shop", number, 500) })).collect();
    apply(&views, &risks);
    for number in 0..5 {
        apply(&views, &[finding_record(&finding("shop", number, Severity::High))]);
    }
    let all = Scope { founders: (0..5).map(finding_id).collect(), ..Scope::default() };
    for scope in [by_package(), all] {
        let found = views.covered(&scope, &Within::everything(), 2).unwrap();
        assert_eq!((found.count, found.is_exact, found.risks.len()), (3, false, 2), "{scope:?}");
    }
    let three = Scope { founders: (0..3).map(finding_id).collect(), ..Scope::default() };
    let found = views.covered(&three, &Within::everything(), 2).unwrap();
    assert_eq!((found.count, found.is_exact), (3, true));
}

#[test]
fn a_scope_that_names_nothing_covers_nothing() {
    let views = Views::in_memory().unwrap();
    apply(&views, &[risk_record(&risk("shop", 1, 500))]);
    let found = views.covered(&Scope::default(), &Within::everything(), 5).unwrap();
    assert_eq!((found.count, found.is_exact, found.risks), (0, true, Vec::new()));
}

#[test]
fn what_the_log_has_since_counts_and_what_cannot_be_read_may_be_one_more() {
    let kept = Risk { anchor: in_package(PACKAGES[0]), ..risk("shop", 1, 500) };
    let closed = Risk { state: RiskState::Closed, ..Risk { anchor: in_package(PACKAGES[0]), ..risk("shop", 2, 600) } };
    let strange = risk("shop", 3, 700);
    let key = |risk: &Risk| risk::key(&risk.service, risk.risk);
    let mut newest: HashMap<String, Vec<u8>> =
        [&kept, &closed].map(|risk| (key(risk), risk_record(risk).value.unwrap())).into_iter().collect();
    newest.insert(key(&strange), vec![0, 0, 0, 0, 6, 0xff]);
    let views = Views::in_memory_with(Options { bodies: Bodies::Elsewhere(Arc::new(Log(newest))), ..Options::default() }).unwrap();
    let before = Risk { state: RiskState::Open, ..closed };
    apply(&views, &[risk_record(&kept), risk_record(&before), risk_record(&strange)]);
    apply(&views, &[1, 2, 3].map(|number| finding_record(&finding("shop", number, Severity::High))));
    let count = |scope: &Scope| {
        let found = views.covered(scope, &Within::everything(), 5).unwrap();
        assert!(found.risks.iter().all(|risk| *risk == kept));
        (found.count, found.is_exact)
    };
    assert_eq!(count(&by_package()), (1, false));
    assert_eq!((count(&by_founder(1)), count(&by_founder(2)), count(&by_founder(3))), ((1, true), (0, true), (0, false)));
}
