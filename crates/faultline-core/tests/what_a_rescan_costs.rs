//! A rescan of what is known: no word downstream, and next to nothing in state.

mod support;

use faultline_model::observation::Observation;
use support::*;

const FINDINGS: u32 = 20_000;

fn findings() -> Vec<Observation> {
    (0..FINDINGS)
        .map(|number| {
            seen("java/sql-injection", &format!("src/main/java/pkg{}/File{number}.java", number % 97), 7, &format!("{number:016x}"))
        })
        .collect()
}

/// The same order for every run, with neighbours far apart.
fn shuffled(mut all: Vec<Observation>) -> Vec<Observation> {
    all.sort_by_cached_key(|seen| *blake3::hash(format!("{:?}", seen.locus).as_bytes()).as_bytes());
    all
}

/// Bytes of state that a scan of known findings writes, and writes to `tracked` that are not of the line.
fn cost(task: &mut Task, scan: &Scan, batch: usize) -> (usize, usize) {
    let records = scan.records();
    (task.state_bytes, task.tracked_writes) = (0, 0);
    task.run(&records, &Cuts { batches: vec![batch], ..Cuts::default() });
    (task.state_bytes, task.tracked_writes)
}

#[test]
fn a_rescan_of_what_is_known_writes_a_byte_a_finding_and_says_nothing() {
    let (mut task, all) = (Task::default(), findings());
    cost(&mut task, &Scan::full("0", 0, all.clone()), 5000);
    let facts = task.findings();
    assert_eq!(facts.len(), FINDINGS as usize);
    for (started, order, most) in [(1, all.clone(), FINDINGS), (2, shuffled(all.clone()), 2 * FINDINGS), (3, all, FINDINGS)] {
        let (bytes, writes) = cost(&mut task, &Scan::full(&format!("{started}"), started, order), 5000);
        assert!(bytes <= most as usize, "{bytes} bytes for {FINDINGS} findings");
        assert_eq!(writes, 1, "the line's own record");
    }
    assert!(task.findings() == facts);
}

/// Most scans are small: what is kept of each beside its marks must be little as well.
#[test]
fn a_small_rescan_writes_a_byte_a_finding() {
    let (mut task, all) = (Task::default(), findings()[..182].to_vec());
    cost(&mut task, &Scan::full("0", 0, all.clone()), 5000);
    for (started, order) in [(1, all.clone()), (2, shuffled(all))] {
        let mut scan = Scan::full(&format!("{started}"), started, order);
        scan.started.revision = format!("{started:040x}");
        let (bytes, writes) = cost(&mut task, &scan, 5000);
        assert!(bytes <= 182, "{bytes} bytes for 182 findings");
        assert_eq!(writes, 1, "the line's own record");
    }
}

/// The same holds when each scan pushes the oldest one out of those that are kept.
#[test]
fn folding_the_oldest_scan_costs_no_more() {
    let mut task = Task::new(faultline_core::track::Track { scans_kept: 3, ..faultline_core::track::Track::default() });
    let all = findings();
    for started in 0..3 {
        cost(&mut task, &Scan::full(&format!("{started}"), started, all.clone()), 5000);
    }
    let facts = task.findings();
    for started in 3..7 {
        let (bytes, _) = cost(&mut task, &Scan::full(&format!("{started}"), started, shuffled(all.clone())), 5000);
        assert!(bytes <= 2 * FINDINGS as usize, "{bytes} bytes for {FINDINGS} findings");
    }
    assert!(task.findings() == facts);
}
