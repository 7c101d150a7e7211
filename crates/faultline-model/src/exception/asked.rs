//! Terms as people write them, in JSON or YAML: dates as texts, risks by their ids, and what is mostly so left out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Assumptions, Category, Control, Response, Scope, Terms};
use crate::id::Id;
use crate::time::Timestamp;

/// As [`Terms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedTerms {
    pub title: String,
    pub scope: AskedScope,
    pub category: Category,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<AskedControl>,
    #[serde(default, skip_serializing_if = "AskedAssumptions::are_none")]
    pub assumptions: AskedAssumptions,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Moment>,
    /// The end, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_at: Option<Moment>,
    pub ends: Moment,
    pub covers_at_most: i32,
    /// As [`Response::owner`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// As [`Response::cost`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cost: String,
}

/// As [`Scope`]; risks stand for the findings that found them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskedScope {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<Id>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Id>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vulnerability: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub package: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asset: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<String>,
}

/// As [`Control`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedControl {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Moment>,
}

/// As [`Assumptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskedAssumptions {
    pub not_internet_facing: bool,
    pub not_in_kev: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_at_most: Option<i32>,
    pub controls_in_place: bool,
}

impl AskedAssumptions {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl AskedTerms {
    /// What goes with the terms; none if nothing does.
    pub fn response(&self) -> Option<Response> {
        Some(Response { owner: self.owner.clone(), cost: self.cost.clone() }).filter(|response| !response.is_empty())
    }

    /// With what goes with the terms.
    #[must_use]
    pub fn with(self, Response { owner, cost }: Response) -> Self {
        Self { owner, cost, ..self }
    }

    /// The terms, once it is known which scope is meant.
    pub fn terms(self, scope: Scope) -> Terms {
        let Self { title, category, reason, controls, assumptions, evidence, starts, review_at, ends, covers_at_most, .. } = self;
        let AskedAssumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place } = assumptions;
        let control = |AskedControl { name, ends }| Control { name, ends: ends.map(|ends| ends.0) };
        Terms {
            title,
            scope,
            category,
            reason,
            controls: controls.into_iter().map(control).collect(),
            assumptions: Assumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place },
            evidence,
            starts: starts.map(|starts| starts.0),
            review_at: review_at.unwrap_or(ends).0,
            ends: ends.0,
            covers_at_most,
        }
    }
}

impl From<Terms> for AskedTerms {
    fn from(terms: Terms) -> Self {
        let Terms { title, scope, category, reason, controls, assumptions, evidence, starts, review_at, ends, covers_at_most } = terms;
        let Assumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place } = assumptions;
        let Scope { founders, vulnerability, package, asset, family, within } = scope;
        Self {
            title,
            scope: AskedScope { risks: Vec::new(), findings: founders, vulnerability, package, asset, family, within },
            category,
            reason,
            controls: controls.into_iter().map(|Control { name, ends }| AskedControl { name, ends: ends.map(Moment) }).collect(),
            assumptions: AskedAssumptions { not_internet_facing, not_in_kev, score_at_most, controls_in_place },
            evidence,
            starts: starts.map(Moment),
            review_at: Some(Moment(review_at)),
            ends: Moment(ends),
            covers_at_most,
            owner: String::new(),
            cost: String::new(),
        }
    }
}

/// A point in time as a text: RFC 3339, or a date, which is its beginning in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.strip_suffix("T00:00:00Z").unwrap_or(&text))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let text =
            r#"{"title":"t","scope":{"vulnerability":"CVE-1"},"category":"accept","reason":"r","ends":"2027-01-31","covers_at_most":3}"#;
        let asked: AskedTerms = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&asked).unwrap(), text);
        let terms = asked.clone().terms(Scope { vulnerability: "CVE-1".into(), ..Scope::default() });
        assert_eq!((terms.review_at, terms.ends.to_string().as_str()), (terms.ends, "2027-01-31T00:00:00Z"));
        let again = AskedTerms::from(terms.clone());
        assert_eq!(again.clone().terms(terms.scope.clone()), terms);
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<AskedTerms>(&text).unwrap(), again);
        for wrong in [text.replace("2027-01-31", "soon"), text.replace("accept", "forget"), text.replace("\"title\"", "\"titel\"")] {
            assert!(serde_json::from_str::<AskedTerms>(&wrong).is_err(), "{wrong}");
        }
    }
}
