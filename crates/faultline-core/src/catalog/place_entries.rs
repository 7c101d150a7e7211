//! The places of a service: an asset or a prefix of assets, and the part of it.

use faultline_model::asset::{AssetId, AssetKind};
use faultline_model::catalog::PlaceRule;

use super::read::Draft;
use crate::description::cursor::{Cursor, LIST_ENTRIES, listed};
use crate::description::fault::{Faults, shown};

/// The most services that use a place.
pub(super) const USERS: usize = 16;
/// The key for an asset of any kind, then a key for each kind.
const ASSET_KEYS: [&str; 8] = ["asset", "repo", "image", "url", "host", "cloud", "package", "model"];
const OTHER_KEYS: [&str; 4] = ["path", "used_by", "default_branch", "rewrite"];
/// Stands for the rest of a name while a prefix is made canonical.
const REST: &str = "faultline0rest";

/// What a place names.
struct Named {
    /// A canonical asset name, or a prefix of such that ends in `/*`.
    assets: String,
    kind: AssetKind,
    /// The path of a URL.
    path: String,
}

/// Reads the places of a service.
pub(super) fn read(service: &Cursor<'_>, owner: &str, draft: &mut Draft) {
    for entry in service.list("places", LIST_ENTRIES, &mut draft.faults) {
        place(&entry, owner, draft);
    }
}

fn place(at: &Cursor<'_>, owner: &str, draft: &mut Draft) {
    let known = [ASSET_KEYS.as_slice(), OTHER_KEYS.as_slice()].concat();
    if !at.fields(&known, &mut draft.faults) {
        return;
    }
    let users = users(at, owner, draft);
    let Some(named) = named(at, draft) else { return };
    let path = path(at, &named, draft);
    let rewrite = rewrite(at, &named, draft);
    branch(at, &named, draft);
    let Some(prefix) = path else { return };
    let key = (named.assets, prefix);
    if let Some((first, rule)) = draft.rules.get(&key) {
        let found = format!("{}{}{} again, for {owner}", key.0, if key.1.is_empty() { "" } else { " at " }, key.1);
        draft.faults.add(at.place().fault(found, format!("one owner of a place, which is {} at {first}", rule.owner)));
        return;
    }
    let rule = PlaceRule { prefix: key.1.clone(), owner: owner.to_owned(), users, rewrite };
    draft.rules.insert(key, (at.place(), rule));
}

fn users(at: &Cursor<'_>, owner: &str, draft: &mut Draft) -> Vec<String> {
    for entry in at.list("used_by", USERS, &mut draft.faults) {
        match entry.text("the id of a service", &mut draft.faults) {
            Some(user) if user == owner => entry.wrong("a service other than the owner", &mut draft.faults),
            Some(user) => draft.used_by.push((entry.place(), user.to_owned())),
            None => {}
        }
    }
    // Their faults are told above.
    let mut told = Faults::default();
    at.set_of("used_by", USERS, "the id of a service", &mut told)
}

fn named(at: &Cursor<'_>, draft: &mut Draft) -> Option<Named> {
    let fields: Vec<(&str, Cursor<'_>)> = ASSET_KEYS.iter().filter_map(|key| Some((*key, at.get(key)?))).collect();
    let [(key, field)] = fields.as_slice() else {
        let found = if fields.is_empty() { "a place without an asset" } else { "a place with several assets" };
        draft.faults.add(at.place().fault(found.to_owned(), format!("one of {}", listed(&ASSET_KEYS))));
        return None;
    };
    let text = field.text("the name of an asset", &mut draft.faults)?;
    let text = if *key == "asset" || text.starts_with(&format!("{key}:")) { text.to_owned() } else { format!("{key}:{text}") };
    match name(&text) {
        Ok(named) => Some(named),
        Err(why) => {
            draft.faults.add(field.place().fault(why, "an asset, or a prefix of assets that ends in `/*`".to_owned()));
            None
        }
    }
}

fn name(text: &str) -> Result<Named, String> {
    if let Some(stem) = text.strip_suffix("/*") {
        let (assets, kind) = prefix(stem)?;
        return Ok(Named { assets, kind, path: String::new() });
    }
    if text.contains('*') {
        return Err(format!("{}: a `*` stands at the end only, after a `/`", shown(text)));
    }
    let asset = AssetId::read(text).map_err(|error| error.to_string())?;
    let kind = asset.kind();
    let path = if kind == AssetKind::Url { url_path(text)? } else { String::new() };
    Ok(Named { assets: asset.as_str().to_owned(), kind, path })
}

/// A prefix is made canonical as an asset below it is; forges differ in how many parts a name has.
fn prefix(stem: &str) -> Result<(String, AssetKind), String> {
    let mut why = format!("{}/* is no prefix of assets", shown(stem));
    for rest in [format!("/{REST}/{REST}"), format!("/{REST}")] {
        match AssetId::read(&format!("{stem}{rest}")) {
            Ok(asset) => {
                if let Some(canonical) = asset.as_str().strip_suffix(&rest).filter(|canonical| !canonical.contains(REST)) {
                    return Ok((format!("{canonical}/*"), asset.kind()));
                }
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// The path of a URL as a prefix: `/api`, or empty for all of the host.
fn url_path(text: &str) -> Result<String, String> {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    if rest.contains(['?', '#']) {
        return Err(format!("{}: a place has no query and no fragment", shown(text)));
    }
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
    Ok(if path.is_empty() { String::new() } else { format!("/{path}") })
}

/// The part of the asset; `None` if it cannot be told.
fn path(at: &Cursor<'_>, named: &Named, draft: &mut Draft) -> Option<String> {
    let Some(field) = at.get("path") else { return Some(named.path.clone()) };
    let text = field.text("a folder or file inside the asset", &mut draft.faults)?;
    let expected = match named.kind {
        AssetKind::Url if !named.path.is_empty() => "none where the URL has a path",
        _ if text.contains(['*', '?', '\\']) => "a prefix of whole folders without wildcards; all below it belongs to it",
        _ if text.split('/').any(|part| part == "..") => "a path inside the asset",
        _ => {
            let path = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/");
            let is_url = named.kind == AssetKind::Url && !path.is_empty();
            return Some(if is_url { format!("/{path}") } else { path });
        }
    };
    field.wrong(expected, &mut draft.faults);
    None
}

fn rewrite(at: &Cursor<'_>, named: &Named, draft: &mut Draft) -> Option<String> {
    let field = at.get("rewrite")?;
    let text = field.text("a path that begins with `/`", &mut draft.faults)?;
    if named.kind != AssetKind::Url || !text.starts_with('/') || text.contains(['?', '#', '*']) {
        let expected = if named.kind == AssetKind::Url { "a path that begins with `/`" } else { "none, as only gateways of URLs rewrite" };
        field.wrong(expected, &mut draft.faults);
        return None;
    }
    Some(format!("/{}", text.trim_matches('/')))
}

fn branch(at: &Cursor<'_>, named: &Named, draft: &mut Draft) {
    let Some(field) = at.get("default_branch") else { return };
    let Some(branch) = field.text("the name of a branch", &mut draft.faults) else { return };
    if named.kind != AssetKind::Repo {
        field.wrong("none, as only repositories have branches", &mut draft.faults);
        return;
    }
    let (first, known) = draft.branches.entry(named.assets.clone()).or_insert_with(|| (field.place(), branch.to_owned()));
    if known != branch {
        let expected = format!("one default branch of {}, which is {} at {first}", named.assets, shown(known));
        draft.faults.add(field.place().fault(shown(branch), expected));
    }
}
