//! `faultline exceptions`: its verbs, and what each takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::registry::{EntryPage, Which};

#[derive(Subcommand)]
pub enum Exceptions {
    /// The list, those that end first
    #[command(after_help = "Example: faultline exceptions list --stage requested,reviewed")]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        page: EntryPage,
    },
    /// One exception: what it covers, why, who did what, and what may follow
    #[command(after_help = "Example: faultline exceptions show 3f2a…")]
    Show {
        /// An exception's id, or its first 8 digits or more
        id: String,
    },
    /// What an exception would cover now
    #[command(after_help = "Example: faultline exceptions preview --package pkg:npm/lodash --within service/shop")]
    Preview(ScopeArguments),
    /// Writes an exception down
    #[command(
        after_help = "Example: faultline exceptions propose --risk 3f2a… --title 'Old parser' --reason 'replaced in May' --ends 2027-05-31 --not-in-kev --request"
    )]
    Propose(Box<Propose>),
    /// Asks for it to be looked over; also again once it was suspended
    #[command(after_help = "Example: faultline exceptions request 3f2a…")]
    Request(TakeStep),
    /// Has looked it over: by another one than who wrote it or asked for it
    #[command(after_help = "Example: faultline exceptions review 3f2a… --reason 'as the vendor says'")]
    Review(TakeStep),
    /// Grants it: by another one than who wrote it, asked for it or looked it over
    #[command(after_help = "Example: faultline exceptions approve 3f2a… --reason 'egress was tested'")]
    Approve(TakeStep),
    /// Does not grant it
    #[command(after_help = "Example: faultline exceptions reject 3f2a… --reason 'there is a fixed version'")]
    Reject(TakeStep),
    /// Takes it back before it holds
    #[command(after_help = "Example: faultline exceptions withdraw 3f2a…")]
    Withdraw(TakeStep),
    /// Ends it
    #[command(after_help = "Example: faultline exceptions revoke 3f2a… --reason 'repaired'")]
    Revoke(TakeStep),
    /// Asks for another end; what holds goes on until its own
    #[command(after_help = "Example: faultline exceptions renew 3f2a… --ends 2027-08-31 --reason 'the vendor needs a quarter more'")]
    Renew {
        #[command(flatten)]
        step: TakeStep,
        /// The end that is asked for: a date, or RFC 3339
        #[arg(long, value_name = "TIME")]
        ends: String,
        /// When somebody is to look at it again [default: the end]
        #[arg(long, value_name = "TIME")]
        review_at: Option<String>,
    },
    /// What files of exceptions would change; nothing is done
    #[command(after_help = "Example: faultline exceptions plan exceptions.yaml")]
    Plan {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Writes down and asks for what files of exceptions say; people grant it
    #[command(after_help = "Example: faultline exceptions apply exceptions.yaml")]
    Apply {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Who asks [default: $USER]
        #[arg(long)]
        actor: Option<String>,
    },
    /// All exceptions that may come to hold, or do, as a file that could be applied
    #[command(after_help = "Example: faultline exceptions export > exceptions.yaml")]
    Export,
}

/// Which risks: those that are named, or those that have all of it.
#[derive(Args, Clone, Default)]
pub struct ScopeArguments {
    /// A risk's id, or its first 8 digits or more; may be given often
    #[arg(long = "risk", value_name = "ID")]
    pub risks: Vec<String>,
    /// A finding's id, or its first 8 digits or more; may be given often
    #[arg(long = "finding", value_name = "ID")]
    pub findings: Vec<String>,
    /// CVE, GHSA, …
    #[arg(long)]
    pub vulnerability: Option<String>,
    /// A package URL; its version says nothing
    #[arg(long)]
    pub package: Option<String>,
    #[arg(long)]
    pub asset: Option<String>,
    /// Weakness family, e.g. sql-injection
    #[arg(long)]
    pub family: Option<String>,
    /// A unit of the organisation, or service/ and a service; may be given often [default: everywhere, or where you may ask]
    #[arg(long)]
    pub within: Vec<String>,
}

#[derive(Args)]
pub struct Propose {
    #[command(flatten)]
    pub scope: ScopeArguments,
    #[arg(long)]
    pub title: String,
    /// Why it is accepted
    #[arg(long)]
    pub reason: String,
    /// accept, transfer, cannot_fix, mitigated or false_alarm_elsewhere
    #[arg(long, default_value = "accept")]
    pub category: String,
    /// When it ends: a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub ends: String,
    /// When somebody is to look at it again [default: the end]
    #[arg(long, value_name = "TIME")]
    pub review_at: Option<String>,
    /// From when it is to hold [default: as soon as it is approved]
    #[arg(long, value_name = "TIME")]
    pub starts: Option<String>,
    /// As soon as it comes to cover more risks it is suspended
    #[arg(long, default_value_t = 100, value_name = "RISKS")]
    pub covers_at_most: i32,
    /// It is suspended as soon as a service with a risk that it covers is reachable from the internet
    #[arg(long)]
    pub not_internet_facing: bool,
    /// It is suspended as soon as a vulnerability that it covers is known to be exploited
    #[arg(long)]
    pub not_in_kev: bool,
    /// It is suspended as soon as a risk that it covers scores more; its longest term is that of this score's band
    #[arg(long, value_name = "SCORE")]
    pub score_at_most: Option<i32>,
    /// Something that makes the risk smaller meanwhile; may be given often
    #[arg(long = "control", value_name = "TEXT")]
    pub controls: Vec<String>,
    /// When the controls end: then it is suspended
    #[arg(long, value_name = "TIME", requires = "controls")]
    pub controls_end: Option<String>,
    /// Where it can be read up; may be given often
    #[arg(long, value_name = "ADDRESS")]
    pub evidence: Vec<String>,
    /// Who answers for the risk [default: who approves it]
    #[arg(long, default_value = "", value_name = "WHO")]
    pub owner: String,
    /// What it costs to live with it
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub cost: String,
    /// A name for it: the same name is the same exception [default: made up]
    #[arg(long)]
    pub name: Option<String>,
    /// Asks for it to be looked over at once
    #[arg(long)]
    pub request: bool,
    /// Who writes it [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
}

#[derive(Args)]
pub struct TakeStep {
    /// An exception's id, or its first 8 digits or more
    pub id: String,
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who takes the step [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
    /// How many steps you saw: if there were others since, it is refused
    #[arg(long)]
    pub expected_version: Option<i32>,
    /// The same key is the same step
    #[arg(long)]
    pub key: Option<String>,
}
