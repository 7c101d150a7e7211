//! `faultline dlq`: what was refused is listed, shown, and sent back to where it came from, as it came.
#![allow(clippy::unwrap_used)]

mod installation;

use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use faultline_model::avro;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::topic::{DEAD_LETTERS, FINDINGS};
use faultline_stream::{EmbeddedLog, Log, Options, Record, Stored, topic_plans};
use installation::Installation;
use serde_json::{Value, json};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/anchore_grype/many_vulns4.json");
const SHOP: &str = "repo:git.acme.example/shop";
const GARBAGE: &[u8] = b"\xffno record of ours";
const PARTITIONS: u32 = 4;

impl Installation {
    /// The exit code and all that was said.
    fn told(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.run(arguments);
        (status.code().unwrap(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    /// Publishing waits until all that came in was worked on.
    fn publish(&self) {
        self.json(&["publish", SAMPLE, "--asset", SHOP, "--full"]);
    }

    fn letters(&self) -> Vec<Value> {
        self.json(&["dlq", "list"])["items"].as_array().unwrap().clone()
    }

    /// The log below, while no command has it.
    fn log<T>(&self, work: impl FnOnce(&EmbeddedLog) -> T) -> T {
        std::fs::create_dir_all(self.path()).unwrap();
        let options = Options { partitions: PARTITIONS, ..Options::default() };
        let log = EmbeddedLog::open(self.path().join("log"), topic_plans(), options).unwrap();
        let result = work(&log);
        log.sync().unwrap();
        result
    }

    /// All records of a topic that a key's partition has.
    fn records(&self, topic: &str, partition: u32) -> Vec<Stored> {
        self.log(|log| log.read(topic, partition, 0, usize::MAX, usize::MAX).unwrap())
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn place() -> u32 {
    FINDINGS.partition_of(SHOP, PARTITIONS)
}

/// A letter, as a stage writes it.
fn letter(key: &str, topic: &str, stage: &str, value: Option<Vec<u8>>, timestamp_ms: i64) -> Record {
    let (topic, stage, reason) = (topic.to_owned(), stage.to_owned(), "it was refused".to_owned());
    let letter = DeadLetter { topic, partition: 0, offset: 7, reason, stage, value };
    Record {
        topic: DEAD_LETTERS.name,
        partition: DEAD_LETTERS.partition_of(key, PARTITIONS),
        key: key.as_bytes().to_vec(),
        value: Some(avro::encode(letter).unwrap()),
        headers: [].into(),
        timestamp_ms,
    }
}

#[test]
fn what_is_refused_again_comes_back_with_how_often_until_it_is_enough() {
    let installation = Installation::new();
    installation.publish();
    let headers = vec![("origin".to_owned(), b"a test".to_vec()), ("mark".to_owned(), vec![0xfe])];
    let poison = Record {
        topic: FINDINGS.name,
        partition: place(),
        key: SHOP.into(),
        value: Some(GARBAGE.to_vec()),
        headers: headers.clone().into(),
        timestamp_ms: now(),
    };
    let offset = installation.log(|log| log.append(vec![poison]).unwrap()[0]);
    installation.publish();

    let letters = installation.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let first = letters[0]["id"].as_str().unwrap().to_owned();
    let said = |member: &str| letters[0][member].clone();
    let expected = [json!("findings"), json!(place()), json!(offset), json!("track"), json!(SHOP), json!(0), json!(GARBAGE.len())];
    assert_eq!(["topic", "partition", "offset", "stage", "key", "redriven", "value_bytes"].map(said), expected);
    assert!(!letters[0]["reason"].as_str().unwrap().is_empty());
    let shown = installation.json(&["dlq", "show", &first]);
    let hex = "ff6e6f207265636f7264206f66206f757273";
    assert_eq!((&shown["hex"], &shown["is_cut"], &shown["value"]), (&json!(hex), &json!(false), &Value::Null));
    assert_eq!(shown["headers"], json!([["origin", "a test"], ["mark", "fe"]]));
    let (code, text) = installation.told(&["dlq", "list"]);
    assert!(code == 0 && text.contains(&first) && text.contains(&format!("findings-{}-{offset}", place())), "{text}");

    let before = installation.records(FINDINGS.name, place()).len();
    let (code, text) = installation.told(&["dlq", "redrive", &first, "--dry-run"]);
    assert!(code == 0 && text.contains("would redrive"), "{text}");
    assert_eq!(installation.records(FINDINGS.name, place()).len(), before, "a dry run changes nothing");
    let (code, text) = installation.told(&["dlq", "redrive", &first]);
    assert!(code == 0 && text.contains("for time 1"), "{text}");
    let records = installation.records(FINDINGS.name, place());
    let again = records.last().unwrap();
    assert_eq!((records.len(), again.key.as_slice(), again.value.as_deref()), (before + 1, SHOP.as_bytes(), Some(GARBAGE)));
    let ours = [("faultline-redriven", "1"), ("faultline-redriven-from", &first), ("faultline-redriven-by", "ana")];
    let ours = ours.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(again.headers, [headers, ours.to_vec()].concat().into());

    let newest = |letters: &[Value]| (letters[0]["id"].as_str().unwrap().to_owned(), letters[0]["redriven"].clone());
    let letters = installation.letters();
    let (second, times) = newest(&letters);
    assert_eq!((letters.len(), times, &letters[0]["redriven_from"]), (2, json!(1), &json!(first)));
    assert_eq!(installation.json(&["dlq", "show", &first])["came_back"], json!(second));
    let (code, text) = installation.told(&["dlq", "redrive", &first]);
    assert!(code == 3 && text.contains(&format!("refused again, as {second}")), "{text}");

    let all = ["dlq", "redrive", "--all", "--topic", "findings"];
    assert_eq!(installation.told(&all).0, 2, "nobody is there to say yes");
    for times in [2, 3] {
        let (code, text) = installation.told(&[&all[..], &["--yes"]].concat());
        assert!(code == 0 && text.matches("redriven dead-letters-").count() == 1, "only the newest of a record: {text}");
        let letters = installation.letters();
        assert_eq!((letters.len(), newest(&letters).1), (times + 1, json!(times)));
    }
    let (code, text) = installation.told(&[&all[..], &["--yes"]].concat());
    assert!(code == 3 && text.contains("redriven 3 times"), "{text}");
    let (last, _) = newest(&installation.letters());
    assert_eq!(installation.told(&["dlq", "redrive", &last, "--force"]).0, 0);
    assert_eq!(newest(&installation.letters()).1, json!(4));
}

#[test]
fn what_is_fine_by_now_is_worked_on_as_if_it_had_come_then() {
    let (refused, taken) = (Installation::new(), Installation::new());
    taken.publish();
    let records = taken.records(FINDINGS.name, place());
    assert!(records.len() >= 9);
    let at = now();
    let letters = records.iter().map(|record| letter(SHOP, FINDINGS.name, "track", record.value.clone(), at)).collect();
    refused.log(|log| log.append(letters).unwrap());
    let shown = refused.json(&["dlq", "show", &format!("{}-1", place())]);
    assert!(shown["value"]["kind"].is_string() && shown["hex"].is_null(), "{shown}");
    let answer = refused.json(&["dlq", "redrive", "--all", "--topic", "findings", "--yes", "--actor", "ben"]);
    assert_eq!(answer["redriven"].as_array().unwrap().len(), records.len());
    let values = |records: Vec<Stored>| records.into_iter().map(|record| (record.key, record.value)).collect::<Vec<_>>();
    assert_eq!(values(refused.records(FINDINGS.name, place())), values(records), "in the order in which they were refused");
    let ids = |installation: &Installation, noun: &str, id: &str| -> Vec<Value> {
        installation.json(&[noun, "list"])["items"].as_array().unwrap().iter().map(|item| item[id].clone()).collect()
    };
    assert!(!ids(&taken, "risks", "risk").is_empty());
    for (noun, id) in [("risks", "risk"), ("findings", "finding")] {
        assert_eq!(ids(&refused, noun, id), ids(&taken, noun, id));
    }
    assert_eq!(refused.letters().len(), answer["redriven"].as_array().unwrap().len(), "the letters stay");
}

#[test]
fn a_list_is_the_newest_first_over_all_partitions_in_pages() {
    let installation = Installation::new();
    let begin = now() - 10_000;
    let one = |number: i64| {
        let stage = if number % 7 == 0 { "correlate" } else { "track" };
        letter(&format!("asset {number}"), if number % 7 == 0 { "tracked" } else { "findings" }, stage, None, begin + number)
    };
    installation.log(|log| log.append((0..700).map(one).collect()).unwrap());
    let keys = |arguments: &[&str]| -> Vec<String> {
        let items = installation.json(&[&["dlq", "list"], arguments].concat())["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    let expected = |numbers: &mut dyn Iterator<Item = i64>| numbers.map(|number| format!("asset {number}")).collect::<Vec<_>>();
    assert_eq!(keys(&["--limit", "650"]), expected(&mut (50..700).rev()));
    assert_eq!(keys(&["--limit", "1000"]).len(), 700);
    let of_correlate = expected(&mut (0..700).rev().filter(|number| number % 7 == 0));
    assert_eq!(keys(&["--stage", "correlate", "--limit", "1000"]), of_correlate);
    assert_eq!(keys(&["--topic", "tracked", "--limit", "3"]), of_correlate[..3]);
}

#[test]
fn what_cannot_go_back_is_refused_with_what_to_do() {
    let installation = Installation::new();
    let refused = |topic: &str| letter(topic, topic, "correlate", Some(GARBAGE.to_vec()), now());
    let topics = ["tracked", "risks", "catalog", "intel", "outcomes", "a topic of long ago"];
    installation.log(|log| log.append(topics.map(refused).to_vec()).unwrap());
    for letter in installation.letters() {
        let (code, text) = installation.told(&["dlq", "redrive", letter["id"].as_str().unwrap(), "--force"]);
        let topic = letter["topic"].as_str().unwrap();
        assert!(code == 3 && text.contains(&format!("a record of {topic:?} is not redriven")), "{text}");
    }
    for (arguments, code, part) in [
        (&["dlq", "show", "nonsense"][..], 2, "reads like dead-letters-2-17"),
        (&["dlq", "show", "0-999"], 1, "there is no dead letter dead-letters-0-999"),
        (&["dlq", "show", "99-0"], 1, "there is no dead letter"),
        (&["dlq", "redrive", "0-999"], 3, "there is no such letter"),
        (&["dlq", "redrive"], 2, "ID"),
        (&["dlq", "redrive", "--all"], 2, "--topic"),
        (&["dlq", "redrive", "--all", "--topic", "findings", "--yes"], 0, "there is nothing to redrive"),
        (&["dlq", "list", "--limit", "0"], 2, "limit"),
    ] {
        let told = installation.told(arguments);
        assert!(told.0 == code && told.1.contains(part), "{arguments:?}: {told:?}");
    }
}
