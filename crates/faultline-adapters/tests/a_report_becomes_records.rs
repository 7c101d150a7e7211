//! A report becomes the records of one scan for each tool and asset in it, numbered without gaps, whatever it is told beside.

use std::io::Cursor;

use faultline_adapters::adapter::Report;
use faultline_adapters::publish::{Claim, PublishError, Published, records};
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::record::FindingsRecord;
use faultline_model::scan::{ScanCompleted, ScanStarted, Scope};
use faultline_model::time::Timestamp;

type Outcome = Result<(Vec<Published>, Vec<FindingsRecord>), PublishError<String>>;

fn publish(report: &[u8], claim: &Claim) -> Outcome {
    let (mut input, key) = (Cursor::new(report), SecretKey::from_passphrase("t"));
    let mut report = Report::new(&mut input, &key);
    let adapter = registry::detect(&mut report)?;
    let mut sent = Vec::new();
    let published = records(&mut report, adapter, claim, &mut |_, record| {
        sent.push(record);
        Ok(())
    })?;
    Ok((published, sent))
}

fn claim() -> Claim {
    let asset = "repo:github.com/acme/shop".parse().expect("an asset");
    Claim {
        asset: Some(asset),
        branch: "main".into(),
        now: Timestamp::from_millis(2_000_000_000_000),
        publisher: "t".into(),
        ..Claim::default()
    }
}

fn starts(sent: &[FindingsRecord]) -> Vec<&ScanStarted> {
    sent.iter().filter_map(|record| if let FindingsRecord::ScanStarted(start) = record { Some(start) } else { None }).collect()
}

fn ends(sent: &[FindingsRecord]) -> Vec<&ScanCompleted> {
    sent.iter().filter_map(|record| if let FindingsRecord::ScanCompleted(end) = record { Some(end) } else { None }).collect()
}

const SARIF: &[u8] = br#"{"version": "2.1.0", "runs": [
    {"tool": {"driver": {"name": "One", "version": "1.2"}},
     "versionControlProvenance": [{"repositoryUri": "https://github.com/Acme/Shop.git", "revisionId": "abc", "branch": "dev"}],
     "results": [{"ruleId": "a", "message": {"text": "m"}, "properties": {"cwe": "CWE-89"}}, {"ruleId": 7}, {"ruleId": "b", "message": {"text": "m"}}]},
    {"tool": {"driver": {"name": "Two"}}, "results": []}]}"#;

#[test]
fn every_scan_has_a_start_numbers_without_gaps_and_an_end_that_counts_them() {
    let (published, sent) = publish(SARIF, &claim()).expect("it is published");
    assert_eq!(
        published.iter().map(|scan| (scan.tool.as_str(), scan.observations, scan.refused)).collect::<Vec<_>>(),
        [("one", 2, 1), ("two", 0, 1)]
    );
    assert_eq!(published[0].refusals[0].place, "run 0, result 1");
    let numbers: Vec<i32> =
        sent.iter().filter_map(|record| if let FindingsRecord::Finding(seen) = record { Some(seen.number) } else { None }).collect();
    assert_eq!(numbers, [0, 1]);
    assert_eq!(
        ends(&sent).iter().map(|end| (end.observations, end.families.join(","))).collect::<Vec<_>>(),
        [(2, "sql-injection".into()), (0, String::new())]
    );
    let start = starts(&sent)[0];
    assert_eq!((start.tool_version.as_str(), start.revision.as_str(), start.branch.as_str()), ("1.2", "abc", "main"));
    assert!(!start.scope.is_full, "a scan is partial unless somebody says otherwise");
}

#[test]
fn the_same_report_is_the_same_scan_and_a_name_makes_another_report_the_same() {
    let id = |report: &[u8], claim: &Claim| publish(report, claim).expect("published").0[0].scan;
    let other = String::from_utf8_lossy(SARIF).replace("\"m\"", "\"n\"");
    assert_eq!(id(SARIF, &claim()), id(SARIF, &Claim { now: Timestamp::from_millis(3_000_000_000_000), ..claim() }));
    assert_ne!(id(SARIF, &claim()), id(other.as_bytes(), &claim()));
    assert_ne!(id(SARIF, &claim()), id(SARIF, &Claim { scope: Scope { is_full: true, ..Scope::default() }, ..claim() }));
    let named = Claim { scan_name: Some("build 7".into()), ..claim() };
    assert_eq!(id(SARIF, &named), id(other.as_bytes(), &named));
    assert_ne!(id(SARIF, &named), id(SARIF, &Claim { scan_name: Some("build 8".into()), ..claim() }));
}

#[test]
fn a_part_is_the_same_however_its_path_is_written() {
    let part = |path: &str| Claim { scope: Scope { paths: vec![path.into()], ..Scope::default() }, ..claim() };
    let started = |path: &str| starts(&publish(SARIF, &part(path)).expect("published").1)[0].clone();
    for path in ["src/api", "./src/api/", "/src/api", "src\\api", "src/web/../api"] {
        assert_eq!(started(path).scope.paths, ["src/api"], "{path}");
        assert_eq!(started(path).scan, started("src/api").scan, "{path}");
    }
}

#[test]
fn without_a_claim_the_report_names_its_asset_or_the_error_says_what_to_do() {
    let no_asset = Claim { asset: None, ..claim() };
    let one = br#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "One"}}, "results": [], "versionControlProvenance": [{"repositoryUri": "git@github.com:acme/shop.git"}]}]}"#;
    assert_eq!(publish(one, &no_asset).expect("published").0[0].asset.as_str(), "repo:github.com/acme/shop");
    let nameless = br#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "One"}}, "results": []}]}"#;
    let error = publish(nameless, &no_asset).expect_err("no asset").to_string();
    assert!(error.contains("--asset"), "{error}");
    let folder = br#"{"SchemaVersion": 2, "ArtifactName": "/home/x", "ArtifactType": "filesystem", "Results": []}"#;
    let error = publish(folder, &no_asset).expect_err("a path").to_string();
    assert!(error.contains("--asset") && error.contains("path on one machine"), "{error}");
    let image = br#"{"SchemaVersion": 2, "ArtifactName": "nginx:1.2", "ArtifactType": "container_image", "Results": []}"#;
    assert_eq!(publish(image, &no_asset).expect("published").0[0].asset.as_str(), "image:docker.io/library/nginx");
}

#[test]
fn a_dynamic_scan_of_several_sites_is_a_scan_of_each_even_where_it_found_nothing() {
    let item = |uri: &str| {
        format!(
            "<alertitem><pluginid>40018</pluginid><alert>SQL</alert><riskcode>3</riskcode><cweid>89</cweid><instances><instance><uri>{uri}</uri><method>GET</method><param>q</param></instance></instances></alertitem>"
        )
    };
    let site = |name: &str, alerts: &str| format!("<site name=\"{name}\"><alerts>{alerts}</alerts></site>");
    let report = format!(
        "<OWASPZAPReport version=\"2.16\" generated=\"Fri, 18 Jun 2021 09:21:51\">{}{}{}</OWASPZAPReport>",
        site("https://a.example", &(item("https://a.example/x?q=1") + &item("https://a.example/y"))),
        site("https://b.example:8443", &item("https://b.example:8443/x")),
        site("https://quiet.example", "")
    );
    let (published, sent) = publish(report.as_bytes(), &Claim { asset: None, ..claim() }).expect("published");
    let seen: Vec<(&str, i32, i32)> = published.iter().map(|scan| (scan.asset.as_str(), scan.observations, scan.routes)).collect();
    assert_eq!(seen, [("url:https://a.example", 2, 2), ("url:https://b.example:8443", 1, 1), ("url:https://quiet.example", 0, 0)]);
    assert_eq!(starts(&sent)[0].started.to_string(), "2021-06-18T09:21:51Z");
    // A person's word puts all of it under one asset.
    let (published, _) = publish(report.as_bytes(), &claim()).expect("published");
    assert_eq!(
        published.iter().map(|scan| (scan.asset.as_str(), scan.observations)).collect::<Vec<_>>(),
        [("repo:github.com/acme/shop", 3)]
    );
}

#[test]
fn a_report_that_dates_itself_into_the_future_was_read_now() {
    let report = br#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "One"}}, "invocations": [{"startTimeUtc": "2999-01-01T00:00:00Z"}]}]}"#;
    let (_, sent) = publish(report, &claim()).expect("published");
    assert_eq!(starts(&sent)[0].started, claim().now);
}

#[test]
fn an_observation_that_fits_no_record_is_refused_and_the_rest_goes_on() {
    let huge = "x".repeat(1024 * 1024);
    let report = format!(
        r#"{{"version": "2.1.0", "runs": [{{"tool": {{"driver": {{"name": "One"}}}}, "results": [{{"ruleId": "a", "fingerprints": {{"f": "{huge}"}}}}, {{"ruleId": "b"}}]}}]}}"#
    );
    let (published, sent) = publish(report.as_bytes(), &claim()).expect("published");
    assert_eq!((published[0].observations, published[0].refused), (1, 1));
    assert!(published[0].refusals[0].reason.contains("a record holds at most"));
    assert!(sent.into_iter().all(|record| faultline_model::avro::encode(record).expect("it fits").len() < 1024 * 1024));
}

#[test]
fn the_error_of_the_sink_comes_out_as_it_went_in() {
    let (mut input, key) = (Cursor::new(SARIF), SecretKey::from_passphrase("t"));
    let mut report = Report::new(&mut input, &key);
    let adapter = registry::detect(&mut report).expect("sarif");
    let mut left = 3;
    let outcome = records(&mut report, adapter, &claim(), &mut |_, _| {
        left -= 1;
        if left < 0 { Err("full") } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(PublishError::Sink("full"))));
}
