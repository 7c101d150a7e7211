//! CODEOWNERS of assets: a file's name, or the rules themselves.

use faultline_model::asset::AssetId;
use faultline_model::catalog::CodeOwners;

use super::code_owners_file::{self, OWNERS_OF_A_RULE};
use super::read::{Beside, Draft, beside_name};
use crate::description::cursor::{Cursor, LIST_ENTRIES};

/// The most rules of an asset.
const RULES: usize = 10_000;

/// Reads the `code_owners` of a file.
pub(super) fn read(root: &Cursor<'_>, beside: Beside<'_>, draft: &mut Draft) {
    for entry in root.list("code_owners", LIST_ENTRIES, &mut draft.faults) {
        if entry.fields(&["asset", "file", "rules"], &mut draft.faults) {
            of_an_asset(&entry, beside, draft);
        }
    }
}

fn of_an_asset(at: &Cursor<'_>, beside: Beside<'_>, draft: &mut Draft) {
    let rules = match (at.get("file"), at.get("rules")) {
        (Some(file), None) => from_file(&file, beside, draft),
        (None, Some(_)) => inline(at, draft),
        _ => {
            at.wrong("either `file` or `rules`", &mut draft.faults);
            return;
        }
    };
    let Some(text) = at.required("asset", "the name of an asset", &mut draft.faults) else { return };
    let asset = match AssetId::read(text) {
        Ok(asset) => asset,
        Err(error) => {
            draft.faults.add(at.place().fault(error.to_string(), "the name of one asset".to_owned()));
            return;
        }
    };
    if rules.len() > RULES {
        draft.faults.add(at.place().fault(format!("{} CODEOWNERS rules", rules.len()), format!("at most {RULES}")));
    }
    if rules.is_empty() {
        draft.warnings.push(format!("{}: there is no CODEOWNERS rule for {asset}", at.place()));
        return;
    }
    if let Some((first, _)) = draft.code_owners.get(asset.as_str()) {
        let found = format!("a second list of CODEOWNERS of {asset}");
        draft.faults.add(at.place().fault(found, format!("one, which is at {first}")));
        return;
    }
    draft.code_owners.insert(asset.as_str().to_owned(), (at.place(), rules));
}

fn from_file(at: &Cursor<'_>, beside: Beside<'_>, draft: &mut Draft) -> Vec<CodeOwners> {
    let Some(name) = at.text("the name of a CODEOWNERS file", &mut draft.faults) else { return Vec::new() };
    let path = beside_name(at.file(), name);
    match beside(&path) {
        Ok(text) => {
            let parsed = code_owners_file::parse(&text);
            let told = parsed.left_out.iter().take(super::FAULTS_TOLD);
            draft.warnings.extend(told.map(|(line, why)| format!("{path}:{line} is left out: {why}")));
            if parsed.left_out.len() > super::FAULTS_TOLD {
                draft.warnings.push(format!("{path}: and {} more", parsed.left_out.len() - super::FAULTS_TOLD));
            }
            parsed.rules
        }
        Err(error) => {
            draft.faults.add(at.place().fault(error, format!("a readable CODEOWNERS file at {path}")));
            Vec::new()
        }
    }
}

fn inline(at: &Cursor<'_>, draft: &mut Draft) -> Vec<CodeOwners> {
    let mut rules = Vec::new();
    for entry in at.list("rules", RULES, &mut draft.faults) {
        if !entry.fields(&["pattern", "owners"], &mut draft.faults) {
            continue;
        }
        let Some(pattern) = entry.required("pattern", "a pattern", &mut draft.faults) else { continue };
        // Their order is kept: GitHub shows them so.
        let owners = entry.list("owners", OWNERS_OF_A_RULE, &mut draft.faults);
        let owners = owners.iter().filter_map(|owner| owner.text("an owner", &mut draft.faults)).map(ToOwned::to_owned).collect();
        match code_owners_file::rule(pattern.to_owned(), owners) {
            Ok(rule) => rules.push(rule),
            Err(why) => draft.faults.add(entry.place().fault(why, "a CODEOWNERS rule".to_owned())),
        }
    }
    rules
}
