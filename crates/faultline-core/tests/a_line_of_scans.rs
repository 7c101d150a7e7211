//! What follows from a line of scans does not depend on the order in which they arrived, and closing needs a statement.

use std::collections::BTreeSet;

use faultline_core::track::line::{Numbers, Progress, Scan, ScanOrder, Scope, Standing, Subject, newest_shared_revision, standing};
use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use proptest::prelude::*;

fn id(name: u32) -> Id {
    Id::of("scan", &[&name.to_le_bytes()])
}

fn scan(name: u32, day: i64, scope: Scope, progress: Progress) -> Scan {
    let time = Timestamp::from_millis(day * 86_400_000);
    Scan { order: ScanOrder { as_of: time, started: time, id: id(name) }, revision: format!("r{day}"), scope, progress }
}

fn full() -> Scope {
    Scope { is_full: true, ..Scope::default() }
}

fn paths(paths: &[&str]) -> Scope {
    Scope { paths: paths.iter().map(|path| (*path).to_owned()).collect(), ..Scope::default() }
}

fn of<'a>(scans: &[Scan], path: &'a str, rule: &'a str, saw: &[u32]) -> Option<Standing> {
    let saw: BTreeSet<Id> = saw.iter().map(|name| id(*name)).collect();
    standing(scans, Subject { path, rule }, |scan| saw.contains(scan))
}

#[test]
fn closing_needs_a_statement() {
    use Progress::{Complete, Retracted, Unfinished};
    let first = scan(1, 1, full(), Complete);
    let later = |scope, progress| vec![first.clone(), scan(2, 2, scope, progress)];
    // (what the later scan was, whether it closes src/a.rs)
    for (what, scans, closes) in [
        ("an empty report without scope", later(Scope::default(), Complete), false),
        ("a full scan", later(full(), Complete), true),
        ("a full scan that was cut off", later(full(), Unfinished), false),
        ("a full scan that was taken back", later(full(), Retracted), false),
        ("a scan of its folder", later(paths(&["src"]), Complete), true),
        ("a scan of itself", later(paths(&["src/a.rs"]), Complete), true),
        ("a scan of a folder with a longer name", later(paths(&["src/a"]), Complete), false),
        ("a scan of another folder", later(paths(&["test"]), Complete), false),
    ] {
        let found = of(&scans, "src/a.rs", "r", &[1]);
        let expected = if closes { Standing::Closed { by: scans[1].order } } else { Standing::Open };
        assert_eq!(found, Some(expected), "{what}");
    }
}

#[test]
fn what_a_rule_set_no_longer_contains_is_unknown() {
    let without = Scope { rules: vec!["other".into()], ..full() };
    let scans = [scan(1, 1, full(), Progress::Complete), scan(2, 2, without, Progress::Complete)];
    assert_eq!(of(&scans, "a", "r", &[1]), Some(Standing::Unknown { since: scans[1].order }));
    assert_eq!(of(&scans, "a", "other", &[1]), Some(Standing::Closed { by: scans[1].order }));
}

#[test]
fn an_older_scan_that_arrives_late_opens_nothing_that_a_newer_one_closed() {
    let scans = [scan(2, 2, full(), Progress::Complete), scan(1, 1, full(), Progress::Complete)];
    assert_eq!(of(&scans, "a", "r", &[1]), Some(Standing::Closed { by: scans[0].order }));
    assert_eq!(of(&scans, "a", "r", &[2]), Some(Standing::Open));
    assert_eq!(of(&scans, "a", "r", &[]), None);
}

#[test]
fn a_shared_revision_is_the_newest_that_both_completed() {
    let one = [scan(1, 1, full(), Progress::Complete), scan(2, 2, full(), Progress::Complete), scan(3, 3, full(), Progress::Complete)];
    let other = [scan(4, 1, full(), Progress::Complete), scan(5, 2, full(), Progress::Complete), scan(6, 3, full(), Progress::Unfinished)];
    let (a, b) = newest_shared_revision(&one, &other).expect("they share two");
    assert_eq!((a.revision.as_str(), b.order.id), ("r2", id(5)));
    assert!(newest_shared_revision(&one, &other[2..]).is_none());
}

fn history() -> impl Strategy<Value = (Vec<Scan>, BTreeSet<u32>)> {
    let scope = prop_oneof![
        Just(full()),
        Just(Scope::default()),
        Just(paths(&["src"])),
        Just(paths(&["test"])),
        Just(Scope { rules: vec!["other".into()], ..full() }),
    ];
    let progress = prop::sample::select(vec![Progress::Complete, Progress::Complete, Progress::Unfinished, Progress::Retracted]);
    let scans = prop::collection::vec((0_i64..6, scope, progress), 1..12).prop_map(|all| {
        all.into_iter().enumerate().map(|(name, (day, scope, progress))| scan(name as u32, day, scope, progress)).collect()
    });
    (scans, prop::collection::btree_set(0_u32..12, 0..6))
}

/// The definition, word by word, without any cleverness.
fn plainly_open(scans: &[Scan], saw: &BTreeSet<u32>) -> Option<bool> {
    let counting: Vec<&Scan> = scans.iter().filter(|scan| scan.progress != Progress::Retracted).collect();
    let last_seen = counting.iter().filter(|scan| saw.iter().any(|name| id(*name) == scan.order.id)).map(|scan| scan.order).max()?;
    let newest_complete = counting
        .iter()
        .filter(|scan| scan.progress == Progress::Complete && scan.scope.holds_path("src/a.rs") && scan.scope.ran("r"))
        .map(|scan| scan.order)
        .max();
    Some(newest_complete.is_none_or(|complete| last_seen >= complete))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn open_is_what_the_definition_says((scans, saw) in history()) {
        let names: Vec<u32> = saw.iter().copied().collect();
        let open = of(&scans, "src/a.rs", "r", &names).map(|standing| !matches!(standing, Standing::Closed { .. }));
        prop_assert_eq!(open, plainly_open(&scans, &saw));
    }

    #[test]
    fn arrival_does_not_matter((scans, saw) in history(), seed in any::<u64>()) {
        let names: Vec<u32> = saw.iter().copied().collect();
        let mut shuffled = scans.clone();
        shuffled.sort_by_key(|scan| Id::of("shuffle", &[&seed.to_le_bytes(), &scan.order.id.0]));
        prop_assert_eq!(of(&scans, "src/a.rs", "r", &names), of(&shuffled, "src/a.rs", "r", &names));
    }

    #[test]
    fn a_retracted_scan_leaves_no_trace((scans, saw) in history()) {
        let names: Vec<u32> = saw.iter().copied().collect();
        let without: Vec<Scan> = scans.iter().filter(|scan| scan.progress != Progress::Retracted).cloned().collect();
        prop_assert_eq!(of(&scans, "src/a.rs", "r", &names), of(&without, "src/a.rs", "r", &names));
    }

    #[test]
    fn numbers_are_counted_once_in_any_order(numbers in prop::collection::vec(0_u32..40, 0..60)) {
        let (mut ours, mut plain) = (Numbers::default(), BTreeSet::new());
        for number in numbers {
            prop_assert_eq!(ours.insert(number), plain.insert(number));
            prop_assert_eq!(ours.len(), plain.len() as u64);
            for announced in 0..41 {
                prop_assert_eq!(ours.are_exactly(announced), plain == (0..announced).collect());
            }
        }
    }
}
