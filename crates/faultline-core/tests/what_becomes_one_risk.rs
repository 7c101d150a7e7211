//! Which findings become one risk, who names it, where a runtime finding is at home, and how sure it all is: by table.

mod correlating;

use correlating::*;
use faultline_core::stage::Stage;
use faultline_model::catalog::{CatalogRecord, PlaceRule, Places, places_key};
use faultline_model::decision::{Verdict, Word};
use faultline_model::id::Id;
use faultline_model::intel::{self, Aliases, IntelRecord, KevEntry, Source};
use faultline_model::locus::Locus;
use faultline_model::observation::{Cvss, ScanKind, Severity};
use faultline_model::risk::{EvidenceState, Risk, RiskState, id_of};
use faultline_model::tracked::{
    self, CompleteScan, FactKind, FindingState, GivenSeverity, GivenVerdict, GivenWord, HeldPlace, TrackedFinding, TrackedLine,
    TrackedRecord,
};

fn given(verdict: Verdict) -> GivenVerdict {
    GivenVerdict { verdict, actor: "ana".into(), reason: "read it".into(), at: day(20_001) }
}

#[test]
fn lines_of_one_tool_merge_by_gap_and_by_family() {
    for (cwe, other_cwe, lines, risks) in [
        (89, 89, [10, 13], 1),
        (89, 564, [10, 12], 1),
        (89, 89, [10, 14], 2),
        (89, 79, [10, 10], 2),
        (20, 20, [10, 11], 1),
        (20, 707, [10, 11], 2),
    ] {
        let mut world = World::new();
        let [first, second] = lines;
        world.tell(
            [in_code("a", "semgrep", cwe, "src/A.java", first), in_code("b", "semgrep", other_cwe, "src/A.java", second)]
                .iter()
                .map(tell_finding),
        );
        assert_eq!(world.risks().len(), risks, "CWE-{cwe} and CWE-{other_cwe} at {lines:?}");
    }
}

fn word(to: &TrackedFinding, word: Word, at: i64) -> GivenWord {
    GivenWord { to: to.finding, word, actor: "ana".into(), reason: "read it".into(), at: day(at) }
}

#[test]
fn a_link_that_a_person_confirms_needs_no_route_map_and_holds_until_it_is_taken_back() {
    let mut world = World::new();
    let code = in_code("a", "semgrep", 89, "src/Users.java", 10);
    // Of another family, as tools name one flaw differently.
    let mut proved = at_route("b", 79, "GET", "/users/1", "id");
    world.tell([&code, &proved].map(tell_finding));
    assert_eq!(world.risks().len(), 2);
    proved.words = vec![word(&code, Word::Confirmed, 20_001)];
    world.tell([tell_finding(&proved)]);
    let risk = world.only_risk();
    assert_eq!((risk.founder, risk.evidence), (code.finding, EvidenceState::Verified));
    let [link] = &risk.links[..] else { panic!("one link: {:?}", risk.links) };
    assert_eq!((link.rule.as_str(), link.from, link.to, link.weight_ppm), ("confirmed", proved.finding, code.finding, 1_000_000));
    assert_eq!(link.inputs, ["confirmed by ana"]);
    // Without the code it is a risk of its own, and with it again the same.
    world.tell([forget_finding(&code)]);
    assert_eq!(world.only_risk().founder, proved.finding);
    world.tell([tell_finding(&code)]);
    assert_eq!(world.only_risk(), risk);
    proved.words = vec![];
    world.tell([tell_finding(&proved)]);
    assert_eq!(world.risks().len(), 2);
}

#[test]
fn a_link_that_a_person_rejects_is_none_whatever_the_route_map_says() {
    let mut world = World::new();
    // The same flaw to another tool: what is said of one holds for both.
    let [code, alike] = [("a", "semgrep"), ("c", "codeql")].map(|(name, tool)| {
        let mut found = in_code(name, tool, 89, "src/Users.java", 10);
        if let Locus::Code(code) = &mut found.observation.locus {
            code.symbol = "Users.show".into();
        }
        found
    });
    let mut proved = at_route("b", 89, "GET", "/users/1", "id");
    let told =
        [tell_finding(&code), tell_finding(&alike), tell_finding(&proved), tell_route(&entry("e", "GET", "/users/{id}", "src/Users.java"))];
    world.tell(told);
    let linked = world.risks().len();
    proved.words = vec![word(&alike, Word::Rejected, 20_001)];
    world.tell([tell_finding(&proved)]);
    assert_eq!(world.risks().len(), linked + 1);
    assert!(world.risks().iter().all(|risk| risk.evidence != EvidenceState::Verified));
    // The newest word of all on a group stands.
    proved.words = vec![word(&alike, Word::Rejected, 20_001), word(&code, Word::Confirmed, 20_002)];
    proved.words.sort_unstable_by_key(|given| given.to);
    world.tell([tell_finding(&proved)]);
    assert_eq!(world.risks().len(), linked);
}

#[test]
fn a_severity_that_a_person_gives_stands_for_what_tools_say() {
    let mut world = World::new();
    let mut package = in_package("a", "trivy", REPO, "pkg:npm/a", &["CVE-2020-1"]);
    package.observation.cvss = vec![Cvss { version: "3.1".into(), vector: String::new(), base_tenths: 98 }];
    let other = in_package("b", "grype", REPO, "pkg:npm/a", &["CVE-2020-1"]);
    world.tell([&package, &other].map(tell_finding));
    let technical = |risk: &Risk| risk.score.contributions[0].because.clone();
    let before = world.only_risk();
    assert_eq!(technical(&before), "CVSS 9.8 (version 3.1, trivy)");
    package.severity =
        Some(GivenSeverity { severity: Severity::Low, actor: "ana".into(), reason: "behind two locks".into(), at: day(20_001) });
    world.tell([tell_finding(&package)]);
    let risk = world.only_risk();
    assert_eq!(technical(&risk), "level low, said by ana");
    assert!(risk.score.total < before.score.total);
    let severities: Vec<Severity> = risk.findings.iter().map(|member| member.severity).collect();
    assert!(severities.contains(&Severity::Low) && severities.contains(&Severity::High));
    package.severity = None;
    world.tell([tell_finding(&package)]);
    assert_eq!(world.only_risk(), before);
}

#[test]
fn a_chain_of_near_lines_is_one_risk_and_its_weights_multiply() {
    let mut world = World::new();
    let chain: Vec<TrackedFinding> = (0..3)
        .map(|n| TrackedFinding { first_seen: day(20_000 + n), ..in_code(&n.to_string(), "semgrep", 89, "a/B.java", 10 + 3 * n as i32) })
        .collect();
    world.tell(chain.iter().map(tell_finding));
    let risk = world.only_risk();
    assert_eq!(risk.founder, chain[0].finding);
    let links: Vec<(Id, Id)> = risk.links.iter().map(|link| (link.from, link.to)).collect();
    assert_eq!(links.len(), 2);
    assert!(links.contains(&(chain[1].finding, chain[0].finding)) && links.contains(&(chain[2].finding, chain[1].finding)), "{links:?}");
}

fn line(tool: &str, scans: &[(&str, i64)]) -> Event {
    let complete = |(revision, as_of): &(&str, i64)| CompleteScan {
        scan: Id::of("scan", &[tool.as_bytes(), revision.as_bytes()]),
        revision: (*revision).to_owned(),
        as_of: day(*as_of),
        started: day(*as_of),
        is_full: true,
        observations: 1,
    };
    let line = TrackedLine {
        line: line_id(tool),
        asset: asset(REPO),
        service: "shop".into(),
        tool: tool.into(),
        kind: ScanKind::Sast,
        branch: "main".into(),
        environment: String::new(),
        counts: true,
        complete: scans.iter().map(complete).collect(),
    };
    Event::Tracked(tracked::key("shop", FactKind::Line, line.line), Some(TrackedRecord::Line(line)))
}

fn held(mut finding: TrackedFinding, places: &[(i64, i32)]) -> TrackedFinding {
    let line_of_scans = finding.lines[0];
    finding.places =
        places.iter().map(|(since, line)| HeldPlace { line_of_scans, since: day(*since), line: *line, end_line: *line }).collect();
    finding
}

#[test]
fn two_tools_are_compared_at_the_newest_revision_that_both_scanned() {
    let mut world = World::new();
    // At r1 both stood in line 10; since then one tool saw the code moved to line 50, the other has not looked again.
    let semgrep = held(in_code("a", "semgrep", 89, "src/A.java", 50), &[(19_000, 10), (19_005, 50)]);
    let codeql = held(in_code("b", "codeql", 89, "src/A.java", 11), &[(19_000, 11)]);
    world.tell([tell_finding(&semgrep), tell_finding(&codeql)]);
    assert_eq!(world.risks().len(), 2, "no revision is shared, and neither code nor symbol is known");
    world.tell([line("semgrep", &[("r1", 19_000), ("r2", 19_005)]), line("codeql", &[("r1", 19_000)])]);
    assert_eq!(world.only_risk().evidence, EvidenceState::Reported);
    world.tell([line("codeql", &[("r1", 19_000), ("r2", 19_005)])]);
    assert_eq!(world.risks().len(), 2, "at r2 they stand 39 lines apart");
}

#[test]
fn without_a_shared_revision_the_code_or_the_symbol_decides() {
    let with = |name: &str, tool: &str, line: i32, snippet: &str, symbol: &str| {
        let mut finding = in_code(name, tool, 89, "src/A.java", line);
        if let Locus::Code(code) = &mut finding.observation.locus {
            code.snippet = snippet.into();
            code.symbol = symbol.into();
        }
        finding
    };
    for (one, other, risks) in
        [(("abc", ""), ("abc", ""), 1), (("abc", "f"), ("xyz", "f"), 1), (("abc", "f"), ("xyz", "g"), 2), (("", ""), ("", ""), 2)]
    {
        let mut world = World::new();
        world.tell([with("a", "semgrep", 10, one.0, one.1), with("b", "codeql", 90, other.0, other.1)].iter().map(tell_finding));
        assert_eq!(world.risks().len(), risks, "{one:?} {other:?}");
    }
}

fn aliases(id: &str, others: &[&str]) -> Event {
    let record = IntelRecord::Aliases(Aliases { ids: others.iter().map(|id| (*id).to_owned()).collect() });
    Event::Intel(intel::key(id, Source::Aliases), Some(record))
}

#[test]
fn a_vulnerability_is_one_under_all_its_names() {
    const LOG4J: &str = "pkg:maven/org.apache.logging.log4j/log4j-core";
    let trivy = in_package("a", "trivy", REPO, LOG4J, &["CVE-2021-44228"]);
    let grype = in_package("b", "grype", "image:ghcr.io/acme/shop", LOG4J, &["GHSA-jfh8-c2jp-5v3q"]);
    let osv = in_package("c", "osv", REPO, LOG4J, &["OSV-1"]);
    let mut world = World::new();
    world.tell([&trivy, &grype, &osv].map(tell_finding));
    assert_eq!(world.risks().len(), 3);
    world.tell([aliases("CVE-2021-44228", &["GHSA-jfh8-c2jp-5v3q"]), aliases("GHSA-jfh8-c2jp-5v3q", &["CVE-2021-44228"])]);
    assert_eq!(world.risks().len(), 2, "a feed joins two");
    let both = in_package("d", "depcheck", REPO, LOG4J, &["OSV-1", "GHSA-jfh8-c2jp-5v3q"]);
    world.tell([tell_finding(&both)]);
    let risk = world.only_risk();
    assert_eq!(risk.vulnerabilities, ["CVE-2021-44228", "GHSA-jfh8-c2jp-5v3q", "OSV-1"]);
    assert_eq!((risk.findings_total, risk.family.as_str(), risk.fix.kind.as_str()), (4, "vulnerable-component", "upgrade"));
    world.tell([forget_finding(&both)]);
    assert_eq!(world.risks().len(), 2, "what one finding joined falls apart with it");
    world.tell([
        Event::Intel(intel::key("CVE-2021-44228", Source::Aliases), None),
        Event::Intel(intel::key("GHSA-jfh8-c2jp-5v3q", Source::Aliases), None),
    ]);
    assert_eq!(world.risks().len(), 3, "and with the feed's word the rest");
}

#[test]
fn a_known_exploit_rescores_what_goes_by_it_and_nothing_else() {
    let mut world = World::new();
    let hit = in_package("a", "trivy", REPO, "pkg:npm/a", &["CVE-2020-1"]);
    let others: Vec<_> = (0..20).map(|n| in_package(&format!("o{n}"), "trivy", REPO, "pkg:npm/b", &[&format!("CVE-2021-{n}")])).collect();
    world.tell(others.iter().chain([&hit]).map(tell_finding));
    let before = world.decoded();
    let said = world.said;
    let entry = KevEntry { name: "x".into(), added: day(20_000), due: None, ransomware: true };
    world.tell([Event::Intel(intel::key("CVE-2020-1", Source::Kev), Some(IntelRecord::Kev(entry)))]);
    assert_eq!(world.said - said, 1);
    let after = world.risks();
    let changed: Vec<&Risk> = after.iter().filter(|risk| !before.values().any(|other| other == *risk)).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].founder, hit.finding);
}

#[test]
fn a_runtime_finding_is_proved_at_its_handler() {
    let mut world = World::new();
    let code = in_code("a", "semgrep", 89, "src/main/java/shop/Users.java", 12);
    let proof = at_route("b", 89, "GET", "/users/17", "id");
    world.tell([tell_finding(&code), tell_finding(&proof)]);
    assert_eq!(world.risks().len(), 2);
    let map = entry("e", "GET", "/users/{id}", "src/main/java/shop/Users.java");
    world.tell([tell_route(&map)]);
    let risk = world.only_risk();
    assert_eq!((risk.evidence, risk.founder, risk.findings_total), (EvidenceState::Verified, code.finding, 2));
    assert_eq!(risk.also, []);
    let link = &risk.links[0];
    assert_eq!((link.rule.as_str(), link.weight_ppm), ("route-handler", 900_000));
    assert_eq!(link.inputs, ["route GET /users/{}", "handler src/main/java/shop/Users.java:1", "family sql-injection"]);
    // 1 − (1 − 0.5) × (1 − 0.9 × 0.9)
    assert_eq!(risk.confidence_ppm, 905_000);
    world.tell([forget_route(&map)]);
    assert_eq!(world.risks().len(), 2);
}

#[test]
fn the_parameter_chooses_the_home_and_the_other_cites() {
    let mut world = World::new();
    let mut named = in_code("a", "semgrep", 89, "src/Users.java", 12);
    if let Locus::Code(code) = &mut named.observation.locus {
        code.parameter = "id".into();
    }
    let other = in_code("b", "semgrep", 89, "src/Users.java", 80);
    let proof = at_route("c", 89, "GET", "/users", "id");
    world.tell([tell_finding(&named), tell_finding(&other), tell_finding(&proof), tell_route(&entry("e", "", "/users", "src/Users.java"))]);
    let risks = world.risks();
    let of = |founder: Id| risks.iter().find(|risk| risk.founder == founder).unwrap();
    let (home, citing) = (of(named.finding), of(other.finding));
    let is_home = |risk: &Risk| risk.findings.iter().find(|member| member.finding == proof.finding).map(|member| member.is_home);
    assert_eq!((is_home(home), is_home(citing)), (Some(true), Some(false)));
    assert_eq!((home.evidence, citing.evidence), (EvidenceState::Verified, EvidenceState::Reported));
    assert_eq!(home.links[0].weight_ppm, 970_000);
    assert_eq!(home.links[0].inputs.last().map(String::as_str), Some("parameter id"));
}

#[test]
fn of_equally_strong_links_the_smallest_risk_is_the_home() {
    let mut world = World::new();
    let code: Vec<_> = [10, 40, 70].map(|line| in_code(&line.to_string(), "semgrep", 89, "src/Users.java", line)).into();
    let proof = at_route("c", 89, "GET", "/users", "");
    world.tell(code.iter().chain([&proof]).map(tell_finding).chain([tell_route(&entry("e", "", "/users", "src/Users.java"))]));
    let smallest = code.iter().map(|finding| id_of("shop", finding.finding)).min();
    let risks = world.risks();
    let homes: Vec<Id> = risks.iter().filter(|risk| risk.evidence == EvidenceState::Verified).map(|risk| risk.risk).collect();
    assert_eq!(homes, Vec::from_iter(smallest));
}

#[test]
fn a_path_means_the_most_specific_template_whose_method_agrees() {
    for (entries, method, path, file) in [
        (&[("GET", "/users/{id}", "a/Any.java"), ("GET", "/users/me", "a/Me.java")][..], "GET", "/users/me", "a/Me.java"),
        (&[("GET", "/users/{id}", "a/Any.java"), ("POST", "/users/me", "a/Me.java")], "GET", "/users/me", "a/Any.java"),
        (&[("GET", "/**", "a/All.java"), ("GET", "/users/:id", "a/Any.java")], "GET", "/users/1", "a/Any.java"),
        (&[("GET", "/**", "a/All.java"), ("GET", "/users/:id", "a/Any.java")], "GET", "/users/1/x", "a/All.java"),
        (&[("GET", "/{a}/x", "a/One.java"), ("GET", "/users/{b}", "a/Two.java")], "", "/users/x", "a/Two.java"),
    ] {
        let mut world = World::new();
        let files: Vec<&str> = entries.iter().map(|(_, _, file)| *file).collect();
        let code = files.iter().map(|file| tell_finding(&in_code(file, "semgrep", 89, file, 1))).collect::<Vec<_>>();
        let map = entries.iter().map(|(method, path, file)| tell_route(&entry(file, method, path, file)));
        world.tell(code.into_iter().chain([tell_finding(&at_route("p", 89, method, path, ""))]).chain(map));
        let risks = world.risks();
        let verified: Vec<_> = risks.iter().filter(|risk| risk.evidence == EvidenceState::Verified).map(|risk| &risk.anchor).collect();
        assert!(matches!(verified[..], [Locus::Code(at)] if at.file == file), "{method} {path}: {verified:?}");
    }
}

#[test]
fn a_gateways_rewrite_is_undone_before_paths_are_matched() {
    let mut world = World::new();
    let events = [
        tell_finding(&in_code("a", "semgrep", 89, "src/Users.java", 1)),
        tell_finding(&at_route("p", 89, "GET", "/api/users", "")),
        tell_route(&entry("e", "GET", "/users", "src/Users.java")),
    ];
    world.tell(events);
    assert_eq!(world.risks().len(), 2);
    let rule = PlaceRule { prefix: "/api".into(), owner: "shop".into(), users: vec![], rewrite: Some("/".into()) };
    let places = Places { assets: SITE.into(), rules: vec![rule], ..Places::default() };
    world.tell([Event::Catalog(places_key(SITE), Some(CatalogRecord::Places(places)))]);
    assert_eq!(world.only_risk().evidence, EvidenceState::Verified);
    world.tell([Event::Catalog(places_key(SITE), None)]);
    assert_eq!(world.risks().len(), 2);
}

#[test]
fn the_founder_names_a_risk_through_merge_and_split() {
    let mut world = World::new();
    let old = TrackedFinding { first_seen: day(19_000), ..in_code("a", "semgrep", 89, "src/A.java", 10) };
    let new = TrackedFinding { first_seen: day(19_500), ..in_code("b", "semgrep", 89, "src/A.java", 16) };
    let between = TrackedFinding { first_seen: day(19_800), ..in_code("c", "semgrep", 89, "src/A.java", 13) };
    world.tell([&old, &new].map(tell_finding));
    let ids: Vec<Id> = world.risks().iter().map(|risk| risk.risk).collect();
    world.tell([tell_finding(&between)]);
    let merged = world.only_risk();
    assert_eq!((merged.risk, merged.founder), (id_of("shop", old.finding), old.finding));
    let mut also = vec![id_of("shop", new.finding), id_of("shop", between.finding)];
    also.sort_unstable();
    assert_eq!(merged.also, also);
    world.tell([tell_finding(&TrackedFinding { state: FindingState::Closed, ..between.clone() })]);
    assert_eq!(world.only_risk().risk, merged.risk, "a closed finding keeps what it joined");
    world.tell([forget_finding(&between)]);
    assert_eq!(world.risks().iter().map(|risk| risk.risk).collect::<Vec<_>>(), ids);
}

#[test]
fn a_risk_is_false_only_if_all_of_it_is() {
    let mut world = World::new();
    let real = in_code("a", "semgrep", 89, "src/A.java", 10);
    let mut judged = in_code("b", "semgrep", 89, "src/A.java", 11);
    judged.verdict = Some(given(Verdict::FalsePositive));
    world.tell([&real, &judged].map(tell_finding));
    assert_eq!(world.only_risk().state, RiskState::Open);
    world.tell([tell_finding(&TrackedFinding { verdict: Some(given(Verdict::FalsePositive)), ..real.clone() })]);
    assert_eq!(world.only_risk().state, RiskState::FalsePositive);
    world.tell([tell_finding(&TrackedFinding { verdict: Some(given(Verdict::Withdrawn)), state: FindingState::Closed, ..real.clone() })]);
    assert_eq!(world.only_risk().state, RiskState::Closed);
    let spoken = |said| {
        let mut world = World::new();
        world.tell([tell_finding(&TrackedFinding { verdict: Some(given(said)), ..real.clone() })]);
        world.only_risk()
    };
    assert_eq!(spoken(Verdict::Confirmed).confidence_ppm, 1_000_000);
    let reach = |risk: &Risk| risk.score.contributions.iter().find(|line| line.because.starts_with("ana says")).map(|line| line.points);
    assert_eq!(reach(&spoken(Verdict::NotExploitable)), Some(-120));
}

#[test]
fn silence_counts_a_little_where_every_route_of_the_file_was_covered() {
    let mut world = World::new();
    world.tell([
        tell_finding(&in_code("a", "semgrep", 89, "src/Users.java", 12)),
        tell_route(&entry("e", "GET", "/users/{id}", "src/Users.java")),
        tell_route(&entry("f", "", "/orders", "src/Users.java")),
        tell_route(&visit("v", "/users/1", &["sql-injection"])),
    ]);
    assert_eq!(world.only_risk().confidence_ppm, 500_000, "one of two routes was not visited");
    world.tell([tell_route(&visit("w", "/orders", &["path-traversal"]))]);
    assert_eq!(world.only_risk().confidence_ppm, 500_000, "nor for this family");
    world.tell([tell_route(&visit("w", "/orders", &["sql-injection"]))]);
    let risk = world.only_risk();
    assert_eq!((risk.confidence_ppm, risk.state), (400_000, RiskState::Open));
    assert_eq!(risk.links[0].rule, "silence");
    world.tell([tell_finding(&at_route("p", 89, "GET", "/users/7", ""))]);
    assert!(world.only_risk().links.iter().all(|link| link.rule != "silence"));
}

#[test]
fn age_changes_a_score_when_its_timer_is_due_and_a_closed_risk_does_not_age() {
    let mut world = World::new();
    let open = in_code("a", "semgrep", 89, "src/A.java", 10);
    let closed = TrackedFinding { state: FindingState::Closed, ..in_code("b", "semgrep", 89, "src/B.java", 10) };
    world.tell([&open, &closed].map(tell_finding));
    let due = world.stage.next_due(&world.store).unwrap().unwrap();
    assert!(due > world.now);
    let said = world.said;
    world.tell([Event::Tick(due.plus_days(-1))]);
    assert_eq!(world.said, said, "nothing is due");
    world.tell([Event::Tick(due)]);
    assert_eq!(world.said, said + 1, "the open one, once");
    world.tell([Event::Tick(due.plus_days(10_000))]);
    world.risks();
    assert_eq!(world.stage.next_due(&world.store).unwrap(), None);
}
