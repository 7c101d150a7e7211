//! Laws 1 to 7 of correlate, over histories in which everything collides.

mod correlating;

use std::collections::{BTreeMap, BTreeSet};

use correlating::histories::{all_owned, event, history, history_of_a_file, history_of_links, schedule, shuffled};
use correlating::{Event, Schedule, World, in_code, tell_finding};
use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_model::id::Id;
use faultline_model::intel::{self, IntelRecord, KevEntry, Source};
use faultline_model::locus::Locus;
use faultline_model::risk::{FINDINGS_SHOWN, RiskState};
use faultline_model::share::Share;
use faultline_model::time::Timestamp;
use faultline_model::tracked::{self, FactKind, TrackedFinding, TrackedRecord};
use proptest::collection::vec;
use proptest::prelude::*;

/// Tables of copies: services, places, who looked at them, the policy, what exceptions were together, the ticket policy.
const COPIES: [u8; 6] = [13, 14, 15, 19, 23, 27];
const FINDINGS: u8 = 1;
const PUBLISHED: u8 = 3;
const SERVICES: u8 = 13;
const SHARED: u8 = 25;
/// The ticket policy, and what claims tickets.
const TICKET_TABLES: [u8; 2] = [27, 28];

fn told(history: &[Event], schedule: &Schedule) -> World {
    let (size, is_dropped, is_sliced, bytes) = schedule[0];
    // A third of the worlds do as much at once as in service, the others next to nothing.
    let mut world = match bytes % 3 {
        0 => World::new(),
        1 => World::bounded(0, 1 + usize::from(is_dropped), 1 + usize::from(is_sliced)),
        _ => World::bounded(size, size, size),
    };
    world.run(history, schedule);
    world
}

/// Tombstones of everything that is there.
fn all_gone(world: &World) -> Vec<Event> {
    let topics = &world.topics;
    let tracked = topics.tracked.keys().map(|key| Event::Tracked(key.clone(), None));
    let intel = topics.intel.keys().map(|key| Event::Intel(key.clone(), None));
    let exceptions = topics.exceptions.keys().map(|key| Event::Exception(key.clone(), None));
    tracked.chain(intel).chain(exceptions).chain(topics.catalog.keys().map(|key| Event::Catalog(key.clone(), None))).collect()
}

fn findings(world: &World) -> BTreeMap<(String, Id), TrackedFinding> {
    let facts = world.topics.tracked.iter().filter_map(|(key, record)| match (tracked::parse_key(key)?, record) {
        ((service, FactKind::Finding, id), TrackedRecord::Finding(finding)) if !finding.is_preview => {
            Some(((service.to_owned(), id), finding.clone()))
        }
        _ => None,
    });
    facts.collect()
}

/// The shares that are expected as long as no ticket is asked for.
fn without_fixes(world: &World) -> BTreeMap<String, Share> {
    world.expected_shares().into_iter().filter(|(_, share)| share.fix.is_none()).collect()
}

/// What was said of a risk must not be taken for what stands in the topic when its founder was elsewhere in between.
#[test]
fn a_founder_that_comes_back_before_its_unit_is_looked_at_is_said_again() {
    let mut world = World::bounded(0, 1, 1);
    let at = |file: &str| tell_finding(&in_code("a", "semgrep", 89, file, 10));
    world.tell([at("b.java")]);
    world.batch(&[at("a.java")], true);
    world.batch(&[at("b.java")], true);
    world.rest();
    assert!(matches!(world.only_risk().anchor, Locus::Code(code) if code.file == "b.java"));
}

/// The services and units of a table's rows.
fn units(world: &World, table: u8) -> BTreeSet<Vec<u8>> {
    let unit = |key: &[u8]| key[1..3 + usize::from(u16::from_be_bytes([key[1], key[2]])) + 16].to_vec();
    world.store.iter().filter(|(key, _)| key[0] == table).map(|(key, _)| unit(key)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// Law 1.
    #[test]
    fn the_stream_ends_where_the_plain_function_is(history in history(), schedule in schedule()) {
        let world = told(&history, &schedule);
        prop_assert_eq!(world.decoded(), world.expected());
        prop_assert_eq!(world.decoded_shares(), world.expected_shares());
        // A unit without a row there is not asked for its findings.
        prop_assert_eq!(units(&world, FINDINGS), units(&world, PUBLISHED));
    }

    /// Law 1, where scans of several tools come and go.
    #[test]
    fn places_are_compared_as_the_scans_that_are_there_say(history in history_of_a_file(), schedule in schedule()) {
        let world = told(&history, &schedule);
        prop_assert_eq!(world.decoded(), world.expected());
    }

    /// Law 1, where people confirm and reject links all the time.
    #[test]
    fn words_on_links_hold_while_they_are_said(history in history_of_links(), schedule in schedule()) {
        let world = told(&history, &schedule);
        prop_assert_eq!(world.decoded(), world.expected());
    }

    /// Law 2, and 5: restarts, batches and slices do not matter either.
    #[test]
    fn risks_do_not_depend_on_order_batches_slices_or_restarts(
        history in history(),
        seeds in vec(any::<u32>(), 1..70),
        one in schedule(),
        other in schedule(),
    ) {
        let shuffled = shuffled(&history, &seeds);
        let (one, other) = (told(&history, &one), told(&shuffled, &other));
        prop_assert_eq!(one.risks, other.risks);
        prop_assert_eq!(one.shares, other.shares);
    }

    /// As long as an older program may take over, exceptions are kept and not heeded; from then on it is as if they always had been.
    #[test]
    fn exceptions_are_heeded_once_an_older_program_cannot_take_over(
        before in history(),
        after in vec(event(), 0..20),
        schedule in schedule(),
    ) {
        let before = all_owned(&before);
        let mut world = World { format: 2, ..World::bounded(schedule[0].0, 2, 2) };
        world.run(&before, &schedule);
        prop_assert!(world.decoded().values().all(|risk| risk.exceptions.is_empty()) && world.shares.is_empty());
        let is_old = |(key, row): (&Vec<u8>, &Vec<u8>)| ![PUBLISHED, SERVICES].contains(&key[0]) || row[0] == 2;
        prop_assert!(world.store.iter().all(is_old));
        world.format = Correlate::FORMATS.newest;
        world.run(&after, &schedule);
        world.rest();
        prop_assert_eq!(world.decoded(), world.expected());
        prop_assert_eq!(world.decoded_shares(), world.expected_shares());
    }

    /// The same of what shares say of scores.
    #[test]
    fn shares_are_rated_once_an_older_program_cannot_take_over(
        before in history(),
        after in vec(event(), 0..20),
        schedule in schedule(),
    ) {
        let before = all_owned(&before);
        let mut world = World { format: 4, ..World::bounded(schedule[0].0, 2, 2) };
        world.run(&before, &schedule);
        world.rest();
        let unrated: BTreeMap<String, Share> =
            without_fixes(&world).into_iter().map(|(key, share)| (key, Share { rating: None, ..share })).collect();
        prop_assert_eq!(world.decoded_shares(), unrated);
        prop_assert!(world.store.iter().all(|(key, row)| ![PUBLISHED, SHARED].contains(&key[0]) || row[0] <= 4));
        world.format = Correlate::FORMATS.newest;
        world.run(&after, &schedule);
        world.rest();
        prop_assert_eq!(world.decoded_shares(), world.expected_shares());
        prop_assert!(world.decoded_shares().values().all(|share| share.rating.is_some() == (share.risks > 0)));
    }

    /// The same of tickets: whose a finding is that was there before is known once it is said again.
    #[test]
    fn tickets_are_asked_for_once_an_older_program_cannot_take_over(
        before in history(),
        after in vec(event(), 0..20),
        schedule in schedule(),
    ) {
        let before = all_owned(&before);
        let mut world = World { format: 5, ..World::bounded(schedule[0].0, 2, 2) };
        world.run(&before, &schedule);
        world.rest();
        prop_assert_eq!(world.decoded_shares(), without_fixes(&world));
        let is_new = |(key, row): (&Vec<u8>, &Vec<u8>)| TICKET_TABLES.contains(&key[0]) || ([FINDINGS, PUBLISHED, SHARED].contains(&key[0]) && row[0] > 5);
        prop_assert!(!world.store.iter().any(is_new));
        world.format = Correlate::FORMATS.newest;
        world.run(&after, &schedule);
        world.rest();
        prop_assert_eq!(world.decoded(), world.expected());
        prop_assert_eq!(world.decoded_shares(), world.expected_shares());
    }

    /// Law 3.
    #[test]
    fn what_is_said_again_changes_nothing(history in history(), schedule in schedule(), again in vec(any::<bool>(), 1..70)) {
        let twice: Vec<Event> =
            history.iter().zip(again.iter().cycle()).flat_map(|(event, again)| vec![event.clone(); 1 + usize::from(*again)]).collect();
        let mut world = told(&history, &schedule);
        let again = told(&twice, &schedule);
        prop_assert_eq!((&again.risks, &again.shares), (&world.risks, &world.shares));
        let facts = world.topics.tracked.clone().into_iter().map(|(key, record)| Event::Tracked(key, Some(record)));
        let (said, store) = (world.said, world.store.clone());
        world.tell(facts);
        prop_assert_eq!(world.said, said);
        prop_assert_eq!(world.store, store);
    }

    /// Law 4.
    #[test]
    fn what_is_taken_back_leaves_no_trace(history in history(), more in vec(event(), 1..20), schedule in schedule()) {
        let mut world = told(&history, &schedule);
        let before = world.topics.clone();
        let (risks, shares, now) = (world.risks.clone(), world.shares.clone(), world.now);
        let more: Vec<Event> = more.into_iter().filter(|event| !matches!(event, Event::Tick(_))).collect();
        world.run(&more, &schedule);
        let back: Vec<Event> = more.iter().map(|event| match event {
            Event::Tracked(key, _) => Event::Tracked(key.clone(), before.tracked.get(key).cloned()),
            Event::Catalog(key, _) => Event::Catalog(key.clone(), before.catalog.get(key).cloned()),
            Event::Intel(key, _) => Event::Intel(key.clone(), before.intel.get(key).cloned()),
            Event::Exception(key, _) => Event::Exception(key.clone(), before.exceptions.get(key).cloned()),
            Event::Tick(_) => event.clone(),
        }).collect();
        world.run(&back, &schedule);
        prop_assert_eq!(world.now, now);
        prop_assert_eq!(&world.risks, &risks);
        prop_assert_eq!(&world.shares, &shares);
        let gone = all_gone(&world);
        world.run(&gone, &schedule);
        prop_assert!(world.risks.is_empty() && world.shares.is_empty());
        // What is left are copies of global rows of services and assets that were there.
        let left: Vec<_> = world.store.iter().filter(|(key, _)| !COPIES.contains(&key[0])).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }

    /// Law 6.
    #[test]
    fn parts_sum_to_the_score_and_an_exploit_never_lowers_it(history in history(), schedule in schedule()) {
        let mut world = told(&history, &schedule);
        let before = world.decoded();
        for risk in before.values() {
            prop_assert_eq!(risk.score.contributions.iter().map(|line| line.points).sum::<i32>(), risk.score.total);
            prop_assert!((0..=1_000_000).contains(&risk.confidence_ppm));
        }
        let entry = KevEntry { name: "x".into(), added: Timestamp::default(), due: None, ransomware: true };
        world.tell([Event::Intel(intel::key("CVE-2020-1", Source::Kev), Some(IntelRecord::Kev(entry)))]);
        for (key, risk) in world.decoded() {
            let was = &before[&key];
            // An entry without a date takes back the date of the one that it replaces, and with it its age.
            let age_was_kev = was.score.due != risk.score.due;
            prop_assert!(age_was_kev || risk.score.total >= was.score.total, "{was:#?} {risk:#?}");
        }
    }

    /// Law 7.
    #[test]
    fn every_finding_has_exactly_one_home_and_evidence_exists(history in history(), schedule in schedule()) {
        let world = told(&history, &schedule);
        let findings = findings(&world);
        let mut homes: BTreeMap<(String, Id), usize> = BTreeMap::new();
        for risk in world.decoded().into_values() {
            prop_assert!(risk.findings.len() <= FINDINGS_SHOWN && risk.findings.len() == risk.findings_total as usize);
            for member in &risk.findings {
                let known = findings.get(&(risk.service.clone(), member.finding));
                prop_assert_eq!(known.map(|finding| finding.state), Some(member.state));
                if member.is_home {
                    *homes.entry((risk.service.clone(), member.finding)).or_default() += 1;
                }
            }
            let shows = |id: Id| risk.findings.iter().any(|member| member.finding == id);
            prop_assert!(risk.links.iter().all(|link| shows(link.from) && shows(link.to)));
            prop_assert!(shows(risk.founder));
            let counts = |id: Id| findings[&(risk.service.clone(), id)].state != tracked::FindingState::Closed;
            if risk.state == RiskState::Open {
                prop_assert!(risk.findings.iter().any(|member| member.is_home && counts(member.finding)));
            }
        }
        prop_assert!(findings.keys().all(|key| homes.get(key) == Some(&1)), "{homes:?}");
    }
}
