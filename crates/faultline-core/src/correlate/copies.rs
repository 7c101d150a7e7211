//! Copies of the rows of global topics that a service's units go by, those found missing included.
//!
//! The global topics may be ahead of the task's own position; what is evaluated goes by the copy, and a change is a difference from it.

use faultline_model::asset::AssetId;
use faultline_model::avro::TopicValue;
use faultline_model::catalog::{self, CatalogRecord, PlaceRule, Places};
use faultline_model::id::Id;
use faultline_model::intel::{self, IntelRecord, Source};
use faultline_model::topic::{CATALOG, INTEL, Topic};
use serde::{Deserialize, Serialize};

use super::facts::{Intel, ServiceFacts, asset_id};
use super::heed::rated_key;
use super::tables::{HEED_VERSION, RATE_VERSION, TICKET_VERSION, Table, is_any, keys, put_text, service_of, take_text, with_id};
use crate::catalog::places::place;
use crate::row::StageTable;
use crate::stage::{Batch, Home, StageError};
use crate::store::{Store, StoreError};
use crate::tickets::{Mode, TicketPolicy};

/// A global row; one that cannot be read is taken as missing: its own input is refused where it is read in turn.
fn global<T: TopicValue>(batch: &Batch<'_>, topic: Topic, key: &str) -> Result<Option<T>, StageError> {
    match batch.global(topic, key) {
        Err(StageError::Poison { .. }) => Ok(None),
        other => other,
    }
}

/// What the catalog said of a service when it was last looked at.
pub fn service(batch: &mut Batch<'_>, id: &str) -> Result<ServiceFacts, StageError> {
    let key = Table::Services.of(id);
    let copy = service_copy(&batch.state, id)?;
    let facts = match copy {
        Some(copy) if copy.above.is_some() || !heeds(batch) => return Ok(copy),
        // What it goes by beside this stays as it was looked at: a difference is for the catalog's own input to find.
        Some(copy) => ServiceFacts { above: service_now(batch, id)?.above, ..copy },
        None => service_now(batch, id)?,
    };
    batch.state.put(key.as_slice(), facts.row(&key)?);
    Ok(facts)
}

/// The copy of what the catalog said of a service, if there is one.
pub fn service_copy(state: &dyn Store, id: &str) -> Result<Option<ServiceFacts>, StoreError> {
    let key = Table::Services.of(id);
    state.get(&key)?.map(|row| ServiceFacts::read(&key, &row)).transpose()
}

/// Takes over what the catalog says now; whether that differs for anybody.
pub fn refresh_service(batch: &mut Batch<'_>, id: &str) -> Result<bool, StageError> {
    let key = Table::Services.of(id);
    let Some(mut copy) = service_copy(&batch.state, id)? else { return Ok(false) };
    let now = service_now(batch, id)?;
    batch.state.put(key.as_slice(), now.row(&key)?);
    // Where a service stands matters to exceptions and tickets alone.
    if !is_any(&batch.state, &Table::Exceptions.all())? && tickets_copy(&batch.state)?.is_none_or(|copy| copy.text.is_none()) {
        copy.above.clone_from(&now.above);
    }
    Ok(copy != now)
}

fn service_now(batch: &Batch<'_>, id: &str) -> Result<ServiceFacts, StageError> {
    let facts = ServiceFacts::of(global(batch, CATALOG, &catalog::service_key(id))?);
    Ok(if heeds(batch) { facts } else { ServiceFacts { above: None, ..facts } })
}

/// Whether rows may say what an older program does not know of exceptions.
pub fn heeds(batch: &Batch<'_>) -> bool {
    batch.format >= u16::from(HEED_VERSION)
}

/// Whether rows may say what an older program does not know of shares.
pub fn rates(batch: &Batch<'_>) -> bool {
    batch.format >= u16::from(RATE_VERSION)
}

/// Whether rows may say what an older program does not know of tickets.
pub fn asks_for_tickets(batch: &Batch<'_>) -> bool {
    batch.format >= u16::from(TICKET_VERSION)
}

/// The ticket policy's text when it was last looked at; none where there is none whose mode is on.
pub fn tickets(batch: &mut Batch<'_>) -> Result<Option<String>, StageError> {
    if !asks_for_tickets(batch) {
        return Ok(None);
    }
    match tickets_copy(&batch.state)? {
        Some(copy) => Ok(copy.text),
        None => put_tickets(batch),
    }
}

/// What is kept of the ticket policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tickets {
    /// None where its mode is not on.
    pub text: Option<String>,
}

/// The copy of the ticket policy, if there is one.
pub fn tickets_copy(state: &dyn Store) -> Result<Option<Tickets>, StoreError> {
    Table::Tickets.get(state, &Table::Tickets.all())
}

/// As for a service; a copy is made if there is none.
pub fn refresh_tickets(batch: &mut Batch<'_>) -> Result<bool, StageError> {
    if !asks_for_tickets(batch) {
        return Ok(false);
    }
    let before = tickets_copy(&batch.state)?.and_then(|copy| copy.text);
    Ok(put_tickets(batch)? != before)
}

fn put_tickets(batch: &mut Batch<'_>) -> Result<Option<String>, StageError> {
    let record = global(batch, CATALOG, catalog::TICKETS_KEY)?;
    let text = record.and_then(|record| if let CatalogRecord::Policy(policy) = record { Some(policy.yaml) } else { None });
    let text = text.filter(|text| TicketPolicy::of_yaml(text).is_some_and(|policy| policy.mode == Mode::On));
    let key = Table::Tickets.all();
    let copy = Tickets { text };
    batch.state.put(key.as_slice(), Table::Tickets.row(&key, &copy)?);
    Ok(copy.text)
}

/// The policy's text when it was last looked at; none where the catalog has none.
pub fn policy(batch: &mut Batch<'_>) -> Result<Option<String>, StageError> {
    let key = Table::Policy.all();
    if let Some(copy) = Table::Policy.get(&batch.state, &key)? {
        return Ok(copy);
    }
    let text = policy_now(batch)?;
    batch.state.put(key.as_slice(), Table::Policy.row(&key, &text)?);
    Ok(text)
}

/// As for a service.
pub fn refresh_policy(batch: &mut Batch<'_>) -> Result<bool, StageError> {
    let key = Table::Policy.all();
    let Some(copy) = Table::Policy.get::<Option<String>>(&batch.state, &key)? else { return Ok(false) };
    let now = policy_now(batch)?;
    batch.state.put(key.as_slice(), Table::Policy.row(&key, &now)?);
    Ok(copy != now)
}

fn policy_now(batch: &Batch<'_>) -> Result<Option<String>, StageError> {
    let record = global(batch, CATALOG, catalog::POLICY_KEY)?;
    Ok(record.and_then(|record| if let CatalogRecord::Policy(policy) = record { Some(policy.yaml) } else { None }))
}

/// What is kept of a vulnerability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vulnerability {
    /// What the feeds said when it was last looked at.
    pub said: Intel,
    /// Whether a finding ever named it together with another id, since the row is there. Most never are: then nobody needs to look.
    pub is_named_together: bool,
}

/// The copy of a vulnerability, made if it is not there.
pub fn vulnerability(batch: &mut Batch<'_>, id: &str) -> Result<Vulnerability, StageError> {
    let key = Table::Intel.under(id);
    if let Some(copy) = Table::Intel.get(&batch.state, &key)? {
        return Ok(copy);
    }
    let copy = Vulnerability { said: intel_now(batch, id)?, is_named_together: false };
    batch.state.put(key.as_slice(), Table::Intel.row(&key, &copy)?);
    Ok(copy)
}

/// Notes that a finding names a vulnerability together with another id.
pub fn is_named_together(batch: &mut Batch<'_>, id: &str) -> Result<(), StageError> {
    let copy = vulnerability(batch, id)?;
    if !copy.is_named_together {
        let key = Table::Intel.under(id);
        batch.state.put(key.as_slice(), Table::Intel.row(&key, &Vulnerability { is_named_together: true, ..copy })?);
    }
    Ok(())
}

/// What the feeds said of a vulnerability when it was last looked at, if anybody goes by it.
pub fn intel_of(state: &dyn Store, id: &str) -> Result<Option<Intel>, StoreError> {
    let copy: Option<Vulnerability> = Table::Intel.get(state, &Table::Intel.under(id))?;
    Ok(copy.map(|copy| copy.said))
}

/// How a vulnerability's row changed: not at all, in what the score goes by, or in its aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntelChange {
    None,
    Threat,
    Aliases,
}

/// As for a service.
pub fn refresh_intel(batch: &mut Batch<'_>, vulnerability: &str) -> Result<IntelChange, StageError> {
    let key = Table::Intel.under(vulnerability);
    let Some(copy) = Table::Intel.get::<Vulnerability>(&batch.state, &key)? else { return Ok(IntelChange::None) };
    let now = Vulnerability { said: intel_now(batch, vulnerability)?, ..copy };
    if copy.said == now.said {
        return Ok(IntelChange::None);
    }
    batch.state.put(key.as_slice(), Table::Intel.row(&key, &now)?);
    Ok(if copy.said.aliases == now.said.aliases { IntelChange::Threat } else { IntelChange::Aliases })
}

fn intel_now(batch: &Batch<'_>, vulnerability: &str) -> Result<Intel, StageError> {
    let mut known = Intel::default();
    for source in Source::ALL {
        if let Some(record) = global::<IntelRecord>(batch, INTEL, &intel::key(vulnerability, source))? {
            known.learn(record);
        }
    }
    Ok(known)
}

/// A prefix, and what the gateway puts in its place.
type Rewrite = (String, Option<String>);

/// The place rules of an asset as far as they rewrite paths, the most specific record first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rewrites {
    #[serde(with = "super::raw::asset")]
    asset: AssetId,
    /// One for each key at which rules may stand; none where there is no record.
    records: Vec<Option<Vec<Rewrite>>>,
}

/// A path behind the gateway, as the place rules had it when they were last looked at.
pub fn rewritten(batch: &mut Batch<'_>, service: &str, asset: &AssetId, path: &str) -> Result<String, StageError> {
    let key = Table::Places.at(service, asset_id(asset));
    let rewrites = match Table::Places.get(&batch.state, &key)? {
        Some(copy) => copy,
        None => {
            let now = rewrites_now(batch, asset)?;
            batch.state.put(key.as_slice(), Table::Places.row(&key, &now)?);
            for watched in catalog::places_keys(asset.as_str()) {
                batch.state.put(watched_key(&watched, service, asset), Vec::new());
            }
            now
        }
    };
    Ok(rewrites.apply(path))
}

/// As for a service.
pub fn refresh_places(batch: &mut Batch<'_>, service: &str, asset: Id) -> Result<Option<AssetId>, StageError> {
    let key = Table::Places.at(service, asset);
    let Some(copy) = Table::Places.get::<Rewrites>(&batch.state, &key)? else { return Ok(None) };
    let now = rewrites_now(batch, &copy.asset)?;
    if copy == now {
        return Ok(None);
    }
    batch.state.put(key.as_slice(), Table::Places.row(&key, &now)?);
    Ok(Some(now.asset))
}

fn watched_key(watched: &str, service: &str, asset: &AssetId) -> Vec<u8> {
    let mut key = Table::Watched.under(watched);
    put_text(&mut key, service);
    with_id(key, asset_id(asset))
}

fn rewrites_now(batch: &Batch<'_>, asset: &AssetId) -> Result<Rewrites, StageError> {
    let mut records = Vec::new();
    for key in catalog::places_keys(asset.as_str()) {
        let places = match global(batch, CATALOG, &key)? {
            Some(CatalogRecord::Places(places)) => Some(places),
            _ => None,
        };
        records.push(places.map(|places| places.rules.into_iter().map(|rule| (rule.prefix, rule.rewrite)).collect()));
    }
    Ok(Rewrites { asset: asset.clone(), records })
}

impl Rewrites {
    fn apply(&self, path: &str) -> String {
        let is_rewriting = self.records.iter().flatten().flatten().any(|(_, rewrite)| rewrite.is_some());
        if !is_rewriting {
            return path.to_owned();
        }
        let rule = |(prefix, rewrite): &Rewrite| PlaceRule {
            prefix: prefix.clone(),
            owner: String::new(),
            users: Vec::new(),
            rewrite: rewrite.clone(),
        };
        let records = self.records.iter().flatten();
        let places: Vec<Places> = records.map(|rules| Places { rules: rules.iter().map(rule).collect(), ..Places::default() }).collect();
        place(&places, &self.asset, path).rewritten(path)
    }
}

/// Copies that tasks at rest keep of one global row, as one: what the feeds say is the same in all, and whoever need not look may.
pub fn one_copy(key: &[u8], copies: Vec<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let first = copies.first().ok_or_else(|| StoreError::corrupt("copies", key, "no copy"))?;
    if key.first() != Some(&(Table::Intel as u8)) {
        return Ok(first.clone());
    }
    let mut one: Vulnerability = Table::Intel.read(key, first)?;
    for copy in &copies {
        one.is_named_together |= Table::Intel.read::<Vulnerability>(key, copy)?.is_named_together;
    }
    Table::Intel.row(key, &one)
}

/// Where a row belongs: with its service; a copy of what feeds say with each service that goes by it.
pub fn home_of(state: &dyn Store, key: &[u8]) -> Result<Home, StoreError> {
    let corrupt = |reason: &str| StoreError::corrupt("correlate", key, reason);
    match *key.first().ok_or_else(|| corrupt("an empty key"))? {
        table if table == Table::Pending as u8 => Ok(Home::Unfinished),
        // Of other tasks it says nothing: they begin anew, which changes nothing that was done.
        _ if *key == *rated_key() => Ok(Home::WithEach(Vec::new())),
        table if [Table::Policy, Table::Exceptions, Table::Heeded, Table::Tickets].iter().any(|of| *of as u8 == table) => {
            Ok(Home::Everywhere)
        }
        table if table == Table::Intel as u8 => {
            let (vulnerability, _) = take_text(&key[1..]).ok_or_else(|| corrupt("no vulnerability"))?;
            Ok(Home::WithEach(users(state, vulnerability)?))
        }
        table if (Table::Findings as u8..=Table::LAST as u8).contains(&table) => {
            let service = service_of(key).ok_or_else(|| corrupt("a key without its service"))?;
            Ok(Home::With(service.to_owned()))
        }
        _ => Err(corrupt("no table of this program")),
    }
}

/// The services that go by a vulnerability, one look each.
fn users(state: &dyn Store, vulnerability: &str) -> Result<Vec<String>, StoreError> {
    let prefix = Table::Users.under(vulnerability);
    let (mut users, mut from) = (Vec::new(), prefix.clone());
    while let Some(key) = keys(state, &prefix, &from, 1)?.pop() {
        let (service, _) = take_text(&key[prefix.len()..]).ok_or_else(|| Table::Users.corrupt(&key, "no service"))?;
        from.truncate(prefix.len());
        put_text(&mut from, service);
        // Behind all ids of its findings.
        from.extend([u8::MAX; 17]);
        users.push(service.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Changes, MemoryStore};

    #[test]
    fn every_table_says_where_a_row_belongs() {
        let mut users = Changes::new();
        for (service, finding) in [("pay", b"1"), ("shop", b"2"), ("shop", b"3")] {
            let mut key = Table::Users.under("CVE-1");
            put_text(&mut key, service);
            users.insert(with_id(key, Id::of("x", &[finding])), Some(Vec::new()));
        }
        let mut state = MemoryStore::default();
        state.apply(users);
        let id = Id::of("x", &[b"1"]);
        for table in 0..=u8::MAX {
            let mut key = vec![table];
            match table {
                4 => key.extend([0; 8]),
                15 | 17 => put_text(&mut key, "CVE-1"),
                _ => {}
            }
            put_text(&mut key, if table == 16 { "CVE-1" } else { "shop" });
            let home = home_of(&state, &with_id(key, id)).ok();
            let expected = match table {
                16 => Some(Home::WithEach(vec!["pay".to_owned(), "shop".to_owned()])),
                19 | 22 | 23 | 27 => Some(Home::Everywhere),
                20 => Some(Home::Unfinished),
                1..=18 | 21 | 24..=26 | 28 => Some(Home::With("shop".to_owned())),
                _ => None,
            };
            assert_eq!(home, expected, "table {table}");
        }
        assert_eq!(home_of(&state, &rated_key()).ok(), Some(Home::WithEach(Vec::new())));
        assert!(home_of(&state, &[]).is_err() && home_of(&state, &[1, 0]).is_err());
    }

    #[test]
    fn one_copy_of_intel_is_right_for_all_who_had_one() {
        let key = Table::Intel.under("CVE-1");
        let row = |is_named_together| Table::Intel.row(&key, &Vulnerability { said: Intel::default(), is_named_together }).unwrap();
        assert_eq!(one_copy(&key, vec![row(false), row(true), row(false)]).unwrap(), row(true));
        assert_eq!(one_copy(&key, vec![row(false)]).unwrap(), row(false));
        assert!(one_copy(&key, Vec::new()).is_err());
    }
}
