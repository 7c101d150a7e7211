//! Laws of notify, over histories of few risks and exceptions that change all the time, and of destinations that take, fail or refuse what they are told.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::notify::{Destination, Due, Notify, due, undelivered};
use faultline_core::stage::{Batch, Globals, Home, Input, Pending, Stage, home_of};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, Node, Service, node_key, service_key};
use faultline_model::exception::{Broken, Stage as Standing};
use faultline_model::id::Id;
use faultline_model::notice::{Delivery, DeliveryStatus, Notice, NoticeKind};
use faultline_model::partition::first_part;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{self, EvidenceState, Risk, RiskState};
use faultline_model::testing::records;
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, DELIVERIES, NOTICES, RISK_REGISTRY, RISKS, Topic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const MINUTE: i64 = 60_000;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A risk of a service as it is now; gone where there is none.
    Risk(u8, Option<(RiskState, EvidenceState, i32)>),
    /// An exception as it stands now, after so many steps.
    Entry(u8, Standing, i32),
    /// A destination takes, or fails at, the oldest that it is told, or says again what it said before.
    Told(&'static str, DeliveryStatus, bool),
    Tick(i64),
}

struct Organisation;

impl Globals for Organisation {
    fn get(&self, topic: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        assert_eq!(topic, CATALOG);
        let owners = Vec::new;
        let node = |id: &str, parent: &str| {
            CatalogRecord::Node(Node { id: id.into(), name: id.into(), kind: String::new(), parent: parent.into(), owners: owners() })
        };
        let service = |id: &str, parent: &str| {
            let (name, path) = (id.to_owned(), vec![parent.to_owned()]);
            let (tier, exposure, data) = (3, "internal".to_owned(), Vec::new());
            CatalogRecord::Service(Service { id: id.into(), name, parent: parent.into(), tier, exposure, data, owners: owners(), path })
        };
        let all = [
            (node_key("acme"), node("acme", "")),
            (node_key("retail"), node("retail", "acme")),
            (node_key("bank"), node("bank", "acme")),
            (service_key("shop"), service("shop", "retail")),
            (service_key("pay"), service("pay", "bank")),
        ];
        Ok(all.into_iter().find(|(known, _)| known == key).map(|(_, record)| avro::encode(record).unwrap()))
    }
}

fn stage() -> Notify {
    let destination = |name: &str, kinds: &[NoticeKind], within: &[&str], score_at_least: i32| Destination {
        name: name.into(),
        kinds: kinds.to_vec(),
        within: within.iter().map(ToString::to_string).collect(),
        score_at_least,
    };
    let destinations = vec![
        destination("all", &NoticeKind::ALL, &[], 0),
        destination("retail", &[NoticeKind::RiskVerified, NoticeKind::ExceptionSuspended], &["retail"], 500),
    ];
    Notify { destinations, kept_ms: 10 * MINUTE }
}

/// Any record, to be changed where it matters.
fn some<S: Strategy>(strategy: S) -> S::Value {
    strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

fn risk_of(slot: u8) -> (String, Id) {
    let service = ["shop", "pay", "web"][usize::from(slot % 3)];
    (service.to_owned(), Id([slot; 16]))
}

type Record = (Topic, String, Option<Vec<u8>>);

/// The stage over memory, with all that it said.
struct World {
    stage: Notify,
    risk: Risk,
    entry: RegisterEntry,
    store: MemoryStore,
    now: Timestamp,
    said: Vec<Notice>,
    /// What destinations said last.
    last: BTreeMap<&'static str, Record>,
    taken: BTreeMap<(String, Id), usize>,
}

impl World {
    fn new() -> Self {
        let (store, now) = (MemoryStore::default(), Timestamp::from_millis(1_000 * MINUTE));
        let (risk, entry) = (some(records::risks()), some(records::register_entries()));
        let mut world = Self { stage: stage(), risk, entry, store, now, said: Vec::new(), last: BTreeMap::new(), taken: BTreeMap::new() };
        // As a host does when it opens a task.
        while world.slice() {}
        world
    }

    fn record(&mut self, event: &Event) -> Option<Record> {
        match event {
            Event::Tick(_) => None,
            Event::Risk(slot, now) => {
                let (service, risk) = risk_of(*slot);
                let key = risk::key(&service, risk);
                let value = now.map(|(state, evidence, score)| {
                    let mut record = Risk { risk, service, state, evidence, ..self.risk.clone() };
                    record.score.total = score;
                    avro::encode(record).unwrap()
                });
                Some((RISKS, key, value))
            }
            Event::Entry(slot, stage, version) => {
                let entry = Id([100 + slot; 16]);
                let mut record = RegisterEntry { entry, stage: *stage, version: *version, highest: 700, ..self.entry.clone() };
                record.broken = if *stage == Standing::Suspended { vec![Broken::InKev] } else { Vec::new() };
                record.terms.scope.within = vec![["service/shop", "bank"][usize::from(*slot)].to_owned()];
                Some((RISK_REGISTRY, entry.to_string(), Some(avro::encode(record).unwrap())))
            }
            Event::Told(destination, status, is_again) => {
                if *is_again {
                    return self.last.get(destination).cloned();
                }
                let Due { notice, attempts, .. } = due(&self.store, destination, 1).unwrap().pop()?;
                let again_at = (*status == DeliveryStatus::Failed).then(|| Timestamp::from_millis(self.now.millis() + MINUTE));
                let delivery = Delivery {
                    notice: notice.id,
                    destination: (*destination).to_owned(),
                    attempt: attempts + 1,
                    status: *status,
                    reason: String::new(),
                    at: self.now,
                    again_at,
                };
                if *status == DeliveryStatus::Delivered {
                    *self.taken.entry(((*destination).to_owned(), notice.id)).or_default() += 1;
                }
                let record = (DELIVERIES, notice.delivery_key(destination), Some(avro::encode(delivery).unwrap()));
                self.last.insert(destination, record.clone());
                Some(record)
            }
        }
    }

    fn work(&mut self, is_kept: bool, work: impl FnOnce(&Notify, &mut Batch<'_>) -> bool) -> bool {
        let (done, changes, outputs) = {
            let mut batch = Batch::new(Overlay::new(&self.store), &Organisation, self.now);
            let done = work(&self.stage, &mut batch);
            let (changes, outputs) = batch.into_parts();
            (done, changes, outputs)
        };
        if is_kept {
            self.store.apply(changes);
            for output in outputs {
                // That somebody is no destination any more is said where it is looked for.
                if output.topic == DELIVERIES {
                    continue;
                }
                assert_eq!(output.topic, NOTICES);
                let notice: Notice = avro::decode(&output.value.unwrap()).unwrap();
                assert_eq!(output.key, notice.id.to_string());
                self.said.push(notice);
            }
        }
        done
    }

    fn inputs(&mut self, records: &[Record], is_kept: bool) {
        self.work(is_kept, |stage, batch| {
            for (topic, key, value) in records {
                let input = Input { topic: *topic, key, value: value.as_deref(), time: batch.now };
                stage.apply(batch, &mut (), &input).unwrap();
            }
            stage.end(batch, ()).unwrap();
            false
        });
    }

    fn slice(&mut self) -> bool {
        self.work(true, |stage, batch| stage.slice(batch, 1).unwrap() == Pending::Some)
    }

    /// In batches of such sizes, of which some are worked twice, as after a crash. Who is told sees what is committed only.
    fn run(&mut self, events: &[Event], schedule: &[(usize, bool, bool)]) {
        let mut schedule = schedule.iter().cycle();
        let mut waiting: Vec<Record> = Vec::new();
        let (mut size, mut is_dropped, mut is_sliced) = *schedule.next().unwrap();
        for event in events {
            if matches!(event, Event::Told(..) | Event::Tick(_)) || waiting.len() >= size {
                if is_dropped {
                    self.inputs(&waiting, false);
                }
                self.inputs(&std::mem::take(&mut waiting), true);
                if is_sliced {
                    self.slice();
                }
                (size, is_dropped, is_sliced) = *schedule.next().unwrap();
            }
            if let Event::Tick(minutes) = event {
                self.now = Timestamp::from_millis(self.now.millis() + minutes * MINUTE);
                while self.slice() {}
            }
            waiting.extend(self.record(event));
        }
        self.inputs(&waiting, true);
        while self.slice() {}
    }

    fn ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.said.iter().map(|notice| notice.id).collect();
        ids.sort_unstable();
        ids
    }
}

/// What is to be said: by plain recollection of each key.
fn expected(events: &[Event]) -> BTreeMap<NoticeKind, usize> {
    let (mut risks, mut entries) = (BTreeSet::new(), BTreeMap::new());
    let mut said = BTreeMap::<NoticeKind, usize>::new();
    for event in events {
        match event {
            Event::Risk(slot, now) => {
                let is_there = now.is_some_and(|(state, evidence, _)| {
                    evidence == EvidenceState::Verified && [RiskState::Open, RiskState::Accepted].contains(&state)
                });
                if !is_there {
                    risks.remove(slot);
                } else if now.is_some_and(|(state, ..)| state == RiskState::Open) && risks.insert(*slot) {
                    *said.entry(NoticeKind::RiskVerified).or_default() += 1;
                }
            }
            Event::Entry(slot, stage, _) => {
                let kind = match stage {
                    Standing::Suspended => Some(NoticeKind::ExceptionSuspended),
                    Standing::Expiring => Some(NoticeKind::ExceptionExpiring),
                    Standing::Expired => Some(NoticeKind::ExceptionExpired),
                    _ => None,
                };
                if entries.insert(*slot, *stage) != Some(*stage)
                    && let Some(kind) = kind
                {
                    *said.entry(kind).or_default() += 1;
                }
            }
            Event::Told(..) | Event::Tick(_) => {}
        }
    }
    said
}

fn event() -> impl Strategy<Value = Event> {
    let states = select(vec![RiskState::Open, RiskState::Open, RiskState::Accepted, RiskState::Closed]);
    let evidence = select(vec![EvidenceState::Verified, EvidenceState::Verified, EvidenceState::Reported]);
    let statuses = select(vec![DeliveryStatus::Delivered, DeliveryStatus::Delivered, DeliveryStatus::Failed, DeliveryStatus::GivenUp]);
    prop_oneof![
        4 => (0..4_u8, proptest::option::weighted(0.9, (states, evidence, select(vec![300, 700])))).prop_map(|(slot, now)| Event::Risk(slot, now)),
        3 => (0..2_u8, select(Standing::ALL.to_vec()), 1..6_i32).prop_map(|(slot, stage, version)| Event::Entry(slot, stage, version)),
        6 => (select(vec!["all", "retail"]), statuses, prop::bool::weighted(0.2)).prop_map(|(to, status, is_again)| Event::Told(to, status, is_again)),
        2 => (0..4_i64).prop_map(Event::Tick),
    ]
}

/// So that each comes in a minute of its own: the id of a risk's notice has the time.
fn history() -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 1..60).prop_map(|events| events.into_iter().flat_map(|event| [event, Event::Tick(1)]).collect())
}

fn schedule() -> impl Strategy<Value = Vec<(usize, bool, bool)>> {
    vec((1..6_usize, prop::bool::weighted(0.3), any::<bool>()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// What comes about is said once, whatever is worked twice, and each destination is told what it wants and nothing else.
    #[test]
    fn what_comes_about_is_said_once(history in history(), schedule in schedule()) {
        let mut world = World::new();
        world.run(&history, &schedule);
        let mut said = BTreeMap::<NoticeKind, usize>::new();
        for notice in &world.said {
            *said.entry(notice.kind).or_default() += 1;
            prop_assert!(notice.to.contains(&"all".to_owned()));
            let is_in_retail = notice.within == ["service/shop"];
            let is_wanted = matches!(notice.kind, NoticeKind::RiskVerified | NoticeKind::ExceptionSuspended) && notice.score >= 500;
            prop_assert_eq!(notice.to.contains(&"retail".to_owned()), is_in_retail && is_wanted, "{:?}", notice);
        }
        prop_assert_eq!(said, expected(&history));
    }

    /// What a destination has not taken is due until it takes it or gives up, and then no more.
    #[test]
    fn a_destination_is_told_until_it_takes_it(history in history(), schedule in schedule()) {
        let mut world = World::new();
        world.run(&history, &schedule);
        let told: BTreeSet<(String, Id)> =
            world.said.iter().flat_map(|notice| notice.to.iter().map(|to| (to.clone(), notice.id))).collect();
        for destination in ["all", "retail"] {
            let (count, oldest) = undelivered(&world.store, destination, usize::MAX).unwrap();
            prop_assert_eq!(oldest.is_some(), count > 0);
            let taken = world.taken.keys().filter(|(to, _)| to == destination).count();
            let all = told.iter().filter(|(to, _)| to == destination).count();
            prop_assert!(count + taken <= all, "{count} left and {taken} taken of {all}");
        }
        prop_assert!(world.taken.iter().all(|(which, times)| told.contains(which) && *times == 1), "{:?}", world.taken);
        // From now on they take whatever they are told.
        let mut rest = Vec::new();
        for _ in 0..200 {
            rest.extend([Event::Told("all", DeliveryStatus::Delivered, false), Event::Told("retail", DeliveryStatus::Delivered, false), Event::Tick(1)]);
        }
        world.run(&rest, &schedule);
        prop_assert_eq!(undelivered(&world.store, "all", 10).unwrap().0, 0, "what was given up is forgotten, all else taken");
        prop_assert!(world.taken.values().all(|times| *times == 1));
        prop_assert_eq!(world.stage.next_due(&world.store).unwrap(), None);
    }

    #[test]
    fn batches_restarts_and_slices_do_not_matter(history in history(), one in schedule(), other in schedule()) {
        let told = |schedule: &[(usize, bool, bool)]| {
            let mut world = World::new();
            world.run(&history, schedule);
            (world.ids(), world.store)
        };
        prop_assert_eq!(told(&one), told(&other));
    }

    /// Every row knows where it belongs under another partition count: with what its notice comes of.
    #[test]
    fn every_row_belongs_where_its_notice_comes_of(history in history(), schedule in schedule()) {
        let mut world = World::new();
        world.run(&history, &schedule);
        let origins: BTreeSet<String> = (0..4).map(|slot| risk_of(slot).0).chain((0..2).map(|slot| Id([100 + slot; 16]).to_string())).collect();
        for (key, _) in &world.store {
            let home = home_of(Notify::NAME.as_bytes(), &world.store, key).unwrap();
            prop_assert!(home == Home::Everywhere || matches!(&home, Home::With(of) if origins.contains(first_part(of))), "{home:?}");
        }
    }
}

fn verified() -> Event {
    Event::Risk(0, Some((RiskState::Open, EvidenceState::Verified, 700)))
}

#[test]
fn who_is_not_a_destination_any_more_is_told_again_if_it_comes_back_in_time() {
    let mut world = World::new();
    let begun = [verified(), Event::Told("all", DeliveryStatus::Failed, false), Event::Tick(0)];
    world.run(&begun, &[(1, false, false)]);
    let left = |world: &World| ["all", "retail"].map(|destination| undelivered(&world.store, destination, 10).unwrap().0);
    let known = std::mem::take(&mut world.stage.destinations);
    world.run(&[Event::Tick(2)], &[(1, false, false)]);
    assert_eq!(left(&world), [1, 1], "a process with another file takes nothing away");
    world.stage.destinations = known;
    assert!(due(&world.store, "all", 10).unwrap().len() == 1 && due(&world.store, "retail", 10).unwrap().len() == 1);
    world.stage.destinations.clear();
    world.run(&[Event::Tick(20)], &[(1, false, false)]);
    assert_eq!(left(&world), [0, 0], "after as long as anything is kept");
}

/// A risk whose founder is another one is the same: nobody is told anew.
#[test]
fn a_risk_that_is_known_by_another_id_is_no_news() {
    let mut world = World::new();
    world.run(&[verified()], &[(1, false, false)]);
    let (service, before) = risk_of(0);
    let now = Id([50; 16]);
    let record = Risk {
        risk: now,
        service: service.clone(),
        also: vec![before],
        state: RiskState::Open,
        evidence: EvidenceState::Verified,
        ..world.risk.clone()
    };
    let records = [(RISKS, risk::key(&service, now), Some(avro::encode(record).unwrap())), (RISKS, risk::key(&service, before), None)];
    world.inputs(&records, true);
    assert_eq!(world.said.len(), 1);
}

/// One that is accepted as soon as it is verified is news once nobody accepts it any more, and only then.
#[test]
fn a_risk_that_was_accepted_at_once_is_news_when_it_is_open() {
    let mut world = World::new();
    let is = |state| Event::Risk(0, Some((state, EvidenceState::Verified, 700)));
    world.run(&[is(RiskState::Accepted)], &[(1, false, false)]);
    assert_eq!(world.said.len(), 0);
    world.run(&[is(RiskState::Open), Event::Tick(1), is(RiskState::Accepted), Event::Tick(1), is(RiskState::Open)], &[(1, false, false)]);
    assert_eq!(world.said.len(), 1);
}

/// Whoever looks for the first time tells nobody what everybody knows.
#[test]
fn what_is_old_when_a_task_first_looks_is_no_news() {
    let mut world = World::new();
    let (topic, key, value) = world.record(&verified()).unwrap();
    let hour = 60 * MINUTE;
    for (age, said) in [(hour + 1, 0), (hour, 1)] {
        let mut world = World::new();
        // It has looked before, and nothing was there: that counts.
        let mut long = World::new();
        while long.slice() {}
        long.now = Timestamp::from_millis(long.now.millis() + 100 * hour);
        long.work(true, |stage, batch| {
            let time = Timestamp::from_millis(batch.now.millis() - age);
            stage.apply(batch, &mut (), &Input { topic, key: &key, value: value.as_deref(), time }).unwrap();
            false
        });
        assert_eq!(long.said.len(), 1);
        world.work(true, |stage, batch| {
            let time = Timestamp::from_millis(batch.now.millis() - age);
            stage.apply(batch, &mut (), &Input { topic, key: &key, value: value.as_deref(), time }).unwrap();
            false
        });
        assert_eq!(world.said.len(), said);
        // It is known, though: that it is still so is no news either.
        world.run(&[verified()], &[(1, false, false)]);
        assert_eq!(world.said.len(), said);
    }
}

#[test]
fn an_answer_under_another_key_is_refused() {
    let mut world = World::new();
    world.run(&[verified()], &[(1, false, false)]);
    let (_, _, value) = world.record(&Event::Told("all", DeliveryStatus::Delivered, false)).unwrap();
    let mut batch = Batch::new(Overlay::new(&world.store), &Organisation, world.now);
    let input = Input { topic: DELIVERIES, key: "pay", value: value.as_deref(), time: world.now };
    let refused = stage().apply(&mut batch, &mut (), &input).unwrap_err().to_string();
    assert!(refused.contains("lies under the key"), "{refused}");
}
