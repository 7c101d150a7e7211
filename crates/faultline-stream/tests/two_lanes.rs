//! Bulk is read when nothing urgent waits, in helpings, and while the stage that reads what follows keeps up; and all of it is read in the end.
#![allow(clippy::unwrap_used)]

mod toys;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faultline_core::stage::{Batch, Bulk, Input, Stage, StageError};
use faultline_core::store::StoreError;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, Topic};
use faultline_stream::testing::Rest;
use faultline_stream::{Clock, EmbeddedLog, Host, HostOptions, Log, ManualClock, MemoryLog, Options, Task, TopicPlan, Work, append, text};
use toys::{AMOUNTS, Amounts, FACTS, FACTS_BULK, Sums};

const NOON: Timestamp = Timestamp::from_millis(43_200_000);
const BULK: u64 = 5_000;

fn say(log: &dyn Log, topic: Topic, count: u64) {
    let record = |n: u64| (format!("key{n}"), Some(n.to_string().into_bytes()));
    append(log, topic, (0..count).map(record).collect(), NOON, &[]).unwrap();
}

fn log(partitions: u32) -> Arc<dyn Log> {
    let plans = [FACTS, FACTS_BULK, AMOUNTS, DEAD_LETTERS].map(TopicPlan::of).to_vec();
    Arc::new(MemoryLog::new(plans, partitions).unwrap())
}

/// Says one amount for each record, and notes which came when. What is to happen with a record is done when it comes.
#[derive(Clone)]
struct Notes {
    seen: Arc<Mutex<Vec<&'static str>>>,
    meanwhile: Arc<dyn Fn(&Input<'_>) + Send + Sync>,
}

impl Notes {
    fn new(meanwhile: impl Fn(&Input<'_>) + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), meanwhile: Arc::new(meanwhile) }
    }

    /// How many of each lane came in a row, since it was asked last.
    fn runs(&self) -> Vec<(&'static str, usize)> {
        let mut runs: Vec<(&'static str, usize)> = Vec::new();
        for topic in self.seen.lock().unwrap().drain(..) {
            match runs.last_mut() {
                Some((last, count)) if *last == topic => *count += 1,
                _ => runs.push((topic, 1)),
            }
        }
        runs
    }
}

impl Stage for Notes {
    const NAME: &'static str = "notes";
    const INPUTS: &'static [Topic] = &[FACTS, FACTS_BULK];
    const GLOBALS: &'static [Topic] = &[];
    const BULK: Option<Bulk> = Some(Bulk { topic: FACTS_BULK, said: AMOUNTS, reader: "reads" });
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        self.seen.lock().unwrap().push(input.topic.name);
        (self.meanwhile)(input);
        batch.emit(AMOUNTS, input.key.to_owned(), toys::number(1))
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

/// Reads what `Notes` says. It fails at the record of this key.
struct Reads(&'static str);

impl Stage for Reads {
    const NAME: &'static str = "reads";
    const INPUTS: &'static [Topic] = &[AMOUNTS];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn apply(&self, _: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        if input.key == self.0 { Err(StoreError::read("a disk's fault").into()) } else { Ok(()) }
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

#[test]
fn what_is_urgent_comes_first_and_bulk_in_helpings() {
    let (log, notes) = (log(1), Notes::new(|_| ()));
    say(&*log, FACTS_BULK, BULK);
    say(&*log, FACTS, 1_500);
    let options = HostOptions { bulk_records: 300, ..HostOptions::default() };
    let mut task = Task::open(log.clone(), Arc::new(notes.clone()), 0, options).unwrap();
    task.step(&NOON).unwrap();
    assert_eq!(notes.runs(), [("facts", 1_500), ("facts.bulk", 128)], "all that is urgent, and a page so that bulk is not forgotten");
    task.step(&NOON).unwrap();
    assert_eq!(notes.runs(), [("facts.bulk", 300)]);
    // Bulk is never left for good, however often something urgent comes.
    say(&*log, FACTS, 1);
    task.step(&NOON).unwrap();
    assert_eq!(notes.runs(), [("facts", 1), ("facts.bulk", 128)]);
}

#[test]
fn what_is_urgent_ends_a_helping_within_a_page() {
    let (log, count) = (log(1), AtomicU64::new(0));
    let said = log.clone();
    let notes = Notes::new(move |input| {
        if input.topic == FACTS_BULK && count.fetch_add(1, Ordering::Relaxed) == 200 {
            say(&*said, FACTS, 1);
        }
    });
    say(&*log, FACTS_BULK, BULK);
    let mut task = Task::open(log, Arc::new(notes.clone()), 0, HostOptions::default()).unwrap();
    task.step(&NOON).unwrap();
    assert_eq!(notes.runs(), [("facts.bulk", 256), ("facts", 1)]);
}

#[test]
fn a_helping_is_bounded_in_time() {
    let (log, clock) = (log(1), Arc::new(ManualClock::default()));
    let passes = clock.clone();
    let notes = Notes::new(move |_| passes.set(Timestamp::from_millis(passes.now().millis() + 1)));
    say(&*log, FACTS_BULK, BULK);
    let options =
        HostOptions { bulk_interval: Duration::from_millis(200), commit_interval: Duration::from_hours(1), ..HostOptions::default() };
    let mut task = Task::open(log, Arc::new(notes.clone()), 0, options).unwrap();
    task.step(&*clock).unwrap();
    assert_eq!(notes.runs(), [("facts.bulk", 256)], "a page that has begun is read to its end");
}

#[test]
fn bulk_is_read_while_its_reader_keeps_up() {
    let log = log(3);
    let (said, most) = (log.clone(), Arc::new(AtomicU64::new(0)));
    let seen = most.clone();
    // All ends are read before any position, as the other worker goes on meanwhile: so this is never more than what waited at one time.
    let waiting = move || -> u64 {
        let ends = [0, 1, 2].map(|partition| said.end_offset("amounts", partition).unwrap());
        let read = |partition| said.positions(faultline_stream::TaskId { stage: "reads", partition }).unwrap();
        let left = |(partition, end): (u32, u64)| end.saturating_sub(*read(partition).get(&("amounts", partition)).unwrap_or(&0));
        (0..).zip(ends).map(left).sum()
    };
    let notes = Notes::new(move |_| {
        seen.fetch_max(waiting(), Ordering::Relaxed);
    });
    say(&*log, FACTS_BULK, BULK);
    let options = HostOptions { bulk_records: 100, bulk_lag: 500, ..HostOptions::default() };
    let mut host = Host::new(log.clone(), options);
    host.add(notes).unwrap().add(Reads("")).unwrap();
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    assert_eq!((0..3).map(|partition| log.end_offset("amounts", partition).unwrap()).sum::<u64>(), BULK, "all is read");
    // Two workers may each have begun a helping at the bound.
    let most = most.load(Ordering::Relaxed);
    assert!((100..=700).contains(&most), "{most} records waited");
}

#[test]
fn a_reader_that_stopped_or_is_not_here_is_not_waited_for() {
    let options = HostOptions { bulk_records: 100, bulk_lag: 0, ..HostOptions::default() };
    let all = |log: &dyn Log| (0..2).map(|partition| log.end_offset("amounts", partition).unwrap()).sum::<u64>();
    let alone = log(2);
    say(&*alone, FACTS_BULK, BULK);
    let mut host = Host::new(alone.clone(), options);
    host.add(Notes::new(|_| ())).unwrap();
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    assert_eq!(all(&*alone), BULK);

    let stopped = log(2);
    say(&*stopped, FACTS_BULK, BULK);
    let mut host = Host::new(stopped.clone(), options);
    host.add(Notes::new(|_| ())).unwrap().add(Reads("key7")).unwrap();
    assert!(host.run_until_quiet(&NOON, &mut |_| ()).is_err());
    assert_eq!(all(&*stopped), BULK);
}

/// With a bound so low that bulk waits again and again, and a reader that works in slices.
#[test]
fn which_lane_a_record_took_shows_nowhere_at_rest() {
    let fact = |n: u64| (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f{} {n} 99999999999", n % 3).into_bytes()));
    let rest = |log: Arc<dyn Log>, lane: &dyn Fn(u64) -> Topic| {
        for n in 0..500 {
            append(&*log, lane(n), vec![fact(n)], NOON, &[]).unwrap();
        }
        let options = HostOptions { bulk_records: 3, bulk_lag: 2, slice_bytes: 100, ..HostOptions::default() };
        let mut host = Host::new(log.clone(), options);
        host.add(Amounts).unwrap().add(Sums).unwrap();
        host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
        let families = text(&host.telemetry().families());
        assert!(families.contains("faultline_tasks_bulk_waits{stage=\"amounts\"} 0"), "{families}");
        Rest::of(&*log).unwrap()
    };
    let memory = || Arc::new(MemoryLog::new(toys::plans(), 3).unwrap());
    let expected = rest(memory(), &|_| FACTS);
    assert_eq!(expected.topics["sums"].len(), 7);
    rest(memory(), &|_| FACTS_BULK).agrees_with(&expected).unwrap();
    rest(memory(), &|n| if n % 2 == 0 { FACTS_BULK } else { FACTS }).agrees_with(&expected).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedLog::open(folder.path(), toys::plans(), Options { partitions: 3, ..Options::default() }).unwrap();
    rest(Arc::new(embedded), &|n| if n % 3 == 0 { FACTS_BULK } else { FACTS }).agrees_with(&expected).unwrap();
}

#[test]
fn a_folder_from_before_the_lanes_gets_the_new_one_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { partitions: 2, ..Options::default() };
    let before: Vec<TopicPlan> = toys::plans().into_iter().filter(|plan| plan.name != FACTS_BULK.name).collect();
    let old = EmbeddedLog::open(folder.path(), before, options()).unwrap();
    append(&old, FACTS, vec![("shop-1".to_owned(), Some(b"1 f0 5 99999999999".to_vec()))], NOON, &[]).unwrap();
    old.close().unwrap();
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), toys::plans(), options()).unwrap());
    append(&*log, FACTS_BULK, vec![("shop-1".to_owned(), Some(b"2 f0 6 99999999999".to_vec()))], NOON, &[]).unwrap();
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    assert_eq!(Rest::of(&*log).unwrap().topics["amounts"].len(), 2);
}
