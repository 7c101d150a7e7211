//! What the server counts of itself, and everything as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What kind of number a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleKind {
    Counter,
    Gauge,
}

/// A number that `/metrics` shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// `faultline_<noun>_<unit>[_total]`. Samples of one name stand together.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: SampleKind,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// Method, route and status. Routes are those of the table, so the number of rows is bounded.
type Row = (String, String, u16);

/// Requests with the time that they took.
#[derive(Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<Row, (u64, Duration)>>,
}

impl Counters {
    pub fn request(&self, method: &str, route: &str, status: u16, spent: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, time) = requests.entry((method.to_owned(), route.to_owned(), status)).or_default();
        *count += 1;
        *time += spent;
    }

    pub fn samples(&self) -> Vec<Sample> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let labels =
            |(method, route, status): &Row| vec![("method", method.clone()), ("route", route.clone()), ("status", status.to_string())];
        let counts = requests.iter().map(|(key, (count, _))| Sample {
            name: "faultline_http_requests_total",
            help: "Requests that were answered.",
            kind: SampleKind::Counter,
            labels: labels(key),
            value: *count as f64,
        });
        let times = requests.iter().map(|(key, (_, time))| Sample {
            name: "faultline_http_request_seconds_total",
            help: "Seconds from a request's head to its answer's, summed; waits for outcomes are in it.",
            kind: SampleKind::Counter,
            labels: labels(key),
            value: time.as_secs_f64(),
        });
        counts.chain(times).collect()
    }
}

/// Samples in Prometheus' text format. Those of one name must stand together.
pub(crate) fn text_of(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut before = "";
    for sample in samples {
        if sample.name != before {
            let kind = match sample.kind {
                SampleKind::Counter => "counter",
                SampleKind::Gauge => "gauge",
            };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {kind}", sample.name, escaped(sample.help, false));
            before = sample.name;
        }
        text.push_str(sample.name);
        let labels: Vec<String> = sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true))).collect();
        if !labels.is_empty() {
            let _ = write!(text, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(text, " {}", sample.value);
    }
    text
}

fn escaped(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', r"\\").replace('\n', r"\n");
    if is_label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let sample = |label: &str, value| Sample {
            name: "faultline_lag_records",
            help: "Records behind.",
            kind: SampleKind::Gauge,
            labels: vec![("topic", label.to_owned())],
            value,
        };
        let text = text_of(&[
            sample("risks", 3.0),
            sample("a\"b\\c\n", 0.5),
            Sample { name: "faultline_up", labels: Vec::new(), ..sample("", 1.0) },
        ]);
        let expected = "# HELP faultline_lag_records Records behind.\n# TYPE faultline_lag_records gauge\n\
                        faultline_lag_records{topic=\"risks\"} 3\nfaultline_lag_records{topic=\"a\\\"b\\\\c\\n\"} 0.5\n\
                        # HELP faultline_up Records behind.\n# TYPE faultline_up gauge\nfaultline_up 1\n";
        assert_eq!(text, expected);
    }
}
