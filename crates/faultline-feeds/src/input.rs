//! The bytes of a feed: gunzipped where they are gzipped, with a bound on the whole and on each part that is held in memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::error::FeedError;

/// What is looked at to find out what a file is.
const HEAD_BYTES: u64 = 64 << 10;
/// The most bytes of a feed, gunzipped. All of OSV is about 4 GB of JSON.
const WHOLE_BYTES: u64 = 16 << 30;
/// The largest element or line. The largest advisories of OSV, with all affected versions, have a few MB.
const PART_BYTES: u64 = 32 << 20;

/// The bytes of a feed and its beginning.
pub(crate) struct Input {
    /// As errors name it.
    pub(crate) name: String,
    pub(crate) head: Vec<u8>,
    pub(crate) reader: Box<dyn BufRead>,
    pub(crate) parts: Parts,
}

/// Told where a part ends, so that the bound on the next begins anew.
#[derive(Clone)]
pub(crate) struct Parts(Rc<Cell<u64>>);

impl Parts {
    pub(crate) fn next(&self) {
        self.0.set(0);
    }
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self, FeedError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::of(name, Box::new(file)),
            Err(source) => Err(FeedError::Io { name, source }),
        }
    }

    pub(crate) fn of(name: String, raw: Box<dyn Read>) -> Result<Self, FeedError> {
        let read = || -> io::Result<_> {
            let mut raw = BufReader::new(raw);
            let is_gzip = raw.fill_buf()?.starts_with(&[0x1f, 0x8b]);
            let plain: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(raw)) } else { Box::new(raw) };
            let parts = Parts(Rc::default());
            let mut bounded = Bounded { inner: plain, whole: 0, part: parts.clone() };
            let mut head = Vec::new();
            bounded.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
            let reader = Box::new(BufReader::with_capacity(HEAD_BYTES as usize, io::Cursor::new(head.clone()).chain(bounded)));
            Ok((head, reader, parts))
        };
        match read() {
            Ok((head, reader, parts)) => Ok(Self { name, head, reader, parts }),
            Err(source) => Err(FeedError::Io { name, source }),
        }
    }

    /// The next line without its end; `None` at the end of the input.
    pub(crate) fn line(&mut self, into: &mut Vec<u8>) -> Result<Option<()>, FeedError> {
        into.clear();
        self.parts.next();
        match self.reader.read_until(b'\n', into) {
            Ok(0) => Ok(None),
            Ok(_) => {
                while matches!(into.last(), Some(b'\n' | b'\r')) {
                    into.pop();
                }
                Ok(Some(()))
            }
            Err(source) => Err(FeedError::Io { name: self.name.clone(), source }),
        }
    }
}

/// Fails rather than give more than it may.
struct Bounded {
    inner: Box<dyn Read>,
    whole: u64,
    part: Parts,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.whole += read as u64;
        let part = self.part.0.get() + read as u64;
        self.part.0.set(part);
        if self.whole > WHOLE_BYTES {
            return Err(io::Error::other(format!("it is larger than {WHOLE_BYTES} bytes, gunzipped")));
        }
        if part > PART_BYTES {
            return Err(io::Error::other(format!("one entry is larger than {PART_BYTES} bytes")));
        }
        Ok(read)
    }
}
