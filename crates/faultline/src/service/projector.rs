//! Keeps the views up with the topics: a thread that reads on from where the views are and applies what it finds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use faultline_model::topic::Topic;
use faultline_stream::{Follower, HostError, Log, Readers, Stored};
use faultline_views::{ViewError, ViewRecord, Views};

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

/// What is followed, and from where it is read.
pub struct Followed {
    pub log: Arc<dyn Log>,
    /// On Kafka; embedded the log itself is read.
    pub follower: Option<Follower>,
    pub topics: &'static [Topic],
    pub readers: Arc<Readers>,
    /// Places whose end was compared with the views' position: on Kafka each such question goes to a broker.
    compared: BTreeSet<(&'static str, u32)>,
}

impl Followed {
    pub fn new(log: Arc<dyn Log>, follower: Option<Follower>, topics: &'static [Topic], readers: Arc<Readers>) -> Self {
        Self { log, follower, topics, readers, compared: BTreeSet::new() }
    }

    fn read(&self, topic: &str, partition: u32, from: u64) -> Result<Vec<Stored>, HostError> {
        match &self.follower {
            Some(follower) => follower.read(topic, partition, from, PAGE_RECORDS, PAGE_BYTES),
            None => self.log.read(topic, partition, from, PAGE_RECORDS, PAGE_BYTES),
        }
    }

    /// Whether the views have seen what the log has no more, or never had.
    fn is_behind(&mut self, topic: Topic, partition: u32, position: u64) -> Result<bool, HostError> {
        let Some(follower) = &self.follower else { return Ok(position > self.log.end_offset(topic.name, partition)?) };
        if self.compared.contains(&(topic.name, partition)) {
            return Ok(false);
        }
        let end = follower.end(topic.name, partition)?;
        self.compared.insert((topic.name, partition));
        Ok(position > end)
    }
}

/// The thread that follows.
pub struct Projector {
    stopping: Arc<AtomicBool>,
    log: Arc<dyn Log>,
    thread: Option<JoinHandle<()>>,
}

impl Projector {
    pub fn start(mut followed: Followed, views: Arc<Views>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, until) = (followed.log.clone(), stopping.clone());
        let thread = std::thread::Builder::new().name("views".into()).spawn(move || follow(&mut followed, &views, &until))?;
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

fn follow(followed: &mut Followed, views: &Views, stopping: &AtomicBool) {
    let log = followed.log.clone();
    let mut generation = 0;
    while !stopping.load(Ordering::Acquire) {
        match step(followed, views) {
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
pub fn step(followed: &mut Followed, views: &Views) -> Result<bool, FollowError> {
    let positions = views.positions()?;
    let mut pages = Vec::new();
    for topic in followed.topics {
        for partition in 0..followed.log.partitions(topic.name)? {
            let position = positions.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0);
            if followed.is_behind(*topic, partition, position)? {
                // After a power cut: the log lost what was not durable yet, the views had seen it.
                tracing::warn!(topic = topic.name, partition, "the views are ahead of the log; they are filled anew");
                views.clear()?;
                return Ok(true);
            }
            followed.readers.set(READER, (topic.name, partition), position);
            pages.push((topic.name, partition, followed.read(topic.name, partition, position)?));
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
