//! What the benchmarks share: a loop that measures, and a line that says on what machine.
//!
//! What it is: plain loops over real records, one JSON line a figure. What it is not: a statistics package; the best of several rounds is
//! the figure that the machine's other work disturbs least, and the spread says how much it did.

pub mod counting;
pub mod latency;
pub mod load;
pub mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

/// How many times a figure is measured.
const ROUNDS: usize = 9;
/// How long a round is at least: the system counts a thread's time in steps of a few milliseconds.
const ROUND: Duration = Duration::from_millis(100);

/// What a loop took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Of the best round.
    pub per_second: f64,
    /// Of the worst one.
    pub worst_per_second: f64,
}

/// Measures work on so many things by one thread, after a round that warms up and says how often a round repeats it.
pub fn measure(things: usize, mut work: impl FnMut()) -> Measured {
    let begin = Instant::now();
    let mut repeats = 0_u32;
    while begin.elapsed() < ROUND {
        work();
        repeats += 1;
    }
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Clock::now();
            (0..repeats).for_each(|_| work());
            begin.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    let rate = |time: Duration| f64::from(repeats) * things as f64 / time.as_secs_f64();
    Measured { per_second: rate(rounds[0]), worst_per_second: rate(rounds[ROUNDS - 1]) }
}

/// Time that this thread was at work, where the system says so (Linux); time that passed, elsewhere.
struct Clock {
    begin: Instant,
    at_work: Option<Duration>,
}

impl Clock {
    fn now() -> Self {
        Self { begin: Instant::now(), at_work: at_work() }
    }

    fn elapsed(&self) -> Duration {
        let at_work = at_work().zip(self.at_work).map(|(now, begin)| now.saturating_sub(begin));
        at_work.filter(|time| !time.is_zero()).unwrap_or_else(|| self.begin.elapsed())
    }
}

fn at_work() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The machine, as each line names it.
pub fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({ "cpu": model.trim_start_matches([' ', '\t', ':']), "cores": cores, "os": std::env::consts::OS, "arch": std::env::consts::ARCH })
}

/// Prints a figure: its name, its members, the machine.
#[allow(clippy::print_stdout)] // printing is what a benchmark does
pub fn say(figure: &str, members: Value) {
    let mut line = json!({ "figure": figure });
    if let (Value::Object(line), Value::Object(members)) = (&mut line, members) {
        line.extend(members);
        line.insert("machine".to_owned(), machine());
    }
    println!("{line}");
}

/// A figure with what was asked for, and the ratio to it: at least 1 where the bar is met.
pub struct Line {
    figure: String,
    members: serde_json::Map<String, Value>,
}

impl Line {
    pub fn new(figure: &str) -> Self {
        Self { figure: figure.to_owned(), members: serde_json::Map::new() }
    }

    /// So many things in so much time, and the rate that was asked for.
    #[must_use]
    pub fn rate(self, things: u64, spent: Duration, bar_per_second: u64) -> Self {
        let rate = things as f64 / spent.as_secs_f64();
        self.with("per_second", rate.round())
            .with("seconds", (spent.as_secs_f64() * 1e3).round() / 1e3)
            .with("asked_per_second", bar_per_second)
            .with("ratio", rounded(rate / bar_per_second as f64))
    }

    /// A value that may be at most so much.
    #[must_use]
    pub fn at_most(self, unit: &str, value: f64, bar: f64) -> Self {
        self.with(unit, rounded(value)).with("asked_at_most", bar).with("ratio", rounded(bar / value.max(f64::MIN_POSITIVE)))
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub fn print(self) {
        say(&self.figure, Value::Object(self.members));
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Processor seconds of this process by what its threads are for, since it began; empty where the system does not say (Linux does).
pub fn processor_seconds() -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos: u64 = read("schedstat").split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        let name = read("comm");
        let name = name.trim_end().trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        *seconds.entry(name.to_owned()).or_default() += nanos as f64 / 1e9;
    }
    seconds
}

/// What the process holds in memory now.
pub fn resident_bytes() -> u64 {
    faultline_stream::resident_bytes().unwrap_or(0)
}

/// Since 1970, by the clock that all processes share.
pub fn micros() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64
}
