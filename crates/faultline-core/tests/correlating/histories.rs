//! Histories of a few services, files, tools, routes, packages and names, so small that everything collides.

use std::collections::BTreeMap;

use faultline_core::policy::PRESETS;
use faultline_model::catalog::{self, CatalogRecord, PlaceRule, Places, PolicyText, Service};
use faultline_model::decision::{Assignment, Verdict, Word};
use faultline_model::exception::{Assumptions, Held, Scope};
use faultline_model::id::Id;
use faultline_model::intel::{self, Aliases, EpssScore, IntelRecord, KevEntry, PublicExploit, Source};
use faultline_model::locus::{Code, Host, Locus, Package, Resource, Route, Secret};
use faultline_model::observation::{Cvss, Observation, ScanKind, Severity, ToolVerdict};
use faultline_model::tracked::{
    self, CompleteScan, FactKind, FindingState, GivenAssignment, GivenSeverity, GivenVerdict, GivenWord, HeldPlace, TrackedFinding,
    TrackedLine, TrackedRecord, TrackedRoute, Went,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use super::{DAY_MS, Event, REPO, SITE, Schedule, asset, day};
use faultline_model::time::Timestamp;

const SERVICES: [&str; 2] = ["shop", "pay"];
const TOOLS: [(&str, ScanKind); 4] =
    [("semgrep", ScanKind::Sast), ("codeql", ScanKind::Sast), ("zap", ScanKind::Dast), ("trivy", ScanKind::Sca)];
const FILES: [&str; 4] = ["src/web/Users.java", "web/Users.java", "src/web/Orders.java", "app.py"];
const PATHS: [&str; 7] = ["/users/1", "/users/2", "/users/me", "/orders", "/api/users/1", "/users/me/x", "/"];
const TEMPLATES: [&str; 7] = ["/users/{id}", "/users/me", "/orders", "/{any}/1", "/users/**", "/**", "/"];
const IDS: [&str; 5] = ["CVE-2020-1", "CVE-2020-2", "GHSA-aaaa-bbbb-cccc", "GHSA-dddd", "OSV-1"];
/// Of findings: a word on a link may lead to any of them, be it in code or not.
const SLOTS: u8 = 14;
/// Ticket policies: of each mode, and two that differ in what they ask for and where.
const TICKETS: [&str; 4] = [
    "{ mode: watch, queues: [], rules: [] }",
    "{ mode: on, queues: [{ id: web, site: s, project: W, issue_type: Bug }], rules: [{ name: all, queue: web }] }",
    "{ mode: on, queues: [{ id: web, site: s, project: W, issue_type: Bug }, { id: ops, site: s, project: O, issue_type: Bug }],
       rules: [{ name: none, queue: none, when: { families: [cross-site-scripting] } }, { name: high, queue: ops, when: { score_at_least: 400 } },
               { name: retail, queue: web, when: { nodes: [retail] } }] }",
    "{ mode: on, queues: [{ id: web, site: s, project: W, issue_type: Bug }, { id: ops, site: s, project: O, issue_type: Bug }],
       rules: [{ name: pay, queue: ops, when: { services: [pay] } }, { name: upgrades, queue: web, when: { fixes: [upgrade, code] } }] }",
];
const REVISIONS: [&str; 3] = ["r1", "r2", "r3"];

fn cwes() -> impl Strategy<Value = Vec<i32>> {
    select(vec![vec![89], vec![564, 20], vec![79], vec![20], vec![]])
}

fn code() -> impl Strategy<Value = Locus> {
    (select(FILES.to_vec()), 0..14_i32, 0..3_i32, select(vec!["", "f", "g"]), select(vec!["", "s1"]), select(vec!["", "id", "q"])).prop_map(
        |(file, line, more, symbol, snippet, parameter)| {
            Locus::Code(Code {
                file: file.into(),
                line,
                end_line: line + more,
                column: 0,
                symbol: symbol.into(),
                snippet: snippet.into(),
                parameter: parameter.into(),
            })
        },
    )
}

fn method() -> impl Strategy<Value = &'static str> {
    select(vec!["", "GET", "POST"])
}

fn locus() -> impl Strategy<Value = Locus> {
    let text = |values: Vec<&'static str>| select(values).prop_map(str::to_owned);
    prop_oneof![
        4 => code(),
        3 => (method(), select(PATHS.to_vec()), select(vec!["", "id"])).prop_map(|(method, path, parameter)| Locus::Route(Route {
            method: method.into(),
            origin: "https://shop.example".into(),
            path: path.into(),
            parameter: parameter.into(),
        })),
        3 => (text(vec!["pkg:npm/a", "pkg:deb/debian/b"]), text(vec!["", "package.json"])).prop_map(|(purl, manifest)| {
            Locus::Package(Package { purl, manifest, version: "1".into(), layer: String::new() })
        }),
        1 => (text(vec!["", "abcd"]), text(vec!["a.env", "b.env"])).prop_map(|(hash, file)| {
            Locus::Secret(Secret { hash, file, line: 3, ..Secret::default() })
        }),
        1 => (text(vec!["", "aws_s3_bucket.logs"]), text(vec!["main.tf", ""])).prop_map(|(address, file)| {
            Locus::Resource(Resource { address, file, line: 1, end_line: 2 })
        }),
        1 => (0..2_i32).prop_map(|port| Locus::Host(Host { address: "db1".into(), port, protocol: String::new() })),
    ]
}

prop_compose! {
    fn observation()(
        locus in locus(),
        cwes in cwes(),
        severity in select(Severity::ALL.to_vec()),
        rule in select(vec!["r1", "r2"]),
        ids in proptest::sample::subsequence(IDS.to_vec(), 0..=2),
        cvss in of(0..=100_i32),
        guidance in select(vec!["", "upgrade it"]),
        is_suppressed in prop::bool::weighted(0.1),
    ) -> Observation {
        let has_ids = matches!(locus, Locus::Package(_)) || cvss.is_some();
        let mut seen = Observation::new(rule, severity, locus);
        seen.cwes = cwes;
        if has_ids {
            seen.vulnerabilities = ids.into_iter().map(str::to_owned).collect();
        }
        seen.cvss = cvss.map(|base_tenths| Cvss { version: "3.1".into(), vector: String::new(), base_tenths }).into_iter().collect();
        seen.guidance = guidance.into();
        seen.title = format!("{rule} the id");
        seen.fixed_versions = vec!["2".into()];
        if is_suppressed {
            seen.tool_verdict = ToolVerdict::Suppressed;
        }
        seen
    }
}

fn line_of(tool: &str, asset_name: &str, branch: usize) -> Id {
    TrackedLine::id_of(&asset(asset_name), tool, ["main", "next"][branch], "")
}

type Given = (Option<GivenVerdict>, Option<GivenAssignment>, Option<GivenSeverity>, Vec<GivenWord>);

fn decided() -> impl Strategy<Value = Given> {
    let verdict = (select(Verdict::ALL.to_vec()), 0..3_i64).prop_map(|(verdict, at)| GivenVerdict {
        verdict,
        actor: "ana".into(),
        reason: String::new(),
        at: day(20_000 + at),
    });
    let assignment = (select(vec!["", "ben", "eve"]), 0..3_i64).prop_map(|(to, at)| GivenAssignment {
        assignment: Assignment { to: to.into() },
        actor: "ana".into(),
        reason: String::new(),
        at: day(20_000 + at),
    });
    let severity = (select(Severity::ALL.to_vec()), 0..3_i64).prop_map(|(severity, at)| GivenSeverity {
        severity,
        actor: "ana".into(),
        reason: String::new(),
        at: day(20_000 + at),
    });
    let word = (0..SLOTS, select(vec![Word::Confirmed, Word::Rejected]), 0..3_i64).prop_map(|(slot, word, at)| GivenWord {
        to: Id::of("slot", &[&[slot]]),
        word,
        actor: "ana".into(),
        reason: String::new(),
        at: day(20_000 + at),
    });
    let words = prop_oneof![2 => Just(Vec::new()), 1 => vec(word, 1..4)].prop_map(|mut words: Vec<GivenWord>| {
        words.sort_unstable_by_key(|word| word.to);
        words.dedup_by_key(|word| word.to);
        words
    });
    (weighted(0.25, verdict), weighted(0.2, assignment), weighted(0.2, severity), words)
}

prop_compose! {
    fn finding()(
        slot in 0..SLOTS,
        service in select(SERVICES.to_vec()),
        tool in select(TOOLS.to_vec()),
        asset_name in select(vec![REPO, REPO, SITE, "image:ghcr.io/acme/shop"]),
        observation in observation(),
        state in select(vec![FindingState::Open, FindingState::Open, FindingState::Unknown, FindingState::Closed]),
        is_preview in prop::bool::weighted(0.1),
        first_seen in 0..4_i64,
        branches in proptest::sample::subsequence(vec![0_usize, 1], 1..=2),
        held in vec((0..2_usize, 0..4_i64, 1..14_i32), 0..4),
        (verdict, assignment, severity, words) in decided(),
        is_owner in prop::bool::weighted(0.7),
        owners in select(vec![vec![], vec!["@acme/web".to_owned()]]),
    ) -> TrackedFinding {
        let id = Id::of("slot", &[&[slot]]);
        let lines: Vec<Id> = branches.iter().map(|branch| line_of(tool.0, asset_name, *branch)).collect();
        let places = held.into_iter().map(|(branch, since, line)| HeldPlace {
            line_of_scans: line_of(tool.0, asset_name, branch),
            since: day(20_000 + since),
            line,
            end_line: line + 1,
        });
        TrackedFinding {
            finding: id,
            fingerprint: id,
            asset: asset(asset_name),
            service: service.into(),
            is_owner,
            tool: tool.0.into(),
            kind: tool.1,
            places: places.collect(),
            observation,
            state,
            is_preview,
            first_seen: day(20_000 + first_seen),
            state_since: day(20_001 + first_seen),
            lines,
            moved_from: None,
            version: i32::from(verdict.is_some()),
            verdict,
            assignment,
            severity,
            words,
            service_claim: String::new(),
            owners,
        }
    }
}

prop_compose! {
    fn route()(
        slot in 0..8_u8,
        service in select(SERVICES.to_vec()),
        asset_name in select(vec![REPO, SITE]),
        method in method(),
        file in select(FILES.to_vec()),
        is_visit in any::<bool>(),
        template in select(TEMPLATES.to_vec()),
        path in select(PATHS.to_vec()),
        families in proptest::sample::subsequence(vec!["sql-injection", "cross-site-scripting"], 0..=2),
    ) -> TrackedRoute {
        TrackedRoute {
            route: Id::of("slot", &[&[slot]]),
            asset: asset(asset_name),
            service: service.into(),
            tool: if is_visit { "zap" } else { "routes" }.into(),
            method: method.into(),
            path: if is_visit { path } else { template }.into(),
            file: if is_visit { "" } else { file }.into(),
            symbol: String::new(),
            line: 7,
            parameters: vec!["id".into()],
            is_visit,
            families: families.into_iter().map(str::to_owned).collect(),
        }
    }
}

prop_compose! {
    fn line()(
        service in select(SERVICES.to_vec()),
        tool in select(TOOLS.to_vec()),
        branch in 0..2_usize,
        complete in vec((select(REVISIONS.to_vec()), 0..4_i64), 0..4),
    ) -> TrackedLine {
        let mut complete: Vec<CompleteScan> = complete.into_iter().map(|(revision, at)| CompleteScan {
            scan: Id::of("scan", &[tool.0.as_bytes(), revision.as_bytes(), &at.to_le_bytes()]),
            revision: revision.into(),
            as_of: day(20_000 + at),
            started: day(20_000 + at),
            is_full: true,
            observations: 1,
        }).collect();
        complete.sort_by_key(|scan| scan.as_of);
        TrackedLine {
            line: line_of(tool.0, REPO, branch),
            asset: asset(REPO),
            service: service.into(),
            tool: tool.0.into(),
            kind: tool.1,
            branch: ["main", "next"][branch].into(),
            environment: String::new(),
            counts: true,
            complete,
        }
    }
}

fn tracked(kind: FactKind, service: &str, id: Id, record: TrackedRecord) -> Event {
    Event::Tracked(tracked::key(service, kind, id), Some(record))
}

/// That some fact is not there, or went.
fn gone() -> impl Strategy<Value = Event> {
    let kinds = select(vec![FactKind::Finding, FactKind::Finding, FactKind::Route, FactKind::Line]);
    (select(SERVICES.to_vec()), kinds, 0..14_u8, any::<bool>()).prop_map(|(service, kind, slot, is_went)| {
        let id = if kind == FactKind::Line { line_of(TOOLS[usize::from(slot) % 2].0, REPO, 0) } else { Id::of("slot", &[&[slot]]) };
        let record = is_went.then(|| TrackedRecord::Went(Went { to: vec![] }));
        Event::Tracked(tracked::key(service, kind, id), record)
    })
}

fn intel() -> impl Strategy<Value = Event> {
    let id = || select(IDS.to_vec());
    let record = prop_oneof![
        (any::<bool>(), of(20_000..20_100_i64)).prop_map(|(ransomware, due)| IntelRecord::Kev(KevEntry {
            name: "x".into(),
            added: day(20_000),
            due: due.map(day),
            ransomware,
        })),
        (0..1_000_000_i32).prop_map(|probability_ppm| IntelRecord::Epss(EpssScore { probability_ppm })),
        Just(IntelRecord::Exploit(PublicExploit { source: "x".into() })),
        id().prop_map(|other| IntelRecord::Aliases(Aliases { ids: vec![other.to_owned()] })),
        id().prop_map(|other| IntelRecord::Aliases(Aliases { ids: vec![other.to_owned()] })),
    ];
    (id(), record, prop::bool::weighted(0.3)).prop_map(|(id, record, is_gone)| {
        let source: Source = record.source();
        Event::Intel(intel::key(id, source), (!is_gone).then_some(record))
    })
}

fn catalog_event() -> impl Strategy<Value = Event> {
    let above = select(vec![vec![], vec!["retail"], vec!["web", "retail"], vec!["bank"]]);
    let service = (select(SERVICES.to_vec()), 1..5_i32, select(vec!["internet", "internal", "not_deployed"]), any::<bool>(), above)
        .prop_map(|(id, tier, exposure, is_personal, above)| {
            let data = if is_personal { vec!["personal".to_owned()] } else { vec!["public".to_owned()] };
            let record = Service {
                id: id.into(),
                name: id.into(),
                parent: String::new(),
                tier,
                exposure: exposure.into(),
                data,
                owners: vec!["@acme/all".into()],
                path: above.into_iter().map(str::to_owned).collect(),
            };
            (catalog::service_key(id), CatalogRecord::Service(record))
        });
    let policy = select(PRESETS.to_vec()).prop_map(|(name, yaml)| {
        let record = PolicyText { name: name.into(), version: name.into(), yaml: yaml.into() };
        (catalog::POLICY_KEY.to_owned(), CatalogRecord::Policy(record))
    });
    let tickets = select(TICKETS.to_vec()).prop_map(|yaml| {
        let record = PolicyText { name: catalog::TICKETS_KEY.into(), version: String::new(), yaml: yaml.into() };
        (catalog::TICKETS_KEY.to_owned(), CatalogRecord::Policy(record))
    });
    let places = (select(vec![SITE, "url:https://*", REPO]), of(select(vec!["/", "/v1"]))).prop_map(|(assets, rewrite)| {
        let rules = vec![PlaceRule { prefix: "/api".into(), owner: "shop".into(), users: vec![], rewrite: rewrite.map(str::to_owned) }];
        let record = Places { assets: assets.into(), rules, ..Places::default() };
        (catalog::places_key(assets), CatalogRecord::Places(record))
    });
    (prop_oneof![service, policy, places, tickets], prop::bool::weighted(0.3))
        .prop_map(|((key, record), is_gone)| Event::Catalog(key, (!is_gone).then_some(record)))
}

prop_compose! {
    /// An exception that holds, of few that there are, which reaches over what the other events make.
    fn exception()(
        slot in 0..4_u8,
        grant in 1..4_i32,
        founders in prop_oneof![2 => Just(Vec::new()), 1 => vec(0..SLOTS, 1..3)],
        vulnerability in select(vec!["", "", "CVE-2020-1", "ghsa-aaaa-bbbb-cccc"]),
        package in select(vec!["", "", "", "pkg:npm/a"]),
        asset in select(vec!["", "", "", REPO]),
        family in select(vec!["", "", "sql-injection", "vulnerable-component"]),
        within in select(vec![vec![], vec![], vec!["retail"], vec!["service/pay"], vec!["bank", "service/shop"]]),
        (not_internet_facing, not_in_kev) in (prop::bool::weighted(0.3), prop::bool::weighted(0.3)),
        score_at_most in weighted(0.3, 0..1000_i32),
        is_gone in prop::bool::weighted(0.3),
    ) -> Event {
        let exception = Id::of("exception", &[&[slot]]);
        let mut founders: Vec<Id> = founders.into_iter().map(|slot| Id::of("slot", &[&[slot]])).collect();
        founders.sort_unstable();
        founders.dedup();
        let of = |text: &str| if founders.is_empty() { text.to_owned() } else { String::new() };
        let (vulnerability, package, asset, family) = (of(vulnerability), of(package), of(asset), of(family));
        let within = within.into_iter().map(str::to_owned).collect();
        let scope = Scope { founders, vulnerability, package, asset, family, within };
        let assumptions = Assumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place: false };
        Event::Exception(exception.to_string(), (!is_gone).then_some(Held { exception, grant, scope, assumptions }))
    }
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => finding().prop_map(|finding| {
            let (service, id) = (finding.service.clone(), finding.finding);
            tracked(FactKind::Finding, &service, id, TrackedRecord::Finding(finding))
        }),
        8 => route().prop_map(|route| {
            let (service, id) = (route.service.clone(), route.route);
            tracked(FactKind::Route, &service, id, TrackedRecord::Route(route))
        }),
        4 => line().prop_map(|line| {
            let (service, id) = (line.service.clone(), line.line);
            tracked(FactKind::Line, &service, id, TrackedRecord::Line(line))
        }),
        5 => gone(),
        5 => intel(),
        4 => catalog_event(),
        4 => exception(),
        2 => (0..200_i64).prop_map(|days| Event::Tick(Timestamp::from_millis(20_000 * DAY_MS + days * DAY_MS))),
    ]
}

pub fn history() -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 1..70)
}

prop_compose! {
    /// A finding of one family in one file, known by its lines only.
    fn in_one_file()(
        mut finding in finding(),
        tool in 0..2_usize,
        slot in 0..5_u8,
        line in 1..14_i32,
        held in vec((0..2_usize, 0..4_i64, 1..14_i32), 1..4),
    ) -> TrackedFinding {
        let tool = TOOLS[tool];
        finding.finding = Id::of("slot", &[&[slot]]);
        (finding.tool, finding.kind) = (tool.0.into(), tool.1);
        (finding.service, finding.asset) = ("shop".into(), asset(REPO));
        finding.observation.locus = Locus::Code(Code::at(FILES[0], line));
        finding.observation.cwes = vec![89];
        finding.lines = vec![line_of(tool.0, REPO, 0), line_of(tool.0, REPO, 1)];
        finding.lines.truncate(1 + usize::from(slot % 2));
        finding.places = held.into_iter().map(|(branch, since, line)| HeldPlace {
            line_of_scans: line_of(tool.0, REPO, branch),
            since: day(20_000 + since),
            line,
            end_line: line,
        }).collect();
        finding
    }
}

/// A history of one file, so that places are compared across lines of scans all the time.
pub fn history_of_a_file() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => in_one_file().prop_map(|finding| {
            let id = finding.finding;
            tracked(FactKind::Finding, "shop", id, TrackedRecord::Finding(finding))
        }),
        2 => (line(), 0..2_usize).prop_map(|(mut line, tool)| {
            let tool = TOOLS[tool].0;
            line.line = line_of(tool, REPO, usize::from(line.branch == "next"));
            line.tool = tool.into();
            let id = line.line;
            tracked(FactKind::Line, "shop", id, TrackedRecord::Line(line))
        }),
        1 => gone(),
    ];
    vec(event, 1..40)
}

prop_compose! {
    /// A finding at a route, with words on links, or one in code: slots below five are routes, but for the one time in ten that they are not.
    fn at_an_end_of_a_link()(
        mut finding in finding(),
        slot in 0..10_u8,
        is_other in prop::bool::weighted(0.1),
        (method, path) in (method(), select(PATHS.to_vec())),
        code in code(),
        cwe in select(vec![89, 79, 20]),
        words in vec((5..10_u8, any::<bool>(), 0..3_i64), 0..4),
    ) -> TrackedFinding {
        let id = |slot: u8| Id::of("slot", &[&[slot]]);
        (finding.finding, finding.service, finding.is_preview) = (id(slot), "shop".into(), false);
        finding.observation.cwes = vec![cwe];
        let is_route = (slot < 5) != is_other;
        if is_route {
            let place = Route { method: method.into(), origin: "https://shop.example".into(), path: path.into(), parameter: String::new() };
            (finding.tool, finding.kind, finding.asset) = ("zap".into(), ScanKind::Dast, asset(SITE));
            finding.observation.locus = Locus::Route(place);
        } else {
            (finding.tool, finding.kind, finding.asset) = ("semgrep".into(), ScanKind::Sast, asset(REPO));
            finding.observation.locus = code;
        }
        let mut words: Vec<GivenWord> = words.into_iter().map(|(to, is_confirmed, at)| GivenWord {
            to: id(to),
            word: if is_confirmed { Word::Confirmed } else { Word::Rejected },
            actor: "ana".into(),
            reason: String::new(),
            at: day(20_000 + at),
        }).collect();
        words.sort_unstable_by_key(|word| word.to);
        words.dedup_by_key(|word| word.to);
        finding.words = words;
        finding
    }
}

/// A history of links between few routes and few places in code, about which people say much.
pub fn history_of_links() -> impl Strategy<Value = Vec<Event>> {
    let gone = (0..10_u8).prop_map(|slot| {
        let id = Id::of("slot", &[&[slot]]);
        Event::Tracked(tracked::key("shop", FactKind::Finding, id), None)
    });
    let event = prop_oneof![
        12 => at_an_end_of_a_link().prop_map(|finding| {
            let id = finding.finding;
            tracked(FactKind::Finding, "shop", id, TrackedRecord::Finding(finding))
        }),
        3 => gone,
        3 => route().prop_map(|mut route| {
            route.service = "shop".into();
            let id = route.route;
            tracked(FactKind::Route, "shop", id, TrackedRecord::Route(route))
        }),
        1 => catalog_event(),
        1 => exception(),
    ];
    vec(event, 1..40)
}

/// The same events, of services that own all that they have.
pub fn all_owned(history: &[Event]) -> Vec<Event> {
    let mut owned = history.to_vec();
    for event in &mut owned {
        if let Event::Tracked(_, Some(TrackedRecord::Finding(finding))) = event {
            finding.is_owner = true;
        }
    }
    owned
}

pub fn schedule() -> impl Strategy<Value = Schedule> {
    vec((1..12_usize, prop::bool::weighted(0.2), any::<bool>(), 1..4096_usize), 1..6)
}

/// The same events in another order, that of each key kept: by random numbers, one for each event.
pub fn shuffled(history: &[Event], seeds: &[u32]) -> Vec<Event> {
    let mut by_key: BTreeMap<(u8, &str), Vec<u32>> = BTreeMap::new();
    for (event, seed) in history.iter().zip(seeds.iter().cycle()) {
        by_key.entry(event.key()).or_default().push(*seed);
    }
    for seeds in by_key.values_mut() {
        seeds.sort_unstable_by(|one, other| other.cmp(one));
    }
    let mut placed: Vec<(u32, &Event)> = Vec::new();
    for event in history {
        let seed = by_key.get_mut(&event.key()).and_then(Vec::pop).expect("one for each event");
        placed.push((seed, event));
    }
    placed.sort_by_key(|(seed, _)| *seed);
    placed.into_iter().map(|(_, event)| event.clone()).collect()
}
