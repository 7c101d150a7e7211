//! Taking a feed in again changes nothing; a whole feed takes away what it no longer has; a part never does.

use std::cell::RefCell;
use std::collections::BTreeMap;

use faultline_feeds::{Feed, FeedError, Loaded, Removal};
use faultline_model::intel::{Aliases, EpssScore, IntelRecord, Source, key};
use proptest::prelude::*;

type Topic = BTreeMap<String, IntelRecord>;

/// Takes a feed in as a host does: what differs is written, what went is removed.
fn load(topic: &mut Topic, text: &str, full: Option<bool>, removal: Removal) -> Result<(Loaded, usize), FeedError> {
    let feed = Feed::of(std::io::Cursor::new(text.to_owned()))?;
    let feed = full.map_or(Ok(feed), |full| Feed::of(std::io::Cursor::new(text.to_owned())).map(|feed| feed.full(full)))?;
    let written = RefCell::new(Topic::new());
    let loaded = feed.changes(&|key| Ok(topic.get(key).cloned()), &mut |key, record| {
        assert_ne!(topic.get(&key), Some(&record), "only what differs is written");
        written.borrow_mut().insert(key, record);
        Ok(())
    })?;
    let gone = loaded.gone(topic.keys().cloned(), removal)?;
    for key in &gone {
        topic.remove(key);
    }
    topic.extend(written.into_inner());
    Ok((loaded, gone.len()))
}

fn epss(scores: &BTreeMap<u16, u32>) -> String {
    let rows: Vec<String> =
        scores.iter().map(|(id, ppm)| format!("CVE-2024-{:04},{}.{:06},0.5\n", id, ppm / 1_000_000, ppm % 1_000_000)).collect();
    format!("#model_version:v1,score_date:2026-01-01T00:00:00+0000\ncve,epss,percentile\n{}", rows.concat())
}

fn expected(scores: &BTreeMap<u16, u32>) -> Topic {
    let record = |ppm: &u32| IntelRecord::Epss(EpssScore { probability_ppm: *ppm as i32 });
    scores.iter().map(|(id, ppm)| (key(&format!("CVE-2024-{id:04}"), Source::Epss), record(ppm))).collect()
}

fn scores() -> impl Strategy<Value = BTreeMap<u16, u32>> {
    prop::collection::btree_map(0_u16..60, 0_u32..=1_000_000, 0..50)
}

proptest! {
    #[test]
    fn after_a_whole_feed_the_topic_is_the_feed(first in scores(), second in scores()) {
        let mut topic = Topic::new();
        let other = (key("CVE-2024-0001", Source::Aliases), IntelRecord::Aliases(Aliases { ids: vec!["GHSA-1".into()] }));
        topic.insert(other.0.clone(), other.1.clone());
        for scores in [&first, &second, &second] {
            let before = topic.clone();
            let (loaded, gone) = load(&mut topic, &epss(scores), None, Removal::UpToHalf).unwrap();
            let mut whole = expected(scores);
            whole.insert(other.0.clone(), other.1.clone());
            prop_assert_eq!(&topic, &whole);
            prop_assert_eq!(loaded.new + loaded.changed + loaded.same, scores.len() as u64);
            prop_assert_eq!(before == topic, loaded.new + loaded.changed == 0 && gone == 0);
        }
    }

    #[test]
    fn aliases_end_in_the_same_whatever_document_comes_first(order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle()) {
        let documents = [
            r#"{"id": "GHSA-aaaa-1", "aliases": ["CVE-2024-0001"]}"#,
            r#"{"id": "PYSEC-2024-1", "aliases": ["CVE-2024-0001", "GHSA-aaaa-1"]}"#,
            r#"{"id": "GO-2024-1", "aliases": ["CVE-2024-0001"]}"#,
            r#"{"id": "RUSTSEC-2024-1", "aliases": ["GHSA-bbbb-2"]}"#,
        ];
        let (mut one_by_one, mut at_once) = (Topic::new(), Topic::new());
        for document in order.into_iter().map(|n| documents[n]).chain(documents) {
            load(&mut one_by_one, document, None, Removal::UpToHalf).unwrap();
        }
        load(&mut at_once, &documents.join("\n"), None, Removal::UpToHalf).unwrap();
        prop_assert_eq!(one_by_one, at_once);
    }
}

#[test]
fn an_excerpt_that_passes_for_whole_removes_nothing_unless_somebody_says_so() {
    let many: BTreeMap<u16, u32> = (0..300).map(|id| (id, 7)).collect();
    let few: BTreeMap<u16, u32> = (0..100).map(|id| (id, 7)).collect();
    let mut topic = Topic::new();
    load(&mut topic, &epss(&many), None, Removal::UpToHalf).unwrap();
    let error = load(&mut topic, &epss(&few), None, Removal::UpToHalf).unwrap_err();
    assert!(matches!(error, FeedError::MostGone { missing: 200, known: 300, .. }), "{error}");
    assert_eq!(topic.len(), 300);
    let (_, gone) = load(&mut topic, &epss(&few), Some(false), Removal::Any).unwrap();
    assert_eq!((gone, topic.len()), (0, 300));
    let (_, gone) = load(&mut topic, &epss(&few), None, Removal::Any).unwrap();
    assert_eq!((gone, topic.len()), (200, 100));
}

#[test]
fn a_whole_list_of_exploits_or_aliases_takes_away_what_it_no_longer_has() {
    let mut topic = Topic::new();
    load(&mut topic, "cve,source\nCVE-2024-0001,a\nCVE-2024-0002,a\n", None, Removal::UpToHalf).unwrap();
    load(&mut topic, "cve,source\nCVE-2024-0003,a\n", None, Removal::UpToHalf).unwrap();
    assert_eq!(topic.len(), 3);
    let (_, gone) = load(&mut topic, "cve,source\nCVE-2024-0002,a\n", Some(true), Removal::UpToHalf).unwrap();
    assert_eq!((gone, topic.len()), (2, 1));
    load(&mut topic, r#"{"id": "A-1", "aliases": ["B-1", "B-2"]}"#, None, Removal::UpToHalf).unwrap();
    load(&mut topic, r#"{"id": "A-1", "aliases": ["B-1"]}"#, Some(true), Removal::UpToHalf).unwrap();
    assert_eq!(topic.get(&key("A-1", Source::Aliases)), Some(&IntelRecord::Aliases(Aliases { ids: vec!["B-1".into()] })));
    assert!(!topic.contains_key(&key("B-2", Source::Aliases)));
}

#[test]
fn a_feed_that_says_two_things_of_one_vulnerability_is_refused() {
    let twice = "cve,epss\nCVE-2024-0001,0.1\nCVE-2024-0001,0.2\n";
    let error = load(&mut Topic::new(), twice, None, Removal::UpToHalf).unwrap_err();
    assert_eq!(error.to_string(), "the feed says two things of CVE-2024-0001");
}
