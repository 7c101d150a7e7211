//! The first write that failed. Nobody knows what of it is on disk: offsets given again could stand for something else, so it is the last.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::HostError;
use crate::sync::held;

/// How RocksDB tells who comes second that somebody was first, and not why: of a file's buffer, and of the file.
const SECOND: [&str; 2] = ["Seen error", "has previous error"];
/// Who was first has its answer by then.
const FIRST_SAYS: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Failure {
    first: Mutex<Option<rocksdb::Error>>,
    said: Condvar,
}

impl Failure {
    /// Takes note of a failure, and gives the one that tells why.
    pub(super) fn of(&self, path: &Path, source: rocksdb::Error) -> HostError {
        let mut first = held(&self.first);
        if SECOND.iter().any(|words| source.as_ref().contains(words)) {
            let waited = self.said.wait_timeout_while(first, FIRST_SAYS, |first| first.is_none());
            first = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let first = first.get_or_insert(source).clone();
        self.said.notify_all();
        HostError::write(path, first)
    }

    pub(super) fn told(&self, path: &Path) -> Result<(), HostError> {
        let first = held(&self.first).clone();
        first.map_or(Ok(()), |first| Err(HostError::write(path, first)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Barrier;
    use std::thread::scope;

    use super::*;

    const MANY: usize = 4;

    /// RocksDB alone makes its errors; this one names a folder that is not there.
    fn error(words: &str) -> rocksdb::Error {
        rocksdb::DB::list_cf(&rocksdb::Options::default(), Path::new("none").join(words)).unwrap_err()
    }

    #[test]
    fn whoever_comes_first_all_are_told_why() {
        let (path, why) = (Path::new("data"), error("No space left on device"));
        for words in ["Seen error. Skip writing buffer.", "Writer has previous error."].repeat(50) {
            let second = error(words);
            let (failure, together) = (Failure::default(), Barrier::new(MANY));
            scope(|scope| {
                for number in 0..MANY {
                    let source = if number + 1 == MANY { &why } else { &second };
                    scope.spawn(|| {
                        together.wait();
                        let told = failure.of(path, source.clone());
                        assert!(matches!(told, HostError::NoSpace { .. }), "{told}");
                    });
                }
            });
            assert!(matches!(failure.told(path), Err(HostError::NoSpace { .. })));
        }
    }

    #[test]
    fn who_is_told_nothing_says_what_it_has() {
        let (path, failure) = (Path::new("data"), Failure::default());
        assert!(failure.told(path).is_ok());
        assert!(matches!(failure.of(path, error("Seen error. Skip writing buffer.")), HostError::Write { .. }));
        assert!(matches!(failure.told(path), Err(HostError::Write { .. })));
    }
}
