//! A risk out of its findings: state, evidence, confidence, score, fix. A pure function of what belongs together.

use std::cmp::Reverse;

use faultline_model::decision::Verdict;
use faultline_model::id::Id;
use faultline_model::observation::LIST_ENTRIES;
use faultline_model::risk::{EvidenceState, FINDINGS_SHOWN, LINKS_SHOWN, Link, Member, Risk, RiskState, id_of};
use faultline_model::time::Timestamp;
use faultline_model::tracked::FindingState;

use super::confidence::{SILENCE_PPM, confidence};
use super::facts::{Finding, IntelById, Place, SaidSeverity, ServiceFacts, shown};
use super::fix::fix;
use crate::policy::Policy;
use crate::score::{Facts, MILLION, Score, Threat, score};

/// The most ids that a risk lists in `also`; a unit has no more findings than twice that.
const ALSO_MOST: usize = 256;

/// Everything besides findings that a risk of a service is a function of.
pub struct Context<'a> {
    pub service: &'a str,
    pub facts: &'a ServiceFacts,
    pub policy: &'a Policy,
    pub intel: &'a IntelById,
    pub now: Timestamp,
}

/// A finding's part in a risk.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub finding: &'a Finding,
    /// The chance that it is the founder's flaw, in millionths.
    pub weight_ppm: u32,
    /// Whether this risk is its home.
    pub is_home: bool,
    pub is_anchor: bool,
}

/// What belongs to one risk.
pub struct Parts<'a> {
    pub founder: &'a Finding,
    pub members: Vec<Part<'a>>,
    pub links: Vec<Link>,
    /// What dynamic scans say by having reported nothing.
    pub silence: Option<Vec<String>>,
}

impl<'a> Parts<'a> {
    fn home(&self) -> impl Iterator<Item = Part<'a>> {
        self.members.iter().filter(|part| part.is_home).copied()
    }

    /// The home parts that say something now: open and not false; of a risk that has none, all.
    fn speaking(&self) -> Vec<Part<'a>> {
        let counting: Vec<Part<'a>> = self.home().filter(|part| part.finding.counts()).collect();
        if counting.is_empty() { self.home().collect() } else { counting }
    }
}

/// The risk that these findings are.
pub fn assemble(context: &Context<'_>, mut parts: Parts<'_>) -> Risk {
    if let Some(inputs) = parts.silence.take() {
        let founder = parts.founder.id;
        parts.links.push(Link { rule: "silence".to_owned(), from: founder, to: founder, weight_ppm: SILENCE_PPM as i32, inputs });
    }
    let is_silent = parts.links.iter().any(|link| link.rule == "silence");
    let state = state(&parts);
    let speaking = parts.speaking();
    let witnesses = speaking.iter().map(|part| (part.finding, part.weight_ppm));
    let confidence_ppm = confidence(context.policy, witnesses, is_silent);
    let mut severe: Vec<&Finding> = speaking.iter().filter(|part| part.is_anchor).map(|part| part.finding).collect();
    if severe.is_empty() {
        severe = parts.members.iter().filter(|part| part.is_anchor).map(|part| part.finding).collect();
    }
    severe.sort_unstable_by_key(|finding| (Reverse(finding.severity()), finding.id));
    let vulnerabilities = vulnerabilities(&parts);
    let first_seen = parts.home().map(|part| part.finding.first_seen).min().unwrap_or(parts.founder.first_seen);
    let score = scored(context, &parts, &speaking, &severe, &vulnerabilities, confidence_ppm, first_seen, state);
    let anchors: Vec<&Finding> = parts.members.iter().filter(|part| part.is_anchor).map(|part| part.finding).collect();
    let (founder, speaks) = (parts.founder, severe[0]);
    let owners = if founder.owners.is_empty() { &context.facts.owners } else { &founder.owners };
    let (findings_total, links_total) = (parts.members.len() as i32, parts.links.len() as i32);
    Risk {
        risk: id_of(context.service, founder.id),
        service: context.service.to_owned(),
        title: speaks.title.clone(),
        family: family(speaks).to_owned(),
        state,
        evidence: evidence(&parts),
        score,
        confidence_ppm: confidence_ppm as i32,
        founder: founder.id,
        also: also(context.service, founder.id, &anchors),
        asset: founder.asset.clone(),
        anchor: founder.place.clone().into(),
        findings_total,
        links_total,
        vulnerabilities: vulnerabilities.iter().map(|id| shown(id)).take(LIST_ENTRIES).collect(),
        fix: fix(founder, &anchors, severe.into_iter()),
        owners: owners.clone(),
        assigned_to: assigned_to(&parts),
        first_seen,
        findings: members(parts.members),
        links: links(parts.links),
        exceptions: Vec::new(),
    }
}

fn state(parts: &Parts<'_>) -> RiskState {
    if parts.home().all(|part| part.finding.is_false()) {
        RiskState::FalsePositive
    } else if parts.home().any(|part| part.finding.counts()) {
        RiskState::Open
    } else {
        RiskState::Closed
    }
}

fn evidence(parts: &Parts<'_>) -> EvidenceState {
    let counting = || parts.home().map(|part| part.finding).filter(|finding| finding.counts());
    let is_located = counting().any(|finding| matches!(finding.place, Place::Code(_)) && !finding.kind.is_runtime());
    if is_located && counting().any(|finding| finding.kind.is_runtime()) {
        return EvidenceState::Verified;
    }
    let mut kinds = counting().map(|finding| finding.kind);
    let first = kinds.next();
    if kinds.any(|kind| Some(kind) != first) { EvidenceState::Corroborated } else { EvidenceState::Reported }
}

/// The name of the family, where the place itself says what kind of flaw it is.
fn family(finding: &Finding) -> &'static str {
    let family = finding.family();
    match &finding.place {
        Place::Package(_) => "vulnerable-component",
        Place::Secret(_) if !family.is_joinable() => "hardcoded-secret",
        Place::Resource(_) if !family.is_joinable() => "misconfiguration",
        _ => family.name(),
    }
}

fn vulnerabilities<'a>(parts: &Parts<'a>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = parts.home().flat_map(|part| part.finding.learned.vulnerabilities.iter().map(String::as_str)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn also(service: &str, founder: Id, anchors: &[&Finding]) -> Vec<Id> {
    let others = anchors.iter().map(|finding| finding.id).filter(|id| *id != founder);
    let mut ids: Vec<Id> = others.map(|id| id_of(service, id)).collect();
    ids.sort_unstable();
    ids.truncate(ALSO_MOST);
    ids
}

fn assigned_to(parts: &Parts<'_>) -> String {
    let given = parts.home().filter_map(|part| part.finding.assigned.as_ref().map(|(to, at)| (*at, part.finding.id, to)));
    given.max().map_or_else(String::new, |(_, _, to)| to.clone())
}

/// The score of what speaks; of a risk that is not open, as of when it ceased to be.
#[allow(clippy::too_many_arguments)] // the parts of one sum, each worked out above for the record too
fn scored(
    context: &Context<'_>,
    parts: &Parts<'_>,
    speaking: &[Part<'_>],
    severe: &[&Finding],
    vulnerabilities: &[&str],
    confidence_ppm: u32,
    first_seen: Timestamp,
    state: RiskState,
) -> Score {
    let best = severe.iter().filter_map(|finding| finding.cvss.as_ref().map(|(version, tenths)| (*tenths, version, &finding.tool)));
    let cvss = best.max().map(|(tenths, version, tool)| (tenths.clamp(0, 100) as u8, format!("version {version}, {tool}")));
    let said = said_severity(speaking);
    let facts = Facts {
        cvss: cvss.filter(|_| said.is_none()),
        level: said.map_or_else(
            || speaking.iter().map(|part| part.finding.severity).max().unwrap_or(parts.founder.severity),
            |said| said.severity,
        ),
        level_by: said.map(|said| said.actor.clone()),
        threat: threat(context.intel, vulnerabilities),
        exposure: context.facts.exposure,
        tier: context.facts.tier,
        holds_sensitive_data: context.facts.holds_sensitive_data,
        confidence_ppm: confidence_ppm.min(MILLION),
        unreachable_by: unreachable_by(speaking),
        control: None,
        first_seen,
    };
    if state == RiskState::Open {
        return score(context.policy, &facts, context.now);
    }
    let ceased = parts.home().map(|part| part.finding).map(|finding| match &finding.verdict {
        Some(judged) if finding.is_false() => judged.at,
        _ => finding.state_since,
    });
    let ceased = ceased.max().unwrap_or(first_seen);
    Score { changes_at: None, ..score(context.policy, &facts, ceased) }
}

/// The severity that a person gave last to any of what speaks: they are one flaw, so it stands for all that their tools say.
fn said_severity<'a>(speaking: &[Part<'a>]) -> Option<&'a SaidSeverity> {
    let given = speaking.iter().filter_map(|part| part.finding.said.severity.as_ref().map(|said| (said, part.finding.id)));
    given.max_by_key(|(said, id)| (said.at, *id)).map(|(said, _)| said)
}

fn threat(intel: &IntelById, vulnerabilities: &[&str]) -> Threat {
    let mut threat = Threat::default();
    for (id, known) in vulnerabilities.iter().filter_map(|id| intel.get(*id).map(|known| (*id, known))) {
        if let Some(ppm) = known.epss_ppm
            && threat.epss.as_ref().is_none_or(|(most, _)| ppm > *most)
        {
            threat.epss = Some((ppm, shown(id)));
        }
        if let Some(mut kev) = known.kev_of(id) {
            // Several entries of one flaw: the worst of each is known of it.
            if let Some(other) = threat.kev.take() {
                kev.ransomware |= other.ransomware;
                kev.due = match (kev.due, other.due) {
                    (Some(one), Some(two)) => Some(one.min(two)),
                    (one, two) => one.or(two),
                };
                kev.vulnerability = other.vulnerability;
            }
            threat.kev = Some(kev);
        }
        if known.has_exploit && threat.public_exploit.is_none() {
            threat.public_exploit = Some(shown(id));
        }
    }
    threat
}

/// Who says that it cannot be exploited, if it is said of all that speaks.
fn unreachable_by(speaking: &[Part<'_>]) -> Option<String> {
    let mut actors = Vec::new();
    for part in speaking {
        let judged = part.finding.verdict.as_ref().filter(|judged| judged.verdict == Verdict::NotExploitable)?;
        actors.push(judged.actor.as_str());
    }
    actors.into_iter().min().map(str::to_owned)
}

fn members(mut parts: Vec<Part<'_>>) -> Vec<Member> {
    parts.sort_unstable_by_key(|part| (part.finding.state != FindingState::Open, part.finding.id));
    parts.truncate(FINDINGS_SHOWN);
    parts.into_iter().map(|part| member(part.finding, part.is_home)).collect()
}

fn member(finding: &Finding, is_home: bool) -> Member {
    Member {
        finding: finding.id,
        asset: finding.asset.clone(),
        tool: finding.tool.clone(),
        kind: finding.kind,
        rule: finding.rule.clone(),
        title: finding.title.clone(),
        severity: finding.severity(),
        locus: finding.place.clone().into(),
        state: finding.state,
        verdict: finding.verdict.as_ref().map(|judged| judged.verdict),
        is_home,
        first_seen: finding.first_seen,
        version: finding.version,
        lines: finding.lines.clone(),
    }
}

fn links(mut links: Vec<Link>) -> Vec<Link> {
    links.sort_unstable_by(|one, other| {
        let order = |link: &Link| (Reverse(link.weight_ppm), link.from, link.to);
        order(one).cmp(&order(other)).then_with(|| one.rule.cmp(&other.rule))
    });
    links.truncate(LINKS_SHOWN);
    links
}
