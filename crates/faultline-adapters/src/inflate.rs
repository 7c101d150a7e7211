//! A report that comes compressed (gzip) is inflated while it is read, within bounds: a small file must not become an endless one.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// How a gzip file begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The most that a compressed report may inflate to, in bytes.
pub const INFLATED_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// How many times its own size a report may have once inflated. Reports that repeat themselves reach 50; deflate ends at 1,032.
pub const RATIO: u64 = 200;
/// Up to this size the ratio is not looked at: a short report may well repeat one line.
const FREE_BYTES: u64 = 16 * 1024 * 1024;

/// Whether a file that begins so is compressed.
pub(crate) fn is_gzip(head: [u8; 2]) -> bool {
    head == MAGIC
}

/// A compressed stream as what is in it.
pub(crate) struct Inflated<R> {
    inner: MultiGzDecoder<Counted<R>>,
    bytes: u64,
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Inflated<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner: MultiGzDecoder::new(Counted { inner, bytes: 0 }), bytes: 0 }
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        let allowed = FREE_BYTES.max(self.inner.get_ref().bytes.saturating_mul(RATIO)).min(INFLATED_BYTES);
        if self.bytes > allowed {
            let why =
                format!("it inflates to more than {} MiB, beyond {RATIO} times its size or {} GiB", allowed >> 20, INFLATED_BYTES >> 30);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_compressed_comes_out_and_a_cut_file_is_an_error() {
        let mut text = String::new();
        let mut two = zipped(b"one,");
        two.extend(zipped(b"two"));
        Inflated::new(&two[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one,two");
        assert!(Inflated::new(&two[..two.len() - 9]).read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let bomb = zipped(&vec![b' '; 2 * FREE_BYTES as usize]);
        let mut out = Vec::new();
        let error = Inflated::new(&bomb[..]).read_to_end(&mut out).expect_err("it is a bomb");
        assert!(out.len() as u64 <= FREE_BYTES && error.to_string().contains("16 MiB"), "{error}");
    }
}
