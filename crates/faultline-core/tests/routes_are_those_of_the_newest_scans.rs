//! Which routes hold, against a plain computation from all scans: entries of the newest full map and of the maps after it, visits of
//! the newest scan, however many scans are kept and however work is cut up. And what a known map costs when it comes again.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::track::Track;
use faultline_model::record::{FindingsRecord, RouteObserved};
use faultline_model::scan::{ScanCompleted, Scope};
use faultline_model::tracked::{TrackedRecord, TrackedRoute};
use proptest::prelude::*;
use support::*;

/// A scan of routes: (number of a route, whether it was visited).
#[derive(Clone, Debug)]
struct Routes {
    scan: Scan,
    seen: Vec<(u8, bool)>,
    families: Vec<String>,
}

/// The tables of single routes and of sets of them, by the first byte of a key; that of the routes that a line knows is left out.
const ROUTE_TABLES: [u8; 5] = [22, 23, 24, 25, 28];
const FAMILIES: [&str; 3] = ["csrf", "sql-injection", "xss"];

fn records(routes: &Routes) -> Vec<Record> {
    let mut records = vec![routes.scan.records().remove(0)];
    for (route, is_visit) in &routes.seen {
        records.push(finding_record(FindingsRecord::Route(RouteObserved {
            scan: routes.scan.id(),
            method: "GET".into(),
            path: format!("/{route}"),
            file: if *is_visit { String::new() } else { format!("src/{route}.rs") },
            symbol: String::new(),
            line: 0,
            parameters: Vec::new(),
            is_visit: *is_visit,
        })));
    }
    if routes.scan.ends {
        let end = ScanCompleted { scan: routes.scan.id(), observations: 0, families: routes.families.clone(), refused: 0 };
        records.push(finding_record(FindingsRecord::ScanCompleted(end)));
    }
    records
}

fn published(task: &Task) -> BTreeMap<(String, bool), Vec<String>> {
    let routes = task.facts().into_values().filter_map(|record| match record {
        TrackedRecord::Route(TrackedRoute { path, is_visit, families, .. }) => Some(((path, is_visit), families)),
        _ => None,
    });
    routes.collect()
}

/// What holds on each line, from its scans in their order; routes that hold on two lines count for the families of both.
fn plainly(all: &[Routes]) -> BTreeMap<(String, bool), Vec<String>> {
    let mut lines: BTreeMap<String, BTreeMap<(u8, bool), BTreeSet<String>>> = BTreeMap::new();
    for routes in all.iter().filter(|routes| routes.scan.ends) {
        let holding = lines.entry(routes.scan.started.environment.clone()).or_default();
        holding.retain(|(_, is_visit), _| !is_visit && !routes.scan.started.scope.is_full);
        let ran: BTreeSet<String> = routes.families.iter().filter(|family| family.as_str() != "csrf").cloned().collect();
        holding.extend(routes.seen.iter().map(|route| (*route, if route.1 { ran.clone() } else { BTreeSet::new() })));
    }
    let mut together: BTreeMap<(String, bool), BTreeSet<String>> = BTreeMap::new();
    for ((route, is_visit), families) in lines.into_values().flatten() {
        together.entry((format!("/{route}"), is_visit)).or_default().extend(families);
    }
    together.into_iter().map(|(route, families)| (route, families.into_iter().collect())).collect()
}

fn scans() -> impl Strategy<Value = Vec<Routes>> {
    let seen = prop::collection::vec((0_u8..6, any::<bool>()), 0..6);
    let families = prop::sample::subsequence(FAMILIES.to_vec(), 0..3);
    let scan = (prop::sample::select(vec!["prod", "prod", "test"]), any::<bool>(), prop::bool::weighted(0.85), seen, families);
    prop::collection::vec(scan, 1..10).prop_map(|all| {
        let routes = all.into_iter().zip(0..).map(|((environment, is_full, ends, seen, families), day)| {
            let mut scan = Scan::full(&day.to_string(), day, vec![]).on("", false).within(Scope { is_full, ..Scope::default() });
            scan.started.environment = environment.into();
            scan.started.tests_for = vec!["sql-injection".into(), "xss".into()];
            scan.ends = ends;
            Routes { scan, seen, families: families.into_iter().map(str::to_owned).collect() }
        });
        routes.collect()
    })
}

proptest! {
    #[test]
    fn routes_are_what_the_scans_say(all in scans(), kept in 1_usize..5, batch in 1_usize..20, slices in 0_usize..3, crash_every in 0_usize..4) {
        let mut task = Task::new(Track { scans_kept: kept, closed_at_once: slices, ..Track::default() });
        let cuts = Cuts { batches: vec![batch], slice_bytes: 1, slices, crash_every };
        let records: Vec<Record> = all.iter().flat_map(records).collect();
        task.run(&records, &cuts);
        task.pass(3 * 3_600_000);
        prop_assert_eq!(published(&task), plainly(&all));
        // The whole of it again changes nothing.
        task.run(&records, &cuts);
        prop_assert_eq!(published(&task), plainly(&all));
        // An empty map of each line, often enough that nothing else is kept, leaves no row of any route.
        for (name, environment) in [("a", "prod"), ("b", "test")] {
            for day in 100..=100 + kept as i64 {
                let mut scan = Scan::full(&format!("{name}{day}"), day, vec![]).on("", false);
                scan.started.environment = environment.into();
                task.run(&scan.records(), &cuts);
            }
        }
        task.pass(3 * 3_600_000);
        prop_assert!(published(&task).is_empty());
        let left: Vec<_> = task.store.iter().filter(|(key, _)| ROUTE_TABLES.contains(&key[0])).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_known_map_writes_next_to_nothing() {
    let routes = |day: i64, turned: bool| {
        let mut seen: Vec<(u8, bool)> = (0..200).map(|route| (route, false)).collect();
        if turned {
            seen.reverse();
        }
        Routes { scan: Scan::full(&day.to_string(), day, vec![]), seen, families: Vec::new() }
    };
    let mut task = Task::default();
    let cuts = Cuts { batches: vec![50], ..Cuts::default() };
    task.run(&records(&routes(1, false)), &cuts);
    for day in 2..6 {
        (task.state_bytes, task.tracked_writes) = (0, 0);
        task.run(&records(&routes(day, day % 2 == 0)), &cuts);
        // What any scan writes, five rows of marks in it: not one row a route.
        assert!(task.state_bytes < 2_500, "{} bytes for 200 routes", task.state_bytes);
        assert_eq!(task.tracked_writes, 1, "the line's own record");
    }
}
