//! What a service has in each exception and in the ticket of each fix: sums over its risks, kept up as risks change, and the share that says them.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::avro;
use faultline_model::exception::Broken;
use faultline_model::fixed::loss;
use faultline_model::id::Id;
use faultline_model::observation::{LIST_ENTRIES, Severity};
use faultline_model::risk::{Covering, Factor, Fix, Risk, Score};
use faultline_model::share::{self, FixShare, RISKS_NAMED, Rating, Share, ShareRisk};
use faultline_model::ticket::OTHERS_NAMED;
use faultline_model::time::Timestamp;
use faultline_model::topic::SHARES;
use serde::{Deserialize, Serialize};

use super::covering::Index;
use super::tables::{RATE_VERSION, TICKET_VERSION, Table, pairs, take_time, time_bytes, with_id};
use crate::row::{StageTable, digest};
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

/// What correlate knows to break, in the order of a part's counts.
const KNOWN: [Broken; 3] = [Broken::InternetFacing, Broken::InKev, Broken::ScoreAbove];

/// The grant of what is given to a fix: those of exceptions begin with 1.
const OF_FIX: i32 = 0;

/// What one risk gives to one exception, or to the ticket of its fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    #[serde(with = "super::raw")]
    pub subject: Id,
    pub grant: i32,
    score: i32,
    inherent: i32,
    is_contested: bool,
    broken: [bool; 3],
    /// None as long as an older program may take over.
    #[serde(skip)]
    pub rated: Option<Rated>,
    /// Of a fix.
    #[serde(skip)]
    pub claim: Option<Claim>,
}

/// That a risk deserves a ticket, and with how much right its queue has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Whether the service uses what the risk is anchored at, rather than owns it.
    pub is_used: bool,
    pub first_seen: Timestamp,
    pub queue: String,
}

/// What a risk's score is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rated {
    likelihood: i32,
    impact: i32,
    band: Severity,
}

impl Rated {
    fn of(score: &Score) -> Self {
        let sum = |factors: &[Factor]| {
            let lines = score.contributions.iter().filter(|line| factors.contains(&line.factor));
            lines.map(|line| line.points).sum()
        };
        Self {
            likelihood: sum(&[Factor::Exploitation, Factor::Exposure, Factor::Evidence, Factor::Reachability]),
            impact: sum(&[Factor::Technical, Factor::Business, Factor::Data]),
            band: score.band,
        }
    }
}

/// The parts of a risk, sorted by subject. Whether they are rated is for the operator to finalise.
pub fn parts(risk: &Risk, claim: Option<Claim>, exceptions: &Index, is_rated: bool) -> Vec<Part> {
    let rated = is_rated.then(|| Rated::of(&risk.score));
    let part = |covering: &Covering| {
        Some(Part {
            subject: covering.exception,
            grant: exceptions.grant(covering.exception)?,
            score: risk.score.total,
            inherent: risk.score.inherent,
            is_contested: !covering.at_anchor,
            broken: KNOWN.map(|known| covering.broken.contains(&known)),
            rated,
            claim: None,
        })
    };
    let mut parts: Vec<Part> = risk.exceptions.iter().filter_map(part).collect();
    parts.extend(claim.map(|claim| Part {
        subject: risk.fix.fix,
        grant: OF_FIX,
        score: risk.score.total,
        inherent: risk.score.inherent,
        is_contested: false,
        broken: [false; 3],
        rated,
        claim: Some(claim),
    }));
    parts.sort_unstable_by_key(|part| part.subject);
    parts
}

impl Part {
    fn broken(&self) -> Vec<Broken> {
        KNOWN.into_iter().zip(self.broken).filter(|(_, is_broken)| *is_broken).map(|(broken, _)| broken).collect()
    }

    fn loss_of(score: i32) -> i64 {
        i64::try_from(loss(u16::try_from(score).unwrap_or_default())).unwrap_or_default()
    }
}

/// What parts of one grant are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    risks: i32,
    contested: i32,
    loss: i64,
    inherent_loss: i64,
    broken: [i32; 3],
}

impl Sums {
    fn add(&mut self, part: &Part, sign: i32) {
        if part.is_contested {
            self.contested += sign;
            return;
        }
        self.risks += sign;
        self.loss += i64::from(sign) * Part::loss_of(part.score);
        self.inherent_loss += i64::from(sign) * Part::loss_of(part.inherent);
        for (count, is_broken) in self.broken.iter_mut().zip(part.broken) {
            *count += sign * i32::from(is_broken);
        }
    }

    fn broken(&self) -> Vec<Broken> {
        KNOWN.into_iter().zip(self.broken).filter(|(_, count)| *count > 0).map(|(broken, _)| broken).collect()
    }
}

/// Services with exceptions and fixes of which a share may say something else.
pub type Touched = BTreeSet<(String, Id)>;

/// Takes a risk's parts away and puts others in their place.
pub fn replace(
    batch: &mut Batch<'_>,
    touched: &mut Touched,
    service: &str,
    (risk, told): (Id, &Told),
    before: &[Part],
    now: &[Part],
) -> Result<(), StageError> {
    for (part, sign) in before.iter().map(|part| (part, -1)).chain(now.iter().map(|part| (part, 1))) {
        touched.insert((service.to_owned(), part.subject));
        let key = sums_key(service, part.subject, part.grant);
        let mut sums: Sums = Table::Shares.get(&batch.state, &key)?.unwrap_or_default();
        sums.add(part, sign);
        if sums == Sums::default() {
            batch.state.delete(key);
        } else {
            let row = Table::Shares.row(&key, &sums)?;
            batch.state.put(key, row);
        }
        if let Some(claim) = &part.claim {
            let key = claim_key(service, part.subject, claim, risk);
            if sign > 0 {
                batch.state.put(key, claim.queue.as_bytes());
            } else {
                batch.state.delete(key);
            }
        }
        if !part.is_contested {
            let key = rank_key(service, part, risk);
            if sign > 0 {
                let row = Shared {
                    title: told.title.clone(),
                    score: part.score,
                    broken: part.broken,
                    family: told.family.clone(),
                    rated: part.rated,
                    repair: told.repair.clone().filter(|_| part.claim.is_some()),
                };
                let row = row.row(&key)?;
                batch.state.put(key, row);
            } else {
                batch.state.delete(key);
            }
        }
    }
    Ok(())
}

/// What shares tell of a risk beside its parts.
#[derive(Clone, Debug, Default)]
pub struct Told {
    title: String,
    family: String,
    repair: Option<Repair>,
}

/// How a risk is repaired, as far as a ticket says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Repair {
    kind: String,
    what: String,
    guidance: String,
    fixed_versions: Vec<String>,
    #[serde(with = "super::raw::list")]
    also: Vec<Id>,
    due: Timestamp,
}

impl Told {
    /// Of a risk that has such parts.
    pub fn of(risk: &Risk, parts: &[Part]) -> Self {
        if parts.is_empty() {
            return Self::default();
        }
        let repair = parts.iter().any(|part| part.claim.is_some()).then(|| Repair::of(risk));
        Self { title: risk.title.clone(), family: risk.family.clone(), repair }
    }
}

impl Repair {
    fn of(risk: &Risk) -> Self {
        let Fix { fix: _, also, kind, what, guidance, fixed_versions } = risk.fix.clone();
        let also = also.into_iter().take(OTHERS_NAMED).collect();
        let fixed_versions = fixed_versions.into_iter().take(LIST_ENTRIES).collect();
        Self { kind, what, guidance, fixed_versions, also, due: risk.score.due }
    }
}

/// A risk of a share, as far as its key does not say it.
#[derive(Serialize, Deserialize)]
struct Shared {
    title: String,
    score: i32,
    broken: [bool; 3],
    #[serde(skip)]
    family: String,
    #[serde(skip)]
    rated: Option<Rated>,
    #[serde(skip)]
    repair: Option<Repair>,
}

impl Shared {
    fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let row = Table::Shared.row(key, self)?;
        let Some(rated) = self.rated else { return Ok(row) };
        let Some(repair) = &self.repair else { return Table::Shared.extended(key, row, RATE_VERSION, &(&self.family, rated)) };
        Table::Shared.extended(key, row, TICKET_VERSION, &(&self.family, rated, repair))
    }

    fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&version @ (RATE_VERSION | TICKET_VERSION), body)) = row.split_first() else { return Table::Shared.read(key, row) };
        let (shared, rest): (Self, _) = Table::Shared.take(key, body)?;
        let ((family, rated), rest) = Table::Shared.take(key, rest)?;
        let repair = if version == TICKET_VERSION { Some(Table::Shared.rest(key, rest)?) } else { None };
        Ok(Self { family, rated: Some(rated), repair, ..shared })
    }

    fn rating(&self) -> Option<Rating> {
        let Rated { likelihood, impact, band } = self.rated?;
        Some(Rating { likelihood, impact, band, family: self.family.clone() })
    }
}

/// Says the shares that differ from what was said.
pub fn say(batch: &mut Batch<'_>, exceptions: &Index, touched: Touched) -> Result<(), StageError> {
    for (service, subject) in touched {
        let share = share(&batch.state, &service, subject, exceptions.grant(subject).unwrap_or(OF_FIX))?;
        let key = with_id(Table::ShareSaid.of(&service), subject);
        let said = batch.state.get(&key)?;
        let Some(share) = share else {
            if said.is_some() {
                batch.emit_gone(SHARES, share::key(subject, &service));
                batch.state.delete(key);
            }
            continue;
        };
        let value = avro::encode(share)?;
        let digest = digest(&value).0.to_vec();
        if said.as_ref() != Some(&digest) {
            batch.emit_encoded(SHARES, share::key(subject, &service), value);
            batch.state.put(key, digest);
        }
    }
    Ok(())
}

fn share(state: &dyn Store, service: &str, subject: Id, grant: i32) -> Result<Option<Share>, StoreError> {
    let key = sums_key(service, subject, grant);
    let Some(sums) = Table::Shares.get::<Sums>(state, &key)? else { return Ok(None) };
    let prefix = ranks(service, subject, grant);
    let mut first = Vec::new();
    for (key, row) in pairs(state, &prefix, &prefix, RISKS_NAMED)? {
        let Shared { title, score, broken, .. } = Shared::read(&key, &row)?;
        let risk = super::tables::last_id(&key).ok_or_else(|| Table::Shared.corrupt(&key, "no risk"))?;
        let broken = KNOWN.into_iter().zip(broken).filter(|(_, is_broken)| *is_broken).map(|(broken, _)| broken).collect();
        first.push(ShareRisk { risk, service: service.to_owned(), title, score, broken });
    }
    let Sums { risks, contested, loss, inherent_loss, .. } = sums;
    let leading = highest(state, &prefix)?;
    let (highest, rating) = leading.as_ref().map_or((0, None), |leading| (leading.score, leading.rating()));
    let fix = match (first_claim(state, service, subject)?, leading.and_then(|leading| leading.repair)) {
        (Some(claim), Some(repair)) if grant == OF_FIX => Some(fix_share(claim, repair)),
        _ => None,
    };
    Ok(Some(Share {
        subject,
        service: service.to_owned(),
        grant,
        risks,
        contested,
        loss,
        inherent_loss,
        highest,
        broken: sums.broken(),
        first,
        rating,
        fix,
    }))
}

fn fix_share(claim: Claim, repair: Repair) -> FixShare {
    let Claim { is_used, first_seen, queue } = claim;
    let Repair { kind, what, guidance, fixed_versions, also, due } = repair;
    FixShare { queue, is_owner: !is_used, first_seen, kind, what, guidance, fixed_versions, also, due }
}

/// The claim that comes before all others of a service on a fix.
fn first_claim(state: &dyn Store, service: &str, fix: Id) -> Result<Option<Claim>, StoreError> {
    let below = Table::Claims.at(service, fix);
    let Some((key, queue)) = pairs(state, &below, &below, 1)?.pop() else { return Ok(None) };
    let parsed = || {
        let (is_used, rest) = key.get(below.len()..)?.split_first()?;
        let queue = String::from_utf8(queue).ok()?;
        Some(Claim { is_used: *is_used == 1, first_seen: take_time(rest)?.0, queue })
    };
    parsed().map(Some).ok_or_else(|| Table::Claims.corrupt(&key, "no claim"))
}

/// In the order of [`Claim`].
fn claim_key(service: &str, fix: Id, claim: &Claim, risk: Id) -> Vec<u8> {
    let mut key = Table::Claims.at(service, fix);
    key.push(u8::from(claim.is_used));
    key.extend(time_bytes(claim.first_seen));
    with_id(key, risk)
}

/// The one with the highest score of those that break something, and of the others; of two the one that breaks something.
fn highest(state: &dyn Store, prefix: &[u8]) -> Result<Option<Shared>, StoreError> {
    let mut highest: Option<Shared> = None;
    for is_whole in [0, 1] {
        let mut below = prefix.to_vec();
        below.push(is_whole);
        if let Some((key, row)) = pairs(state, &below, &below, 1)?.pop() {
            let shared = Shared::read(&key, &row)?;
            if highest.as_ref().is_none_or(|known| shared.score > known.score) {
                highest = Some(shared);
            }
        }
    }
    Ok(highest)
}

fn sums_key(service: &str, subject: Id, grant: i32) -> Vec<u8> {
    let mut key = with_id(Table::Shares.of(service), subject);
    key.extend(grant.to_be_bytes());
    key
}

fn ranks(service: &str, subject: Id, grant: i32) -> Vec<u8> {
    let mut key = with_id(Table::Shared.of(service), subject);
    key.extend(grant.to_be_bytes());
    key
}

/// In the order of [`ShareRisk::order`].
fn rank_key(service: &str, part: &Part, risk: Id) -> Vec<u8> {
    let mut key = ranks(service, part.subject, part.grant);
    key.push(u8::from(part.broken().is_empty()));
    key.extend(u16::try_from(1000 - part.score.clamp(0, 1000)).unwrap_or_default().to_be_bytes());
    with_id(key, risk)
}

/// The shares of risks as one plain sum, rated: what [`say`] is judged by.
pub fn reference<'r>(risks: impl Iterator<Item = &'r (Risk, Option<Claim>)>, exceptions: &Index) -> Vec<Share> {
    let mut all: BTreeMap<(Id, &str), Vec<(&Risk, Part)>> = BTreeMap::new();
    for (risk, claim) in risks {
        for part in parts(risk, claim.clone(), exceptions, true) {
            all.entry((part.subject, &risk.service)).or_default().push((risk, part));
        }
    }
    let share = |((subject, service), parts): ((Id, &str), Vec<(&Risk, Part)>)| {
        let mut sums = Sums::default();
        for (_, part) in &parts {
            sums.add(part, 1);
        }
        let whole = || parts.iter().filter(|(_, part)| !part.is_contested);
        let of = |(risk, part): &(&Risk, Part)| ShareRisk {
            risk: risk.risk,
            service: service.to_owned(),
            title: risk.title.clone(),
            score: part.score,
            broken: part.broken(),
        };
        let leads = |(risk, part): &&(&Risk, Part)| (std::cmp::Reverse(part.score), part.broken().is_empty(), risk.risk);
        let claims = parts.iter().filter_map(|(risk, part)| Some((part.claim.clone()?, risk.risk)));
        let claim = claims.min_by_key(|(claim, risk)| (claim.is_used, claim.first_seen, *risk)).map(|(claim, _)| claim);
        let leading = whole().min_by_key(leads).map(|(risk, _)| Repair::of(risk));
        let rating = whole().min_by_key(leads).and_then(|(risk, part)| {
            let Rated { likelihood, impact, band } = part.rated?;
            Some(Rating { likelihood, impact, band, family: risk.family.clone() })
        });
        let mut first: Vec<ShareRisk> = whole().map(of).collect();
        first.sort_by_key(ShareRisk::order);
        first.truncate(RISKS_NAMED);
        Share {
            subject,
            service: service.to_owned(),
            grant: parts[0].1.grant,
            risks: sums.risks,
            contested: sums.contested,
            loss: sums.loss,
            inherent_loss: sums.inherent_loss,
            highest: whole().map(|(_, part)| part.score).max().unwrap_or_default(),
            broken: sums.broken(),
            first,
            rating,
            fix: claim.zip(leading).map(|(claim, repair)| fix_share(claim, repair)),
        }
    };
    all.into_iter().map(share).collect()
}
