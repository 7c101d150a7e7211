//! Summary and description of the ticket of a fix.
//!
//! The summary is what a developer reads on a board: what is to be done, and where. It holds only what stays: score, band and counts change while nobody
//! has done anything, and a ticket that is renamed each time is noise; they are in the description, and in the fields that the queue has for them.

use faultline_model::id::Id;
use faultline_model::share::{RISKS_NAMED, ShareRisk};
use faultline_model::ticket::{OTHERS_NAMED, WantedTicket};
use faultline_model::time::Timestamp;

use super::link::{Address, short};
use super::{Block, Inline, Line, Plain, Tree, Words, counted, ours};

/// What a summary may have, in UTF-16 units.
pub const SUMMARY_UNITS: usize = 255;

/// The longest of what is changed, of a risk's title and of a service, in UTF-16 units.
const WHAT_UNITS: usize = 500;
const TITLE_UNITS: usize = 500;
const SERVICE_UNITS: usize = 200;

/// Guidance: its lines, and how long one may be. Upstream keeps 512 bytes of it.
const GUIDANCE_LINES: usize = 40;
const GUIDANCE_LINE_UNITS: usize = 1_000;

/// The most versions, and the longest of one.
const VERSIONS_NAMED: usize = 16;
const VERSION_UNITS: usize = 64;

/// Raised when all tickets are to be written again, because what is written of the same tree became another.
const FORM: u8 = 1;

/// What is to be done, by kind of fix, and what stands before where.
const KINDS: [(&str, &str, &str); 5] = [
    ("upgrade", "Upgrade", " "),
    ("base_image", "Rebuild on a newer base", ": "),
    ("code", "Repair code", ": "),
    ("rotate", "Rotate secret in", " "),
    ("configure", "Configure", " "),
];

/// Of a kind that an older program does not know.
const OTHER_KIND: (&str, &str) = ("Repair", ": ");

/// Kinds whose place alone says little: one risk's title is added. The others name a package, or bring too many risks for one to stand for them.
const KINDS_WITH_TITLE: [&str; 3] = ["code", "rotate", "configure"];

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketText {
    /// One line, at most [`SUMMARY_UNITS`], not empty. Plain text in both APIs.
    pub summary: String,
    pub description: Tree,
}

impl TicketText {
    /// The words of a ticket.
    pub fn of(ticket: &WantedTicket, words: Words<'_>) -> Self {
        Self { summary: summary(ticket), description: description(ticket, words) }
    }

    /// The hash of what is written: a ticket that has it already needs no writing. The same in both APIs.
    pub fn written(&self) -> Id {
        Id::of("jira ticket", &[&[FORM], self.summary.as_bytes(), self.description.wiki().as_bytes()])
    }
}

fn verb(kind: &str) -> (&'static str, &'static str) {
    KINDS.iter().find(|(known, ..)| *known == kind).map_or(OTHER_KIND, |(_, verb, before)| (verb, before))
}

/// Where something is changed.
fn place(ticket: &WantedTicket, most: usize) -> Plain {
    // "Rebuild on a newer base: base of …"
    let what = if ticket.kind == "base_image" { ticket.what.strip_prefix("base of ").unwrap_or(&ticket.what) } else { &ticket.what };
    Plain::line(what, most).unwrap_or_else(|| Plain::ours(format!("what fix {} is about", short(ticket.fix))))
}

fn summary(ticket: &WantedTicket) -> String {
    let (verb, before) = verb(&ticket.kind);
    let room = SUMMARY_UNITS - verb.len() - before.len();
    let place = place(ticket, room);
    let summary = format!("{verb}{before}{}", place.as_str());
    let with_title = match &*ticket.first {
        [only] if ticket.risks == 1 && KINDS_WITH_TITLE.contains(&&*ticket.kind) => {
            Plain::line(&only.title, TITLE_UNITS).map(|title| format!("{summary} ({})", title.as_str()))
        }
        _ => None,
    };
    with_title.filter(|longer| super::units(longer) <= SUMMARY_UNITS).unwrap_or(summary)
}

/// How much of a description is told.
#[derive(Clone, Copy)]
struct Extent {
    risks: usize,
    guidance: usize,
}

impl Extent {
    /// Less: risks but the first from the end, then guidance from the end, then the first risk.
    fn less(self) -> Option<Self> {
        match self {
            Self { risks: 0, guidance: 0 } => None,
            Self { risks: 2.., .. } => Some(Self { risks: self.risks - 1, ..self }),
            Self { guidance: 1.., .. } => Some(Self { guidance: self.guidance - 1, ..self }),
            Self { .. } => Some(Self { risks: 0, guidance: 0 }),
        }
    }
}

/// All of it that Jira takes.
fn description(ticket: &WantedTicket, words: Words<'_>) -> Tree {
    let guidance: Vec<Plain> = ticket.guidance.lines().filter_map(|line| Plain::line(line, GUIDANCE_LINE_UNITS)).collect();
    let mut extent = Extent { risks: ticket.first.len().min(RISKS_NAMED), guidance: guidance.len().min(GUIDANCE_LINES) };
    loop {
        let tree = told(ticket, &guidance, extent, words);
        match extent.less() {
            Some(less) if !tree.fits() => extent = less,
            _ => return tree,
        }
    }
}

fn told(ticket: &WantedTicket, guidance: &[Plain], extent: Extent, words: Words<'_>) -> Tree {
    let (verb, before) = verb(&ticket.kind);
    let mut blocks = vec![Block::Paragraph(vec![Inline::Strong(verb), ours(before), Inline::Text(place(ticket, WHAT_UNITS))])];
    how(ticket, guidance, extent, &mut blocks);
    why(ticket, extent, words, &mut blocks);
    if !ticket.also.is_empty() {
        let ids: Vec<String> = ticket.also.iter().take(OTHERS_NAMED).map(|fix| short(*fix)).collect();
        blocks.push(Block::Paragraph(vec![ours(format!("Other fixes that repair some of these risks: {}.", ids.join(", ")))]));
    }
    blocks.push(Block::Rule);
    blocks.push(Block::Paragraph(vec![ours(format!(
        "Faultline keeps this text up to date, so write what you have to say in comments. The ticket is closed by itself when scans no longer find the \
         risks. Fix {}.",
        short(ticket.fix)
    ))]));
    Tree { blocks }
}

fn how(ticket: &WantedTicket, guidance: &[Plain], extent: Extent, blocks: &mut Vec<Block>) {
    let mut versions: Vec<Plain> = ticket.fixed_versions.iter().filter_map(|version| Plain::line(version, VERSION_UNITS)).collect();
    if guidance.is_empty() && versions.is_empty() {
        return;
    }
    blocks.push(Block::Heading("How"));
    let lines = &guidance[..extent.guidance];
    if !lines.is_empty() {
        blocks.push(Block::Quote(lines.to_vec()));
    }
    if lines.len() < guidance.len() {
        blocks.push(Block::Paragraph(vec![ours(
            "The rest of the guidance is left out: a ticket has no room for it. Faultline has all of it.",
        )]));
    }
    let more = versions.len().saturating_sub(VERSIONS_NAMED);
    versions.truncate(VERSIONS_NAMED);
    if !versions.is_empty() {
        let mut line = vec![Inline::Strong("Repaired in"), ours(" ")];
        for (n, version) in versions.into_iter().enumerate() {
            if n > 0 {
                line.push(ours(", "));
            }
            line.push(Inline::Text(version));
        }
        if more > 0 {
            line.push(ours(format!(" and {}", counted(more as i32, "more version", "more versions"))));
        }
        blocks.push(Block::Paragraph(line));
    }
}

fn why(ticket: &WantedTicket, extent: Extent, words: Words<'_>, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("Why"));
    let score = ours(format!(" {} of 1000, {}", ticket.score, ticket.band.name()));
    let mut line = vec![Inline::Strong("Highest score"), score];
    if let Some(due) = date(ticket.due) {
        line.extend([ours(". "), Inline::Strong("Due"), ours(format!(" {due}"))]);
    }
    line.push(ours("."));
    blocks.push(Block::Paragraph(line));
    let since = date(ticket.first_seen).map(|day| format!(", since {day}")).unwrap_or_default();
    let (risks, services) = (counted(ticket.risks, "open risk", "open risks"), counted(ticket.services, "service", "services"));
    blocks.push(Block::Paragraph(vec![ours(format!("{risks} in {services}{since}."))]));
    let rows: Vec<Vec<Line>> = ticket.first.iter().take(extent.risks).map(|risk| row(risk, words)).collect();
    let more = ticket.risks.max(ticket.first.len() as i32).saturating_sub(rows.len() as i32);
    if !rows.is_empty() {
        blocks.push(Block::Table { columns: &["Score", "Risk", "Service", "Id"], rows });
    }
    if more > 0 {
        let not_listed = format!("{} not listed here", counted(more, "more risk is", "more risks are"));
        let because = if extent.risks < ticket.first.len().min(RISKS_NAMED) { ": a ticket has no room for them" } else { "" };
        blocks.push(Block::Paragraph(vec![ours(format!("{not_listed}{because}."))]));
    }
}

fn row(risk: &ShareRisk, words: Words<'_>) -> Vec<Line> {
    let text = |text: &str, most: usize| vec![Plain::line(text, most).map_or_else(|| ours("without a name"), Inline::Text)];
    let page = words.console.and_then(|console| Address::of_risk(console, &risk.service, risk.risk));
    let id = page.map_or_else(|| ours(short(risk.risk)), Inline::Link);
    vec![vec![ours(risk.score.to_string())], text(&risk.title, TITLE_UNITS), text(&risk.service, SERVICE_UNITS), vec![id]]
}

/// The day, as `2026-01-31`; none of a time that has none.
fn date(at: Timestamp) -> Option<String> {
    let day = at.date();
    let is_day = day.len() == 10
        && day.bytes().enumerate().all(|(n, letter)| if n == 4 || n == 7 { letter == b'-' } else { letter.is_ascii_digit() });
    is_day.then_some(day)
}
