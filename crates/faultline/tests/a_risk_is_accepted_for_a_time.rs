//! Exceptions as people use them: by hand, by files, and as the world breaks what they rest on.
#![allow(clippy::unwrap_used)]

mod installation;

use faultline_model::time::Timestamp;
use installation::Installation;
use serde_json::{Value, json};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/anchore_grype/many_vulns4.json");
const CATALOG: &str = "\
organisation: [{ id: retail }]
services: [{ id: shop, parent: retail, places: [{ repo: git.acme.example/shop }] }]
exceptions: { longest_days: { critical: 14 }, warning_days: 3 }
";

/// So many days from now, as people write it.
fn in_days(days: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.as_millis().try_into().unwrap()).plus_days(days).date()
}

impl Installation {
    fn written(&self, name: &str, text: &str) -> String {
        let path = self.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// With a service that has risks, one of them with this vulnerability.
    fn with_risks() -> (Self, String) {
        let installation = Self::new();
        installation.json(&["catalog", "apply", &installation.written("catalog.yaml", CATALOG)]);
        installation.json(&["publish", SAMPLE, "--asset", "repo:git.acme.example/shop"]);
        let risks = installation.json(&["risks", "list"]);
        let vulnerability = risks["items"][0]["vulnerabilities"][0].as_str().unwrap().to_owned();
        (installation, vulnerability)
    }

    fn accepted(&self) -> u64 {
        self.json(&["risks", "list", "--state", "accepted"])["total"]["count"].as_u64().unwrap()
    }

    /// What became of the last step of a command: its status and why.
    fn step(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(&[&["exceptions"], arguments, &["--json"]].concat());
        let told: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        let outcome = &told["steps"].as_array().unwrap().last().unwrap()["outcome"];
        let word = |member: &str| outcome[member].as_str().unwrap().to_owned();
        assert_eq!(output.status.success(), word("status") == "done", "{told}");
        (word("status"), word("reason"))
    }

    fn does(&self, arguments: &[&str]) {
        assert_eq!(self.step(arguments), ("done".to_owned(), String::new()), "{arguments:?}");
    }

    fn is_refused(&self, arguments: &[&str], because: &str) {
        let (status, reason) = self.step(arguments);
        assert!(status == "refused" && reason.contains(because), "{arguments:?}: {status} {reason}");
    }

    fn shown(&self, id: &str) -> Value {
        self.json(&["exceptions", "show", id])
    }
}

#[test]
fn three_people_accept_a_risk_and_a_kev_entry_opens_it_again() {
    let (installation, vulnerability) = Installation::with_risks();
    let preview = installation.json(&["exceptions", "preview", "--vulnerability", &vulnerability, "--within", "retail"]);
    let covers = preview["risks"].as_u64().unwrap();
    assert!(covers > 0, "{preview}");
    let open = installation.json(&["risks", "list"])["total"]["count"].as_u64().unwrap();

    let ends = in_days(10);
    let terms = ["--vulnerability", &vulnerability, "--within", "retail", "--title", "t", "--reason", "r", "--not-in-kev", "--name", "n"];
    let too_long = in_days(20);
    installation.is_refused(&[&["propose", "--ends", &too_long], &terms[..]].concat(), "14 is the most");
    installation.does(&[&["propose", "--ends", &ends, "--request", "--actor", "ana"], &terms[..]].concat());
    let id = installation.json(&["exceptions", "list"])["items"][0]["entry"].as_str().unwrap().to_owned();
    installation.is_refused(&["review", &id, "--actor", "ana"], "ana wrote it");
    installation.does(&["review", &id[..8], "--actor", "ben"]);
    installation.is_refused(&["approve", &id, "--actor", "ben"], "ben reviewed it");
    assert_eq!(installation.accepted(), 0, "nothing is accepted that was not granted");
    installation.does(&["approve", &id, "--actor", "cem", "--reason", "for ten days"]);
    assert_eq!(installation.accepted(), covers);
    assert_eq!(installation.json(&["risks", "list"])["total"]["count"], open - covers);
    let entry = installation.shown(&id);
    assert_eq!((entry["stage"].clone(), entry["risks"].clone(), entry["version"].clone()), (json!("active"), json!(covers), json!(4)));
    let risks = installation.json(&["risks", "list", "--exception", &id, "--state", "any"]);
    assert_eq!(risks["total"]["count"], covers, "{risks}");
    let told = installation.run(&["risks", "explain", risks["items"][0]["risk"].as_str().unwrap()]);
    assert!(String::from_utf8_lossy(&told.stdout).contains(&format!("accepted by exception {id}")));
    // Whoever looked before somebody else did something is told.
    installation.is_refused(&["revoke", &id, "--reason", "late", "--expected-version", "3"], "expected 3 steps, there are 4");

    let kev = json!({ "title": "kev", "vulnerabilities": [{ "cveID": vulnerability, "dateAdded": "2026-01-02" }] });
    installation.json(&["intel", "load", &installation.written("kev.json", &kev.to_string())]);
    let entry = installation.shown(&id);
    assert_eq!(
        (entry["stage"].clone(), entry["broken"].clone(), entry["risks"].clone()),
        (json!("suspended"), json!(["in_kev"]), json!(0))
    );
    assert_eq!(entry["first"][0]["broken"], json!(["in_kev"]), "it says which risk");
    assert_eq!((installation.accepted(), installation.json(&["risks", "list"])["total"]["count"].clone()), (0, open.into()));
    let told = installation.run(&["exceptions", "show", &id]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for part in
        ["suspended (broke: in kev)", "written by ana, requested by ana, reviewed by ben, approved by cem", "may follow   request, revoke"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    let audit = installation.run(&["audit", "export"]);
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(["ana wrote it", "ben reviewed it", "for ten days"].iter().all(|part| audit.contains(part)), "{audit}");
}

#[test]
fn files_of_exceptions_are_planned_and_asked_for_and_people_grant_them() {
    let (installation, vulnerability) = Installation::with_risks();
    let file = |ends: &str, more: &str| {
        let text = format!(
            "exceptions:\n- name: one\n  title: t\n  scope: {{ vulnerability: {vulnerability}, within: [service/shop] }}\n  category: cannot_fix\n  \
             reason: r\n  ends: {ends}\n  covers_at_most: 5\n{more}"
        );
        installation.written("exceptions.yaml", &text)
    };
    let (ends, later) = (in_days(9), in_days(12));
    let plan = |path: &str| {
        let output = installation.run(&["exceptions", "plan", path]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let path = file(&ends, "");
    assert!(plan(&path).contains("one: is written down and asked for (covers 1 now)"), "{}", plan(&path));
    installation.does(&["apply", &path, "--actor", "ci"]);
    assert!(plan(&path).contains("one: nothing, it is requested"));
    assert!(plan(&file(&later, "")).contains("it is requested with other terms"));
    let id = installation.json(&["exceptions", "list"])["items"][0]["entry"].as_str().unwrap().to_owned();
    installation.does(&["review", &id, "--actor", "ben"]);
    installation.does(&["approve", &id, "--actor", "cem"]);
    assert_eq!(installation.accepted(), 1);
    let path = file(&later, "");
    assert!(plan(&path).contains(&format!("one: another end is asked for, {later}")));
    installation.does(&["apply", &path, "--actor", "ci"]);
    assert!(plan(&path).contains("one: nothing, it is active"), "the end that is wanted is asked for already: {}", plan(&path));
    installation.does(&["review", &id, "--actor", "ben"]);
    installation.does(&["approve", &id, "--actor", "cem"]);
    assert!(plan(&path).contains("one: nothing, it is active"));
    // What is there as a file is what is there.
    let exported = installation.written("exported.yaml", &String::from_utf8(installation.run(&["exceptions", "export"]).stdout).unwrap());
    assert!(plan(&exported).contains(&format!("{id}: nothing, it is active")), "{}", plan(&exported));
    installation.does(&["revoke", &id, "--reason", "repaired"]);
    assert_eq!(installation.accepted(), 0);
    assert!(plan(&path).contains("one: cannot be: it was revoked"));
    assert_eq!(installation.run(&["exceptions", "plan", &path]).status.code(), Some(3));

    for (text, part) in [
        ("exceptions: 3", "expected is `exceptions` with a list"),
        ("exceptions: [{ title: t }]", "exceptions[0]: name is missing"),
        ("exceptions: [{ name: a, titel: t }]", "exceptions[0]: unknown field `titel`"),
    ] {
        let output = installation.run(&["exceptions", "plan", &installation.written("wrong.yaml", text)]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(part), "{text}: {told}");
    }
    let path = file(
        &later,
        "- name: one\n  title: t\n  scope: { asset: 'repo:git.acme.example/shop' }\n  category: accept\n  reason: r\n  ends: 2099-01-01\n  covers_at_most: 5\n",
    );
    let output = installation.run(&["exceptions", "plan", &path]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"one\" is there twice"));
}

/// The register as a list, an entry and files: what stands in each is of the risk that it covers, and an export says what it is not of.
#[test]
fn the_register_says_how_likely_and_bad_it_is_and_who_answers_for_it() {
    let (installation, vulnerability) = Installation::with_risks();
    let risk = installation.json(&["risks", "list"])["items"][0].clone();
    let ends = in_days(10);
    let owner = "=HYPERLINK(\"http://evil.example\")";
    installation.does(&[
        "propose",
        "--vulnerability",
        &vulnerability,
        "--within",
        "retail",
        "--title",
        "t",
        "--reason",
        "r",
        "--covers-at-most",
        "1",
        "--ends",
        &ends,
        "--owner",
        owner,
        "--cost",
        "2 days a month",
        "--request",
        "--actor",
        "ana",
    ]);
    let id = installation.json(&["registry", "list"])["items"][0]["entry"].as_str().unwrap().to_owned();
    assert_eq!(installation.json(&["registry", "show", &id])["assessment"]["completeness"], "not_counted");
    installation.does(&["review", &id, "--actor", "ben"]);
    installation.does(&["approve", &id, "--actor", "cem"]);

    let entry = installation.json(&["registry", "show", &id[..8]]);
    let assessment = &entry["assessment"];
    let points = |factors: &[&str]| -> i64 {
        let lines = risk["score"]["contributions"].as_array().unwrap().iter();
        lines.filter(|line| factors.contains(&line["factor"].as_str().unwrap())).map(|line| line["points"].as_i64().unwrap()).sum()
    };
    assert_eq!(assessment["likelihood"], points(&["exploitation", "exposure", "evidence", "reachability"]));
    assert_eq!(assessment["impact"], points(&["technical", "business", "data"]));
    assert_eq!((&assessment["priority"], &assessment["category"]), (&risk["score"]["band"], &risk["family"]));
    assert_eq!((&entry["inherent"], &entry["highest"]), (&risk["score"]["inherent"], &risk["score"]["total"]));
    assert_eq!((&assessment["owner"], &assessment["response_cost"]), (&json!(owner), &json!("2 days a month")));
    assert_eq!((&assessment["completeness"], &entry["attention"]), (&json!("counted"), &json!([])));

    let told = |arguments: &[&str]| {
        let output = installation.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (table, _) = told(&["registry", "list"]);
    assert!(table.starts_with("entry") && table.contains(&id[..8]) && table.contains("accept"), "{table}");
    assert!(told(&["registry", "show", &id]).0.contains("rated        "));
    let (csv, statement) = told(&["registry", "export"]);
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""), "no formula: {csv}");
    assert!(
        statement.contains("1 entry at ") && statement.contains("Risks that are open, whether or not an entry names them: "),
        "{statement}"
    );
    let open = installation.json(&["summary"])["open_by_band"].clone();
    let exported: Value = serde_json::from_str(&told(&["registry", "export", "--format", "json"]).0).unwrap();
    assert_eq!((&exported["entries"][0]["entry"], &exported["statement"]["open_risks"]), (&json!(id), &open));
    let plan: Value = serde_json::from_str(&told(&["registry", "export", "--format", "oscal"]).0).unwrap();
    let plan = &plan["plan-of-action-and-milestones"];
    assert_eq!((plan["poam-items"].as_array().unwrap().len(), &plan["risks"][0]["status"]), (1, &json!("deviation-approved")));
    assert!(plan["metadata"]["remarks"].as_str().unwrap().contains("whether or not an entry names them"));

    // What was granted for is gone.
    let verdict = ["decide", risk["risk"].as_str().unwrap(), "--verdict", "false-positive", "--reason", "never called"];
    assert!(installation.run(&verdict).status.success());
    assert_eq!(installation.json(&["registry", "list", "--attention", "orphan"])["items"][0]["attention"], json!(["orphan"]));
    assert_eq!(installation.json(&["registry", "list", "--attention", "suspended,drift"])["items"], json!([]));
    let wrong = installation.run(&["registry", "list", "--attention", "all"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("suspended, review_due, ends, drift or orphan"));
}
