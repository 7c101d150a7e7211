//! Every published vector gets its published base score. Vectors and provenance: `tests/data/cvss/README.md`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use faultline_model::cvss::read;

/// Vectors whose published score is not reached, each with its reason: file, vector, our tenths.
const KNOWN_DIFFERENCES: &[(&str, &str, i32)] = &[];

/// The first number of a score or a tuple of scores, in tenths, without going through binary fractions.
fn tenths(published: &str) -> i32 {
    let first = published.trim_matches(['(', ')', ' ']).split(',').next().unwrap().trim().trim_start_matches('-');
    let (whole, part) = first.split_once('.').unwrap_or((first, "0"));
    assert_eq!(part.len(), 1, "{published}");
    whole.parse::<i32>().unwrap() * 10 + part.parse::<i32>().unwrap()
}

#[test]
fn cvss_scores_equal_the_published_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cvss");
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if !file.starts_with("vectors_") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines().filter(|line| !line.trim().is_empty()) {
            let (vector, published) = line.split_once(" - ").unwrap();
            let known = KNOWN_DIFFERENCES.iter().find(|(at, of, _)| *at == file && *of == vector);
            let expected = known.map_or_else(|| tenths(published), |(_, _, ours)| *ours);
            count += 1;
            match read(vector) {
                Ok(got) if got.base_tenths == expected => {}
                got => wrong.push(format!("{file}: {vector} is published as {published}, got {got:?}")),
            }
        }
    }
    assert!(count > 3800, "only {count} vectors were found");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
