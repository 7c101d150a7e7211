//! Applied again, cut short, thrown away, moved: the views stay what the topics say.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{
    apply, apply_at, exception_id, finding, finding_id, finding_record, gone, line, line_record, member, node, outcome, put, risk,
    risk_record, service,
};
use faultline_model::catalog::{CatalogRecord, Head, service_key};
use faultline_model::decision::OutcomeStatus;
use faultline_model::id::Id;
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::partition::SEPARATOR;
use faultline_model::risk::{self, Covering, RiskState};
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_model::tracked::{self, FactKind, FindingState, GivenSeverity, TrackedRecord, Went};
use faultline_views::{Bodies, BodySource, FindingFilter, Options, RiskFilter, ViewRecord, Views, Within};

#[test]
fn a_batch_that_comes_again_changes_nothing() {
    let views = Views::in_memory().unwrap();
    let records = [risk_record(&risk("shop", 1, 500)), risk_record(&risk("shop", 2, 700))];
    apply_at(&views, 7, &records);
    let before = (views.positions().unwrap(), views.summary(None, &Within::everything()).unwrap());
    let again = apply_at(&views, 7, &records);
    assert_eq!((again.applied, again.repeated), (0, 2));
    assert_eq!((views.positions().unwrap(), views.summary(None, &Within::everything()).unwrap()), before);
    assert_eq!(before.0[&("risks".to_owned(), 0)], 9);
}

#[test]
fn a_bad_record_is_named_and_blocks_nobody() {
    let views = Views::in_memory().unwrap();
    let good = risk_record(&risk("shop", 1, 500));
    let key = format!("shop{SEPARATOR}{}", finding_id(9));
    let bad = |topic, key: &'static [u8], value| ViewRecord { topic, partition: 0, offset: 0, key, value: Some(value) };
    let batch = [
        ViewRecord { key: key.as_bytes(), ..bad("risks", b"", b"no avro") },
        ViewRecord { offset: 1, ..bad("risks", b"no key of a risk", good.value.as_deref().unwrap()) },
        bad("catalog", b"\xff", b""),
        bad("telepathy", b"", b""),
        ViewRecord { topic: "risks", partition: 0, offset: 2, key: good.key.as_bytes(), value: good.value.as_deref() },
    ];
    let applied = views.apply(&batch).unwrap();
    assert_eq!((applied.applied, applied.unreadable), (1, 4));
    assert!(applied.named[0].reason.contains("wire format") && applied.named[1].offset == 1);
    assert_eq!(views.risks(&RiskFilter::default(), None, 10).unwrap().items.len(), 1);
    assert_eq!(views.positions().unwrap()[&("risks".to_owned(), 0)], 3);
}

#[test]
fn a_file_is_found_again_and_one_of_another_version_is_filled_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.sqlite");
    let open = || Views::open(&path, Options::default()).unwrap();
    let views = open();
    apply(&views, &[risk_record(&risk("shop", 1, 500))]);
    drop(views);
    let views = open();
    assert_eq!((views.positions().unwrap().len(), views.risks(&RiskFilter::default(), None, 10).unwrap().items.len()), (1, 1));
    views.clear().unwrap();
    assert!(views.positions().unwrap().is_empty() && views.risks(&RiskFilter::default(), None, 10).unwrap().items.is_empty());
    apply(&views, &[risk_record(&risk("shop", 2, 500))]);
    drop(views);

    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 999).unwrap();
    drop(raw);
    assert!(open().positions().unwrap().is_empty());

    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("views.sqlite{suffix}")));
    }
    std::fs::write(&path, "this is no database, whatever its name may say; it is long enough to have a header").unwrap();
    assert!(open().positions().unwrap().is_empty());
}

#[test]
fn readers_of_a_file_see_each_batch_once_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::open(&folder.path().join("views.sqlite"), Options::default()).unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    views.after_apply(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    for number in 1..=20 {
        apply(&views, &[risk_record(&risk("shop", number, 500))]);
        let page = views.risks(&RiskFilter::default(), None, 1).unwrap();
        assert_eq!(page.total.unwrap().count, u64::from(number));
        assert_eq!(heard.load(Ordering::SeqCst), number as usize);
    }
}

#[test]
fn a_first_fill_in_large_batches_lists_like_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::open(&folder.path().join("views.sqlite"), Options::default()).unwrap();
    let records: Vec<_> = (0..5000).map(|number| risk_record(&risk("shop", number, (number % 1000) as i32))).collect();
    apply(&views, &records);
    let page = views.risks(&RiskFilter { service: Some("shop".into()), ..RiskFilter::default() }, None, 7).unwrap();
    assert_eq!((page.total.unwrap().count, page.items.len(), page.items[6].score.total), (5000, 7, 998));
}

#[test]
fn a_finding_that_went_is_removed_where_it_was_and_found_where_it_is() {
    let views = Views::in_memory().unwrap();
    let here = finding("shop", 1, Severity::High);
    let mut there = finding("mobile", 1, Severity::High);
    apply(&views, &[finding_record(&here), finding_record(&there)]);
    there.is_owner = false;
    apply(&views, &[finding_record(&there)]);
    let services = |filter: &FindingFilter| -> Vec<String> {
        views.findings(filter, None, 10).unwrap().items.into_iter().map(|listed| listed.finding.service).collect()
    };
    let of = |service: &str| FindingFilter { service: Some(service.into()), ..FindingFilter::default() };
    assert_eq!(services(&FindingFilter::default()), ["shop"], "each finding once, at its owner");
    assert_eq!(services(&of("mobile")), ["mobile"], "a user is shown what it uses");
    let key = |service| tracked::key(service, FactKind::Finding, here.finding);
    apply(&views, &[put(topic::TRACKED, key("shop"), TrackedRecord::Went(Went { to: vec!["mobile".into()] }))]);
    assert_eq!(views.finding(here.finding, &Within::everything()).unwrap().unwrap().finding.service, "mobile");
    apply(&views, &[gone(topic::TRACKED, key("mobile"))]);
    assert_eq!(views.finding(here.finding, &Within::everything()).unwrap(), None);
}

#[test]
fn previews_and_closed_findings_are_shown_on_request_only() {
    let views = Views::in_memory().unwrap();
    let open = finding("shop", 1, Severity::Low);
    let mut preview = finding("shop", 2, Severity::High);
    preview.is_preview = true;
    let mut closed = finding("shop", 3, Severity::Critical);
    closed.state = FindingState::Closed;
    apply(&views, &[finding_record(&open), finding_record(&preview), finding_record(&closed)]);
    let ids = |filter: &FindingFilter| -> Vec<Id> {
        views.findings(filter, None, 10).unwrap().items.into_iter().map(|listed| listed.finding.finding).collect()
    };
    assert_eq!(ids(&FindingFilter::default()), [open.finding]);
    let everything = FindingFilter { with_previews: true, ..FindingFilter::everything() };
    assert_eq!(ids(&everything), [closed.finding, preview.finding, open.finding]);
    assert_eq!(ids(&FindingFilter { severities: vec![Severity::High], ..everything.clone() }), [preview.finding]);
    // What a person says of a severity counts, in the order of the list and for its filter.
    let (actor, reason, at) = ("ana".to_owned(), "a test fixture".to_owned(), Timestamp::from_millis(1));
    preview.severity = Some(GivenSeverity { severity: Severity::Info, actor, reason, at });
    apply(&views, &[finding_record(&preview)]);
    assert_eq!(ids(&everything), [closed.finding, open.finding, preview.finding]);
    assert_eq!(ids(&FindingFilter { severities: vec![Severity::Info], ..everything }), [preview.finding]);
    assert_eq!(views.finding(preview.finding, &Within::everything()).unwrap().unwrap().finding, preview);
}

#[test]
fn last_seen_is_the_newest_complete_scan_of_the_lines_that_have_it() {
    let views = Views::in_memory().unwrap();
    let scan = Id::of("scan", &[b"1"]);
    let line_of_scans = line("shop", scan, 5_000);
    let mut seen = finding("shop", 1, Severity::High);
    seen.lines = vec![line_of_scans.line];
    apply(&views, &[finding_record(&seen), finding_record(&finding("shop", 2, Severity::High)), line_record(&line_of_scans)]);
    let last_seen = |number| views.finding(finding_id(number), &Within::everything()).unwrap().unwrap().last_seen;
    assert_eq!((last_seen(1), last_seen(2)), (Some(Timestamp::from_millis(5_000)), None));
    assert_eq!(views.trace(scan, &Within::everything()).unwrap().lines, std::slice::from_ref(&line_of_scans));
    let newer = line("shop", Id::of("scan", &[b"2"]), 9_000);
    apply(&views, &[line_record(&newer)]);
    assert_eq!(last_seen(1), Some(Timestamp::from_millis(9_000)));
    assert!(views.trace(scan, &Within::everything()).unwrap().lines.is_empty(), "the line keeps that scan no longer");
    apply(&views, &[gone(topic::TRACKED, tracked::key("shop", FactKind::Line, newer.line))]);
    assert_eq!(last_seen(1), None);
}

#[test]
fn an_absorbed_risk_leads_to_the_one_that_took_it_in_and_a_finding_to_its_risk() {
    let views = Views::in_memory().unwrap();
    let mut merged = risk("shop", 1, 500);
    let absorbed = risk::id_of("shop", finding_id(2));
    merged.also = vec![absorbed];
    merged.findings.push(member(finding_id(2), "zap", ScanKind::Dast));
    apply(
        &views,
        &[risk_record(&merged), finding_record(&finding("shop", 1, Severity::High)), finding_record(&finding("shop", 2, Severity::High))],
    );
    assert_eq!(views.risk(absorbed, &Within::everything()).unwrap().as_ref(), Some(&merged));
    for number in [1, 2] {
        assert_eq!(views.trace(finding_id(number), &Within::everything()).unwrap().risks, std::slice::from_ref(&merged), "{number}");
    }
    merged.also.clear();
    merged.findings.pop();
    let split = risk("shop", 2, 400);
    apply(&views, &[risk_record(&merged), risk_record(&split)]);
    assert_eq!(views.risk(absorbed, &Within::everything()).unwrap().as_ref(), Some(&split));
    assert_eq!(views.risks_of_finding(finding_id(2), &Within::everything()).unwrap(), [split]);
}

#[test]
fn an_exception_leads_to_the_risks_that_name_it_and_what_is_accepted_is_not_open() {
    let views = Views::in_memory().unwrap();
    let mut excepted = risk("shop", 1, 500);
    apply(&views, &[service("shop", &["retail"]), risk_record(&excepted), risk_record(&risk("shop", 2, 500))]);
    let named = |number| -> Vec<Id> {
        let filter = RiskFilter { exception: Some(exception_id(number)), ..RiskFilter::everything() };
        views.risks(&filter, None, 10).unwrap().items.into_iter().map(|risk| risk.risk).collect()
    };
    let open = || {
        let summary = views.summary(None, &Within::everything()).unwrap();
        let accepted = summary.by_state.iter().find(|(state, _)| *state == RiskState::Accepted).unwrap().1;
        let listed = views.risks(&RiskFilter::default(), None, 10).unwrap().total.unwrap().count;
        (listed, views.services(None, &Within::everything()).unwrap()[0].open, accepted, summary.roll_up)
    };
    assert_eq!((named(1), open()), (vec![], (2, 2, 0, 600)));
    // Nothing else of the risk changes.
    let covering = |number, at_anchor| Covering { exception: exception_id(number), at_anchor, broken: Vec::new() };
    excepted.exceptions = vec![covering(1, false)];
    apply(&views, &[risk_record(&excepted)]);
    assert_eq!((named(1), named(2), open()), (vec![excepted.risk], vec![], (2, 2, 0, 600)), "contested, and open");
    (excepted.state, excepted.exceptions) = (RiskState::Accepted, vec![covering(2, true), covering(3, true)]);
    apply(&views, &[risk_record(&excepted)]);
    assert_eq!((named(1), named(2), named(3), open()), (vec![], vec![excepted.risk], vec![excepted.risk], (1, 1, 1, 500)));
    apply(&views, &[gone(topic::RISKS, risk::key("shop", excepted.risk))]);
    assert_eq!((named(2), open()), (vec![], (1, 1, 0, 500)));
}

#[test]
fn a_node_rolls_up_what_stands_below_it_after_a_move_too() {
    let views = Views::in_memory().unwrap();
    let head = Head { version: 3, applied: Timestamp::from_millis(1), actor: "ana".into(), digest: String::new() };
    apply(
        &views,
        &[
            node("acme", ""),
            node("retail", "acme"),
            node("bank", "acme"),
            service("shop", &["retail", "acme"]),
            service("pay", &["bank", "acme"]),
        ],
    );
    apply(&views, &[put(topic::CATALOG, "head", CatalogRecord::Head(head.clone()))]);
    let lost = "unassigned/repo:github.com/acme/lost";
    apply(&views, &[risk_record(&risk("shop", 1, 500)), risk_record(&risk("pay", 2, 500)), risk_record(&risk(lost, 3, 900))]);
    let roll_up = |node: &str| views.summary(Some(node), &Within::everything()).unwrap().roll_up;
    assert_eq!((roll_up("acme"), roll_up("retail"), roll_up("bank"), roll_up("nowhere")), (600, 500, 500, 0));
    apply(&views, &[service("shop", &["bank", "acme"])]);
    assert_eq!((roll_up("acme"), roll_up("retail"), roll_up("bank")), (600, 0, 600));
    let below = RiskFilter { node: Some("bank".into()), ..RiskFilter::default() };
    assert_eq!(views.risks(&below, None, 10).unwrap().total.unwrap().count, 2);

    let nodes: Vec<(String, u32)> =
        views.nodes(&Within::everything()).unwrap().into_iter().map(|node| (node.node.id, node.summary.roll_up)).collect();
    assert_eq!(nodes, [("acme".into(), 600), ("bank".into(), 600), ("retail".into(), 0)]);
    let services = |node| -> Vec<(String, u64)> {
        views.services(node, &Within::everything()).unwrap().into_iter().map(|service| (service.id, service.open)).collect()
    };
    assert_eq!(services(None), [(lost.into(), 1), ("pay".into(), 1), ("shop".into(), 1)]);
    assert_eq!(services(Some("retail")), []);
    let unassigned = views.unassigned(&Within::everything()).unwrap();
    assert_eq!((unassigned.len(), unassigned[0].id.as_str(), unassigned[0].roll_up), (1, lost, 900));
    assert_eq!(views.catalog_head().unwrap(), Some(head));
    apply(&views, &[gone(topic::CATALOG, service_key("shop")), gone(topic::RISKS, risk::key(lost, risk::id_of(lost, finding_id(3))))]);
    assert!(roll_up("bank") == 500 && views.unassigned(&Within::everything()).unwrap().is_empty());
}

#[test]
fn the_newest_outcomes_are_kept_up_to_their_bound() {
    let views = Views::in_memory_with(Options { outcomes_kept: 3, ..Options::default() }).unwrap();
    let shop = common::asset("repo:github.com/acme/shop");
    for id in ["1", "2", "3", "4"] {
        apply(&views, &[outcome(id, OutcomeStatus::Done, &shop)]);
    }
    apply(&views, &[outcome("2", OutcomeStatus::Refused, &shop)]);
    let status = |id| views.outcome(id).unwrap().map(|outcome| outcome.status);
    assert_eq!((status("1"), status("2"), status("4")), (None, Some(OutcomeStatus::Refused), Some(OutcomeStatus::Done)));
}

/// A log with one risk.
struct OneRisk(String, Vec<u8>);

impl BodySource for OneRisk {
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok((topic == "risks" && key == self.0).then(|| self.1.clone()))
    }
}

#[test]
fn bodies_may_stay_in_the_log_and_one_that_went_meanwhile_is_left_out() {
    let kept = risk("shop", 1, 500);
    let record = risk_record(&kept);
    let source = OneRisk(record.key.clone(), record.value.clone().unwrap());
    let views = Views::in_memory_with(Options { bodies: Bodies::Elsewhere(Arc::new(source)), ..Options::default() }).unwrap();
    apply(&views, &[record, risk_record(&risk("shop", 2, 700))]);
    let page = views.risks(&RiskFilter::default(), None, 10).unwrap();
    assert_eq!((page.items.as_slice(), page.total.unwrap().count), (std::slice::from_ref(&kept), 2));
    assert_eq!(views.risk(kept.risk, &Within::everything()).unwrap(), Some(kept));
}

/// A log whose bodies were written by a newer program.
struct Newer;

impl BodySource for Newer {
    fn newest(&self, _: &'static str, _: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Some(vec![0, 0, 0, 0, 6, 0xff]))
    }
}

#[test]
fn a_body_that_cannot_be_read_is_counted_and_takes_the_page_from_nobody() {
    let views = Views::in_memory_with(Options { bodies: Bodies::Elsewhere(Arc::new(Newer)), ..Options::default() }).unwrap();
    let one = risk("shop", 1, 500);
    apply(&views, &[risk_record(&one)]);
    let page = views.risks(&RiskFilter::default(), None, 10).unwrap();
    assert_eq!((page.items.len(), page.unreadable, page.total.unwrap().count), (0, 1, 1));
    assert!(views.risk(one.risk, &Within::everything()).unwrap_err().to_string().contains("newer program"));
}

#[test]
fn a_caller_is_told_what_is_wrong_with_a_cursor_or_a_text() {
    let views = Views::in_memory().unwrap();
    let error = |filter: &RiskFilter, cursor| views.risks(filter, cursor, 10).unwrap_err().to_string();
    assert!(error(&RiskFilter::default(), Some("c3zz")).contains("begin again without one"));
    assert!(error(&RiskFilter { text: Some("x".repeat(201)), ..RiskFilter::default() }, None).contains("200 bytes"));
}
