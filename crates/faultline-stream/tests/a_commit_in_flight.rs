//! While a commit is in flight the next batch is worked on over what it changes; both come to nothing if it fails.
#![allow(clippy::unwrap_used)]

mod toys;

use std::sync::Arc;

use faultline_core::stage::Stage;
use faultline_model::time::Timestamp;
use faultline_stream::testing::{Fault, FaultyLog, Rest};
use faultline_stream::{Host, HostOptions, Log, MemoryLog, Step, Task, TaskId, Work, append};
use toys::{AMOUNTS, Amounts, FACTS, Sums};

const NOON: Timestamp = Timestamp::from_millis(43_200_000);
const TASK: TaskId = TaskId { stage: Amounts::NAME, partition: 0 };
/// More looks than any test makes.
const LONG: u32 = 1_000;

/// Facts of which half are said again, so that a batch that does not see the one before it says too much.
fn log() -> Arc<FaultyLog> {
    let log = Arc::new(FaultyLog::new(MemoryLog::new(toys::plans(), 1).unwrap()));
    let fact = |n: u32| (format!("service{}-{}", n % 7, n % 31), Some(format!("{} f{} {n} 99999999999", n % 50, n % 3).into_bytes()));
    append(&*log, FACTS, (0..100).chain(50..150).map(fact).collect(), NOON, &[]).unwrap();
    log
}

fn options() -> HostOptions {
    HostOptions { batch_records: 40, page_records: 20, ..HostOptions::default() }
}

fn open(log: &Arc<FaultyLog>) -> Task<Amounts> {
    Task::open(log.clone(), Arc::new(Amounts), 0, options()).unwrap()
}

fn rest_of(log: &Arc<FaultyLog>, looks: u32) -> Rest {
    log.disarm();
    log.defer(looks);
    let mut host = Host::new(log.clone(), options());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&NOON, &mut |_| ()).unwrap();
    Rest::of(&**log).unwrap()
}

fn position(log: &FaultyLog) -> u64 {
    log.positions(TASK).unwrap().values().copied().max().unwrap_or(0)
}

#[test]
fn nothing_of_a_batch_is_seen_before_its_commit_has_ended() {
    let log = log();
    let mut task = open(&log);
    log.defer(LONG);
    assert_eq!(task.step(&NOON).unwrap(), Step { consumed: 0, had_effect: true, is_committing: true });
    assert_eq!((position(&log), log.end_offset(AMOUNTS.name, 0).unwrap()), (0, 0));
    // The next one is attempted meanwhile, and begins when this one has ended.
    assert_eq!(task.step(&NOON).unwrap(), Step { consumed: 40, had_effect: true, is_committing: true });
    assert_eq!(position(&log), 40);
    task.rest();
    assert_eq!(position(&log), 80);
}

#[test]
fn a_batch_over_one_that_fails_is_dropped_with_it() {
    let expected = rest_of(&log(), 0);
    for (fault, committed) in [(Fault::CommitRefused, 0), (Fault::AnswerLost, 40)] {
        for opened_anew in [true, false] {
            let log = log();
            let mut task = open(&log);
            log.defer(LONG);
            task.step(&NOON).unwrap();
            log.arm(fault);
            assert!(task.step(&NOON).is_err());
            assert_eq!(position(&log), committed, "{fault:?}: only what was in flight can be there");
            // A task that knows that nothing is there goes on itself.
            if opened_anew || committed > 0 {
                task = open(&log);
            }
            while position(&log) < 200 {
                task.step(&NOON).unwrap();
            }
            task.rest();
            rest_of(&log, 0).agrees_with(&expected).unwrap();
        }
    }
}

#[test]
fn a_task_that_is_dropped_in_flight_goes_on_from_what_is_committed() {
    let expected = rest_of(&log(), 0);
    for lands in [true, false] {
        let log = log();
        let mut task = open(&log);
        log.defer(LONG);
        task.step(&NOON).unwrap();
        task.step(&NOON).unwrap();
        if lands {
            log.land();
        }
        drop(task);
        assert_eq!(position(&log), if lands { 80 } else { 40 });
        rest_of(&log, 0).agrees_with(&expected).unwrap();
    }
}

#[test]
fn what_is_less_than_a_page_waits_for_the_commit_in_flight() {
    let log = log();
    let mut task = open(&log);
    while position(&log) < 200 {
        task.step(&NOON).unwrap();
    }
    log.defer(LONG);
    let say = || append(&*log, FACTS, vec![("shop-1".to_owned(), Some(b"a f0 7 99999999999".to_vec()))], NOON, &[]).unwrap();
    say();
    assert!(task.step(&NOON).unwrap().is_committing);
    say();
    assert_eq!(task.step(&NOON).unwrap(), Step { consumed: 0, had_effect: false, is_committing: true });
    log.land();
    assert_eq!(task.step(&NOON).unwrap(), Step { consumed: 1, had_effect: true, is_committing: true });
}

#[test]
fn a_host_with_a_commit_in_flight_is_not_quiet() {
    let expected = rest_of(&log(), 0);
    let log = log();
    rest_of(&log, 3).agrees_with(&expected).unwrap();
    assert_eq!(position(&log), 200);
}
