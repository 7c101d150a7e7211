//! Whether two findings in one file are at the same place, and which of a file's findings are one flaw.
//!
//! Two places are compared as of one revision: on one line of scans as they are now; across lines at the newest revision that complete
//! scans of both share while both places held. Without such a revision equal code or an equal symbol decides.

use std::collections::BTreeMap;

use faultline_model::id::Id;
use faultline_model::locus::Code;
use faultline_model::time::Timestamp;

use super::facts::{Finding, Line, Lines, Place};
use super::units::Flaw;

/// The most lines between two places that are one: tools name the call, its argument or the statement's first line.
pub const GAP_LINES: i32 = 3;

/// Findings of one file that are one flaw each, as indices: the components of [`is_same_place`] within a family or rule.
pub fn grouped(findings: &[Finding], lines: &Lines) -> Vec<Vec<usize>> {
    let mut by_flaw: BTreeMap<Flaw<'_>, Vec<usize>> = BTreeMap::new();
    for (at, finding) in findings.iter().enumerate() {
        by_flaw.entry(Flaw::of(finding)).or_default().push(at);
    }
    by_flaw.into_values().flat_map(|alike| components(findings, alike, lines)).collect()
}

fn components(findings: &[Finding], mut left: Vec<usize>, lines: &Lines) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    while let Some(first) = left.pop() {
        let mut group = vec![first];
        let mut next = 0;
        while next < group.len() {
            let from = &findings[group[next]];
            let (joined, apart) = left.into_iter().partition(|at| is_same_place(from, &findings[*at], lines));
            left = apart;
            group.extend::<Vec<usize>>(joined);
            next += 1;
        }
        groups.push(group);
    }
    groups
}

/// Whether two findings of one file and one family (or rule) are at the same place.
pub fn is_same_place(one: &Finding, other: &Finding, lines: &Lines) -> bool {
    let (Place::Code(at), Place::Code(other_at)) = (&one.place, &other.place) else { return false };
    let share_a_line = one.tool == other.tool && (one.lines == other.lines || one.lines.iter().any(|line| other.lines.contains(line)));
    if share_a_line && at.line > 0 && other_at.line > 0 {
        return are_near(span(at), span(other_at));
    }
    match at_shared_revision(one, other, lines) {
        Some(near) => near,
        None => is_same_text(at, other_at),
    }
}

fn span(code: &Code) -> (i32, i32) {
    (code.line, code.end_line.max(code.line))
}

fn are_near((first, last): (i32, i32), (other_first, other_last): (i32, i32)) -> bool {
    i64::from(first.max(other_first)) - i64::from(last.min(other_last)) <= i64::from(GAP_LINES)
}

fn is_same_text(one: &Code, other: &Code) -> bool {
    let is_equal = |a: &str, b: &str| !a.is_empty() && a == b;
    is_equal(&one.snippet, &other.snippet) || is_equal(&one.symbol, &other.symbol)
}

/// Whether the places were near at the newest revision that complete scans of both share while both held; `None` without one.
fn at_shared_revision(one: &Finding, other: &Finding, lines: &Lines) -> Option<bool> {
    let mut newest: Option<((Timestamp, &str), bool)> = None;
    for (line, known) in lines_of(one, lines) {
        for (other_line, other_known) in lines_of(other, lines) {
            for revision in &known.revisions {
                let Some(same) = other_known.revisions.iter().find(|same| same.name == revision.name) else { continue };
                let order = (revision.as_of.max(same.as_of), revision.name.as_str());
                if newest.is_some_and(|(known, _)| known > order) {
                    continue;
                }
                let held = held_at(one, line, revision.as_of).zip(held_at(other, other_line, same.as_of));
                let Some((place, other_place)) = held else { continue };
                let near = are_near(place, other_place);
                let already = newest.is_some_and(|(known, near)| known == order && near);
                newest = Some((order, near || already));
            }
        }
    }
    newest.map(|(_, near)| near)
}

fn lines_of<'a>(finding: &'a Finding, lines: &'a Lines) -> impl Iterator<Item = (Id, &'a Line)> {
    finding.lines.iter().filter_map(|id| Some((*id, lines.get(id)?)))
}

/// The lines of code that a finding held on a line of scans as of a time.
fn held_at(finding: &Finding, line: Id, as_of: Timestamp) -> Option<(i32, i32)> {
    let held = finding.held.iter().filter(|held| held.line_of_scans == line && held.since <= as_of && held.line > 0);
    held.max_by_key(|held| (held.since, held.line, held.end_line)).map(|held| (held.line, held.end_line))
}
