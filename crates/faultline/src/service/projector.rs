//! Keeps the views up with the topics: a thread that reads on from where the views are and applies what it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use faultline_stream::{HostError, Log, Readers};
use faultline_views::{TOPICS, ViewError, ViewRecord, Views};

/// How much of one partition is read at once.
const PAGE_RECORDS: usize = 2048;
const PAGE_BYTES: usize = 4 << 20;
/// How long it sleeps when nobody wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// As whom it says how far it is, so that retention drops nothing that it needs.
const READER: &str = "views";

/// Why the views do not follow.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Log(#[from] HostError),
    #[error(transparent)]
    Views(#[from] ViewError),
}

/// The thread that follows.
pub struct Projector {
    stopping: Arc<AtomicBool>,
    log: Arc<dyn Log>,
    thread: Option<JoinHandle<()>>,
}

impl Projector {
    pub fn start(log: Arc<dyn Log>, views: Arc<Views>, readers: Arc<Readers>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (follows, until) = (log.clone(), stopping.clone());
        let thread = std::thread::Builder::new().name("views".into()).spawn(move || follow(&*follows, &views, &readers, &until))?;
        Ok(Self { stopping, log, thread: Some(thread) })
    }

    /// Ends the batch that has begun, and the thread.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.log.wake();
        if let Some(thread) = self.thread.take() {
            // A panic was told by its own message.
            let _ = thread.join();
        }
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.join();
    }
}

fn follow(log: &dyn Log, views: &Views, readers: &Readers, stopping: &AtomicBool) {
    let mut generation = 0;
    while !stopping.load(Ordering::Acquire) {
        match step(log, views, readers) {
            Ok(true) => {}
            Ok(false) => generation = log.wait_for_change(generation, IDLE),
            Err(error) => {
                tracing::error!(%error, "the views do not follow; trying again");
                generation = log.wait_for_change(u64::MAX, IDLE);
            }
        }
    }
}

/// One round over all partitions; whether anything was there.
pub fn step(log: &dyn Log, views: &Views, readers: &Readers) -> Result<bool, FollowError> {
    let positions = views.positions()?;
    let mut pages = Vec::new();
    for topic in TOPICS {
        for partition in 0..log.partitions(topic.name)? {
            let position = positions.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0);
            if position > log.end_offset(topic.name, partition)? {
                // After a power cut: the log lost what was not durable yet, the views had seen it.
                tracing::warn!(topic = topic.name, partition, "the views are ahead of the log; they are filled anew");
                views.clear()?;
                return Ok(true);
            }
            readers.set(READER, (topic.name, partition), position);
            pages.push((topic.name, partition, log.read(topic.name, partition, position, PAGE_RECORDS, PAGE_BYTES)?));
        }
    }
    let batch: Vec<ViewRecord<'_>> = pages
        .iter()
        .flat_map(|(topic, partition, page)| page.iter().map(move |stored| (topic, partition, stored)))
        .map(|(topic, partition, stored)| ViewRecord {
            topic,
            partition: *partition,
            offset: stored.offset,
            key: &stored.key,
            value: stored.value.as_deref(),
        })
        .collect();
    if batch.is_empty() {
        return Ok(false);
    }
    let applied = views.apply(&batch)?;
    for left in &applied.named {
        tracing::warn!(
            topic = left.topic,
            partition = left.partition,
            offset = left.offset,
            reason = left.reason,
            "the views left a record out"
        );
    }
    Ok(true)
}
