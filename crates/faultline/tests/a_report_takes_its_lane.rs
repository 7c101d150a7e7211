//! `publish --bulk` and the quota of a source: where the records go, and that it shows in nothing but when they are read.
#![allow(clippy::unwrap_used)]

mod installation;

use faultline_model::avro;
use faultline_model::record::FindingsRecord;
use faultline_model::topic::{FINDINGS, FINDINGS_BULK};
use faultline_stream::{EmbeddedLog, Log, Options, Record, Stored, topic_plans};
use installation::Installation;
use serde_json::{Value, json};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/anchore_grype/many_vulns4.json");
const SHOP: &str = "repo:git.acme.example/shop";
const PARTITIONS: u32 = 4;
const QUOTA: usize = 3;

impl Installation {
    fn log<T>(&self, work: impl FnOnce(&EmbeddedLog) -> T) -> T {
        let options = Options { partitions: PARTITIONS, ..Options::default() };
        let log = EmbeddedLog::open(self.path().join("log"), topic_plans(), options).unwrap();
        let result = work(&log);
        log.sync().unwrap();
        result
    }

    /// All records of a lane, in the partition of the one asset.
    fn lane(&self, topic: &str) -> Vec<Stored> {
        self.log(|log| log.read(topic, FINDINGS.partition_of(SHOP, PARTITIONS), 0, usize::MAX, usize::MAX).unwrap())
    }

    /// Publishes the sample; what is said of its one scan, and beside.
    fn publish(&self, arguments: &[&str], quota: &str) -> (Value, String) {
        let all = [&["publish", SAMPLE, "--asset", SHOP, "--full", "--json", "--started", "2026-01-02T03:04:05Z"], arguments].concat();
        let output = self.command(&all).env("FAULTLINE__HTTP__SOURCE_QUOTA", quota).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        (serde_json::from_slice::<Value>(&output.stdout).unwrap()["reports"][0].clone(), told)
    }

    fn ids(&self, noun: &str, id: &str) -> Vec<Value> {
        self.json(&[noun, "list"])["items"].as_array().unwrap().iter().map(|item| item[id].clone()).collect()
    }

    fn assert_knows_what(&self, other: &Self) {
        assert!(!self.ids("risks", "risk").is_empty());
        assert_eq!(self.ids("risks", "risk"), other.ids("risks", "risk"));
        assert_eq!(self.ids("findings", "finding"), other.ids("findings", "finding"));
    }
}

fn records(lane: &[Stored]) -> Vec<FindingsRecord> {
    lane.iter().map(|record| avro::decode(record.value.as_deref().unwrap()).unwrap()).collect()
}

#[test]
fn a_report_that_may_wait_goes_by_the_bulk_lane_and_comes_to_the_same() {
    let (urgent, bulk) = (Installation::new(), Installation::new());
    let (published, _) = urgent.publish(&[], "0");
    assert_eq!((&published["scan"]["lane"], &published["scan"]["over_quota"]), (&json!("interactive"), &json!(0)));
    // A quota is for what is urgent.
    let (published, _) = bulk.publish(&["--bulk"], "1");
    assert_eq!((&published["scan"]["lane"], &published["scan"]["over_quota"]), (&json!("bulk"), &json!(0)));
    assert_eq!(published["outcome"]["status"], "done");
    assert!(urgent.lane(FINDINGS_BULK.name).is_empty() && bulk.lane(FINDINGS.name).is_empty());
    assert_eq!(records(&urgent.lane(FINDINGS.name)), records(&bulk.lane(FINDINGS_BULK.name)));
    bulk.assert_knows_what(&urgent);
    let scan = published["scan"]["scan"].as_str().unwrap();
    let times = bulk.json(&["trace", scan])["times"].clone();
    assert_eq!(times[0]["step"], "came", "{times}");
}

#[test]
fn what_a_source_brings_beyond_its_quota_goes_by_the_bulk_lane_and_nothing_is_lost() {
    let (free, bound) = (Installation::new(), Installation::new());
    free.publish(&[], "0");
    let all = records(&free.lane(FINDINGS.name));
    let (published, told) = bound.publish(&[], &QUOTA.to_string());
    let beyond = all.len() - QUOTA;
    assert_eq!((&published["scan"]["lane"], &published["scan"]["over_quota"]), (&json!("bulk"), &json!(beyond)));
    let note = |beyond: usize| format!("{beyond} of its records are beyond the source's quota and go by the bulk lane");
    assert!(told.contains(&note(beyond)), "{told}");
    let (urgent, bulk) = (records(&bound.lane(FINDINGS.name)), records(&bound.lane(FINDINGS_BULK.name)));
    assert_eq!(urgent, all[..QUOTA]);
    assert_eq!((&bulk[0], &bulk[1..]), (&all[0], &all[QUOTA..]), "its start once more, and the rest");
    assert_eq!(published["outcome"]["status"], "done");
    assert_eq!(published["outcome"]["counts"]["new"], json!(all.len() - 2));
    bound.assert_knows_what(&free);
    let again = bound.command(&["publish", SAMPLE, "--asset", SHOP, "--full"]).env("FAULTLINE__HTTP__SOURCE_QUOTA", "1").output().unwrap();
    let told = String::from_utf8(again.stderr).unwrap();
    assert!(told.contains(&note(all.len() - 1)), "{told}");
}

#[test]
fn what_was_refused_in_the_bulk_lane_goes_back_there() {
    let installation = Installation::new();
    installation.publish(&[], "0");
    let poison = Record {
        topic: FINDINGS_BULK.name,
        partition: FINDINGS_BULK.partition_of(SHOP, PARTITIONS),
        key: SHOP.into(),
        value: Some(b"no record".to_vec()),
        headers: [].into(),
        timestamp_ms: i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap(),
    };
    installation.log(|log| log.append(vec![poison]).unwrap());
    installation.publish(&[], "0");
    let letters = installation.json(&["dlq", "list"])["items"].clone();
    assert_eq!(letters[0]["topic"], "findings.bulk");
    let told = installation.json(&["dlq", "redrive", letters[0]["id"].as_str().unwrap()]);
    assert_eq!(told["redriven"][0]["topic"], "findings.bulk", "{told}");
    assert_eq!(installation.lane(FINDINGS_BULK.name).len(), 2);
}

#[test]
fn the_plan_of_topics_has_both_lanes_alike() {
    let plan = Installation::new().json(&["topics", "plan"]);
    let topic = |name: &str| plan["topics"].as_array().unwrap().iter().find(|topic| topic["name"] == name).unwrap().clone();
    let (urgent, bulk) = (topic("findings"), topic("findings.bulk"));
    assert_eq!((&urgent["partitions"], &urgent["settings"]), (&bulk["partitions"], &bulk["settings"]));
    let may = |role: &str, operation: &str| {
        let acls = plan["acls"][role].as_array().unwrap().clone();
        acls.iter().any(|acl| acl["name"] == "findings.bulk" && acl["operations"].as_str().unwrap().contains(operation))
    };
    assert!(may("gateway", "Write") && may("track", "Read") && may("track", "Write") && may("views", "Read"));
}
