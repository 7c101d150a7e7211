//! How fast a large report is read, and in how much memory: one JSON line a format.
//!
//! `cargo run --release -p faultline-adapters --example read_speed [MEBIBYTES]` writes reports of that size (200 by default) of SARIF,
//! Trivy and Grype to a temporary file each, and publishes them into nothing.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use faultline_adapters::adapter::Report;
use faultline_adapters::publish::{Claim, records};
use faultline_adapters::{registry, secret::SecretKey};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mebibytes: u64 = std::env::args().nth(1).map_or(Ok(200), |arg| arg.parse())?;
    for (name, begin, element, between, end) in [
        ("sarif", SARIF_BEGIN, sarif as fn(u64) -> String, ",", "]}]}"),
        ("trivy", TRIVY_BEGIN, trivy, ",", "]}]}"),
        ("grype", GRYPE_BEGIN, grype, ",", r#"], "source": {"type": "image", "target": {"userInput": "nginx:1"}}}"#),
    ] {
        let mut file = tempfile::tempfile()?;
        let bytes = write_report(&mut file, mebibytes << 20, [begin, between, end], element)?;
        let before = peak_kib();
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let findings = publish(&mut file)?;
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let speed = bytes as f64 / seconds / f64::from(1 << 20);
        println!(
            r#"{{"bench": "read", "format": "{name}", "mebibytes": {}, "findings": {findings}, "seconds": {seconds:.2}, "cpu_seconds": {cpu:.2}, "mebibytes_per_second": {speed:.0}, "findings_per_second": {:.0}, "peak_kib_before": {before}, "peak_kib": {}}}"#,
            bytes >> 20,
            f64::from(findings) / seconds,
            peak_kib()
        );
    }
    Ok(())
}

fn publish(file: &mut File) -> Outcome<i32> {
    let key = SecretKey::from_passphrase("bench");
    let mut report = Report::new(file, &key);
    let adapter = registry::detect(&mut report)?;
    let claim = Claim { asset: Some("repo:github.com/acme/shop".parse()?), ..Claim::default() };
    let published = records(&mut report, adapter, &claim, &mut |_, record| {
        std::hint::black_box(record);
        Ok::<(), std::convert::Infallible>(())
    })?;
    Ok(published.iter().map(|scan| scan.observations).sum())
}

fn write_report(file: &mut File, size: u64, [begin, between, end]: [&str; 3], element: fn(u64) -> String) -> Outcome<u64> {
    let mut out = BufWriter::new(file);
    let (mut bytes, mut number) = (begin.len() as u64, 0);
    out.write_all(begin.as_bytes())?;
    while bytes < size {
        let text = element(number);
        if number > 0 {
            out.write_all(between.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        bytes += (text.len() + between.len()) as u64;
        number += 1;
    }
    out.write_all(end.as_bytes())?;
    out.flush()?;
    Ok(bytes)
}

const SARIF_BEGIN: &str = r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "bench", "rules": [{"id": "r0", "properties": {"tags": ["external/cwe/cwe-089"]}}]}}, "results": ["#;
const TRIVY_BEGIN: &str = r#"{"SchemaVersion": 2, "ArtifactName": "a", "Results": [{"Target": "package-lock.json", "Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": ["#;
const GRYPE_BEGIN: &str = r#"{"descriptor": {"name": "grype", "version": "1"}, "matches": ["#;

/// A result of CodeQL's shape: two kilobytes, most of them code flows that are not read.
fn sarif(number: u64) -> String {
    let step = |at: u64| {
        format!(
            r#"{{"location": {{"physicalLocation": {{"artifactLocation": {{"uri": "src/main/java/com/acme/shop/Service{}.java", "uriBaseId": "%SRCROOT%"}}, "region": {{"startLine": {at}, "startColumn": 13, "endColumn": 40}}}}, "message": {{"text": "getParameter(...) : String"}}}}}}"#,
            number % 997
        )
    };
    let flow: Vec<String> = (1..6).map(|at| step(at + number % 300)).collect();
    format!(
        r#"{{"ruleId": "r0", "ruleIndex": 0, "message": {{"text": "This query depends on a [user-provided value](1).\nSee \"{number}\"."}}, "locations": [{{"physicalLocation": {{"artifactLocation": {{"uri": "src/main/java/com/acme/shop/Service{}.java"}}, "region": {{"startLine": {}, "startColumn": 5, "snippet": {{"text": "  statement.executeQuery(\"select * from users where id = \" + id);"}}}}}}}}], "partialFingerprints": {{"primaryLocationLineHash": "{number:016x}:1"}}, "codeFlows": [{{"threadFlows": [{{"locations": [{}]}}]}}]}}"#,
        number % 997,
        1 + number % 3000,
        flow.join(", ")
    )
}

const DESCRIPTION: &str = "A flaw was found in the way the library handled crafted input: a remote attacker could send a specially built request and read beyond the end of a buffer, or crash the process. \\\"Proof\\\" in the advisory.\\n\\nVersions before the fixed one are affected when the option is on, which is the default.";

fn trivy(number: u64) -> String {
    format!(
        r#"{{"VulnerabilityID": "CVE-2024-{number}", "PkgID": "lib{number}@1.2.3", "PkgName": "lib{number}", "PkgIdentifier": {{"PURL": "pkg:npm/lib{number}@1.2.3", "UID": "0123456789abcdef"}}, "InstalledVersion": "1.2.3", "FixedVersion": "1.2.4, 2.0.1", "Status": "fixed", "Layer": {{"Digest": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}, "SeveritySource": "ghsa", "PrimaryURL": "https://avd.aquasec.com/nvd/cve-2024-{number}", "DataSource": {{"ID": "ghsa", "Name": "GitHub Security Advisory npm", "URL": "https://github.com/advisories?query=type%3Areviewed+ecosystem%3Anpm"}}, "Title": "lib{number}: out of bounds read", "Description": "{DESCRIPTION}", "Severity": "HIGH", "CweIDs": ["CWE-125", "CWE-20"], "VendorSeverity": {{"ghsa": 3, "nvd": 3, "redhat": 2}}, "CVSS": {{"ghsa": {{"V3Vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", "V3Score": 7.5}}, "nvd": {{"V3Vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:H", "V3Score": 9.1}}}}, "References": ["https://access.redhat.com/security/cve/CVE-2024-{number}", "https://github.com/advisories/GHSA-{number}", "https://nvd.nist.gov/vuln/detail/CVE-2024-{number}", "https://www.cve.org/CVERecord?id=CVE-2024-{number}"], "PublishedDate": "2024-02-03T04:05:06Z", "LastModifiedDate": "2024-03-03T04:05:06Z"}}"#
    )
}

fn grype(number: u64) -> String {
    format!(
        r#"{{"vulnerability": {{"id": "GHSA-{number}", "dataSource": "https://github.com/advisories/GHSA-{number}", "namespace": "github:language:javascript", "severity": "High", "urls": ["https://github.com/advisories/GHSA-{number}"], "description": "{DESCRIPTION}", "cvss": [{{"source": "nvd", "type": "Primary", "version": "3.1", "vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:H", "metrics": {{"baseScore": 9.1, "exploitabilityScore": 3.9, "impactScore": 5.2}}, "vendorMetadata": {{}}}}], "fix": {{"versions": ["1.2.4"], "state": "fixed"}}, "advisories": []}}, "relatedVulnerabilities": [{{"id": "CVE-2024-{number}", "dataSource": "https://nvd.nist.gov/vuln/detail/CVE-2024-{number}", "namespace": "nvd:cpe", "severity": "High", "urls": ["https://nvd.nist.gov/vuln/detail/CVE-2024-{number}"], "description": "{DESCRIPTION}", "cvss": []}}], "matchDetails": [{{"type": "exact-direct-match", "matcher": "javascript-matcher", "searchedBy": {{"language": "javascript", "namespace": "github:language:javascript", "package": {{"name": "lib{number}", "version": "1.2.3"}}}}, "found": {{"versionConstraint": "<1.2.4 (unknown)", "vulnerabilityID": "GHSA-{number}"}}}}], "artifact": {{"id": "0123456789abcdef", "name": "lib{number}", "version": "1.2.3", "type": "npm", "locations": [{{"path": "/app/package-lock.json", "layerID": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}], "language": "javascript", "licenses": ["MIT"], "cpes": ["cpe:2.3:a:lib{number}:lib{number}:1.2.3:*:*:*:*:*:*:*"], "purl": "pkg:npm/lib{number}@1.2.3", "upstreams": []}}}}"#
    )
}

/// The most memory that this process has held, in KiB; 0 where the system does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time of this process, in seconds; 0 where the system does not tell. Linux counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
