//! What a host counts: one list of metrics, filled by tasks once a batch, read when somebody asks.
//!
//! What it is: numbers under the names that Prometheus expects. What it is not: a server; who exports them walks
//! [`Telemetry::families`], or takes [`text`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use faultline_model::time::Timestamp;

use crate::clock::{Clock, SystemClock};
use crate::commit::TaskId;
use crate::log::{Log, Place};
use crate::sync::held;

/// Upper bounds of a histogram's buckets, in microseconds; one more has all.
const BUCKETS_MICROS: [u64; 13] =
    [100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 60_000_000, 600_000_000];

/// Whether a task works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TaskState {
    #[default]
    Running,
    /// Its state is being brought here: so many rows of its changelog are read, of about so many.
    Restoring { restored: u64, of: u64 },
    /// It stopped for this reason and stays stopped; the others go on.
    Failed { reason: String },
}

/// Where a task is in one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputStatus {
    pub topic: &'static str,
    pub partition: u32,
    /// The next offset to read.
    pub position: u64,
    /// The offset that the next record will get.
    pub end: u64,
}

/// What can be seen of a task from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    pub task: TaskId,
    pub state: TaskState,
    pub inputs: Vec<InputStatus>,
    /// Whether work beyond the inputs is left.
    pub has_pending: bool,
    /// The time that its stage last saw.
    pub now: Timestamp,
}

impl TaskStatus {
    /// Records of all inputs that are still to be read; offsets of compacted topics have gaps, so it may be less.
    pub fn lag(&self) -> u64 {
        self.inputs.iter().map(|input| input.end.saturating_sub(input.position)).sum()
    }
}

/// What one task counts. Held for moments only, once a batch.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) state: TaskState,
    pub(crate) positions: BTreeMap<Place, u64>,
    /// The time of the record that was read last, by place.
    pub(crate) times: BTreeMap<Place, i64>,
    pub(crate) has_pending: bool,
    /// Whether there is bulk to read, and the reader of what follows has not caught up.
    pub(crate) bulk_waits: bool,
    pub(crate) now: Timestamp,
    /// In which the rows of its state are written; none as long as it is not open.
    pub(crate) format: u16,
    pub(crate) consumed: Counts,
    pub(crate) produced: Counts,
    pub(crate) misplaced: Counts,
    pub(crate) dead_letters: Counts,
    pub(crate) commits: Histogram,
    /// From when the oldest record behind a batch came in to the batch's commit.
    pub(crate) end_to_end: Histogram,
    pub(crate) read: Duration,
    pub(crate) apply: Duration,
}

type Counts = BTreeMap<&'static str, u64>;

impl Meter {
    /// Adds what a batch did.
    pub(crate) fn count(&mut self, consumed: Counts, misplaced: Counts, dead_letters: Counts, produced: Vec<&'static str>) {
        let add = |sums: &mut Counts, more: Counts| more.into_iter().for_each(|(topic, count)| *sums.entry(topic).or_default() += count);
        add(&mut self.consumed, consumed);
        add(&mut self.misplaced, misplaced);
        add(&mut self.dead_letters, dead_letters);
        for topic in produced {
            *self.produced.entry(topic).or_default() += 1;
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [u64; BUCKETS_MICROS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&mut self, took: Duration) {
        let micros = took.as_micros();
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS_MICROS) {
            *bucket += u64::from(micros <= u128::from(bound));
        }
        self.count += 1;
        self.sum += took;
    }

    fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

/// One number of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What stands behind the family's name: `_bucket`, `_sum`, `_count` of a histogram.
    pub suffix: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// The meters of a host's tasks, and the log that they read.
pub struct Telemetry {
    log: Arc<dyn Log>,
    tasks: RwLock<Vec<(TaskId, Arc<Mutex<Meter>>)>>,
}

impl Telemetry {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self { log, tasks: RwLock::default() }
    }

    pub(crate) fn add(&self, task: TaskId, meter: Arc<Mutex<Meter>>) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).push((task, meter));
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn remove(&self, task: TaskId) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != task);
    }

    /// Notes of a task that could not be opened why.
    #[cfg(feature = "kafka")]
    pub(crate) fn failed(&self, task: TaskId, error: &crate::error::HostError) {
        self.replace(task, TaskState::Failed { reason: crate::error::Failure::of(task, error).reason });
    }

    /// Notes how far a task is that is not open yet.
    #[cfg(feature = "kafka")]
    pub(crate) fn restoring(&self, task: TaskId, restored: u64, of: u64) {
        self.replace(task, TaskState::Restoring { restored, of });
    }

    #[cfg(feature = "kafka")]
    fn replace(&self, task: TaskId, state: TaskState) {
        self.remove(task);
        self.add(task, Arc::new(Mutex::new(Meter { state, ..Meter::default() })));
    }

    fn tasks(&self) -> Vec<(TaskId, Arc<Mutex<Meter>>)> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All tasks as they are now.
    pub fn status(&self) -> Vec<TaskStatus> {
        self.tasks().iter().map(|(task, meter)| self.status_of(*task, &held(meter))).collect()
    }

    fn status_of(&self, task: TaskId, meter: &Meter) -> TaskStatus {
        let input = |(&(topic, partition), &position): (&Place, &u64)| {
            // A topic that a task reads is known to the log; if not, the task itself says so.
            let end = self.log.end_offset(topic, partition).unwrap_or(position);
            InputStatus { topic, partition, position, end }
        };
        let inputs = meter.positions.iter().map(input).collect();
        TaskStatus { task, state: meter.state.clone(), inputs, has_pending: meter.has_pending, now: meter.now }
    }

    /// What the tasks of a stage that work here have still to read of a topic; nothing if there are none.
    pub(crate) fn left_of(&self, stage: &str, topic: &str) -> u64 {
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let left = |((name, partition), position): (&Place, &u64)| {
            let end = if *name == topic { self.log.end_offset(name, *partition).ok() } else { None };
            end.map_or(0, |end| end.saturating_sub(*position))
        };
        let of_task = |meter: &Meter| match meter.state {
            TaskState::Failed { .. } => 0,
            TaskState::Running | TaskState::Restoring { .. } => meter.positions.iter().map(left).sum(),
        };
        tasks.iter().filter(|(task, _)| task.stage == stage).map(|(_, meter)| of_task(&held(meter))).sum()
    }

    /// All metrics as they are now.
    pub fn families(&self) -> Vec<Family> {
        let by_topic = |name, help, count: fn(&Meter) -> &Counts| self.by_topic(name, help, count);
        let mut families = vec![
            by_topic("faultline_records_consumed_total", "Records read and worked on.", |meter| &meter.consumed),
            by_topic("faultline_records_produced_total", "Records said by a stage.", |meter| &meter.produced),
            by_topic("faultline_records_misplaced_total", "Records of another partition's key, sent on to it.", |meter| &meter.misplaced),
            by_topic("faultline_dead_letters_total", "Records that a stage refused.", |meter| &meter.dead_letters),
        ];
        let oldest = "From when the oldest record behind a batch came in to the batch's commit.";
        families.extend([
            self.histogram("faultline_commit_seconds", "How long a commit took.", |meter| &meter.commits),
            self.histogram("faultline_end_to_end_seconds", oldest, |meter| &meter.end_to_end),
            self.batch_seconds(),
            self.pending(),
            self.formats(),
            self.bulk(),
            self.states(),
            self.restores(),
        ]);
        families.extend(self.lag(SystemClock.now()));
        families.extend(gauges(&*self.log));
        families
    }

    fn by_topic(&self, name: &'static str, help: &'static str, count: fn(&Meter) -> &Counts) -> Family {
        let mut sums = BTreeMap::<(&str, &str), u64>::new();
        for (task, meter) in &self.tasks() {
            for (topic, more) in count(&held(meter)) {
                *sums.entry((task.stage, topic)).or_default() += more;
            }
        }
        let sample = |((stage, topic), value)| Sample {
            suffix: "",
            labels: vec![("stage", String::from(stage)), ("topic", String::from(topic))],
            value: value as f64,
        };
        Family { name, help, kind: Kind::Counter, samples: sums.into_iter().map(sample).collect() }
    }

    /// A value for each stage, folded over its tasks.
    fn by_stage<T: Default>(&self, fold: impl Fn(&mut T, &Meter)) -> BTreeMap<&'static str, T> {
        let mut stages = BTreeMap::<_, T>::new();
        for (task, meter) in &self.tasks() {
            fold(stages.entry(task.stage).or_default(), &held(meter));
        }
        stages
    }

    fn histogram(&self, name: &'static str, help: &'static str, of: fn(&Meter) -> &Histogram) -> Family {
        let mut samples = Vec::new();
        for (stage, commits) in self.by_stage(|sum: &mut Histogram, meter| sum.merge(of(meter))) {
            let mut sample = |suffix, bound: Option<String>, value| {
                let mut labels = vec![("stage", stage.to_owned())];
                labels.extend(bound.map(|bound| ("le", bound)));
                samples.push(Sample { suffix, labels, value });
            };
            for (bound, count) in BUCKETS_MICROS.into_iter().zip(commits.buckets) {
                sample("_bucket", Some((bound as f64 / 1e6).to_string()), count as f64);
            }
            sample("_bucket", Some("+Inf".to_owned()), commits.count as f64);
            sample("_sum", None, commits.sum.as_secs_f64());
            sample("_count", None, commits.count as f64);
        }
        Family { name, help, kind: Kind::Histogram, samples }
    }

    fn batch_seconds(&self) -> Family {
        let mut samples = Vec::new();
        let steps = self.by_stage(|sum: &mut [Duration; 3], meter| {
            sum[0] += meter.read;
            sum[1] += meter.apply;
            sum[2] += meter.commits.sum;
        });
        for (stage, steps) in steps {
            for (step, took) in ["read", "apply", "commit"].into_iter().zip(steps) {
                let labels = vec![("stage", stage.to_owned()), ("step", step.to_owned())];
                samples.push(Sample { suffix: "", labels, value: took.as_secs_f64() });
            }
        }
        Family { name: "faultline_batch_seconds_total", help: "Where the time of batches went.", kind: Kind::Counter, samples }
    }

    /// What waits, as records and as the time that the oldest of it has waited. Once a log does not answer, what is known here holds.
    fn lag(&self, now: Timestamp) -> [Family; 2] {
        let (mut records, mut seconds, mut answers) = (Vec::new(), Vec::new(), true);
        for (task, meter) in self.tasks() {
            let (positions, times) = {
                let meter = held(&meter);
                (meter.positions.clone(), meter.times.clone())
            };
            for (place, position) in positions {
                let left = answers.then(|| self.log.left(place.0, place.1, position));
                answers &= !matches!(left, Some(Err(_)));
                let known = || self.log.end_offset(place.0, place.1).unwrap_or(position).saturating_sub(position);
                let left = left.and_then(Result::ok).unwrap_or_else(known);
                // The next record is at most as old as the one before it; of none before it nothing is known.
                let waited = times.get(&place).filter(|_| left > 0).map_or(0, |time| now.millis().saturating_sub(*time).max(0));
                let labels = vec![
                    ("stage", task.stage.to_owned()),
                    ("topic", place.0.to_owned()),
                    // The task's, so that a global topic's readers stay apart.
                    ("partition", task.partition.to_string()),
                ];
                records.push(Sample { suffix: "", labels: labels.clone(), value: left as f64 });
                seconds.push(Sample { suffix: "", labels, value: waited as f64 / 1e3 });
            }
        }
        let family = |name, help, samples| Family { name, help, kind: Kind::Gauge, samples };
        [
            family("faultline_consumer_lag_records", "Records still to be read.", records),
            family("faultline_consumer_lag_seconds", "How long the oldest record still to be read has waited, at most.", seconds),
        ]
    }

    fn pending(&self) -> Family {
        let tasks = self.by_stage(|sum: &mut u64, meter| *sum += u64::from(meter.has_pending));
        let sample = |(stage, count): (&str, u64)| Sample { suffix: "", labels: vec![("stage", stage.to_owned())], value: count as f64 };
        let samples = tasks.into_iter().map(sample).collect();
        Family { name: "faultline_tasks_pending", help: "Tasks with work left beside their inputs.", kind: Kind::Gauge, samples }
    }

    /// That of the task which is furthest behind: what the operator finalised has come everywhere once it is here.
    fn formats(&self) -> Family {
        let formats = self.by_stage(|least: &mut Option<u16>, meter| {
            if meter.format > 0 {
                *least = Some(least.unwrap_or(u16::MAX).min(meter.format));
            }
        });
        let sample = |(stage, format): (&str, Option<u16>)| {
            Some(Sample { suffix: "", labels: vec![("stage", stage.to_owned())], value: f64::from(format?) })
        };
        let samples = formats.into_iter().filter_map(sample).collect();
        Family {
            name: "faultline_state_format",
            help: "The oldest format that a task here writes its state in.",
            kind: Kind::Gauge,
            samples,
        }
    }

    fn bulk(&self) -> Family {
        let tasks = self.by_stage(|sum: &mut u64, meter| *sum += u64::from(meter.bulk_waits));
        let sample = |(stage, count): (&str, u64)| Sample { suffix: "", labels: vec![("stage", stage.to_owned())], value: count as f64 };
        let samples = tasks.into_iter().map(sample).collect();
        let help = "Tasks whose bulk waits until the stage that reads what follows has caught up.";
        Family { name: "faultline_tasks_bulk_waits", help, kind: Kind::Gauge, samples }
    }

    fn states(&self) -> Family {
        let tasks = self.by_stage(|sum: &mut [u64; 3], meter| {
            sum[match meter.state {
                TaskState::Running => 0,
                TaskState::Restoring { .. } => 1,
                TaskState::Failed { .. } => 2,
            }] += 1;
        });
        let mut samples = Vec::new();
        for (stage, counts) in tasks {
            for (state, count) in ["running", "restoring", "failed"].into_iter().zip(counts) {
                let labels = vec![("stage", stage.to_owned()), ("state", state.to_owned())];
                samples.push(Sample { suffix: "", labels, value: count as f64 });
            }
        }
        Family { name: "faultline_tasks", help: "Tasks by what they do.", kind: Kind::Gauge, samples }
    }

    fn restores(&self) -> Family {
        let mut samples = Vec::new();
        for status in self.status() {
            if let TaskState::Restoring { restored, of } = status.state {
                let labels = vec![("stage", status.task.stage.to_owned()), ("partition", status.task.partition.to_string())];
                samples.push(Sample { suffix: "", labels, value: of.saturating_sub(restored) as f64 });
            }
        }
        let help = "Rows of its changelog that a task has still to read before it works.";
        Family { name: "faultline_restore_remaining_records", help, kind: Kind::Gauge, samples }
    }
}

/// What a log tells of itself.
pub fn gauges(log: &dyn Log) -> Vec<Family> {
    let mut families = Vec::<Family>::new();
    for gauge in log.gauges() {
        let labels = gauge.label.map(|(name, value)| (name, value.to_owned())).into_iter().collect();
        let sample = Sample { suffix: "", labels, value: gauge.value as f64 };
        match families.iter_mut().find(|family| family.name == gauge.name) {
            Some(family) => family.samples.push(sample),
            None => families.push(Family { name: gauge.name, help: gauge.help, kind: gauge.kind, samples: vec![sample] }),
        }
    }
    families
}

/// Families in Prometheus' text format.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, help, kind, samples } in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { suffix, labels, value } in samples {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
