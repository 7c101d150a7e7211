//! How rows stand in the store: a version byte, then fields one after the other, whole numbers in as few bytes as they need.
//!
//! Rows are read on the hot path and there are millions of them, so they name no field. A new field goes to the end of its row
//! under a new version byte.

use faultline_model::id::Id;
use faultline_model::time::Timestamp;

use crate::store::{Overlay, Store, StoreError};

/// The version of every row's format.
pub(super) const VERSION: u8 = 3;
/// The newest version that any row has: what a row has not needed before stands at its end then.
pub(super) const NEWEST: u8 = 4;

/// A row of a table.
pub(super) trait Row: Sized {
    /// The table's name in errors.
    const TABLE: &'static str;

    fn write(&self, out: &mut Writer);

    /// `None` if the bytes are no such row.
    fn read(from: &mut Reader<'_>) -> Option<Self>;

    /// In which version it is written: the oldest that can say it.
    fn version(&self) -> u8 {
        VERSION
    }

    /// How many bytes most of these rows have room in, as one that grows from nothing is copied four times or more.
    const ROOM: usize = 48;

    /// The row's bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(Self::ROOM));
        out.byte(self.version());
        self.write(&mut out);
        out.0
    }

    /// A row out of its bytes.
    fn parse(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |why: &str| StoreError::corrupt(Self::TABLE, key, why);
        let (version, body) = bytes.split_first().ok_or_else(|| corrupt("the row is empty"))?;
        if !(VERSION..=NEWEST).contains(version) {
            return Err(corrupt(&format!("the row is of version {version}, this program knows {VERSION} to {NEWEST}")));
        }
        let mut reader = Reader(body);
        Self::read(&mut reader).filter(|_| reader.0.is_empty()).ok_or_else(|| corrupt("the row is cut off or holds what it should not"))
    }
}

/// The row at a key.
pub(super) fn get<R: Row>(state: &dyn Store, key: &[u8]) -> Result<Option<R>, StoreError> {
    state.get(key)?.map(|bytes| R::parse(key, &bytes)).transpose()
}

/// Puts a row.
pub(super) fn put<R: Row>(state: &mut Overlay<'_>, key: Vec<u8>, row: &R) {
    state.put(key, row.bytes());
}

/// Writes fields.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn flag(&mut self, is_set: bool) {
        self.byte(u8::from(is_set));
    }

    /// Seven bits a byte, the lowest first.
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Small negative numbers are as short as small positive ones.
    pub fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn time(&mut self, time: Timestamp) {
        self.int(time.millis());
    }

    pub fn hash(&mut self, hash: u64) {
        self.0.extend(hash.to_le_bytes());
    }

    pub fn id(&mut self, id: Id) {
        self.0.extend(id.0);
    }

    pub fn text(&mut self, text: &str) {
        self.slice(text.as_bytes());
    }

    pub fn slice(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub fn list<T>(&mut self, all: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.uint(all.len() as u64);
        for one in all {
            each(self, one);
        }
    }

    pub fn option<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
    }

    pub fn texts(&mut self, all: &[String]) {
        self.list(all, |out, text| out.text(text));
    }
}

/// Reads fields in the order in which they were written.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Whether all of the row was read: in a version before, what follows was not there.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn uint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub fn small(&mut self) -> Option<u32> {
        self.uint()?.try_into().ok()
    }

    pub fn int(&mut self) -> Option<i64> {
        let value = self.uint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn int32(&mut self) -> Option<i32> {
        self.int()?.try_into().ok()
    }

    pub fn time(&mut self) -> Option<Timestamp> {
        self.int().map(Timestamp::from_millis)
    }

    pub fn hash(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub fn id(&mut self) -> Option<Id> {
        self.take(16)?.try_into().ok().map(Id)
    }

    pub fn slice(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.uint()?).ok()?;
        self.take(len)
    }

    pub fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.slice()?).ok().map(str::to_owned)
    }

    pub fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let len = usize::try_from(self.uint()?).ok()?;
        // An entry has at least one byte: a length beyond what is there is no row of ours.
        if len > self.0.len() {
            return None;
        }
        (0..len).map(|_| each(self)).collect()
    }

    #[expect(clippy::option_option, reason = "a field that may be absent, in a row that may be malformed")]
    pub fn option<T>(&mut self, each: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { each(self).map(Some) } else { Some(None) }
    }

    pub fn texts(&mut self) -> Option<Vec<String>> {
        self.list(Self::text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_come_back_as_they_went_in(a in any::<u64>(), b in any::<i64>(), c in ".{0,20}", d in proptest::option::of(any::<bool>())) {
            let mut out = Writer::default();
            out.uint(a);
            out.int(b);
            out.text(&c);
            out.option(d.as_ref(), |out, flag| out.flag(*flag));
            let mut from = Reader(&out.0);
            prop_assert_eq!((from.uint(), from.int(), from.text()), (Some(a), Some(b), Some(c)));
            prop_assert_eq!(from.option(Reader::flag), Some(d));
            prop_assert!(from.0.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut from = Reader(&bytes);
            let _ = from.list(|from| from.option(Reader::texts));
        }
    }
}
