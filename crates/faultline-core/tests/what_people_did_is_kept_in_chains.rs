//! The audit stage and its judge: what was altered, taken out, put in, moved or cut off is found.
#![allow(clippy::unwrap_used)]

use faultline_core::audit::{Audit, Head, verify};
use faultline_core::stage::{Batch, Globals, Home, Input, Stage, home_of, one_copy};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::audit::{Act, AuditEntry};
use faultline_model::avro;
use faultline_model::decision::OutcomeStatus;
use faultline_model::time::Timestamp;
use faultline_model::topic::{ACTS, AUDIT, Topic};
use proptest::prelude::*;

struct Nothing;

impl Globals for Nothing {
    fn get(&self, _: Topic, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

fn act(number: i64) -> Act {
    Act {
        actor: "ana".into(),
        at: Timestamp::from_millis(number),
        subject: "PUT /v1/catalog".into(),
        what: format!("version {number}"),
        reason: String::new(),
        key: String::new(),
        status: if number % 3 == 0 { OutcomeStatus::Refused } else { OutcomeStatus::Done },
        because: String::new(),
    }
}

/// What a task makes of acts, over its state.
fn told(state: &mut MemoryStore, acts: impl IntoIterator<Item = Act>) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    for act in acts {
        let value = avro::encode(act).unwrap();
        let mut batch = Batch::new(Overlay::new(state), &Nothing, Timestamp::from_millis(0));
        let input = Input { topic: ACTS, key: "ana", value: Some(&value), time: Timestamp::from_millis(0) };
        Audit.apply(&mut batch, &mut (), &input).unwrap();
        let (changes, outputs) = batch.into_parts();
        state.apply(changes);
        for output in outputs {
            assert_eq!(output.topic, AUDIT);
            let entry: AuditEntry = avro::decode(&output.value.unwrap()).unwrap();
            assert_eq!(output.key, entry.chain.to_string());
            entries.push(entry);
        }
    }
    entries
}

#[test]
fn a_chain_goes_on_over_restarts_and_is_whole() {
    let mut state = MemoryStore::default();
    let mut entries = told(&mut state, (1..4).map(act));
    entries.extend(told(&mut state, (4..6).map(act)));
    let report = verify(entries.clone(), &[]);
    assert_eq!((report.chains.len(), report.chains[0].entries, report.faults.len()), (1, 5, 0), "{report:?}");
    assert_eq!(report.heads[0].hash, entries[4].hash);
    // What retention took away from the beginning is no fault, and is told.
    let later = verify(entries[2..].to_vec(), &report.heads);
    assert_eq!((later.chains[0].first, later.faults.len()), (3, 0));
}

#[test]
fn what_was_cut_off_is_found_by_a_head_that_was_kept() {
    let entries = told(&mut MemoryStore::default(), (1..6).map(act));
    let heads = verify(entries.clone(), &[]).heads;
    assert!(verify(entries[..4].to_vec(), &[]).faults.is_empty(), "nobody else can tell");
    assert!(verify(entries[..4].to_vec(), &heads).faults[0].what.contains("gone"));
    assert_eq!(told(&mut MemoryStore::default(), (1..6).map(act)), entries, "the same acts make the same chain");
    let text = serde_json::to_string(&verify(entries, &[])).unwrap();
    assert_eq!(Head::read_all(&text).unwrap(), heads);
    assert!(Head::read_all("{}").unwrap_err().to_string().contains("no heads"));
}

#[test]
fn under_another_partition_count_new_chains_go_on_from_all_that_ended() {
    let mut states = [MemoryStore::default(), MemoryStore::default()];
    let mut entries = Vec::new();
    for (at, state) in states.iter_mut().enumerate() {
        entries.extend(told(state, (1..3).map(|number| act(number + 10 * at as i64))));
    }
    let copies = states.iter().map(|state| {
        let (key, row) = state.iter().next().unwrap();
        assert_eq!(home_of(b"audit", state, key).unwrap(), Home::Everywhere);
        row.clone()
    });
    let copies: Vec<Vec<u8>> = copies.collect();
    let row = one_copy(b"audit", &[1], copies).unwrap();
    for number in 0..3 {
        let mut state = MemoryStore::default();
        state.apply([(vec![1], Some(row.clone()))].into_iter().collect());
        // One of them has nothing to tell.
        entries.extend(told(&mut state, (0..number).map(|n| act(100 + 10 * number + n))));
    }
    let report = verify(entries.clone(), &[]);
    assert_eq!((report.chains.len(), report.faults.len()), (4, 0), "{report:?}");
    // Without the end of one of the first chains the others do not fit.
    let cut: Vec<AuditEntry> = entries.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, entry)| entry.clone()).collect();
    assert_eq!(verify(cut, &[]).faults.len(), 2);
}

proptest! {
    /// Whatever one thing somebody does to an export in its midst is found.
    #[test]
    fn what_is_done_to_an_export_is_found(count in 3_usize..12, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), how in 0..9) {
        let entries = told(&mut MemoryStore::default(), (1..=count as i64).map(act));
        let at = at.index(count - 1);
        let mut done = entries.clone();
        let victim = &mut done[at];
        match how {
            0 => victim.act.actor.push('a'),
            1 => victim.act.at = Timestamp::from_millis(victim.act.at.millis() + 1),
            2 => victim.act.status = if victim.act.status == OutcomeStatus::Done { OutcomeStatus::Refused } else { OutcomeStatus::Done },
            // From one field into the next.
            3 => { victim.act.what = String::new(); victim.act.reason = entries[at].act.what.clone(); }
            4 => {
                // Sealed anew, which only its own hash shows then.
                let entry = victim.clone();
                *victim = AuditEntry::sealed(entry.chain, entry.number, entry.previous, Act { because: "so".into(), ..entry.act });
            }
            5 => { let entry = done[at].clone(); done.insert(at, entry); }
            6 => {
                let to = (at + 1 + to.index(count - 1)) % count;
                done.swap(at, to);
            }
            7 if at > 0 => { done.remove(at); }
            _ => victim.number += 1,
        }
        prop_assert!(!verify(done, &[]).faults.is_empty());
        prop_assert!(verify(entries, &[]).faults.is_empty());
    }
}

#[test]
fn the_published_example_can_be_computed_by_anybody() {
    let chain = told(&mut MemoryStore::default(), [act(1)]).remove(0);
    // By the words of schemas/audit.avsc, without our code.
    let act = &chain.act;
    let texts = [
        chain.chain.to_string(),
        "1".into(),
        String::new(),
        act.actor.clone(),
        "1".into(),
        act.subject.clone(),
        act.what.clone(),
        String::new(),
        String::new(),
        "done".into(),
        String::new(),
    ];
    let bytes: Vec<u8> = texts.iter().flat_map(|text| (text.len() as u64).to_le_bytes().into_iter().chain(text.bytes())).collect();
    assert_eq!(chain.hash, blake3::hash(&bytes).to_hex().to_string());
}
