//! A folder that cannot be read, or is of other topics. All that should be in it is in the topics: it is set aside, for whoever wants to know why,
//! and made anew.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::rocks::Options;
use crate::topics::TopicPlan;

/// Beside the folder, a file that says that a task met something in it that cannot be read.
fn mark_of(folder: &Path) -> PathBuf {
    folder.with_extension("damaged")
}

/// Where the last one that could not be read is kept.
fn aside_of(folder: &Path) -> PathBuf {
    folder.with_extension("set-aside")
}

/// Keeps others out of a folder as long as it is held: a folder that cannot be read is moved before RocksDB has a lock of its own.
pub(super) fn lock(folder: &Path) -> Result<File, HostError> {
    let fails = |source| HostError::folder(folder, source);
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above).map_err(fails)?;
    }
    let file = File::create(folder.with_extension("lock")).map_err(fails)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(source @ TryLockError::WouldBlock) => Err(HostError::InUse { path: folder.to_owned(), source: source.into() }),
        Err(TryLockError::Error(source)) => Err(fails(source)),
    }
}

/// Notes that the folder cannot be read, for who opens it next.
pub(super) fn note(folder: &Path) {
    tracing::error!(folder = %folder.display(), "what is kept here is damaged; restart, and it is set aside, and made anew from the topics");
    if let Err(error) = File::create(mark_of(folder)) {
        tracing::error!(%error, "that it is damaged could not be noted: move the folder away before the restart");
    }
}

/// Opens a folder, or makes it; one that cannot be read is set aside before. Gives whether it was.
pub(super) fn open(folder: &Path, plans: &[TopicPlan], options: &Options) -> Result<(EmbeddedLog, bool), HostError> {
    if !folder.exists() {
        // What it said was of one that is no more.
        remove_mark(folder)?;
    }
    let open = || EmbeddedLog::open(folder, plans.to_vec(), *options);
    let why = match open() {
        Ok(log) if !mark_of(folder).exists() => return Ok((log, false)),
        Ok(log) => {
            drop(log);
            "a task met something in it that cannot be read".to_owned()
        }
        Err(error) if error.is_damage() => crate::error::chain(&error),
        Err(error) => return Err(error),
    };
    Ok((open_anew(folder, plans, options, &format!("it is damaged: {why}"))?, true))
}

/// Sets a folder aside that nobody has open, and makes it anew.
pub(super) fn open_anew(folder: &Path, plans: &[TopicPlan], options: &Options, why: &str) -> Result<EmbeddedLog, HostError> {
    let aside = aside_of(folder);
    tracing::error!(folder = %folder.display(), aside = %aside.display(), why, "what is kept here is set aside, and made anew from the topics");
    set_aside(folder, &aside)?;
    EmbeddedLog::open(folder, plans.to_vec(), *options)
}

/// The one that was set aside before goes: disks that fail would fill up with them.
fn set_aside(folder: &Path, aside: &Path) -> Result<(), HostError> {
    let fails = |source| HostError::folder(aside, source);
    if aside.exists() {
        std::fs::remove_dir_all(aside).map_err(fails)?;
    }
    // First: else it would be said of the next folder. What is damaged is found again.
    remove_mark(folder)?;
    std::fs::rename(folder, aside).map_err(fails)
}

fn remove_mark(folder: &Path) -> Result<(), HostError> {
    match std::fs::remove_file(mark_of(folder)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HostError::folder(folder, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::damage;

    fn opened(folder: &Path) -> Result<bool, HostError> {
        let (log, was_damaged) = open(folder, &[], &Options::default())?;
        log.close()?;
        Ok(was_damaged)
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_once_and_the_one_before_goes() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("kafka");
        assert!(!opened(&folder).unwrap() && !opened(&folder).unwrap());
        for round in 0..2 {
            std::fs::write(folder.join("round"), round.to_string()).unwrap();
            damage(&folder).unwrap();
            assert!(opened(&folder).unwrap());
            assert_eq!(std::fs::read_to_string(aside_of(&folder).join("round")).unwrap(), round.to_string());
            assert!(!opened(&folder).unwrap());
        }
    }

    #[test]
    fn what_was_noted_at_work_is_set_aside_at_the_next_start_and_not_while_it_is_open() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("kafka");
        let (log, _) = open(&folder, &[], &Options::default()).unwrap();
        note(&folder);
        let refused = opened(&folder);
        assert!(matches!(refused, Err(HostError::InUse { .. })), "{refused:?}");
        log.close().unwrap();
        assert!(opened(&folder).unwrap() && aside_of(&folder).exists());
        assert!(!opened(&folder).unwrap());
        // A folder that is removed takes with it what was said of it.
        note(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!opened(&folder).unwrap());
    }

    #[test]
    fn a_folder_has_one_holder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("data/kafka");
        let held = lock(&folder).unwrap();
        let refused = lock(&folder);
        assert!(matches!(refused, Err(HostError::InUse { .. })), "{refused:?}");
        drop(held);
        lock(&folder).unwrap();
    }

    #[test]
    fn damage_is_told_from_other_faults_wherever_it_was_met() {
        let outer = tempfile::tempdir().unwrap();
        EmbeddedLog::open(outer.path(), vec![], Options::default()).unwrap().close().unwrap();
        damage(outer.path()).unwrap();
        let HostError::Open { source, .. } = EmbeddedLog::open(outer.path(), vec![], Options::default()).map(drop).unwrap_err() else {
            panic!()
        };
        let task = crate::TaskId { stage: "track", partition: 0 };
        let stopped = |source| HostError::Stage { task, source: faultline_core::store::StoreError::read(source).into() };
        assert!(stopped(source).is_damage());
        let other = EmbeddedLog::open(outer.path().join("no/such"), vec![], Options { partitions: 0, ..Options::default() }).map(drop);
        assert!(!other.unwrap_err().is_damage() && !HostError::Stopped.is_damage());
    }
}
