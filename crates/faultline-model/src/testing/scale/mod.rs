//! An organisation of any size whose risks are known: for laws, which compare, and for benchmarks, which need a million findings.
//!
//! What it is: services with a repository, an image and an address each, in teams, products and business units; eleven tools that scan
//! them; findings, routes, a catalog and intelligence, as the records that a publisher would send. Everything is a function of the seed
//! and an index: nothing is kept, so a million findings take no more memory than one scan's numbers. What it is not: a source of
//! strange records; the strategies for those are elsewhere.
//!
//! Shape: of twenty findings 9 are SAST, 7 SCA, 1 DAST, 1 a secret, 2 IaC. Fifteen to eighteen risks come of them: a second code
//! scanner at the same lines under a kin CWE, an attack on the route whose handler is reported, a package under CVE and GHSA, the
//! same package in manifest and image, a secret and a resource that two tools see. Truth holds once catalog, intelligence and
//! one round of scans are in; a rescan changes none of it.
//!
//! ```
//! use faultline_model::testing::scale::{Order, Scale};
//!
//! let scale = Scale::new(7, 10_000);
//! let sent: u64 = scale.scans().map(|scan| scan.records(Order::Stable).count() as u64).sum();
//! assert!(sent > scale.findings());
//! assert!(scale.expected_risks() < scale.findings());
//! ```

mod bodies;
mod organisation;
mod random;
mod scans;
mod shape;
mod vulnerabilities;

pub use scans::{Order, Scan};
pub use vulnerabilities::TOUCHED;

use crate::asset::AssetId;
use crate::id::Id;
use crate::time::Timestamp;
use crate::tracked::TrackedFinding;

/// 2025-10-09: the day of the first round of scans.
const BEGIN_MS: i64 = 1_759_968_000_000;
/// Findings that a service has where nobody says how many services there are.
const A_SERVICE: u64 = 2_000;
/// So few findings still are several services.
const LEAST_SERVICES: u64 = 3;

/// An organisation with so many findings.
#[derive(Clone, Debug)]
pub struct Scale {
    seed: u64,
    findings: u64,
    services: u64,
}

/// A finding with the risk that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truth {
    /// Who the finding is everywhere.
    pub finding: Id,
    pub service: String,
    /// The same number for the findings of one risk, and for no others.
    pub risk: u64,
}

impl Scale {
    /// An organisation whose services have about 2,000 findings each.
    pub fn new(seed: u64, findings: u64) -> Self {
        Self::with_services(seed, findings, findings.div_ceil(A_SERVICE).max(LEAST_SERVICES))
    }

    /// An organisation of so many services, at least one, with the findings spread evenly.
    pub fn with_services(seed: u64, findings: u64, services: u64) -> Self {
        Self { seed, findings, services: services.max(1) }
    }

    /// How many findings there are: the observations of a round of scans.
    pub fn findings(&self) -> u64 {
        self.findings
    }

    /// How many services there are.
    pub fn services(&self) -> u64 {
        self.services
    }

    /// All assets, a service's repository, image and address together.
    pub fn assets(&self) -> impl Iterator<Item = AssetId> {
        (0..self.services).flat_map(|service| [shape::Part::Repo, shape::Part::Image, shape::Part::Url].map(|part| asset(service, part)))
    }

    /// The first scan of everything.
    pub fn scans(&self) -> impl Iterator<Item = Scan<'_>> {
        self.rescans(0)
    }

    /// The scans of a later day, of a new revision: the same findings. Day 0 is the first.
    pub fn rescans(&self, day: u32) -> impl Iterator<Item = Scan<'_>> {
        (0..self.services).flat_map(move |service| (0..shape::TOOLS.len()).map(move |tool| Scan::new(self, service, tool, day)))
    }

    /// A time at which the scans of a day have been published: no earlier than any of them began.
    pub fn end_of(&self, day: u32) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS).plus_days(i64::from(day) + 1)
    }

    /// How many risks there are.
    pub fn expected_risks(&self) -> u64 {
        let (least, with_one_more) = self.sizes();
        let risks = |findings: u64| (0..findings).filter(|finding| shape::first_of_risk(*finding) == *finding).count() as u64;
        with_one_more * risks(least + 1) + (self.services - with_one_more) * risks(least)
    }

    /// How many of the risks are proved by an attack and located in code.
    pub fn expected_verified(&self) -> u64 {
        let (least, with_one_more) = self.sizes();
        let verified = |findings: u64| {
            let proves = |finding: &u64| shape::role(*finding) == shape::Role::Attack { proves: true };
            (0..findings).filter(proves).count() as u64
        };
        with_one_more * verified(least + 1) + (self.services - with_one_more) * verified(least)
    }

    /// Every finding with its risk.
    pub fn truth(&self) -> impl Iterator<Item = Truth> {
        (0..self.services).flat_map(move |service| (0..self.size(service)).map(move |finding| self.truth_of(service, finding)))
    }

    fn truth_of(&self, service: u64, finding: u64) -> Truth {
        let tool = &shape::TOOLS[shape::tool_of(finding)];
        let observation = bodies::Seen { scale: self, service, finding }.observation();
        let fingerprint = crate::fingerprint::fingerprint(tool.name, &observation);
        Truth {
            finding: TrackedFinding::id_of(&asset(service, tool.part), fingerprint),
            service: service_id(service),
            risk: self.before(service) + shape::first_of_risk(finding),
        }
    }

    /// How many findings the smaller services have, and how many services have one more.
    fn sizes(&self) -> (u64, u64) {
        (self.findings / self.services, self.findings % self.services)
    }

    fn size(&self, service: u64) -> u64 {
        let (least, with_one_more) = self.sizes();
        least + u64::from(service < with_one_more)
    }

    /// How many findings the services before have.
    fn before(&self, service: u64) -> u64 {
        let (least, with_one_more) = self.sizes();
        service * least + service.min(with_one_more)
    }
}

fn service_id(service: u64) -> String {
    format!("service-{service:05}")
}

fn asset(service: u64, part: shape::Part) -> AssetId {
    let id = service_id(service);
    let name = match part {
        shape::Part::Repo => format!("repo:github.com/acme/{id}"),
        shape::Part::Image => format!("image:ghcr.io/acme/{id}"),
        shape::Part::Url => format!("url:https://{id}.acme.example"),
    };
    name.parse().expect("a service's id is a name of letters, digits and a hyphen")
}
