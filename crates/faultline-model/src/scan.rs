//! A scan as it announces itself: what was looked at, by what, when.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::observation::ScanKind;
use crate::time::Timestamp;

/// What a scan looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The whole asset. Without it and without paths a scan says nothing about what it does not report.
    pub is_full: bool,
    /// Folders and files that were looked at in full, as asset paths; used where `is_full` is not set.
    pub paths: Vec<String>,
    /// The rules that ran, if the scan says so; empty means all.
    pub rules: Vec<String>,
}

impl Scope {
    /// Whether a place lies in what was looked at. An empty path (no file known) lies only in a full scope.
    pub fn holds_path(&self, path: &str) -> bool {
        self.is_full || (!path.is_empty() && self.paths.iter().any(|part| is_below(path, part)))
    }

    /// Whether a rule ran.
    pub fn ran(&self, rule: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|ran| ran == rule)
    }
}

/// Whether a path is the folder or file itself or stands below it. `src` holds `src/a.rs`, not `srcs/a.rs`; the path of a route
/// begins with a slash, that of a file does not.
fn is_below(path: &str, folder: &str) -> bool {
    let (path, folder) = (path.trim_start_matches('/'), folder.trim_matches('/'));
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One scan of one tool on one asset at one revision, before its first observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanStarted {
    /// Hash of report, asset and scope unless the publisher named the scan: the same report is the same scan.
    pub scan: Id,
    /// The tool, lower case.
    pub tool: String,
    /// The tool's version as the report writes it; empty where it does not.
    pub tool_version: String,
    pub kind: ScanKind,
    /// The branch that was scanned; empty where the asset has none.
    pub branch: String,
    /// Whether that branch is the asset's default one, as far as the publisher knows.
    pub is_default_branch: bool,
    /// The environment that was scanned (`production`); empty for what does not run.
    pub environment: String,
    /// The revision (commit) that was scanned; empty where it is not known.
    pub revision: String,
    /// When the revision was made; none where it is not known.
    pub revision_time: Option<Timestamp>,
    /// When the scan began, as the report or the publisher says.
    pub started: Timestamp,
    pub scope: Scope,
    /// The service that the publisher claims the findings for; the catalog wins.
    pub service_claim: String,
    /// Weakness families that the tool tests for; only its silence about these counts.
    pub tests_for: Vec<String>,
    /// Who published it.
    pub publisher: String,
}

/// The end of a scan, with what it announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCompleted {
    pub scan: Id,
    /// How many observations were sent: numbers 0 to this, exclusive.
    pub observations: i32,
    /// Weakness families that the scan reported or lists as run.
    pub families: Vec<String>,
    /// Elements of the report that could not be read.
    pub refused: i32,
}

impl ScanStarted {
    /// The id of a scan that nobody named: the report's digest with the asset and all that tells its line and scope.
    pub fn id_of(report_digest: &[u8; 32], asset: &str, tool: &str, branch: &str, environment: &str, scope: &Scope) -> Id {
        let is_full = [u8::from(scope.is_full)];
        let mut parts: Vec<&[u8]> =
            vec![report_digest, asset.as_bytes(), tool.as_bytes(), branch.as_bytes(), environment.as_bytes(), &is_full];
        for list in [&scope.paths, &scope.rules] {
            parts.push(b"list");
            parts.extend(list.iter().map(String::as_bytes));
        }
        Id::of("scan", &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_report_is_the_same_scan_and_another_scope_is_another() {
        let full = Scope { is_full: true, ..Scope::default() };
        let part = Scope { paths: vec!["src".into()], ..Scope::default() };
        let ruled = Scope { rules: vec!["src".into()], ..Scope::default() };
        let id = |scope: &Scope, branch: &str| ScanStarted::id_of(&[7; 32], "repo:a", "t", branch, "", scope);
        assert_eq!(id(&full, "main"), id(&full.clone(), "main"));
        let all = [id(&full, "main"), id(&part, "main"), id(&ruled, "main"), id(&Scope::default(), "main"), id(&full, "dev")];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_folder_holds_what_is_below_it_and_not_its_namesakes() {
        let scope = Scope { paths: vec!["src/".into(), "Makefile".into()], ..Scope::default() };
        for (path, holds) in [
            ("src/a.rs", true),
            ("/src/a.rs", true),
            ("src", true),
            ("srcs/a.rs", false),
            ("Makefile", true),
            ("Makefile.am", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(scope.holds_path(path), holds, "{path}");
        }
    }
}
