//! An exception on its way: what three people do with it, one after the other.
#![allow(dead_code)] // each test file uses its part

use faultline_model::exception::{Assumptions, Category, Scope, Step, StepRecord, Terms};
use faultline_model::id::Id;
use faultline_model::time::Timestamp;

pub fn exception(slot: u8) -> Id {
    Id([slot; 16])
}

/// So many of its steps, from being written to being granted, under the key of each record.
pub fn steps(slot: u8, scope: Scope, at: Timestamp, ends: Timestamp, many: usize) -> Vec<(String, StepRecord)> {
    let terms = Terms {
        title: "t".into(),
        scope,
        category: Category::Accept,
        reason: "r".into(),
        controls: vec![],
        assumptions: Assumptions::default(),
        evidence: vec![],
        starts: None,
        review_at: ends,
        ends,
        covers_at_most: 1_000_000,
    };
    let all = [("ana", Step::Propose(Box::new(terms))), ("ana", Step::Request), ("ben", Step::Review), ("cem", Step::Approve)];
    let record = |(number, (actor, step)): (usize, (&str, Step))| {
        let (subject, key, actor, reason) = (exception(slot), format!("{slot}/{number}"), actor.to_owned(), String::new());
        (subject.to_string(), StepRecord { key, subject, actor, reason, at, expected_version: Some(number as i32), step, response: None })
    };
    all.into_iter().take(many).enumerate().map(record).collect()
}

/// All packages with a vulnerability.
pub fn packages() -> Scope {
    Scope { family: "vulnerable-component".into(), ..Scope::default() }
}
