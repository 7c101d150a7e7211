//! The adaptive risk score: 0 to 1000, where 100 points more is twice the expected loss.
//!
//! Points are logarithms, so factors that multiply in the world add up on the page. Everything is an integer; the
//! contributions of a score sum to it exactly, and each names the input that it comes from.

mod ssvc;

use serde::{Deserialize, Serialize};

pub use faultline_model::fixed;
use faultline_model::observation::Severity;
pub use faultline_model::risk::{Contribution, Factor, Score};
use faultline_model::time::Timestamp;

use crate::policy::Policy;

/// The highest score.
pub const HIGHEST: i32 = 1000;
/// One, where probabilities and confidence are in millionths.
pub const MILLION: u32 = 1_000_000;

/// Who can reach what runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    NotDeployed,
    #[default]
    Internal,
    Partner,
    Internet,
}

/// What is known of exploitation, the worst over all vulnerability ids of a risk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threat {
    /// EPSS probability in millionths, with the id that it belongs to.
    pub epss: Option<(u32, String)>,
    /// The KEV entry.
    pub kev: Option<Kev>,
    /// The id for which exploit code is public.
    pub public_exploit: Option<String>,
}

/// An entry of CISA's catalogue of known exploited vulnerabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kev {
    pub vulnerability: String,
    pub ransomware: bool,
    /// When CISA wants it repaired.
    pub due: Option<Timestamp>,
}

/// Everything that a score is a function of, besides the policy and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The best CVSS base score in tenths with its version and source, if any tool gave one.
    pub cvss: Option<(u8, String)>,
    /// The highest level of any tool, or the one that a person gave in its place.
    pub level: Severity,
    /// That person.
    pub level_by: Option<String>,
    pub threat: Threat,
    pub exposure: Exposure,
    /// Business tier, 1 (vital) to 4.
    pub tier: u8,
    /// Whether the service holds regulated or personal data.
    pub holds_sensitive_data: bool,
    /// The chance that the risk is real, in millionths.
    pub confidence_ppm: u32,
    /// The analysis that says the code cannot be reached.
    pub unreachable_by: Option<String>,
    /// The compensating control that holds now, with its points (not positive).
    pub control: Option<(i32, String)>,
    /// When the earliest of the risk's findings was first seen.
    pub first_seen: Timestamp,
}

/// The score of these facts under a policy at a time.
pub fn score(policy: &Policy, facts: &Facts, now: Timestamp) -> Score {
    let mut lines = vec![technical(policy, facts), exploitation(policy, &facts.threat), exposure(policy, facts.exposure)];
    lines.extend(business(policy, facts));
    lines.extend(evidence(policy, facts));
    let mut control = control(policy, facts);
    let steps = policy.ssvc.as_ref().map(|ssvc| ssvc.steps(&policy.bands, facts));
    if let Some(steps) = &steps {
        ssvc::add(steps, &mut lines, &mut control);
    }
    let [residual_range, inherent_range] = steps.as_ref().map_or([(0, HIGHEST); 2], |steps| [steps.residual, steps.inherent]);
    let uncontrolled: i32 = lines.iter().map(|line| line.points).sum();
    let due = due(policy, facts, capped(uncontrolled + control.points, residual_range));
    let (age, changes_at) = age(policy, due, now);
    // With its own due date: a control may move the residual score alone.
    let inherent_due = self::due(policy, facts, capped(uncontrolled, inherent_range));
    let inherent = capped(uncontrolled + age_points(policy, inherent_due, now), inherent_range);
    lines.push(control);
    lines.push(age);
    let sum: i32 = lines.iter().map(|line| line.points).sum();
    let total = capped(sum, residual_range);
    let (lowest, highest) = residual_range;
    let of = if steps.is_some() { "a score of this decision" } else { "a score" };
    let because =
        if total == sum { format!("within {lowest} and {highest}") } else { format!("the sum is {sum}; {of} is {lowest} to {highest}") };
    lines.push(Contribution { factor: Factor::Cap, points: total - sum, because });
    let band = policy.bands.of(total);
    Score { total, inherent, band, contributions: lines, due, changes_at, policy_version: policy.version.clone() }
}

fn capped(sum: i32, (lowest, highest): (i32, i32)) -> i32 {
    sum.clamp(lowest, highest)
}

fn line(factor: Factor, points: i32, because: String) -> Contribution {
    Contribution { factor, points, because }
}

fn technical(policy: &Policy, facts: &Facts) -> Contribution {
    if let Some((tenths, source)) = &facts.cvss {
        let points = policy.technical.points_per_cvss * i32::from(*tenths) / 10;
        return line(Factor::Technical, points, format!("CVSS {}.{} ({source})", tenths / 10, tenths % 10));
    }
    let points = policy.technical.by_level.of(facts.level);
    let because = match &facts.level_by {
        Some(actor) => format!("level {}, said by {actor}", facts.level.name()),
        None => format!("level {} by the tool, no CVSS", facts.level.name()),
    };
    line(Factor::Technical, points, because)
}

/// The strongest single reason to expect an attack; reasons do not add up, they are the same fact seen by several.
fn exploitation(policy: &Policy, threat: &Threat) -> Contribution {
    let weights = &policy.threat;
    let mut reasons = vec![(0, "no KEV entry, no EPSS score, no public exploit known".to_owned())];
    if let Some((ppm, id)) = &threat.epss {
        reasons.push((epss_points(policy, *ppm), format!("EPSS {}.{:06} for {id}", ppm / MILLION, ppm % MILLION)));
    }
    if let Some(id) = &threat.public_exploit {
        reasons.push((weights.public_exploit_points, format!("exploit code for {id} is public")));
    }
    if let Some(kev) = &threat.kev {
        let (points, use_) =
            if kev.ransomware { (weights.kev_ransomware_points, ", used by ransomware") } else { (weights.kev_points, "") };
        reasons.push((points, format!("{} is known to be exploited (KEV){use_}", kev.vulnerability)));
    }
    // Of equal points the later, stronger statement is shown.
    let (points, because) = reasons.into_iter().max_by_key(|(points, _)| *points).expect("one reason always stands");
    line(Factor::Exploitation, points, because)
}

/// EPSS on a log scale between the policy's floor and ceiling.
fn epss_points(policy: &Policy, ppm: u32) -> i32 {
    let weights = &policy.threat;
    let ppm = ppm.clamp(weights.epss_floor_ppm, weights.epss_ceiling_ppm);
    let floor = fixed::log2(u64::from(weights.epss_floor_ppm));
    let span = fixed::log2(u64::from(weights.epss_ceiling_ppm)) - floor;
    let above = fixed::log2(u64::from(ppm)) - floor;
    (i64::from(weights.epss_points) * above / span) as i32
}

fn exposure(policy: &Policy, exposure: Exposure) -> Contribution {
    let (points, because) = match exposure {
        Exposure::Internet => (policy.exposure.internet, "reachable from the internet"),
        Exposure::Partner => (policy.exposure.partner, "reachable by partners"),
        Exposure::Internal => (policy.exposure.internal, "reachable from inside only"),
        Exposure::NotDeployed => (policy.exposure.not_deployed, "not deployed"),
    };
    line(Factor::Exposure, points, because.to_owned())
}

fn business(policy: &Policy, facts: &Facts) -> [Contribution; 2] {
    let weights = &policy.business;
    let tier = match facts.tier {
        0 | 1 => weights.tier_1,
        2 => weights.tier_2,
        3 => weights.tier_3,
        _ => weights.tier_4,
    };
    let (data, because) = if facts.holds_sensitive_data {
        (weights.sensitive_data, "holds regulated or personal data")
    } else {
        (0, "no regulated or personal data")
    };
    [line(Factor::Business, tier, format!("tier {}", facts.tier)), line(Factor::Data, data, because.to_owned())]
}

fn evidence(policy: &Policy, facts: &Facts) -> [Contribution; 2] {
    let weights = &policy.evidence;
    let confidence = facts.confidence_ppm.min(MILLION);
    let points = if confidence == 0 {
        weights.least
    } else {
        let logarithm = fixed::log2(2 * u64::from(confidence)) - fixed::log2(u64::from(MILLION));
        // Rounded to the nearest point, towards minus infinity at a half.
        let hundredths = (100 * logarithm + fixed::ONE / 2).div_euclid(fixed::ONE) as i32;
        hundredths.clamp(weights.least, weights.most)
    };
    let because = format!("confidence {}.{:02} that this is real", confidence / MILLION, confidence % MILLION / 10_000);
    let reach = match &facts.unreachable_by {
        Some(analysis) => line(Factor::Reachability, weights.unreachable, format!("{analysis} says it cannot be reached")),
        None => line(Factor::Reachability, 0, "no analysis says that it cannot be reached".to_owned()),
    };
    [line(Factor::Evidence, points, because), reach]
}

fn control(policy: &Policy, facts: &Facts) -> Contribution {
    match &facts.control {
        Some((points, name)) => line(Factor::Control, (*points).clamp(policy.control.least, 0), format!("control: {name}")),
        None => line(Factor::Control, 0, "no compensating control".to_owned()),
    }
}

/// Due by the band of the score without age; KEV's own date where it is nearer.
fn due(policy: &Policy, facts: &Facts, score_without_age: i32) -> Timestamp {
    let band = policy.bands.of(score_without_age);
    let by_policy = facts.first_seen.plus_days(i64::from(policy.due_days.of(band)));
    facts.threat.kev.as_ref().and_then(|kev| kev.due).map_or(by_policy, |date| date.min(by_policy))
}

/// How many whole periods past the due date count, of how many that can.
fn periods(policy: &Policy, due: Timestamp, now: Timestamp) -> (i64, i64) {
    let weights = &policy.age;
    // Ceiling: a last period may count in part.
    let most = i64::from((weights.most + weights.points_per_period - 1) / weights.points_per_period);
    let periods = if now > due { (now.days_since(due) / i64::from(weights.period_days)).min(most) } else { 0 };
    (periods, most)
}

fn counts_age(policy: &Policy) -> bool {
    policy.age.points_per_period != 0 && policy.age.most != 0
}

/// Points for each whole period past the due date.
fn age_points(policy: &Policy, due: Timestamp, now: Timestamp) -> i32 {
    if counts_age(policy) { (policy.age.points_per_period * periods(policy, due, now).0 as i32).min(policy.age.most) } else { 0 }
}

/// The points with their reason, and when the next period begins.
fn age(policy: &Policy, due: Timestamp, now: Timestamp) -> (Contribution, Option<Timestamp>) {
    if !counts_age(policy) {
        return (line(Factor::Age, 0, format!("due {}; this policy does not count age", due.date())), None);
    }
    let (period, (periods, most)) = (i64::from(policy.age.period_days), periods(policy, due, now));
    let changes_at = (periods < most).then(|| due.plus_days(period * (periods + 1)));
    // Says no more than what `changes_at` announces: between two such times a score is the same text.
    let because =
        if periods > 0 { format!("due {}, at least {} days ago", due.date(), periods * period) } else { format!("due {}", due.date()) };
    (line(Factor::Age, age_points(policy, due, now), because), changes_at)
}
