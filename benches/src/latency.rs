//! From a small report's append to its risk's being readable, under background load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use faultline_model::avro;
use faultline_model::time::Timestamp;
use faultline_model::topic::FINDINGS;
use faultline_stream::{Log, append};
use faultline_views::{TOPICS, ViewRecord, Views, Within};

use crate::report::{Report, report};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long one report may take before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// A tick of the background load.
const TICK: Duration = Duration::from_millis(50);

/// Milliseconds of each of so many reports, sorted; `load` gives the background's records, `per_second` of them.
pub fn measure(
    log: &Arc<dyn Log>,
    views: &Arc<Views>,
    now: Timestamp,
    reports: usize,
    per_second: usize,
    load: impl Iterator<Item = (String, Vec<u8>)> + Send,
) -> Fallible<Vec<f64>> {
    let stopping = AtomicBool::new(false);
    let (heard, applied) = sync_channel(1);
    views.after_apply(move || {
        // One word is enough to look again.
        let _ = heard.try_send(());
    });
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&**log, views, &stopping));
        let background = scope.spawn(|| background(&**log, now, per_second, load, &stopping));
        let measured = (0..reports).map(|number| one(&**log, views, now, number, &applied)).collect::<Fallible<Vec<f64>>>();
        stopping.store(true, Ordering::Release);
        log.wake();
        follower.join().map_err(|_| "the views stopped")??;
        background.join().map_err(|_| "the background load stopped")??;
        let mut measured = measured?;
        measured.sort_by(f64::total_cmp);
        Ok(measured)
    })
}

/// Keeps the views up with the log.
fn follow(log: &dyn Log, views: &Views, stopping: &AtomicBool) -> Fallible<()> {
    let mut generation = 0;
    while !stopping.load(Ordering::Acquire) {
        let positions = views.positions()?;
        let mut pages = Vec::new();
        for topic in TOPICS {
            for partition in 0..log.partitions(topic.name)? {
                let from = positions.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0);
                pages.push((topic.name, partition, log.read(topic.name, partition, from, 2048, 4 << 20)?));
            }
        }
        let batch: Vec<ViewRecord<'_>> = pages
            .iter()
            .flat_map(|(topic, partition, page)| page.iter().map(move |one| (topic, *partition, one)))
            .map(|(topic, partition, one)| ViewRecord { topic, partition, offset: one.offset, key: &one.key, value: one.value.as_deref() })
            .collect();
        if batch.is_empty() {
            generation = log.wait_for_change(generation, Duration::from_millis(100));
        } else {
            views.apply(&batch)?;
        }
    }
    Ok(())
}

fn background(
    log: &dyn Log,
    now: Timestamp,
    per_second: usize,
    load: impl Iterator<Item = (String, Vec<u8>)>,
    stopping: &AtomicBool,
) -> Fallible<()> {
    let mut load = load.peekable();
    let begun = Instant::now();
    let mut ticks = 0;
    while !stopping.load(Ordering::Acquire) && load.peek().is_some() {
        let a_tick = per_second * TICK.as_millis() as usize / 1000;
        let piece = load.by_ref().take(a_tick).map(|(key, value)| (key, Some(value))).collect();
        append(log, FINDINGS, piece, now, &[])?;
        ticks += 1;
        std::thread::sleep((TICK * ticks).saturating_sub(begun.elapsed()));
    }
    Ok(())
}

/// One report with one new finding; milliseconds until its risk can be read.
fn one(log: &dyn Log, views: &Views, now: Timestamp, number: usize, applied: &Receiver<()>) -> Fallible<f64> {
    let Report { asset, records, risks, .. } = report(number, 1, now)?;
    let records = records.into_iter().map(|record| Ok((asset.to_string(), Some(avro::encode(record)?)))).collect::<Fallible<Vec<_>>>()?;
    let begun = Instant::now();
    append(log, FINDINGS, records, now, &[])?;
    while views.risk(risks[0], &Within::everything())?.is_none() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("report {number} was not readable after {PATIENCE:?}").into());
        }
        // Woken by the next batch, or looked at again: the word may have come before the question.
        let _ = applied.recv_timeout(Duration::from_millis(5));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
