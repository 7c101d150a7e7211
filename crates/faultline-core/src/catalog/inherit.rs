//! What an asset takes over from the prefixes that hold it, so that one record answers for it.
//!
//! An asset's own rule wins over any rule of a prefix that it holds; the other rules of the prefix count as if they were written
//! at the asset. [`own`] is the way back.

use std::collections::BTreeMap;

use faultline_model::catalog::{PlaceRule, Places, places_key, places_keys};

use super::places::below;

/// Fills in what each record takes over, the least specific first; `done` sees each once it is whole.
pub(super) fn inherit(all: &mut BTreeMap<String, Places>, done: &mut dyn FnMut(&Places)) {
    let mut order: Vec<String> = all.keys().cloned().collect();
    order.sort_by_key(|assets| (stem(assets).len(), assets.len()));
    for assets in order {
        let Some(mut record) = all.remove(&assets) else { continue };
        if let Some(above) = above(&assets, |key| all.get(key)) {
            let taken: Vec<PlaceRule> = above.rules.iter().filter(|rule| !is_held(rule, &record.rules)).cloned().collect();
            record.rules.extend(taken);
            record.rules.sort_by(|a, b| a.prefix.cmp(&b.prefix));
            if record.default_branch.is_empty() {
                record.default_branch.clone_from(&above.default_branch);
            }
        }
        done(&record);
        all.insert(assets, record);
    }
}

/// What of a record was written at it: from this, `inherit` makes the record again.
pub(super) fn own(record: &Places, all: &BTreeMap<String, Places>) -> Places {
    let Some(above) = above(&record.assets, |key| all.get(key)) else { return record.clone() };
    let mut shortest_first: Vec<&PlaceRule> = record.rules.iter().collect();
    shortest_first.sort_by_key(|rule| rule.prefix.len());
    let mut own = Places { rules: Vec::new(), ..record.clone() };
    // A rule that says what the prefix says may still be there to keep other rules of the prefix out.
    let keeps_out =
        |rule: &PlaceRule| above.rules.iter().any(|other| is_held(other, std::slice::from_ref(rule)) && !record.rules.contains(other));
    for rule in shortest_first {
        if is_held(rule, &own.rules) || !above.rules.contains(rule) || keeps_out(rule) {
            own.rules.push(rule.clone());
        }
    }
    if own.default_branch == above.default_branch {
        own.default_branch.clear();
    }
    // A record is there because of a rule or of CODEOWNERS; a branch is written at a rule.
    let needs_a_rule = own.code_owners.is_empty() || !own.default_branch.is_empty();
    if own.rules.is_empty() && needs_a_rule {
        own.rules.clone_from(&record.rules);
    }
    own
}

/// The nearest prefix above an asset or a prefix that has a record.
fn above<'a>(assets: &str, get: impl Fn(&str) -> Option<&'a Places>) -> Option<&'a Places> {
    let keys = places_keys(stem(assets));
    let text = |key: &String| key.strip_prefix(&places_key("")).map(ToOwned::to_owned);
    keys.iter().skip(1).filter_map(text).find_map(|prefix| get(&prefix))
}

fn stem(assets: &str) -> &str {
    assets.strip_suffix("/*").unwrap_or(assets)
}

fn is_held(rule: &PlaceRule, by: &[PlaceRule]) -> bool {
    by.iter().any(|own| below(&rule.prefix, &own.prefix).is_some())
}
