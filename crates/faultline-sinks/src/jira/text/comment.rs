//! What is said in a comment when a ticket ends.

use super::link::Address;
use super::{Block, Inline, Plain, Tree, Words, ours};

/// The longest name of a queue or a ticket.
const NAME_UNITS: usize = 200;

/// Nothing asks for the ticket any more. Why is not known here: a risk that is accepted, or a policy that says otherwise, repairs nothing.
pub fn gone() -> Tree {
    said(vec![ours(
        "Nothing asks for this ticket any more: scans no longer find its risks, they were accepted or judged to be false, or no rule of the ticket policy \
         fits them now. Faultline closes it.",
    )])
}

/// Another ticket is about the same fix.
pub fn duplicate(of: &str, words: Words<'_>) -> Tree {
    said(vec![
        ours("This ticket is a duplicate of "),
        ticket(of, words),
        ours(": both are about the same fix. Faultline keeps that one up to date and closes this one."),
    ])
}

/// The fix belongs to another queue now; under which key, where the ticket goes on as another one.
pub fn moved(to: &str, key: Option<&str>, words: Words<'_>) -> Tree {
    let mut line = vec![ours("The fix of this ticket belongs to another queue now: "), name(to), ours(".")];
    if let Some(key) = key {
        line.extend([ours(" It goes on as "), ticket(key, words), ours(", and Faultline closes this one.")]);
    }
    said(line)
}

fn said(line: Vec<Inline>) -> Tree {
    Tree { blocks: vec![Block::Paragraph(line)] }
}

fn ticket(key: &str, words: Words<'_>) -> Inline {
    words.tracker.and_then(|tracker| Address::of_ticket(tracker, key)).map_or_else(|| name(key), Inline::Link)
}

fn name(name: &str) -> Inline {
    Plain::line(name, NAME_UNITS).map_or_else(|| ours("without a name"), Inline::Text)
}
