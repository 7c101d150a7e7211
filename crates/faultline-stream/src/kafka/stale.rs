//! How long a folder was not followed. A topic forgets that a key went after a while: a copy that was away for longer keeps the key for
//! ever, so it goes, and is made anew from the topics.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::commit::TaskId;
use crate::error::HostError;
use crate::rocks;

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
    rocks::remove(folder)?;
    Ok(true)
}

/// Beside the folder, a file with the number of the generation of topics that it follows; the first where there is none.
fn generation_of(folder: &Path) -> PathBuf {
    folder.with_extension("generation")
}

/// Removes a folder that follows another generation of the topics: their offsets are of other topics.
pub(super) fn remove_of_other_generation(folder: &Path, generation: u32) -> Result<(), HostError> {
    let fails = |source| HostError::folder(folder, source);
    let (mark, first) = (generation_of(folder), "1");
    let followed = std::fs::read_to_string(&mark).unwrap_or_else(|_| first.to_owned());
    if followed == generation.to_string() {
        return Ok(());
    }
    if folder.exists() {
        rocks::remove(folder)?;
    }
    // Last, so that a folder which is of another generation never has a mark of this one.
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above).map_err(fails)?;
    }
    std::fs::write(mark, generation.to_string()).map_err(fails)
}

/// Beside the folder, a file whose time is when a task went elsewhere: what is kept of it follows no more.
fn gone_of(folder: &Path, task: TaskId) -> PathBuf {
    folder.with_extension(format!("gone-{}-{}", task.stage, task.partition))
}

/// Notes that a task goes elsewhere now, unless it is known to be gone.
pub(super) fn goes(folder: &Path, task: TaskId, now: SystemTime) -> std::io::Result<()> {
    match File::options().create_new(true).write(true).open(gone_of(folder, task)) {
        Ok(file) => file.set_times(FileTimes::new().set_modified(now)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a task was elsewhere for as long as its changelog knows that a row went.
pub(super) fn was_gone_long(folder: &Path, task: TaskId, horizon: Duration, now: SystemTime) -> bool {
    let gone = std::fs::metadata(gone_of(folder, task)).and_then(|mark| mark.modified()).ok();
    gone.is_some_and(|gone| now.duration_since(gone).map_or(true, |away| away >= horizon))
}

/// A task is restored and worked on here again.
pub(super) fn is_back(folder: &Path, task: TaskId) {
    // One that stays makes the next restore slower.
    let _ = std::fs::remove_file(gone_of(folder, task));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedLog;

    #[test]
    fn a_task_that_was_elsewhere_too_long_is_restored_whole() {
        let outer = tempfile::tempdir().unwrap();
        let (folder, task) = (outer.path().join("kafka"), TaskId { stage: "track", partition: 3 });
        let (begun, horizon) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000), Duration::from_secs(100));
        assert!(!was_gone_long(&folder, task, horizon, begun), "it never went");
        goes(&folder, task, begun).unwrap();
        goes(&folder, task, begun + Duration::from_secs(50)).unwrap();
        assert!(!was_gone_long(&folder, task, horizon, begun + Duration::from_secs(99)));
        assert!(was_gone_long(&folder, task, horizon, begun + Duration::from_secs(100)), "it counts from when it went first");
        assert!(was_gone_long(&folder, task, horizon, begun - Duration::from_secs(1)), "the clock was set back");
        is_back(&folder, task);
        assert!(!was_gone_long(&folder, task, horizon, begun + Duration::from_secs(100)));
    }

    #[test]
    fn what_follows_another_generation_goes() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("kafka");
        for (generation, goes) in [(1, false), (1, false), (2, true), (2, false), (3, true), (1, true), (1, false)] {
            std::fs::create_dir_all(&folder).unwrap();
            remove_of_other_generation(&folder, generation).unwrap();
            assert_eq!(folder.exists(), !goes, "{generation}");
        }
    }

    #[test]
    fn a_folder_that_somebody_has_open_stays() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("kafka");
        let open = || EmbeddedLog::open(&folder, vec![], rocks::Options::default());
        let log = open().unwrap();
        for refused in [remove(&folder, Duration::ZERO, SystemTime::now()).map(|_| ()), remove_of_other_generation(&folder, 2)] {
            assert!(matches!(refused, Err(HostError::InUse { .. })), "{refused:?}");
        }
        assert!(folder.join("CURRENT").exists());
        log.close().unwrap();
        assert!(remove(&folder, Duration::ZERO, SystemTime::now()).unwrap());
        assert!(!folder.exists());
        open().unwrap().close().unwrap();
        remove_of_other_generation(&folder, 2).unwrap();
        assert!(!folder.exists());
    }

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
