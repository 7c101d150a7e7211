//! SSVC, the stakeholder-specific vulnerability categorization of CERT/CC: the deployer's decision as the band of a score.
//!
//! The table gives the decision, the decision gives the range of the score, and the steps of the table on the way from the
//! mildest case to this one become contributions: each factor has what it added. As no step of the table goes down, the score
//! stays monotone in every factor, and the contributions still sum to it.

use std::sync::LazyLock;

use faultline_model::observation::Severity;
use serde::{Deserialize, Serialize};

use super::{Bands, PolicyError};
use crate::score::{Exposure, Facts, HIGHEST};

/// How facts become decision points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssvc {
    /// EPSS probability in millionths from which exploit code is taken to be public; above 1000000 never.
    pub public_poc_from_epss_ppm: u32,
    /// CVSS base score in tenths from which an attack is taken to be automatable.
    pub automatable_from_cvss_tenths: u8,
    pub exposure: ByExposure,
    pub human_impact: ByTier,
}

/// System exposure, by who can reach the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByExposure {
    pub internet: SystemExposure,
    pub partner: SystemExposure,
    pub internal: SystemExposure,
    pub not_deployed: SystemExposure,
}

/// Human impact, by business tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByTier {
    pub tier_1: HumanImpact,
    pub tier_2: HumanImpact,
    pub tier_3: HumanImpact,
    pub tier_4: HumanImpact,
}

/// A decision point's values, the mildest first, with their names in the table.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All values, the mildest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the table.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

values! {
    /// State of exploitation (Exploitation 1.1.0).
    Exploitation { None = "none", PublicPoc = "public poc", Active = "active" }
}
values! {
    /// Accessible attack surface (System Exposure 1.0.1).
    SystemExposure { Small = "small", Controlled = "controlled", Open = "open" }
}
values! {
    /// Whether an attack needs nobody (Automatable 2.0.0).
    Automatable { No = "no", Yes = "yes" }
}
values! {
    /// Safety and mission impact together (Human Impact 2.0.2).
    HumanImpact { Low = "low", Medium = "medium", High = "high", VeryHigh = "very high" }
}
values! {
    /// What to do, the least urgent first.
    Decision { Defer = "defer", Scheduled = "scheduled", OutOfCycle = "out-of-cycle", Immediate = "immediate" }
}

/// A case of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub exploitation: Exploitation,
    pub exposure: SystemExposure,
    pub automatable: Automatable,
    pub human_impact: HumanImpact,
}

const CASES: usize = Exploitation::ALL.len() * SystemExposure::ALL.len() * Automatable::ALL.len() * HumanImpact::ALL.len();

static TABLE: LazyLock<[Decision; CASES]> =
    LazyLock::new(|| read_table(include_str!("../../policies/ssvc-deployer.csv")).expect("the shipped table is read by a test"));

impl Case {
    /// The mildest case.
    pub const MILDEST: Self = Self {
        exploitation: Exploitation::None,
        exposure: SystemExposure::Small,
        automatable: Automatable::No,
        human_impact: HumanImpact::Low,
    };

    /// What the deployer's table says of it.
    pub fn decision(self) -> Decision {
        TABLE[self.index()]
    }

    fn index(self) -> usize {
        let by = |index: usize, values: usize, value: usize| index * values + value;
        let index = by(self.exploitation as usize, SystemExposure::ALL.len(), self.exposure as usize);
        let index = by(index, Automatable::ALL.len(), self.automatable as usize);
        by(index, HumanImpact::ALL.len(), self.human_impact as usize)
    }
}

/// The rows of the table by [`Case::index`]; `None` if one is missing or unknown.
fn read_table(csv: &str) -> Option<[Decision; CASES]> {
    let mut table = [None; CASES];
    for row in csv.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let &[_, exploitation, exposure, automatable, impact, decision] = cells.as_slice() else { return None };
        let case = Case {
            exploitation: *Exploitation::ALL.iter().find(|value| value.name() == exploitation)?,
            exposure: *SystemExposure::ALL.iter().find(|value| value.name() == exposure)?,
            automatable: *Automatable::ALL.iter().find(|value| value.name() == automatable)?,
            human_impact: *HumanImpact::ALL.iter().find(|value| value.name() == impact)?,
        };
        table[case.index()] = Some(*Decision::ALL.iter().find(|value| value.name() == decision)?);
    }
    let whole: Option<Vec<Decision>> = table.into_iter().collect();
    whole?.try_into().ok()
}

impl Ssvc {
    /// The case of these facts, controls left out.
    pub fn case(&self, facts: &Facts) -> Case {
        Case {
            exploitation: self.exploitation(facts),
            exposure: match facts.exposure {
                Exposure::Internet => self.exposure.internet,
                Exposure::Partner => self.exposure.partner,
                Exposure::Internal => self.exposure.internal,
                Exposure::NotDeployed => self.exposure.not_deployed,
            },
            automatable: self.automatable(facts),
            human_impact: if facts.holds_sensitive_data { raised(self.by_tier(facts.tier)) } else { self.by_tier(facts.tier) },
        }
    }

    fn exploitation(&self, facts: &Facts) -> Exploitation {
        let threat = &facts.threat;
        if threat.kev.is_some() {
            Exploitation::Active
        } else if threat.public_exploit.is_some() || threat.epss.as_ref().is_some_and(|(ppm, _)| *ppm >= self.public_poc_from_epss_ppm) {
            Exploitation::PublicPoc
        } else {
            Exploitation::None
        }
    }

    fn automatable(&self, facts: &Facts) -> Automatable {
        let is_automatable = match &facts.cvss {
            Some((tenths, _)) => *tenths >= self.automatable_from_cvss_tenths,
            None => facts.level == Severity::Critical,
        };
        if is_automatable { Automatable::Yes } else { Automatable::No }
    }

    fn by_tier(&self, tier: u8) -> HumanImpact {
        match tier {
            0 | 1 => self.human_impact.tier_1,
            2 => self.human_impact.tier_2,
            3 => self.human_impact.tier_3,
            _ => self.human_impact.tier_4,
        }
    }

    /// The decision and what led to it.
    pub(crate) fn steps(&self, bands: &Bands, facts: &Facts) -> Steps {
        let case = self.case(facts);
        let mut at = Case::MILDEST;
        // The way through the table: one factor after the other, each with what it adds.
        let mut step = |change: &dyn Fn(&mut Case)| {
            let before = floor(bands, at.decision());
            change(&mut at);
            floor(bands, at.decision()) - before
        };
        let exploitation = step(&|at| at.exploitation = case.exploitation);
        let exposure = step(&|at| at.exposure = case.exposure);
        let automatable = step(&|at| at.automatable = case.automatable);
        let tier = step(&|at| at.human_impact = self.by_tier(facts.tier));
        let data = step(&|at| at.human_impact = case.human_impact);
        let controlled = Case { exposure: if facts.control.is_some() { lowered(case.exposure) } else { case.exposure }, ..case };
        let control = floor(bands, controlled.decision()) - floor(bands, case.decision());
        let (residual, inherent) = (range(bands, controlled.decision()), range(bands, case.decision()));
        Steps { case, exploitation, exposure, automatable, tier, data, control, residual, inherent }
    }

    /// Checks that milder facts cannot be mapped to worse values, and that each decision has a range of its own.
    pub(super) fn check(&self, bands: &Bands) -> Result<(), PolicyError> {
        let (e, h) = (&self.exposure, &self.human_impact);
        let exposures = [e.not_deployed, e.internal, e.partner, e.internet];
        let impacts = [h.tier_4, h.tier_3, h.tier_2, h.tier_1];
        let floors = [0, bands.medium, bands.high, bands.critical, HIGHEST + 1];
        let rules: [(&'static str, bool, String, &'static str); 4] = [
            ("ssvc.exposure", exposures.is_sorted(), format!("{exposures:?}"), "values may not fall from not_deployed to internet"),
            ("ssvc.human_impact", impacts.is_sorted(), format!("{impacts:?}"), "values may not fall from tier 4 to tier 1"),
            (
                "ssvc.automatable_from_cvss_tenths",
                self.automatable_from_cvss_tenths <= 101,
                self.automatable_from_cvss_tenths.to_string(),
                "at most 101, which no score reaches",
            ),
            ("bands", floors.is_sorted_by(|a, b| a < b), format!("{floors:?}"), "with SSVC each decision has a band of its own"),
        ];
        match rules.into_iter().find(|(_, holds, ..)| !holds) {
            Some((key, _, found, expected)) => Err(PolicyError::NotMonotone { key, found, expected }),
            None => Ok(()),
        }
    }
}

/// What each factor adds on the way from the mildest case, and the ranges that the decision allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) case: Case,
    pub(crate) exploitation: i32,
    pub(crate) exposure: i32,
    pub(crate) automatable: i32,
    pub(crate) tier: i32,
    pub(crate) data: i32,
    /// Not positive.
    pub(crate) control: i32,
    /// With the control, lowest and highest score.
    pub(crate) residual: (i32, i32),
    pub(crate) inherent: (i32, i32),
}

/// The lowest score of a decision. What is deferred begins at nothing.
fn floor(bands: &Bands, decision: Decision) -> i32 {
    range(bands, decision).0
}

fn range(bands: &Bands, decision: Decision) -> (i32, i32) {
    match decision {
        Decision::Defer => (0, bands.medium - 1),
        Decision::Scheduled => (bands.medium, bands.high - 1),
        Decision::OutOfCycle => (bands.high, bands.critical - 1),
        Decision::Immediate => (bands.critical, HIGHEST),
    }
}

fn raised(impact: HumanImpact) -> HumanImpact {
    match impact {
        HumanImpact::Low => HumanImpact::Medium,
        HumanImpact::Medium => HumanImpact::High,
        HumanImpact::High | HumanImpact::VeryHigh => HumanImpact::VeryHigh,
    }
}

/// Mitigations in place are what tells `controlled` from `open` (System Exposure 1.0.1).
fn lowered(exposure: SystemExposure) -> SystemExposure {
    match exposure {
        SystemExposure::Open => SystemExposure::Controlled,
        SystemExposure::Controlled | SystemExposure::Small => SystemExposure::Small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> impl Iterator<Item = Case> {
        let points = Exploitation::ALL.iter().flat_map(|e| SystemExposure::ALL.iter().map(move |s| (*e, *s)));
        let points = points.flat_map(|(e, s)| Automatable::ALL.iter().map(move |a| (e, s, *a)));
        points.flat_map(|(exploitation, exposure, automatable)| {
            let case = move |human_impact: &HumanImpact| Case { exploitation, exposure, automatable, human_impact: *human_impact };
            HumanImpact::ALL.iter().map(case)
        })
    }

    #[test]
    fn no_step_of_the_table_goes_down() {
        assert_eq!(cases().count(), CASES);
        let worse_or_equal = |a: Case, b: Case| {
            a.exploitation <= b.exploitation
                && a.exposure <= b.exposure
                && a.automatable <= b.automatable
                && a.human_impact <= b.human_impact
        };
        for mild in cases() {
            for worse in cases().filter(|worse| worse_or_equal(mild, *worse)) {
                assert!(mild.decision() <= worse.decision(), "{mild:?} {worse:?}");
            }
        }
        assert_eq!(Case::MILDEST.decision(), Decision::Defer);
    }

    #[test]
    fn a_table_with_a_row_missing_or_unknown_is_refused() {
        let csv = include_str!("../../policies/ssvc-deployer.csv");
        assert!(read_table(csv).is_some());
        assert!(read_table(&csv.replace("immediate", "at once")).is_none());
        assert!(read_table(&csv.lines().take(72).collect::<Vec<_>>().join("\n")).is_none());
    }
}
