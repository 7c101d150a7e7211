//! The program as a user runs it, without a service: what it prints, what it changes, how it exits.
#![allow(clippy::unwrap_used)]

mod installation;

use std::io::Write;
use std::path::Path;
use std::process::Output;

use installation::Installation;
use serde_json::Value;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples");
const ASSET: [&str; 2] = ["--asset", "repo:git.acme.example/shop"];

impl Installation {
    fn publish(&self, sample: &str, more: &[&str]) -> Value {
        let file = format!("{SAMPLES}/{sample}");
        self.json(&[&["publish", file.as_str()], &ASSET[..], more].concat())["total"].clone()
    }

    /// A file of the home folder with this text: its path.
    fn written(&self, name: &str, text: &str) -> String {
        let path = self.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn open_risks(&self) -> u64 {
        self.json(&["risks", "list"])["total"]["count"].as_u64().unwrap()
    }
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn every_sample_is_published_or_refused_with_a_reason() {
    let installation = Installation::new();
    let mut published = 0;
    for tool in ["anchore_grype", "checkov", "generic", "gitleaks", "sarif", "trivy", "zap"] {
        for entry in std::fs::read_dir(Path::new(SAMPLES).join(tool)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if name.ends_with(".expected.json") {
                continue;
            }
            let expected: Value =
                std::fs::read(format!("{name}.expected.json")).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
            let output = installation.run(&[&["publish", name.as_str()], &ASSET[..]].concat());
            match exit(&output) {
                0 => published += 1,
                3 => assert!(String::from_utf8_lossy(&output.stderr).contains("error: "), "{name}"),
                other => panic!("{name}: exit {other}: {}", String::from_utf8_lossy(&output.stderr)),
            }
            assert!(exit(&output) == 0 || expected["status"] != "valid" || expected["count"] == 0, "{name} is valid and was refused");
        }
    }
    assert!(published >= 55, "{published} samples were published");
}

#[test]
fn the_same_report_twice_changes_nothing_and_an_empty_one_closes_nothing() {
    let installation = Installation::new();
    let first = installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    assert_eq!((first["observed"].clone(), first["new"].clone()), (9.into(), 9.into()));
    let risks = installation.open_risks();
    let again = installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    assert_eq!((again["new"].clone(), again["known"].clone()), (0.into(), 9.into()));
    installation.publish("anchore_grype/no_vuln.json", &[]);
    assert_eq!(installation.open_risks(), risks, "without a stated scope nothing closes");
    let closing = installation.publish("anchore_grype/no_vuln.json", &["--full"]);
    assert_eq!(closing["closed"], 9);
    assert_eq!(installation.open_risks(), 0, "a full scan that sees nothing closes all");
}

/// What is no report of the tool, says nothing of its tool, or is damaged is refused, however it is published: it closes nothing.
#[test]
fn what_is_no_report_of_the_tool_closes_nothing() {
    let installation = Installation::new();
    installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    let risks = installation.open_risks();
    let write = |name: &str, bytes: &[u8]| {
        let path = installation.path().with_extension(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let whole = std::fs::read(format!("{SAMPLES}/anchore_grype/no_vuln.json")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&whole).unwrap();
    let packed = packed.finish().unwrap();
    let (empty, cut) = (write("empty.json", b"[]"), write("cut.json.gz", &packed[..packed.len() / 2]));
    let another = write("another.json", br#"{"any": "thing"}"#);
    let trivy = format!("{SAMPLES}/trivy/all_statuses.json");
    let sarif = format!("{SAMPLES}/sarif/appendix_k.sarif");
    for (file, tool, word) in [
        (sarif.as_str(), "grype", "this is no grype report"),
        (another.as_str(), "grype", "this is no grype report"),
        (empty.as_str(), "grype", "an object is expected"),
        (empty.as_str(), "", "no adapter knows this report"),
        (cut.as_str(), "", "cut off or damaged"),
    ] {
        let named = if tool.is_empty() { vec![] } else { vec!["--tool", tool] };
        let output = installation.run(&[&["publish", file, "--full"], &ASSET[..], &named].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((exit(&output), told.contains(word)), (3, true), "{file}: {told}");
    }
    let both = installation.run(&[&["publish", trivy.as_str(), "--full", "--path", "src"], &ASSET[..]].concat());
    assert_eq!(exit(&both), 2, "a scan of the whole asset has no part");
    assert_eq!(installation.open_risks(), risks);
    // An empty list is an empty report of Gitleaks where somebody says so.
    let output = installation.run(&[&["publish", empty.as_str(), "--tool", "gitleaks"], &ASSET[..]].concat());
    assert_eq!(exit(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_decision_survives_a_rescan_and_a_stale_one_is_refused() {
    let installation = Installation::new();
    installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    let risk = installation.json(&["risks", "list", "--limit", "1"])["items"][0].clone();
    let (id, finding) = (risk["risk"].as_str().unwrap(), risk["findings"][0]["finding"].as_str().unwrap());
    let listed = String::from_utf8(installation.run(&["risks", "list"]).stdout).unwrap();
    assert!(listed.contains(&id[..12]) && !listed.contains(&id[..13]), "{listed}");
    assert_eq!(exit(&installation.run(&["decide", &id[..12], "--verdict", "false-positive", "--reason", "a test fixture"])), 0);
    let refused = installation.run(&["decide", &finding[..8], "--assign", "ben", "--expected-version", "0"]);
    assert_eq!(exit(&refused), 3, "{}", String::from_utf8_lossy(&refused.stdout));
    assert_eq!(exit(&installation.run(&["decide", finding, "--assign", "ben", "--expected-version", "1"])), 0);
    installation.publish("anchore_grype/many_vulns4.json", &["--full", "--scan", "another run"]);
    let known = installation.json(&["risks", "show", &id[..8]]);
    assert_eq!((known["state"].as_str(), known["assigned_to"].as_str()), (Some("false_positive"), Some("ben")));
}

/// Static and dynamic findings of one service, without a route map.
#[test]
fn people_say_how_severe_a_finding_is_and_which_code_it_was_proved_in() {
    let installation = Installation::new();
    let written = |name: &str, text: &str| installation.written(name, text);
    let catalog = written(
        "catalog.yaml",
        "services: [{ id: shop, name: Shop, tier: 1, exposure: internet, places: [{ asset: \"repo:git.acme.example/shop\" }, { url: \"http://172.17.0.2\" }] }]",
    );
    installation.json(&["catalog", "apply", &catalog]);
    let code = r#"{"findings": [{"title": "SQL from input", "severity": "High", "file_path": "src/users.rs", "line": 3, "cwe": 89}]}"#;
    installation.json(&[&["publish", &written("code.json", code), "--tool", "generic-json"], &ASSET[..]].concat());
    let zap = format!("{SAMPLES}/zap/dvwa_baseline_dojo.xml");
    installation.json(&["publish", &zap, "--asset", "http://172.17.0.2", "--environment", "production"]);
    let of_tool = |tool: &str| installation.json(&["findings", "list", "--tool", tool])["items"][0].clone();
    let (code, proved) = (of_tool("generic-json"), of_tool("zap"));
    let id = |finding: &Value| finding["finding"].as_str().unwrap().to_owned();
    let verified = || installation.json(&["risks", "list", "--evidence", "verified"])["items"].as_array().unwrap().clone();
    let say = |arguments: &[&str]| exit(&installation.run(&[arguments, &["--reason", "reproduced by hand"]].concat()));

    assert_eq!((verified().len(), say(&["decide", &id(&proved)[..10], "--confirm-link", &id(&code)[..10]])), (0, 0));
    let [risk] = &verified()[..] else { panic!("one risk was proved at runtime and is in code") };
    assert_eq!((&risk["asset"], &risk["founder"]), (&code["asset"], &code["finding"]));
    let explained = String::from_utf8(installation.run(&["risks", "explain", risk["risk"].as_str().unwrap()]).stdout).unwrap();
    assert!(explained.contains("Proved at runtime, located in code") && explained.contains("confirmed by ana"), "{explained}");
    assert_eq!(of_tool("zap")["words"][0]["word"], "confirmed");
    assert_eq!(say(&["decide", &id(&proved), "--reject-link", &id(&code), "--expected-version", "0"]), 3, "it has one decision already");
    assert_eq!((say(&["decide", &id(&proved), "--reject-link", &id(&code), "--expected-version", "1"]), verified().len()), (0, 0));
    assert_eq!(say(&["decide", &id(&code), "--confirm-link", &id(&proved)]), 2, "the other way round");
    assert_eq!(say(&["decide", &id(&proved), "--withdraw-link", &id(&code)]), 0);

    let score = || installation.json(&["risks", "show", risk["risk"].as_str().unwrap()])["score"].clone();
    let before = score();
    assert_eq!(exit(&installation.run(&["decide", &id(&code), "--severity", "info"])), 2, "no reason is given");
    assert_eq!(say(&["decide", risk["risk"].as_str().unwrap(), "--severity", "info"]), 0);
    assert!(score()["total"].as_i64() < before["total"].as_i64());
    assert_eq!(score()["contributions"][0]["because"], "level info, said by ana");
    assert_eq!(
        installation.json(&["findings", "list", "--severity", "info", "--tool", "generic-json"])["items"][0]["finding"],
        code["finding"]
    );
    assert_eq!((say(&["decide", &id(&code), "--severity", "withdrawn"]), score()), (0, before));
}

#[test]
fn a_ticket_policy_says_what_it_would_do_before_anything_is_sent() {
    let installation = Installation::new();
    let written = |name: &str, text: &str| installation.written(name, text);
    let organisation = "organisation: [{ id: retail, name: Retail }]\nservices: [{ id: shop, parent: retail, places: [{ asset: \"repo:git.acme.example/shop\" }] }]\n";
    let policy = "tickets: { mode: watch, queues: [{ id: web, site: acme, project: SHOP, open_at_most: 2 }], rules: [{ name: retail, queue: web, when: { nodes: [retail] } }] }\n";
    installation.json(&["catalog", "apply", &written("catalog.yaml", organisation)]);
    installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    let none = installation.run(&["tickets", "plan"]);
    assert_eq!((exit(&none), String::from_utf8_lossy(&none.stderr).contains("has no ticket policy")), (1, true));
    // One that is not applied.
    let planned = installation.json(&["tickets", "plan", &written("tickets.yaml", policy)]);
    let web = &planned["queues"][0];
    let open = installation.open_risks();
    assert_eq!((&web["risks"], &planned["rules"][0]["risks"], &planned["without_rule"]), (&open.into(), &open.into(), &0.into()));
    let tickets = web["tickets"].as_u64().unwrap();
    assert!(tickets > 2 && tickets < open, "{tickets} upgrades repair {open} risks");
    assert_eq!(web["held_back"], tickets - 2);
    // The same, once it is in the catalog, which gives it back.
    installation.json(&["catalog", "apply", &written("whole.yaml", &format!("{organisation}{policy}"))]);
    assert_eq!(installation.json(&["tickets", "plan"]), planned);
    let shown = String::from_utf8(installation.run(&["catalog", "show"]).stdout).unwrap();
    assert!(shown.contains("project: SHOP"), "{shown}");
    let told = String::from_utf8(installation.run(&["tickets", "plan"]).stdout).unwrap();
    assert!(told.contains("a plan sends nothing") && told.contains("first in web") && told.contains("in shop)"), "{told}");
    for (text, part) in
        [("tickets: { mode: soon }", "expected off, watch or on"), ("services: []", "has no tickets"), ("tickets: {", "expected YAML")]
    {
        let refused = installation.run(&["tickets", "plan", &written("wrong.yaml", text)]);
        assert_eq!((exit(&refused), String::from_utf8_lossy(&refused.stderr).contains(part)), (3, true), "{text}");
    }
    let misplaced = policy.replace("nodes: [retail]", "nodes: [retial]");
    let refused = installation.run(&["catalog", "apply", &written("wrong.yaml", &format!("{organisation}{misplaced}"))]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean \"retail\"?"), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn a_report_is_taken_back_and_an_asset_retired() {
    let installation = Installation::new();
    let file = format!("{SAMPLES}/anchore_grype/many_vulns4.json");
    let answer = installation.json(&[&["publish", file.as_str()], &ASSET[..]].concat());
    let scan = answer["reports"][0]["scan"]["scan"].as_str().unwrap();
    assert_eq!(exit(&installation.run(&["retract", &scan[..8], "--reason", "the wrong repository"])), 0);
    assert_eq!(installation.open_risks(), 0);
    installation.publish("checkov/checkov-report-many-vuln.json", &[]);
    assert!(installation.open_risks() > 0);
    assert_eq!(exit(&installation.run(&["retire", "repo:git.acme.example/shop", "--reason", "archived"])), 0);
    assert_eq!(installation.open_risks(), 0);
}

#[test]
fn a_trace_tells_when_each_stage_wrote_it() {
    let installation = Installation::new();
    let file = format!("{SAMPLES}/anchore_grype/many_vulns4.json");
    let before = now();
    let answer = installation.json(&[&["publish", file.as_str()], &ASSET[..], &["--full"]].concat());
    let scan = answer["reports"][0]["scan"]["scan"].as_str().unwrap();
    let risk = installation.json(&["risks", "list", "--limit", "1"])["items"][0].clone();
    let (risk, finding) = (risk["risk"].as_str().unwrap(), risk["findings"][0]["finding"].as_str().unwrap());
    for (id, expected) in [
        (scan, &["came", "track", "correlate", "views"][..]),
        (finding, &["track", "correlate", "views"]),
        (risk, &["track", "correlate", "views"]),
    ] {
        let traced = installation.json(&["trace", id]);
        let times: Vec<i64> = traced["times"].as_array().unwrap().iter().map(|moment| moment["at"].as_i64().unwrap()).collect();
        let mut steps: Vec<&str> = traced["times"].as_array().unwrap().iter().map(|moment| moment["step"].as_str().unwrap()).collect();
        // The first and the last of several risks.
        steps.dedup();
        assert_eq!((traced["id"].as_str(), steps.as_slice()), (Some(id), expected));
        assert!(times.is_sorted() && times[0] >= before && times[times.len() - 1] <= now(), "{before} {times:?}");
        let told = String::from_utf8(installation.run(&["trace", &id[..10]]).stdout).unwrap();
        assert!(told.contains(&format!("when       {}", expected[0])) && told.contains(" ms") && told.contains("views"), "{told}");
    }
    installation.json(&[&["publish", file.as_str()], &ASSET[..], &["--full", "--scan", "another run"]].concat());
    let again = installation.json(&["trace", scan]);
    assert_eq!(again["times"][0]["step"], "came", "it is found behind a later scan, too");
    assert!(again["times"][0]["at"].as_i64().unwrap() >= before);
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[test]
fn wrong_use_is_told_with_what_to_do() {
    let installation = Installation::new();
    std::fs::write(installation.home().join("empty.json"), "").unwrap();
    for (arguments, code, part) in [
        (&["publish", "missing.json"][..], 2, "missing.json: it cannot be read"),
        (&["risks", "show", "nonsense"][..], 2, "32 hex digits"),
        (&["risks", "show", "00000000000000000000000000000000"][..], 1, "No risk"),
        (&["risks", "show", "00000000"][..], 1, "No risk"),
        (&["catalog", "apply", "missing.yaml"][..], 2, "missing.yaml"),
        (&["topics", "read", "telepathy"][..], 2, "there are findings"),
        (&["topics", "read", "risks", "--partition", "99"][..], 2, "risks has 4 partitions"),
        (&["publish", "."][..], 2, "it is a directory"),
        (&["publish", "-"][..], 2, "write the report to a file"),
        (&["publish", "empty.json"][..], 3, "it is empty"),
        (&["publish", "empty.json", "--started", "yesterday"][..], 2, "RFC 3339"),
        (&["publish", "empty.json", "--path", "../elsewhere"][..], 2, "leaves the asset"),
        (&["summary", "--node", "nope"][..], 2, "no unit of the organisation \"nope\""),
        (&["risks", "list", "--node", "nope"][..], 2, "no unit of the organisation \"nope\""),
        (&["risks", "list", "--family", "sql-injektion"][..], 2, "sql-injection"),
        (&["risks", "list", "--service", "nope"][..], 0, "no finding of a service \"nope\" is known"),
        (&["findings", "list", "--tool", "nope"][..], 0, "no finding of a tool \"nope\" is known"),
        (&["findings", "list", "--limit", "0"][..], 2, "1..=500"),
        (&["risks", "list", "--limit", "501"][..], 2, "1..=500"),
        (&["retract", "zz", "--reason", "a test"][..], 2, "32 hex digits"),
        (&["decide", "00000000000000000000000000000000", "--assign", "ben"][..], 1, "`faultline risks list`"),
        (&["retract", "00000000000000000000000000000000"][..], 2, "--reason"),
        (&["--server", "bogus", "risks", "list"][..], 2, "like https://"),
        (&["--server", "http://127.0.0.1:9", "up"][..], 2, "--server"),
        (&["up", "--listen", "0.0.0.0:0"][..], 2, "http.tls_certificate"),
        (&["--server", "http://127.0.0.1:9", "risks", "list"][..], 5, "http://127.0.0.1:9 cannot be reached"),
        (&["risk"][..], 2, "risks"),
    ] {
        let output = installation.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(exit(&output), code, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

/// Every command that prints goes through one function; these differ in what they print.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    let installation = Installation::new();
    installation.publish("anchore_grype/many_vulns4.json", &[]);
    for arguments in [&["risks", "list"][..], &["findings", "list"], &["summary"], &["config", "show"], &["adapters", "list", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = installation.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((exit(&closed), String::from_utf8_lossy(&closed.stderr).contains("panicked")), (0, false), "{arguments:?}");
        let full = std::fs::File::create("/dev/full").unwrap();
        let full = installation.command(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&full.stderr).into_owned();
        assert!(exit(&full) == 1 && said.contains("standard output cannot be written"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_list_of_findings_says_when_each_was_last_seen() {
    let installation = Installation::new();
    installation.publish("anchore_grype/many_vulns4.json", &["--started", "2026-01-31"]);
    let listed = installation.run(&["findings", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.matches("2026-01-31").count(), 9, "{listed}");
}

#[test]
fn a_check_of_the_configuration_tells_what_up_would_refuse() {
    let installation = Installation::new();
    std::fs::write(installation.home().join("open.yaml"), "http:\n  listen: 0.0.0.0:8470\n").unwrap();
    let told = installation.run(&["config", "check", "--config", "open.yaml", "--json"]);
    let answer: Value = serde_json::from_slice(&told.stdout).unwrap();
    let problems = answer["problems"].to_string();
    assert_eq!((exit(&told), answer["ok"].clone()), (2, false.into()));
    assert!(["http.tls_certificate", "http.tls_key", "http.token"].iter().all(|key| problems.contains(key)), "{problems}");
}

/// Hashes and previews only: no secret of the samples stands in a store file, a record, or a log line.
#[test]
fn no_secret_of_a_report_is_kept_or_told() {
    let installation = Installation::new();
    let samples = ["gitleaks/data_one.json", "gitleaks/issue4336.json", "sarif/gitleaks_7.5.0.sarif"];
    let mut secrets = Vec::new();
    for sample in samples {
        let text = std::fs::read_to_string(format!("{SAMPLES}/{sample}")).unwrap();
        secrets_of(&serde_json::from_str(&text).unwrap(), &mut secrets);
    }
    assert!(secrets.len() >= 3, "{} secrets to look for", secrets.len());
    let mut told = Vec::new();
    for sample in samples {
        let output = installation.run(&[&["publish", &format!("{SAMPLES}/{sample}")], &ASSET[..], &["--full"]].concat());
        told.extend([output.stdout, output.stderr]);
    }
    for topic in ["findings", "tracked", "risks", "outcomes", "dead-letters"] {
        told.push(installation.run(&["topics", "read", topic, "--limit", "100000", "--json"]).stdout);
    }
    told.push(installation.run(&["risks", "list", "--json"]).stdout);
    // So few records are not yet in compressed tables: what was written stands as it is in the write-ahead log.
    walk(&installation.path(), &mut |bytes| told.push(bytes));
    for secret in secrets {
        let found = told.iter().any(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(!found, "a secret that begins with {:?} was kept or told", &secret[..4]);
    }
}

/// The members of Gitleaks' formats that hold a secret.
fn secrets_of(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| secrets_of(item, secrets)),
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if ["Secret", "offender"].contains(&name.as_str()) && text.len() >= 8 && !text.contains("REDACTED") => {
                        secrets.push(text.to_owned());
                    }
                    _ => secrets_of(member, secrets),
                }
            }
        }
        _ => {}
    }
}

fn walk(folder: &Path, see: &mut dyn FnMut(Vec<u8>)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, see);
        } else if let Ok(bytes) = std::fs::read(&path) {
            see(bytes);
        }
    }
}
