//! The machine of an exception: which step may follow, by whom, and where it stands at a time.
//!
//! People's steps are facts; what time does to them is not: [`Exception::stage`] works it out. So an exception is the same whenever it is looked at, and
//! [`Exception::due`] says when to look again.

use faultline_model::decision::REASON_BYTES;
use faultline_model::exception::{Broken, Control, ENTRIES, NewEnd, Scope, Stage, Step, StepKind, TITLE_BYTES, Terms};
use faultline_model::observation::Severity;
use faultline_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest text of a list or of the scope, in bytes.
const TEXT_BYTES: usize = 1024;
/// All texts of lists together, in bytes: terms stand in a record with much else.
const LISTS_BYTES: usize = 128 << 10;

/// An exception as people's steps have brought it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub terms: Terms,
    settled: Settled,
    /// Who wrote the terms, sorted.
    pub authors: Vec<String>,
    pub requested_by: String,
    pub reviewed_by: String,
    pub approved_by: String,
    pub approved_at: Option<Timestamp>,
    /// Since when it is granted without a gap; a renewal of what holds leaves it.
    granted_at: Option<Timestamp>,
    /// Another end that is asked for.
    pub renewal: Option<Renewal>,
    /// Of a suspended one: what broke, sorted.
    pub broken: Vec<Broken>,
    /// How many steps were accepted.
    pub version: i32,
}

/// Where steps have brought it, whatever the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Settled {
    Draft,
    Requested,
    Reviewed,
    Rejected,
    Withdrawn,
    Granted,
    Suspended,
    Revoked,
}

/// Another end of an exception, on its way to approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    pub review_at: Timestamp,
    pub ends: Timestamp,
    pub asked_by: String,
    /// Empty before.
    pub reviewed_by: String,
}

/// What the organisation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The band of the highest score that it may come to cover.
    pub band: Severity,
    /// The longest term in days, by band.
    pub longest: Longest,
    /// How long before its end it is called expiring.
    pub warning_days: i64,
}

impl Default for Limits {
    /// Those of who names no highest score, by the default policy.
    fn default() -> Self {
        Self { band: Severity::Critical, longest: Longest::default(), warning_days: 14 }
    }
}

/// Days by band; a risk below `low` has those of `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Longest {
    pub critical: i64,
    pub high: i64,
    pub medium: i64,
    pub low: i64,
}

impl Default for Longest {
    fn default() -> Self {
        Self { critical: 30, high: 90, medium: 180, low: 365 }
    }
}

impl Longest {
    fn of(self, band: Severity) -> i64 {
        match band {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low | Severity::Info => self.low,
        }
    }
}

/// A step that somebody takes.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    pub step: &'a Step,
    pub actor: &'a str,
    pub at: Timestamp,
    /// How many accepted steps the actor saw.
    pub expected_version: Option<i32>,
}

/// Why a step is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such exception: propose it first")]
    Unknown,
    #[error("expected {expected} steps, there are {now}: look at it again, then decide")]
    Stale { expected: i32, now: i32 },
    #[error("{} is not possible while it is {}: {}", .step.name(), .stage.name(), told(.possible))]
    NotNow { step: StepKind, stage: Stage, possible: Vec<StepKind> },
    #[error("{actor} {did} it: somebody else is to {}", .step.name())]
    SamePerson { actor: String, did: &'static str, step: StepKind },
    #[error(transparent)]
    Terms(#[from] TermsFault),
}

/// What is wrong with terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsFault {
    #[error("the title is empty, or longer than {TITLE_BYTES} bytes")]
    Title,
    #[error("the reason is empty: say why the risk is accepted")]
    Reason,
    #[error("the scope names nothing that a risk must have: name findings, a vulnerability, a package, an asset or a weakness family")]
    EverythingCovered,
    #[error("the scope names findings and something else: name one of them")]
    TwoScopes,
    #[error("more than {ENTRIES} {what}")]
    TooMany { what: &'static str },
    #[error("it would cover {0} risks at most: at least one")]
    CoversNothing(i32),
    #[error("it assumes that controls are in place, and names none")]
    NoControl,
    #[error("it assumes that controls are in place, and {0:?} has ended")]
    ControlEnded(String),
    #[error("{what}: {most} bytes are kept")]
    TooLongText { what: &'static str, most: usize },
    #[error("it ends on {}, which is over", .0.date())]
    Over(Timestamp),
    #[error("it begins on {}, and ends before that", .0.date())]
    EndsBeforeStart(Timestamp),
    #[error("its review is on {}: after its end, or over", .0.date())]
    Review(Timestamp),
    #[error("it would hold for {days} days, and {most} is the most where it may cover {} risks", .band.name())]
    TooLong { days: i64, most: i64, band: Severity },
}

fn told(possible: &[StepKind]) -> String {
    if possible.is_empty() {
        return "nothing is, it has ended".to_owned();
    }
    let names: Vec<&str> = possible.iter().map(|kind| kind.name()).collect();
    format!("possible is {}", names.join(", "))
}

/// What becomes of an exception, or of none, by a step.
pub fn take(known: Option<&Exception>, taken: Taken<'_>, limits: &Limits) -> Result<Exception, Refusal> {
    let version = known.map_or(0, |known| known.version);
    if let Some(expected) = taken.expected_version.filter(|expected| *expected != version) {
        return Err(Refusal::Stale { expected, now: version });
    }
    let mut now = match (known, taken.step) {
        (None, Step::Propose(terms)) => {
            check(terms, taken.at, limits)?;
            Exception::drafted((**terms).clone(), taken.actor)
        }
        (None, _) => return Err(Refusal::Unknown),
        (Some(known), step) => {
            let possible = known.possible(taken.at, limits);
            if !possible.contains(&step.kind()) {
                let stage = known.stage(taken.at, limits);
                return Err(Refusal::NotNow { step: step.kind(), stage, possible });
            }
            known.after(taken, limits)?
        }
    };
    now.version = version + 1;
    Ok(now)
}

impl Exception {
    fn drafted(terms: Terms, author: &str) -> Self {
        Self {
            terms,
            settled: Settled::Draft,
            authors: vec![author.to_owned()],
            requested_by: String::new(),
            reviewed_by: String::new(),
            approved_by: String::new(),
            approved_at: None,
            granted_at: None,
            renewal: None,
            broken: Vec::new(),
            version: 0,
        }
    }

    /// When it begins to hold, if it was approved.
    fn starts(&self) -> Option<Timestamp> {
        let granted = self.granted_at?;
        Some(self.terms.starts.map_or(granted, |starts| starts.max(granted)))
    }

    /// When it is called expiring: never before it begins.
    fn warns(&self, limits: &Limits) -> Timestamp {
        self.terms.ends.plus_days(-limits.warning_days).max(self.starts().unwrap_or(self.terms.ends))
    }

    /// Where it stands at a time.
    pub fn stage(&self, now: Timestamp, limits: &Limits) -> Stage {
        match self.settled {
            Settled::Draft => Stage::Draft,
            Settled::Requested => Stage::Requested,
            Settled::Reviewed => Stage::Reviewed,
            Settled::Rejected => Stage::Rejected,
            Settled::Withdrawn => Stage::Withdrawn,
            Settled::Revoked => Stage::Revoked,
            Settled::Granted | Settled::Suspended if now >= self.terms.ends => Stage::Expired,
            Settled::Suspended => Stage::Suspended,
            Settled::Granted if self.starts().is_some_and(|starts| now < starts) => Stage::Approved,
            Settled::Granted if now >= self.warns(limits) => Stage::Expiring,
            Settled::Granted => Stage::Active,
        }
    }

    /// When time alone changes its stage next.
    pub fn due(&self, now: Timestamp, limits: &Limits) -> Option<Timestamp> {
        let times = match self.settled {
            Settled::Granted => vec![self.starts().unwrap_or(self.terms.ends), self.warns(limits), self.terms.ends],
            Settled::Suspended => vec![self.terms.ends],
            _ => Vec::new(),
        };
        times.into_iter().filter(|time| *time > now).min()
    }

    /// The steps that may follow.
    pub fn possible(&self, now: Timestamp, limits: &Limits) -> Vec<StepKind> {
        use StepKind::{Approve, Propose, Reject, Renew, Request, Review, Revoke, Withdraw};
        let of_renewal = self.renewal.as_ref().map(|renewal| if renewal.reviewed_by.is_empty() { Review } else { Approve });
        match (self.stage(now, limits), of_renewal) {
            (Stage::Draft, _) => vec![Propose, Request, Withdraw],
            (Stage::Requested, _) => vec![Review, Reject, Withdraw],
            (Stage::Reviewed, _) => vec![Approve, Reject, Withdraw],
            (Stage::Approved, _) => vec![Withdraw],
            (Stage::Active | Stage::Expiring, None) => vec![Revoke, Renew],
            (Stage::Active | Stage::Expiring, Some(next)) => vec![next, Reject, Withdraw, Revoke],
            (Stage::Suspended, _) => vec![Request, Revoke],
            // What broke is to be looked over as it was at first, by others than who wrote it.
            (Stage::Expired, _) if self.settled == Settled::Suspended => Vec::new(),
            (Stage::Expired, None) => vec![Renew],
            (Stage::Expired, Some(next)) => vec![next, Reject, Withdraw],
            (Stage::Rejected | Stage::Withdrawn | Stage::Revoked, _) => Vec::new(),
        }
    }

    /// After a step that is possible.
    fn after(&self, taken: Taken<'_>, limits: &Limits) -> Result<Self, Refusal> {
        let Taken { step, actor, at, .. } = taken;
        let mut now = self.clone();
        match (step, &mut now.renewal) {
            (Step::Propose(terms), _) => {
                check(terms, at, limits)?;
                if now.authors.len() >= ENTRIES {
                    return Err(TermsFault::TooMany { what: "people who wrote it" }.into());
                }
                now.terms = (**terms).clone();
                now.authors.push(actor.to_owned());
                now.authors.sort_unstable();
                now.authors.dedup();
            }
            (Step::Request, _) => {
                check(&now.terms, at, limits)?;
                (now.settled, now.requested_by) = (Settled::Requested, actor.to_owned());
                (now.reviewed_by, now.approved_by, now.approved_at) = (String::new(), String::new(), None);
                now.renewal = None;
            }
            (Step::Renew(NewEnd { review_at, ends }), _) => {
                let renewal = Renewal { review_at: *review_at, ends: *ends, asked_by: actor.to_owned(), reviewed_by: String::new() };
                check(&now.renewed(&renewal), at, limits)?;
                now.renewal = Some(renewal);
            }
            (Step::Review, Some(renewal)) => {
                apart(actor, StepKind::Review, &[(&renewal.asked_by, "asked for")])?;
                actor.clone_into(&mut renewal.reviewed_by);
            }
            (Step::Review, None) => {
                now.apart_from_its_makers(actor, StepKind::Review)?;
                (now.settled, now.reviewed_by) = (Settled::Reviewed, actor.to_owned());
            }
            (Step::Approve, Some(renewal)) => {
                apart(actor, StepKind::Approve, &[(&renewal.asked_by, "asked for"), (&renewal.reviewed_by, "reviewed")])?;
                let renewal = renewal.clone();
                now.terms = now.renewed(&renewal);
                check(&now.terms, at, limits)?;
                (now.requested_by, now.reviewed_by) = (renewal.asked_by, renewal.reviewed_by);
                now.grant(actor, at, self.stage(at, limits).holds());
            }
            (Step::Approve, None) => {
                now.apart_from_its_makers(actor, StepKind::Approve)?;
                apart(actor, StepKind::Approve, &[(&now.reviewed_by, "reviewed")])?;
                check(&now.terms, at, limits)?;
                now.grant(actor, at, false);
            }
            (Step::Reject | Step::Withdraw, Some(_)) => now.renewal = None,
            (Step::Reject, None) => now.settled = Settled::Rejected,
            (Step::Withdraw, None) => now.settled = Settled::Withdrawn,
            (Step::Revoke, _) => (now.settled, now.renewal) = (Settled::Revoked, None),
        }
        Ok(now)
    }

    fn grant(&mut self, actor: &str, at: Timestamp, did_hold: bool) {
        if !did_hold {
            self.granted_at = Some(at);
        }
        (self.settled, self.approved_by, self.approved_at) = (Settled::Granted, actor.to_owned(), Some(at));
        (self.renewal, self.broken) = (None, Vec::new());
    }

    fn renewed(&self, renewal: &Renewal) -> Terms {
        Terms { review_at: renewal.review_at, ends: renewal.ends, ..self.terms.clone() }
    }

    /// Whoever wrote the terms or asked for them looks over neither.
    fn apart_from_its_makers(&self, actor: &str, step: StepKind) -> Result<(), Refusal> {
        let authors = self.authors.iter().map(|author| (author, "wrote"));
        let makers: Vec<(&String, &'static str)> = authors.chain([(&self.requested_by, "asked for")]).collect();
        apart(actor, step, &makers)
    }

    /// When the first of the controls that it assumes was no longer in place while it could hold; none if that is to come.
    pub fn control_ended(&self, now: Timestamp) -> Option<Timestamp> {
        let first = ended(&self.terms.controls, now).filter_map(|control| control.ends).min();
        let first = first.filter(|_| self.terms.assumptions.controls_in_place)?;
        Some(self.starts().map_or(first, |starts| starts.max(first))).filter(|at| *at <= now)
    }

    /// Ends what it holds because assumptions broke; nothing if it holds nothing. It is suspended once: what breaks later is not added.
    #[must_use]
    pub fn suspended(&self, mut broken: Vec<Broken>, now: Timestamp, limits: &Limits) -> Option<Self> {
        broken.sort_unstable();
        broken.dedup();
        (self.stage(now, limits).holds() && !broken.is_empty()).then(|| Self {
            settled: Settled::Suspended,
            renewal: None,
            broken,
            ..self.clone()
        })
    }
}

fn apart(actor: &str, step: StepKind, others: &[(&String, &'static str)]) -> Result<(), Refusal> {
    match others.iter().find(|(other, _)| *other == actor) {
        Some((_, did)) => Err(Refusal::SamePerson { actor: actor.to_owned(), did, step }),
        None => Ok(()),
    }
}

/// Whether terms may be asked for at a time.
fn check(terms: &Terms, at: Timestamp, limits: &Limits) -> Result<(), TermsFault> {
    let Terms { title, scope, reason, controls, assumptions, evidence, starts, review_at, ends, covers_at_most, category: _ } = terms;
    if title.trim().is_empty() || title.len() > TITLE_BYTES {
        return Err(TermsFault::Title);
    }
    if reason.trim().is_empty() {
        return Err(TermsFault::Reason);
    }
    if scope.is_everything() {
        return Err(TermsFault::EverythingCovered);
    }
    let others = Scope { founders: Vec::new(), ..scope.clone() };
    if !scope.founders.is_empty() && !others.is_everything() {
        return Err(TermsFault::TwoScopes);
    }
    let counts = [
        (scope.founders.len(), "findings"),
        (scope.within.len(), "units of the organisation"),
        (controls.len(), "controls"),
        (evidence.len(), "places to read it up"),
    ];
    for (count, what) in counts {
        if count > ENTRIES {
            return Err(TermsFault::TooMany { what });
        }
    }
    let is_too_long = |text: &String| text.len() > TEXT_BYTES;
    let scoped = [&scope.vulnerability, &scope.package, &scope.asset, &scope.family];
    let all = scope.within.iter().chain(controls.iter().map(|control| &control.name)).chain(evidence).map(String::len).sum::<usize>();
    let texts = [
        (all > LISTS_BYTES, LISTS_BYTES, "all that the lists name together"),
        (reason.len() > REASON_BYTES, REASON_BYTES, "the reason"),
        (scoped.into_iter().chain(&scope.within).any(is_too_long), TEXT_BYTES, "a part of the scope"),
        (controls.iter().any(|control| is_too_long(&control.name)), TEXT_BYTES, "the name of a control"),
        (evidence.iter().any(is_too_long), TEXT_BYTES, "a place to read it up"),
    ];
    if let Some((_, most, what)) = texts.into_iter().find(|(is_too_long, ..)| *is_too_long) {
        return Err(TermsFault::TooLongText { what, most });
    }
    if *covers_at_most < 1 {
        return Err(TermsFault::CoversNothing(*covers_at_most));
    }
    if assumptions.controls_in_place && controls.is_empty() {
        return Err(TermsFault::NoControl);
    }
    if let Some(control) = ended(controls, at).next().filter(|_| assumptions.controls_in_place) {
        return Err(TermsFault::ControlEnded(control.name.clone()));
    }
    if *ends <= at {
        return Err(TermsFault::Over(*ends));
    }
    let begins = starts.map_or(at, |starts| starts.max(at));
    if *ends <= begins {
        return Err(TermsFault::EndsBeforeStart(begins));
    }
    if *review_at > *ends || *review_at <= at {
        return Err(TermsFault::Review(*review_at));
    }
    let (most, days) = (limits.longest.of(limits.band), ends.days_since(begins));
    // A part of a day beyond whole ones is one more.
    if *ends > begins.plus_days(most) {
        return Err(TermsFault::TooLong { days: days.max(most + 1), most, band: limits.band });
    }
    Ok(())
}

/// Which of these controls have ended.
fn ended(controls: &[Control], now: Timestamp) -> impl Iterator<Item = &Control> {
    controls.iter().filter(move |control| control.ends.is_some_and(|ends| ends <= now))
}
