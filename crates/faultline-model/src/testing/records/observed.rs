//! Records of `findings`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{ids, lists, maybe, numbers, texts, timestamps};
use crate::locus::{Code, Host, Locus, Package, Resource, Route, Secret};
use crate::observation::{Cvss, Observation, ScanKind, Severity, ToolVerdict};
use crate::record::{FindingObserved, FindingsRecord, RouteObserved};
use crate::scan::{ScanCompleted, ScanStarted, Scope};

/// Every level.
pub fn severities() -> impl Strategy<Value = Severity> + Clone {
    prop::sample::select(Severity::ALL.to_vec())
}

/// Every kind of tool.
pub fn scan_kinds() -> impl Strategy<Value = ScanKind> + Clone {
    use ScanKind::{Dast, Iac, Other, Posture, Sast, Sca, Secret};
    prop::sample::select(vec![Sast, Sca, Secret, Iac, Dast, Posture, Other])
}

/// Every kind of place.
pub fn loci() -> impl Strategy<Value = Locus> + Clone {
    let text = texts;
    let code = (text(), numbers(), numbers(), numbers(), text(), text(), text()).prop_map(
        |(file, line, end_line, column, symbol, snippet, parameter)| {
            Locus::Code(Code { file, line, end_line, column, symbol, snippet, parameter })
        },
    );
    let package = (text(), text(), text(), text())
        .prop_map(|(purl, version, manifest, layer)| Locus::Package(Package { purl, version, manifest, layer }));
    let route = (text(), text(), text(), text())
        .prop_map(|(method, origin, path, parameter)| Locus::Route(Route { method, origin, path, parameter }));
    let resource = (text(), text(), numbers(), numbers())
        .prop_map(|(address, file, line, end_line)| Locus::Resource(Resource { address, file, line, end_line }));
    let secret = (text(), text(), text(), numbers(), text())
        .prop_map(|(hash, preview, file, line, commit)| Locus::Secret(Secret { hash, preview, file, line, commit }));
    let host = (text(), numbers(), text()).prop_map(|(address, port, protocol)| Locus::Host(Host { address, port, protocol }));
    prop_oneof![code, package, route, resource, secret, host].boxed()
}

fn cvss() -> impl Strategy<Value = Cvss> + Clone {
    (texts(), texts(), 0..=100_i32).prop_map(|(version, vector, base_tenths)| Cvss { version, vector, base_tenths })
}

/// Observations at every kind of place.
pub fn observations() -> impl Strategy<Value = Observation> + Clone {
    let words = (texts(), texts(), texts(), texts(), severities());
    let facts = (vec(numbers(), 0..4), lists(), vec(cvss(), 0..3), loci(), lists(), lists());
    let standing = (maybe(texts()), numbers(), prop::sample::select(vec![ToolVerdict::Reported, ToolVerdict::Suppressed]));
    (words, facts, standing)
        .prop_map(|(words, facts, (stable_id, rank, tool_verdict))| {
            let (rule, title, description, guidance, severity) = words;
            let (cwes, vulnerabilities, cvss, locus, fixed_versions, references) = facts;
            Observation {
                rule,
                title,
                description,
                guidance,
                severity,
                cwes,
                vulnerabilities,
                cvss,
                locus,
                fixed_versions,
                references,
                stable_id,
                rank,
                tool_verdict,
            }
        })
        .boxed()
}

fn starts() -> impl Strategy<Value = ScanStarted> {
    let who = (ids(), texts(), texts(), scan_kinds(), texts(), any::<bool>());
    let what = (texts(), texts(), maybe(timestamps()), timestamps(), any::<bool>(), lists(), lists());
    (who, what, texts(), lists(), texts()).prop_map(|(who, what, service_claim, tests_for, publisher)| {
        let (scan, tool, tool_version, kind, branch, is_default_branch) = who;
        let (environment, revision, revision_time, started, is_full, paths, rules) = what;
        let scope = Scope { is_full, paths, rules };
        ScanStarted {
            scan,
            tool,
            tool_version,
            kind,
            branch,
            is_default_branch,
            environment,
            revision,
            revision_time,
            started,
            scope,
            service_claim,
            tests_for,
            publisher,
        }
    })
}

/// Values of `findings`.
pub fn findings_records() -> impl Strategy<Value = FindingsRecord> {
    let finding = (ids(), numbers(), observations())
        .prop_map(|(scan, number, observation)| FindingsRecord::Finding(FindingObserved { scan, number, observation }));
    let route = (ids(), texts(), texts(), texts(), texts(), numbers(), lists(), any::<bool>()).prop_map(
        |(scan, method, path, file, symbol, line, parameters, is_visit)| {
            FindingsRecord::Route(RouteObserved { scan, method, path, file, symbol, line, parameters, is_visit })
        },
    );
    let end = (ids(), numbers(), lists(), numbers()).prop_map(|(scan, observations, families, refused)| {
        FindingsRecord::ScanCompleted(ScanCompleted { scan, observations, families, refused })
    });
    prop_oneof![1 => starts().prop_map(FindingsRecord::ScanStarted), 6 => finding, 1 => route, 1 => end]
}
