//! The matcher of CODEOWNERS against one that tries everything, and the rule that the last match wins.

use faultline_core::catalog::code_owners::{fault, matches, owners_of};
use faultline_model::catalog::CodeOwners;
use proptest::prelude::*;

/// Straight from the definition: a list of segments, each tried in every way.
fn naive(pattern: &str, path: &str) -> bool {
    if fault(pattern).is_some() {
        return false;
    }
    let is_anchored = pattern.trim_end_matches('/').contains('/');
    let mut segments: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty()).collect();
    if !is_anchored {
        segments.insert(0, "**");
    }
    if pattern.ends_with('/') {
        segments.push("+");
    } else if segments.len() > 1 && segments.last() == Some(&"**") {
        segments.pop();
        segments.push("+");
    } else if segments.last() != Some(&"*") {
        segments.push("**");
    }
    let path: Vec<&str> = path.split('/').collect();
    all(&segments, &path)
}

fn all(segments: &[&str], path: &[&str]) -> bool {
    match segments.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|n| all(rest, &path[n..])),
        Some((&"+", rest)) => (1..=path.len()).any(|n| all(rest, &path[n..])),
        Some((segment, rest)) => path.split_first().is_some_and(|(first, below)| glob(segment, first) && all(rest, below)),
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    let mut characters = text.chars();
    match first {
        '*' => text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(rest, &text[at..])),
        '?' => characters.next().is_some() && glob(rest, characters.as_str()),
        '\\' if !rest.is_empty() => {
            let mut rest = rest.chars();
            rest.next() == characters.next() && glob(rest.as_str(), characters.as_str())
        }
        literal => characters.next() == Some(literal) && glob(rest, characters.as_str()),
    }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "ab", "ä"]).prop_map(ToOwned::to_owned),
        1 => prop::sample::select(vec!["*", "**", "a*", "*b", "?", "a?", r"\a", r"\*", "*a*b", "**a"]).prop_map(ToOwned::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    (any::<bool>(), prop::collection::vec(segment(), 1..5), any::<bool>()).prop_map(|(leading, segments, trailing)| {
        format!("{}{}{}", if leading { "/" } else { "" }, segments.join("/"), if trailing { "/" } else { "" })
    })
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "ab", "bab", "ä", "*", "aab"]);
    prop::collection::vec(name, 1..6).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_pattern_holds_what_the_definition_says(pattern in pattern(), path in path()) {
        prop_assert_eq!(matches(&pattern, &path), naive(&pattern, &path), "{} {}", pattern, path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_last_match_wins(patterns in prop::collection::vec(pattern(), 0..12), path in path()) {
        let rules: Vec<CodeOwners> = patterns
            .iter()
            .enumerate()
            .map(|(n, pattern)| CodeOwners { pattern: pattern.clone(), owners: if n % 4 == 3 { vec![] } else { vec![format!("@{n}")] } })
            .collect();
        let expected = rules.iter().rfind(|rule| naive(&rule.pattern, &path)).map(|rule| rule.owners.clone());
        prop_assert_eq!(owners_of(&rules, &path), expected.unwrap_or_default());
    }

    /// A pattern out of a repository that nobody reviewed may not stop a task.
    #[test]
    fn any_text_is_answered(pattern in ".{0,40}", path in ".{0,40}") {
        let _ = matches(&pattern, &path);
    }
}

#[test]
fn many_stars_take_no_time() {
    let pattern = format!("{}c", "a*".repeat(200));
    let path = "a".repeat(4_000);
    assert!(!matches(&pattern, &path));
    let pattern = format!("/{}c", "**/a/".repeat(100));
    assert!(!matches(&pattern, &vec!["a"; 2_000].join("/")));
}
