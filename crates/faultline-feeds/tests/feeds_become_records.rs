//! Real excerpts of the feeds, plain and gzipped, and what is told where a feed is not what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use faultline_feeds::{Feed, FeedError, Format, Summary};
use faultline_model::intel::IntelRecord;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn taken(feed: Feed) -> Result<(Summary, BTreeMap<String, IntelRecord>), FeedError> {
    let mut records = BTreeMap::new();
    let summary = feed.read(&mut |id, record| {
        assert!(records.insert(id, record).is_none(), "one record a vulnerability");
        Ok(())
    })?;
    Ok((summary, records))
}

fn text(text: &str) -> Result<(Summary, BTreeMap<String, IntelRecord>), FeedError> {
    taken(Feed::of(std::io::Cursor::new(text.to_owned()))?)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

#[test]
fn kev_is_read_with_its_dates_and_ransomware() {
    let (summary, records) = taken(Feed::open(&data("kev-30.json")).unwrap()).unwrap();
    assert_eq!((summary.format, summary.version.as_str(), summary.records), (Format::Kev, "2025.08.25", 30));
    assert!(!summary.is_full, "an excerpt counts more than it holds");
    let IntelRecord::Kev(log4shell) = &records["CVE-2021-44228"] else { panic!("a KEV entry") };
    assert_eq!((log4shell.added.date().as_str(), log4shell.ransomware), ("2021-12-10", true));
    assert_eq!(log4shell.due.map(faultline_model::time::Timestamp::date).as_deref(), Some("2021-12-24"));
    assert!(log4shell.name.contains("Log4j2"), "{}", log4shell.name);
    let whole = fs::read_to_string(data("kev-30.json")).unwrap().replace("\"count\": 1404", "\"count\": 30");
    assert!(text(&whole).unwrap().0.is_full);
}

#[test]
fn epss_is_read_to_the_millionth_gzipped_or_not() {
    let (summary, records) = taken(Feed::open(&data("epss-200.csv")).unwrap()).unwrap();
    assert_eq!((summary.format, summary.records, summary.is_full), (Format::Epss, 200, true));
    assert_eq!((summary.version.as_str(), summary.date.as_str()), ("unknown", "2026-08-16T00:00:00+0000"));
    let IntelRecord::Epss(first) = &records["CVE-1999-0001"] else { panic!("an EPSS score") };
    assert_eq!(first.probability_ppm, 33_510);
    let bytes = gzipped(&fs::read(data("epss-200.csv")).unwrap());
    assert_eq!(taken(Feed::of(std::io::Cursor::new(bytes)).unwrap()).unwrap().1, records);
}

#[test]
fn exploits_come_as_a_table_a_list_or_from_exploit_db() {
    let sources = |yaml: &str| -> Vec<String> {
        let (summary, records) = text(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
        assert_eq!((summary.format, summary.is_full), (Format::Exploits, false));
        let source = |record: &IntelRecord| match record {
            IntelRecord::Exploit(exploit) => exploit.source.clone(),
            other => panic!("{other:?}"),
        };
        records.iter().map(|(id, record)| format!("{id} {}", source(record))).collect()
    };
    assert_eq!(
        sources("cve,source\r\nCVE-2021-44228,metasploit\r\ncve-2021-44228,\"exploit, db\"\r\nCVE-2014-0160,\r\n"),
        ["CVE-2014-0160 list", "CVE-2021-44228 exploit, db, metasploit"]
    );
    assert_eq!(sources("source,cve\nnuclei,CVE-2021-44228\n"), ["CVE-2021-44228 nuclei"]);
    assert_eq!(sources("# ours\nCVE-2021-44228\nGHSA-JFH8-c2jp-5v3q,poc\n"), ["CVE-2021-44228 list", "GHSA-jfh8-c2jp-5v3q poc"]);
    assert_eq!(
        sources("id,file,description,codes\n1,a.py,\"A, b\",CVE-2009-3699;OSVDB-58726\n2,b.py,B,\n3,c.py,C,CVE-2009-3700;CVE-2009-3699\n"),
        ["CVE-2009-3699 exploit-db", "CVE-2009-3700 exploit-db"]
    );
}

#[test]
fn each_id_of_an_advisory_gets_all_its_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("GHSA")).unwrap();
    fs::copy(data("ghsa-jfh8-c2jp-5v3q.json"), folder.path().join("GHSA/a.json")).unwrap();
    fs::write(folder.path().join("b.jsonl.gz"), gzipped(&fs::read(data("osv.jsonl")).unwrap())).unwrap();
    fs::write(folder.path().join("README.md"), "not a document").unwrap();
    let (summary, records) = taken(Feed::open(folder.path()).unwrap()).unwrap();
    let aliases = |id: &str| match &records[id] {
        IntelRecord::Aliases(aliases) => aliases.ids.join(" "),
        other => panic!("{other:?}"),
    };
    assert_eq!((summary.format, summary.records, summary.passed_over, summary.is_full), (Format::Osv, 6, 2, false));
    assert_eq!(aliases("CVE-2021-44228"), "GHSA-jfh8-c2jp-5v3q");
    assert_eq!(aliases("GHSA-jfh8-c2jp-5v3q"), "CVE-2021-44228");
    assert_eq!(aliases("CVE-2021-3281"), "BIT-django-2021-3281 GHSA-fvgf-6h6h-3322 PYSEC-2021-9");
    let lines = fs::read_to_string(data("osv.jsonl")).unwrap();
    let array = format!("[{}]", lines.trim().lines().collect::<Vec<_>>().join(","));
    assert_eq!(text(&array).unwrap(), text(&lines).unwrap());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let kev = |entry: &str| format!(r#"{{"catalogVersion": "1", "vulnerabilities": [{entry}]}}"#);
    let good = r#"{"cveID": "CVE-2021-44228", "dateAdded": "2021-12-10"}"#;
    for (feed, says) in [
        (
            "cve,epss,percentile\nCVE-2021-44228,0.9,1\nCVE-2021-4422,1.1,1\n".to_owned(),
            "line 3: epss is \"1.1\"; expected a probability of 0 to 1",
        ),
        ("#x\ncve,epss\nlog4shell,0.9\n".to_owned(), "line 3: cve is \"log4shell\"; expected a CVE id"),
        (kev(&format!("{good}, {{\"cveID\": \"CVE-1\", \"dateAdded\": \"2021-12-10\"}}")), "element 2: cveID is \"CVE-1\""),
        (kev(&good.replace("2021-12-10", "soon")), "element 1: dateAdded is \"soon\"; expected a date"),
        (kev(&format!("{good}, {{\"dateAdded\": 1}}")), "element 2: invalid type"),
        (kev(good).replace("]}", ""), "at element 2: EOF"),
        (r#"{"catalogVersion": "1", "x": "vulnerabilities", "cveID": {"vulnerabilities": 1}}"#.to_owned(), "has no list `vulnerabilities`"),
        ("cve,source\nCVE-2021-44228,a\n,b\n".to_owned(), "line 3: cve is \"\""),
        (r#"{"id": "GHSA-jfh8-c2jp-5v3q", "aliases": ["not an id"]}"#.to_owned(), "element 1: aliases is \"not an id\""),
        (
            format!(r#"[{{"id": "A-1", "aliases": {:?}}}]"#, (0..65).map(|n| format!("B-{n}")).collect::<Vec<_>>()),
            "aliases is \"a list of 65\"",
        ),
        (r#"{"id": "A-1"} {"id": "#.to_owned(), "at element 2: EOF"),
        ("<xml/>".to_owned(), "is no feed that is known here: it begins with \"<xml/>\"; expected CISA's KEV"),
        (r#"{"name": "shop", "version": 1}"#.to_owned(), "is no feed that is known here"),
        (String::new(), "is no feed that is known here"),
    ] {
        let error = text(&feed).unwrap_err().to_string();
        assert!(error.contains(says), "{feed}\n{error}");
    }
    assert!(matches!(Feed::open(Path::new("/nowhere/at/all")), Err(FeedError::Io { .. })));
    let refused = Feed::open(&data("epss-200.csv")).unwrap().read(&mut |_, _| Err("the log is full".into())).unwrap_err();
    assert_eq!(refused.to_string(), "what came out of a feed could not be taken: the log is full");
}

#[test]
fn a_part_that_is_too_large_is_refused_before_it_is_held() {
    let line = format!("cve,epss\n{}", "x".repeat(40 << 20));
    let error = text(&line).unwrap_err().to_string();
    assert!(error.contains("one entry is larger than"), "{error}");
    let document = format!("{{\"id\": \"A-1\", \"details\": \"{}\"}}", "x".repeat(40 << 20));
    let error = text(&document).unwrap_err().to_string();
    assert!(error.contains("one entry is larger than"), "{error}");
}
