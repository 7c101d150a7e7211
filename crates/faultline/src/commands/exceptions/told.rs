//! Exceptions as people read them.

use std::fmt::Write;

use serde_json::Value;

use faultline_model::time::Timestamp;

use crate::show::{Table, clean, counted, short, short_id};

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn date(value: &Value) -> String {
    value.as_i64().map_or_else(String::new, |millis| Timestamp::from_millis(millis).date())
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|value| clean(&word(value))).collect()
}

pub fn list(answer: &Value) -> String {
    let mut table = Table::new(&["exception", "stage", ">risks", "ends", "by", "title"]);
    for entry in answer["items"].as_array().into_iter().flatten() {
        let by = [&entry["approved_by"], &entry["requested_by"], &entry["authors"][0]].into_iter().map(word).find(|name| !name.is_empty());
        table.row([
            short_id(&word(&entry["entry"])),
            word(&entry["stage"]),
            number(&entry["risks"]).to_string(),
            date(&entry["terms"]["ends"]),
            short(&by.unwrap_or_default(), 32),
            short(&word(&entry["terms"]["title"]), 64),
        ]);
    }
    let mut text = table.to_string();
    if let Some(next) = answer["next"].as_str() {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "there are more: --cursor {next}");
    }
    text
}

/// One in full.
pub fn entry(entry: &Value) -> String {
    let terms = &entry["terms"];
    let mut text = format!("{}\n", clean(&word(&terms["title"])));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<12} {value}");
        }
    };
    line("exception", word(&entry["entry"]));
    line("stage", stage(entry));
    line("covers", scope(&terms["scope"]));
    line("why", format!("{} ({})", clean(&word(&terms["reason"])), word(&terms["category"]).replace('_', " ")));
    line("assumes", assumptions(terms).join(", "));
    line("controls", terms["controls"].as_array().into_iter().flatten().map(control).collect::<Vec<_>>().join(", "));
    line("evidence", words(&terms["evidence"]).join(", "));
    for (name, value) in assessed(&entry["assessment"]) {
        line(name, value);
    }
    line("attention", words(&entry["attention"]).join(", ").replace('_', " "));
    line("term", term(terms));
    line("people", people(entry));
    line("renewal", renewal(&entry["renewal"]));
    line("may follow", words(&entry["possible"]).join(", "));
    line("version", number(&entry["version"]).to_string());
    let risks = number(&entry["risks"]);
    if risks > 0 || number(&entry["contested"]) > 0 {
        let services = counted(number(&entry["services"]).unsigned_abs(), "service", "services");
        let scores = format!("together {}, the highest {}", number(&entry["residual"]), number(&entry["highest"]));
        let contested = number(&entry["contested"]);
        let contested = if contested > 0 { format!("; {contested} contested: they are about more") } else { String::new() };
        line("now", format!("{} of {services}, {scores}{contested}", counted(risks.unsigned_abs(), "risk", "risks")));
    }
    for risk in entry["first"].as_array().into_iter().flatten() {
        let broken = words(&risk["broken"]).join(", ").replace('_', " ");
        let broken = if broken.is_empty() { String::new() } else { format!("  breaks: {broken}") };
        let _ = writeln!(
            text,
            "  {:>5}  {}  {}  {}{broken}",
            number(&risk["score"]),
            short_id(&word(&risk["risk"])),
            clean(&word(&risk["service"])),
            short(&word(&risk["title"]), 64)
        );
    }
    let _ = writeln!(text, "\nhistory");
    for event in entry["history"].as_array().into_iter().flatten() {
        let at = event["at"].as_i64().map_or_else(|| "-".to_owned(), |millis| Timestamp::from_millis(millis).to_string());
        let by = clean(&word(&event["actor"]));
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let reason = clean(&word(&event["reason"]));
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let _ = writeln!(text, "  {at:<24} {}{by}{reason}", word(&event["what"]));
    }
    text
}

/// What a register says of it beside that.
fn assessed(assessment: &Value) -> Vec<(&'static str, String)> {
    let (likelihood, impact) = (assessment["likelihood"].as_i64(), assessment["impact"].as_i64());
    let rating = likelihood.zip(impact).map(|(likelihood, impact)| {
        let (priority, category) = (word(&assessment["priority"]), clean(&word(&assessment["category"])));
        format!("{priority}, {category}: likelihood {likelihood}, impact {impact} points")
    });
    vec![
        ("rated", rating.unwrap_or_default()),
        ("response", word(&assessment["response_type"])),
        ("cost", clean(&word(&assessment["response_cost"]))),
        ("owner", clean(&word(&assessment["owner"]))),
    ]
}

fn stage(entry: &Value) -> String {
    let broken = words(&entry["broken"]).join(", ").replace('_', " ");
    if broken.is_empty() { word(&entry["stage"]) } else { format!("{} (broke: {broken})", word(&entry["stage"])) }
}

fn scope(scope: &Value) -> String {
    let mut parts: Vec<String> = ["vulnerability", "package", "asset", "family"]
        .into_iter()
        .filter_map(|name| scope[name].as_str().filter(|text| !text.is_empty()).map(|text| format!("{name} {}", clean(text))))
        .collect();
    let founders = words(&scope["founders"]);
    if !founders.is_empty() {
        parts.push(format!("what was found by {}", founders.join(", ")));
    }
    let within = words(&scope["within"]);
    parts.push(if within.is_empty() { "everywhere".to_owned() } else { format!("within {}", within.join(", ")) });
    parts.join(", ")
}

fn assumptions(terms: &Value) -> Vec<String> {
    let assumed = &terms["assumptions"];
    let mut all = Vec::new();
    for (member, words) in [
        ("not_internet_facing", "not reachable from the internet"),
        ("not_in_kev", "not known to be exploited"),
        ("controls_in_place", "its controls in place"),
    ] {
        if assumed[member] == true {
            all.push(words.to_owned());
        }
    }
    if let Some(most) = assumed["score_at_most"].as_i64() {
        all.push(format!("no score above {most}"));
    }
    all.push(format!("no more than {}", counted(number(&terms["covers_at_most"]).unsigned_abs(), "risk", "risks")));
    all
}

fn control(control: &Value) -> String {
    let ends = date(&control["ends"]);
    if ends.is_empty() { clean(&word(&control["name"])) } else { format!("{} until {ends}", clean(&word(&control["name"]))) }
}

fn term(terms: &Value) -> String {
    let starts = date(&terms["starts"]);
    let starts = if starts.is_empty() { String::new() } else { format!("from {starts} ") };
    format!("{starts}until {}, to be reviewed on {}", date(&terms["ends"]), date(&terms["review_at"]))
}

fn people(entry: &Value) -> String {
    let authors = words(&entry["authors"]).join(", ");
    let named = [
        ("written by", authors),
        ("requested by", word(&entry["requested_by"])),
        ("reviewed by", word(&entry["reviewed_by"])),
        ("approved by", word(&entry["approved_by"])),
    ];
    named
        .into_iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(did, name)| format!("{did} {}", clean(&name)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn renewal(renewal: &Value) -> String {
    if renewal.is_null() {
        return String::new();
    }
    let reviewed = word(&renewal["reviewed_by"]);
    let reviewed = if reviewed.is_empty() { String::new() } else { format!(", reviewed by {}", clean(&reviewed)) };
    format!("until {}, asked for by {}{reviewed}", date(&renewal["end"]["ends"]), clean(&word(&renewal["asked_by"])))
}

/// What a scope would cover.
pub fn preview(answer: &Value) -> String {
    let more = if answer["is_exact"] == true { "" } else { " at least" };
    let risks = counted(number(&answer["risks"]).unsigned_abs(), "open risk", "open risks");
    let mut text = format!("{} covers{more} {risks} now\n", scope(&answer["scope"]));
    let mut table = Table::new(&[">score", "risk", "service", "title"]);
    for risk in answer["first"].as_array().into_iter().flatten() {
        table.row([
            number(&risk["score"]["total"]).to_string(),
            short_id(&word(&risk["risk"])),
            word(&risk["service"]),
            short(&word(&risk["title"]), 64),
        ]);
    }
    if number(&answer["risks"]) > 0 {
        let _ = write!(text, "\n{table}");
    }
    text
}
