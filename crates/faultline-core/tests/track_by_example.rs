//! What track promises, case by case.

mod support;

use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_model::decision::{OutcomeStatus, Verdict, Word};
use faultline_model::id::Id;
use faultline_model::observation::{Observation, Severity};
use faultline_model::record::{FindingsRecord, RouteObserved};
use faultline_model::scan::{ScanCompleted, Scope};
use faultline_model::tracked::{FindingState, TrackedRecord, TrackedRoute};
use support::*;

fn a() -> Observation {
    seen("r1", "src/a.rs", 1, "q(x)")
}

fn b() -> Observation {
    seen("r1", "src/b.rs", 1, "q(y)")
}

fn run(task: &mut Task, scans: &[&Scan]) {
    for scan in scans {
        task.run(&scan.records(), &Cuts::default());
    }
}

fn within(paths: &[&str]) -> Scope {
    Scope { paths: paths.iter().map(|path| (*path).to_owned()).collect(), ..Scope::default() }
}

#[test]
fn an_empty_report_closes_only_what_its_scope_holds() {
    for (what, scope, state) in [
        ("without a scope", Scope::default(), FindingState::Open),
        ("of the whole asset", Scope { is_full: true, ..Scope::default() }, FindingState::Closed),
        ("of its folder", within(&["src"]), FindingState::Closed),
        ("of another folder", within(&["test"]), FindingState::Open),
        ("without its rule", Scope { is_full: true, rules: vec!["r2".into()], ..Scope::default() }, FindingState::Unknown),
    ] {
        let mut task = Task::default();
        run(&mut task, &[&Scan::full("1", 1, vec![a()]), &Scan::full("2", 2, vec![]).within(scope)]);
        assert_eq!(task.finding_in("src/a.rs").state, state, "an empty report {what}");
    }
}

#[test]
fn an_older_scan_that_comes_late_opens_nothing_that_a_newer_one_closed() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a()]), &Scan::full("3", 3, vec![]), &Scan::full("2", 2, vec![a(), b()])]);
    for file in ["src/a.rs", "src/b.rs"] {
        assert_eq!(task.finding_in(file).state, FindingState::Closed);
    }
    assert_eq!(task.finding_in("src/b.rs").first_seen, day(2));
}

#[test]
fn outcomes_count_what_became_of_each_observation() {
    let mut task = Task::default();
    let scans = [
        Scan::full("1", 1, vec![a(), b()]),
        Scan::full("2", 2, vec![a(), a()]),
        Scan::full("3", 3, vec![b(), seen("r1", "src/c.rs", 1, "")]),
    ];
    let counts: Vec<_> = scans
        .iter()
        .map(|scan| {
            run(&mut task, &[scan]);
            let outcome = task.outcome(&scan.id().to_string());
            assert_eq!((outcome.status, outcome.reason.as_str()), (OutcomeStatus::Done, ""));
            let counts = outcome.counts.unwrap();
            assert_eq!(counts.observed, counts.new + counts.known + counts.refused);
            (counts.observed, counts.new, counts.known, counts.reopened, counts.closed)
        })
        .collect();
    assert_eq!(counts, [(2, 2, 0, 0, 0), (2, 0, 2, 0, 1), (2, 1, 1, 1, 1)]);
}

#[test]
fn a_scan_whose_end_does_not_come_is_cut_off_and_closes_nothing() {
    let mut task = Task::default();
    let mut cut = Scan::full("2", 2, vec![b(), seen("r1", "src/c.rs", 1, "")]);
    cut.lost = vec![1];
    run(&mut task, &[&Scan::full("1", 1, vec![a()]), &cut]);
    assert!(task.outcomes.iter().all(|outcome| outcome.id != cut.id().to_string()), "it may still go on");
    task.pass(2 * 3_600_000);
    let outcome = task.outcome(&cut.id().to_string());
    assert_eq!(outcome.status, OutcomeStatus::Unfinished);
    assert!(outcome.reason.starts_with("1 of 2 observations came"), "{}", outcome.reason);
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Open);
    assert_eq!(task.finding_in("src/b.rs").state, FindingState::Open);
    // The rest comes after all.
    cut.lost = Vec::new();
    run(&mut task, &[&cut]);
    assert_eq!(task.outcome(&cut.id().to_string()).status, OutcomeStatus::Done);
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Closed);
}

#[test]
fn a_scan_dated_after_its_record_is_refused_until_its_day_comes() {
    let mut task = Task::default();
    let scan = Scan::full("1", 1002, vec![a()]);
    run(&mut task, &[&scan]);
    let outcome = task.outcome(&scan.id().to_string());
    assert_eq!(outcome.status, OutcomeStatus::Refused);
    assert!(outcome.reason.contains("set the clock"), "{}", outcome.reason);
    assert!(task.tracked.is_empty() && task.poisoned.is_empty());
    task.now = day(1002);
    run(&mut task, &[&scan]);
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Open);
}

#[test]
fn what_belongs_to_no_scan_is_poison_and_changes_nothing() {
    let mut task = Task::default();
    let scan = Scan::full("1", 1, vec![a()]);
    task.run(&scan.records()[1..], &Cuts::default());
    assert_eq!(task.poisoned.len(), 2);
    assert!(task.poisoned[0].contains("publish the scan's start first"));
    assert!(task.store.is_empty());
    let beyond = ScanCompleted { scan: scan.id(), observations: 0, families: vec![], refused: 0 };
    let mut records = scan.records();
    records.insert(1, finding_record(FindingsRecord::ScanCompleted(beyond)));
    task.run(&records, &Cuts::default());
    assert!(task.poisoned[2].contains("announced 0"), "{:?}", task.poisoned);
}

#[test]
fn a_verdict_survives_rescans_closing_moves_of_its_file_and_of_its_service() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    task.run(&[verdict("v", 5, id_of(&a()), Verdict::FalsePositive, Some(0))], &Cuts::default());
    let moved = seen("r1", "src/moved.rs", 40, "q(x)");
    run(&mut task, &[&Scan::full("2", 2, vec![a()]), &Scan::full("3", 3, vec![moved.clone()])]);
    let found = task.finding_in("src/moved.rs");
    assert_eq!(found.moved_from, Some(id_of(&a())));
    assert_eq!(found.verdict.unwrap().verdict, Verdict::FalsePositive);
    assert_eq!((found.first_seen, found.version), (day(1), 0));
    let record = places_record(Some(&places("", vec![rule("src", "cart", &[])])), ASSET);
    task.run(&[record], &Cuts::default());
    let found = task.finding_in("src/moved.rs");
    assert_eq!((found.service.as_str(), found.verdict.unwrap().verdict), ("cart", Verdict::FalsePositive));
    // A verdict of its own wins, a withdrawal too.
    task.run(&[verdict("w", 6, id_of(&moved), Verdict::Withdrawn, Some(0))], &Cuts::default());
    let found = task.finding_in("src/moved.rs");
    assert_eq!((found.verdict, found.version), (None, 1));
    assert_eq!(task.finding_in("src/a.rs").verdict.unwrap().verdict, Verdict::FalsePositive);
}

#[test]
fn a_severity_and_words_on_links_hold_until_they_are_taken_back() {
    let mut task = Task::default();
    let (id, code) = (id_of(&a()), Id::of("code", &[]));
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    task.run(&[severity("low", 5, id, Some(Severity::Low)), word("yes", 6, id, code, Word::Confirmed)], &Cuts::default());
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.severity(), found.observation.severity, found.version), (Severity::Low, Severity::High, 2));
    assert_eq!(found.words.iter().map(|given| (given.to, given.word, given.at)).collect::<Vec<_>>(), [(code, Word::Confirmed, day(6))]);
    task.run(&[severity("own", 7, id, None), word("no", 8, id, code, Word::Withdrawn)], &Cuts::default());
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.severity(), found.severity, found.words, found.version), (Severity::High, None, vec![], 4));
    task.run(&[word("self", 9, id, id, Word::Confirmed)], &Cuts::default());
    assert!(task.outcome("self").reason.contains("no link with itself"), "{}", task.outcome("self").reason);
    let many: Vec<Record> =
        (0..70_i32).map(|at| word(&at.to_string(), 10, id, Id::of("code", &[&at.to_be_bytes()]), Word::Rejected)).collect();
    task.run(&many, &Cuts::default());
    assert!(task.outcome("69").reason.contains("the most that are kept"), "{}", task.outcome("69").reason);
    assert_eq!(task.finding_in("src/a.rs").words.len(), 64);
}

/// Until the format is finalised an older version may take over, which could not read what is new.
#[test]
fn what_an_older_version_cannot_keep_waits_until_the_format_is_finalised() {
    let mut task = Task::default();
    task.format = Track::FORMATS.oldest;
    let id = id_of(&a());
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    let records = [
        verdict("v", 2, id, Verdict::Confirmed, None),
        severity("s", 3, id, Some(Severity::Low)),
        word("w", 4, id, id_of(&b()), Word::Confirmed),
    ];
    task.run(&records, &Cuts::default());
    assert_eq!(task.outcome("v").status, OutcomeStatus::Done);
    for key in ["s", "w"] {
        assert!(task.outcome(key).reason.ends_with("finalise it with state.format.track: 4"), "{}", task.outcome(key).reason);
    }
    assert!(task.store.iter().all(|(_, row)| row.first() != Some(&4)));
    // Rows of before are read after it, and written anew as they are touched.
    task.format = Track::FORMATS.newest;
    task.run(&[severity("again", 5, id, Some(Severity::Low))], &Cuts::default());
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.severity(), found.verdict.unwrap().verdict, found.version), (Severity::Low, Verdict::Confirmed, 2));
}

#[test]
fn a_decision_is_accepted_or_refused_once() {
    let mut task = Task::default();
    let id = id_of(&a());
    task.run(&[verdict("early", 1, id, Verdict::Confirmed, None)], &Cuts::default());
    assert!(task.outcome("early").reason.contains("publish a report for it first"));
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    let records = [
        verdict("one", 1, id, Verdict::Confirmed, Some(0)),
        verdict("stale", 2, id, Verdict::FalsePositive, Some(0)),
        assignment("two", 3, id, "team-cart"),
        verdict("one", 4, id, Verdict::FalsePositive, None),
        verdict("nobody", 5, id_of(&b()), Verdict::Confirmed, None),
    ];
    task.run(&records, &Cuts::default());
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.verdict.unwrap().verdict, found.version), (Verdict::Confirmed, 2));
    assert_eq!(found.assignment.unwrap().assignment.to, "team-cart");
    let status = |key: &str| (task.outcome(key).status, task.outcome(key).at);
    assert_eq!(status("one"), (OutcomeStatus::Done, day(1)), "the first word of a key stands");
    assert_eq!(task.outcomes.iter().filter(|outcome| outcome.id == "one").count(), 2);
    assert_eq!(status("stale").0, OutcomeStatus::Refused);
    assert!(task.outcome("stale").reason.contains("there are 1"), "{}", task.outcome("stale").reason);
    assert_eq!(status("nobody").0, OutcomeStatus::Refused);
    // Each is accounted for once, with what became of it.
    let told: Vec<(&str, OutcomeStatus)> = task.acts.iter().map(|act| (act.key.as_str(), act.status)).collect();
    let (done, refused) = (OutcomeStatus::Done, OutcomeStatus::Refused);
    assert_eq!(told, [("early", refused), ("one", done), ("stale", refused), ("two", done), ("nobody", refused)]);
    let stale = &task.acts[2];
    assert_eq!((stale.at, stale.because.as_str()), (day(2), task.outcome("stale").reason.as_str()));
    assert!(stale.what.starts_with("{\"kind\":\"verdict\"") && stale.what.contains("false_positive"), "{}", stale.what);
}

#[test]
fn a_scan_that_was_taken_back_leaves_no_trace_and_stays_away() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    let before = task.tracked.clone();
    let mut other = a();
    other.severity = Severity::Low;
    let mistake = Scan::full("2", 2, vec![b(), other]);
    run(&mut task, &[&mistake]);
    assert_ne!(task.tracked, before);
    task.run(&[retraction("oops", mistake.id())], &Cuts::default());
    assert_eq!(task.tracked, before);
    run(&mut task, &[&mistake]);
    assert_eq!(task.tracked, before);
    assert!(task.outcome(&mistake.id().to_string()).reason.contains("taken back"));
    task.run(&[retraction("unknown", Id::of("scan", &[b"?"]))], &Cuts::default());
    assert_eq!(task.outcome("unknown").status, OutcomeStatus::Refused);
}

#[test]
fn a_retired_asset_closes_and_a_newer_scan_finds_it_again() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a(), b()])]);
    task.run(&[retirement("gone", 5)], &Cuts::default());
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.state, found.state_since), (FindingState::Closed, day(5)));
    run(&mut task, &[&Scan::full("4", 4, vec![a(), b()])]);
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Closed, "that scan began before");
    run(&mut task, &[&Scan::full("6", 6, vec![a()])]);
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Open);
    assert_eq!(task.finding_in("src/b.rs").state, FindingState::Closed);
}

#[test]
fn two_words_of_one_scan_on_one_finding_end_alike_in_any_order() {
    let mut low = a();
    low.severity = Severity::Low;
    let ends: Vec<_> = [vec![a(), low.clone()], vec![low.clone(), a()], vec![low.clone(), a(), low.clone()]]
        .into_iter()
        .flat_map(|order| {
            [1, 2, 5].map(|batch| {
                let mut task = Task::default();
                run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
                let cuts = Cuts { batches: vec![batch], ..Cuts::default() };
                task.run(&Scan::full("2", 2, order.clone()).records(), &cuts);
                task.finding_in("src/a.rs")
            })
        })
        .collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn branches_that_are_not_the_default_one_make_previews() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a()]).on("feature", false)]);
    assert!(task.finding_in("src/a.rs").is_preview);
    // Merged: it is on the default branch now, and stays closed on the other.
    run(&mut task, &[&Scan::full("2", 2, vec![a()]), &Scan::full("3", 3, vec![]).on("feature", false)]);
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.is_preview, found.state, found.lines.len()), (false, FindingState::Open, 2));
    // The catalog's word on which branch counts wins.
    task.run(&[places_record(Some(&places("feature", vec![])), ASSET)], &Cuts::default());
    assert_eq!(task.finding_in("src/a.rs").state, FindingState::Closed);
}

#[test]
fn a_changed_catalog_moves_exactly_and_says_where_to() {
    let mut task = Task::default();
    let rules = vec![rule("", "shop", &["web"]), rule("src", "cart", &[])];
    task.run(&[places_record(Some(&places("", rules)), ASSET)], &Cuts::default());
    run(&mut task, &[&Scan::full("1", 1, vec![a(), seen("r1", "test/c.rs", 1, "")])]);
    let services = |task: &Task| {
        let mut all: Vec<(String, bool)> = task.findings().into_iter().map(|finding| (finding.service, finding.is_owner)).collect();
        all.sort();
        all
    };
    assert_eq!(services(&task), [("cart".into(), true), ("shop".into(), true), ("web".into(), false)]);
    let writes = task.tracked_writes;
    let rules = vec![rule("", "shop", &["web"]), rule("src", "checkout", &[])];
    task.run(&[places_record(Some(&places("", rules)), ASSET)], &Cuts::default());
    assert_eq!(services(&task), [("checkout".into(), true), ("shop".into(), true), ("web".into(), false)]);
    // The finding and the line: new at one, gone from another; the line stays at two more.
    assert_eq!(task.tracked_writes - writes, 2 + 3 + 1);
    let went = task.tracked.iter().filter(|(key, _)| key.starts_with("cart\u{1f}"));
    for (_, value) in went.clone() {
        let TrackedRecord::Went(went) = faultline_model::avro::decode(value).unwrap() else { panic!("it is still there") };
        assert!(went.to.contains(&"checkout".to_owned()));
    }
    assert_eq!(went.count(), 2);
    task.pass(8 * DAY);
    assert!(!task.tracked.keys().any(|key| key.starts_with("cart\u{1f}")));
    // A record at a prefix of the asset counts where the asset has none.
    task.run(&[places_record(None, ASSET)], &Cuts::default());
    let mut of_all = places("", vec![rule("", "platform", &[])]);
    of_all.assets = "repo:github.com/acme/*".into();
    task.run(&[places_record(Some(&of_all), "repo:github.com/acme/*")], &Cuts::default());
    assert_eq!(services(&task), [("platform".into(), true), ("platform".into(), true)]);
}

#[test]
fn a_service_that_gets_a_finding_back_keeps_it() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("1", 1, vec![a()])]);
    for owner in ["shop", "cart", "shop"] {
        task.run(&[places_record(Some(&places("", vec![rule("", owner, &[])])), ASSET)], &Cuts::default());
        task.now = faultline_model::time::Timestamp::from_millis(task.now.millis() + DAY);
    }
    task.pass(30 * DAY);
    assert_eq!(task.finding_in("src/a.rs").service, "shop");
    assert_eq!(task.tracked.len(), 2, "the finding and its line, at one service");
}

/// More findings with one rule and snippet than are looked through make no move.
#[test]
fn among_too_many_alike_no_move_is_seen() {
    for (alike, moves) in [(60, true), (70, false)] {
        let mut task = Task::default();
        let others = |from: usize| (from..alike).map(|number| seen("r1", &format!("lib/{number}.rs"), 1, "q(x)"));
        run(&mut task, &[&Scan::full("1", 1, others(0).collect())]);
        let mut after: Vec<Observation> = others(1).collect();
        after.push(seen("r1", "src/moved.rs", 1, "q(x)"));
        run(&mut task, &[&Scan::full("2", 2, after)]);
        assert_eq!(task.finding_in("src/moved.rs").moved_from.is_some(), moves, "{alike} alike");
    }
}

/// What comes when it is older than all that are kept counts for first seen, and cannot be taken back.
#[test]
fn what_is_too_old_counts_for_first_seen_alone() {
    let mut task = Task::new(Track { scans_kept: 2, ..Track::default() });
    let scans: Vec<Scan> = (3..6).map(|day| Scan::full(&format!("{day}"), day, vec![a()])).collect();
    run(&mut task, &scans.iter().collect::<Vec<_>>());
    let old = Scan::full("1", 1, vec![a(), b()]);
    run(&mut task, &[&old]);
    let found = task.finding_in("src/a.rs");
    assert_eq!((found.first_seen, found.state_since, found.state), (day(1), day(3), FindingState::Open));
    let found = task.finding_in("src/b.rs");
    assert_eq!((found.first_seen, found.state), (day(1), FindingState::Closed));
    task.run(&[retraction("old", old.id())], &Cuts::default());
    assert_eq!(task.outcome("old").status, OutcomeStatus::Refused);
    let known = task.facts();
    run(&mut task, &[&old, &scans[0]]);
    assert_eq!(task.facts(), known);
}

fn route(scan: &Scan, path: &str, file: &str) -> Record {
    let is_visit = file.is_empty();
    let route = RouteObserved {
        scan: scan.id(),
        method: "GET".into(),
        path: path.into(),
        file: file.into(),
        symbol: String::new(),
        line: 0,
        parameters: vec!["id".into()],
        is_visit,
    };
    finding_record(FindingsRecord::Route(route))
}

fn publish_routes(task: &mut Task, scan: &Scan, routes: &[(&str, &str)], families: &[&str]) {
    let mut records = vec![scan.records().remove(0)];
    records.extend(routes.iter().map(|(path, file)| route(scan, path, file)));
    let families = families.iter().map(|family| (*family).to_owned()).collect();
    let end = ScanCompleted { scan: scan.id(), observations: 0, families, refused: 0 };
    records.push(finding_record(FindingsRecord::ScanCompleted(end)));
    let twice: Vec<Record> = records.iter().flat_map(|record| [record.clone(), record.clone()]).collect();
    task.run(&twice, &Cuts { batches: vec![2], ..Cuts::default() });
}

fn routes(task: &Task) -> Vec<(String, Vec<String>)> {
    let all = task.facts().into_values().filter_map(|record| match record {
        TrackedRecord::Route(TrackedRoute { path, families, .. }) => Some((path, families)),
        _ => None,
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

#[test]
fn a_route_map_is_the_newest_full_one_and_what_came_after() {
    let mut task = Task::default();
    let paths = |task: &Task| routes(task).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    publish_routes(&mut task, &Scan::full("1", 1, vec![]), &[("/a", "src/a.rs"), ("/b", "src/b.rs")], &[]);
    publish_routes(&mut task, &Scan::full("2", 2, vec![]).within(within(&["src/c.rs"])), &[("/c", "src/c.rs")], &[]);
    assert_eq!(paths(&task), ["/a", "/b", "/c"]);
    let newer = Scan::full("3", 3, vec![]);
    publish_routes(&mut task, &newer, &[("/a", "src/a.rs")], &[]);
    assert_eq!(paths(&task), ["/a"]);
    publish_routes(&mut task, &Scan::full("late", 0, vec![]), &[("/old", "src/old.rs")], &[]);
    assert_eq!(paths(&task), ["/a"]);
    task.run(&[retraction("oops", newer.id())], &Cuts::default());
    assert_eq!(paths(&task), ["/a", "/b", "/c"]);
    task.run(&[retirement("gone", 5)], &Cuts::default());
    assert!(paths(&task).is_empty());
}

#[test]
fn visits_are_those_of_the_newest_scan_with_the_families_that_it_ran() {
    let mut task = Task::new(Track { scans_kept: 2, ..Track::default() });
    let scan = |day: i64| {
        let mut scan = Scan::full(&format!("{day}"), day, vec![]).on("", false);
        scan.started.environment = "staging".into();
        scan.started.tests_for = vec!["xss".into(), "sql-injection".into()];
        scan
    };
    publish_routes(&mut task, &scan(1), &[("/a", ""), ("/b", "")], &["sql-injection", "csrf"]);
    let tested = vec!["sql-injection".to_owned()];
    assert_eq!(routes(&task), [("/a".to_owned(), tested.clone()), ("/b".to_owned(), tested.clone())]);
    for day in 2..6 {
        publish_routes(&mut task, &scan(day), &[("/a", "")], &["xss", "sql-injection"]);
        assert_eq!(routes(&task), [("/a".to_owned(), vec!["sql-injection".to_owned(), "xss".to_owned()])]);
    }
    let mut cut = scan(9);
    cut.ends = false;
    task.run(&[cut.records().remove(0), route(&cut, "/z", "")], &Cuts::default());
    assert_eq!(routes(&task).len(), 1, "a scan that is not complete says nothing of routes");
}

/// What was seen before the timeout stands among the marks when the rest comes.
#[test]
fn a_scan_whose_rest_comes_after_its_timeout_closes_nothing_that_it_saw() {
    let mut task = Task::default();
    run(&mut task, &[&Scan::full("before", 1, vec![a(), b()])]);
    let records = Scan::full("cut", 2, vec![a(), b()]).records();
    task.run(&[records[0].clone(), records[1].clone(), records[3].clone()], &Cuts::default());
    task.pass(2 * 3_600_000);
    task.run(&records[2..3], &Cuts::default());
    assert_eq!(task.findings().iter().map(|finding| finding.state).collect::<Vec<_>>(), [FindingState::Open; 2]);
}

/// A line that nothing is left of may still have left a finding, for the decision on it.
#[test]
fn a_decision_outlives_a_scan_that_was_taken_back() {
    let mut task = Task::default();
    let (first, again) = (Scan::full("first", 1, vec![a()]), Scan::full("again", 2, vec![a()]));
    run(&mut task, &[&first]);
    task.run(&[verdict("no", 1, id_of(&a()), Verdict::FalsePositive, None), retraction("oops", first.id())], &Cuts::default());
    assert!(task.findings().is_empty());
    run(&mut task, &[&again]);
    let verdicts = task.findings().into_iter().map(|finding| finding.verdict.map(|given| given.verdict));
    assert_eq!(verdicts.collect::<Vec<_>>(), [Some(Verdict::FalsePositive)]);
}
