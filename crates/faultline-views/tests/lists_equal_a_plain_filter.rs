//! Whatever is asked and however it is paged, a list is what a plain filter over all records gives.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{apply, band_of, exception_id, finding_id, gone, member, risk, risk_record};
use faultline_model::catalog::{CatalogRecord, Service, service_key};
use faultline_model::fixed;
use faultline_model::id::Id;
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::risk::{Covering, EvidenceState, Risk, RiskState};
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_views::{Bounds, Options, RiskFilter, Total, Views, Within};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const SERVICES: [&str; 3] = ["shop", "mobile", "unassigned/repo:github.com/acme/old"];
const STATES: [RiskState; 4] = RiskState::ALL;
const EVIDENCE: [EvidenceState; 3] = [EvidenceState::Reported, EvidenceState::Corroborated, EvidenceState::Verified];

/// Risks that differ in everything that is filtered by, from small pools so that filters meet them.
fn any_risk() -> impl Strategy<Value = Risk> {
    let who = (select(&SERVICES[..]), 0_u32..12, 0_i32..6);
    let what = (select(&STATES[..]), select(&EVIDENCE[..]), select(&["sql-injection", "xxe"][..]), select(&["", "ana", "ben"][..]));
    let seen = (vec((12_u32..15, select(&["zap", "trivy"][..])), 0..3), vec(select(&["CVE-1", "CVE-2", "GHSA-a"][..]), 0..3), 0_i64..4);
    let excepted = vec((0_u32..3, any::<bool>()), 0..3);
    let named = (
        select(&["100% broken", "Path_traversal", "path traversal"][..]),
        select(&["repo:github.com/acme/shop", "repo:github.com/acme/app"][..]),
    );
    (who, what, seen, named, excepted).prop_map(
        |((service, founder, hundreds), (state, evidence, family, assigned), (others, ids, day), (title, asset), excepted)| {
            let mut risk = risk(service, founder, hundreds * 170);
            (risk.state, risk.evidence, risk.family, risk.assigned_to) = (state, evidence, family.into(), assigned.into());
            for (number, tool) in others {
                let kind = if tool == "zap" { ScanKind::Dast } else { ScanKind::Sca };
                risk.findings.push(member(finding_id(number), tool, kind));
            }
            risk.vulnerabilities = ids.into_iter().map(Into::into).collect();
            risk.first_seen = Timestamp::from_millis(day);
            (risk.title, risk.asset) = (title.into(), common::asset(asset));
            let covering = |(number, at_anchor)| Covering { exception: exception_id(number), at_anchor, broken: Vec::new() };
            risk.exceptions = excepted.into_iter().map(covering).collect();
            risk
        },
    )
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop_oneof![2 => Just(None), 1 => select(values).prop_map(Some)]
}

/// Whose rows may be seen, and the services that these are: the catalog has the shop only.
fn withins() -> Vec<(Within, &'static [&'static str])> {
    let part = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let (all, shop, none): (&'static [&'static str], &'static [&'static str], &'static [&'static str]) = (&SERVICES, &["shop"], &[]);
    vec![
        (Within::everything(), all),
        (Within::parts([part(&["retail"])]), shop),
        (Within::parts([part(&["no-node", "service/shop"]), part(&["retail"])]), shop),
        (Within::parts([part(&["retail"]), part(&["service/mobile"])]), none),
        (Within::parts([part(&[])]), none),
    ]
}

fn any_within() -> impl Strategy<Value = Within> {
    let some: Vec<Within> = withins().into_iter().map(|(within, _)| within).collect();
    prop_oneof![2 => Just(Within::everything()), 1 => select(some)]
}

fn any_filter() -> impl Strategy<Value = RiskFilter> {
    let codes = (vec(select(&STATES[..]), 0..3), vec(select(&Severity::ALL[..]), 0..3), vec(select(&EVIDENCE[..]), 0..2));
    let names =
        (maybe(&["shop", "mobile", "nowhere"]), maybe(&["retail", "no-node"]), maybe(&["zap", "semgrep", "no-tool"]), maybe(&["xxe"]));
    let more =
        (maybe(&[ScanKind::Sca, ScanKind::Dast]), maybe(&["cve-1", "GHSA-A", "CVE-9"]), maybe(&["", "ana"]), maybe(&["0%", "PATH_", "x"]));
    let bounds =
        (maybe(&[340, 341]), maybe(&[1_i64]), maybe(&[3_i64]), maybe(&["repo:github.com/acme/app"]), maybe(&[0_u32, 1, 9]), any_within());
    (codes, names, more, bounds).prop_map(
        |((states, bands, evidence), (service, node, tool, family), (kind, vulnerability, assigned_to, text), bounds)| {
            let (min_score, from, before, asset, exception, within) = bounds;
            RiskFilter {
                states,
                bands,
                evidence,
                family: family.map(Into::into),
                service: service.map(Into::into),
                node: node.map(Into::into),
                tool: tool.map(Into::into),
                kind,
                asset: asset.map(common::asset),
                vulnerability: vulnerability.map(Into::into),
                exception: exception.map(exception_id),
                assigned_to: assigned_to.map(Into::into),
                text: text.map(Into::into),
                min_score,
                first_seen_from: from.map(Timestamp::from_millis),
                first_seen_before: before.map(Timestamp::from_millis),
                within,
            }
        },
    )
}

/// The filter, read aloud.
fn holds(filter: &RiskFilter, risk: &Risk) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let has = |wanted: Option<&String>, values: Vec<&str>| {
        wanted.is_none_or(|wanted| values.iter().any(|value| value.eq_ignore_ascii_case(wanted)))
    };
    (filter.states.is_empty() || filter.states.contains(&risk.state))
        && (filter.bands.is_empty() || filter.bands.contains(&risk.score.band))
        && (filter.evidence.is_empty() || filter.evidence.contains(&risk.evidence))
        && is(&filter.family, &risk.family)
        && is(&filter.service, &risk.service)
        && filter.node.as_ref().is_none_or(|node| node == "retail" && risk.service == "shop")
        && has(filter.tool.as_ref(), risk.findings.iter().map(|member| member.tool.as_str()).collect())
        && filter.kind.is_none_or(|kind| risk.findings.iter().any(|member| member.kind == kind))
        && filter.asset.as_ref().is_none_or(|asset| *asset == risk.asset)
        && has(filter.vulnerability.as_ref(), risk.vulnerabilities.iter().map(String::as_str).collect())
        && filter.exception.is_none_or(|id| risk.exceptions.iter().any(|covering| covering.exception == id))
        && is(&filter.assigned_to, &risk.assigned_to)
        && filter.text.as_ref().is_none_or(|text| risk.title.to_ascii_lowercase().contains(&text.to_ascii_lowercase()))
        && filter.min_score.is_none_or(|score| risk.score.total >= score)
        && filter.first_seen_from.is_none_or(|from| risk.first_seen >= from)
        && filter.first_seen_before.is_none_or(|before| risk.first_seen < before)
        && withins().iter().any(|(within, services)| *within == filter.within && services.contains(&risk.service.as_str()))
}

/// All pages of a list, one after the other, and the total that the first one names.
fn all_pages(views: &Views, filter: &RiskFilter, limit: usize) -> (Vec<Risk>, Total) {
    let first = views.risks(filter, None, limit).unwrap();
    let (mut items, mut next) = (first.items, first.next);
    while let Some(cursor) = next {
        let page = views.risks(filter, Some(&cursor), limit).unwrap();
        assert!(page.items.len() <= limit && page.total.is_none());
        items.extend(page.items);
        next = page.next;
    }
    (items, first.total.unwrap())
}

fn shop() -> common::Owned {
    let service = Service {
        id: "shop".into(),
        name: "Shop".into(),
        parent: "retail".into(),
        tier: 1,
        exposure: "internet".into(),
        data: Vec::new(),
        owners: Vec::new(),
        path: vec!["retail".into()],
    };
    common::put(topic::CATALOG, service_key("shop"), CatalogRecord::Service(service))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pages_of_risks_are_a_sorted_plain_filter(
        history in vec((any_risk(), any::<bool>()), 1..40),
        filters in vec((any_filter(), 1_usize..5), 8),
        batch in 1_usize..20,
        (scan_rows, text_rows, driven_rows) in (1_u32..8, 1_u32..8, 0_u32..8),
    ) {
        let bounds = Bounds { scan_rows, text_rows, driven_rows };
        let views = Views::in_memory_with(Options { bounds, ..Options::default() }).unwrap();
        let mut expected: BTreeMap<Id, Risk> = BTreeMap::new();
        let mut records = vec![shop()];
        for (risk, goes) in history {
            if goes && expected.remove(&risk.risk).is_some() {
                records.push(gone(topic::RISKS, faultline_model::risk::key(&risk.service, risk.risk)));
            } else {
                records.push(risk_record(&risk));
                expected.insert(risk.risk, risk);
            }
        }
        for part in records.chunks(batch) {
            apply(&views, part);
        }
        for (filter, limit) in filters {
            let mut wanted: Vec<Risk> = expected.values().filter(|risk| holds(&filter, risk)).cloned().collect();
            wanted.sort_by_key(|risk| (-risk.score.total, risk.risk));
            let (found, total) = all_pages(&views, &filter, limit);
            prop_assert_eq!(&found, &wanted);
            let wanted = wanted.len() as u64;
            prop_assert!(total.count == wanted || (total.count < wanted && !total.is_exact), "{:?} of {}", total, wanted);
        }
        let open = || expected.values().filter(|risk| risk.state == RiskState::Open);
        let summary = views.summary(None, &Within::everything()).unwrap();
        let losses: u64 = open().map(|risk| fixed::loss(risk.score.total as u16)).sum();
        prop_assert_eq!(summary.roll_up, fixed::roll_up(losses));
        for (state, risks) in summary.by_state {
            prop_assert_eq!(risks, expected.values().filter(|risk| risk.state == state).count() as u64);
        }
        for (band, risks) in summary.open_by_band {
            prop_assert_eq!(risks, open().filter(|risk| band_of(risk.score.total) == band).count() as u64);
        }
        for risk in expected.values() {
            let stored = views.risk(risk.risk, &Within::everything()).unwrap();
            prop_assert_eq!(stored.as_ref(), Some(risk));
            // Without records of findings, those that a risk does not found lead to it.
            let finding = risk.findings.last().unwrap().finding;
            let has = |other: &&Risk| other.founder != finding && other.findings.iter().any(|member| member.finding == finding);
            let mut wanted: Vec<Risk> = expected.values().filter(has).cloned().collect();
            wanted.sort_by_key(|risk| (-risk.score.total, risk.risk));
            prop_assert_eq!(views.risks_of_finding(finding, &Within::everything()).unwrap(), wanted);
        }
    }
}
