//! Laws of act's tickets, over histories of few fixes whose services ask and cease to ask for them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::act::Act;
use faultline_core::stage::{Batch, Globals, Home, Input, Pending, Stage, StageError, home_of};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::avro;
use faultline_model::decision::{Outcome, OutcomeStatus};
use faultline_model::exception::{Assumptions, Category, Scope, Step, StepRecord, Terms};
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::share::{self, FixShare, RISKS_NAMED, Rating, Share, ShareRisk};
use faultline_model::ticket::{self, MovedTicket, TicketRecord, WantedTicket};
use faultline_model::time::Timestamp;
use faultline_model::topic::{JUDGED, OUTCOMES, RISK_REGISTRY, SHARES, STEPS, TICKETS_DESIRED, Topic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const MINUTE_MS: i64 = 60_000;

#[derive(Clone, Debug)]
enum Event {
    Share(Box<Share>),
    Gone(Id, &'static str),
    /// So many minutes pass.
    Tick(i64),
}

struct Nothing;

impl Globals for Nothing {
    fn get(&self, _: Topic, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

/// The stage over memory, with the tickets that it said.
#[derive(Default)]
struct World {
    store: MemoryStore,
    now: Timestamp,
    tickets: BTreeMap<(String, Id), TicketRecord>,
    outcomes: Vec<Outcome>,
    shares: BTreeMap<(Id, String), Share>,
}

impl World {
    fn work<T>(&mut self, is_kept: bool, work: impl FnOnce(&mut Batch<'_>) -> T) -> T {
        let (done, changes, outputs) = {
            let mut batch = Batch::new(Overlay::new(&self.store), &Nothing, self.now).in_format(Act::FORMATS.newest);
            let done = work(&mut batch);
            let (changes, outputs) = batch.into_parts();
            (done, changes, outputs)
        };
        if !is_kept {
            return done;
        }
        self.store.apply(changes);
        for output in outputs {
            match (output.topic, output.value) {
                (TICKETS_DESIRED, value) => {
                    let (queue, fix) = ticket::parse_key(&output.key).unwrap();
                    let key = (queue.to_owned(), fix);
                    match value.map(|value| avro::decode::<TicketRecord>(&value).unwrap()) {
                        Some(record) => assert_ne!(self.tickets.insert(key, record.clone()), Some(record), "said again"),
                        None => assert!(self.tickets.remove(&key).is_some(), "what was never said goes: {key:?}"),
                    }
                }
                (OUTCOMES, Some(value)) => self.outcomes.push(avro::decode(&value).unwrap()),
                (JUDGED | RISK_REGISTRY, Some(_)) => {}
                (topic, _) => panic!("a record on {}", topic.name),
            }
        }
        done
    }

    fn inputs(&mut self, inputs: &[(Topic, String, Option<Vec<u8>>)], is_kept: bool) -> Result<(), StageError> {
        self.work(is_kept, |batch| {
            let mut gathered = <Act as Stage>::Gathered::default();
            for (topic, key, value) in inputs {
                let input = Input { topic: *topic, key, value: value.as_deref(), time: batch.now };
                Act::default().apply(batch, &mut gathered, &input)?;
            }
            Act::default().end(batch, gathered)
        })
    }

    fn batch(&mut self, events: &[Event], is_kept: bool) {
        let inputs: Vec<_> = events.iter().filter_map(|event| self.input(event)).collect();
        self.inputs(&inputs, is_kept).unwrap();
    }

    fn input(&mut self, event: &Event) -> Option<(Topic, String, Option<Vec<u8>>)> {
        match event {
            Event::Tick(_) => None,
            Event::Share(share) => {
                let key = share::key(share.subject, &share.service);
                self.shares.insert((share.subject, share.service.clone()), (**share).clone());
                Some((SHARES, key, Some(avro::encode((**share).clone()).unwrap())))
            }
            Event::Gone(fix, service) => {
                self.shares.remove(&(*fix, (*service).to_owned()));
                Some((SHARES, share::key(*fix, service), None))
            }
        }
    }

    fn step(&mut self, subject: Id, key: &str, step: Step) {
        let (actor, reason) = ("ana".to_owned(), "why".to_owned());
        let record = StepRecord { key: key.into(), subject, actor, reason, at: self.now, expected_version: None, step, response: None };
        self.inputs(&[(STEPS, subject.to_string(), Some(avro::encode(record).unwrap()))], true).unwrap();
    }

    fn rest(&mut self) {
        while self.work(true, |batch| Act::default().slice(batch, 64).unwrap() == Pending::Some) {}
    }

    /// Until every wait is over, and each timer was heard in its turn.
    fn wait(&mut self, minutes: i64) {
        for _ in 0..minutes {
            self.now = Timestamp::from_millis(self.now.millis() + MINUTE_MS);
            self.rest();
        }
    }

    fn run(&mut self, events: &[Event], schedule: &[(usize, bool, bool)]) {
        let mut schedule = schedule.iter().cycle();
        for part in events.split_inclusive(|event| matches!(event, Event::Tick(_))) {
            let mut left = part;
            while !left.is_empty() {
                let (size, is_dropped, is_sliced) = schedule.next().unwrap();
                let (batch, rest) = left.split_at((*size).min(left.len()));
                if *is_dropped {
                    let shares = self.shares.clone();
                    self.batch(batch, false);
                    self.shares = shares;
                }
                self.batch(batch, true);
                if *is_sliced {
                    self.rest();
                }
                left = rest;
            }
            if let Some(Event::Tick(minutes)) = part.last() {
                self.now = Timestamp::from_millis(self.now.millis() + minutes * MINUTE_MS);
            }
        }
        self.rest();
    }

    /// What shares ask for, plainly.
    fn expected(&self) -> BTreeMap<Id, WantedTicket> {
        let mut by_fix: BTreeMap<Id, Vec<&Share>> = BTreeMap::new();
        for ((fix, _), share) in &self.shares {
            by_fix.entry(*fix).or_default().push(share);
        }
        let ticket = |(fix, mut shares): (Id, Vec<&Share>)| {
            let of = |share: &&Share| share.fix.clone().unwrap();
            let claims = shares.iter().map(|share| (!of(share).is_owner, of(share).first_seen, share.service.clone(), of(share).queue));
            let (_, first_seen, _, queue) = claims.min().unwrap();
            shares.sort_by_key(|share| (std::cmp::Reverse(share.highest), share.service.clone()));
            let (leading, repair) = (shares[0], of(&shares[0]));
            let named = &shares[..shares.len().min(RISKS_NAMED)];
            let also: BTreeSet<Id> = named.iter().flat_map(|share| of(share).also).filter(|also| *also != fix).collect();
            let mut first: Vec<ShareRisk> = named.iter().flat_map(|share| share.first.clone()).collect();
            first.sort_by_key(ShareRisk::order);
            let wanted = WantedTicket {
                fix,
                queue,
                moved_from: vec![],
                also: also.into_iter().collect(),
                kind: repair.kind,
                what: repair.what,
                guidance: repair.guidance,
                fixed_versions: repair.fixed_versions,
                score: leading.highest,
                band: leading.rating.as_ref().unwrap().band,
                due: repair.due,
                risks: shares.iter().map(|share| share.risks).sum(),
                services: shares.len() as i32,
                first_seen,
                first,
            };
            (fix, wanted)
        };
        by_fix.into_iter().map(ticket).collect()
    }

    fn wanted(&self) -> BTreeMap<Id, WantedTicket> {
        let mut wanted = BTreeMap::new();
        for ((queue, fix), record) in &self.tickets {
            if let TicketRecord::Wanted(ticket) = record {
                assert_eq!((&ticket.queue, ticket.fix), (queue, *fix));
                assert!(wanted.insert(*fix, ticket.clone()).is_none(), "two tickets of {fix}");
            }
        }
        wanted
    }

    /// The queues where it is said that a ticket went, by fix.
    fn left(&self) -> BTreeSet<(Id, String)> {
        let moved = self.tickets.iter().filter(|(_, record)| matches!(record, TicketRecord::Moved(_)));
        moved.map(|((queue, fix), _)| (*fix, queue.clone())).collect()
    }
}

fn fix(slot: u8) -> Id {
    Id::of("fix", &[&[slot]])
}

fn share(slot: u8, service: &str, queue: &str, highest: i32) -> Share {
    let first = ShareRisk {
        risk: Id::of("risk", &[&[slot], service.as_bytes()]),
        service: service.into(),
        title: "t".into(),
        score: highest,
        broken: vec![],
    };
    Share {
        subject: fix(slot),
        service: service.into(),
        grant: 0,
        risks: 1,
        contested: 0,
        loss: 1 << 25,
        inherent_loss: 1 << 25,
        highest,
        broken: vec![],
        first: vec![first],
        rating: Some(Rating { likelihood: highest, impact: 0, band: Severity::High, family: "xss".into() }),
        fix: Some(FixShare {
            queue: queue.into(),
            is_owner: true,
            first_seen: Timestamp::default(),
            kind: "upgrade".into(),
            what: format!("a in {service}"),
            guidance: String::new(),
            fixed_versions: vec!["2".into()],
            also: vec![],
            due: Timestamp::from_millis(i64::from(highest)),
        }),
    }
}

prop_compose! {
    fn any_share()(
        slot in 0..2_u8,
        service in select(vec!["shop", "pay", "web"]),
        queue in select(vec!["web", "ops", "platform"]),
        highest in select(vec![0, 400, 900]),
        risks in 1..4_i32,
        is_owner in any::<bool>(),
        first_seen in 0..3_i64,
        also in vec(0..4_u8, 0..3),
    ) -> Event {
        let mut share = share(slot, service, queue, highest);
        share.risks = risks;
        let repair = share.fix.as_mut().unwrap();
        (repair.is_owner, repair.first_seen) = (is_owner, Timestamp::from_millis(first_seen));
        repair.also = also.into_iter().map(fix).collect();
        Event::Share(Box::new(share))
    }
}

fn history() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => any_share(),
        4 => (0..2_u8, select(vec!["shop", "pay", "web"])).prop_map(|(slot, service)| Event::Gone(fix(slot), service)),
        2 => select(vec![0_i64, 1, 30, 61]).prop_map(Event::Tick),
    ];
    vec(event, 0..60)
}

fn schedule() -> impl Strategy<Value = Vec<(usize, bool, bool)>> {
    vec((1..9_usize, prop::bool::weighted(0.2), any::<bool>()), 1..6)
}

/// Another order, in which services go past one another, each share's own order kept.
fn shuffled(history: &[Event], seeds: &[u32]) -> Vec<Event> {
    let key = |event: &Event| match event {
        Event::Share(share) => (share.subject, share.service.clone()),
        Event::Gone(fix, service) => (*fix, (*service).to_owned()),
        Event::Tick(_) => (Id([0; 16]), String::new()),
    };
    let mut queues: BTreeMap<(Id, String), Vec<Event>> = BTreeMap::new();
    for event in history.iter().rev() {
        queues.entry(key(event)).or_default().push(event.clone());
    }
    let mut seeds = seeds.iter().cycle();
    let mut all = Vec::new();
    while !queues.is_empty() {
        let at = *seeds.next().unwrap() as usize % queues.len();
        let key = queues.keys().nth(at).unwrap().clone();
        all.extend(queues.get_mut(&key).unwrap().pop());
        queues.retain(|_, left| !left.is_empty());
    }
    all
}

fn told(history: &[Event], schedule: &[(usize, bool, bool)]) -> World {
    let mut world = World::default();
    world.run(history, schedule);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// Law 1: what is asked for has exactly one ticket, which says so; what is not asked for has none once the waits are over.
    #[test]
    fn there_is_one_ticket_for_each_fix_that_is_asked_for(history in history(), schedule in schedule()) {
        let mut world = told(&history, &schedule);
        let (wanted, left) = (world.wanted(), world.left());
        let expected = world.expected();
        for (fix, ticket) in &expected {
            let moved_from: Vec<String> = left.iter().filter(|(left, _)| left == fix).map(|(_, queue)| queue.clone()).collect();
            prop_assert_eq!(wanted.get(fix), Some(&WantedTicket { moved_from, ..ticket.clone() }));
        }
        world.wait(62);
        prop_assert_eq!(world.wanted(), expected.clone());
        prop_assert_eq!(world.tickets.len(), expected.len());
        // Nothing waits for anything, and of what is gone nothing is left.
        prop_assert_eq!(Act::default().next_due(&world.store).unwrap(), None);
        world.batch(&[0, 1].into_iter().flat_map(|slot| ["shop", "pay", "web"].map(|service| Event::Gone(fix(slot), service))).collect::<Vec<_>>(), true);
        world.wait(62);
        prop_assert!(world.tickets.is_empty() && world.store.iter().next().is_none());
    }

    /// Laws 2, 3 and 5.
    #[test]
    fn tickets_do_not_depend_on_order_batches_or_restarts(
        history in history(),
        seeds in vec(any::<u32>(), 1..40),
        one in schedule(),
        other in schedule(),
    ) {
        let (mut one, mut other) = (told(&history, &one), told(&shuffled(&history, &seeds), &other));
        let again: Vec<Event> = other.shares.values().cloned().map(|share| Event::Share(Box::new(share))).collect();
        other.batch(&again, true);
        one.wait(62);
        other.wait(62);
        prop_assert_eq!(one.tickets, other.tickets);
    }

    #[test]
    fn every_row_says_whose_it_is(history in history(), schedule in schedule()) {
        let world = told(&history, &schedule);
        let homes: Vec<Home> = [0, 1].map(|slot| Home::With(fix(slot).to_string())).into();
        for (key, _) in &world.store {
            prop_assert!(homes.contains(&home_of(Act::NAME.as_bytes(), &world.store, key).unwrap()));
        }
    }
}

/// A risk that moves to another service is nowhere for a moment.
#[test]
fn a_ticket_outlasts_a_moment_in_which_nobody_asks_for_it() {
    let mut world = World::default();
    world.batch(&[Event::Share(Box::new(share(1, "shop", "web", 700)))], true);
    let before = world.tickets.clone();
    world.batch(&[Event::Gone(fix(1), "shop")], true);
    world.rest();
    assert_eq!(world.tickets, before);
    world.batch(&[Event::Share(Box::new(share(1, "pay", "web", 700)))], true);
    world.wait(62);
    assert_eq!(world.wanted()[&fix(1)].first[0].service, "pay");

    world.batch(&[Event::Gone(fix(1), "pay")], true);
    world.wait(1);
    assert!(world.tickets.is_empty());
}

/// For an hour a queue says where its ticket went, however often that goes on; back where it was, it was never away.
#[test]
fn a_queue_says_where_its_ticket_went() {
    let mut world = World::default();
    let goes_to = |queue: &str| [Event::Share(Box::new(share(1, "shop", queue, 700)))];
    let moved = |to: &str| TicketRecord::Moved(MovedTicket { fix: fix(1), to: to.to_owned() });
    let at = |queue: &str| (queue.to_owned(), fix(1));
    world.batch(&goes_to("web"), true);
    world.batch(&goes_to("ops"), true);
    assert_eq!(world.tickets[&at("web")], moved("ops"));
    assert_eq!(world.wanted()[&fix(1)].moved_from, ["web"]);
    world.wait(30);
    world.batch(&goes_to("platform"), true);
    assert_eq!((&world.tickets[&at("web")], &world.tickets[&at("ops")]), (&moved("ops"), &moved("platform")));
    assert_eq!(world.wanted()[&fix(1)].moved_from, ["ops", "web"]);
    world.wait(31);
    assert_eq!(world.wanted()[&fix(1)].moved_from, ["ops"]);
    world.batch(&goes_to("ops"), true);
    assert_eq!(world.wanted()[&fix(1)].moved_from, ["platform"]);
    world.wait(61);
    assert_eq!(world.tickets.keys().collect::<Vec<_>>(), [&at("ops")]);
}

/// The id of a fix is a hash of what is to be changed: who knows that could name an exception by it.
#[test]
fn an_exception_and_a_fix_cannot_have_one_id() {
    let terms = Terms {
        title: "t".into(),
        scope: Scope { vulnerability: "CVE-2020-1".into(), ..Scope::default() },
        category: Category::Accept,
        reason: "r".into(),
        controls: vec![],
        assumptions: Assumptions::default(),
        evidence: vec![],
        starts: None,
        review_at: Timestamp::default().plus_days(1),
        ends: Timestamp::default().plus_days(1),
        covers_at_most: 5,
    };
    let mut world = World::default();
    world.batch(&[Event::Share(Box::new(share(1, "shop", "web", 700)))], true);
    world.step(fix(1), "a", Step::Propose(Box::new(terms.clone())));
    assert_eq!(world.outcomes[0].status, OutcomeStatus::Refused);
    assert!(world.outcomes[0].reason.contains("is the id of a fix"), "{}", world.outcomes[0].reason);

    world.step(fix(2), "b", Step::Propose(Box::new(terms)));
    assert_eq!(world.outcomes[1].status, OutcomeStatus::Done);
    let late = share(2, "shop", "web", 700);
    let key = share::key(late.subject, &late.service);
    let refused = world.inputs(&[(SHARES, key, Some(avro::encode(late).unwrap()))], false).unwrap_err();
    assert!(refused.to_string().contains("is an exception"), "{refused}");
    assert_eq!(world.wanted().len(), 1);
}
