//! A move is shown by one scan. That scan goes into the floor one day: when it does, and how far that work has come, shows nowhere.

mod support;

use faultline_core::track::Track;
use faultline_model::decision::Verdict;
use faultline_model::observation::Observation;
use support::*;

fn before() -> Observation {
    seen("r1", "src/a.rs", 1, "q(x)")
}

fn after() -> Observation {
    seen("r1", "src/moved.rs", 40, "q(x)")
}

fn keeping(scans_kept: usize) -> Task {
    // All in slices.
    Task::new(Track { scans_kept, closed_at_once: 0, ..Track::default() })
}

/// Work between records in all amounts from none to all, in the smallest slices.
fn cuts() -> impl Iterator<Item = Cuts> {
    (0..40).map(|slices| Cuts { batches: vec![1], slice_bytes: 1, slices, crash_every: 0 })
}

#[test]
fn a_late_scan_older_than_all_that_are_kept_changes_no_move() {
    // The second shows the move; the third and fourth push it out; the last says that the new place was known long before.
    let scans = [
        Scan::full("1", 1, vec![before()]),
        Scan::full("2", 2, vec![after()]),
        Scan::full("3", 3, vec![after()]),
        Scan::full("4", 4, vec![after()]),
        Scan::full("late", 0, vec![after()]),
    ];
    for kept in 1..5 {
        for cuts in cuts() {
            let mut task = keeping(kept);
            task.run(&scans.iter().flat_map(Scan::records).collect::<Vec<_>>(), &cuts);
            // Four are kept only where the late one is the oldest of five: then it is too old as well.
            let found = task.finding_in("src/moved.rs");
            assert_eq!(found.moved_from, Some(id_of(&before())), "{kept} kept, {} slices", cuts.slices);
            assert_eq!(found.first_seen, day(0), "{kept} kept, {} slices", cuts.slices);
        }
    }
}

#[test]
fn a_scan_that_is_folded_in_part_shows_the_same_moves() {
    // More findings than a block holds, so that the two places of one move lie in two blocks.
    let many = 4_100;
    let others: Vec<Observation> = (0..many).map(|n| seen("r2", &format!("src/{n}.rs"), 1, &format!("q({n})"))).collect();
    let with = |one: Observation| std::iter::once(one).chain(others.iter().cloned()).collect::<Vec<_>>();
    let mut task = keeping(1);
    for (name, day, seen) in [("1", 1, before()), ("2", 2, after())] {
        task.run(&Scan::full(name, day, with(seen)).records(), &Cuts::default());
    }
    // The third pushes out the second, which shows the move; a decision has it worked out anew at each step of that.
    let third = Scan::full("3", 3, with(after()));
    let one_step = Cuts { slices: 1, slice_bytes: 1, ..Cuts::default() };
    task.batch(&third.records(), &one_step);
    let mut is_left = true;
    for step in 0.. {
        task.batch(&[verdict(&format!("v{step}"), step, id_of(&after()), Verdict::Confirmed, None)], &one_step);
        assert_eq!(task.finding_in("src/moved.rs").moved_from, Some(id_of(&before())), "after {step} steps");
        if !is_left {
            break;
        }
        is_left = task.slice(&one_step) == faultline_core::stage::Pending::Some;
    }
}
