//! The generated organisation is the same on every machine, has the shape that it promises, and its truth can be true.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::asset::AssetId;
use faultline_model::avro::encode;
use faultline_model::catalog::CatalogRecord;
use faultline_model::family::Family;
use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::intel::IntelRecord;
use faultline_model::locus::Locus;
use faultline_model::observation::{Observation, ScanKind};
use faultline_model::record::FindingsRecord;
use faultline_model::testing::scale::{Order, Scale, TOUCHED};
use faultline_model::tracked::TrackedFinding;

/// All observations with asset, tool and kind of tool.
fn observations(scale: &Scale, day: u32, order: Order) -> Vec<(AssetId, String, ScanKind, Observation)> {
    let mut all = Vec::new();
    for scan in scale.rescans(day) {
        let mut by = (String::new(), ScanKind::Other);
        let mut numbers = 0;
        for record in scan.records(order) {
            match record {
                FindingsRecord::ScanStarted(start) => by = (start.tool, start.kind),
                FindingsRecord::Finding(finding) => {
                    assert_eq!(finding.number, numbers, "numbers are 0 to n-1");
                    numbers += 1;
                    all.push((scan.asset(), by.0.clone(), by.1, finding.observation));
                }
                FindingsRecord::Route(_) => {}
                FindingsRecord::ScanCompleted(end) => assert_eq!(end.observations, numbers),
            }
        }
    }
    all
}

fn id_of((asset, tool, _, observation): &(AssetId, String, ScanKind, Observation)) -> Id {
    TrackedFinding::id_of(asset, fingerprint(tool, observation))
}

#[test]
fn the_same_seed_is_the_same_organisation_on_every_machine() {
    let scale = Scale::new(1, 1_000);
    let mut bytes = Vec::new();
    for scan in scale.scans() {
        scan.records(Order::Shuffled).for_each(|record| bytes.extend(encode(record).unwrap()));
    }
    scale.catalog().for_each(|(key, record)| bytes.extend([key.into_bytes(), encode(record).unwrap()].concat()));
    scale.intel().for_each(|(key, record)| bytes.extend([key.into_bytes(), encode(record).unwrap()].concat()));
    // A change of this digest changes every benchmark that was measured before.
    assert_eq!(Id::of("scale", &[&bytes]).to_string(), "68d3c924830b22d2a5fc7e5a7a78562b");
    assert_ne!(Scale::new(2, 1_000).truth().next(), scale.truth().next());
}

#[test]
fn findings_are_as_many_as_asked_for_and_none_is_another() {
    for (findings, services) in [(0, 3), (1, 1), (7, 3), (59, 1), (1_000, 3), (5_001, 4)] {
        let scale = Scale::with_services(9, findings, services);
        let ids: BTreeSet<Id> = observations(&scale, 0, Order::Stable).iter().map(id_of).collect();
        let truth: BTreeSet<Id> = scale.truth().map(|truth| truth.finding).collect();
        assert_eq!(ids.len() as u64, findings);
        assert_eq!(ids, truth);
        assert_eq!(scale.truth().map(|truth| truth.risk).collect::<BTreeSet<_>>().len() as u64, scale.expected_risks());
        assert_eq!(scale.assets().count() as u64, services * 3);
    }
}

#[test]
fn kinds_come_in_their_shares() {
    let mut shares = BTreeMap::<&str, usize>::new();
    let scale = Scale::with_services(3, 20_000, 4);
    for (_, _, kind, _) in observations(&scale, 0, Order::Stable) {
        *shares.entry(kind.name()).or_default() += 1;
    }
    assert_eq!(shares, BTreeMap::from([("sast", 9_000), ("sca", 7_000), ("dast", 1_000), ("secret", 1_000), ("iac", 2_000)]));
}

#[test]
fn a_rescan_reports_the_same_findings_in_any_order() {
    let scale = Scale::new(4, 2_000);
    let first = observations(&scale, 0, Order::Stable);
    assert_eq!(observations(&scale, 1, Order::Stable), first);
    let shuffled = observations(&scale, 1, Order::Shuffled);
    assert_ne!(shuffled, first);
    let ids = |all: &[_]| all.iter().map(id_of).collect::<BTreeSet<_>>();
    assert_eq!(ids(&shuffled), ids(&first));
    let scans = |day| scale.rescans(day).map(|scan| scan.id()).collect::<BTreeSet<_>>();
    assert!(scans(0).is_disjoint(&scans(1)));
}

#[test]
fn bodies_are_as_long_as_those_of_reports() {
    let scale = Scale::new(5, 4_000);
    let all = observations(&scale, 0, Order::Stable);
    let mean = |length: fn(&Observation) -> usize| all.iter().map(|seen| length(&seen.3)).sum::<usize>() / all.len();
    assert!((60..=100).contains(&mean(|seen| seen.title.len())), "titles have {} bytes", mean(|seen| seen.title.len()));
    assert!((290..=330).contains(&mean(|seen| seen.description.len())));
    assert!(all.iter().all(|(.., seen)| seen.clone().bounded() == *seen), "nothing is longer than what is kept");
}

/// What joins two findings of a service, by the rules that need no other fact; `None` where only a route map says.
fn joint(seen: &Observation, aliases: &BTreeMap<String, String>) -> Option<String> {
    let family = Family::of_cwes(&seen.cwes);
    assert!(family.is_joinable() || seen.cwes == [20], "{:?}", seen.cwes);
    let joint = match &seen.locus {
        Locus::Code(code) => format!("{} {} {family}", code.file, (code.line - 20) / 50),
        Locus::Package(package) => {
            let id = &seen.vulnerabilities[0];
            format!("{} {}", package.purl, aliases.get(id).unwrap_or(id))
        }
        Locus::Secret(secret) => secret.hash.clone(),
        Locus::Resource(resource) => format!("{} {family}", resource.address),
        Locus::Route(_) => return None,
        Locus::Host(_) => unreachable!("no tool reports hosts"),
    };
    Some(joint)
}

#[test]
fn truth_is_what_the_places_say() {
    let scale = Scale::with_services(6, 12_000, 4);
    let risks: BTreeMap<Id, (String, u64)> = scale.truth().map(|truth| (truth.finding, (truth.service, truth.risk))).collect();
    let mut cve_of = BTreeMap::new();
    for (key, record) in scale.intel() {
        let IntelRecord::Aliases(aliases) = record else { panic!("intelligence of the scale is aliases") };
        let (id, _) = faultline_model::intel::parse_key(&key).unwrap();
        if id.starts_with("CVE") {
            cve_of.insert(aliases.ids[0].clone(), id.to_owned());
        }
    }
    let mut joints = BTreeMap::<(String, String), BTreeSet<u64>>::new();
    let mut lone = 0;
    for seen in &observations(&scale, 0, Order::Stable) {
        let (service, risk) = risks[&id_of(seen)].clone();
        match joint(&seen.3, &cve_of) {
            Some(joint) => {
                joints.entry((service, joint)).or_default().insert(risk);
            }
            None => lone += usize::from(seen.3.locus_parameter().is_empty()),
        }
    }
    assert!(joints.values().all(|risks| risks.len() == 1), "what lies at one place is one risk");
    // The attacks that hit a handler have joined it; the others are risks of their own.
    assert_eq!((joints.len() + lone) as u64, scale.expected_risks());
}

/// The parameter that was attacked.
trait Parameter {
    fn locus_parameter(&self) -> &str;
}

impl Parameter for Observation {
    fn locus_parameter(&self) -> &str {
        if let Locus::Route(route) = &self.locus { &route.parameter } else { "" }
    }
}

#[test]
fn an_attack_that_proves_hits_the_handler_of_its_route() {
    let scale = Scale::with_services(8, 4_000, 3);
    let mut handlers = BTreeMap::<(String, String), (String, Vec<String>)>::new();
    let mut attacks = Vec::new();
    let mut code = Vec::new();
    let mut service = 0;
    for (at, scan) in scale.scans().enumerate() {
        service = if at % 11 == 0 { at / 11 } else { service };
        for record in scan.records(Order::Stable) {
            match record {
                FindingsRecord::Route(route) if !route.is_visit => {
                    let stem = route.path.strip_suffix("{id}").expect("templates end in an id").to_owned();
                    assert!(
                        handlers.insert((format!("{service}"), stem), (route.file, route.parameters)).is_none(),
                        "one entry a template"
                    );
                }
                FindingsRecord::Finding(finding) => match &finding.observation.locus {
                    Locus::Route(route) => attacks.push((service, route.clone(), Family::of_cwes(&finding.observation.cwes))),
                    Locus::Code(place) => code.push((service, place.file.clone(), Family::of_cwes(&finding.observation.cwes))),
                    _ => {}
                },
                _ => {}
            }
        }
    }
    let code: BTreeSet<_> = code.into_iter().collect();
    let mut verified = 0;
    for (service, attack, family) in attacks {
        let stem = &attack.path[..=attack.path.rfind('/').unwrap()];
        let (file, parameters) = &handlers[&(service.to_string(), stem.to_owned())];
        let proves = !attack.parameter.is_empty();
        assert_eq!(code.contains(&(service, file.clone(), family)), proves, "{file} {family}");
        assert!(!proves || parameters.contains(&attack.parameter));
        verified += u64::from(proves);
    }
    assert_eq!(verified, scale.expected_verified());
}

#[test]
fn a_kev_entry_touches_exactly_as_many_findings_as_it_says_and_each_is_a_risk() {
    let scale = Scale::new(11, 30_000);
    let all = observations(&scale, 0, Order::Stable);
    let risks: BTreeMap<Id, u64> = scale.truth().map(|truth| (truth.finding, truth.risk)).collect();
    for count in TOUCHED {
        let Some((key, record)) = scale.kev(count) else {
            assert_eq!(count, 10_000, "30,000 findings hold the smaller ones");
            continue;
        };
        assert!(matches!(record, IntelRecord::Kev(_)));
        let (id, _) = faultline_model::intel::parse_key(&key).unwrap();
        let touched: Vec<Id> = all.iter().filter(|seen| seen.3.vulnerabilities.iter().any(|known| known == id)).map(id_of).collect();
        assert_eq!(touched.len() as u64, count);
        assert_eq!(touched.iter().map(|finding| risks[finding]).collect::<BTreeSet<_>>().len() as u64, count);
    }
    assert!(Scale::new(11, 1_000_000).kev(10_000).is_some());
    assert!(scale.kev(7).is_none());
}

#[test]
fn every_place_has_a_service_and_every_node_stands_below_the_top() {
    let scale = Scale::new(12, 100_000);
    let catalog: BTreeMap<String, CatalogRecord> = scale.catalog().collect();
    for asset in scale.assets() {
        let Some(CatalogRecord::Places(places)) = catalog.get(&faultline_model::catalog::places_key(asset.as_str())) else {
            panic!("{asset} has no places")
        };
        let Some(CatalogRecord::Service(service)) = catalog.get(&faultline_model::catalog::service_key(&places.rules[0].owner)) else {
            panic!("{asset} has no service")
        };
        let mut above = service.parent.clone();
        for id in &service.path {
            let Some(CatalogRecord::Node(node)) = catalog.get(&faultline_model::catalog::node_key(id)) else { panic!("{id} is no node") };
            assert_eq!(*id, above);
            above.clone_from(&node.parent);
        }
        assert_eq!(above, "", "the last is at the top");
    }
    assert!(matches!(scale.catalog().last(), Some((_, CatalogRecord::Head(_)))));
}

#[test]
fn scans_of_a_day_end_before_the_next_and_share_a_revision() {
    let scale = Scale::with_services(13, 600, 600);
    for day in [0, 1] {
        let mut revisions = BTreeMap::<AssetId, BTreeSet<String>>::new();
        for scan in scale.rescans(day) {
            let Some(FindingsRecord::ScanStarted(start)) = scan.records(Order::Stable).next() else { panic!("a scan starts") };
            assert!(start.started < scale.end_of(day) && (day == 0 || start.started >= scale.end_of(day - 1)));
            assert!(start.revision_time.is_none_or(|time| time <= start.started));
            revisions.entry(scan.asset()).or_default().insert(start.revision);
        }
        assert!(revisions.values().all(|of_asset| of_asset.len() == 1));
    }
}
