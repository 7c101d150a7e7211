//! A report ten times as long takes no more memory.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::io::Write as _;

use faultline_adapters::adapter::Report;
use faultline_adapters::publish::{Claim, records};
use faultline_adapters::{registry, secret::SecretKey};

/// The most memory that this process has held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Publishes a Trivy report with so many findings, about one kilobyte each.
fn publish(findings: usize) -> i32 {
    let mut file = tempfile::tempfile().expect("a file");
    let mut out = std::io::BufWriter::new(&mut file);
    write!(out, r#"{{"SchemaVersion": 2, "ArtifactName": "a", "Results": [{{"Target": "go.mod", "Class": "lang-pkgs", "Type": "gomod", "Vulnerabilities": ["#).expect("written");
    let words = "a flaw in the parser lets a remote attacker read memory; ".repeat(16);
    let mut element = String::new();
    for number in 0..findings {
        element.clear();
        let comma = if number == 0 { "" } else { "," };
        write!(
            element,
            r#"{comma}{{"VulnerabilityID": "CVE-2026-{number}", "PkgName": "example.com/m{number}", "Description": "{words}"}}"#
        )
        .expect("text");
        out.write_all(element.as_bytes()).expect("written");
    }
    out.write_all(b"]}]}").expect("written");
    drop(out);
    let key = SecretKey::from_passphrase("t");
    let mut report = Report::new(&mut file, &key);
    let adapter = registry::detect(&mut report).expect("trivy");
    let claim = Claim { asset: Some("repo:github.com/acme/shop".parse().expect("an asset")), ..Claim::default() };
    let published = records(&mut report, adapter, &claim, &mut |_, _| Ok::<(), std::convert::Infallible>(())).expect("published");
    published[0].observations
}

#[test]
fn ten_times_the_report_takes_no_more_memory() {
    assert_eq!(publish(5_000), 5_000);
    let before = peak_kib();
    assert_eq!(publish(50_000), 50_000);
    let more = peak_kib() - before;
    assert!(more < 2048, "{more} KiB more for 50 MB than for 5 MB");
}
