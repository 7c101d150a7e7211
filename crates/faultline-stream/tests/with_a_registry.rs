//! With a real schema registry: its ids stand on the wire, schemas of others are read, and an outage stops only what is new.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod real_registry;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use broker::{Broker, PARTITIONS, PATIENCE, two_free_ports};
use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_model::avro::{self, DECISIONS as DECISIONS_VALUE, INTEL as INTEL_VALUE, OUTCOMES as OUTCOMES_VALUE, schema_id};
use faultline_model::dead_letter::DeadLetter;
use faultline_model::decision::{Decided, Decision, Outcome, OutcomeStatus};
use faultline_model::id::Id;
use faultline_model::intel::{EpssScore, IntelRecord};
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, DECISIONS, INTEL, OUTCOMES, Topic};
use faultline_stream::{
    HostError, HostOptions, KafkaError, KafkaHost, KafkaLog, KafkaRunning, Log, Record, Registry, RegistryError, SubjectDifference,
    SystemClock, TopicPlan,
};
use real_registry::RealRegistry;
use serde_json::{Value, json};

/// Says of each decision that it was taken, and what is known of the vulnerability that its reason names.
struct Takes;

impl Stage for Takes {
    const NAME: &'static str = "takes";
    const INPUTS: &'static [Topic] = &[DECISIONS];
    const GLOBALS: &'static [Topic] = &[INTEL];
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        if input.topic == INTEL {
            return input.record::<IntelRecord>().map(|_| ());
        }
        let Some(decision) = input.record::<Decision>()? else { return Ok(()) };
        let known = batch.global::<IntelRecord>(INTEL, &decision.reason)?;
        let Decision { key, asset, at, .. } = decision;
        let outcome = Outcome {
            id: key.clone(),
            status: OutcomeStatus::Done,
            reason: format!("{known:?}"),
            asset: Some(asset),
            at,
            counts: None,
            // So that it needs the newest version, which is what the registry's id is asked for.
            subject: Some(Id([1; 16])),
        };
        batch.emit(OUTCOMES, key, outcome)
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let mut host = KafkaHost::new(log, HostOptions { tick: std::time::Duration::from_millis(100), ..HostOptions::default() });
    host.add(Takes).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

const ASSET: &str = "repo:github.com/acme/shop";
/// Neither a severity nor a word on a link: null and null, behind the body of version 1 of a decision.
const NEITHER: [u8; 2] = [0, 0];

fn decision(key: &str) -> Vec<u8> {
    avro::encode(Decision {
        key: key.to_owned(),
        asset: ASSET.parse().unwrap(),
        actor: "someone".to_owned(),
        reason: "CVE-1".to_owned(),
        at: Timestamp::from_millis(1_700_000_000_000),
        what: Decided::RetireAsset,
    })
    .unwrap()
}

fn epss(ppm: i32) -> IntelRecord {
    IntelRecord::Epss(EpssScore { probability_ppm: ppm })
}

/// A value under another id, with more behind it.
fn under(value: &[u8], id: u32, more: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], &value[5..], more].concat()
}

/// A schema with one more optional field behind the others.
fn newer(text: &str, field: &str) -> Value {
    let mut schema: Value = serde_json::from_str(text).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": field, "type": ["null", "string"], "default": null}));
    schema
}

fn home() -> u32 {
    DECISIONS.partition_of(ASSET, PARTITIONS)
}

fn append(log: &KafkaLog, topic: Topic, partition: u32, key: &str, value: Vec<u8>) -> u64 {
    let (key, headers) = (key.as_bytes().to_vec(), [].into());
    let timestamp_ms = faultline_stream::Clock::now(&SystemClock).millis();
    log.append(vec![Record { topic: topic.name, partition, key, value: Some(value), headers, timestamp_ms }]).unwrap()[0]
}

/// All values of a topic as they stand in it.
fn values(raw: &KafkaLog, topic: Topic) -> Vec<Vec<u8>> {
    let all = (0..raw.partitions(topic.name).unwrap()).flat_map(|partition| raw.read(topic.name, partition, 0, 1000, usize::MAX).unwrap());
    all.filter_map(|record| record.value).collect()
}

/// What was said of decisions: their keys, and what was known.
fn outcomes(raw: &KafkaLog, id: u32) -> BTreeSet<(String, String)> {
    let said = values(raw, OUTCOMES).into_iter().map(|value| {
        assert_eq!(schema_id(&value).unwrap(), id);
        let outcome: Outcome = avro::decode(&under(&value, OUTCOMES_VALUE.newest().id, &[])).unwrap();
        (outcome.id, outcome.reason)
    });
    said.collect()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
    }
}

#[test]
fn the_registry_s_ids_stand_on_the_wire_and_its_outage_stops_only_what_is_new() {
    let plans = [DECISIONS, INTEL, OUTCOMES, DEAD_LETTERS].map(TopicPlan::of).to_vec();
    let Some(registry) = RealRegistry::start(two_free_ports()) else { return };
    let Some(broker) = Broker::start(plans, &[Takes::NAME]) else { return };

    // Somebody was there before us: ids are not ours by chance, and an older version of one of our schemas stands there.
    registry.register("other-value", &json!("string")).unwrap();
    let mut older: Value = serde_json::from_str(INTEL_VALUE.newest().text).unwrap();
    assert_eq!(older["fields"].as_array_mut().unwrap().pop().unwrap()["name"], "aliases");
    let older = registry.register("intel-value", &older).unwrap();
    let ours = Registry::new(&registry.options()).unwrap();
    assert!(ours.verify().unwrap().contains(&SubjectDifference::NotRegistered { subject: "decisions-value", version: 1 }));
    ours.prepare().unwrap();
    ours.prepare().unwrap();
    assert_eq!(ours.verify().unwrap(), [SubjectDifference::Foreign { subject: "intel-value", version: 1 }]);

    // The registry's rule, which we have set.
    let mut broken: Value = serde_json::from_str(DECISIONS_VALUE.newest().text).unwrap();
    broken["fields"].as_array_mut().unwrap().push(json!({"name": "ticket", "type": "string"}));
    let (status, why) = registry.register("decisions-value", &broken).unwrap_err();
    assert!(status == 409, "{why}");
    let ids: Vec<u32> = [&DECISIONS_VALUE, &OUTCOMES_VALUE, &INTEL_VALUE]
        .map(|subject| registry.register(subject.name, &serde_json::from_str(subject.newest().text).unwrap()).unwrap())
        .to_vec();
    let [decisions, outcome, intel] = ids[..] else { unreachable!() };
    let of_tomorrow = registry.register("decisions-value", &newer(DECISIONS_VALUE.newest().text, "ticket")).unwrap();
    let of_next_year = registry.register("decisions-value", &newer(DECISIONS_VALUE.newest().text, "approval")).unwrap();
    assert!(ids.iter().all(|id| *id > 1) && decisions != DECISIONS_VALUE.newest().id);

    // Who knows no registry sees what stands on the wire, and writes it.
    let raw = broker.log("raw");
    let log = broker.log_with_registry("ours", registry.options());
    append(
        &raw,
        INTEL,
        0,
        "CVE-1",
        [&[0], &older.to_be_bytes()[..], &avro::encode(epss(7)).unwrap()[5..]].concat().split_last().unwrap().1.to_vec(),
    );
    append(&log, INTEL, 0, "CVE-2", avro::encode(epss(8)).unwrap());
    let on_the_wire = || values(&raw, INTEL).iter().map(|value| schema_id(value).unwrap()).collect::<Vec<_>>();
    wait_for("the registry's ids", || on_the_wire() == [older, intel]);
    let latest = |key: &str| log.latest(INTEL.name, 0, key.as_bytes()).unwrap().and_then(|record| record.value);
    wait_for("the copy of intel", || latest("CVE-2").is_some());
    for (key, ppm) in [("CVE-1", 7), ("CVE-2", 8)] {
        assert_eq!(avro::decode::<IntelRecord>(&latest(key).unwrap()).unwrap(), epss(ppm));
    }

    // The body of a decision that needs no more is of version 1; those of newer schemas have two fields more.
    let (elsewhere, ticket) = ((home() + 1) % PARTITIONS, [&NEITHER[..], &[2, 4], b"T1"].concat());
    let unknown = under(&decision("unknown"), 999_999, &[]);
    let strayed = under(&decision("strayed"), of_tomorrow, &ticket);
    append(&log, DECISIONS, home(), ASSET, decision("ours"));
    append(&raw, DECISIONS, home(), ASSET, under(&decision("theirs"), decisions, &NEITHER));
    append(&raw, DECISIONS, home(), ASSET, under(&decision("newer"), of_tomorrow, &ticket));
    append(&raw, DECISIONS, home(), ASSET, unknown.clone());
    append(&raw, DECISIONS, home(), ASSET, b"{}".to_vec());
    append(&raw, DECISIONS, elsewhere, ASSET, strayed.clone());
    let running = run(log.clone());
    let known = format!("{:?}", Some(epss(7)));
    let said = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), known.clone())).collect::<BTreeSet<_>>();
    let before = said(&["ours", "theirs", "newer", "strayed"]);
    wait_for("the decisions", || outcomes(&raw, outcome).is_superset(&before));
    assert_eq!(outcomes(&raw, outcome), before);
    // Sent on as it came, with the field that is not known here.
    let at_home = raw.read(DECISIONS.name, home(), 0, 100, usize::MAX).unwrap();
    assert!(at_home.iter().any(|record| record.value.as_ref() == Some(&strayed)));
    let letters: Vec<DeadLetter> = (0..PARTITIONS)
        .flat_map(|partition| log.read(DEAD_LETTERS.name, partition, 0, 100, usize::MAX).unwrap())
        .map(|record| avro::decode(record.value.as_deref().unwrap()).unwrap())
        .collect();
    let letter = |value: &[u8]| letters.iter().find(|letter| letter.value.as_deref() == Some(value)).unwrap();
    assert!(
        letter(&unknown).reason.contains("does not know the record's schema id 999999") && letter(b"{}").reason.contains("wire format")
    );

    registry.kill();
    append(&raw, DECISIONS, home(), ASSET, under(&decision("newer in the outage"), of_tomorrow, &ticket));
    append(&log, DECISIONS, home(), ASSET, decision("ours in the outage"));
    let in_outage: BTreeSet<_> = before.union(&said(&["newer in the outage", "ours in the outage"])).cloned().collect();
    wait_for("what is known goes on", || outcomes(&raw, outcome) == in_outage);
    // An id that was never seen: its partition waits, what stands before it does not, nor do others.
    append(&raw, DECISIONS, home(), ASSET, under(&decision("before"), decisions, &NEITHER));
    let at = append(&raw, DECISIONS, home(), ASSET, under(&decision("new"), of_next_year, &ticket));
    append(&raw, DECISIONS, elsewhere, ASSET, strayed.clone());
    let waiting: BTreeSet<_> = in_outage.union(&said(&["before"])).cloned().collect();
    wait_for("the outage", || log.registry().and_then(Registry::outage).is_some() && outcomes(&raw, outcome) == waiting);
    wait_for("an error of its own", || match log.read(DECISIONS.name, home(), at, 1, usize::MAX) {
        Err(HostError::Kafka(KafkaError::Registry(RegistryError::Unreachable { .. }))) => true,
        // It is fetched in a moment.
        Ok(page) => {
            assert!(page.is_empty());
            false
        }
        Err(other) => panic!("{other}"),
    });
    assert!(running.running().unwrap().failures().is_empty());

    registry.begin();
    let after: BTreeSet<_> = waiting.union(&said(&["new"])).cloned().collect();
    wait_for("what waited", || outcomes(&raw, outcome) == after);
    assert!(log.registry().and_then(Registry::outage).is_none());
    running.stop().unwrap();
}
