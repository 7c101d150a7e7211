//! The verbs of who runs an installation: tokens, the audit log, topics, dead letters, sinks, settings.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use faultline_model::access::TokenScope;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// All entries that are kept, one JSON text a line
    #[command(after_help = "Example: faultline audit export > audit.jsonl")]
    Export,
    /// Whether an export is whole; exit code 3 if something was altered, taken out, put in or moved
    ///
    /// It asks nobody: only the file is read. That a chain's end was cut off only heads can show that were kept elsewhere: keep what --json tells.
    #[command(after_help = "Example: faultline audit verify audit.jsonl --heads last-month.json --json > this-month.json")]
    Verify {
        /// An export [default: what the service has now]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// What an earlier `audit verify --json` told: all that it saw must still be there
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum Tokens {
    /// Make a token. Its text goes to standard output, once, and is kept nowhere
    ///
    /// It allows what its actor's roles allow (docs/access.md), as far as its scopes and nodes go. Who brings it says so with
    /// FAULTLINE__HTTP__TOKEN.
    #[command(after_help = "Example: faultline tokens create --actor ana --scope read,decide --node retail --purpose triage --days 30")]
    Create(CreateToken),
    /// All tokens, without their texts
    #[command(after_help = "Example: faultline tokens list")]
    List,
    /// Take a token back, from now on and for good
    #[command(after_help = "Example: faultline tokens revoke 1b9d6bcd4e5f60718293a4b5c6d7e8f9")]
    Revoke {
        /// Its id, as `tokens list` has it
        id: String,
    },
}

#[derive(Args)]
pub struct CreateToken {
    /// Who will come in with it: a person or a program, as roles name them
    #[arg(long)]
    pub actor: String,
    /// What it is for
    #[arg(long)]
    pub purpose: String,
    /// What it may be used for
    #[arg(
        long = "scope",
        required = true,
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(TokenScope::ALL.map(TokenScope::name))
    )]
    pub scopes: Vec<String>,
    /// Only below this unit of the organisation, or service/ID; may be given often [default: wherever its actor may]
    #[arg(long = "node")]
    pub nodes: Vec<String>,
    /// With scope publish: assets to publish for, by name or by a beginning and *; may be given often
    #[arg(long = "asset")]
    pub assets: Vec<String>,
    /// How long it holds
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
}

#[derive(Subcommand)]
pub enum Topics {
    /// What the topics should be: partitions, retention, compaction, and who may do what
    #[command(after_help = "Example: faultline topics plan --json")]
    Plan,
    /// Make the topics that are missing in the cluster, and set what differs
    #[command(after_help = "Example: faultline topics apply --yes")]
    Apply {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Tell what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell in what the cluster's topics differ from the plan; exit code 3 if Faultline does not run with them
    #[command(after_help = "Example: faultline topics verify")]
    Verify,
    /// Give an installation on Kafka more partitions, with all that it knows
    ///
    /// Everything that works on it is stopped, with nothing left to read. Topics that are kept by key and the state are written into a new
    /// generation of topics, which holds from one moment on; topics that are kept by time get more partitions in place. If it ends before
    /// that moment the installation is as it was; whenever it ends, running it again ends it (docs/operations.md).
    #[command(after_help = "Example: faultline topics repartition --partitions 12 --yes")]
    Repartition {
        /// How many the keyed topics are to have; more than now
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
        partitions: u32,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print records of a topic, decoded
    #[command(after_help = "Example: faultline topics read risks --limit 5 --json")]
    Read {
        topic: String,
        /// Only this partition [default: all]
        #[arg(long)]
        partition: Option<u32>,
        /// The first offset
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only records whose key begins so
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum Dlq {
    /// What was refused, and why, the newest first
    #[command(after_help = "Example: faultline dlq list --topic findings --stage track")]
    List {
        /// Only records of this topic
        #[arg(long)]
        topic: Option<String>,
        /// Only what this stage refused
        #[arg(long)]
        stage: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// One in full: headers, and the value by its topic's type, or its first bytes
    #[command(after_help = "Example: faultline dlq show dead-letters-2-17")]
    Show {
        /// Its id, as the list has it
        id: String,
    },
    /// Append the records again, as they came, to the topic that they came from; the letters stay
    #[command(
        after_help = "Example: faultline dlq redrive dead-letters-2-17\n         faultline dlq redrive --all --topic findings --dry-run"
    )]
    Redrive(Redrive),
}

// Flags of a command line are bools.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args)]
pub struct Redrive {
    /// Ids, as the list has them
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    pub ids: Vec<String>,
    /// All of a topic that were not redriven and refused again
    #[arg(long, requires = "topic")]
    pub all: bool,
    #[arg(long, requires = "all")]
    pub topic: Option<String>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before all are redriven
    #[arg(long)]
    pub yes: bool,
    /// Also what was redriven before, however often
    #[arg(long)]
    pub force: bool,
    /// Who does it; a header of the new record says so [default: $USER]
    #[arg(long)]
    pub actor: Option<String>,
}

#[derive(Subcommand)]
pub enum Sinks {
    /// Where each destination stands: what waits, since when, and why
    #[command(after_help = "Example: faultline sinks status")]
    Status,
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Tell everything that is wrong with the configuration, also what would keep `up` from listening
    #[command(after_help = "Example: faultline config check --config faultline.yaml")]
    Check,
    /// The settings in force; secrets are masked
    #[command(after_help = "Example: faultline config show --origin")]
    Show {
        /// Where each value came from
        #[arg(long)]
        origin: bool,
    },
}
