//! Route templates: one spelling for every framework's, which paths they match, and which of several is meant.
//!
//! A template is segments: literal, `{}` (any one segment) or, at the end, `**` (any rest, an empty one too). Of the templates that
//! match a path the most specific is meant: compared from left to right, a literal beats `{}`, and `{}` beats `**`.

use std::cmp::Ordering;

use faultline_model::asset::AssetKind;

use super::facts::Entry;

/// Any one segment, in normalised templates and folded paths.
pub const ANY: &str = "{}";
/// Any rest, at the end of a normalised template.
pub const REST: &str = "**";
/// The most segments of a path that is matched; a longer one is folded.
pub const SEGMENTS_MOST: usize = 64;

/// The segments of a path or template.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// A framework's template in our spelling: `/users/:id`, `/users/<int:id>` and `/users/{id:[0-9]+}` are `/users/{}`.
pub fn normalised(template: &str) -> String {
    let mut normal = String::with_capacity(template.len());
    let mut rest = segments(template).peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        let named = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        let takes_rest = |name: &str| name.starts_with('*') || name.ends_with("...") || name.ends_with(":.*") || name.ends_with(":.+");
        let is_rest = segment == REST
            || segment == "*"
            || segment.starts_with("<path:")
            || named.is_some_and(takes_rest)
            || (segment.len() > 1 && segment.starts_with('*'));
        let is_any = segment.starts_with(':')
            || segment == "*"
            || (segment.contains('{') && segment.contains('}'))
            || (segment.contains('<') && segment.contains('>'));
        normal.push('/');
        normal.push_str(if is_rest && is_last {
            REST
        } else if is_any || is_rest {
            ANY
        } else {
            segment
        });
    }
    if normal.is_empty() {
        normal.push('/');
    }
    normal
}

/// Whether a normalised template matches a path.
pub fn matches(template: &str, path: &str) -> bool {
    let mut path = segments(path);
    for segment in segments(template) {
        if segment == REST {
            return true;
        }
        match path.next() {
            Some(part) if segment == ANY || segment == part => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

/// Of two templates that match one path, the smaller one is meant.
pub fn more_specific(one: &str, other: &str) -> Ordering {
    let kinds = |template| {
        segments(template).map(|segment| match segment {
            REST => 2,
            ANY => 1,
            _ => 0,
        })
    };
    kinds(one).cmp(kinds(other)).then_with(|| one.cmp(other))
}

/// Whether two methods agree: an empty one is any.
pub fn methods_agree(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// What two spellings of one file's path share: its last two parts.
pub fn file_key(file: &str) -> &str {
    let last = file.rfind('/');
    last.and_then(|last| file[..last].rfind('/')).map_or(file, |at| &file[at + 1..])
}

/// How surely two paths are one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SameFile {
    /// One is the end of the other, at least two parts of it: tools name a file from the repository or from its source folder.
    ByEnd,
    Exactly,
}

/// Whether, and how surely, two paths are one file.
pub fn same_file(one: &str, other: &str) -> Option<SameFile> {
    if one == other {
        return Some(SameFile::Exactly);
    }
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    let is_end = short.contains('/') && long.strip_suffix(short).is_some_and(|before| before.ends_with('/'));
    is_end.then_some(SameFile::ByEnd)
}

/// Whether an entry's handler may lie in this file of this asset: a map that was made from a repository speaks of that repository.
pub fn handles(entry: &Entry, asset: &str, file: &str) -> Option<SameFile> {
    let fits = entry.asset.as_str() == asset || entry.asset.kind() != AssetKind::Repo;
    if fits { same_file(&entry.file, file) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framework_spells_a_template_the_same_way_here() {
        for (template, normal) in [
            ("/users/{id}", "/users/{}"),
            ("/users/:id/", "/users/{}"),
            ("users/<int:id>", "/users/{}"),
            ("/users/{id:[0-9]+}/x", "/users/{}/x"),
            ("/files/{name}.json", "/files/{}"),
            ("/static/*", "/static/**"),
            ("/static/**", "/static/**"),
            ("/static/*filepath", "/static/**"),
            ("/static/{*rest}", "/static/**"),
            ("/static/<path:name>", "/static/**"),
            ("/a/*/b", "/a/{}/b"),
            ("", "/"),
            ("/", "/"),
        ] {
            assert_eq!(normalised(template), normal, "{template}");
        }
    }

    #[test]
    fn a_literal_is_meant_before_a_parameter_and_a_rest_last() {
        let mut templates = vec!["/**", "/{}/me", "/users/{}", "/users/me", "/users/**", "/{}/{}"];
        templates.retain(|template| matches(template, "/users/me"));
        templates.sort_by(|one, other| more_specific(one, other));
        assert_eq!(templates, ["/users/me", "/users/{}", "/users/**", "/{}/me", "/{}/{}", "/**"]);
        assert!(matches("/users/**", "/users") && !matches("/users/{}", "/users") && !matches("/users", "/users/1"));
    }

    #[test]
    fn a_file_is_known_from_the_repository_and_from_its_source_folder() {
        for (one, other, same) in [
            ("src/main/java/org/a/B.java", "org/a/B.java", Some(SameFile::ByEnd)),
            ("a/B.java", "a/B.java", Some(SameFile::Exactly)),
            ("src/app.py", "app.py", None),
            ("src/xa/B.java", "a/B.java", None),
        ] {
            assert_eq!(same_file(one, other), same, "{one} {other}");
            assert_eq!(same_file(other, one), same, "{other} {one}");
            if same.is_some() {
                assert_eq!(file_key(one), file_key(other));
            }
        }
    }
}
