//! Law 6: a score is monotone in each factor, within bounds, and its parts sum to it exactly.

use faultline_core::policy::{PRESETS, Policy};
use faultline_core::score::{Exposure, Factor, Facts, HIGHEST, Kev, MILLION, Threat, score};
use faultline_model::observation::Severity;
use faultline_model::time::Timestamp;
use proptest::prelude::*;

const DAY_MS: i64 = 86_400_000;

fn policies() -> Vec<Policy> {
    PRESETS.iter().map(|(_, yaml)| Policy::read(yaml).expect("presets are read")).collect()
}

fn at_day(day: i64) -> Timestamp {
    Timestamp::from_millis(day * DAY_MS)
}

prop_compose! {
    fn facts()(
        cvss in prop::option::of(0_u8..=100),
        level in prop::sample::select(Severity::ALL.to_vec()),
        epss in prop::option::of(0_u32..=MILLION),
        kev in prop::option::of((any::<bool>(), prop::option::of(19_000_i64..21_000))),
        exploit in any::<bool>(),
        exposure in prop::sample::select(vec![Exposure::NotDeployed, Exposure::Internal, Exposure::Partner, Exposure::Internet]),
        tier in 1_u8..=4,
        sensitive in any::<bool>(),
        confidence_ppm in 0_u32..=MILLION,
        unreachable in any::<bool>(),
        control in prop::option::of(-400_i32..=0),
        first_seen in 19_000_i64..20_500,
    ) -> Facts {
        Facts {
            cvss: cvss.map(|tenths| (tenths, "3.1".to_owned())),
            level,
            level_by: None,
            threat: Threat {
                epss: epss.map(|ppm| (ppm, "CVE-2024-1".to_owned())),
                kev: kev.map(|(ransomware, due)| Kev { vulnerability: "CVE-2024-1".to_owned(), ransomware, due: due.map(at_day) }),
                public_exploit: exploit.then(|| "CVE-2024-1".to_owned()),
            },
            exposure,
            tier,
            holds_sensitive_data: sensitive,
            confidence_ppm,
            unreachable_by: unreachable.then(|| "call graph".to_owned()),
            control: control.map(|points| (points, "WAF".to_owned())),
            first_seen: at_day(first_seen),
        }
    }
}

/// Each change makes matters worse, or leaves them as they are.
fn worse(facts: &Facts) -> Vec<(&'static str, Facts)> {
    let mut all = Vec::new();
    let mut with = |name, change: &dyn Fn(&mut Facts)| {
        let mut changed = facts.clone();
        change(&mut changed);
        all.push((name, changed));
    };
    with("a higher CVSS", &|f| {
        if let Some((tenths, _)) = &mut f.cvss {
            *tenths = (*tenths + 7).min(100);
        }
    });
    with("a higher level", &|f| f.level = Severity::Critical);
    with("a higher EPSS", &|f| {
        f.threat.epss = Some((f.threat.epss.as_ref().map_or(1, |e| (e.0 * 2 + 10).min(MILLION)), "CVE-2024-1".into()));
    });
    with("a KEV entry", &|f| {
        f.threat.kev.get_or_insert(Kev { vulnerability: "CVE-2024-1".into(), ransomware: false, due: None });
    });
    with("ransomware", &|f| {
        if let Some(kev) = &mut f.threat.kev {
            kev.ransomware = true;
        }
    });
    with("a public exploit", &|f| f.threat.public_exploit = Some("CVE-2024-1".into()));
    with("more exposure", &|f| f.exposure = Exposure::Internet);
    with("a higher tier", &|f| f.tier = 1);
    with("sensitive data", &|f| f.holds_sensitive_data = true);
    with("more confidence", &|f| f.confidence_ppm = (f.confidence_ppm + f.confidence_ppm / 3 + 1000).min(MILLION));
    with("reachable", &|f| f.unreachable_by = None);
    with("no control", &|f| f.control = None);
    with("seen earlier", &|f| f.first_seen = f.first_seen.plus_days(-100));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn parts_sum_to_the_score_and_stay_in_bounds(facts in facts(), day in 19_000_i64..21_500) {
        for policy in policies() {
            let scored = score(&policy, &facts, at_day(day));
            prop_assert_eq!(scored.contributions.iter().map(|line| line.points).sum::<i32>(), scored.total);
            prop_assert!((0..=HIGHEST).contains(&scored.total) && (0..=HIGHEST).contains(&scored.inherent));
            prop_assert_eq!(scored.contributions.len(), 10, "every factor is explained");
            prop_assert!(scored.contributions.iter().all(|line| !line.because.is_empty()));
        }
    }

    #[test]
    fn what_is_worse_never_scores_less(facts in facts(), day in 19_000_i64..21_500) {
        for policy in policies() {
            let before = score(&policy, &facts, at_day(day));
            for (what, changed) in worse(&facts) {
                let after = score(&policy, &changed, at_day(day));
                prop_assert!(after.total >= before.total, "{} under {}: {} to {}", what, policy.name, before.total, after.total);
            }
            let later = score(&policy, &facts, at_day(day + 45));
            prop_assert!(later.total >= before.total, "time under {}", policy.name);
        }
    }

    #[test]
    fn a_control_changes_the_residual_score_alone(facts in facts(), day in 19_000_i64..21_500, points in -400_i32..=0) {
        for policy in policies() {
            let (mut without, mut with) = (facts.clone(), facts.clone());
            without.control = None;
            with.control = Some((points, "WAF".into()));
            let (without, with) = (score(&policy, &without, at_day(day)), score(&policy, &with, at_day(day)));
            prop_assert_eq!(without.inherent, with.inherent);
            prop_assert!(with.total <= without.total);
        }
    }

    #[test]
    fn between_now_and_the_named_time_nothing_changes(facts in facts(), day in 19_000_i64..21_500) {
        for policy in policies() {
            let now = score(&policy, &facts, at_day(day));
            if let Some(at) = now.changes_at {
                prop_assert!(at > at_day(day));
                let before = score(&policy, &facts, Timestamp::from_millis(at.millis() - 1));
                prop_assert_eq!(before.total, now.total);
                let points = |scored: &faultline_core::score::Score| scored.contributions.iter().find(|line| line.factor == Factor::Age).map(|line| line.points);
                prop_assert!(points(&score(&policy, &facts, at)) > points(&now));
            }
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_policy_page() {
    let facts = Facts {
        cvss: Some((98, "3.1".into())),
        level: Severity::Critical,
        level_by: None,
        threat: Threat {
            epss: Some((900_000, "CVE-2021-44228".into())),
            kev: Some(Kev { vulnerability: "CVE-2021-44228".into(), ransomware: true, due: None }),
            public_exploit: None,
        },
        exposure: Exposure::Internet,
        tier: 1,
        holds_sensitive_data: true,
        confidence_ppm: 500_000,
        unreachable_by: None,
        control: None,
        first_seen: at_day(20_000),
    };
    let scored = score(&Policy::balanced(), &facts, at_day(20_000));
    let points: Vec<i32> = scored.contributions.iter().map(|line| line.points).collect();
    assert_eq!(points, [343, 300, 100, 150, 50, 0, 0, 0, 0, 0]);
    assert_eq!((scored.total, scored.band, scored.due), (943, Severity::Critical, at_day(20_007)));
}
