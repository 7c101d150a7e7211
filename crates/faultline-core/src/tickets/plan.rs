//! What a policy would do: the tickets that risks deserve, before any is written.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::id::Id;
use faultline_model::risk::Risk;
use faultline_model::time::Timestamp;
use serde::Serialize;

use super::policy::{Mode, TicketPolicy};

/// The most tickets that are counted. Nobody works on so many, so such a policy is told to be wrong.
pub const TICKETS_MOST: usize = 100_000;
/// The tickets of a queue that are shown, those of the highest scores.
const SHOWN: usize = 5;

/// More than [`TICKETS_MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy asks for more than {TICKETS_MOST} tickets")]
pub struct TooManyTickets;

/// Risks as they are gathered. Their order does not matter.
pub struct Plan {
    policy: TicketPolicy,
    tickets: BTreeMap<Id, Ticket>,
    /// By rule: risks.
    rules: Vec<u64>,
    without: u64,
}

/// What was gathered of a fix.
struct Ticket {
    what: String,
    score: i32,
    risks: u64,
    services: BTreeSet<String>,
    rules: BTreeSet<usize>,
    /// By queue and service: its earliest risk there, with the finding that founds it.
    claims: BTreeMap<(usize, String), (Timestamp, Id)>,
}

/// What a policy would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    pub mode: Mode,
    pub version: String,
    /// In the policy's order.
    pub queues: Vec<PlannedQueue>,
    pub rules: Vec<PlannedRule>,
    /// Open risks that no rule fits.
    pub without_rule: u64,
}

/// Of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedQueue {
    pub queue: String,
    pub site: String,
    pub project: String,
    pub tickets: u64,
    /// Of these, how many its ceiling of open ones holds back, the lowest scores.
    pub held_back: u64,
    /// How many days it takes until all others are there; none if there is no ceiling of new ones.
    pub days: Option<u64>,
    pub risks: u64,
    /// Those of the highest scores.
    pub first: Vec<PlannedTicket>,
}

/// A ticket that would be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlannedTicket {
    pub fix: Id,
    pub what: String,
    /// The highest of its risks.
    pub score: i32,
    pub risks: u64,
    pub services: Vec<String>,
}

/// Of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedRule {
    pub rule: String,
    /// None: it gives no ticket.
    pub queue: Option<String>,
    pub risks: u64,
    pub tickets: u64,
}

impl Plan {
    pub fn new(policy: TicketPolicy) -> Self {
        let rules = vec![0; policy.rules.len()];
        Self { policy, tickets: BTreeMap::new(), rules, without: 0 }
    }

    /// Takes an open risk, with the units above its service.
    pub fn add(&mut self, risk: Risk, nodes: &[String]) -> Result<(), TooManyTickets> {
        let Some((at, rule)) = self.policy.rule_for(&risk, nodes) else {
            self.without += 1;
            return Ok(());
        };
        self.rules[at] += 1;
        let Some(queue) = rule.queue().and_then(|id| self.policy.queues.iter().position(|queue| queue.id == id)) else { return Ok(()) };
        if self.tickets.len() >= TICKETS_MOST && !self.tickets.contains_key(&risk.fix.fix) {
            return Err(TooManyTickets);
        }
        let (what, score) = (risk.fix.what, risk.score.total);
        let ticket = self.tickets.entry(risk.fix.fix).or_insert_with(|| Ticket {
            what: what.clone(),
            score,
            risks: 0,
            services: BTreeSet::new(),
            rules: BTreeSet::new(),
            claims: BTreeMap::new(),
        });
        // Tools name one fix differently: the same name whoever came first.
        ticket.what = std::mem::take(&mut ticket.what).min(what);
        ticket.score = ticket.score.max(score);
        ticket.risks += 1;
        ticket.services.insert(risk.service.clone());
        ticket.rules.insert(at);
        let claim = (risk.first_seen, risk.founder);
        let first = ticket.claims.entry((queue, risk.service)).or_insert(claim);
        *first = claim.min(*first);
        Ok(())
    }

    /// What would be done. Where several queues claim a fix, it goes to that of the service which owns what is changed: `owner` says which that is of a
    /// finding; else to that of the earliest.
    pub fn end<E>(self, mut owner: impl FnMut(Id) -> Result<Option<String>, E>) -> Result<Planned, E> {
        let mut by_queue: Vec<Vec<PlannedTicket>> = vec![Vec::new(); self.policy.queues.len()];
        let mut by_rule = vec![0; self.policy.rules.len()];
        for (fix, ticket) in self.tickets {
            for rule in &ticket.rules {
                by_rule[*rule] += 1;
            }
            let queue = queue_of(&ticket.claims, &mut owner)?;
            let Ticket { what, score, risks, services, .. } = ticket;
            by_queue[queue].push(PlannedTicket { fix, what, score, risks, services: services.into_iter().collect() });
        }
        let rules = self.policy.rules.iter().zip(&self.rules).zip(by_rule).map(|((rule, risks), tickets)| PlannedRule {
            rule: rule.name.clone(),
            queue: rule.queue().map(ToOwned::to_owned),
            risks: *risks,
            tickets,
        });
        let queues = self.policy.queues.iter().zip(by_queue).map(|(queue, mut tickets)| {
            tickets.sort_unstable_by(|one, other| other.score.cmp(&one.score).then_with(|| one.fix.cmp(&other.fix)));
            let all = tickets.len() as u64;
            let open = queue.open_at_most.map_or(all, |most| all.min(u64::from(most)));
            let risks = tickets.iter().map(|ticket| ticket.risks).sum();
            tickets.truncate(SHOWN);
            PlannedQueue {
                queue: queue.id.clone(),
                site: queue.site.clone(),
                project: queue.project.clone(),
                tickets: all,
                held_back: all - open,
                days: queue.new_per_day.map(|most| open.div_ceil(u64::from(most))),
                risks,
                first: tickets,
            }
        });
        let (queues, rules) = (queues.collect(), rules.collect());
        Ok(Planned { mode: self.policy.mode, version: self.policy.version(), queues, rules, without_rule: self.without })
    }
}

/// The queue of who owns what is changed, of several the one that had it first; else of whoever had it first.
fn queue_of<E>(
    claims: &BTreeMap<(usize, String), (Timestamp, Id)>,
    owner: &mut impl FnMut(Id) -> Result<Option<String>, E>,
) -> Result<usize, E> {
    let mut by_age: Vec<_> =
        claims.iter().map(|((queue, service), (first_seen, founder))| (first_seen, service, founder, *queue)).collect();
    by_age.sort_unstable();
    let (.., first) = by_age.first().expect("a fix has a claim");
    if by_age.iter().any(|(.., queue)| queue != first) {
        for (_, service, founder, queue) in &by_age {
            if owner(**founder)?.as_ref() == Some(service) {
                return Ok(*queue);
            }
        }
    }
    Ok(*first)
}
