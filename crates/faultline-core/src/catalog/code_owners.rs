//! CODEOWNERS: who answers for a file of a repository, as GitHub reads it.
//!
//! A pattern is gitignore's, with GitHub's differences: the last rule that matches wins, a rule without owners takes them
//! away, `docs/*` does not reach below the folders of `docs`, and `!`, `[ ]` and `***` are not patterns.
//! Source: docs.github.com, "About code owners".

use faultline_model::catalog::CodeOwners;

/// The owners of a path by the last rule that matches; nobody where none does, or where that rule names nobody.
pub fn owners_of<'a>(rules: &'a [CodeOwners], path: &str) -> &'a [String] {
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    let segments: Vec<&str> = path.split('/').collect();
    rules.iter().rev().find(|rule| holds(&rule.pattern, &segments)).map(|rule| rule.owners.as_slice()).unwrap_or_default()
}

/// Why a pattern is none; `None` if GitHub takes it.
pub fn fault(pattern: &str) -> Option<&'static str> {
    match pattern {
        "" => Some("the pattern is empty"),
        "/" => Some("`/` matches no file; `*` matches all of them"),
        _ if pattern.starts_with('!') => Some("`!` does not negate in CODEOWNERS; leave the owners of a later rule empty"),
        _ if has_range(pattern) => Some("`[ ]` ranges do not work in CODEOWNERS"),
        _ if pattern.contains("***") => Some("`***` is no wildcard"),
        _ => None,
    }
}

fn has_range(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => _ = characters.next(),
            '[' => return true,
            _ => {}
        }
    }
    false
}

/// What a path may have after the segments of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing: its last segment is `*`.
    Exact,
    /// At least a file: it ends in `/` or `/**`.
    Below,
    /// The file itself, or a folder and all below it.
    OrBelow,
}

/// Whether a pattern holds a path (without `/` at its ends). A pattern with a [`fault`] holds none.
pub fn matches(pattern: &str, path: &str) -> bool {
    holds(pattern, &path.split('/').collect::<Vec<_>>())
}

/// Runs in the product of both lengths: of several `**` only the last needs to be tried again.
fn holds(pattern: &str, path: &[&str]) -> bool {
    let body = pattern.strip_prefix('/').unwrap_or(pattern);
    let (folder, has_slash) = body.strip_suffix('/').map_or((body, false), |folder| (folder, true));
    // A single segment without a leading `/` may stand in any folder.
    let is_floating = body.len() == pattern.len() && !folder.contains('/');
    if (!is_floating && is_elsewhere(folder, path)) || path == [""] || fault(pattern).is_some() {
        return false;
    }
    let (segments, tail) = match folder.strip_suffix("/**") {
        Some(folder) => (folder, Tail::Below),
        None if has_slash => (folder, Tail::Below),
        None if folder.rsplit('/').next() == Some("*") => (folder, Tail::Exact),
        None => (folder, Tail::OrBelow),
    };
    let pattern: Vec<&str> = is_floating.then_some("**").into_iter().chain(segments.split('/')).collect();
    segments_match(&pattern, path, tail)
}

/// Most rules of a large file begin in another folder: those need no more than this.
fn is_elsewhere(folder: &str, path: &[&str]) -> bool {
    let first = folder.split('/').next().unwrap_or_default();
    !first.contains(['*', '?', '\\']) && path.first() != Some(&first)
}

fn segments_match(pattern: &[&str], path: &[&str], tail: Tail) -> bool {
    let is_end = |at: usize| match tail {
        Tail::Exact => at == path.len(),
        Tail::Below => at < path.len(),
        Tail::OrBelow => at <= path.len(),
    };
    let (mut p, mut at) = (0, 0);
    // Where the last `**` stands, and up to where it reaches now.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && is_end(at) {
            return true;
        }
        if pattern.get(p) == Some(&"**") {
            star = Some((p, at));
            p += 1;
        } else if p < pattern.len() && at < path.len() && segment_matches(pattern[p], path[at]) {
            (p, at) = (p + 1, at + 1);
        } else if let Some((star_p, reach)) = star.filter(|(_, reach)| *reach < path.len()) {
            star = Some((star_p, reach + 1));
            (p, at) = (star_p + 1, reach + 1);
        } else {
            return false;
        }
    }
}

/// `*` any characters, `?` one, `\` takes the next as it is. A segment that is `*` alone wants a character.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    if pattern == b"*" {
        return !text.is_empty();
    }
    let (mut p, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() || p < pattern.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, at));
                p += 1;
                continue;
            }
            // One character, whatever its bytes.
            Some(b'?') if at < text.len() => {
                let width = 1 + text[at + 1..].iter().take_while(|byte| (**byte & 0xc0) == 0x80).count();
                Some((p + 1, at + width))
            }
            Some(b'\\') if p + 1 < pattern.len() => (text.get(at) == Some(&pattern[p + 1])).then_some((p + 2, at + 1)),
            Some(byte) if *byte != b'?' => (text.get(at) == Some(byte)).then_some((p + 1, at + 1)),
            _ => None,
        };
        match (step, star) {
            (Some((next_p, next_at)), _) => (p, at) = (next_p, next_at),
            (None, Some((star_p, reach))) if reach < text.len() => {
                star = Some((star_p, reach + 1));
                (p, at) = (star_p + 1, reach + 1);
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_hold_what_github_says_they_hold() {
        for (pattern, holds, leaves) in [
            ("*", &["a", "a/b/c.js"][..], &[][..]),
            ("**", &["a", "a/b"], &[]),
            ("*.js", &["a.js", "x/y/a.js", "lib.js/x"], &["a.jsx", "js"]),
            ("/build/logs/", &["build/logs/a", "build/logs/x/y"], &["build/logs", "x/build/logs/a"]),
            ("docs/*", &["docs/getting-started.md"], &["docs/build-app/troubleshooting.md", "x/docs/a", "docs"]),
            ("/*", &["a"], &["a/b"]),
            ("/**", &["a", "a/b"], &[]),
            ("apps/", &["apps/a", "x/apps/y/z"], &["apps", "x/apps"]),
            ("/docs/", &["docs/a", "docs/a/b"], &["x/docs/a"]),
            ("/scripts", &["scripts", "scripts/a/b"], &["x/scripts"]),
            ("/scripts/*.sh", &["scripts/a.sh", "scripts/d.sh/x"], &["scripts/x/a.sh"]),
            ("**/logs", &["logs", "build/logs", "a/b/logs/x"], &["catalogs"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b/c"], &["a/xb", "x/a/b"]),
            ("a/**", &["a/x", "a/x/y"], &["a", "b/a/x"]),
            ("a/**/*", &["a/x", "a/x/y"], &["a"]),
            ("/apps/github", &["apps/github", "apps/github/x"], &["apps/githubs"]),
            ("a?c", &["abc", "x/aäc"], &["ac", "abbc"]),
            (r"my\ file.md", &["my file.md", "x/my file.md"], &["my"]),
            (r"\#a", &["#a"], &["a"]),
            ("src/a*b*c", &["src/abc", "src/axxbyyc/d"], &["src/ab", "src/a/b/c"]),
            ("/**/x/**/y", &["x/y", "a/x/x/b/y", "x/a/y/y"], &["y/x"]),
        ] {
            for path in holds {
                assert!(matches(pattern, path), "{pattern} holds {path}");
            }
            for path in leaves {
                assert!(!matches(pattern, path), "{pattern} leaves {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_and_holds_nothing() {
        for wrong in ["", "/", "!a", "a[0-9]", "a/***/b"] {
            assert!(fault(wrong).is_some() && !matches(wrong, "a/b"), "{wrong}");
        }
        assert_eq!(fault(r"a\[0\]"), None);
        assert!(matches(r"a\[0\]", "a[0]"));
    }

    #[test]
    fn the_last_rule_that_matches_wins_and_may_name_nobody() {
        let rule = |pattern: &str, owners: &[&str]| CodeOwners {
            pattern: pattern.into(),
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
        };
        let rules = [rule("*", &["@all"]), rule("/apps/", &["@apps"]), rule("/apps/github", &[])];
        assert_eq!(owners_of(&rules, "README.md"), ["@all"]);
        assert_eq!(owners_of(&rules, "./apps/a"), ["@apps"]);
        assert!(owners_of(&rules, "apps/github/x").is_empty());
        assert!(owners_of(&[], "x").is_empty());
    }
}
