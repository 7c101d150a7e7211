//! What a host does with stages: it brings them to rest, in the foreground and in the background, and lets nobody's fault stop others.
#![allow(clippy::unwrap_used)]

mod toys;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_core::store::StoreError;
use faultline_model::avro;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, DECISIONS, Kept, Topic};
use faultline_stream::testing::Rest;
use faultline_stream::{
    EmbeddedLog, Host, HostError, HostOptions, Log, ManualClock, MemoryLog, Options, Record, Task, TaskState, TopicPlan, Work, append, text,
};
use toys::{AMOUNTS, Amounts, FACTORS, FACTS, SUMS, Sums};

const NOON: Timestamp = Timestamp::from_millis(43_200_000);

fn say(log: &dyn Log, topic: Topic, key: &str, value: &str) {
    append(log, topic, vec![(key.to_owned(), Some(value.as_bytes().to_vec()))], NOON, &[]).unwrap();
}

fn fill(log: &dyn Log, facts: u32) {
    let fact = |n: u32| (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f{} {n} 99999999999", n % 3).into_bytes()));
    append(log, FACTS, (0..facts).map(fact).collect(), NOON, &[]).unwrap();
    say(log, FACTORS, "f1", "10");
}

fn memory(partitions: u32) -> Arc<dyn Log> {
    Arc::new(MemoryLog::new(toys::plans(), partitions).unwrap())
}

fn host(log: &Arc<dyn Log>, options: HostOptions) -> Host {
    let mut host = Host::new(log.clone(), options);
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host
}

fn small(workers: usize) -> HostOptions {
    HostOptions { workers, batch_records: 50, page_records: 20, slice_bytes: 500, ..HostOptions::default() }
}

fn letters(log: &dyn Log) -> Vec<DeadLetter> {
    let partitions = 0..log.partitions(DEAD_LETTERS.name).unwrap();
    let records = partitions.flat_map(|partition| log.read(DEAD_LETTERS.name, partition, 0, 100, 1 << 20).unwrap());
    records.map(|record| avro::decode(record.value.as_deref().unwrap()).unwrap()).collect()
}

#[test]
fn any_number_of_workers_comes_to_the_same_rest_on_either_log() {
    let expected = memory(1);
    fill(&*expected, 500);
    host(&expected, small(1)).run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let expected = Rest::of(&*expected).unwrap();
    assert_eq!(expected.topics["sums"].len(), 7);
    for workers in [1, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let embedded = EmbeddedLog::open(folder.path(), toys::plans(), Options { partitions: 3, ..Options::default() }).unwrap();
        for log in [memory(4), Arc::new(embedded)] {
            fill(&*log, 500);
            let mut last = None;
            host(&log, small(workers)).run_until_quiet(&NOON, &mut |progress| last = Some(progress)).unwrap();
            Rest::of(&*log).unwrap().agrees_with(&expected).unwrap();
            assert!(last.is_none_or(|progress| progress.consumed > 0), "{last:?}");
        }
    }
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let log = memory(2);
    fill(&*log, 100);
    host(&log, small(1)).run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let ends = |log: &dyn Log| (0..2).map(|partition| log.end_offset(SUMS.name, partition).unwrap()).collect::<Vec<_>>();
    let before = ends(&*log);
    host(&log, small(1)).run_until_quiet(&NOON, &mut |progress| panic!("{progress:?}")).unwrap();
    assert_eq!(ends(&*log), before);
}

#[test]
fn a_running_host_answers_what_is_appended_and_stops_when_told() {
    let log = memory(3);
    let running = host(&log, small(2)).start(Arc::new(NOON)).unwrap();
    say(&*log, FACTS, "shop-1", "a f0 7 99999999999");
    let partition = SUMS.partition_of("shop", 3);
    let mut generation = 0;
    while log.latest(SUMS.name, partition, b"shop").unwrap().is_none() {
        generation = log.wait_for_change(generation, Duration::from_secs(10));
    }
    assert!(running.status().iter().all(|task| task.state == TaskState::Running));
    running.stop().unwrap();
    let facts = log.partitions(FACTS.name).unwrap();
    say(&*log, FACTS, "shop-1", "b f0 1 99999999999");
    assert_eq!(facts, 3);
    host(&log, small(1)).run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let sum = log.latest(SUMS.name, partition, b"shop").unwrap().unwrap();
    assert_eq!(avro::decode::<DeadLetter>(sum.value.as_deref().unwrap()).unwrap().offset, 8);
}

#[test]
fn a_timer_ends_a_fact_when_the_time_has_come() {
    let log = memory(1);
    let clock = ManualClock::new(Timestamp::from_millis(10));
    let host = host(&log, small(1));
    say(&*log, FACTS, "shop-1", "a f0 7 5000");
    let has_sum = || log.latest(SUMS.name, 0, b"shop").unwrap().unwrap().value.is_some();
    for (at, expected) in [(10, true), (4999, true), (5000, false)] {
        clock.set(Timestamp::from_millis(at));
        host.run_until_quiet(&clock, &mut |_| ()).unwrap();
        assert_eq!(has_sum(), expected, "at {at}");
    }
}

#[test]
fn a_poison_record_becomes_a_dead_letter_and_the_rest_goes_on() {
    let log = memory(1);
    for value in ["a f0 1 99999999999", "what?", "late", "end f0 1 99999999999", "b f0 2 99999999999"] {
        say(&*log, FACTS, "shop-1", value);
    }
    let key = vec![0xff, 0xfe];
    log.append(vec![Record { topic: FACTS.name, partition: 0, key, value: None, headers: [].into(), timestamp_ms: 0 }]).unwrap();
    let host = host(&log, HostOptions::default());
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let letters: Vec<_> = letters(&*log).into_iter().map(|letter| (letter.offset, letter.reason, letter.value)).collect();
    let expected = [
        (1, "no fact", Some("what?")),
        (2, "no fact", Some("late")),
        (3, "found at the end", Some("end f0 1 99999999999")),
        (5, "its key is no UTF-8 text; every key of the contract is", None),
    ];
    assert_eq!(letters, expected.map(|(offset, reason, value)| (offset, reason.to_owned(), value.map(|value| value.as_bytes().to_vec()))));
    let amounts: Vec<_> = Rest::of(&*log).unwrap().topics["amounts"].keys().cloned().collect();
    assert_eq!(amounts, ["shop\u{1f}shop-1/a", "shop\u{1f}shop-1/b"], "nothing of a half-applied record is left");
    assert!(text(&host.telemetry().families()).contains("faultline_dead_letters_total{stage=\"amounts\",topic=\"facts\"} 4"));
}

#[test]
fn a_dead_letter_keeps_headers_and_fits_at_the_bound() {
    let log = memory(1);
    let value = vec![b'x'; log.max_record_bytes() - "shop-1".len() - "trace".len() - 1];
    append(&*log, FACTS, vec![("shop-1".to_owned(), Some(value))], NOON, &[("trace".to_owned(), vec![7])]).unwrap();
    host(&log, HostOptions::default()).run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let letter = log.read(DEAD_LETTERS.name, 0, 0, 9, 1 << 20).unwrap().remove(0);
    assert_eq!((letter.key, letter.headers), (b"shop-1".to_vec(), [("trace".to_owned(), vec![7])].into()));
}

#[test]
fn a_misplaced_record_goes_to_its_own_partition_and_is_counted() {
    let log = memory(4);
    let own = FACTS.partition_of("shop-1", 4);
    let value = Some(b"a f0 7 99999999999".to_vec());
    let partition = (own + 1) % 4;
    let record =
        Record { topic: FACTS.name, partition, key: b"shop-1".to_vec(), value, headers: [("h".into(), vec![1])].into(), timestamp_ms: 5 };
    log.append(vec![record]).unwrap();
    let host = host(&log, small(1));
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let sent = log.read(FACTS.name, own, 0, 9, 1 << 20).unwrap().remove(0);
    assert_eq!((sent.timestamp_ms, sent.headers), (5, [("h".to_owned(), vec![1])].into()));
    assert_eq!(Rest::of(&*log).unwrap().topics["sums"].len(), 1);
    assert!(text(&host.telemetry().families()).contains("faultline_records_misplaced_total{stage=\"amounts\",topic=\"facts\"} 1"));
}

/// Does what its input says, and notes what it saw.
#[derive(Clone, Default)]
struct Odd {
    seen: Arc<Mutex<Vec<String>>>,
}

const ODD: Topic = Topic { name: "odd", kept: Kept::ByTime, is_global: false };

impl Stage for Odd {
    const NAME: &'static str = "odd";
    const INPUTS: &'static [Topic] = &[ODD, DECISIONS];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let value = String::from_utf8(input.value.unwrap_or_default().to_vec()).unwrap();
        self.seen.lock().unwrap().push(format!("{} {value} at {}", input.topic.name, batch.now.millis()));
        match value.as_str() {
            "panic" => panic!("a stage's fault"),
            "fail" => Err(StoreError::read("a disk's fault").into()),
            "host row" => {
                batch.state.put([0, 1], []);
                Ok(())
            }
            "large" => batch.emit(AMOUNTS, input.key.to_owned(), DeadLetter { value: Some(vec![0; 2 << 20]), ..toys::number(1) }),
            _ => batch.emit(AMOUNTS, input.key.to_owned(), toys::number(1)),
        }
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

fn odd_log(partitions: u32) -> Arc<dyn Log> {
    let plans = [ODD, DECISIONS, AMOUNTS, DEAD_LETTERS].map(TopicPlan::of).to_vec();
    Arc::new(MemoryLog::new(plans, partitions).unwrap())
}

#[test]
fn a_fault_stops_its_task_and_no_other_and_shows() {
    for (fault, reason) in [("panic", "a stage's fault"), ("fail", "a disk's fault"), ("host row", "rows that begin with 0 are the host's")]
    {
        let log = odd_log(2);
        let keys: Vec<String> = (0..9).map(|n| format!("key{n}")).collect();
        let bad = &keys[0];
        for key in &keys {
            say(&*log, ODD, key, if key == bad { fault } else { "fine" });
        }
        let mut host = Host::new(log.clone(), HostOptions::default());
        host.add(Odd::default()).unwrap();
        let HostError::TasksFailed { failures } = host.run_until_quiet(&NOON, &mut |_| ()).unwrap_err() else { panic!("{fault}") };
        let partition = ODD.partition_of(bad, 2);
        assert_eq!(failures.iter().map(|failure| failure.task.partition).collect::<Vec<_>>(), [partition]);
        assert!(failures[0].reason.contains(reason), "{}", failures[0].reason);
        let others = keys.iter().filter(|key| ODD.partition_of(key, 2) != partition).count();
        assert_eq!(log.end_offset(AMOUNTS.name, partition).unwrap(), 0, "nothing of the batch is there");
        assert_eq!(log.end_offset(AMOUNTS.name, 1 - partition).unwrap(), others as u64);
        assert!(text(&host.telemetry().families()).contains("faultline_tasks{stage=\"odd\",state=\"failed\"} 1"));
    }
}

#[test]
fn a_record_whose_output_is_too_large_is_refused_alone() {
    let log = odd_log(1);
    for value in ["fine", "fine", "large", "fine"] {
        say(&*log, ODD, value, value);
    }
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Odd::default()).unwrap();
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    let letters = letters(&*log);
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [2]);
    assert!(letters[0].reason.starts_with("its output for topic amounts has"), "{}", letters[0].reason);
    assert!(log.latest(AMOUNTS.name, 0, b"fine").unwrap().is_some());
}

#[test]
fn decisions_are_read_first_and_a_flood_does_not_hold_them_up() {
    let (log, odd) = (odd_log(1), Odd::default());
    for n in 0..100 {
        say(&*log, ODD, "flood", &n.to_string());
    }
    say(&*log, DECISIONS, "asset", "decided");
    let options = HostOptions { page_records: 10, batch_records: 10, ..HostOptions::default() };
    let mut task = Task::open(log, Arc::new(odd.clone()), 0, options).unwrap();
    task.step(&NOON).unwrap();
    let seen = odd.seen.lock().unwrap();
    assert!(seen[0].starts_with("decisions decided") && seen.len() == 10, "{seen:?}");
}

#[test]
fn time_never_goes_back_over_a_restart() {
    let (log, odd) = (odd_log(1), Odd::default());
    for (at, expected) in [(1_000, 1_000), (400, 1_000), (1_001, 1_001), (0, 1_001)] {
        say(&*log, ODD, "key", "fine");
        let mut task = Task::open(log.clone(), Arc::new(odd.clone()), 0, HostOptions::default()).unwrap();
        task.step(&Timestamp::from_millis(at)).unwrap();
        let seen = odd.seen.lock().unwrap().last().cloned();
        assert_eq!(seen, Some(format!("odd fine at {expected}")));
    }
}

#[test]
fn inputs_of_unequal_partition_counts_are_refused_with_both() {
    struct Uneven;
    impl Stage for Uneven {
        const NAME: &'static str = "uneven";
        const INPUTS: &'static [Topic] = &[FACTS, FACTORS];
        const GLOBALS: &'static [Topic] = &[];
        type Gathered = ();
        fn apply(&self, _: &mut Batch<'_>, (): &mut (), _: &Input<'_>) -> Result<(), StageError> {
            Ok(())
        }
        fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
            Ok(())
        }
    }
    let error = Host::new(memory(4), HostOptions::default()).add(Uneven).err().unwrap().to_string();
    assert!(error.contains("facts with 4 partitions, factors with 1 partitions"), "{error}");
    let log = memory(1);
    let error = host(&log, small(1)).add(Sums).err().unwrap();
    assert!(matches!(error, HostError::StageTwice { stage: "sums" }), "{error}");
}
