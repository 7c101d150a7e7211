//! The stage: steps and shares in; outcomes, exceptions that hold, register entries and tickets that are wanted out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use faultline_model::audit;
use faultline_model::avro;
use faultline_model::catalog::{self, CatalogRecord};
use faultline_model::decision::{Outcome, OutcomeStatus, REASON_BYTES};
use faultline_model::exception::{Broken, Held, Response, Stage as Standing, Step, StepKind, StepRecord, TITLE_BYTES};
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::register::{Event, HISTORY};
use faultline_model::share::{self, Share};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, EXCEPTIONS, JUDGED, OUTCOMES, RISK_REGISTRY, SHARES, STEPS, Topic};

use serde::Serialize;

use super::exception::{Limits, Refusal, Taken, take};
use super::policy::ExceptionPolicy;
use super::rows::{ASSESSED_VERSION, Alarm, Asked, ROW_VERSION, Row, Rules, TICKET_VERSION, Table, read_timer, timer};
use super::ticket::{self, Waits};
use super::{covered, entry, rows};
use crate::correlate::policy_of;
use crate::row::{StageTable, digest, keys};
use crate::stage::{Batch, Formats, Input, Pending, Stage, StageError};
use crate::store::Store;

/// How long a judged step's key is kept where nothing else is said: 90 days.
const ASKED_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// Timers that a slice works on before it looks at its budget.
const TIMERS_AT_ONCE: usize = 256;
/// As many entries are said anew before it looks at its budget.
const EXCEPTIONS_AT_ONCE: usize = 64;

/// act, by subject: what is to be done about risks?
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// How long the key of a judged step is kept: as long as the same step may come again.
    pub asked_kept_ms: i64,
    /// How long tickets wait for what moves.
    pub waits: Waits,
    /// The format of its rows up to which the operator has finalised.
    pub finalised: Option<u16>,
}

impl Default for Act {
    fn default() -> Self {
        Self { asked_kept_ms: ASKED_KEPT_MS, waits: Waits::default(), finalised: None }
    }
}

/// What there may be something else to say of at a batch's end.
#[derive(Debug, Default)]
pub struct Gathered {
    exceptions: BTreeSet<Id>,
    fixes: BTreeSet<Id>,
}

impl Stage for Act {
    const NAME: &'static str = "act";
    const INPUTS: &'static [Topic] = &[STEPS, SHARES];
    const GLOBALS: &'static [Topic] = &[CATALOG];
    const FORMATS: Formats = Formats { oldest: ROW_VERSION as u16, newest: TICKET_VERSION as u16 };
    type Gathered = Gathered;

    fn finalised(&self) -> Option<u16> {
        self.finalised
    }

    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut Gathered, input: &Input<'_>) -> Result<(), StageError> {
        if input.topic == CATALOG {
            return rules_changed(batch, input);
        }
        let no_key = || StageError::poison(format!("{:?} is no key of {}", input.key, input.topic.name));
        if input.topic == SHARES {
            let (subject, service) = share::parse_key(input.key).ok_or_else(no_key)?;
            let share = input.record::<Share>()?;
            if share.as_ref().is_some_and(|share| (share.subject, share.service.as_str()) != (subject, service)) {
                return Err(StageError::poison(format!("the share at {:?} is of another subject or service", input.key)));
            }
            let known = rows::share(&batch.state, &Table::Shares.at(subject, service))?;
            if [&share, &known].into_iter().flatten().any(|share| share.fix.is_some()) {
                if get(batch, subject)?.is_some() {
                    return Err(StageError::poison(format!("the share at {:?} is of a fix, and {subject} is an exception", input.key)));
                }
                ticket::replace(batch, subject, known.as_ref(), service, share)?;
                gathered.fixes.insert(subject);
                return Ok(());
            }
            let exception = subject;
            // What time did meanwhile comes first, whether or not its timer was heard.
            suspend(batch, exception)?;
            covered::replace(batch, exception, service, share)?;
            suspend(batch, exception)?;
            gathered.exceptions.insert(exception);
            return Ok(());
        }
        let subject: Id = input.key.parse().map_err(|_| no_key())?;
        let Some(record) = input.record::<StepRecord>()? else { return Ok(()) };
        if record.subject != subject {
            return Err(StageError::poison(format!("a step on {} lies under the key {subject}", record.subject)));
        }
        suspend(batch, subject)?;
        self.step(batch, &record)?;
        // What it was granted on may have ended since the step was taken.
        suspend(batch, subject)?;
        gathered.exceptions.insert(subject);
        Ok(())
    }

    fn end(&self, batch: &mut Batch<'_>, gathered: Gathered) -> Result<(), StageError> {
        gathered.exceptions.into_iter().try_for_each(|exception| settle(batch, exception))?;
        gathered.fixes.into_iter().try_for_each(|fix| ticket::settle(batch, fix, &self.waits))
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending, StageError> {
        let end = batch.bytes() + budget_bytes;
        loop {
            let is_said = say_anew(batch)?;
            let due = due(batch)?;
            if due.is_empty() && is_said {
                return Ok(Pending::None);
            }
            for key in due {
                let (at, subject, alarm) = read_timer(&key)?;
                batch.state.delete(key);
                match alarm {
                    Alarm::Forget(asked) => batch.state.delete(Table::Judged.at(subject, &asked)),
                    Alarm::Due => {
                        // A timer that was moved meanwhile is none.
                        if get(batch, subject)?.is_some_and(|row| row.due == Some(at)) {
                            suspend(batch, subject)?;
                            settle(batch, subject)?;
                        }
                    }
                    Alarm::Ticket => ticket::settle(batch, subject, &self.waits)?,
                    Alarm::Left(queue) => {
                        ticket::forget_left(batch, subject, &queue);
                        ticket::settle(batch, subject, &self.waits)?;
                    }
                }
            }
            if batch.bytes() >= end {
                let is_left = !is_said || self.next_due(&batch.state)?.is_some_and(|due| due <= batch.now);
                return Ok(if is_left { Pending::Some } else { Pending::None });
            }
        }
    }

    fn next_due(&self, state: &dyn Store) -> Result<Option<Timestamp>, StageError> {
        let first = keys(state, &Table::Timers.all(), &Table::Timers.all(), 1)?.pop();
        Ok(first.map(|key| read_timer(&key)).transpose()?.map(|(due, ..)| due))
    }
}

impl Act {
    /// One step. The same key again has no second effect; its outcome is said again.
    fn step(self, batch: &mut Batch<'_>, record: &StepRecord) -> Result<(), StageError> {
        let asked_at = Table::Judged.at(record.subject, &record.key);
        if let Some(asked) = Table::Judged.get::<Asked>(&batch.state, &asked_at)? {
            return say(batch, record, asked);
        }
        let before = get(batch, record.subject)?;
        let is_known = before.is_some();
        let judged = judge(batch, record, before)?;
        let (status, reason) = judged.map_or_else(|refusal| (OutcomeStatus::Refused, refusal), |()| (OutcomeStatus::Done, String::new()));
        let asked = Asked { status, reason, at: record.at };
        tell(batch, record, &asked)?;
        // Nothing is kept of what never was: whoever asks again is judged again.
        if is_known || status == OutcomeStatus::Done {
            let row = Table::Judged.row(&asked_at, &asked)?;
            batch.state.put(asked_at, row);
            let forgets = Timestamp::from_millis(batch.now.millis().saturating_add(self.asked_kept_ms));
            batch.state.put(timer(forgets, record.subject, &Alarm::Forget(record.key.clone())), Vec::new());
        }
        say(batch, record, asked)
    }
}

/// Accepts a step, or says why not.
fn judge(batch: &mut Batch<'_>, record: &StepRecord, before: Option<Row>) -> Result<Result<(), String>, StageError> {
    if record.reason.len() > REASON_BYTES {
        return Ok(Err(format!("the reason has {} bytes: {REASON_BYTES} are kept", record.reason.len())));
    }
    if let Err(refusal) = check(record.response.as_ref(), record.step.kind(), batch) {
        return Ok(Err(refusal));
    }
    if before.is_none() && ticket::is_known(&batch.state, record.subject)? {
        return Ok(Err(format!("{} is the id of a fix: take another one for an exception", record.subject)));
    }
    let rules = rules(batch)?;
    let terms = match (&record.step, &before) {
        (Step::Propose(terms), _) => Some(&**terms),
        (_, row) => row.as_ref().map(|row| &row.exception.terms),
    };
    // Who names no highest score may come to cover anything.
    let highest = terms.and_then(|terms| terms.assumptions.score_at_most);
    let band = highest.map_or(Severity::Critical, |score| rules.bands.of(score));
    let kind = record.step.kind();
    // What is granted anew is warned of by the policy of now.
    let grants = matches!(kind, StepKind::Propose | StepKind::Approve);
    let warning_days = before.as_ref().filter(|_| !grants).map_or(rules.warning_days, |row| row.warning_days);
    let limits = Limits { band, longest: rules.longest, warning_days };
    let taken = Taken { step: &record.step, actor: &record.actor, at: record.at, expected_version: record.expected_version };
    let now = match take(before.as_ref().map(|row| &row.exception), taken, &limits) {
        Ok(now) => now,
        Err(refusal) => return Ok(Err(in_words(record, refusal))),
    };
    let did_hold = before.as_ref().is_some_and(|row| row.exception.stage(record.at, &limits).holds());
    let mut row = before.unwrap_or_else(|| Row {
        exception: now.clone(),
        grant: 0,
        warning_days,
        held: None,
        due: None,
        first: Vec::new(),
        history: Vec::new(),
        said: Id([0; 16]),
        response: Response::default(),
    });
    if kind == StepKind::Propose {
        row.response = record.response.clone().unwrap_or_default();
    }
    if kind == StepKind::Approve && !did_hold {
        row.grant = now.version;
        row.first = Vec::new();
        covered::begin(batch, record.subject, row.grant)?;
    }
    (row.exception, row.warning_days) = (now, warning_days);
    let event = Event { what: kind.name().to_owned(), actor: record.actor.clone(), at: Some(record.at), reason: record.reason.clone() };
    remember(&mut row, event);
    put(batch, record.subject, &row)?;
    Ok(Ok(()))
}

/// Whether what goes with terms may be said.
fn check(response: Option<&Response>, step: StepKind, batch: &Batch<'_>) -> Result<(), String> {
    let Some(Response { owner, cost }) = response else { return Ok(()) };
    if step != StepKind::Propose {
        return Err(format!("owner and cost go with the terms: propose says them, {} does not", step.name()));
    }
    if !is_assessed(batch) {
        return Err("owner and cost are kept once the format of act's state is finalised: set state.format.act to 2".to_owned());
    }
    for (what, text, most) in [("owner", owner, TITLE_BYTES), ("cost", cost, REASON_BYTES)] {
        if text.len() > most {
            return Err(format!("the {what} has {} bytes: {most} are kept", text.len()));
        }
    }
    Ok(())
}

/// Whether rows and records may say what an older program does not know of the register.
fn is_assessed(batch: &Batch<'_>) -> bool {
    batch.format >= u16::from(ASSESSED_VERSION)
}

/// Once entries may say more: says those of before anew, some at a time. Whether none is left.
fn say_anew(batch: &mut Batch<'_>) -> Result<bool, StageError> {
    let (all, done) = (Table::Exceptions.all(), Table::Said.all());
    let from = batch.state.get(&done)?;
    if !is_assessed(batch) || from.as_ref().is_some_and(Vec::is_empty) {
        return Ok(true);
    }
    let mut left = keys(&batch.state, &all, from.as_ref().unwrap_or(&all), EXCEPTIONS_AT_ONCE + 1)?;
    // Of a state without exceptions nothing needs to be remembered.
    if from.is_none() && left.is_empty() {
        return Ok(true);
    }
    let next = if left.len() > EXCEPTIONS_AT_ONCE { left.pop() } else { None };
    for key in left {
        let exception = key.get(1..).and_then(|id| id.try_into().ok()).map(Id);
        let exception = exception.ok_or_else(|| Table::Exceptions.corrupt(&key, "no exception"))?;
        suspend(batch, exception)?;
        settle(batch, exception)?;
    }
    let is_done = next.is_none();
    batch.state.put(done, next.unwrap_or_default());
    Ok(is_done)
}

fn in_words(record: &StepRecord, refusal: Refusal) -> String {
    match refusal {
        Refusal::Unknown => format!("there is no exception {}: propose it first", record.subject),
        refusal => refusal.to_string(),
    }
}

fn remember(row: &mut Row, event: Event) {
    row.history.push(event);
    let more = row.history.len().saturating_sub(HISTORY);
    row.history.drain(..more);
}

/// Ends what an exception holds, if something that it assumes is no longer so.
fn suspend(batch: &mut Batch<'_>, exception: Id) -> Result<(), StageError> {
    let Some(mut row) = get(batch, exception)? else { return Ok(()) };
    let limits = limits(&row);
    // A control that ended did so before what is seen now, whether or not anybody looked in between.
    let by_control = row.exception.control_ended(batch.now).and_then(|at| row.exception.suspended(vec![Broken::ControlEnded], at, &limits));
    let now = match by_control {
        Some(now) => Some(now),
        None => row.exception.suspended(covered::broken(&batch.state, exception, &row)?, batch.now, &limits),
    };
    let Some(now) = now else { return Ok(()) };
    row.first = covered::first(&batch.state, exception, row.grant)?;
    row.exception = now;
    let reasons: Vec<&str> = row.exception.broken.iter().map(|broken| broken.because()).collect();
    let event = Event { what: Standing::Suspended.name().to_owned(), actor: String::new(), at: None, reason: reasons.join("; ") };
    remember(&mut row, event);
    put(batch, exception, &row)
}

/// Says what differs from what was said of an exception, and when to look at it again.
fn settle(batch: &mut Batch<'_>, exception: Id) -> Result<(), StageError> {
    let Some(before) = get(batch, exception)? else { return Ok(()) };
    let limits = limits(&before);
    let (known, holds) = (&before.exception, before.exception.stage(batch.now, &limits).holds());
    // Between two looks it may have ceased to hold and been granted anew.
    if holds && before.held != Some(before.grant) {
        let (scope, assumptions) = (known.terms.scope.clone(), known.terms.assumptions.clone());
        batch.emit(EXCEPTIONS, exception.to_string(), Held { exception, grant: before.grant, scope, assumptions })?;
    } else if !holds && before.held.is_some() {
        batch.emit_gone(EXCEPTIONS, exception.to_string());
    }
    let control_ends = known.terms.controls.iter().filter_map(|control| control.ends).filter(|ends| *ends > batch.now).min();
    let due = known.due(batch.now, &limits);
    // While it has no time of its own to come, nothing of it can end either.
    let due = due.map(|due| control_ends.filter(|_| known.terms.assumptions.controls_in_place).map_or(due, |ends| due.min(ends)));
    let entry = avro::encode(entry::entry(&batch.state, exception, &before, batch.now, &limits, is_assessed(batch))?)?;
    let now = Row { held: holds.then_some(before.grant), due, said: digest(&entry), ..before.clone() };
    if now.said != before.said {
        batch.emit_encoded(RISK_REGISTRY, exception.to_string(), entry);
    }
    if now.due != before.due {
        if let Some(due) = before.due {
            batch.state.delete(timer(due, exception, &Alarm::Due));
        }
        if let Some(due) = now.due {
            batch.state.put(timer(due, exception, &Alarm::Due), Vec::new());
        }
    }
    if now == before { Ok(()) } else { put(batch, exception, &now) }
}

fn limits(row: &Row) -> Limits {
    Limits { warning_days: row.warning_days, ..Limits::default() }
}

fn get(batch: &Batch<'_>, exception: Id) -> Result<Option<Row>, StageError> {
    Ok(Row::get(&batch.state, exception)?)
}

fn put(batch: &mut Batch<'_>, exception: Id, row: &Row) -> Result<(), StageError> {
    let key = Table::Exceptions.of(exception);
    let row = row.row(&key)?;
    batch.state.put(key, row);
    Ok(())
}

/// The keys of timers that are due, some at a time.
fn due(batch: &Batch<'_>) -> Result<Vec<Vec<u8>>, StageError> {
    let mut due = Vec::new();
    let all = Table::Timers.all();
    batch.state.scan(&all, &all, &mut |key, _| {
        // One that cannot be read is for the caller to say.
        if due.len() >= TIMERS_AT_ONCE || read_timer(key).is_ok_and(|(at, ..)| at > batch.now) {
            return ControlFlow::Break(());
        }
        due.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(due)
}

/// What the catalog allowed when it was last looked at: at first what it says now, which may be ahead of this task.
fn rules(batch: &mut Batch<'_>) -> Result<Rules, StageError> {
    if let Some(rules) = Table::Rules.get(&batch.state, &Table::Rules.all())? {
        return Ok(rules);
    }
    let text = |key: &str| match batch.global(CATALOG, key) {
        Ok(record) => Ok(text_of(record)),
        Err(StageError::Poison { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let (policy, exceptions) = (text(catalog::POLICY_KEY)?, text(catalog::EXCEPTIONS_KEY)?);
    let ExceptionPolicy { longest_days, warning_days } = allowed(exceptions.as_deref());
    put_rules(batch, Rules { longest: longest_days, warning_days, bands: policy_of(policy.as_deref()).bands })
}

/// Takes over what the catalog says; it holds for steps that come.
fn rules_changed(batch: &mut Batch<'_>, input: &Input<'_>) -> Result<(), StageError> {
    let before = match input.key {
        catalog::POLICY_KEY | catalog::EXCEPTIONS_KEY => rules(batch)?,
        _ => return Ok(()),
    };
    let text = text_of(input.record()?);
    let now = if input.key == catalog::POLICY_KEY {
        Rules { bands: policy_of(text.as_deref()).bands, ..before }
    } else {
        let ExceptionPolicy { longest_days, warning_days } = allowed(text.as_deref());
        Rules { longest: longest_days, warning_days, ..before }
    };
    put_rules(batch, now).map(drop)
}

fn text_of(record: Option<CatalogRecord>) -> Option<String> {
    if let Some(CatalogRecord::Policy(policy)) = record { Some(policy.yaml) } else { None }
}

/// A text that cannot be read is as none: the door refuses such a one, with the reason.
fn allowed(text: Option<&str>) -> ExceptionPolicy {
    text.and_then(|text| ExceptionPolicy::read(text).ok()).unwrap_or_default()
}

fn put_rules(batch: &mut Batch<'_>, rules: Rules) -> Result<Rules, StageError> {
    let key = Table::Rules.all();
    let row = Table::Rules.row(&key, &rules)?;
    batch.state.put(key, row);
    Ok(rules)
}

fn say(batch: &mut Batch<'_>, record: &StepRecord, asked: Asked) -> Result<(), StageError> {
    let Asked { status, reason, at } = asked;
    let outcome = Outcome { id: record.key.clone(), status, reason, asset: None, at, counts: None, subject: Some(record.subject) };
    batch.emit(OUTCOMES, record.key.clone(), outcome)
}

/// What somebody wanted, as it stands in accounts.
#[derive(Serialize)]
struct What {
    #[serde(flatten)]
    step: Step,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

/// Tells what became of a step to who keeps account of it.
fn tell(batch: &mut Batch<'_>, record: &StepRecord, asked: &Asked) -> Result<(), StageError> {
    let StepRecord { key, subject, actor, reason, at, expected_version: _, step, response } = record.clone();
    let what =
        serde_json::to_string(&What { step, response }).map_err(|error| StageError::poison(format!("a step that is no JSON: {error}")))?;
    let (status, because, subject) = (asked.status, asked.reason.clone(), subject.to_string());
    batch.emit(JUDGED, subject.clone(), audit::Act { actor, at, subject, what, reason, key, status, because })
}
