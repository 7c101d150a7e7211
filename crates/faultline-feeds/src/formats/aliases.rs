//! OSV documents: which ids name one vulnerability.
//!
//! Shape: objects with `id` and `aliases`, perhaps `withdrawn`; one, several after one another, or an array. GHSA's own documents
//! have that shape. Source: ossf.github.io/osv-schema, where aliases are symmetric and transitive: so each id of a document gets
//! all its others. A withdrawn document says nothing.

use faultline_model::intel::{Aliases, IntelRecord};
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};

use super::gathered::{ALIASES_OF_ONE, Gathered};
use super::json::{Elements, Taken};
use crate::error::{FeedError, Place, shown};
use crate::feed::{Each, Format, Summary};
use crate::input::Input;
use crate::vulnerability;

#[derive(Deserialize)]
struct Document {
    id: String,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    withdrawn: Option<IgnoredAny>,
}

pub(crate) fn read(inputs: impl IntoIterator<Item = Result<Input, FeedError>>, each: Each<'_>) -> Result<Summary, FeedError> {
    let mut summary = Summary::of(Format::Osv);
    let mut gathered = Gathered::default();
    for input in inputs {
        documents(input?, &mut gathered, &mut summary)?;
    }
    for (id, ids) in gathered.into_sorted() {
        each(id, IntelRecord::Aliases(Aliases { ids })).map_err(FeedError::Taken)?;
        summary.records += 1;
    }
    Ok(summary)
}

fn documents(input: Input, gathered: &mut Gathered, summary: &mut Summary) -> Result<(), FeedError> {
    let Input { name, head, reader, parts } = input;
    let mut taken = Taken::default();
    let mut take = |number, document: Document| {
        let says = gather(&name, number, &document, gathered)?;
        summary.passed_over += u64::from(!says);
        Ok(())
    };
    let is_list = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = if is_list {
        let elements = Elements { parts: &parts, taken: &mut taken, each: &mut take };
        elements.deserialize(&mut json).and_then(|()| json.end())
    } else {
        let mut read = Ok(());
        for document in json.into_iter::<Document>() {
            parts.next();
            match document {
                Ok(document) => {
                    taken.elements += 1;
                    take(taken.elements, document)?;
                }
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
        }
        read
    };
    if let Some(error) = taken.stopped {
        return Err(error);
    }
    let place = Place::Element(taken.elements + 1);
    read.map_err(|source| FeedError::Json { name, place, source })
}

/// Whether the document says anything.
fn gather(name: &str, number: u64, document: &Document, gathered: &mut Gathered) -> Result<bool, FeedError> {
    let wrong = |field, found: &str, expected| FeedError::Field {
        name: name.to_owned(),
        place: Place::Element(number),
        field,
        found: shown(found),
        expected,
    };
    let aliases = document.aliases.as_deref().unwrap_or_default();
    let id = |field, text: &str| vulnerability::canonical(text).ok_or_else(|| wrong(field, text, "an id such as GHSA-jfh8-c2jp-5v3q"));
    let mut ids = vec![id("id", &document.id)?];
    if document.withdrawn.is_some() || aliases.is_empty() {
        return Ok(false);
    }
    if aliases.len() > ALIASES_OF_ONE {
        return Err(wrong("aliases", &format!("a list of {}", aliases.len()), "at most 64"));
    }
    for alias in aliases {
        ids.push(id("aliases", alias)?);
    }
    ids.sort_unstable();
    ids.dedup();
    for one in &ids {
        for other in ids.iter().filter(|other| *other != one) {
            gathered.add(name, one, other)?;
        }
    }
    Ok(ids.len() > 1)
}
