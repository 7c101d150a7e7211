//! Laws of track: what it says is what a plain computation from all facts says, however records are mixed, cut into batches,
//! repeated, and however often the task is stopped.

mod support;

use std::collections::BTreeMap;

use faultline_core::track::Track;
use faultline_model::decision::{OutcomeStatus, Verdict, Word};
use faultline_model::id::Id;
use faultline_model::observation::{Observation, Severity};
use faultline_model::scan::Scope;
use faultline_model::tracked::{GivenAssignment, GivenSeverity, GivenVerdict, GivenWord};
use proptest::prelude::*;
use support::plain::{Facts, order_of};
use support::*;

/// What is done beside scans.
#[derive(Clone, Debug)]
enum Act {
    Verdict { of: usize, verdict: Verdict },
    Severity { of: usize, level: Option<Severity> },
    Word { of: usize, to: usize, word: Word },
    Assign { of: usize },
    Retract { scan: usize },
    Retire { day: i64 },
    Places { at: usize },
}

#[derive(Clone, Debug)]
struct History {
    scans: Vec<Scan>,
    acts: Vec<Act>,
    /// From which record on each scan goes by the bulk lane, if it does: by either lane, or by both.
    lanes: Vec<Option<usize>>,
    /// Which stream the next record comes from, and whether it comes twice.
    mix: Vec<(u16, bool)>,
    cuts: Cuts,
}

/// All findings that there can be.
fn universe() -> Vec<Observation> {
    let mut all = Vec::new();
    for rule in ["r1", "r2"] {
        for file in ["src/a.rs", "src/b.rs", "test/c.rs"] {
            for snippet in ["", "q(x)", "q(y)"] {
                all.push(seen(rule, file, 1, snippet));
            }
        }
    }
    all
}

fn observation() -> impl Strategy<Value = Observation> {
    let severity = prop::sample::select(vec![Severity::High, Severity::High, Severity::Low]);
    (prop::sample::select(universe()), severity, 1_i32..3).prop_map(|(observation, severity, line)| {
        let mut moved = seen(&observation.rule, "", line, "");
        let faultline_model::locus::Locus::Code(at) = &observation.locus else { panic!("code") };
        moved.locus = faultline_model::locus::Locus::Code(faultline_model::locus::Code { line, end_line: line, ..at.clone() });
        moved.severity = severity;
        // What a rule says at length is kept apart from its findings, and now and then it says something else.
        if line == 1 {
            moved.description = format!("what {} is", observation.rule);
            moved.references = vec![format!("https://rules.example/{}", severity.name())];
        }
        moved
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let full = Scope { is_full: true, ..Scope::default() };
    prop::sample::select(vec![
        full.clone(),
        full.clone(),
        full.clone(),
        Scope::default(),
        Scope { paths: vec!["src".into()], ..Scope::default() },
        Scope { rules: vec!["r1".into()], ..full },
    ])
}

/// A finding once a scan: two different words of one scan on one finding have a test of their own.
fn once_each(mut seen: Vec<Observation>) -> Vec<Observation> {
    let mut known = std::collections::BTreeSet::new();
    seen.retain(|observation| known.insert(id_of(observation)));
    seen
}

fn scan() -> impl Strategy<Value = Scan> {
    let line = prop::sample::select(vec![("main", "", true), ("main", "", true), ("dev", "", false), ("", "prod", false), ("", "", false)]);
    let seen = prop::collection::vec(observation(), 0..7);
    let ends = prop::sample::select(vec![true, true, true, true, false]);
    let lost = prop::sample::select(vec![false, false, false, false, false, true]);
    (0_i64..8, prop::option::of(0_i64..8), line, scope(), seen, ends, lost, any::<bool>()).prop_map(
        |(started, revised, (branch, environment, is_default), scope, seen, ends, lost, claims)| {
            let mut scan = Scan::full("", started, once_each(seen)).on(branch, is_default).within(scope);
            scan.started.environment = environment.into();
            scan.started.revision_time = revised.map(day);
            scan.started.service_claim = if claims { "cart".into() } else { String::new() };
            scan.ends = ends;
            scan.lost = if lost && !scan.seen.is_empty() { vec![0] } else { Vec::new() };
            scan
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let verdict = prop::sample::select(Verdict::ALL.to_vec());
    let level = prop::option::of(prop::sample::select(vec![Severity::Low, Severity::Critical]));
    let word = prop::sample::select(Word::ALL.to_vec());
    prop_oneof![
        2 => (0_usize..18, level).prop_map(|(of, level)| Act::Severity { of, level }),
        2 => (0_usize..18, 0_usize..3, word).prop_map(|(of, to, word)| Act::Word { of, to, word }),
        3 => (0_usize..18, verdict).prop_map(|(of, verdict)| Act::Verdict { of, verdict }),
        1 => (0_usize..18).prop_map(|of| Act::Assign { of }),
        3 => (0_usize..9).prop_map(|scan| Act::Retract { scan }),
        1 => (0_i64..9).prop_map(|day| Act::Retire { day }),
        2 => (0_usize..5).prop_map(|at| Act::Places { at }),
    ]
}

fn cuts() -> impl Strategy<Value = Cuts> {
    let batches = prop::collection::vec(1_usize..30, 1..5);
    (batches, prop::sample::select(vec![1_usize, 3000, 1 << 20]), 0_usize..4, 0_usize..4)
        .prop_map(|(batches, slice_bytes, slices, crash_every)| Cuts { batches, slice_bytes, slices, crash_every })
}

fn history() -> impl Strategy<Value = History> {
    let scans = prop::collection::vec(scan(), 1..9).prop_map(|mut scans| {
        for (number, scan) in scans.iter_mut().enumerate() {
            scan.started.scan = Id::of("scan", &[&[number as u8]]);
        }
        scans
    });
    let mix = prop::collection::vec((any::<u16>(), prop::bool::weighted(0.1)), 1..120);
    let lanes = prop::collection::vec(prop::option::of(0_usize..9), 9);
    (scans, prop::collection::vec(act(), 0..7), lanes, mix, cuts()).prop_map(|(scans, acts, lanes, mix, cuts)| History {
        scans,
        acts,
        lanes,
        mix,
        cuts,
    })
}

fn places_at(at: usize) -> Option<faultline_model::catalog::Places> {
    match at {
        0 => None,
        1 => Some(places("", vec![rule("", "shop", &["web"])])),
        2 => Some(places("dev", vec![rule("", "shop", &[]), rule("src", "cart", &["shop"])])),
        3 => Some(places("main", vec![rule("test", "qa", &[])])),
        _ => Some(places("", vec![])),
    }
}

/// What a link leads to; it is nothing that track knows of.
fn linked(number: usize) -> Id {
    Id::of("linked", &[&[number as u8]])
}

fn record_of(number: usize, act: &Act, scans: &[Scan]) -> Record {
    let key = format!("act-{number}");
    match act {
        Act::Verdict { of, verdict: given } => verdict(&key, number as i64, id_of(&universe()[*of]), *given, None),
        Act::Severity { of, level } => severity(&key, number as i64, id_of(&universe()[*of]), *level),
        Act::Word { of, to, word: given } => word(&key, number as i64, id_of(&universe()[*of]), linked(*to), *given),
        Act::Assign { of } => assignment(&key, number as i64, id_of(&universe()[*of]), &format!("team-{number}")),
        Act::Retract { scan } => retraction(&key, scans[scan % scans.len()].id()),
        Act::Retire { day } => retirement(&key, *day),
        Act::Places { at } => places_record(places_at(*at).as_ref(), ASSET),
    }
}

/// The records of a scan as the lanes have them. One that goes on by the bulk lane says its start there once more, as doors do.
fn by_lane(scan: &Scan, bulk_from: Option<usize>) -> Vec<Vec<Record>> {
    let mut urgent = scan.records();
    let Some(bulk_from) = bulk_from else { return vec![urgent] };
    let mut bulk = urgent.split_off(bulk_from.min(urgent.len()));
    if !bulk.is_empty() {
        bulk.splice(0..0, urgent.first().cloned());
    }
    for record in &mut bulk {
        record.topic = faultline_model::topic::FINDINGS_BULK;
    }
    vec![urgent, bulk]
}

/// The records of all streams, mixed; each stream keeps its order.
fn mixed(history: &History) -> Vec<Record> {
    let scans = history.scans.iter().zip(&history.lanes);
    let mut streams: Vec<Vec<Record>> = scans.flat_map(|(scan, bulk_from)| by_lane(scan, *bulk_from)).collect();
    streams.push(history.acts.iter().enumerate().map(|(number, act)| record_of(number, act, &history.scans)).collect());
    for stream in &mut streams {
        stream.reverse();
    }
    let mut records = Vec::new();
    for (choice, is_twice) in history.mix.iter().cycle() {
        streams.retain(|stream| !stream.is_empty());
        if streams.is_empty() {
            break;
        }
        let stream = usize::from(*choice) % streams.len();
        let record = streams[stream].pop().expect("streams without records were left out");
        if *is_twice {
            records.push(record.clone());
        }
        records.push(record);
    }
    records
}

/// The facts of a history, with decisions as they were judged.
fn facts(history: &History, task: &Task, kept: usize) -> Facts {
    let mut facts = Facts { scans: history.scans.clone(), kept, ..Facts::default() };
    for (number, act) in history.acts.iter().enumerate() {
        let key = format!("act-{number}");
        let is_done = |task: &Task| task.outcome(&key).status == OutcomeStatus::Done;
        let (actor, reason, at) = ("ana".to_owned(), "because".to_owned(), day(number as i64));
        match act {
            Act::Places { at } => facts.places = places_at(*at),
            _ if !is_done(task) => {}
            Act::Verdict { of, verdict } => {
                let id = id_of(&universe()[*of]);
                facts.verdicts.insert(id, GivenVerdict { verdict: *verdict, actor, reason, at });
                *facts.versions.entry(id).or_default() += 1;
            }
            Act::Severity { of, level } => {
                let id = id_of(&universe()[*of]);
                facts.severities.insert(id, level.map(|severity| GivenSeverity { severity, actor, reason, at }));
                *facts.versions.entry(id).or_default() += 1;
            }
            Act::Word { of, to, word } => {
                let (id, to) = (id_of(&universe()[*of]), linked(*to));
                let words = facts.words.entry(id).or_default();
                match word {
                    Word::Withdrawn => words.remove(&to),
                    word => words.insert(to, GivenWord { to, word: *word, actor, reason, at }),
                };
                *facts.versions.entry(id).or_default() += 1;
            }
            Act::Assign { of } => {
                let id = id_of(&universe()[*of]);
                let assignment = faultline_model::decision::Assignment { to: format!("team-{number}") };
                facts.assignments.insert(id, GivenAssignment { assignment, actor, reason, at });
                *facts.versions.entry(id).or_default() += 1;
            }
            Act::Retract { scan } => {
                let id = history.scans[scan % history.scans.len()].id();
                facts.scans.retain(|scan| scan.id() != id);
            }
            Act::Retire { day: at } => facts.retired = facts.retired.max(Some(day(*at))),
        }
    }
    facts
}

/// A task that keeps so many scans, and closes as few findings at once as it may slices: when is not to matter.
fn task(scans_kept: usize, cuts: &Cuts) -> Task {
    Task::new(Track { scans_kept, closed_at_once: cuts.slices, ..Track::default() })
}

fn assert_same(task: &Task, facts: &Facts) -> Result<(), TestCaseError> {
    assert_equal(&task.facts(), &facts.tracked())
}

/// Texts are there as long as a finding has them, and are counted.
fn assert_texts(task: &Task) -> Result<(), TestCaseError> {
    const BODIES: u8 = 10;
    const TEXTS: u8 = 33;
    const NAMED: u8 = 34;
    let table = |table: u8| task.store.iter().filter(move |(key, _)| key[0] == table);
    let mut named: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
    for (_, body) in table(BODIES) {
        // Version, kind, and a short claim with its length stand before the hash.
        let at = 3 + usize::from(body[2]);
        let hash: Vec<u8> = body[at..at + 8].iter().rev().copied().collect();
        if hash != [0; 8] {
            *named.entry(hash).or_default() += 1;
        }
    }
    let counted: BTreeMap<Vec<u8>, u8> = table(NAMED).map(|(key, row)| (key[17..].to_vec(), row[1])).collect();
    prop_assert_eq!(&counted, &named);
    prop_assert_eq!(table(TEXTS).map(|(key, _)| key[17..].to_vec()).collect::<Vec<_>>(), named.into_keys().collect::<Vec<_>>());
    Ok(())
}

type Tracked = BTreeMap<String, faultline_model::tracked::TrackedRecord>;

fn assert_equal(found: &Tracked, expected: &Tracked) -> Result<(), TestCaseError> {
    for (key, record) in expected {
        prop_assert_eq!(found.get(key), Some(record), "{}", key);
    }
    for key in found.keys() {
        prop_assert!(expected.contains_key(key), "{} is published and should not be: {:?}", key, found[key]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Laws 1, 2, 3, 4 and 5 at once: any mix, any lane, any cuts, records twice, scans taken back, stops anywhere.
    #[test]
    fn a_stream_says_what_the_facts_say(history in history()) {
        let mut task = task(32, &history.cuts);
        task.run(&mixed(&history), &history.cuts);
        prop_assert_eq!(&task.poisoned, &Vec::<String>::new());
        assert_same(&task, &facts(&history, &task, 32))?;
        // Neither time nor the whole of it again changes a fact.
        task.pass(3 * 3_600_000);
        assert_same(&task, &facts(&history, &task, 32))?;
        let facts = facts(&history, &task, 32);
        let again: Vec<Record> = history.scans.iter().flat_map(Scan::records).collect();
        task.run(&again, &Cuts::default());
        assert_same(&task, &facts)?;
        assert_texts(&task)?;
        task.pass(8 * DAY);
        prop_assert_eq!(task.facts().len(), task.tracked.len(), "a note of where a fact went is left");
    }

    /// Folding the oldest scans forgets nothing that shows, as long as scans come in their order.
    #[test]
    fn what_is_folded_is_not_forgotten(mut history in history(), kept in 1_usize..4, again in any::<bool>()) {
        history.acts.retain(|act| !matches!(act, Act::Retract { .. }));
        history.scans.sort_by_key(order_of);
        let mut task = task(kept, &history.cuts);
        let mut records: Vec<Record> = Vec::new();
        for scan in &history.scans {
            records.extend(scan.records());
        }
        let acts = history.acts.iter().enumerate().map(|(number, act)| record_of(number, act, &history.scans));
        let place = usize::from(history.mix[0].0) % (records.len() + 1);
        records.splice(place..place, acts);
        task.run(&records, &history.cuts);
        // Scans without an end hold up those behind them until they are cut off.
        task.pass(3 * 3_600_000);
        assert_same(&task, &facts(&history, &task, kept))?;
        assert_texts(&task)?;
        if again {
            task.run(&history.scans.iter().flat_map(Scan::records).collect::<Vec<_>>(), &history.cuts);
            task.pass(3 * 3_600_000);
            assert_same(&task, &facts(&history, &task, kept))?;
        }
    }

    /// When work is done, and how it is cut up, shows nowhere: not in what is folded, nor in what is taken back, nor in what comes late.
    #[test]
    fn cuts_do_not_matter(history in history(), kept in 1_usize..5, other in cuts()) {
        let records = mixed(&history);
        let run = |cuts: &Cuts| {
            let mut task = task(kept, cuts);
            task.run(&records, cuts);
            let before = task.facts();
            task.pass(3 * 3_600_000);
            (before, task)
        };
        let ((one_before, one), (other_before, other)) = (run(&history.cuts), run(&other));
        assert_equal(&one_before, &other_before)?;
        assert_equal(&one.facts(), &other.facts())?;
        // What was decided is decided alike.
        for number in 0..history.acts.len() {
            let of = |task: &Task| task.outcomes.iter().rev().find(|outcome| outcome.id == format!("act-{number}")).cloned();
            prop_assert_eq!(of(&one), of(&other));
        }
    }
}
