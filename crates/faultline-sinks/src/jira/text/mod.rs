//! How a ticket is put into words: a summary of one line, and a description or a comment as a tree.
//!
//! What it is: pure functions. A [`TicketText`] is made of a `WantedTicket`, a comment of what became of it; both are a [`Tree`], and the tree is written as
//! ADF ([`Tree::adf`], Cloud, API v3) or as wiki markup ([`Tree::wiki`], Data Center, API v2). Both say the same words in the same order, and both are
//! within what Jira takes: what is too long is left out of the tree, never cut out of what is written.
//! What it is not: it knows no issue, no project and no field but these two.
//!
//! Nobody but us makes markup. Words that come from outside (scanners, repositories, people) are [`Plain`]: one line without anything invisible; in a tree
//! they are text and never the words of a link, and where they are written every letter that could mean something is escaped.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `plain.rs` | text from outside, and how it is cut |
//! | `link.rs` | the only addresses that are linked: ours |
//! | `ticket.rs` | summary and description |
//! | `comment.rs` | what is said when a ticket ends |
//! | `adf.rs`, `wiki.rs` | the two ways to write a tree |

mod adf;
mod comment;
mod link;
mod plain;
mod ticket;
mod wiki;

pub use comment::{duplicate, gone, moved};
pub use link::Address;
pub use plain::{Plain, units};
pub use ticket::{SUMMARY_UNITS, TicketText};

/// Documents as ADF stay below this, serialised, in UTF-16 units. Cloud refuses more than 32,767 and does not say of what.
pub const ADF_UNITS: usize = 30_000;

/// What a text of Data Center may have, in UTF-16 units.
pub const WIKI_UNITS: usize = 32_767;

/// What is known around a ticket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// Where the console's pages are: `https://faultline.acme.example`. Without it, nothing of Faultline is linked.
    pub console: Option<&'a str>,
    /// Where the tracker's pages are, its context path included: `https://acme.atlassian.net`. Without it, no ticket is linked.
    pub tracker: Option<&'a str>,
}

/// A document: what a description or a comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    Heading(&'static str),
    Paragraph(Line),
    /// What others say: a paragraph each.
    Quote(Vec<Plain>),
    /// Rows of as many cells as there are columns.
    Table {
        columns: &'static [&'static str],
        rows: Vec<Vec<Line>>,
    },
    Rule,
}

/// What stands in one line; never empty.
type Line = Vec<Inline>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inline {
    Text(Plain),
    /// Our own words only.
    Strong(&'static str),
    Link(Address),
}

impl Tree {
    /// Whether Jira takes it, written in either way.
    fn fits(&self) -> bool {
        units(&self.adf().to_string()) < ADF_UNITS && units(&self.wiki()) <= WIKI_UNITS
    }
}

/// Our own words.
fn ours(words: impl Into<String>) -> Inline {
    Inline::Text(Plain::ours(words))
}

/// A count with its noun.
fn counted(count: i32, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
