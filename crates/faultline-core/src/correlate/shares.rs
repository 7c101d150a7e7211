//! What a service has in each exception: sums over its risks, kept up as risks change, and the share that says them.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::avro;
use faultline_model::exception::Broken;
use faultline_model::fixed::loss;
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::risk::{Covering, Factor, Risk, Score};
use faultline_model::share::{self, RISKS_NAMED, Rating, Share, ShareRisk};
use faultline_model::topic::SHARES;
use serde::{Deserialize, Serialize};

use super::covering::Index;
use super::tables::{RATE_VERSION, Table, pairs, with_id};
use crate::row::{StageTable, digest};
use crate::stage::{Batch, StageError};
use crate::store::{Store, StoreError};

/// What correlate knows to break, in the order of a part's counts.
const KNOWN: [Broken; 3] = [Broken::InternetFacing, Broken::InKev, Broken::ScoreAbove];

/// What one risk gives to one exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    #[serde(with = "super::raw")]
    pub exception: Id,
    pub grant: i32,
    score: i32,
    inherent: i32,
    is_contested: bool,
    broken: [bool; 3],
    /// None as long as an older program may take over.
    #[serde(skip)]
    pub rated: Option<Rated>,
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

/// The parts of a risk, sorted by exception. Whether they are rated is for the operator to finalise.
pub fn parts(risk: &Risk, exceptions: &Index, is_rated: bool) -> Vec<Part> {
    let rated = is_rated.then(|| Rated::of(&risk.score));
    let part = |covering: &Covering| {
        Some(Part {
            exception: covering.exception,
            grant: exceptions.grant(covering.exception)?,
            score: risk.score.total,
            inherent: risk.score.inherent,
            is_contested: !covering.at_anchor,
            broken: KNOWN.map(|known| covering.broken.contains(&known)),
            rated,
        })
    };
    let mut parts: Vec<Part> = risk.exceptions.iter().filter_map(part).collect();
    parts.sort_unstable_by_key(|part| part.exception);
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

/// Services with exceptions of which a share may say something else.
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
        touched.insert((service.to_owned(), part.exception));
        let key = sums_key(service, part.exception, part.grant);
        let mut sums: Sums = Table::Shares.get(&batch.state, &key)?.unwrap_or_default();
        sums.add(part, sign);
        if sums == Sums::default() {
            batch.state.delete(key);
        } else {
            let row = Table::Shares.row(&key, &sums)?;
            batch.state.put(key, row);
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
    pub title: String,
    pub family: String,
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
}

impl Shared {
    fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let row = Table::Shared.row(key, self)?;
        let Some(rated) = self.rated else { return Ok(row) };
        Table::Shared.extended(key, row, RATE_VERSION, &(&self.family, rated))
    }

    fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&RATE_VERSION, body)) = row.split_first() else { return Table::Shared.read(key, row) };
        let (shared, rest): (Self, _) = Table::Shared.take(key, body)?;
        let (family, rated) = Table::Shared.rest(key, rest)?;
        Ok(Self { family, rated: Some(rated), ..shared })
    }

    fn rating(self) -> Option<Rating> {
        let Rated { likelihood, impact, band } = self.rated?;
        Some(Rating { likelihood, impact, band, family: self.family })
    }
}

/// Says the shares that differ from what was said.
pub fn say(batch: &mut Batch<'_>, exceptions: &Index, touched: Touched) -> Result<(), StageError> {
    for (service, exception) in touched {
        let share = exceptions.grant(exception).map(|grant| share(&batch.state, &service, exception, grant)).transpose()?.flatten();
        let key = with_id(Table::ShareSaid.of(&service), exception);
        let said = batch.state.get(&key)?;
        let Some(share) = share else {
            if said.is_some() {
                batch.emit_gone(SHARES, share::key(exception, &service));
                batch.state.delete(key);
            }
            continue;
        };
        let value = avro::encode(share)?;
        let digest = digest(&value).0.to_vec();
        if said.as_ref() != Some(&digest) {
            batch.emit_encoded(SHARES, share::key(exception, &service), value);
            batch.state.put(key, digest);
        }
    }
    Ok(())
}

fn share(state: &dyn Store, service: &str, exception: Id, grant: i32) -> Result<Option<Share>, StoreError> {
    let key = sums_key(service, exception, grant);
    let Some(sums) = Table::Shares.get::<Sums>(state, &key)? else { return Ok(None) };
    let prefix = ranks(service, exception, grant);
    let mut first = Vec::new();
    for (key, row) in pairs(state, &prefix, &prefix, RISKS_NAMED)? {
        let Shared { title, score, broken, .. } = Shared::read(&key, &row)?;
        let risk = super::tables::last_id(&key).ok_or_else(|| Table::Shared.corrupt(&key, "no risk"))?;
        let broken = KNOWN.into_iter().zip(broken).filter(|(_, is_broken)| *is_broken).map(|(broken, _)| broken).collect();
        first.push(ShareRisk { risk, service: service.to_owned(), title, score, broken });
    }
    let Sums { risks, contested, loss, inherent_loss, .. } = sums;
    let (highest, rating) = highest(state, &prefix)?;
    Ok(Some(Share {
        subject: exception,
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
    }))
}

/// The highest score of those that break something, and of the others, with what that score is made of; of two the one that breaks something.
fn highest(state: &dyn Store, prefix: &[u8]) -> Result<(i32, Option<Rating>), StoreError> {
    let mut highest = None;
    for is_whole in [0, 1] {
        let mut below = prefix.to_vec();
        below.push(is_whole);
        if let Some((key, row)) = pairs(state, &below, &below, 1)?.pop() {
            let shared = Shared::read(&key, &row)?;
            if highest.as_ref().is_none_or(|(score, _)| shared.score > *score) {
                highest = Some((shared.score, shared.rating()));
            }
        }
    }
    Ok(highest.unwrap_or_default())
}

fn sums_key(service: &str, exception: Id, grant: i32) -> Vec<u8> {
    let mut key = with_id(Table::Shares.of(service), exception);
    key.extend(grant.to_be_bytes());
    key
}

fn ranks(service: &str, exception: Id, grant: i32) -> Vec<u8> {
    let mut key = with_id(Table::Shared.of(service), exception);
    key.extend(grant.to_be_bytes());
    key
}

/// In the order of [`ShareRisk::order`].
fn rank_key(service: &str, part: &Part, risk: Id) -> Vec<u8> {
    let mut key = ranks(service, part.exception, part.grant);
    key.push(u8::from(part.broken().is_empty()));
    key.extend(u16::try_from(1000 - part.score.clamp(0, 1000)).unwrap_or_default().to_be_bytes());
    with_id(key, risk)
}

/// The shares of risks as one plain sum, rated: what [`say`] is judged by.
pub fn reference<'r>(risks: impl Iterator<Item = &'r Risk>, exceptions: &Index) -> Vec<Share> {
    let mut all: BTreeMap<(Id, &str), Vec<(&Risk, Part)>> = BTreeMap::new();
    for risk in risks {
        for part in parts(risk, exceptions, true) {
            all.entry((part.exception, &risk.service)).or_default().push((risk, part));
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
        }
    };
    all.into_iter().map(share).collect()
}
