//! CISA's catalogue of known exploited vulnerabilities.
//!
//! Shape: an object with `catalogVersion`, `dateReleased`, `count` and `vulnerabilities`, each with `cveID`, `vulnerabilityName`,
//! `dateAdded`, `dueDate` and `knownRansomwareCampaignUse` (`Known` or `Unknown`). Source: cisa.gov, KEV JSON schema.
//! It is whole if it holds as many entries as it counts; an excerpt does not.

use std::fmt;

use faultline_model::intel::{IntelRecord, KevEntry};
use faultline_model::time::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::json::{Elements, Taken};
use crate::error::{FeedError, Place, shown};
use crate::feed::{Each, Format, Summary};
use crate::input::{Input, Parts};
use crate::vulnerability;

/// The longest name that is kept, in bytes.
const NAME_BYTES: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "cveID")]
    cve_id: String,
    #[serde(default)]
    vulnerability_name: String,
    date_added: String,
    #[serde(default)]
    due_date: Option<String>,
    #[serde(default)]
    known_ransomware_campaign_use: Option<String>,
}

pub(crate) fn read(input: Input, each: Each<'_>) -> Result<Summary, FeedError> {
    let Input { name, reader, parts, .. } = input;
    let mut summary = Summary::of(Format::Kev);
    let mut taken = Taken::default();
    let mut take = |number, entry: Entry| {
        let (id, entry) = record(&name, number, entry)?;
        each(id, IntelRecord::Kev(entry)).map_err(FeedError::Taken)
    };
    let catalogue = Catalogue { parts: &parts, taken: &mut taken, take: &mut take };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = json.deserialize_map(catalogue).and_then(|said| json.end().map(|()| said));
    if let Some(error) = taken.stopped {
        return Err(error);
    }
    let place = Place::Element(taken.elements + 1);
    let said = read.map_err(|source| FeedError::Json { name: name.clone(), place, source })?;
    if !said.has_list {
        return Err(FeedError::Missing { name, what: "list `vulnerabilities`" });
    }
    summary.records = taken.elements;
    summary.is_full = said.count == Some(taken.elements);
    (summary.version, summary.date) = (said.version, said.released);
    Ok(summary)
}

fn record(name: &str, number: u64, entry: Entry) -> Result<(String, KevEntry), FeedError> {
    let wrong = |field, found: &str, expected| FeedError::Field {
        name: name.to_owned(),
        place: Place::Element(number),
        field,
        found: shown(found),
        expected,
    };
    let id = vulnerability::cve(&entry.cve_id).ok_or_else(|| wrong("cveID", &entry.cve_id, "a CVE id such as CVE-2021-44228"))?;
    let date = |field, text: &str| text.parse::<Timestamp>().map_err(|_| wrong(field, text, "a date such as 2021-12-10"));
    let due = entry.due_date.as_deref().filter(|date| !date.trim().is_empty());
    let ransomware = entry.known_ransomware_campaign_use.is_some_and(|used| used.trim().eq_ignore_ascii_case("known"));
    let mut title = entry.vulnerability_name.trim().to_owned();
    title.truncate(title.floor_char_boundary(NAME_BYTES));
    let due = due.map(|text| date("dueDate", text)).transpose()?;
    Ok((id, KevEntry { name: title, added: date("dateAdded", &entry.date_added)?, due, ransomware }))
}

/// What the catalogue says of itself.
#[derive(Default)]
struct Said {
    version: String,
    released: String,
    count: Option<u64>,
    has_list: bool,
}

struct Catalogue<'a> {
    parts: &'a Parts,
    taken: &'a mut Taken,
    take: &'a mut dyn FnMut(u64, Entry) -> Result<(), FeedError>,
}

impl<'de> Visitor<'de> for Catalogue<'_> {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a KEV catalogue: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let mut said = Said::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "vulnerabilities" => {
                    map.next_value_seed(Elements { parts: self.parts, taken: &mut *self.taken, each: &mut *self.take })?;
                    said.has_list = true;
                }
                "catalogVersion" => said.version = shown(&map.next_value::<String>()?),
                "dateReleased" => said.released = shown(&map.next_value::<String>()?),
                "count" => said.count = Some(map.next_value()?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(said)
    }
}
