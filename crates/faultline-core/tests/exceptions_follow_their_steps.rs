//! Laws of act, over histories of few exceptions that people and the world deal with all the time.
#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use faultline_core::act::Act;
use faultline_core::act::policy::ExceptionPolicy;
use faultline_core::stage::{Batch, Globals, Home, Input, Pending, Stage, home_of};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, EXCEPTIONS_KEY, PolicyText};
use faultline_model::decision::{Outcome, OutcomeStatus};
use faultline_model::exception::{
    Assumptions, Broken, Category, Control, Held, NewEnd, Response, Scope, Stage as Standing, Step, StepKind, StepRecord, Terms,
};
use faultline_model::fixed::roll_up;
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::register::{Completeness, RegisterEntry};
use faultline_model::share::{self, Rating, Share, ShareRisk};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, EXCEPTIONS, JUDGED, OUTCOMES, RISK_REGISTRY, SHARES, STEPS, Topic};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

fn day(day: i64) -> Timestamp {
    Timestamp::from_millis(0).plus_days(day)
}

fn exception(slot: u8) -> Id {
    Id::of("exception", &[&[slot]])
}

/// Something that happens to the inputs.
#[derive(Clone, Debug)]
enum Event {
    /// What is done, by whom, under which key, with which terms or end.
    Step(u8, StepKind, &'static str, u8, Box<Terms>),
    Share(u8, Box<Share>, bool),
    Policy(Option<i64>),
    /// So many days pass.
    Tick(i64),
}

impl Event {
    /// Events of one exception keep their order; ticks keep theirs, and nothing goes past one.
    fn slot(&self) -> u8 {
        match self {
            Self::Step(slot, ..) | Self::Share(slot, ..) => *slot,
            Self::Policy(_) | Self::Tick(_) => u8::MAX,
        }
    }
}

struct Nothing;

impl Globals for Nothing {
    fn get(&self, _: Topic, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

/// The table of exceptions.
const EXCEPTIONS_TABLE: u8 = 1;

type Key = (&'static str, String);

/// The stage over memory, with all that it said.
struct World {
    store: MemoryStore,
    now: Timestamp,
    /// Of rows.
    format: u16,
    /// Of compacted topics, the newest of each key; of the others, all records in the order of their bytes.
    kept: BTreeMap<Key, Vec<u8>>,
    said: BTreeMap<Key, Vec<Vec<u8>>>,
    shares: BTreeMap<(Id, String), Share>,
    steps: BTreeSet<(Id, String)>,
}

impl Default for World {
    fn default() -> Self {
        let (store, now, format) = (MemoryStore::default(), Timestamp::default(), Act::FORMATS.newest);
        Self { store, now, format, kept: BTreeMap::new(), said: BTreeMap::new(), shares: BTreeMap::new(), steps: BTreeSet::new() }
    }
}

impl World {
    fn work<T>(&mut self, is_kept: bool, work: impl FnOnce(&mut Batch<'_>) -> T) -> T {
        let (done, changes, outputs) = {
            let mut batch = Batch::new(Overlay::new(&self.store), &Nothing, self.now).in_format(self.format);
            let done = work(&mut batch);
            let (changes, outputs) = batch.into_parts();
            (done, changes, outputs)
        };
        if !is_kept {
            return done;
        }
        self.store.apply(changes);
        for output in outputs {
            let key = (output.topic.name, output.key);
            match (output.topic, output.value) {
                (EXCEPTIONS | RISK_REGISTRY, Some(value)) => _ = self.kept.insert(key, value),
                (EXCEPTIONS | RISK_REGISTRY, None) => assert!(self.kept.remove(&key).is_some(), "what was never said goes: {key:?}"),
                (OUTCOMES | JUDGED, Some(value)) => self.said.entry(key).or_default().push(value),
                (topic, _) => panic!("a record on {}", topic.name),
            }
        }
        done
    }

    fn batch(&mut self, events: &[Event], is_kept: bool) {
        let inputs: Vec<(Topic, String, Option<Vec<u8>>)> = events.iter().filter_map(|event| self.input(event)).collect();
        self.inputs(&inputs, is_kept);
    }

    fn inputs(&mut self, inputs: &[(Topic, String, Option<Vec<u8>>)], is_kept: bool) {
        self.work(is_kept, |batch| {
            let mut gathered = <Act as Stage>::Gathered::default();
            for (topic, key, value) in inputs {
                let input = Input { topic: *topic, key, value: value.as_deref(), time: batch.now };
                Act::default().apply(batch, &mut gathered, &input).unwrap();
            }
            Act::default().end(batch, gathered).unwrap();
        });
    }

    fn input(&mut self, event: &Event) -> Option<(Topic, String, Option<Vec<u8>>)> {
        match event {
            Event::Tick(_) => None,
            Event::Policy(days) => {
                let policy = days.map(|warning_days| ExceptionPolicy { warning_days, ..ExceptionPolicy::default() });
                let text = |policy: ExceptionPolicy| PolicyText { name: "e".into(), version: policy.version(), yaml: policy.to_yaml() };
                let value = policy.map(|policy| avro::encode(CatalogRecord::Policy(text(policy))).unwrap());
                Some((CATALOG, EXCEPTIONS_KEY.to_owned(), value))
            }
            Event::Share(slot, share, is_gone) => {
                let (subject, service) = (exception(*slot), share.service.clone());
                let share = Share { subject, ..(**share).clone() };
                match is_gone {
                    true => self.shares.remove(&(subject, service.clone())),
                    false => self.shares.insert((subject, service.clone()), share.clone()),
                };
                Some((SHARES, share::key(subject, &service), (!is_gone).then(|| avro::encode(share).unwrap())))
            }
            Event::Step(slot, kind, actor, number, terms) => {
                let step = match kind {
                    StepKind::Propose => Step::Propose(terms.clone()),
                    StepKind::Renew => Step::Renew(NewEnd { review_at: terms.review_at, ends: terms.ends }),
                    StepKind::Request => Step::Request,
                    StepKind::Review => Step::Review,
                    StepKind::Approve => Step::Approve,
                    StepKind::Reject => Step::Reject,
                    StepKind::Withdraw => Step::Withdraw,
                    StepKind::Revoke => Step::Revoke,
                };
                let (subject, key) = (exception(*slot), format!("{slot}/{number}"));
                self.steps.insert((subject, key.clone()));
                let (actor, reason) = ((*actor).to_owned(), "why".to_owned());
                let owner = ["", "dana", "eve"][usize::from(*number % 3)].to_owned();
                let response = Response { owner, cost: String::new() };
                let response = Some(response).filter(|response| *kind == StepKind::Propose && !response.is_empty() && self.format > 1);
                let record = StepRecord { key, subject, actor, reason, at: self.now, expected_version: None, step, response };
                Some((STEPS, subject.to_string(), Some(avro::encode(record).unwrap())))
            }
        }
    }

    fn slice(&mut self, bytes: usize) -> bool {
        self.work(true, |batch| Act::default().slice(batch, bytes).unwrap() == Pending::Some)
    }

    fn rest(&mut self) {
        while self.slice(64) {}
    }

    /// In batches of such sizes, of which some are worked twice, as after a crash.
    fn run(&mut self, events: &[Event], schedule: &[(usize, bool, bool)]) {
        let mut schedule = schedule.iter().cycle();
        for part in events.split_inclusive(|event| matches!(event, Event::Tick(_))) {
            let (tick, mut left) = match part.split_last() {
                Some((Event::Tick(days), before)) => (*days, before),
                _ => (0, part),
            };
            while !left.is_empty() {
                let (size, is_dropped, is_sliced) = schedule.next().unwrap();
                let (batch, rest) = left.split_at((*size).min(left.len()));
                if *is_dropped {
                    let (shares, steps) = (self.shares.clone(), self.steps.clone());
                    self.batch(batch, false);
                    (self.shares, self.steps) = (shares, steps);
                }
                self.batch(batch, true);
                if *is_sliced {
                    self.slice(1);
                }
                left = rest;
            }
            self.now = self.now.plus_days(tick);
        }
        self.rest();
    }

    fn entries(&self) -> BTreeMap<Id, RegisterEntry> {
        let of = |((topic, key), value): (&Key, &Vec<u8>)| {
            (*topic == RISK_REGISTRY.name).then(|| (key.parse().unwrap(), avro::decode(value).unwrap()))
        };
        self.kept.iter().filter_map(of).collect()
    }

    fn held(&self) -> BTreeMap<Id, Held> {
        let of = |((topic, key), value): (&Key, &Vec<u8>)| {
            (*topic == EXCEPTIONS.name).then(|| (key.parse().unwrap(), avro::decode(value).unwrap()))
        };
        self.kept.iter().filter_map(of).collect()
    }
}

prop_compose! {
    fn terms()(
        starts in weighted(0.3, 0..40_i64),
        lasts in 1..100_i64,
        covers_at_most in select(vec![1, 5, 1000]),
        score_at_most in weighted(0.5, 0..1000_i32),
        controls_in_place in prop::bool::weighted(0.3),
        control_ends in weighted(0.7, 0..60_i64),
    ) -> Terms {
        Terms {
            title: "t".into(),
            scope: Scope { vulnerability: "CVE-2020-1".into(), ..Scope::default() },
            category: Category::Accept,
            reason: "r".into(),
            controls: vec![Control { name: "c".into(), ends: control_ends.map(day) }],
            assumptions: Assumptions { score_at_most, controls_in_place, ..Assumptions::default() },
            evidence: vec![],
            starts: starts.map(day),
            review_at: day(lasts),
            ends: day(lasts),
            covers_at_most,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    // So that many go the whole way.
    let kinds = vec![
        StepKind::Propose,
        StepKind::Request,
        StepKind::Request,
        StepKind::Review,
        StepKind::Review,
        StepKind::Approve,
        StepKind::Approve,
        StepKind::Approve,
        StepKind::Renew,
        StepKind::Reject,
        StepKind::Withdraw,
        StepKind::Revoke,
    ];
    let step = (0..2_u8, select(kinds), select(vec!["ana", "ben", "cem"]), 0..60_u8, terms())
        .prop_map(|(slot, kind, actor, number, terms)| Event::Step(slot, kind, actor, number, Box::new(terms)));
    let broken = prop_oneof![4 => Just(vec![]), 1 => Just(vec![Broken::InKev])];
    let share = (0..2_u8, select(vec!["shop", "pay", "web"]), 1..7_i32, 0..4_i32, 0..2_i32, 0..1000_i32, broken, prop::bool::weighted(0.2))
        .prop_map(|(slot, service, grant, risks, contested, highest, broken, is_gone)| {
            let first =
                ShareRisk { risk: Id([slot; 16]), service: service.into(), title: "t".into(), score: highest, broken: broken.clone() };
            let (loss, inherent_loss) = (i64::from(risks) << 25, i64::from(risks) << 26);
            let (subject, service) = (exception(slot), service.to_owned());
            // As correlate has it: a share of something has a rating once it is finalised.
            let rating =
                (risks > 0 && risks < 3).then(|| Rating { likelihood: highest, impact: 10, band: Severity::Low, family: "xss".into() });
            let share = Share {
                subject,
                service,
                grant,
                risks,
                contested,
                loss,
                inherent_loss,
                highest,
                broken,
                first: vec![first],
                rating,
                fix: None,
            };
            Event::Share(slot, Box::new(share), is_gone)
        });
    prop_oneof![
        12 => step,
        4 => share,
        1 => weighted(0.7, 0..30_i64).prop_map(Event::Policy),
        2 => (0..12_i64).prop_map(Event::Tick),
    ]
}

/// Each of the exceptions has come to hold before, if people let it.
fn history() -> impl Strategy<Value = Vec<Event>> {
    let granted = |slot: u8, terms: Terms| {
        let step = |kind, actor, number| Event::Step(slot, kind, actor, number, Box::new(terms.clone()));
        vec![
            step(StepKind::Propose, "ana", 200),
            step(StepKind::Request, "ana", 201),
            step(StepKind::Review, "ben", 202),
            step(StepKind::Approve, "cem", 203),
        ]
    };
    (terms(), terms(), vec(event(), 0..60)).prop_map(move |(one, two, events)| [granted(0, one), granted(1, two), events].concat())
}

fn schedule() -> impl Strategy<Value = Vec<(usize, bool, bool)>> {
    vec((1..9_usize, prop::bool::weighted(0.2), any::<bool>()), 1..6)
}

/// Another order, in which exceptions go past one another and nothing else does.
fn interleaved(history: &[Event], seeds: &[u32]) -> Vec<Event> {
    let mut seeds = seeds.iter().cycle();
    let mut all = Vec::new();
    for part in history.chunk_by(|one, next| one.slot() != u8::MAX && next.slot() != u8::MAX) {
        let (mut one, mut other): (Vec<&Event>, Vec<&Event>) = part.iter().rev().partition(|event| event.slot() != 1);
        while !one.is_empty() || !other.is_empty() {
            let takes_one = other.is_empty() || (!one.is_empty() && seeds.next().unwrap().is_multiple_of(2));
            all.extend(if takes_one { one.pop() } else { other.pop() }.cloned());
        }
    }
    all
}

fn told(history: &[Event], schedule: &[(usize, bool, bool)]) -> World {
    let mut world = World::default();
    world.run(history, schedule);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// Law 1: what stands on the topics follows plainly from the steps that were accepted and the shares that are there.
    #[test]
    fn the_register_says_what_steps_and_shares_say(history in history(), schedule in schedule()) {
        let world = told(&history, &schedule);
        let (entries, held) = (world.entries(), world.held());
        for (id, entry) in &entries {
            let done: Vec<Outcome> = world.steps.iter().filter(|(subject, _)| subject == id).filter_map(|(_, key)| {
                let outcomes: Vec<Outcome> = world.said.get(&(OUTCOMES.name, key.clone()))?.iter().map(|value| avro::decode(value).unwrap()).collect();
                // Once it is done, the same key is that, for ever; refused it may be before it was there.
                let first = outcomes.iter().position(|outcome| outcome.status == OutcomeStatus::Done)?;
                assert!(outcomes[first..].iter().all(|outcome| outcome == &outcomes[first] && outcome.subject == Some(*id)), "{outcomes:?}");
                outcomes.into_iter().nth(first)
            }).collect();
            prop_assert_eq!(done.len(), usize::try_from(entry.version).unwrap());
            let holds = matches!(entry.stage, Standing::Active | Standing::Expiring);
            prop_assert_eq!(held.contains_key(id), holds, "{:?}", entry.stage);
            let grant = held.get(id).map(|held| held.grant);
            let shares: Vec<&Share> = world.shares.iter().filter(|((of, _), share)| of == id && Some(share.grant) == grant).map(|(_, share)| share).collect();
            let risks: i32 = shares.iter().map(|share| share.risks).sum();
            let services = shares.iter().filter(|share| share.risks > 0).count();
            let loss: i64 = shares.iter().map(|share| share.loss).sum();
            let highest = shares.iter().map(|share| share.highest).max().unwrap_or(0);
            prop_assert_eq!((entry.risks, entry.services, entry.highest), (risks, i32::try_from(services).unwrap(), highest));
            let assessment = entry.assessment.as_ref().unwrap();
            // Of several with that score the first service's.
            let leads = shares.iter().min_by_key(|share| (Reverse(share.highest), &share.service));
            let rating = leads.and_then(|share| share.rating.as_ref());
            prop_assert_eq!((assessment.likelihood, assessment.impact), (rating.map(|rating| rating.likelihood), rating.map(|rating| rating.impact)));
            prop_assert_eq!((assessment.priority, assessment.category.as_str()), (rating.map(|rating| rating.band), rating.map_or("", |rating| &rating.family)));
            let is_counted = shares.iter().any(|share| share.risks > 0 || share.contested > 0);
            let completeness = match (holds, is_counted) {
                (false, _) => Completeness::NotCounted,
                (true, false) => Completeness::Awaited,
                (true, true) => Completeness::Counted,
            };
            prop_assert_eq!(assessment.completeness, completeness);
            let named = ["dana", "eve"].contains(&assessment.owner.as_str());
            prop_assert_eq!(named, assessment.is_owner_named);
            prop_assert!(named || assessment.owner == entry.approved_by || (entry.approved_by.is_empty() && assessment.owner == entry.requested_by));
            prop_assert_eq!(entry.residual, i32::try_from(roll_up(loss.try_into().unwrap())).unwrap());
            if holds {
                prop_assert!(shares.iter().all(|share| share.broken.is_empty()) && risks <= entry.terms.covers_at_most);
                let has_ended = entry.terms.controls.iter().any(|control| control.ends.is_some_and(|ends| ends <= world.now));
                prop_assert!(!entry.terms.assumptions.controls_in_place || !has_ended);
                prop_assert!(world.now < entry.terms.ends && entry.terms.starts.is_none_or(|starts| starts <= world.now));
                let people = BTreeSet::from([&entry.requested_by, &entry.reviewed_by, &entry.approved_by]);
                prop_assert_eq!(people.len(), 3);
            }
            prop_assert_eq!(entry.stage == Standing::Suspended, !entry.broken.is_empty() && entry.possible == ["request", "revoke"], "{:?}", entry);
        }
        prop_assert!(held.keys().all(|id| entries.contains_key(id)));
        // Each step is accounted for once, with what became of it; one on nothing as often as it is asked.
        for (subject, _) in &world.steps {
            let judged = world.said.get(&(JUDGED.name, subject.to_string())).map_or(0, Vec::len);
            let asked = world.steps.iter().filter(|(of, _)| of == subject).count();
            prop_assert!(judged >= asked, "{judged} of {asked}");
        }
    }

    /// Laws 2 and 5.
    #[test]
    fn batches_restarts_slices_and_other_exceptions_do_not_matter(
        history in history(),
        seeds in vec(any::<u32>(), 1..40),
        one in schedule(),
        other in schedule(),
    ) {
        let (one, other) = (told(&history, &one), told(&interleaved(&history, &seeds), &other));
        prop_assert_eq!(one.entries(), other.entries());
        prop_assert_eq!(one.kept, other.kept);
        prop_assert_eq!(one.said, other.said);
        prop_assert_eq!(one.store, other.store);
    }

    /// Law 3.
    #[test]
    fn what_is_said_again_changes_nothing(history in history(), schedule in schedule()) {
        let mut world = told(&history, &schedule);
        let (kept, store) = (world.kept.clone(), world.store.clone());
        // A step on what was never there is judged each time.
        let is_kept = |slot: u8, number: u8| {
            let key = [&[2][..], &exception(slot).0, format!("{slot}/{number}").as_bytes()].concat();
            world.store.iter().any(|(known, _)| *known == key)
        };
        let again: Vec<Event> =
            history.iter().filter(|event| matches!(event, Event::Step(slot, _, _, number, _) if is_kept(*slot, *number))).cloned().collect();
        let shares: Vec<Event> = world.shares.values().map(|share| {
            Event::Share(u8::from(share.subject == exception(1)), Box::new(share.clone()), false)
        }).collect();
        world.run(&again, &schedule);
        world.run(&shares, &schedule);
        prop_assert_eq!(world.kept, kept);
        prop_assert_eq!(&world.store, &store);
    }

    /// As long as an older program may take over, entries are as it writes them; from then on it is as if they always had been assessed.
    #[test]
    fn the_register_is_assessed_once_an_older_program_cannot_take_over(
        before in history(),
        after in history(),
        schedule in schedule(),
    ) {
        // Nobody says then what only the newer format keeps.
        let after: Vec<Event> = after.into_iter().filter(|event| !matches!(event, Event::Step(_, StepKind::Propose, ..))).collect();
        let mut world = World { format: 1, ..World::default() };
        world.run(&before, &schedule);
        prop_assert!(world.entries().values().all(|entry| entry.assessment.is_none()));
        prop_assert!(world.store.iter().all(|(key, row)| key[0] != EXCEPTIONS_TABLE || row[0] == 1));
        let mut always = World { format: 1, ..World::default() };
        always.run(&before, &schedule);
        (world.format, always.format) = (2, 2);
        world.run(&after, &schedule);
        // Whatever was touched since, all is said anew.
        always.rest();
        always.run(&after, &schedule);
        prop_assert_eq!(world.entries(), always.entries());
        prop_assert!(world.entries().values().all(|entry| entry.assessment.is_some()));
        prop_assert_eq!(world.store, always.store);
    }

    /// Every row knows where it belongs under another partition count.
    #[test]
    fn every_row_belongs_to_an_exception_or_everywhere(history in history(), schedule in schedule()) {
        let world = told(&history, &schedule);
        let ids = [exception(0).to_string(), exception(1).to_string()];
        for (key, _) in &world.store {
            let home = home_of(Act::NAME.as_bytes(), &world.store, key).unwrap();
            prop_assert!(home == Home::Everywhere || home == Home::WithEach(Vec::new()) || matches!(&home, Home::With(id) if ids.contains(id)), "{home:?}");
        }
    }
}

/// The terms of an exception that holds until day 20.
fn plain() -> Terms {
    Terms {
        title: "t".into(),
        scope: Scope { vulnerability: "CVE-2020-1".into(), ..Scope::default() },
        category: Category::Accept,
        reason: "r".into(),
        controls: vec![],
        assumptions: Assumptions::default(),
        evidence: vec![],
        starts: None,
        review_at: day(20),
        ends: day(20),
        covers_at_most: 5,
    }
}

fn taken(number: u8, actor: &str, at: Timestamp, step: Step) -> (Topic, String, Option<Vec<u8>>) {
    let (subject, key, actor, reason) = (exception(0), number.to_string(), actor.to_owned(), String::new());
    let record = StepRecord { key, subject, actor, reason, at, expected_version: None, step, response: None };
    (STEPS, subject.to_string(), Some(avro::encode(record).unwrap()))
}

fn granted(terms: Terms, at: Timestamp) -> Vec<(Topic, String, Option<Vec<u8>>)> {
    vec![
        taken(1, "ana", at, Step::Propose(Box::new(terms))),
        taken(2, "ana", at, Step::Request),
        taken(3, "ben", at, Step::Review),
        taken(4, "cem", at, Step::Approve),
    ]
}

/// What it costs and who answers for it goes with the terms, once it can be kept.
#[test]
fn who_answers_for_it_goes_with_the_terms() {
    let said = |format: u16, step: Step, response: Response| {
        let mut world = World { format, ..World::default() };
        let (subject, key, actor) = (exception(0), "0".to_owned(), "ana".to_owned());
        world.inputs(&granted(plain(), day(0))[..1], true);
        let at = day(0);
        let record = StepRecord { key, subject, actor, reason: String::new(), at, expected_version: None, step, response: Some(response) };
        world.inputs(&[(STEPS, subject.to_string(), Some(avro::encode(record).unwrap()))], true);
        let outcome: Outcome = avro::decode(&world.said[&(OUTCOMES.name, "0".to_owned())][0]).unwrap();
        (outcome.reason, world.entries().remove(&subject).and_then(|entry| entry.assessment))
    };
    let propose = || Step::Propose(Box::new(plain()));
    let response = || Response { owner: "dana".into(), cost: "2 days a month".into() };
    let (refused, assessment) = said(2, propose(), response());
    let assessment = assessment.unwrap();
    assert_eq!((refused.as_str(), assessment.owner.as_str(), assessment.response_cost.as_str()), ("", "dana", "2 days a month"));
    assert!(said(1, propose(), response()).0.contains("set state.format.act to 2"));
    assert!(said(2, Step::Request, response()).0.contains("owner and cost go with the terms"));
    let long = Response { owner: "d".repeat(257), ..response() };
    assert_eq!(said(2, propose(), long).0, "the owner has 257 bytes: 256 are kept");
}

/// Whatever happened between two looks: what is said to hold is the grant of now.
#[test]
fn what_was_granted_anew_is_said_anew() {
    let share = |grant: i32, risks: i32, broken: Vec<Broken>| {
        let (subject, service) = (exception(0), "shop".to_owned());
        let (key, first) = (share::key(subject, &service), vec![]);
        let share = Share {
            subject,
            service,
            grant,
            risks,
            contested: 0,
            loss: 0,
            inherent_loss: 0,
            highest: 0,
            broken,
            first,
            rating: None,
            fix: None,
        };
        (SHARES, key, Some(avro::encode(share).unwrap()))
    };
    let end = NewEnd { review_at: day(45), ends: day(45) };
    // Ended while nobody looked, and granted again.
    let mut world = World::default();
    world.inputs(&granted(plain(), day(0)), true);
    world.inputs(&[taken(5, "ana", day(15), Step::Renew(end)), taken(6, "ben", day(16), Step::Review)], true);
    world.now = day(25);
    world.inputs(&[taken(7, "cem", day(25), Step::Approve)], true);
    assert_eq!(world.held()[&exception(0)].grant, 7);
    world.inputs(&[share(7, 6, vec![])], true);
    assert_eq!(world.entries()[&exception(0)].broken, [Broken::CoversMore], "it is watched");
    // Suspended and granted again within one batch.
    let mut world = World::default();
    world.inputs(&granted(plain(), day(0)), true);
    let again = [(5, "ana", Step::Request), (6, "ben", Step::Review), (7, "cem", Step::Approve)]
        .map(|(number, actor, step)| taken(number, actor, day(1), step));
    world.now = day(1);
    world.inputs(&[vec![share(4, 1, vec![Broken::InKev])], again.to_vec()].concat(), true);
    assert_eq!(world.held()[&exception(0)].grant, 7);
    // And revoked on top of that.
    world.inputs(&[taken(8, "cem", day(1), Step::Revoke)], true);
    assert!(world.held().is_empty());
}

#[test]
fn a_renewal_lets_what_holds_hold_on_whatever_the_clocks_say() {
    let mut world = World::default();
    world.inputs(&granted(plain(), day(0)), true);
    let end = NewEnd { review_at: day(28), ends: day(28) };
    world.inputs(&[taken(5, "ana", day(1), Step::Renew(end)), taken(6, "ben", day(1), Step::Review)], true);
    let before = world.kept[&(EXCEPTIONS.name, exception(0).to_string())].clone();
    // The door's clock is ahead.
    world.inputs(&[taken(7, "cem", day(2), Step::Approve)], true);
    assert_eq!(world.kept[&(EXCEPTIONS.name, exception(0).to_string())], before);
    assert_eq!((world.entries()[&exception(0)].stage, world.entries()[&exception(0)].terms.ends), (Standing::Active, day(28)));
}

#[test]
fn a_control_that_ended_before_the_grant_was_judged_is_seen() {
    let mut world = World::default();
    let assumptions = Assumptions { controls_in_place: true, ..Assumptions::default() };
    let terms = Terms { controls: vec![Control { name: "c".into(), ends: Some(day(1)) }], assumptions, ..plain() };
    world.now = day(2);
    world.inputs(&granted(terms, day(0)), true);
    assert_eq!((world.entries()[&exception(0)].broken.clone(), world.held().len()), (vec![Broken::ControlEnded], 0));
}

#[test]
fn a_record_under_another_key_is_refused() {
    let world = World::default();
    let mut batch = Batch::new(Overlay::new(&world.store), &Nothing, world.now);
    let record = StepRecord {
        key: "k".into(),
        subject: exception(0),
        actor: "ana".into(),
        reason: String::new(),
        at: day(0),
        expected_version: None,
        step: Step::Request,
        response: None,
    };
    let value = avro::encode(record).unwrap();
    let mut apply = |topic, key: &str| {
        let input = Input { topic, key, value: Some(&value), time: day(0) };
        Act::default().apply(&mut batch, &mut <Act as Stage>::Gathered::default(), &input).unwrap_err().to_string()
    };
    assert!(apply(STEPS, &exception(1).to_string()).contains("lies under the key"));
    assert!(apply(STEPS, "x").contains("is no key of steps"));
    assert!(apply(SHARES, "x").contains("is no key of shares"));
}
