//! A JSON list whose elements are taken one by one, so that memory does not grow with it.

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::error::FeedError;
use crate::input::Parts;

/// Takes each element of a list with its number, from 1.
pub(super) struct Elements<'a, T> {
    pub(super) parts: &'a Parts,
    pub(super) taken: &'a mut Taken,
    pub(super) each: &'a mut dyn FnMut(u64, T) -> Result<(), FeedError>,
}

/// How far a list was read, and what stopped it.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) elements: u64,
    pub(super) stopped: Option<FeedError>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Elements<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Elements<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.parts.next();
        while let Some(element) = list.next_element::<T>()? {
            self.taken.elements += 1;
            self.parts.next();
            if let Err(error) = (self.each)(self.taken.elements, element) {
                self.taken.stopped = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
