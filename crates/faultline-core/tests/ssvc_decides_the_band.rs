//! Under the `ssvc` preset the band of a score is the deployer's decision, whatever the points say.

use faultline_core::policy::ssvc::{Automatable, Case, Decision, Exploitation, HumanImpact, SystemExposure};
use faultline_core::policy::{PRESETS, Policy};
use faultline_core::score::{Exposure, Facts, Kev, Threat, score};
use faultline_model::observation::Severity;
use faultline_model::risk::Factor;
use faultline_model::time::Timestamp;

fn ssvc() -> Policy {
    let (_, yaml) = PRESETS.iter().find(|(name, _)| *name == "ssvc").expect("a preset of that name");
    Policy::read(yaml).expect("presets are read")
}

/// A fact for each value of the four decision points, the ones that do not count at their mildest or their worst.
fn facts(exploitation: Exploitation, exposure: Exposure, automatable: Automatable, tier: u8, worst: bool) -> Facts {
    let id = || "CVE-2024-1".to_owned();
    Facts {
        cvss: None,
        level: if automatable == Automatable::Yes { Severity::Critical } else { Severity::Info },
        level_by: None,
        threat: Threat {
            epss: worst.then(|| (99_999, id())),
            kev: (exploitation == Exploitation::Active).then(|| Kev { vulnerability: id(), ransomware: worst, due: None }),
            public_exploit: (exploitation == Exploitation::PublicPoc).then(id),
        },
        exposure,
        tier,
        holds_sensitive_data: false,
        confidence_ppm: if worst { 1_000_000 } else { 1 },
        unreachable_by: (!worst).then(|| "call graph".to_owned()),
        control: None,
        first_seen: Timestamp::from_millis(0),
    }
}

/// With weights so large that the points alone would be in another band.
fn heavy() -> Policy {
    let by_level = "{ info: 35, low: 105, medium: 190, high: 270, critical: 335 }";
    let evidence = "{ most: 300, least: -500, unreachable: -500 }";
    Policy::read(&format!("{{ preset: ssvc, overrides: {{ technical: {{ by_level: {by_level} }}, evidence: {evidence} }} }}"))
        .expect("an overlay of a preset")
}

#[test]
fn the_band_is_the_decision_of_the_table() {
    [ssvc(), heavy()].iter().for_each(the_band_is_the_decision);
}

fn the_band_is_the_decision(policy: &Policy) {
    let exposures = [
        (Exposure::NotDeployed, SystemExposure::Small),
        (Exposure::Internal, SystemExposure::Controlled),
        (Exposure::Partner, SystemExposure::Controlled),
        (Exposure::Internet, SystemExposure::Open),
    ];
    let impacts = [(4, HumanImpact::Low), (3, HumanImpact::Medium), (2, HumanImpact::High), (1, HumanImpact::VeryHigh)];
    for exploitation in Exploitation::ALL {
        for (exposure, system_exposure) in exposures {
            for automatable in Automatable::ALL {
                for (tier, human_impact) in impacts {
                    for worst in [false, true] {
                        let case = Case { exploitation: *exploitation, exposure: system_exposure, automatable: *automatable, human_impact };
                        let facts = facts(*exploitation, exposure, *automatable, tier, worst);
                        let scored = score(policy, &facts, Timestamp::from_millis(0).plus_days(3000));
                        let band = match case.decision() {
                            Decision::Immediate => Severity::Critical,
                            Decision::OutOfCycle => Severity::High,
                            Decision::Scheduled => Severity::Medium,
                            Decision::Defer => Severity::Low,
                        };
                        assert_eq!(scored.band, band, "{case:?} {scored:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_line_says_what_it_added_to_the_decision() {
    let mut facts = facts(Exploitation::Active, Exposure::Internet, Automatable::Yes, 2, false);
    facts.holds_sensitive_data = true;
    let scored = score(&ssvc(), &facts, Timestamp::from_millis(0));
    assert_eq!(scored.band, Severity::Critical);
    let line = |factor| scored.contributions.iter().find(|line| line.factor == factor).unwrap().because.clone();
    assert!(line(Factor::Exploitation).ends_with("(KEV) (SSVC exploitation: active)"), "{}", line(Factor::Exploitation));
    assert!(line(Factor::Business).contains("human impact: very high, decision: immediate"), "{}", line(Factor::Business));
    facts.control = Some((-10, "WAF".into()));
    let residual = score(&ssvc(), &facts, Timestamp::from_millis(0));
    assert_eq!(residual.inherent, scored.inherent);
    // Active, controlled, automatable, very high.
    assert!(residual.total < scored.total && residual.contributions.iter().any(|line| line.because.contains("one step smaller")));
}

#[test]
fn points_alone_never_fill_a_band() {
    let p = ssvc();
    let most = 10 * p.technical.points_per_cvss
        + p.threat.kev_ransomware_points.max(p.threat.epss_points)
        + p.exposure.internet
        + p.business.tier_1
        + p.business.sensitive_data
        + p.evidence.most
        + p.age.most;
    assert!(most < p.bands.high - p.bands.medium && most < p.bands.critical - p.bands.high, "{most}");
}

#[test]
fn a_mapping_that_would_not_be_monotone_is_refused_with_its_key() {
    let yaml = PRESETS.iter().find(|(name, _)| *name == "ssvc").unwrap().1;
    for (key, from, to) in [
        ("ssvc.exposure", "partner: controlled", "partner: small"),
        ("ssvc.human_impact", "tier_4: low", "tier_4: very high"),
        ("ssvc.automatable_from_cvss_tenths", "tenths: 90", "tenths: 102"),
        ("bands", "high: 600", "high: 400"),
    ] {
        let error = Policy::read(&yaml.replace(from, to)).unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
}
