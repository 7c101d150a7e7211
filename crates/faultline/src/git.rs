//! What a Git work tree says of itself: remote, branch, revision and its time.

use std::path::{Path, PathBuf};
use std::process::Command;

use faultline_model::asset::{AssetId, AssetKind};
use faultline_model::time::Timestamp;

/// A work tree, as far as Git knows it. What Git does not know is empty or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkTree {
    pub top: PathBuf,
    pub asset: Option<AssetId>,
    /// Empty on a detached head.
    pub branch: String,
    /// Whether the remote's head is this branch; none where the remote's head is not known.
    pub is_default_branch: Option<bool>,
    pub revision: String,
    pub revision_time: Option<Timestamp>,
}

impl WorkTree {
    /// The work tree that holds this folder; `None` where there is none, or no Git.
    pub fn around(folder: &Path) -> Option<Self> {
        let git = |arguments: &[&str]| run(folder, arguments);
        let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
        let branch = git(&["symbolic-ref", "--quiet", "--short", "HEAD"]).unwrap_or_default();
        let remote = remote_of(folder, &branch);
        let asset = remote.as_deref().and_then(|name| git(&["remote", "get-url", name]));
        let default = remote.and_then(|name| git(&["symbolic-ref", "--quiet", "--short", &format!("refs/remotes/{name}/HEAD")]));
        let default = default.and_then(|full| full.split_once('/').map(|(_, branch)| branch.to_owned()));
        Some(Self {
            top,
            asset: asset.and_then(|url| AssetId::new(AssetKind::Repo, &url).ok()),
            is_default_branch: default.map(|default| default == branch),
            branch,
            revision: git(&["rev-parse", "--verify", "--quiet", "HEAD"]).unwrap_or_default(),
            revision_time: git(&["log", "-1", "--format=%cI"]).and_then(|text| text.parse().ok()),
        })
    }
}

/// The branch's own remote, else `origin`, else the only one.
fn remote_of(folder: &Path, branch: &str) -> Option<String> {
    if let Some(own) = run(folder, &["config", "--get", &format!("branch.{branch}.remote")]).filter(|name| name != ".") {
        return Some(own);
    }
    let all = run(folder, &["remote"])?;
    let names: Vec<&str> = all.lines().collect();
    names.iter().find(|name| **name == "origin").or(names.first().filter(|_| names.len() == 1)).map(|name| (*name).to_owned())
}

fn run(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
        let output = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_work_tree_knows_repository_branch_and_revision() {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        git(folder.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
        let bare = WorkTree::around(folder.path()).unwrap();
        assert_eq!((bare.asset, bare.is_default_branch), (None, None));
        git(folder.path(), &["remote", "add", "origin", "git@github.com:Acme/Shop.git"]);
        git(folder.path(), &["update-ref", "refs/remotes/origin/main", "HEAD"]);
        git(folder.path(), &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
        let below = folder.path().join("src");
        std::fs::create_dir(&below).unwrap();
        let known = WorkTree::around(&below).unwrap();
        assert_eq!(known.asset.unwrap().as_str(), "repo:github.com/acme/shop");
        assert_eq!((known.branch.as_str(), known.is_default_branch), ("main", Some(true)));
        assert_eq!(known.revision.len(), 40);
        assert!(known.revision_time.is_some());
        git(folder.path(), &["checkout", "-q", "-b", "feature"]);
        assert_eq!(WorkTree::around(folder.path()).unwrap().is_default_branch, Some(false));
        git(folder.path(), &["checkout", "-q", "--detach"]);
        assert_eq!(WorkTree::around(folder.path()).unwrap().branch, "");
    }

    #[test]
    fn outside_of_a_work_tree_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(WorkTree::around(folder.path()), None);
    }
}
