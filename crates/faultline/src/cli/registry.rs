//! `faultline registry`: its verbs, and what each takes.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum Registry {
    /// What is accepted, how likely and how bad it is, who answers for it and until when; those that end first
    #[command(after_help = "Example: faultline registry list --attention any")]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        page: EntryPage,
    },
    /// One entry in full
    #[command(after_help = "Example: faultline registry show 3f2a…")]
    Show {
        /// An entry's id, or its first 8 digits or more
        id: String,
    },
    /// The register as a file, with a statement of what it is of
    #[command(after_help = "Example: faultline registry export --format csv > register.csv")]
    Export {
        #[command(flatten)]
        which: Which,
        #[arg(long, value_enum, default_value_t = Format::Csv)]
        format: Format,
    },
}

/// Which entries.
#[derive(Args, Clone, Default)]
pub struct Which {
    /// draft, requested, reviewed, rejected, withdrawn, approved, active, expiring, suspended, expired or revoked, several by commas, or any
    /// [default: all that may come to hold, or do]
    #[arg(long)]
    pub stage: Option<String>,
    /// A unit of the organisation: what reaches it, or something below it
    #[arg(long)]
    pub node: Option<String>,
    /// What somebody is to look at: suspended, review-due, ends, drift or orphan, several by commas, or any
    #[arg(long)]
    pub attention: Option<String>,
}

/// Which page of them.
#[derive(Args, Clone)]
pub struct EntryPage {
    /// How many, 1 to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A row an entry, safe to open in a spreadsheet
    Csv,
    Json,
    /// A plan of action and milestones, as OSCAL has it
    Oscal,
}
