//! What a host refuses, and what to do next.

use std::path::{Path, PathBuf};

use faultline_core::stage::{FormatError, StageError};

use crate::commit::TaskId;

/// A task that stopped, and why, with all causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub task: TaskId,
    pub reason: String,
}

impl Failure {
    pub(crate) fn of(task: TaskId, error: &HostError) -> Self {
        Self { task, reason: chain(error) }
    }
}

/// An error with all its causes, each said once: a transparent one says what its cause says.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    for cause in causes(error).skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn first(failures: &[Failure]) -> &str {
    failures.first().map_or("none", |failure| &failure.reason)
}

fn listed(counts: &[(&'static str, u32)]) -> String {
    let counts: Vec<String> = counts.iter().map(|(topic, count)| format!("{topic} with {count} partitions")).collect();
    counts.join(", ")
}

/// How systems say that a disk, or a user's part of it, is full. RocksDB hands their words on and has no kind of error for them.
const NO_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

fn is_no_space(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError && NO_SPACE.iter().any(|words| error.as_ref().contains(words))
}

impl HostError {
    /// What a write below a folder failed with.
    pub(crate) fn write(path: &Path, source: rocksdb::Error) -> Self {
        let path = path.to_owned();
        if is_no_space(&source) { Self::NoSpace { path, source: source.into() } } else { Self::Write { path, source } }
    }

    /// What a folder could not be opened for.
    pub(crate) fn open(path: &Path, source: rocksdb::Error) -> Self {
        let path = path.to_owned();
        if is_no_space(&source) { Self::NoSpace { path, source: source.into() } } else { Self::Open { path, source } }
    }

    /// What a folder, or a mark beside it, could not be made for.
    pub(crate) fn folder(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace { path, source: source.into() },
            _ => Self::Folder { path, source },
        }
    }

    /// Whether a task that met it is right to be opened again from what is committed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(error) => error.is_passing(),
            // What a stage looked up in a global topic, which is the log's to answer.
            Self::Stage { source, .. } => causes(source).any(|cause| cause.downcast_ref::<Self>().is_some_and(Self::is_passing)),
            _ => false,
        }
    }

    /// Whether RocksDB cannot read what is on disk. A row that only a stage cannot read may be so in its changelog as well.
    #[cfg(feature = "kafka")]
    pub(crate) fn is_damage(&self) -> bool {
        let is_corrupt = |error: &rocksdb::Error| error.kind() == rocksdb::ErrorKind::Corruption;
        causes(self).any(|cause| cause.downcast_ref().is_some_and(is_corrupt))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{} is in use by another faultline; stop it, or choose another folder (two processes must not share one)", .path.display())]
    InUse {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{} could not be opened; see the cause. If it names corruption, move the folder aside and restore a checkpoint", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("{} could not be made; check that the folder above exists and may be written", .path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} was written in format {found}, this faultline knows formats up to {known}; install the newer version", .path.display())]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} was written in format {found}, which this faultline reads no more (it reads {known}); begin a new folder and publish again, or install the older version", .path.display())]
    OlderFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} has {found} partitions, but {asked} are configured; set partitions to {found}, or begin a new folder", .path.display())]
    Partitions { path: PathBuf, found: u32, asked: u32 },
    #[error("the topic plan cannot be used: {reason}")]
    Plan { reason: String },
    #[error("{} keeps state of Kafka cluster {found}, but {asked} answers; name the right brokers, or choose another folder", .path.display())]
    OtherCluster { path: PathBuf, found: String, asked: String },
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] crate::kafka::KafkaError),
    #[error("records could not be compressed: {reason}; this is a fault of faultline, or memory is out")]
    Compression { reason: &'static str },
    #[error("topic {topic:?} is not in the topic plan; this is a fault of faultline, or the folder is of another version")]
    UnknownTopic { topic: String },
    #[error("topic {topic} has partitions 0 to {}, not {partition}; the key was placed with another partition count", .partitions - 1)]
    UnknownPartition { topic: String, partition: u32, partitions: u32 },
    #[error("a record of {bytes} bytes for topic {topic} is larger than the bound of {bound}; split it or leave evidence out")]
    RecordTooLarge { topic: &'static str, bytes: usize, bound: usize },
    #[error("topic {topic} is kept by time, not by key; there is no newest record of a key")]
    NotCompacted { topic: String },
    #[error("topic {topic} is compacted: its records are facts that hold, and are not truncated")]
    NotByTime { topic: String },
    #[error("{topic}/{partition} cannot be truncated below {below}: a task is still at {least_position}; wait until it has caught up")]
    StillNeeded { topic: String, partition: u32, below: u64, least_position: u64 },
    #[error("task {task} is at {position} of {topic}/{partition}, which ends at {end}; its state is ahead of its log: set it aside")]
    AheadOfLog { task: TaskId, topic: &'static str, partition: u32, position: u64, end: u64 },
    #[error("the log could not be read; see the cause, then restart")]
    Read {
        #[source]
        source: rocksdb::Error,
    },
    #[error("no space is left on the disk of {}: nothing more is accepted there, and what was acknowledged or committed holds; free space, then restart", .path.display())]
    NoSpace {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{} could not be written, and nothing more is accepted there; mend the disk (see the cause), then restart", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("an earlier write failed, so that nothing more is accepted; see the first error, then restart")]
    Stopped,
    #[error("no checkpoint was made at {}; the folder must not exist yet, and lie on the same disk to be cheap", .path.display())]
    Checkpoint {
        path: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("stage {stage} reads {}: inputs that share a key need the same partition count; set it before anything is written", listed(.counts))]
    PartitionsDiffer { stage: &'static str, counts: Vec<(&'static str, u32)> },
    #[error("stage {stage} is added twice; each stage runs once a host")]
    StageTwice { stage: &'static str },
    #[error("task {task} stopped, nothing of its last batch was committed; see the cause, then restart")]
    Stage {
        task: TaskId,
        #[source]
        source: StageError,
    },
    #[error("task {task} is not worked on")]
    Format {
        task: TaskId,
        #[source]
        source: FormatError,
    },
    #[error("stage {stage} cannot be run")]
    StageFormat {
        stage: &'static str,
        #[source]
        source: FormatError,
    },
    #[error("task {task} stopped: its pending work or a timer met what it cannot work on ({reason}); mend that record, then restart")]
    PendingPoison { task: TaskId, reason: String },
    #[error("task {task} stopped: its stage wrote row {key:02x?}, and rows that begin with 0 are the host's; this is a fault of faultline")]
    ReservedRow { task: TaskId, key: Vec<u8> },
    #[error(
        "task {task} stopped by a fault of faultline: {message}; nothing of its last batch was committed; please report it, then restart"
    )]
    Panicked { task: TaskId, message: String },
    #[error("{} of the tasks stopped, the first: {}", .failures.len(), first(.failures))]
    TasksFailed { failures: Vec<Failure> },
    #[error("a thread could not be started; check the limits on threads and memory")]
    Thread {
        #[source]
        source: std::io::Error,
    },
    #[error("{row} cannot be understood: {reason}; move the folder aside and restore a checkpoint")]
    Corrupt { row: String, reason: &'static str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_the_folder_the_cause_and_what_to_do() {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded] {
            let error = HostError::folder(Path::new("/data/kafka"), kind.into());
            assert!(matches!(error, HostError::NoSpace { .. }) && !error.is_passing(), "{error:?}");
            let Failure { reason, .. } = Failure::of(TaskId { stage: "track", partition: 3 }, &error);
            assert!(reason.contains("disk of /data/kafka") && reason.contains("free space, then restart"), "{reason}");
            assert!(reason.ends_with(&format!(": {kind}")), "{reason}");
        }
        let denied = HostError::folder(Path::new("/data/kafka"), std::io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, HostError::Folder { .. }), "{denied:?}");
    }
}
