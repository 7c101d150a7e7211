//! Units: findings that can be one risk by their own attributes. A unit is the grain of incremental work.

use std::cmp::Ordering;

use faultline_model::asset::AssetId;
use faultline_model::family::Family;
use faultline_model::id::Id;
use serde::{Deserialize, Serialize};

use super::facts::{Finding, Place};

/// The most findings of a unit that are looked at: open ones first, then the earliest. What is cut is counted.
pub const FINDINGS_MOST: usize = 512;

/// What the findings of a unit have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grain {
    /// A file of an asset.
    Code {
        asset: String,
        file: String,
    },
    /// A package with a vulnerability, by the id that stands for its aliases.
    Package {
        purl: String,
        vulnerability: String,
    },
    /// A secret by its keyed hash.
    Secret {
        hash: String,
    },
    /// Secrets of a file that are known only redacted.
    SecretFile {
        asset: String,
        file: String,
    },
    Resource {
        address: String,
    },
    /// Resources that are known only by their file.
    ResourceFile {
        asset: String,
        file: String,
    },
    Host {
        address: String,
    },
    /// A route by its template.
    Route {
        template: String,
    },
}

impl Grain {
    /// Where a finding belongs, given what was learned of it.
    pub fn of(finding: &Finding) -> Self {
        let asset = || finding.asset.as_str().to_owned();
        match &finding.place {
            Place::Code(code) => Self::Code { asset: asset(), file: code.file.clone() },
            Place::Package(package) => {
                let vulnerability = standing_for(&finding.learned.vulnerabilities).to_owned();
                Self::Package { purl: package.purl.clone(), vulnerability }
            }
            Place::Secret(secret) if secret.hash.is_empty() => Self::SecretFile { asset: asset(), file: secret.file.clone() },
            Place::Secret(secret) => Self::Secret { hash: secret.hash.clone() },
            Place::Resource(resource) if resource.address.is_empty() => Self::ResourceFile { asset: asset(), file: resource.file.clone() },
            Place::Resource(resource) => Self::Resource { address: resource.address.clone() },
            Place::Host(host) => Self::Host { address: host.address.clone() },
            Place::Route(_) => Self::Route { template: finding.learned.template.clone() },
        }
    }

    /// Who it is within a service.
    pub fn id(&self) -> Id {
        let (kind, parts): (&str, [&str; 2]) = match self {
            Self::Code { asset, file } => ("code", [asset, file]),
            Self::Package { purl, vulnerability } => ("package", [purl, vulnerability]),
            Self::Secret { hash } => ("secret", [hash, ""]),
            Self::SecretFile { asset, file } => ("secret-file", [asset, file]),
            Self::Resource { address } => ("resource", [address, ""]),
            Self::ResourceFile { asset, file } => ("resource-file", [asset, file]),
            Self::Host { address } => ("host", [address, ""]),
            Self::Route { template } => ("route", [template, ""]),
        };
        Id::of("unit", &[kind.as_bytes(), parts[0].as_bytes(), parts[1].as_bytes()])
    }
}

/// The id that stands for a vulnerability under all its names: CVE before others, then the first by name.
pub fn standing_for(ids: &[String]) -> &str {
    let order = |one: &&String, other: &&String| -> Ordering {
        let is_other = |id: &str| !id.starts_with("CVE-");
        is_other(one).cmp(&is_other(other)).then_with(|| one.cmp(other))
    };
    ids.iter().min_by(order).map_or("", String::as_str)
}

/// What findings of a unit must share to be one flaw: the family where it joins, else the tool and its rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw<'a> {
    Family(Family),
    Rule(&'a str, &'a str),
}

impl<'a> Flaw<'a> {
    pub fn of(finding: &'a Finding) -> Self {
        let family = finding.family();
        if family.is_joinable() { Self::Family(family) } else { Self::Rule(&finding.tool, &finding.rule) }
    }
}

/// What findings that are no code share exactly when they are one flaw; `None` for code, where lines decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    Package(&'a str, &'a str),
    Secret(&'a str),
    /// A secret whose hash is not known is itself only.
    Redacted(Id),
    Resource(&'a str, Option<(&'a AssetId, &'a str)>, Flaw<'a>),
    Host(&'a str, i32, Flaw<'a>),
    Route {
        template: &'a str,
        method: &'a str,
        parameter: &'a str,
        flaw: Flaw<'a>,
    },
}

impl<'a> Key<'a> {
    pub fn of(finding: &'a Finding) -> Option<Self> {
        let flaw = || Flaw::of(finding);
        Some(match &finding.place {
            Place::Code(_) => return None,
            Place::Package(package) => Self::Package(&package.purl, standing_for(&finding.learned.vulnerabilities)),
            Place::Secret(secret) if secret.hash.is_empty() => Self::Redacted(finding.id),
            Place::Secret(secret) => Self::Secret(&secret.hash),
            Place::Resource(resource) => {
                let file = resource.address.is_empty().then_some((&finding.asset, resource.file.as_str()));
                Self::Resource(&resource.address, file, flaw())
            }
            Place::Host(host) => Self::Host(&host.address, host.port, flaw()),
            Place::Route(route) => {
                Self::Route { template: &finding.learned.template, method: &route.method, parameter: &route.parameter, flaw: flaw() }
            }
        })
    }
}
