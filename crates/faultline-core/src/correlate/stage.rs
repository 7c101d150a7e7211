//! The stage: facts in, units looked at again, changed risks out.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use faultline_model::catalog::{POLICY_KEY, TICKETS_KEY};
use faultline_model::exception::Held;
use faultline_model::id::Id;
use faultline_model::intel;
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, EXCEPTIONS, INTEL, TRACKED, Topic};
use faultline_model::tracked::{self, FactKind, TrackedRecord};

use super::apply::{Facts, Gathered};
use super::copies::{self, IntelChange};
use super::covering::Index;
use super::evaluate::Run;
use super::facts::{Finding, Line, Route};
use super::heed::{self, Heeded};
use super::pending::{Cause, Looked, Task};
use super::publish::{Published, publish, put_off, timer_key};
use super::route_maps::RouteMaps;
use super::shares;
use super::tables::{ROW_VERSION, TICKET_VERSION, Table, is_any, keys, last_id, pairs, take_text, take_time};
use super::units::Grain;
use crate::policy::Policy;
use crate::row::StageTable;
use crate::stage::{Batch, Formats, Input, Pending, Stage, StageError};
use crate::store::{Store, StoreError};
use crate::tickets::TicketPolicy;

/// So many sets of exceptions are kept at hand.
const INDEXES: usize = 4;
/// A slice looks no further than so many times as many rows as are looked at at once.
const ROUNDS: usize = 64;
/// The rows of so many units are read together.
const UNITS_TOGETHER: usize = 256;

/// How much is done at once; what is more goes to the table of what is pending. No bound changes where it all ends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows of causes that are worked off at the end of a batch.
    pub rows_at_end: usize,
    /// Units that are looked at again at the end of a batch, or at once in a slice; at least one.
    pub units_at_once: usize,
    /// Rows or timers that a slice works on before it looks at its budget; at least one.
    pub rows_at_once: usize,
}

impl Default for Bounds {
    /// A batch of a thousand records with their links fits, and ends within a few tenths of a second.
    fn default() -> Self {
        Self { rows_at_end: 2048, units_at_once: 8192, rows_at_once: 128 }
    }
}

/// correlate, by service: what is at risk, and how much?
#[derive(Debug, Default)]
pub struct Correlate {
    bounds: Bounds,
    /// The policy that was read last, with its text: reading takes longer than scoring.
    policy: Mutex<Option<(Option<String>, Arc<Policy>)>>,
    /// The same of tickets.
    tickets: Mutex<Option<(String, Option<Arc<TicketPolicy>>)>>,
    /// The exceptions that were read last, by what they were together: tasks are not all at the same position.
    exceptions: Mutex<Vec<(Heeded, Arc<Index>)>>,
    cut: AtomicU64,
    finalised: Option<u16>,
}

impl Correlate {
    pub fn new() -> Self {
        Self::default()
    }

    /// With other bounds of what is done at once.
    pub fn with_bounds(bounds: Bounds) -> Self {
        let Bounds { rows_at_end, units_at_once, rows_at_once } = bounds;
        let bounds = Bounds { rows_at_end, units_at_once: units_at_once.max(1), rows_at_once: rows_at_once.max(1) };
        Self { bounds, ..Self::default() }
    }

    /// With the format of its rows up to which the operator has finalised.
    #[must_use]
    pub fn finalised_up_to(self, finalised: Option<u16>) -> Self {
        Self { finalised, ..self }
    }

    /// How often a bound cut findings, files or links since the start, for metrics.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    fn run(&self, batch: &mut Batch<'_>, fresh: HashMap<Vec<u8>, Finding>) -> Result<Run, StageError> {
        let text = copies::policy(batch)?;
        let mut known = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = match &*known {
            Some((read, policy)) if *read == text => Arc::clone(policy),
            _ => {
                let policy = Arc::new(policy_of(text.as_deref()));
                *known = Some((text, Arc::clone(&policy)));
                policy
            }
        };
        drop(known);
        let tickets = self.tickets(batch)?;
        Ok(Run::new((policy, self.exceptions(&batch.state)?, tickets), batch.now, fresh))
    }

    /// The ticket policy, where its mode is on.
    fn tickets(&self, batch: &mut Batch<'_>) -> Result<Option<Arc<TicketPolicy>>, StageError> {
        let Some(text) = copies::tickets(batch)? else { return Ok(None) };
        let mut known = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, policy)) = &*known
            && *read == text
        {
            return Ok(policy.clone());
        }
        let policy = TicketPolicy::of_yaml(&text).map(Arc::new);
        *known = Some((text, policy.clone()));
        Ok(policy)
    }

    /// The exceptions that are heeded, to be found by what risks have.
    fn exceptions(&self, state: &dyn Store) -> Result<Arc<Index>, StageError> {
        let Some(heeded) = heed::heeded(state)? else { return Ok(Arc::default()) };
        let known = || self.exceptions.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().iter().find(|(of, _)| *of == heeded).map(|(_, index)| Arc::clone(index));
        if let Some(index) = found {
            return Ok(index);
        }
        let index = heed::index(state)?;
        let mut known = known();
        known.insert(0, (heeded, Arc::clone(&index)));
        known.truncate(INDEXES);
        Ok(index)
    }

    /// Looks again at units and at all that they are linked with, as many as the bound allows; what is more becomes pending.
    fn look_again(&self, batch: &mut Batch<'_>, gathered: Gathered) -> Result<(), StageError> {
        let mut run = self.run(batch, gathered.fresh)?;
        let mut touched = gathered.touched;
        let mut units = spread(&batch.state, &mut run.route_maps, gathered.units)?;
        units.extend(gathered.alone);
        let units: Vec<(String, Grain)> = units.into_iter().collect();
        let (now, later) = units.split_at(units.len().min(self.bounds.units_at_once));
        for some in now.chunks(UNITS_TOGETHER) {
            let rows: Vec<(Id, Vec<u8>)> = some.iter().map(|(service, grain)| published_at(service, grain)).collect();
            batch.state.look_up(rows.iter().map(|(_, key)| key.clone()).collect())?;
            for ((service, grain), (unit, key)) in some.iter().zip(rows) {
                let before = Published::get(&batch.state, &key)?;
                let now = run.evaluate(batch, service, grain, unit, before.is_some())?;
                publish(batch, (&run.exceptions, &mut touched), service, unit, key, before, now)?;
            }
        }
        for (service, grain) in later {
            put_off(batch, service, grain)?;
            let cause = Cause::Unit { service: service.clone(), grain: grain.clone() };
            batch.state.put(cause.key()?, Vec::new());
        }
        self.cut.fetch_add(run.cut, Ordering::Relaxed);
        shares::say(batch, &run.exceptions, touched)
    }

    /// Works off some rows of what is pending; whether there were any.
    fn work_off_pending(&self, batch: &mut Batch<'_>) -> Result<bool, StageError> {
        let all = Table::Pending.all();
        let mut gathered = Gathered::default();
        let mut left = self.bounds.rows_at_once;
        let pending = pairs(&batch.state, &all, &all, self.bounds.rows_at_once)?;
        let is_any = !pending.is_empty();
        for (key, cursor) in pending {
            let (done, next) = work_off(batch, &mut gathered, &Cause::read(&key)?, &cursor, left)?;
            match next {
                Some(cursor) => batch.state.put(key, cursor),
                None => batch.state.delete(key),
            }
            left = left.saturating_sub(done.max(1));
            if left == 0 {
                break;
            }
        }
        self.end(batch, gathered)?;
        Ok(is_any)
    }

    /// Looks again at units whose timers are due; whether there were any.
    fn fire(&self, batch: &mut Batch<'_>) -> Result<bool, StageError> {
        let mut units = BTreeSet::new();
        let mut is_any = false;
        for key in due(&batch.state, batch.now, self.bounds.rows_at_once)? {
            let (due, service, unit) = timer(&key).ok_or_else(|| Table::Timers.corrupt(&key, "no timer"))?;
            is_any = true;
            let published = Published::get(&batch.state, &Table::Published.at(service, unit))?;
            match published.filter(|published| published.due == Some(due)) {
                Some(published) => {
                    units.insert((service.to_owned(), published.grain));
                }
                None => batch.state.delete(timer_key(due, service, unit)),
            }
        }
        if is_any {
            self.look_again(batch, Gathered { units, ..Gathered::default() })?;
        }
        Ok(is_any)
    }

    fn global(batch: &mut Batch<'_>, gathered: &mut Gathered, input: &Input<'_>) -> Result<(), StageError> {
        if input.topic == EXCEPTIONS {
            let id = input.key.parse().map_err(|_| unknown(input))?;
            let held = input.record::<Held>()?;
            if held.as_ref().is_some_and(|held| held.exception != id) {
                return Err(StageError::poison(format!("the exception at {:?} is another one", input.key)));
            }
            heed::changed(batch, gathered, id, held)?;
        } else if input.topic == INTEL {
            let (vulnerability, _) = intel::parse_key(input.key).ok_or_else(|| unknown(input))?;
            let change = copies::refresh_intel(batch, vulnerability)?;
            if change != IntelChange::None {
                let is_renamed = change == IntelChange::Aliases;
                gathered.causes.insert(Cause::Vulnerability { id: vulnerability.to_owned(), service: None, is_renamed });
            }
        } else if input.key == POLICY_KEY {
            if copies::refresh_policy(batch)? {
                gathered.causes.insert(Cause::Policy);
            }
        } else if input.key == TICKETS_KEY {
            if copies::refresh_tickets(batch)? {
                gathered.causes.insert(Cause::Policy);
            }
        } else if let Some(service) = input.key.strip_prefix("service/") {
            if copies::refresh_service(batch, service)? {
                gathered.causes.insert(Cause::Service { service: service.to_owned() });
            }
        } else if input.key.starts_with("places/") {
            let prefix = Table::Watched.under(input.key);
            for key in keys(&batch.state, &prefix, &prefix, usize::MAX)? {
                let parsed = take_text(&key[prefix.len()..]).zip(last_id(&key));
                let ((service, _), asset) = parsed.ok_or_else(|| Table::Watched.corrupt(&key, "no service"))?;
                if let Some(asset) = copies::refresh_places(batch, service, asset)? {
                    gathered.causes.insert(Cause::Paths { service: service.to_owned(), asset });
                }
            }
        }
        Ok(())
    }
}

/// Once rows may say so: looks at what was published with the ticket policy that there is.
fn begin_tickets(batch: &mut Batch<'_>, gathered: &mut Gathered) -> Result<(), StageError> {
    if is_to_begin_tickets(batch)? && copies::refresh_tickets(batch)? {
        gathered.causes.insert(Cause::Policy);
    }
    Ok(())
}

/// Whether [`begin_tickets`] has something to do.
fn is_to_begin_tickets(batch: &Batch<'_>) -> Result<bool, StageError> {
    let may_begin = copies::asks_for_tickets(batch) && copies::tickets_copy(&batch.state)?.is_none();
    Ok(may_begin && is_any(&batch.state, &Table::Published.all())?)
}

/// Who a unit is, and the key of what was published of it.
fn published_at(service: &str, grain: &Grain) -> (Id, Vec<u8>) {
    let unit = grain.id();
    (unit, Table::Published.at(service, unit))
}

/// Works off rows of a cause from a key on; the key to go on from if there are more.
fn work_off(
    batch: &mut Batch<'_>,
    gathered: &mut Gathered,
    cause: &Cause,
    from: &[u8],
    most: usize,
) -> Result<(usize, Option<Vec<u8>>), StageError> {
    let Looked { found, looks, next } = cause.tasks(&batch.state, from, most)?;
    for task in found {
        match task {
            Task::Evaluate { service, grain } => {
                gathered.units.insert((service, grain));
            }
            Task::EvaluateAlone { service, grain } => {
                gathered.alone.insert((service, grain));
            }
            Task::ResolveFinding { service, id } => Facts { batch, gathered }.resolve_finding(&service, id)?,
            Task::ResolveVisit { service, id } => Facts { batch, gathered }.resolve_visit(&service, id)?,
        }
    }
    Ok((looks, next))
}

/// The policy of a text; the default where there is none or it cannot be read (the door refuses such a text, with the reason).
pub fn policy_of(text: Option<&str>) -> Policy {
    text.and_then(|yaml| Policy::read(yaml).ok()).unwrap_or_else(Policy::balanced)
}

fn unknown(input: &Input<'_>) -> StageError {
    StageError::poison(format!("{:?} is no key of {}", input.key, input.topic.name))
}

/// The keys of timers that are due, at most so many.
fn due(state: &dyn Store, now: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    let all = Table::Timers.all();
    state.scan(&all, &all, &mut |key, _| {
        // One that cannot be read is for the caller to say.
        if keys.len() >= most || timer(key).is_some_and(|(due, ..)| due > now) {
            return ControlFlow::Break(());
        }
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

fn timer(key: &[u8]) -> Option<(Timestamp, &str, Id)> {
    let (due, rest) = take_time(key.get(1..)?)?;
    Some((due, take_text(rest)?.0, last_id(key)?))
}

/// Units with all units that share a route with them: what one yields depends on the others.
fn spread(
    state: &dyn Store,
    route_maps: &mut RouteMaps,
    mut units: BTreeSet<(String, Grain)>,
) -> Result<BTreeSet<(String, Grain)>, StoreError> {
    let mut routes = BTreeSet::new();
    for (service, grain) in &units {
        match grain {
            Grain::Route { template } => {
                routes.insert((service.clone(), template.clone()));
            }
            Grain::Code { asset, file } => {
                let entries = route_maps.entries_of_file(state, service, asset, file)?;
                let templates = route_maps.templates_of_file(state, service, (asset, file), &entries)?;
                routes.extend(templates.into_iter().map(|template| (service.clone(), template)));
            }
            _ => {}
        }
    }
    for (service, template) in routes {
        let served = route_maps.template(state, &service, &template)?;
        units.extend(served.code.iter().map(|grain| (service.clone(), grain.clone())));
        units.insert((service, Grain::Route { template }));
    }
    Ok(units)
}

impl Stage for Correlate {
    const NAME: &'static str = "correlate";
    const INPUTS: &'static [Topic] = &[TRACKED];
    const GLOBALS: &'static [Topic] = &[CATALOG, INTEL, EXCEPTIONS];
    const FORMATS: Formats = Formats { oldest: ROW_VERSION as u16, newest: TICKET_VERSION as u16 };
    type Gathered = Gathered;

    fn finalised(&self) -> Option<u16> {
        self.finalised
    }

    fn ahead(&self, batch: &Batch<'_>, topic: Topic, keys: &mut dyn Iterator<Item = &str>) -> Result<(), StoreError> {
        if topic != TRACKED {
            return Ok(());
        }
        let findings = keys.filter_map(tracked::parse_key).filter(|(_, kind, _)| *kind == FactKind::Finding);
        batch.state.look_up(findings.map(|(service, _, id)| Table::Locations.at(service, id)).collect())
    }

    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut Gathered, input: &Input<'_>) -> Result<(), StageError> {
        if input.topic != TRACKED {
            return Self::global(batch, gathered, input);
        }
        let (service, kind, id) = tracked::parse_key(input.key).ok_or_else(|| unknown(input))?;
        let record = input.record::<TrackedRecord>()?;
        let mut facts = Facts { batch, gathered };
        match (kind, record) {
            (FactKind::Finding, Some(TrackedRecord::Finding(finding))) => {
                let is_used = copies::asks_for_tickets(facts.batch) && !finding.is_owner;
                let now = (!finding.is_preview).then(|| Finding { id, is_used, ..Finding::of(finding) });
                facts.finding(service, id, now)
            }
            (FactKind::Route, Some(TrackedRecord::Route(route))) => facts.route(service, id, Some(Route::of(route))),
            (FactKind::Line, Some(TrackedRecord::Line(line))) => facts.line(service, id, Some(&Line::of(&line))),
            (FactKind::Finding, Some(TrackedRecord::Went(_)) | None) => facts.finding(service, id, None),
            (FactKind::Route, Some(TrackedRecord::Went(_)) | None) => facts.route(service, id, None),
            (FactKind::Line, Some(TrackedRecord::Went(_)) | None) => facts.line(service, id, None),
            _ => Err(StageError::poison(format!("the record at {:?} is of another kind than its key", input.key))),
        }
    }

    fn end(&self, batch: &mut Batch<'_>, mut gathered: Gathered) -> Result<(), StageError> {
        heed::begin(batch, &mut gathered)?;
        begin_tickets(batch, &mut gathered)?;
        let mut left = self.bounds.rows_at_end;
        let all = Table::Pending.all();
        // Nearly always there is none: then nothing is to be deleted either.
        let mut is_stored = !gathered.causes.is_empty() && is_any(&batch.state, &all)?;
        // A cause may bring others (a moved finding renames), so until none is left.
        while let Some(cause) = gathered.causes.pop_first() {
            let (done, next) = if left > 0 { work_off(batch, &mut gathered, &cause, &[], left)? } else { (0, Some(Vec::new())) };
            left = left.saturating_sub(done.max(1));
            match next {
                Some(cursor) => {
                    batch.state.put(cause.key()?, cursor);
                    is_stored = true;
                }
                None if is_stored => batch.state.delete(cause.key()?),
                None => {}
            }
        }
        let Gathered { units, alone, touched, .. } = &gathered;
        if units.is_empty() && alone.is_empty() && touched.is_empty() { Ok(()) } else { self.look_again(batch, gathered) }
    }

    fn slice(&self, batch: &mut Batch<'_>, budget_bytes: usize) -> Result<Pending, StageError> {
        let end = batch.bytes() + budget_bytes;
        if heed::is_to_begin(batch)? || is_to_begin_tickets(batch)? {
            self.end(batch, Gathered::default())?;
        }
        // Rows that nothing comes of have no bytes either.
        for _ in 0..ROUNDS {
            if !self.work_off_pending(batch)? && !self.fire(batch)? {
                return Ok(Pending::None);
            }
            if batch.bytes() >= end {
                break;
            }
        }
        Ok(if self.is_left(batch)? { Pending::Some } else { Pending::None })
    }

    fn next_due(&self, state: &dyn Store) -> Result<Option<Timestamp>, StageError> {
        let all = Table::Timers.all();
        let first = keys(state, &all, &all, 1)?.pop();
        first.map(|key| timer(&key).map(|(due, ..)| due).ok_or_else(|| Table::Timers.corrupt(&key, "no timer").into())).transpose()
    }
}

impl Correlate {
    fn is_left(&self, batch: &Batch<'_>) -> Result<bool, StageError> {
        let all = Table::Pending.all();
        let is_pending = !keys(&batch.state, &all, &all, 1)?.is_empty();
        Ok(is_pending || self.next_due(&batch.state)?.is_some_and(|due| due <= batch.now))
    }
}
