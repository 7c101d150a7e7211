//! What a ticket says in Jira, whatever scanners say: within the limits, the same words in both APIs, and no markup but ours.
#![allow(clippy::unwrap_used)] // what fails here fails the test

use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::share::{RISKS_NAMED, ShareRisk};
use faultline_model::testing::records;
use faultline_model::ticket::{TicketRecord, WantedTicket};
use faultline_model::time::Timestamp;
use faultline_sinks::jira::text::{ADF_UNITS, SUMMARY_UNITS, TicketText, Tree, WIKI_UNITS, Words, duplicate, gone, moved, units};
use proptest::prelude::*;
use serde_json::Value;

const CONSOLE: &str = "https://faultline.acme.example";
const TRACKER: &str = "https://jira.acme.example/jira";
const WORDS: Words<'static> = Words { console: Some(CONSOLE), tracker: Some(TRACKER) };

/// Lines and cells as they are read, without markup.
type Lines = Vec<String>;

fn realistic() -> WantedTicket {
    let risk = |n: u8, service: &str, title: &str, score: i32| ShareRisk {
        risk: Id([n; 16]),
        service: service.into(),
        title: title.into(),
        score,
        broken: Vec::new(),
    };
    WantedTicket {
        fix: Id([0x3a; 16]),
        queue: "web".into(),
        moved_from: Vec::new(),
        also: vec![Id([0xb8; 16])],
        kind: "upgrade".into(),
        what: "org.apache.logging.log4j:log4j-core in pom.xml".into(),
        guidance: "Upgrade to 2.17.1 or newer.\nWhere that is not possible, remove the class:\n  zip -q -d log4j-core-*.jar org/apache/logging/log4j/core/lookup/JndiLookup.class".into(),
        fixed_versions: vec!["2.12.4".into(), "2.17.1".into()],
        score: 870,
        band: Severity::Critical,
        due: Timestamp::from_millis(1_761_209_600_000),
        risks: 5,
        services: 2,
        first_seen: Timestamp::from_millis(1_760_000_000_000),
        first: vec![
            risk(0x0f, "shop", "CVE-2021-44228 in log4j-core", 870),
            risk(0x1e, "payments", "CVE-2021-44228 in log4j-core", 840),
            risk(0x2d, "shop", "CVE-2021-45046 in log4j-core", 710),
        ],
    }
}

fn wanted() -> impl Strategy<Value = WantedTicket> {
    records::tickets().prop_filter_map("a ticket that is wanted", |record| match record {
        TicketRecord::Wanted(wanted) => Some(wanted),
        TicketRecord::Moved(_) => None,
    })
}

/// Text that means something wherever it is not escaped, and that hides or turns what stands around it.
fn markup() -> impl Strategy<Value = String> + Clone {
    let piece = prop::sample::select(vec![
        "{code}",
        "{quote}",
        "{html}",
        "[x|http://evil.example]",
        "[~admin]",
        "@all",
        "!x.png!",
        "*b*",
        "_i_",
        "-s-",
        "+u+",
        "^p^",
        "~q~",
        "??c??",
        "%",
        "||",
        "|",
        "\\",
        "\\\\",
        "\\{",
        "h1. ",
        "bq. ",
        "----",
        "# ",
        "* ",
        "- ",
        "http://evil.example/",
        "mailto:a@b.example",
        ":)",
        ";)",
        "(x)",
        ":",
        "&#123;",
        "&amp;",
        "&",
        "<script>",
        "\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{1b}[2J",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\u{ffff}",
        "🦀",
        "ü",
        "a",
        "log4j-core",
        " ",
        "CVE-2021-44228",
        "SHOP-1",
        "]]>",
        "${x}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Tickets out of such text, as long as a record may be and longer.
fn hostile() -> impl Strategy<Value = WantedTicket> {
    let times = prop_oneof![4 => Just(1_usize), 2 => Just(20), 1 => Just(400)];
    let text = (markup(), times).prop_map(|(text, times)| text.repeat(times));
    let first = prop::collection::vec((text.clone(), text.clone()), 0..RISKS_NAMED + 2);
    let kind = prop::sample::select(vec!["upgrade", "base_image", "code", "rotate", "configure", "unheard of"]);
    (wanted(), kind, text.clone(), text, prop::collection::vec(markup(), 0..70), first).prop_map(
        |(ticket, kind, what, guidance, versions, first)| {
            let one = |(n, (service, title)): (usize, (String, String))| ShareRisk {
                risk: Id([n as u8; 16]),
                service,
                title,
                score: 500,
                broken: Vec::new(),
            };
            let first = first.into_iter().enumerate().map(one).collect();
            WantedTicket { kind: kind.into(), what, guidance, fixed_versions: versions, first, ..ticket }
        },
    )
}

/// Whether a person cannot see it where it stands.
fn is_hidden(letter: char) -> bool {
    let ranges =
        ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}', '\u{e0000}'..='\u{e0fff}'];
    letter.is_control() || ranges.iter().any(|range| range.contains(&letter))
}

/// Reads ADF as the strict contract has it, and stricter: node by node, nothing that is not ours. Lines and cells come out.
mod adf {
    use super::*;

    pub fn lines(document: &Value) -> Lines {
        assert_eq!(keys(document), ["content", "type", "version"]);
        assert_eq!((&document["type"], &document["version"]), (&"doc".into(), &1.into()));
        let mut lines = Lines::new();
        children(document, &["paragraph", "heading", "blockquote", "table", "rule"], &mut lines);
        lines
    }

    fn keys(node: &Value) -> Vec<&str> {
        let mut keys: Vec<&str> = node.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    fn children(node: &Value, allowed: &[&str], lines: &mut Lines) {
        let content = node["content"].as_array().unwrap();
        assert!(!content.is_empty(), "{node}");
        for child in content {
            let kind = child["type"].as_str().unwrap();
            assert!(allowed.contains(&kind), "{kind} in {}", node["type"]);
            if kind == "heading" {
                assert_eq!((keys(child), &child["attrs"]), (vec!["attrs", "content", "type"], &serde_json::json!({ "level": 3 })));
            } else if kind != "rule" {
                assert_eq!(keys(child), ["content", "type"]);
            }
            match kind {
                "paragraph" | "heading" => lines.push(child["content"].as_array().unwrap().iter().map(text).collect()),
                "blockquote" | "tableHeader" | "tableCell" => children(child, &["paragraph"], lines),
                "table" => children(child, &["tableRow"], lines),
                "tableRow" => children(child, &["tableHeader", "tableCell"], lines),
                _ => lines.push("----".into()),
            }
        }
    }

    fn text(node: &Value) -> String {
        let text = node["text"].as_str().unwrap();
        assert_eq!(node["type"], "text");
        assert!(!text.is_empty() && !text.contains(is_hidden), "{text:?}");
        if let Some(marks) = node.get("marks") {
            let mark = &marks[0];
            assert_eq!(marks.as_array().unwrap().len(), 1);
            match mark["type"].as_str().unwrap() {
                "strong" => assert_eq!(keys(mark), ["type"]),
                "link" => is_ours(mark["attrs"]["href"].as_str().unwrap()),
                other => panic!("mark {other}"),
            }
        }
        text.to_owned()
    }
}

/// Reads wiki markup as Jira does, and fails where a letter means something that we did not mean. Lines and cells come out.
mod wiki {
    use super::*;

    const ENTITIES: [(&str, char); 7] =
        [("&#46;", '.'), ("&#92;", '\\'), ("&#124;", '|'), ("&#58;", ':'), ("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>')];
    const STRONG: [&str; 9] = [
        "Upgrade",
        "Rebuild on a newer base",
        "Repair code",
        "Rotate secret in",
        "Configure",
        "Repair",
        "Repaired in",
        "Highest score",
        "Due",
    ];

    pub fn lines(text: &str) -> Lines {
        assert!(!text.contains(|letter| letter != '\n' && is_hidden(letter)));
        let mut lines = Lines::new();
        for line in text.split('\n').filter(|line| !line.is_empty() && *line != "{quote}") {
            if line == "----" {
                lines.push(line.into());
            } else if let Some(heading) = line.strip_prefix("h3. ") {
                lines.push(inlines(heading));
            } else if let Some(head) = line.strip_prefix("||") {
                lines.extend(head.strip_suffix("||").unwrap().split("||").map(inlines));
            } else if let Some(row) = line.strip_prefix("| ") {
                cells(row.strip_suffix(" |").unwrap(), &mut lines);
            } else {
                lines.push(inlines(line));
            }
        }
        lines
    }

    /// A bar parts cells, but for one in a link: text has none.
    fn cells(row: &str, lines: &mut Lines) {
        assert_eq!(row.split(" | ").count(), 4, "{row}");
        lines.extend(row.split(" | ").map(inlines));
    }

    fn inlines(line: &str) -> String {
        let lower = line.trim_start().to_lowercase();
        assert!(!(1..7).any(|level| lower.starts_with(&format!("h{level}."))) && !lower.starts_with("bq."), "{line}");
        let mut words = String::new();
        let mut rest = line;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            rest = match letter {
                '\\' => {
                    let escaped = after.chars().next().unwrap();
                    assert!("-#*_+?^~%{}[]()!@".contains(escaped), "{line}");
                    words.push(escaped);
                    &after[1..]
                }
                '&' => {
                    let (entity, letter) = ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity)).expect(line);
                    words.push(*letter);
                    &rest[entity.len()..]
                }
                '*' => {
                    let (strong, after) = after.split_once('*').unwrap();
                    assert!(STRONG.contains(&strong), "{strong}");
                    words.push_str(strong);
                    after
                }
                '[' => {
                    let (link, after) = after.split_once(']').unwrap();
                    let (text, to) = link.split_once('|').unwrap();
                    is_ours(to);
                    words.push_str(text);
                    after
                }
                ':' => {
                    assert!(after.starts_with(' '), "{line}");
                    words.push(letter);
                    after
                }
                letter => {
                    assert!(!"-#_+?^~%{}]()!@|<>".contains(letter), "{letter} in {line}");
                    words.push(letter);
                    after
                }
            };
        }
        words
    }
}

fn is_ours(to: &str) {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._/%".contains(letter);
    let page = to.strip_prefix(CONSOLE).or_else(|| to.strip_prefix(TRACKER)).expect(to);
    assert!((page.starts_with("/risks/") || page.starts_with("/browse/")) && page.chars().all(is_plain), "{to}");
}

/// What holds of every tree.
fn holds(tree: &Tree) {
    let (adf, wiki) = (tree.adf(), tree.wiki());
    assert!(units(&adf.to_string()) < ADF_UNITS);
    assert!(units(&wiki) <= WIKI_UNITS);
    assert_eq!(adf::lines(&adf), wiki::lines(&wiki));
}

fn holds_of(ticket: &WantedTicket) -> TicketText {
    let text = TicketText::of(ticket, WORDS);
    assert!((1..=SUMMARY_UNITS).contains(&units(&text.summary)), "{}", text.summary);
    assert!(!text.summary.contains(is_hidden) && text.summary.trim() == text.summary, "{:?}", text.summary);
    holds(&text.description);
    assert_eq!(text.written(), TicketText::of(&ticket.clone(), WORDS).written());
    text
}

proptest! {
    #[test]
    fn whatever_a_record_holds_both_say_the_same(ticket in wanted()) {
        holds_of(&ticket);
    }

    #[test]
    fn what_scanners_say_is_never_markup(ticket in hostile()) {
        let text = holds_of(&ticket);
        let unlinked = TicketText::of(&ticket, Words::default());
        prop_assert!(!unlinked.description.adf().to_string().contains("\"link\""));
        let last = |text: &TicketText| adf::lines(&text.description.adf()).pop();
        prop_assert_eq!(last(&unlinked), last(&text));
    }

    #[test]
    fn comments_hold_whatever_names_there_are(name in markup(), key in prop_oneof!["[A-Z]{1,4}-[0-9]{1,4}", markup()]) {
        holds(&moved(&name, Some(&key), WORDS));
        holds(&moved(&name, None, WORDS));
        holds(&duplicate(&key, WORDS));
        holds(&duplicate(&name.repeat(300), Words::default()));
    }

    /// Points, days and counts change while nobody has done anything.
    #[test]
    fn a_summary_stays_while_scores_change(ticket in hostile(), score in 0..1_000_i32, risks in 2..9_i32, days in -90..90_i64) {
        let mut before = ticket;
        before.risks = 2;
        let mut after = WantedTicket { score, risks, due: before.due.plus_days(days), band: Severity::Low, ..before.clone() };
        after.first.reverse();
        prop_assert_eq!(TicketText::of(&before, WORDS).summary, TicketText::of(&after, WORDS).summary);
    }
}

/// As files that a person reads. To write them again: `FAULTLINE_WRITE_EXAMPLES=1 cargo test … jira`.
fn is_filed(name: &str, tree: &Tree) {
    let path = |kind: &str| format!("{}/tests/data/jira/{name}.{kind}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("FAULTLINE_WRITE_EXAMPLES").is_some() {
        std::fs::write(path("wiki"), tree.wiki() + "\n").unwrap();
        std::fs::write(path("adf.json"), serde_json::to_string_pretty(&tree.adf()).unwrap() + "\n").unwrap();
    }
    let filed = |kind: &str| std::fs::read_to_string(path(kind)).unwrap();
    assert_eq!(filed("wiki"), tree.wiki() + "\n", "{name}");
    // The order of members depends on how serde_json was built.
    assert_eq!(serde_json::from_str::<Value>(&filed("adf.json")).unwrap(), tree.adf(), "{name}");
}

#[test]
fn a_ticket_reads_as_filed() {
    let text = holds_of(&realistic());
    assert_eq!(text.summary, "Upgrade org.apache.logging.log4j:log4j-core in pom.xml");
    is_filed("ticket", &text.description);
}

#[test]
fn a_hostile_ticket_reads_as_filed() {
    let mut ticket = realistic();
    ticket.kind = "code".into();
    ticket.what = "src/{code}\u{202e}cod.h*.java:12".into();
    ticket.guidance =
        "h1. Click [here|http://evil.example]\n\n!http://evil.example/x.png! <script>alert(1)</script> [~admin] C:\\temp\\\\x".into();
    ticket.fixed_versions = vec!["||1.0||".into(), "{color:red}2{color}".into()];
    ticket.first.truncate(1);
    ticket.first[0].title = "bq. *SQL* injection\r\n| in | users :) &#124;".into();
    ticket.first[0].service = "shop/../x".into();
    ticket.risks = 1;
    let text = holds_of(&ticket);
    assert_eq!(text.summary, "Repair code: src/{code}cod.h*.java:12 (bq. *SQL* injection | in | users :) &#124;)");
    is_filed("hostile", &text.description);
}

#[test]
fn comments_read_as_filed() {
    holds(&gone());
    is_filed("gone", &gone());
    is_filed("duplicate", &duplicate("SHOP-12", WORDS));
    is_filed("moved", &moved("platform", Some("PLAT-7"), WORDS));
}

#[test]
fn a_kind_says_what_is_to_be_done() {
    let summary = |kind: &str, what: &str| {
        let ticket = WantedTicket { kind: kind.into(), what: what.into(), ..realistic() };
        TicketText::of(&ticket, WORDS).summary
    };
    assert_eq!(summary("base_image", "base of ghcr.io/acme/shop"), "Rebuild on a newer base: ghcr.io/acme/shop");
    assert_eq!(summary("code", "src/a.java:12"), "Repair code: src/a.java:12");
    assert_eq!(summary("rotate", "src/.env:3"), "Rotate secret in src/.env:3");
    assert_eq!(summary("configure", "aws_s3_bucket.logs"), "Configure aws_s3_bucket.logs");
    assert_eq!(summary("patch", "db1"), "Repair: db1");
    assert_eq!(summary("upgrade", "\u{200b}\n"), "Upgrade what fix 3a3a3a3a3a3a is about");
}

#[test]
fn the_only_risk_gives_a_place_its_meaning() {
    let mut ticket = WantedTicket { kind: "code".into(), what: "src/a.java:12".into(), risks: 1, ..realistic() };
    ticket.first.truncate(1);
    ticket.first[0].title = "SQL injection in users".into();
    let summary = |ticket: &WantedTicket| TicketText::of(ticket, WORDS).summary;
    assert_eq!(summary(&ticket), "Repair code: src/a.java:12 (SQL injection in users)");
    ticket.first[0].title = "x".repeat(SUMMARY_UNITS);
    assert_eq!(summary(&ticket), "Repair code: src/a.java:12");
    ticket.first[0].title = "\u{202e}".into();
    assert_eq!(summary(&ticket), "Repair code: src/a.java:12");
}

#[test]
fn a_summary_is_cut_between_letters() {
    for before in 0..4 {
        let ticket = WantedTicket { what: format!("{}{}", "a".repeat(before), "🦀".repeat(300)), ..realistic() };
        let summary = holds_of(&ticket).summary;
        assert!(summary.ends_with("🦀…") && units(&summary) >= SUMMARY_UNITS - 1, "{summary}");
    }
}

/// Even if every letter has to be escaped: what is left out is said, and the rest is there.
#[test]
fn what_has_no_room_is_left_out_and_that_is_said() {
    let mut ticket = realistic();
    let long = |letter: &str| letter.repeat(5_000);
    ticket.what = long("&");
    ticket.guidance = format!("{}\n", "\\".repeat(2_000)).repeat(100);
    ticket.fixed_versions = vec![long(":x"); 64];
    ticket.also = vec![Id([1; 16]); 40];
    ticket.first =
        (0..8).map(|n| ShareRisk { risk: Id([n; 16]), title: long("|"), service: long("\""), score: 900, broken: Vec::new() }).collect();
    ticket.risks = i32::MAX;
    let lines = adf::lines(&holds_of(&ticket).description.adf());
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(says("risks are not listed here: a ticket has no room for them."));
    assert!(says("The rest of the guidance is left out: a ticket has no room for it."));
    assert!(says("and 48 more versions"));
    assert!(says("Faultline keeps this text up to date"));

    ticket.guidance = "Upgrade.".into();
    let lines = adf::lines(&holds_of(&ticket).description.adf());
    assert!(lines.iter().any(|line| line == "Upgrade."));
    let mut ordinary = realistic();
    ordinary.first.truncate(2);
    let lines = adf::lines(&holds_of(&ordinary).description.adf());
    assert!(lines.iter().any(|line| line == "3 more risks are not listed here."));
}

#[test]
fn a_ticket_is_written_again_if_anything_of_it_changed() {
    let written = |ticket: &WantedTicket, words: Words<'_>| TicketText::of(ticket, words).written();
    let before = written(&realistic(), WORDS);
    let change = |change: fn(&mut WantedTicket)| {
        let mut ticket = realistic();
        change(&mut ticket);
        written(&ticket, WORDS)
    };
    assert_eq!(before, change(|_| ()));
    assert_eq!(before, change(|ticket| ticket.queue = "other".into()));
    assert_ne!(before, change(|ticket| ticket.score = 871));
    assert_ne!(before, change(|ticket| ticket.first[2].title.push('!')));
    assert_ne!(before, written(&realistic(), Words::default()));
}

#[test]
fn a_time_without_a_day_is_not_told() {
    let mut ticket = realistic();
    (ticket.due, ticket.first_seen) = (Timestamp::from_millis(i64::MAX), Timestamp::from_millis(i64::MIN));
    let lines = adf::lines(&holds_of(&ticket).description.adf());
    assert!(lines.iter().any(|line| line == "Highest score 870 of 1000, critical."));
    assert!(lines.iter().any(|line| line == "5 open risks in 2 services."));
}
