//! Streaming through JSON: arrays are visited element by element, so memory does not grow with the report.

use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use crate::adapter::{ReadError, Report};

/// Buffer between the file and the parser, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Deserializes the whole report with a seed that visits its large arrays.
pub(crate) fn visit<'de, S>(tool: &'static str, report: &mut Report<'_>, seed: S) -> Result<S::Value, ReadError>
where
    S: DeserializeSeed<'de>,
{
    let mut input = BufReader::with_capacity(BUFFER_BYTES, report.rewound()?);
    skip_byte_order_mark(&mut input)?;
    let mut json = serde_json::Deserializer::from_reader(input);
    let shape = |error: serde_json::Error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        ReadError::Shape { tool, place, reason: error.to_string() }
    };
    let value = seed.deserialize(&mut json).map_err(shape)?;
    json.end().map_err(shape)?;
    Ok(value)
}

fn skip_byte_order_mark(input: &mut BufReader<&mut dyn crate::adapter::ReadSeek>) -> Result<(), ReadError> {
    if std::io::BufRead::fill_buf(input)?.starts_with(b"\xef\xbb\xbf") {
        input.read_exact(&mut [0; 3])?;
    }
    Ok(())
}

/// Visits an array (or null, as none): each element is deserialized alone and given away with its index.
pub(crate) struct Each<T, F> {
    expected: &'static str,
    take: F,
    element: PhantomData<T>,
}

impl<T, F> Each<T, F> {
    /// `take` gets each element; its error ends the report.
    pub(crate) fn new(expected: &'static str, take: F) -> Self {
        Self { expected, take, element: PhantomData }
    }
}

impl<'de, T, F> DeserializeSeed<'de> for Each<T, F>
where
    T: Deserialize<'de>,
    F: FnMut(usize, T) -> Result<(), ReadError>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F> Visitor<'de> for Each<T, F>
where
    T: Deserialize<'de>,
    F: FnMut(usize, T) -> Result<(), ReadError>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = elements.next_element::<T>()? {
            (self.take)(index, element).map_err(A::Error::custom)?;
            index += 1;
        }
        Ok(())
    }
}
