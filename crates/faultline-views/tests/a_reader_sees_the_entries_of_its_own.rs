//! Of the risk register a reader sees the entries that reach nothing outside its own part of the organisation.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Owned, apply, asset, entry, entry_gone, entry_record, exception_id, gone, node, outcome_of_step, risk, risk_record, service};
use faultline_model::catalog::{node_key, service_key};
use faultline_model::decision::Outcome;
use faultline_model::exception::Stage;
use faultline_model::id::{Id, IdPrefix};
use faultline_model::register::{Attention, RegisterEntry};
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_views::{Bounds, Named, Options, RegisterFilter, Total, Trace, ViewError, ViewRecord, Views, Within};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The names that the catalog has, each with itself and all above it. A parent of `stray` is not there.
const ABOVE: [(&str, &[&str]); 9] = [
    ("acme", &["acme"]),
    ("retail", &["retail", "acme"]),
    ("checkout", &["checkout", "retail", "acme"]),
    ("bank", &["bank", "acme"]),
    ("empty", &["empty", "checkout", "retail", "acme"]),
    ("stray", &["stray", "ghost"]),
    ("service/shop", &["service/shop", "checkout", "retail", "acme"]),
    ("service/search", &["service/search", "retail", "acme"]),
    ("service/pay", &["service/pay", "bank", "acme"]),
];

/// All of these, and what the catalog does not have.
const NAMES: [&str; 11] =
    ["acme", "retail", "checkout", "bank", "empty", "stray", "service/shop", "service/search", "service/pay", "ghost", "service/ghost"];

fn organisation() -> Vec<Owned> {
    vec![
        node("acme", ""),
        node("retail", "acme"),
        node("checkout", "retail"),
        node("bank", "acme"),
        node("empty", "checkout"),
        node("stray", "ghost"),
        service("shop", &["checkout", "retail", "acme"]),
        service("search", &["retail", "acme"]),
        service("pay", &["bank", "acme"]),
    ]
}

/// A name with all above it; nothing for one that the catalog does not have.
fn above(name: &str) -> &'static [&'static str] {
    ABOVE.iter().find(|(known, _)| *known == name).map_or(&[], |(_, above)| above)
}

type Parts = Vec<Vec<&'static str>>;

fn within(parts: &[Vec<&str>]) -> Within {
    Within::parts(parts.iter().map(|part| part.iter().map(ToString::to_string).collect::<BTreeSet<String>>()))
}

fn one(names: &[&'static str]) -> Within {
    within(&[names.to_vec()])
}

/// The rule, read aloud.
fn is_seen(entry: &RegisterEntry, parts: &Parts) -> bool {
    let names = &entry.terms.scope.within;
    let stands = |name: &str, part: &[&str]| above(name).iter().any(|above| part.contains(above));
    parts.is_empty() || (!names.is_empty() && names.iter().all(|name| parts.iter().all(|part| stands(name, part))))
}

fn is_near(entry: &RegisterEntry, node: &str) -> bool {
    let names = &entry.terms.scope.within;
    let touches = |name: &String| name == node || above(name).contains(&node) || above(node).contains(&name.as_str());
    names.is_empty() || names.iter().any(touches)
}

fn any_entry() -> impl Strategy<Value = RegisterEntry> {
    let times = || select(&[-5_i64, 0, 70_000, 1_800_000_000_000, 1_800_000_000_001][..]).prop_map(Timestamp::from_millis);
    let counts = (0_i32..12, 0_i32..2, 0_i32..12);
    (0_u32..12, select(&Stage::ALL[..]), times(), times(), counts, vec(select(&NAMES[..]), 0..4)).prop_map(
        |(number, stage, review_at, ends, (risks, contested, covers_at_most), names)| {
            let mut entry = entry(number, &names);
            (entry.stage, entry.risks, entry.contested) = (stage, risks, contested);
            (entry.terms.review_at, entry.terms.ends, entry.terms.covers_at_most) = (review_at, ends, covers_at_most);
            entry
        },
    )
}

fn any_parts() -> impl Strategy<Value = Parts> {
    prop_oneof![1 => Just(Vec::new()), 3 => vec(vec(select(&NAMES[..]), 0..4), 1..3)]
}

fn all_pages(views: &Views, filter: &RegisterFilter, now: Timestamp, limit: usize) -> (Vec<RegisterEntry>, Total) {
    let first = views.register(filter, now, None, limit).unwrap();
    let (mut items, mut next) = (first.items, first.next);
    while let Some(cursor) = next {
        let page = views.register(filter, now, Some(&cursor), limit).unwrap();
        assert!(page.items.len() <= limit && page.total.is_none());
        items.extend(page.items);
        next = page.next;
    }
    (items, first.total.unwrap())
}

fn first_digits(id: Id) -> IdPrefix {
    id.to_string()[..8].parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn pages_of_the_register_are_a_sorted_plain_filter(
        history in vec((any_entry(), any::<bool>()), 1..30),
        filters in vec((vec(select(&Stage::ALL[..]), 0..4), proptest::option::of(select(&NAMES[..])), any_parts(), 1_usize..5), 8),
        attention in vec((vec(select(&Attention::ALL[..]), 0..4), select(&[0_i64, 80_000, 1_800_000_000_000][..])), 8),
        scan_rows in prop_oneof![1_u32..8, Just(50_000)],
        is_organised_first: bool,
    ) {
        let bounds = Bounds { scan_rows, ..Bounds::default() };
        let views = Views::in_memory_with(Options { bounds, ..Options::default() }).unwrap();
        let mut expected: BTreeMap<Id, RegisterEntry> = BTreeMap::new();
        let mut records = if is_organised_first { organisation() } else { Vec::new() };
        for (entry, goes) in history {
            if goes && expected.remove(&entry.entry).is_some() {
                records.push(entry_gone(entry.entry));
            } else {
                records.push(entry_record(&entry));
                expected.insert(entry.entry, entry);
            }
        }
        apply(&views, &records);
        if !is_organised_first {
            apply(&views, &organisation());
        }
        for ((stages, node, parts, limit), (attention, now)) in filters.into_iter().zip(attention) {
            let now = Timestamp::from_millis(now);
            let holds = |entry: &&RegisterEntry| {
                (attention.is_empty() || entry.attention(now).iter().any(|why| attention.contains(why)))
                    && (stages.is_empty() || stages.contains(&entry.stage))
                    && node.is_none_or(|node| is_near(entry, node))
                    && is_seen(entry, &parts)
            };
            let mut wanted: Vec<RegisterEntry> = expected.values().filter(holds).cloned().collect();
            wanted.sort_by_key(|entry| (entry.terms.ends, entry.entry));
            let attention = attention.clone();
            let filter = RegisterFilter { stages: stages.clone(), node: node.map(Into::into), attention, within: within(&parts) };
            let (found, total) = all_pages(&views, &filter, now, limit);
            prop_assert_eq!(&found, &wanted);
            for entry in expected.values() {
                let reaches = views.reaches(&entry.terms.scope.within, &filter.within).unwrap();
                prop_assert_eq!(reaches, is_seen(entry, &parts), "who reaches all names of an entry sees it");
            }
            let wanted = wanted.len() as u64;
            prop_assert!(total.count == wanted || (total.count < wanted && !total.is_exact), "{:?} of {}", total, wanted);
            prop_assert!(total.is_exact || scan_rows < 8);

            for number in 0..12 {
                let id = exception_id(number);
                let seen = expected.get(&id).filter(|entry| is_seen(entry, &parts));
                let found = views.register_entry(id, &filter.within).unwrap();
                prop_assert_eq!(found.as_ref(), seen);
                let named: Vec<Id> = seen.map(|entry| entry.entry).into_iter().collect();
                prop_assert_eq!(views.ids(first_digits(id), Named::Exception, &filter.within).unwrap(), named);
                prop_assert_eq!(views.ids(first_digits(id), Named::Anything, &filter.within).unwrap(), Vec::new());
            }
        }
    }
}

#[test]
fn an_entry_at_or_below_is_seen_and_one_above_beside_or_everywhere_is_not() {
    let views = Views::in_memory().unwrap();
    apply(&views, &organisation());
    let sees = |names: &[&str], within: &Within| {
        apply(&views, &[entry_record(&entry(1, names))]);
        let listed = views
            .register(&RegisterFilter { within: within.clone(), ..RegisterFilter::default() }, Timestamp::from_millis(0), None, 10)
            .unwrap();
        let found = views.register_entry(exception_id(1), within).unwrap();
        assert_eq!(listed.items.first(), found.as_ref());
        assert_eq!(listed.total, Some(Total { count: listed.items.len() as u64, is_exact: true }));
        found.is_some()
    };
    let retail = one(&["retail"]);
    assert!(sees(&["retail"], &retail), "at");
    assert!(sees(&["checkout"], &retail) && sees(&["empty"], &retail) && sees(&["service/shop"], &retail), "below");
    assert!(!sees(&["acme"], &retail), "above");
    assert!(!sees(&["bank"], &retail) && !sees(&["service/pay"], &retail), "beside");
    assert!(!sees(&["checkout", "bank"], &retail), "reaches beside too");
    assert!(!sees(&["checkout", "ghost"], &retail) && !sees(&["ghost"], &one(&["ghost"])), "nobody knows where that is");
    assert!(!sees(&[], &retail) && !sees(&[], &one(&["acme"])), "everywhere");
    assert!(!sees(&["retail"], &one(&[])) && !sees(&[], &one(&[])), "a reader of nothing");
    let both = within(&[vec!["retail"], vec!["checkout", "bank"]]);
    assert!(sees(&["service/shop"], &both) && !sees(&["service/search"], &both) && !sees(&["bank"], &both), "of every part");
    assert!(sees(&["bank", "service/shop"], &one(&["checkout", "bank"])), "one name here, one there");
    for names in [&[][..], &["ghost"], &["acme", "service/ghost"]] {
        assert!(sees(names, &Within::everything()));
    }
}

#[test]
fn a_scope_may_name_what_a_reader_sees_of_the_catalog() {
    let views = Views::in_memory().unwrap();
    apply(&views, &organisation());
    apply(&views, &[risk_record(&risk("unassigned/repo:github.com/acme/lost", 1, 500))]);
    let lost = "service/unassigned/repo:github.com/acme/lost";
    let known = |within: &Within| {
        let of = |name: &str| views.unknown_name(&[name.to_owned()], within).unwrap().is_none();
        ABOVE.iter().map(|(name, _)| *name).chain([lost, "nowhere", "service/nowhere"]).filter(|name| of(name)).collect::<BTreeSet<_>>()
    };
    let all: BTreeSet<&str> = ABOVE.iter().map(|(name, _)| *name).collect();
    let with_services: BTreeSet<&str> = all.iter().copied().chain([lost]).collect();
    assert_eq!(known(&Within::everything()), with_services);
    assert_eq!(known(&one(&["retail"])), BTreeSet::from(["retail", "checkout", "empty", "service/shop", "service/search"]));
    assert_eq!(known(&one(&[])), BTreeSet::new());
    let names = ["retail", "ghost", "bank"].map(str::to_owned);
    assert_eq!(views.unknown_name(&names, &Within::everything()).unwrap().as_deref(), Some("ghost"), "the first is told");
}

#[test]
fn a_reorganisation_shows_other_entries_at_once() {
    let views = Views::in_memory().unwrap();
    apply(&views, &organisation());
    apply(&views, &[entry_record(&entry(1, &["checkout"])), entry_record(&entry(2, &["service/shop"]))]);
    let seen = |name: &'static str| -> BTreeSet<Id> {
        let filter = RegisterFilter { within: one(&[name]), ..RegisterFilter::default() };
        views.register(&filter, Timestamp::from_millis(0), None, 10).unwrap().items.into_iter().map(|entry| entry.entry).collect()
    };
    let (of_node, of_service) = (exception_id(1), exception_id(2));
    assert_eq!((seen("retail"), seen("bank")), (BTreeSet::from([of_node, of_service]), BTreeSet::new()));
    apply(&views, &[node("checkout", "bank"), service("shop", &["checkout", "bank", "acme"])]);
    assert_eq!((seen("retail"), seen("bank")), (BTreeSet::new(), BTreeSet::from([of_node, of_service])));
    apply(&views, &[gone(topic::CATALOG, node_key("checkout")), gone(topic::CATALOG, service_key("shop"))]);
    assert_eq!((seen("bank"), seen("checkout"), seen("service/shop")), Default::default());
    apply(&views, &[node("checkout", "retail"), node("retail", "checkout")]);
    assert_eq!((seen("retail"), seen("acme")), (BTreeSet::from([of_node]), BTreeSet::new()), "a circle ends");
}

#[test]
fn the_end_of_a_step_is_shown_with_its_exception() {
    let views = Views::in_memory().unwrap();
    let step = |number: u32| Id::of("test step", &[&number.to_be_bytes()]);
    apply(&views, &organisation());
    apply(&views, &[entry_record(&entry(1, &["checkout"])), entry_record(&entry(2, &[]))]);
    let subjects = [Some(exception_id(1)), Some(exception_id(2)), Some(exception_id(3)), None];
    let steps: Vec<Owned> = (0..).zip(subjects).map(|(number, subject)| outcome_of_step(&step(number).to_string(), subject)).collect();
    apply(&views, &steps);
    let seen = |within: &Within| {
        [0, 1, 2, 3].map(|number| {
            let outcome = views.outcome(&step(number).to_string()).unwrap().unwrap();
            let shown = views.shown_outcome(outcome, within).unwrap();
            assert_eq!(views.trace(step(number), within).unwrap(), Trace { outcome: shown.clone(), ..Trace::default() });
            shown.is_some()
        })
    };
    assert!(seen(&Within::everything()) == [true; 4]);
    assert_eq!(seen(&one(&["retail"])), [true, false, false, false]);
    assert_eq!(seen(&one(&["acme"])), [true, false, false, false]);
    assert_eq!(seen(&one(&["bank"])), [false; 4]);
    assert_eq!(seen(&one(&[])), [false; 4]);
    // An asset counts before all else.
    let outcome = views.outcome(&step(0).to_string()).unwrap().unwrap();
    let outcome = Outcome { asset: Some(asset("repo:github.com/acme/unheard-of")), ..outcome };
    assert_eq!(views.shown_outcome(outcome, &one(&["retail"])).unwrap(), None);
}

#[test]
fn a_cursor_fits_its_reader_its_filter_and_the_register() {
    let views = Views::in_memory().unwrap();
    apply(&views, &organisation());
    apply(&views, &[entry_record(&entry(1, &["retail"])), entry_record(&entry(2, &["retail"]))]);
    let mine = RegisterFilter { within: one(&["retail"]), ..RegisterFilter::default() };
    let cursor = views.register(&mine, Timestamp::from_millis(0), None, 1).unwrap().next.unwrap();
    assert_eq!(views.register(&mine, Timestamp::from_millis(0), Some(&cursor), 1).unwrap().items.len(), 1);
    let error = |answer: Result<_, ViewError>| answer.map(|_: usize| ()).unwrap_err().to_string();
    let asked = |filter: &RegisterFilter| views.register(filter, Timestamp::from_millis(0), Some(&cursor), 1).map(|page| page.items.len());
    assert!(error(asked(&RegisterFilter::default())).contains("another filter"));
    assert!(error(asked(&RegisterFilter { stages: vec![Stage::Active], ..mine.clone() })).contains("another filter"));
    let risks = views.risks(&faultline_views::RiskFilter::default(), Some(&cursor), 1).map(|page| page.items.len());
    assert!(error(risks).contains("another list"));
}

#[test]
fn a_bad_entry_is_named_and_blocks_nobody() {
    let views = Views::in_memory().unwrap();
    let good = entry_record(&entry(1, &[]));
    let record = |offset, key, value| ViewRecord { topic: "risk-registry", partition: 0, offset, key, value: Some(value) };
    let value = good.value.as_deref().unwrap();
    let batch = [record(0, b"no id", value), record(1, good.key.as_bytes(), b"no avro"), record(2, good.key.as_bytes(), value)];
    let applied = views.apply(&batch).unwrap();
    assert_eq!((applied.applied, applied.unreadable), (1, 2));
    assert!(applied.named[0].reason.contains("no id"));
    assert_eq!(views.register(&RegisterFilter::default(), Timestamp::from_millis(0), None, 10).unwrap().items, [entry(1, &[])]);
}
