//! One of several real brokers is killed and comes back, under load.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::sync::mpsc::channel;

use broker::{Broker, PATIENCE, assert_at_rest, assert_comes_to, assert_host_comes_to, times};
use work::{STAGES, TASKS, assert_each_key_has_one_home, assert_nothing_stopped, expected, run, say};

/// Three copies of all, of which two must be in sync: any one may go, with all that it leads and coordinates.
#[test]
fn a_broker_of_three_that_is_killed_and_comes_back_costs_time_and_nothing_else() {
    let Some(broker) = Broker::start_of(3, toys::plans(), &STAGES) else { return };
    let reader = broker.log("reader");
    let running = run(broker.log("one"));
    let (says, said) = channel();
    let all = std::thread::scope(|scope| {
        let (reader, running) = (&reader, &running);
        // Something is always on its way, and never much.
        let load = scope.spawn(move || {
            let mut next = 0;
            loop {
                say(&**reader, next);
                next += 1;
                assert_host_comes_to(running, reader, &expected(0..next));
                if says.send(()).is_err() {
                    return next;
                }
            }
        });
        // Both ends are moved, so that neither waits for the other where something is not as it should be.
        let said = said;
        let work_goes_on = |times| {
            while said.try_recv().is_ok() {}
            for _ in 0..times {
                said.recv_timeout(2 * PATIENCE).unwrap();
            }
        };
        for kill in 0..times("FAULTLINE_KAFKA_BROKER_KILLS", 2) {
            work_goes_on(1);
            let node = 1 + kill as u16 % 3;
            broker.kill_node(node);
            // The first of two can have been written before.
            work_goes_on(2);
            broker.begin();
            broker.assert_in_sync();
        }
        work_goes_on(1);
        drop(said);
        load.join().unwrap()
    });
    assert_at_rest(&running, TASKS, &reader);
    assert_nothing_stopped(&running);
    assert_comes_to(&reader, &expected(0..all));
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}
