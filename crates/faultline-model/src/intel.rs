//! Threat intelligence, keyed by vulnerability id and source, so that each feed writes what is its own and none waits for another.

use serde::{Deserialize, Serialize};

use crate::partition::SEPARATOR;
use crate::time::Timestamp;

/// A value of `intel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntelRecord {
    Kev(KevEntry),
    Epss(EpssScore),
    Exploit(PublicExploit),
    Aliases(Aliases),
}

/// An entry of CISA's catalogue of known exploited vulnerabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KevEntry {
    pub name: String,
    /// When it was added to the catalogue.
    pub added: Timestamp,
    /// When CISA wants it repaired.
    pub due: Option<Timestamp>,
    /// Whether it is known to be used by ransomware.
    pub ransomware: bool,
}

/// FIRST's estimate that a vulnerability is exploited within 30 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpssScore {
    /// Probability in millionths.
    pub probability_ppm: i32,
}

/// Exploit code that everybody can get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicExploit {
    pub source: String,
}

/// Other ids of the same vulnerability, sorted. The relation is read in both directions: a feed writes a record for each id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aliases {
    pub ids: Vec<String>,
}

/// The sources, as the second part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Kev,
    Epss,
    Exploit,
    Aliases,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kev, Self::Epss, Self::Exploit, Self::Aliases];

    /// The name, as it stands in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kev => "kev",
            Self::Epss => "epss",
            Self::Exploit => "exploit",
            Self::Aliases => "aliases",
        }
    }
}

impl IntelRecord {
    /// The source that this record comes from.
    pub fn source(&self) -> Source {
        match self {
            Self::Kev(_) => Source::Kev,
            Self::Epss(_) => Source::Epss,
            Self::Exploit(_) => Source::Exploit,
            Self::Aliases(_) => Source::Aliases,
        }
    }
}

/// The key of what a source says of a vulnerability. Ids are compared in upper case.
pub fn key(vulnerability: &str, source: Source) -> String {
    format!("{}{SEPARATOR}{}", vulnerability.to_ascii_uppercase(), source.name())
}

/// The vulnerability and the source of a key; `None` if it is none.
pub fn parse_key(key: &str) -> Option<(&str, Source)> {
    let (vulnerability, name) = key.split_once(SEPARATOR)?;
    Some((vulnerability, Source::ALL.into_iter().find(|source| source.name() == name)?))
}

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IntelEnvelope {
    pub kind: String,
    pub kev: Option<KevEntry>,
    pub epss: Option<EpssScore>,
    pub exploit: Option<PublicExploit>,
    pub aliases: Option<Aliases>,
}

crate::record::envelope! {
    "intel", IntelRecord, IntelEnvelope {
        "kev" => kev: Kev,
        "epss" => epss: Epss,
        "exploit" => exploit: Exploit,
        "aliases" => aliases: Aliases,
    }
}
