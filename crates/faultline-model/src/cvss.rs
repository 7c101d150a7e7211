//! CVSS vectors, versions 2.0 to 4.0, and the base scores that they yield, in whole tenths.
//!
//! Versions 2 and 3 have a score of the base metrics alone, and that is taken even where a vector has more. Version 4 defines
//! one score over all metrics that a vector has; a published vector has base metrics only, so that it is the base score there.
//! Source: <https://www.first.org/cvss/>.

use std::cmp::Reverse;

use crate::observation::Cvss;

/// Why a text is no vector that can be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CvssError {
    #[error("{vector:?} is no CVSS vector: {reason}")]
    Malformed { vector: String, reason: String },
    #[error("CVSS vector {vector:?} has no {metric}, which every vector of its version has")]
    Incomplete { vector: String, metric: &'static str },
}

/// The metrics without which a vector has no score; the parser takes their absence for "no impact".
const REQUIRED: &[(&str, &[&str])] = &[
    ("2.0", &["AV", "AC", "Au", "C", "I", "A"]),
    ("3.0", &["AV", "AC", "PR", "UI", "S", "C", "I", "A"]),
    ("3.1", &["AV", "AC", "PR", "UI", "S", "C", "I", "A"]),
    ("4.0", &["AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"]),
];

/// A vector with its score. The vector is kept as published.
pub fn read(vector: &str) -> Result<Cvss, CvssError> {
    let vector = vector.trim();
    let malformed = |reason: String| CvssError::Malformed { vector: vector.to_owned(), reason };
    let parsed: cvss::Cvss = vector.parse().map_err(|error: cvss::Error| malformed(error.to_string()))?;
    let version = match &parsed {
        cvss::Cvss::CvssV20(_) => "2.0",
        cvss::Cvss::CvssV30(_) => "3.0",
        cvss::Cvss::CvssV31(_) => "3.1",
        cvss::Cvss::CvssV40(_) => "4.0",
        _ => return Err(malformed("its version is not known here".to_owned())),
    };
    let required = REQUIRED.iter().find(|(known, _)| *known == version).map_or(&[][..], |(_, metrics)| metrics);
    let has = |name: &str| vector.split('/').any(|part| part.split_once(':').is_some_and(|(metric, _)| metric == name));
    if let Some(metric) = required.iter().copied().find(|metric| !has(metric)) {
        return Err(CvssError::Incomplete { vector: vector.to_owned(), metric });
    }
    // Every score is a multiple of a tenth already; rounding only undoes its binary form.
    let base_tenths = (parsed.score() * 10.0).round() as i32;
    Ok(Cvss { version: version.to_owned(), vector: vector.to_owned(), base_tenths })
}

/// Those of many vectors that can be read, each once, the newest version first, else in the order given.
pub fn read_all<'a>(vectors: impl IntoIterator<Item = &'a str>) -> Vec<Cvss> {
    let mut all: Vec<Cvss> = Vec::new();
    for known in vectors.into_iter().filter_map(|vector| read(vector).ok()) {
        if !all.contains(&known) {
            all.push(known);
        }
    }
    all.sort_by_key(|known| Reverse(known.version.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first_and_what_cannot_be_read_does_not_come() {
        let (v2, v3) = ("AV:N/AC:L/Au:N/C:N/I:N/A:P", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H");
        let read: Vec<(String, i32)> = read_all([v2, "", v3, "high", v3]).into_iter().map(|one| (one.version, one.base_tenths)).collect();
        assert_eq!(read, [("3.1".to_owned(), 98), ("2.0".to_owned(), 50)]);
    }

    #[test]
    fn a_vector_without_its_base_metrics_has_no_score() {
        for vector in
            ["CVSS:3.1/AV:N/AC:L", "AV:N/AC:L", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:H/VA:L/SC:N/SI:H", "CVSS:9.9/AV:N", "9.8"]
        {
            assert!(read(vector).is_err(), "{vector}");
        }
    }
}
