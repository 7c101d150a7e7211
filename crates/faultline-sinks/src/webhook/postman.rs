//! The difference between what destinations are to be told and what they have been: taken from committed state, told, and what became of it said.
//!
//! Each destination has a line of its own: what it does not take holds up nobody else. A line holds what tasks showed at their last look, some at a time; what it
//! has no room for it finds at the next look. The same attempt is made once while the process lives. Killed between an answer and its word to the stage, it is made
//! again: whoever is told knows a notice by its id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use faultline_core::notify::{Due, due, undelivered};
use faultline_core::store::{Store, StoreError};
use faultline_model::id::Id;
use faultline_model::notice::{Delivery, DeliveryStatus, Notice};
use faultline_model::time::Timestamp;
use faultline_stream::{Clock, Courier, Seat};
use tokio::task::JoinSet;

use super::actual::{Answer, Client, ClientError};
use super::config::Endpoint;
use super::message::message;

/// How long after a failed attempt the next one is made; after the last it is given up. As Standard Webhooks recommends: over three days and some hours in all.
const AGAIN: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];
/// The longest time that a destination may ask to be left alone.
const LONGEST: Duration = Duration::from_hours(24);
/// What is shown of a task for one destination.
const SHOWN: usize = 64;
/// Up to where what is undelivered is counted.
const COUNTED: usize = 1_000;
/// Where there is more than this, it is counted once in [`BEFORE_COUNT`] and no more: tasks wait for it.
const COUNTED_ALWAYS: usize = 64;
const BEFORE_COUNT: i64 = 1_000;

/// Takes down what became of attempts.
pub trait Answers: Send + Sync + 'static {
    /// Returns once it is durable.
    fn append(&self, key: String, delivery: Delivery) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// How it works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many calls of one destination are under way at once.
    pub at_once: usize,
    /// The longest time that a call may take.
    pub timeout: Duration,
    /// How long a stop waits for calls that are under way.
    pub stop: Duration,
    /// How long it waits where what became of an attempt could not be said.
    pub before_again: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { at_once: 4, timeout: Duration::from_secs(20), stop: Duration::from_secs(5), before_again: Duration::from_secs(1) }
    }
}

/// Where a destination stands, as far as the tasks of this process go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub destination: String,
    /// Notices that it is still to be told; counted up to a bound.
    pub undelivered: usize,
    /// Since when the oldest of them waits.
    pub oldest: Option<Timestamp>,
    pub delivered: u64,
    pub failed: u64,
    pub given_up: u64,
}

/// Tells destinations what is due.
pub struct Postman {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    lines: Vec<Line>,
    answers: Arc<dyn Answers>,
    clock: Arc<dyn Clock>,
    client: Client,
    options: Options,
    bell: tokio::sync::Notify,
    is_stopping: AtomicBool,
}

struct Line {
    endpoint: Endpoint,
    state: Mutex<LineState>,
}

/// An attempt: of which notice, and which one.
type Attempt = (Id, i32);

#[derive(Default)]
struct LineState {
    /// What was ready in the committed state of each task that is here, the oldest first.
    shown: BTreeMap<Seat, Shown>,
    /// Attempts under way, and those that became something which their task has not shown yet, with their notices' times.
    taken: HashMap<(Seat, Attempt), Timestamp>,
    under_way: usize,
    delivered: u64,
    failed: u64,
    given_up: u64,
}

#[derive(Clone, Default)]
struct Shown {
    due: Vec<Due>,
    undelivered: usize,
    oldest: Option<Timestamp>,
    counted_at: Timestamp,
}

impl Postman {
    /// Begins, with nothing to tell yet: give it to the host as the courier of stage `notify`.
    pub fn start(
        endpoints: Vec<Endpoint>,
        answers: Arc<dyn Answers>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, PostmanError> {
        let lines = endpoints.into_iter().map(|endpoint| Line { endpoint, state: Mutex::default() }).collect();
        let client = Client::new(options.timeout)?;
        let (bell, is_stopping) = (tokio::sync::Notify::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { lines, answers, clock, client, options, bell, is_stopping });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("webhooks".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                runtime.block_on(shared.run());
                // Names that are resolved and words that are said may take as long as they like: nobody waits for them.
                runtime.shutdown_background();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Who looks at tasks.
    pub fn courier(&self) -> Arc<dyn Courier> {
        self.shared.clone()
    }

    /// Where each destination stands.
    pub fn standings(&self) -> Vec<Standing> {
        self.shared.lines.iter().map(Line::standing).collect()
    }
}

/// Why nobody can be told anything.
#[derive(Debug, thiserror::Error)]
pub enum PostmanError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no thread for webhooks: {0}")]
    Thread(#[from] std::io::Error),
}

impl Drop for Postman {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // It says what it met itself; a panic of it is in the log.
            let _ = thread.join();
        }
    }
}

impl Courier for Shared {
    fn look(&self, seat: Seat, state: &dyn Store, now: Timestamp) {
        for line in &self.lines {
            match line.shown(seat, state, now) {
                Ok(shown) => line.show(seat, shown),
                Err(error) => {
                    tracing::error!(task = %seat.task, destination = line.endpoint.name, "what is to be told cannot be read: {error}");
                }
            }
        }
        self.bell.notify_one();
    }

    fn leave(&self, seat: Seat) {
        for line in &self.lines {
            let mut state = line.state();
            state.shown.remove(&seat);
            // Who has it now makes the attempt again, and so may we if it comes back.
            state.taken.retain(|(of, _), _| *of != seat);
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, seat: Seat, state: &dyn Store, now: Timestamp) -> Result<Shown, StoreError> {
        let name = &self.endpoint.name;
        let due = due(state, name, SHOWN)?;
        let before = self.state().shown.get(&seat).map(|shown| (shown.undelivered, shown.oldest, shown.counted_at));
        let recent = before.filter(|(count, _, at)| *count > COUNTED_ALWAYS && now.millis() < at.millis() + BEFORE_COUNT);
        let (undelivered, oldest, counted_at) = match recent {
            Some(counted) => counted,
            None => {
                let (count, oldest) = undelivered(state, name, COUNTED)?;
                (count, oldest, now)
            }
        };
        Ok(Shown { due, undelivered, oldest, counted_at })
    }

    fn show(&self, seat: Seat, shown: Shown) {
        let attempts: BTreeSet<Attempt> = shown.due.iter().map(attempt_of).collect();
        // Behind the last that is shown there may be more.
        let end = shown.due.last().filter(|_| shown.due.len() >= SHOWN).map(|due| (due.notice.at, due.notice.id));
        let mut state = self.state();
        // What is no longer ready has become what was said of it.
        state.taken.retain(|(of, attempt), at| *of != seat || attempts.contains(attempt) || end.is_some_and(|end| (*at, attempt.0) > end));
        state.shown.insert(seat, shown);
    }

    /// The next attempt, if there is room for one.
    fn next(&self, at_once: usize) -> Option<(Seat, Due)> {
        let mut state = self.state();
        if state.under_way >= at_once.max(1) {
            return None;
        }
        let LineState { shown, taken, .. } = &*state;
        let free = shown.iter().flat_map(|(seat, shown)| shown.due.iter().map(move |due| (*seat, due)));
        let next =
            free.filter(|(seat, due)| !taken.contains_key(&(*seat, attempt_of(due)))).min_by_key(|(_, due)| (due.notice.at, due.notice.id));
        let (seat, due) = next.map(|(seat, due)| (seat, due.clone()))?;
        state.taken.insert((seat, attempt_of(&due)), due.notice.at);
        state.under_way += 1;
        Some((seat, due))
    }

    fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            destination: self.endpoint.name.clone(),
            undelivered: state.shown.values().map(|shown| shown.undelivered).sum(),
            oldest: state.shown.values().filter_map(|shown| shown.oldest).min(),
            delivered: state.delivered,
            failed: state.failed,
            given_up: state.given_up,
        }
    }
}

/// An attempt under way. Dropped without a word of what became of it, it may be made again.
struct Call<'l> {
    line: &'l Line,
    of: (Seat, Attempt),
    became: Option<DeliveryStatus>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.under_way -= 1;
        match self.became {
            Some(DeliveryStatus::Delivered) => state.delivered += 1,
            Some(DeliveryStatus::Failed) => state.failed += 1,
            Some(DeliveryStatus::GivenUp) => state.given_up += 1,
            None => _ = state.taken.remove(&self.of),
        }
    }
}

fn attempt_of(due: &Due) -> Attempt {
    (due.notice.id, due.attempts.saturating_add(1))
}

impl Shared {
    /// Until it is to stop: takes what is due, and has it told.
    async fn run(self: Arc<Self>) {
        let mut calls = JoinSet::new();
        while !self.is_stopping.load(Ordering::Acquire) {
            for number in 0..self.lines.len() {
                while let Some((seat, due)) = self.lines[number].next(self.options.at_once) {
                    calls.spawn(self.clone().tell(number, seat, due));
                }
            }
            tokio::select! {
                () = self.bell.notified() => {}
                Some(ended) = calls.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a call ended in a fault: {error}");
                    }
                }
            }
        }
        // What does not end in time is told again by who comes next.
        let _ = tokio::time::timeout(self.options.stop, async { while calls.join_next().await.is_some() {} }).await;
    }

    /// One attempt, with what becomes of it said.
    async fn tell(self: Arc<Self>, number: usize, seat: Seat, due: Due) {
        let line = &self.lines[number];
        let mut call = Call { line, of: (seat, attempt_of(&due)), became: None };
        let (notice, attempt) = (due.notice, due.attempts.saturating_add(1));
        let answer = match message(&line.endpoint.secret, &notice, self.clock.now()) {
            Ok(message) => self.client.send(&line.endpoint, &message).await,
            Err(error) => Answer::Refused { reason: error.to_string() },
        };
        let delivery = became(&line.endpoint.name, &notice, attempt, answer, self.clock.now());
        if delivery.status != DeliveryStatus::Delivered {
            let Delivery { status, reason, .. } = &delivery;
            tracing::warn!(destination = line.endpoint.name, notice = %notice.id, attempt, status = status.name(), "not delivered: {reason}");
        }
        let (key, status) = (notice.delivery_key(&line.endpoint.name), delivery.status);
        if self.say(key, delivery).await {
            call.became = Some(status);
        }
    }

    /// Says what became of an attempt, until it is durable: the attempt is not made again meanwhile. Whether it came to that.
    async fn say(&self, key: String, delivery: Delivery) -> bool {
        loop {
            let (answers, key, said) = (self.answers.clone(), key.clone(), delivery.clone());
            match tokio::task::spawn_blocking(move || answers.append(key, said)).await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => tracing::warn!(destination = delivery.destination, "what became of a call cannot be said yet: {error}"),
                Err(error) => tracing::error!("a word on a call ended in a fault: {error}"),
            }
            if self.is_stopping.load(Ordering::Acquire) {
                return false;
            }
            tokio::time::sleep(self.options.before_again).await;
        }
    }
}

/// What an answer makes of an attempt.
fn became(destination: &str, notice: &Notice, attempt: i32, answer: Answer, at: Timestamp) -> Delivery {
    let of = |status: DeliveryStatus, reason: String, again_at: Option<Timestamp>| Delivery {
        notice: notice.id,
        destination: destination.to_owned(),
        attempt,
        status,
        reason,
        at,
        again_at,
    };
    match answer {
        Answer::Taken => of(DeliveryStatus::Delivered, String::new(), None),
        Answer::Refused { reason } => of(DeliveryStatus::GivenUp, reason, None),
        Answer::Failed { reason, after } => {
            let again = usize::try_from(attempt - 1).ok().and_then(|attempt| AGAIN.get(attempt));
            match again {
                Some(again) => {
                    let wait = spread(*again, notice.id).max(after.unwrap_or_default().min(LONGEST));
                    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    of(DeliveryStatus::Failed, reason, Some(Timestamp::from_millis(at.millis().saturating_add(millis))))
                }
                None => of(DeliveryStatus::GivenUp, reason, None),
            }
        }
    }
}

/// Up to a tenth more, by the notice: what failed together is not tried again together.
fn spread(wait: Duration, notice: Id) -> Duration {
    wait + wait / 10 * u32::from(notice.0[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_model::notice::NoticeKind;

    fn notice(number: u8) -> Notice {
        Notice {
            id: Id([number; 16]),
            kind: NoticeKind::RiskVerified,
            at: Timestamp::from_millis(i64::from(number)),
            origin: "shop\u{1f}r".into(),
            title: "t".into(),
            because: "b".into(),
            score: 700,
            within: vec![],
            to: vec!["soc".into()],
        }
    }

    #[test]
    fn what_fails_is_tried_again_later_and_later_and_given_up_after_days() {
        let failed = |after| Answer::Failed { reason: "503".into(), after };
        let at = Timestamp::from_millis(1_000);
        let wait = |attempt, after| became("soc", &notice(0), attempt, failed(after), at).again_at.map(|again| again.millis() - 1_000);
        assert_eq!((wait(1, None), wait(2, None), wait(9, None), wait(10, None)), (Some(5_000), Some(300_000), Some(86_400_000), None));
        assert_eq!(wait(1, Some(Duration::from_mins(1))), Some(60_000), "as it asks");
        assert_eq!(wait(1, Some(Duration::from_hours(100))), Some(86_400_000), "but no longer than a day");
        assert_eq!(became("soc", &notice(0), 10, failed(None), at).status, DeliveryStatus::GivenUp);
        assert_eq!(became("soc", &notice(0), 1, Answer::Refused { reason: "410".into() }, at).status, DeliveryStatus::GivenUp);
        assert_eq!(became("soc", &notice(255), 1, failed(None), at).again_at, Some(Timestamp::from_millis(6_500)));
    }
}
