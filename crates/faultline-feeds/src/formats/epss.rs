//! FIRST's exploit prediction scores.
//!
//! Shape: a comment `#model_version:…,score_date:…`, a header `cve,epss,percentile`, a line a CVE with a probability of 0 to 1.
//! Source: first.org/epss/data_stats. It is published whole, so what it no longer has is no more.

use faultline_model::intel::{EpssScore, IntelRecord};

use crate::error::{FeedError, Place, shown};
use crate::feed::{Each, Format, Summary};
use crate::input::Input;
use crate::vulnerability;

/// One, in millionths.
const MILLION: u64 = 1_000_000;
/// The most digits of a probability that count; those after them are below any rounding.
const DIGITS: usize = 18;

/// Whether a text begins as the feed does.
pub(crate) fn is_epss(head: &str) -> bool {
    let header = head.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    column(header, "cve").is_some() && column(header, "epss").is_some()
}

fn column(header: &str, name: &str) -> Option<usize> {
    header.split(',').position(|column| column.trim().eq_ignore_ascii_case(name))
}

pub(crate) fn read(mut input: Input, each: Each<'_>) -> Result<Summary, FeedError> {
    let mut summary = Summary { is_full: true, ..Summary::of(Format::Epss) };
    let (mut bytes, mut number) = (Vec::new(), 0);
    let mut columns = None;
    while input.line(&mut bytes)?.is_some() {
        number += 1;
        let wrong = |field, found: &str, expected| {
            Err(FeedError::Field { name: input.name.clone(), place: Place::Line(number), field, found: shown(found), expected })
        };
        let Ok(line) = std::str::from_utf8(&bytes) else {
            return wrong("the line", &String::from_utf8_lossy(&bytes), "UTF-8");
        };
        let line = line.trim_start_matches('\u{feff}');
        if let Some(comment) = line.strip_prefix('#') {
            said(comment, &mut summary);
        } else if let Some((cve, epss)) = columns {
            let at = |column| line.split(',').nth(column).unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let Some(id) = vulnerability::cve(at(cve)) else { return wrong("cve", at(cve), "a CVE id such as CVE-2021-44228") };
            let Some(probability_ppm) = millionths(at(epss)) else { return wrong("epss", at(epss), "a probability of 0 to 1") };
            each(id, IntelRecord::Epss(EpssScore { probability_ppm })).map_err(FeedError::Taken)?;
            summary.records += 1;
        } else {
            columns = column(line, "cve").zip(column(line, "epss"));
            if columns.is_none() {
                return wrong("the header", line, "columns `cve` and `epss`");
            }
        }
    }
    Ok(summary)
}

/// `model_version:v2025.03.14,score_date:2026-08-16T00:00:00+0000`
fn said(comment: &str, summary: &mut Summary) {
    for part in comment.split(',') {
        match part.split_once(':') {
            Some(("model_version", version)) => summary.version = shown(version.trim()),
            Some(("score_date", date)) => summary.date = shown(date.trim()),
            _ => {}
        }
    }
}

/// A decimal of 0 to 1 in millionths, half a millionth rounded up; digits only, so that it is the same on every machine.
pub(super) fn millionths(text: &str) -> Option<i32> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of the digits stand before the last millionth.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + 6;
    let mut value = 0_u64;
    let mut significant = 0;
    for (at, byte) in (0_i64..).zip(digits()) {
        let digit = u64::from(byte - b'0');
        if at == kept {
            value += u64::from(digit >= 5);
        }
        if at >= kept {
            break;
        }
        significant += usize::from(significant > 0 || digit > 0);
        if significant > DIGITS {
            return None;
        }
        value = value * 10 + digit;
    }
    let missing = kept - i64::try_from(whole.len() + fraction.len()).ok()?;
    if value > 0 && missing > 0 {
        value = value.checked_mul(10_u64.checked_pow(u32::try_from(missing).ok()?)?)?;
    }
    (value <= MILLION).then_some(value as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_read_digit_by_digit() {
        for (text, ppm) in [
            ("0.03351", Some(33_510)),
            ("0.94358", Some(943_580)),
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0", Some(0)),
            ("0.00000", Some(0)),
            (".5", Some(500_000)),
            ("0.1234564", Some(123_456)),
            ("0.1234565", Some(123_457)),
            ("9.5e-05", Some(95)),
            ("4E-7", Some(0)),
            ("5E-7", Some(1)),
            ("0.05e1", Some(500_000)),
            ("0e400", Some(0)),
            ("1e-400", Some(0)),
            ("1.000001", None),
            ("1e400", None),
            ("-0.1", None),
            ("0.1.2", None),
            ("NaN", None),
            (".", None),
            ("", None),
            ("0,5", None),
        ] {
            assert_eq!(millionths(text), ppm, "{text}");
        }
    }
}
