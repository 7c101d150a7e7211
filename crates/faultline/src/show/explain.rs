//! One risk in full.

use std::fmt::Write;

use faultline_model::decision::Verdict;
use faultline_model::locus::Locus;
use faultline_model::observation::Severity;
use faultline_model::risk::{Covering, EvidenceState, Member, Risk, RiskState};
use faultline_model::tracked::FindingState;

use super::{clean, fraction, place};

/// The name of a band or level.
fn band(level: Severity) -> &'static str {
    level.name()
}

/// What stands in lists and heads for a state.
pub fn state(state: RiskState) -> &'static str {
    match state {
        RiskState::Open => "open",
        RiskState::Accepted => "accepted",
        RiskState::Closed => "closed",
        RiskState::FalsePositive => "false positive",
    }
}

/// What stands in lists and heads for evidence.
pub fn evidence(evidence: EvidenceState) -> &'static str {
    match evidence {
        EvidenceState::Reported => "reported",
        EvidenceState::Corroborated => "corroborated",
        EvidenceState::Verified => "verified",
    }
}

/// The whole story of a risk.
pub fn explain(risk: &Risk) -> String {
    let mut text = String::new();
    head(&mut text, risk);
    proof(&mut text, risk);
    members(&mut text, risk);
    links(&mut text, risk);
    score(&mut text, risk);
    fix(&mut text, risk);
    text
}

/// Writing into a String cannot fail.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => { let _ = writeln!($text, $($arguments)*); };
}

fn head(text: &mut String, risk: &Risk) {
    line!(text, "{}", clean(&risk.title));
    line!(
        text,
        "  score {} ({}) · {} · {} · confidence {}",
        risk.score.total,
        band(risk.score.band),
        state(risk.state),
        evidence(risk.evidence),
        fraction(risk.confidence_ppm)
    );
    let owners = if risk.owners.is_empty() { "nobody".to_owned() } else { clean(&risk.owners.join(", ")) };
    let assigned = if risk.assigned_to.is_empty() { String::new() } else { format!(" · assigned to {}", clean(&risk.assigned_to)) };
    line!(text, "  service {} · owned by {owners}{assigned}", clean(&risk.service));
    line!(text, "  first seen {} · due {} · {}", risk.first_seen.date(), risk.score.due.date(), risk.family);
    line!(text, "  {} · {}", clean(risk.asset.as_str()), place(&risk.anchor));
    if !risk.vulnerabilities.is_empty() {
        line!(text, "  {}", clean(&risk.vulnerabilities.join(", ")));
    }
    line!(text, "  id {}", risk.risk);
    for covering in &risk.exceptions {
        line!(text, "  {} {}", exception(covering), covering.exception);
    }
}

/// What an exception is to a risk.
fn exception(covering: &Covering) -> String {
    let broken: Vec<&str> = covering.broken.iter().map(|broken| broken.name()).collect();
    match (covering.at_anchor, broken.as_slice()) {
        (true, []) => "accepted by exception".to_owned(),
        (true, broken) => {
            format!("open, though there is an exception: it breaks what that assumes ({}):", broken.join(", ").replace('_', " "))
        }
        (false, _) => "open and contested, as it is about more than the finding of exception".to_owned(),
    }
}

/// How what was proved at runtime and what stands in code come together.
fn proof(text: &mut String, risk: &Risk) {
    let Some(link) = risk.links.iter().find(|link| ["confirmed", "route-handler"].contains(&link.rule.as_str())) else { return };
    line!(text, "\nProved at runtime, located in code");
    for input in &link.inputs {
        line!(text, "  {}", clean(input));
    }
    let attacked = risk.findings.iter().filter(|member| [link.from, link.to].contains(&member.finding));
    for member in attacked {
        if let Locus::Route(route) = &member.locus
            && !route.parameter.is_empty()
        {
            line!(text, "  parameter {} was attacked", clean(&route.parameter));
        }
    }
}

fn members(text: &mut String, risk: &Risk) {
    line!(text, "\nEvidence: {} finding{}", risk.findings_total, if risk.findings_total == 1 { "" } else { "s" });
    for member in &risk.findings {
        line!(text, "  {} ({}): {}", clean(&member.tool), member.kind.name(), clean(&member.title));
        line!(text, "    {} · {} · rule {}", place(&member.locus), clean(member.asset.as_str()), clean(&member.rule));
        line!(text, "    {} · first seen {} · {}", standing(member), member.first_seen.date(), member.finding);
    }
    let rest = risk.findings_total - risk.findings.len() as i32;
    if rest > 0 {
        line!(text, "  and {rest} more");
    }
}

fn standing(member: &Member) -> String {
    let state = match member.state {
        FindingState::Open => "open",
        FindingState::Unknown => "unknown",
        FindingState::Closed => "closed",
    };
    let verdict =
        member.verdict.filter(|verdict| *verdict != Verdict::Withdrawn).map(|verdict| format!(", {}", verdict.name().replace('_', " ")));
    let home = if member.is_home { "" } else { ", at home in another risk" };
    format!("{state}{}{home}", verdict.unwrap_or_default())
}

fn links(text: &mut String, risk: &Risk) {
    if risk.links.is_empty() {
        return;
    }
    line!(text, "\nWhy these are one risk");
    for link in &risk.links {
        let tool = |id| risk.findings.iter().find(|member| member.finding == id).map_or("…", |member| member.tool.as_str());
        line!(
            text,
            "  {} {}: {} ↔ {}: {}",
            link.rule,
            fraction(link.weight_ppm),
            clean(tool(link.from)),
            clean(tool(link.to)),
            clean(&link.inputs.join(", "))
        );
    }
    let rest = risk.links_total - risk.links.len() as i32;
    if rest > 0 {
        line!(text, "  and {rest} more");
    }
}

fn score(text: &mut String, risk: &Risk) {
    line!(text, "\nScore (policy {})", clean(&risk.score.policy_version));
    for part in &risk.score.contributions {
        let name = format!("{:?}", part.factor).to_lowercase();
        line!(text, "  {:>+5}  {name:<13} {}", part.points, clean(&part.because));
    }
    line!(text, "  {:>5}  {}", risk.score.total, if risk.score.inherent == risk.score.total { "" } else { "with controls" });
    if risk.score.inherent != risk.score.total {
        line!(text, "  {:>5}  without controls", risk.score.inherent);
    }
}

fn fix(text: &mut String, risk: &Risk) {
    line!(text, "\nFix: {} {}", risk.fix.kind.replace('_', " "), clean(&risk.fix.what));
    if !risk.fix.fixed_versions.is_empty() {
        line!(text, "  fixed in {}", clean(&risk.fix.fixed_versions.join(", ")));
    }
    if !risk.fix.guidance.is_empty() {
        line!(text, "  {}", super::short(&risk.fix.guidance, 400));
    }
}
