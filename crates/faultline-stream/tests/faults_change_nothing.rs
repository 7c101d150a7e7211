//! Whatever order, repetition, crash, delay or bound: at rest the topics hold what an undisturbed run holds.
#![allow(clippy::unwrap_used)]

mod toys;

use std::cell::Cell;
use std::time::Duration;

use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_core::store::Store;
use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;
use faultline_stream::testing::{
    Delivery, Divergence, Random, Said, Scenario, Topology, for_each_seed, judge, judge_on_cluster, judge_without_room,
};
use toys::{Amounts, FACTORS, FACTS, FACTS_BULK, Sums, VETOES};

/// Half of the facts have ended by then.
const END: i64 = 1_000;

fn history(random: &mut Random) -> Vec<Said> {
    let mut said = Vec::new();
    for _ in 0..20 + random.below(60) {
        let time = Timestamp::from_millis(random.between(0, END));
        let asset = format!("{}-{}", ["shop", "bank", "blog", "mail", "news", "maps", "chat"][random.below(7)], random.below(3));
        let id = random.below(5);
        let (topic, key, value) = match random.below(20) {
            0 => (FACTORS, format!("f{}", random.below(2)), (!random.once_in(4)).then(|| random.below(9).to_string())),
            1 => (VETOES, asset, Some(id.to_string())),
            2 => (FACTS, asset, Some(["what?", "late", "end f0 1 5000"][random.below(3)].to_owned())),
            3 => (FACTS, asset, None),
            _ => {
                let (factor, amount, until) = (random.below(3), random.below(100), random.between(0, 2 * END));
                (FACTS, asset, Some(format!("{id} f{factor} {amount} {until}")))
            }
        };
        let topic = if topic == FACTS && random.once_in(3) { FACTS_BULK } else { topic };
        said.push(Said { topic, key, value: value.map(String::into_bytes), time });
    }
    said
}

fn scenario(seed: u64) -> Scenario {
    Scenario {
        plans: toys::plans(),
        topology: Topology::default().with(Amounts).with(Sums),
        history: history(&mut Random::new(seed ^ 0xfeed)),
        end: Timestamp::from_millis(END),
        clock_drift: Duration::from_millis(300),
    }
}

#[test]
fn faults_change_nothing() {
    for_each_seed(|seed| judge(&scenario(seed), seed));
}

/// The same over brokers: processes share the tasks, are killed, stopped and cut off, and lose their disks.
#[test]
fn faults_of_a_cluster_change_nothing() {
    let (runs, joint) = (Cell::new(0), Cell::new(0));
    for_each_seed(|seed| {
        joint.set(joint.get() + judge_on_cluster(&scenario(seed), Delivery::Again, seed)?);
        runs.set(runs.get() + 1);
        Ok::<_, Divergence>(())
    });
    // A few seeds may have none.
    assert!(runs.get() < 20 || joint.get() > runs.get(), "{} runs, {} transactions of several tasks", runs.get(), joint.get());
}

/// A stage that is right only where each record is worked on once.
struct Counts;

impl Stage for Counts {
    const NAME: &'static str = "counts";
    const INPUTS: &'static [Topic] = &[FACTS];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let row = [&[1], input.key.as_bytes()].concat();
        let count = batch.state.get(&row)?.map_or(1, |row| row[0].saturating_add(1));
        batch.state.put(row, [count]);
        batch.emit(toys::SUMS, input.key.to_owned(), toys::number(i64::from(count)))
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

#[test]
fn on_a_cluster_each_record_is_worked_on_once() {
    for_each_seed(|seed| {
        judge_on_cluster(&Scenario { topology: Topology::default().with(Counts), ..scenario(seed) }, Delivery::Once, seed).map(drop)
    });
}

/// A commit that stands on the brokers and found no room on the disk: its task stops, and loses and doubles nothing once it is opened again.
#[test]
fn a_task_without_room_stops_alone_and_goes_on_where_there_is_some() {
    let (runs, behind) = (Cell::new(0), Cell::new(0));
    let judge = |seed, topology| {
        let was_behind = judge_without_room(&Scenario { topology, ..scenario(seed) }, seed)?;
        behind.set(behind.get() + u32::from(was_behind));
        runs.set(runs.get() + 1);
        Ok::<_, Divergence>(())
    };
    for_each_seed(|seed| judge(seed, Topology::default().with(Counts)));
    for_each_seed(|seed| judge(seed, Topology::default().with(Amounts).with(Sums)));
    // Of a few seeds the share says nothing.
    let is_enough = runs.get() < 100 || behind.get() * 5 > runs.get();
    assert!(is_enough, "{} of {} stopped behind a commit: that shows too little", behind.get(), runs.get());
}

/// So that the judge is one: what is not idempotent is found out within a few seeds.
#[test]
fn a_stage_that_counts_deliveries_is_found_out() {
    let found = (0..20).find_map(|seed| judge(&Scenario { topology: Topology::default().with(Counts), ..scenario(seed) }, seed).err());
    assert!(matches!(found, Some(Divergence::Value { topic: "sums", .. })), "{found:?}");
}
