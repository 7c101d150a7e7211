//! How long a folder was not followed. A topic forgets that a key went after a while: a copy that was away for longer keeps the key for
//! ever, so it goes, and is made anew from the topics.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::HostError;

/// Beside the folder, a file whose time is when it was last known to follow.
fn mark_of(folder: &Path) -> PathBuf {
    folder.with_extension("followed")
}

/// Notes that the folder follows now.
pub(super) fn note(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    let file = File::options().create(true).write(true).truncate(false).open(mark_of(folder))?;
    file.set_times(FileTimes::new().set_modified(now))
}

/// Removes a folder that was not followed for as long as the topics know that a key went. Whether it did.
pub(super) fn remove(folder: &Path, horizon: Duration, now: SystemTime) -> Result<bool, HostError> {
    if !folder.exists() {
        return Ok(false);
    }
    let followed = std::fs::metadata(mark_of(folder)).and_then(|mark| mark.modified()).ok();
    // A clock that was set back tells nothing of how long it was.
    if followed.is_some_and(|followed| now.duration_since(followed).is_ok_and(|away| away < horizon)) {
        return Ok(false);
    }
    std::fs::remove_dir_all(folder).map_err(|source| HostError::Folder { path: folder.to_owned(), source })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_away_too_long_goes() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("kafka");
        let (begun, horizon) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000), Duration::from_secs(100));
        assert!(!remove(&folder, horizon, begun).unwrap());
        for (away, goes) in [(0, false), (99, false), (100, true)] {
            std::fs::create_dir_all(&folder).unwrap();
            note(&folder, begun).unwrap();
            assert_eq!(remove(&folder, horizon, begun + Duration::from_secs(away)).unwrap(), goes, "{away} s");
            assert_eq!(folder.exists(), !goes);
        }
        std::fs::create_dir_all(&folder).unwrap();
        assert!(remove(&folder, horizon, begun - Duration::from_secs(1)).unwrap(), "the clock was set back");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::remove_file(mark_of(&folder)).unwrap();
        assert!(remove(&folder, horizon, begun).unwrap(), "nobody knows when it was followed");
    }
}
