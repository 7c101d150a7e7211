//! The command line: nouns, then verbs.

mod exceptions;
mod operate;
mod registry;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use faultline_model::observation::Severity;

use crate::service::Role;

pub use exceptions::{Exceptions, Propose, ScopeArguments, TakeStep};
pub use operate::{AuditCommand, ConfigCommand, CreateToken, Dlq, Redrive, Sinks, Tokens, Topics};
pub use registry::{EntryPage, Format, Registry, Which};

/// Turns the reports of security scanners into one short, explained list of risks.
///
/// Where a service runs on the same data folder, commands speak to it; where none does, they open the folder themselves.
/// Results go to standard output, notes and progress to standard error.
#[derive(Parser)]
#[command(name = "faultline", version, propagate_version = true, max_term_width = 110, after_help = EXITS)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXITS: &str = "Exit codes: 0 done; 1 failed; 2 wrong use; 3 refused; 4 partly done; 5 not reachable.

Example: faultline publish report.sarif && faultline risks list";

/// What every command takes.
#[derive(Args, Clone, Default)]
pub struct Common {
    /// The configuration file [default: $XDG_CONFIG_HOME/faultline/faultline.yaml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder [default: $XDG_DATA_HOME/faultline]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The service to speak to, whatever runs here, e.g. https://faultline.example:8470
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// No notes and no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the service: gateway, stages, views and API in one process
    #[command(after_help = "Example: faultline up --listen 127.0.0.1:8470")]
    Up(Up),
    /// Run a part of the service on Kafka; the parts find each other through its topics
    #[command(after_help = "Example: faultline run --role track,correlate")]
    Run(Run),
    /// Move an embedded installation to Kafka: findings, history, decisions; the risks are the same before and after
    ///
    /// The data folder is let come to rest and then only read; the cluster's topics must be there and empty. It must not be run
    /// embedded any more afterwards.
    #[command(after_help = "Example: faultline migrate --data /var/lib/faultline   (with kafka.bootstrap set)")]
    Migrate,
    /// Publish scanners' reports; formats are recognised by content
    #[command(after_help = "Example: faultline publish semgrep.sarif --full\n         faultline publish --list reports.yaml")]
    Publish(Publish),
    /// Scored risks
    #[command(subcommand, after_help = "Example: faultline risks list")]
    Risks(Risks),
    /// Findings, as tools report them
    #[command(subcommand, after_help = "Example: faultline findings list")]
    Findings(Findings),
    /// Decide on a risk or a finding: a verdict, how severe it is here, who deals with it; or whether a link to code holds
    #[command(after_help = "Example: faultline decide 3f2a… --verdict false-positive --reason \"input is a constant\"")]
    Decide(Decide),
    /// Take a published report back, as if it had never been
    #[command(after_help = "Example: faultline retract 3f2a…   (the id that publish printed)")]
    Retract(Retract),
    /// Say that an asset is no longer scanned: its findings close
    #[command(after_help = "Example: faultline retire repo:github.com/acme/old-shop --reason \"archived\"")]
    Retire(Retire),
    /// Risks that are accepted for a time, because somebody reviewed and somebody else approved it
    #[command(subcommand, after_help = "Example: faultline exceptions preview --vulnerability CVE-2021-44228 --within retail")]
    Exceptions(Exceptions),
    /// The risk register: what is accepted, by whom, until when, and what is left
    #[command(subcommand, after_help = "Example: faultline registry export --format csv > register.csv")]
    Registry(Registry),
    /// The organisation: units, services, which place belongs to whom, the risk policy
    #[command(subcommand, after_help = "Example: faultline catalog apply catalog.yaml")]
    Catalog(Catalog),
    /// Which risks deserve a ticket
    #[command(subcommand, after_help = "Example: faultline tickets plan tickets.yaml")]
    Tickets(Tickets),
    /// What leaves for other programs, and whether it got there
    #[command(subcommand, after_help = "Example: faultline sinks status")]
    Sinks(Sinks),
    /// Threat intelligence
    #[command(subcommand, after_help = "Example: faultline intel load kev.json epss.csv.gz")]
    Intel(Intel),
    /// How much there is, in all or below a unit of the organisation
    #[command(after_help = "Example: faultline summary --node retail")]
    Summary(Summary),
    /// Report formats
    #[command(subcommand, after_help = "Example: faultline adapters list")]
    Adapters(Adapters),
    /// Tokens, by which other people and programs come in
    #[command(
        subcommand,
        after_help = "Example: faultline tokens create --actor ci-shop --scope publish --asset 'repo:github.com/acme/*' --purpose pipelines"
    )]
    Tokens(Tokens),
    /// Who you are to the service, and what you may do
    #[command(after_help = "Example: faultline whoami --server https://faultline.example:8470")]
    Whoami,
    /// What people did or were refused, in chains that show what was altered
    #[command(subcommand, after_help = "Example: faultline audit export > audit.jsonl && faultline audit verify audit.jsonl")]
    Audit(AuditCommand),
    /// The topics behind it all
    #[command(subcommand, after_help = "Example: faultline topics read risks --limit 5")]
    Topics(Topics),
    /// Records that could not be worked on, and the way back
    #[command(subcommand, after_help = "Example: faultline dlq list")]
    Dlq(Dlq),
    /// Where a report, a finding or a risk is, at every stage, and how long each took
    #[command(after_help = "Example: faultline trace 3f2a…")]
    Trace(Trace),
    /// The configuration
    #[command(subcommand, after_help = "Example: faultline config check")]
    Config(ConfigCommand),
    /// Completions for a shell
    #[command(after_help = "Example: faultline completions bash > /etc/bash_completion.d/faultline")]
    Completions { shell: clap_complete::Shell },
}

#[derive(Args)]
pub struct Up {
    /// Where to listen [default: 127.0.0.1:8470]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

#[derive(Args)]
pub struct Run {
    /// gateway, views, track, correlate, act, audit [default: all]
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// Where the gateway and the views listen [default: 127.0.0.1:8470]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

#[derive(Args, Default)]
pub struct Publish {
    /// Reports, plain or gzipped
    #[arg(required_unless_present = "list", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A YAML list of reports, each with `file` and the options below; paths are relative to it
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub list: Option<PathBuf>,
    #[command(flatten)]
    pub claim: Claim,
}

/// What is said of a report beside what stands in it.
#[derive(Args, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claim {
    /// What was scanned, e.g. github.com/acme/shop or image:ghcr.io/acme/shop [default: what the report or the Git work tree says]
    #[arg(long)]
    pub asset: Option<String>,
    /// The service that it is for; a claim, the catalog wins
    #[arg(long)]
    pub service: Option<String>,
    /// The report's format [default: recognised by content]
    #[arg(long)]
    pub tool: Option<String>,
    /// The branch that was scanned; main, master and trunk are taken for the default one unless Git or the catalog knows [default: the Git work tree's]
    #[arg(long)]
    pub branch: Option<String>,
    /// The environment that was scanned, for what runs
    #[arg(long)]
    pub environment: Option<String>,
    /// Folders and files that were scanned in full; may be given often
    #[arg(long = "path", value_name = "PATH", conflicts_with = "full")]
    #[serde(rename = "paths")]
    pub paths: Vec<String>,
    /// The revision that was scanned [default: the Git work tree's]
    #[arg(long)]
    pub revision: Option<String>,
    /// When the scan began (RFC 3339) [default: what the report says, else now]
    #[arg(long)]
    pub started: Option<String>,
    /// The scan covered the whole asset: what it no longer sees closes
    #[arg(long)]
    pub full: bool,
    /// It may wait: read when nothing else waits, as for a replay or a first import of many reports
    #[arg(long)]
    pub bulk: bool,
    /// A name for the scan [default: the same report is the same scan]
    #[arg(long, value_name = "NAME")]
    pub scan: Option<String>,
}

#[derive(Subcommand)]
pub enum Risks {
    /// The list, the highest score first
    #[command(after_help = "Example: faultline risks list --service shop --limit 10")]
    List(RiskFilter),
    /// One risk in short
    #[command(after_help = "Example: faultline risks show 3f2a…")]
    Show {
        /// A risk's id, or its first 8 digits or more
        id: String,
    },
    /// One risk in full: evidence, links, each contribution to the score
    #[command(after_help = "Example: faultline risks explain --top --evidence verified")]
    Explain {
        /// A risk's id, or its first 8 digits or more
        #[arg(required_unless_present = "top")]
        id: Option<String>,
        /// The first of the list that the filter gives
        #[arg(long, conflicts_with = "id")]
        top: bool,
        #[command(flatten)]
        filter: RiskFilter,
    },
}

#[derive(Args, Clone, Default)]
pub struct RiskFilter {
    /// open, accepted, closed, false_positive or any [default: open]
    #[arg(long)]
    pub state: Option<String>,
    /// critical, high, medium, low or info
    #[arg(long)]
    pub band: Option<String>,
    /// reported, corroborated or verified
    #[arg(long)]
    pub evidence: Option<String>,
    /// Weakness family, e.g. sql-injection
    #[arg(long)]
    pub family: Option<String>,
    #[arg(long)]
    pub service: Option<String>,
    /// A unit of the organisation, with all below it
    #[arg(long)]
    pub node: Option<String>,
    #[arg(long)]
    pub tool: Option<String>,
    #[arg(long)]
    pub asset: Option<String>,
    /// CVE, GHSA, …
    #[arg(long)]
    pub vulnerability: Option<String>,
    /// What an exception covers, by all digits of its id; with --state any also what it would cover
    #[arg(long)]
    pub exception: Option<String>,
    #[arg(long)]
    pub assigned_to: Option<String>,
    /// Words of the title
    #[arg(long)]
    pub text: Option<String>,
    /// Lowest score
    #[arg(long)]
    pub min_score: Option<i32>,
    /// How many, 1 to 500
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Subcommand)]
pub enum Findings {
    /// The list
    #[command(after_help = "Example: faultline findings list --service shop --state any")]
    List(FindingFilter),
}

#[derive(Args, Clone, Default)]
pub struct FindingFilter {
    /// open, closed, unknown or any [default: open]
    #[arg(long)]
    pub state: Option<String>,
    /// info, low, medium, high or critical, several by commas
    #[arg(long)]
    pub severity: Option<String>,
    #[arg(long)]
    pub service: Option<String>,
    #[arg(long)]
    pub asset: Option<String>,
    #[arg(long)]
    pub tool: Option<String>,
    /// CVE, GHSA, …
    #[arg(long)]
    pub vulnerability: Option<String>,
    /// How many, 1 to 500
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum VerdictName {
    Confirmed,
    FalsePositive,
    NotExploitable,
    Withdrawn,
}

/// The severities that a person may give, and to take one back.
fn levels() -> PossibleValuesParser {
    PossibleValuesParser::new(Severity::ALL.into_iter().map(Severity::name).chain(["withdrawn"]))
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["verdict", "assign", "severity", "confirm_link", "reject_link", "withdraw_link"])))]
pub struct Decide {
    /// A risk's or a finding's id, or its first 8 digits or more
    pub id: String,
    #[arg(long)]
    pub verdict: Option<VerdictName>,
    /// Who deals with it; empty for nobody
    #[arg(long, value_name = "WHO")]
    pub assign: Option<String>,
    /// How severe it is here, in place of what its tool says
    #[arg(long, value_parser = levels())]
    pub severity: Option<String>,
    /// ID was proved at runtime, and is one flaw with this finding in code
    #[arg(long, value_name = "CODE")]
    pub confirm_link: Option<String>,
    /// ID was proved at runtime, and is not the flaw of this finding in code
    #[arg(long, value_name = "CODE")]
    pub reject_link: Option<String>,
    /// Takes back what was said of that link
    #[arg(long, value_name = "CODE")]
    pub withdraw_link: Option<String>,
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who decides [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
    /// Refuse if this is not the number of decisions on it so far
    #[arg(long)]
    pub expected_version: Option<i32>,
    /// Idempotency key: the same key is the same decision [default: a new one]
    #[arg(long)]
    pub key: Option<String>,
}

#[derive(Args)]
pub struct Retract {
    /// The report's id, as `publish` printed it, or its first 8 digits or more
    pub report: String,
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who says so [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
}

#[derive(Args)]
pub struct Retire {
    pub asset: String,
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who says so [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
}

#[derive(Subcommand)]
pub enum Catalog {
    /// Apply a catalog as one version
    #[command(after_help = "Example: faultline catalog apply catalog.yaml --dry-run")]
    Apply {
        /// The catalog's YAML
        file: PathBuf,
        /// Tell what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// The catalog as it is applied, as YAML
    #[command(after_help = "Example: faultline catalog show > catalog.yaml")]
    Show,
}

#[derive(Subcommand)]
pub enum Tickets {
    /// What a ticket policy would do now: tickets by queue and rule, and the first of each. Nothing is sent
    #[command(after_help = "Example: faultline tickets plan tickets.yaml")]
    Plan {
        /// A description with `tickets` [default: what the catalog has]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum Intel {
    /// Load feeds: CISA KEV, EPSS, exploits, OSV aliases; recognised by content. What a whole KEV or EPSS feed no longer has goes
    #[command(after_help = "Example: faultline intel load kev.json epss.csv.gz")]
    Load {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Args)]
pub struct Summary {
    /// A unit of the organisation, with all below it
    #[arg(long)]
    pub node: Option<String>,
}

#[derive(Subcommand)]
pub enum Adapters {
    /// The formats that are read
    #[command(after_help = "Example: faultline adapters list --json")]
    List,
    /// Which format a file is
    #[command(after_help = "Example: faultline adapters detect report.sarif zap.xml")]
    Detect {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Read a report and print its findings, one a line; nothing is stored
    #[command(after_help = "Example: faultline adapters read report.sarif --json | head")]
    Read {
        file: PathBuf,
        /// The report's format [default: recognised by content]
        #[arg(long)]
        tool: Option<String>,
    },
}

#[derive(Args)]
pub struct Trace {
    /// The id of a report, a finding or a risk, or its first 8 digits or more
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example() {
        fn walk(mut command: clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example: faultline"), "{}:\n{help}", command.get_name());
            // What clap adds has no example of ours.
            command.get_subcommands().filter(|below| below.get_name() != "help").cloned().for_each(walk);
        }
        walk(<Cli as clap::CommandFactory>::command());
    }
}
