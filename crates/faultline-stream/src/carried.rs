//! What travels with a finding from topic to topic, in headers: since when it is on its way, and the trace that it belongs to.
//!
//! Never in a value, whose bytes are facts alone. A batch that has records of several traces carries none on: to name one of them would
//! be wrong of the others.

use crate::log::{Headers, Stored};

/// When the oldest record that a record follows from was written, in milliseconds since 1970, as decimal text.
pub(crate) const SINCE: &str = "faultline-since";
/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// Its length; it goes into each record that a batch says.
const TRACE_BYTES: usize = 55;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) since_ms: Option<i64>,
    trace: Trace,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Trace {
    #[default]
    None,
    One(Vec<u8>),
    Several,
}

impl Carried {
    /// A record that a batch is of.
    pub(crate) fn read(&mut self, record: &Stored) {
        let header = |name: &str| record.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
        // Anybody writes headers. One that cannot be is as good as none: then the record's own time holds.
        let since = header(SINCE).and_then(|text| str::from_utf8(text).ok()?.parse().ok());
        let since = since.filter(|since| (0..=record.timestamp_ms).contains(since)).unwrap_or(record.timestamp_ms);
        self.since_ms = Some(self.since_ms.map_or(since, |oldest| oldest.min(since)));
        if let Some(trace) = header(TRACEPARENT).filter(|trace| trace.len() <= TRACE_BYTES) {
            self.trace = match std::mem::take(&mut self.trace) {
                Trace::None => Trace::One(trace.to_vec()),
                Trace::One(known) if known == trace => Trace::One(known),
                Trace::One(_) | Trace::Several => Trace::Several,
            };
        }
    }

    /// For what the batch says.
    pub(crate) fn headers(&self) -> Headers {
        let since = self.since_ms.map(|since| (SINCE.to_owned(), since.to_string().into_bytes()));
        let trace = if let Trace::One(trace) = &self.trace { Some((TRACEPARENT.to_owned(), trace.clone())) } else { None };
        since.into_iter().chain(trace).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(timestamp_ms: i64, headers: &[(&str, &str)]) -> Stored {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Stored { offset: 0, key: Vec::new(), value: None, headers, timestamp_ms }
    }

    fn said(records: &[Stored]) -> Vec<(String, String)> {
        let mut carried = Carried::default();
        for record in records {
            carried.read(record);
        }
        carried.headers().iter().map(|(name, value)| (name.clone(), String::from_utf8(value.clone()).unwrap())).collect()
    }

    #[test]
    fn the_oldest_time_and_a_trace_that_is_the_only_one_go_on() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(said(&[]), []);
        assert_eq!(said(&[record(7, &[]), record(5, &[])]), [pair(SINCE, "5")]);
        // What came before says since when; what cannot be read says nothing.
        assert_eq!(said(&[record(7, &[(SINCE, "3")]), record(5, &[(SINCE, "soon")])]), [pair(SINCE, "3")]);
        // Nor what cannot be: before all time, after the record itself, or longer than a trace is.
        for wrong in [i64::MIN.to_string(), "8".to_owned()] {
            assert_eq!(said(&[record(7, &[(SINCE, &wrong)])]), [pair(SINCE, "7")]);
        }
        assert_eq!(said(&[record(7, &[(TRACEPARENT, &"0".repeat(56))])]), [pair(SINCE, "7")]);
        let (one, other) = (record(5, &[(TRACEPARENT, "one")]), record(5, &[(TRACEPARENT, "other")]));
        assert_eq!(said(&[one.clone(), record(6, &[]), one.clone()]), [pair(SINCE, "5"), pair(TRACEPARENT, "one")]);
        assert_eq!(said(&[one.clone(), other, one]), [pair(SINCE, "5")]);
    }
}
