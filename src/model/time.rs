//! Times and durations: milliseconds, signed, and Prometheus' duration texts.

use std::fmt::Write as _;

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;
pub const WEEK_MS: i64 = 7 * DAY_MS;
pub const YEAR_MS: i64 = 365 * DAY_MS;

/// A range of times in milliseconds, both ends included. Empty where `start_ms > end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl TimeRange {
    pub const ALL: Self = Self { start_ms: i64::MIN, end_ms: i64::MAX };

    pub fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { start_ms, end_ms }
    }

    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }

    pub fn is_empty(&self) -> bool {
        self.start_ms > self.end_ms
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("empty duration string")]
    Empty,
    #[error("not a valid duration string: {0:?}")]
    Invalid(String),
    #[error("duration out of range: {0:?}")]
    OutOfRange(String),
}

/// Units from the largest down, as they must follow each other in a text.
const UNITS: [(&str, i64); 7] = [
    ("y", YEAR_MS),
    ("w", WEEK_MS),
    ("d", DAY_MS),
    ("h", HOUR_MS),
    ("m", MINUTE_MS),
    ("s", SECOND_MS),
    ("ms", 1),
];

/// Parses `1h30m`, `15d`, `100y`, `0`: each unit at most once, largest first.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(0);
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let out_of_range = || DurationError::OutOfRange(text.to_owned());
    let mut rest = text;
    let mut total_ms = 0i64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = &rest[..digits];
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = &rest[digits..digits + letters];
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if number.is_empty() || at < next_unit {
            return Err(invalid());
        }
        let count: i64 = number.parse().map_err(|_| out_of_range())?;
        total_ms = count
            .checked_mul(UNITS[at].1)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(out_of_range)?;
        next_unit = at + 1;
        rest = &rest[digits + letters..];
    }
    Ok(total_ms)
}

/// Writes a duration as Prometheus does: `1h30m`, `0s`; years and weeks only where exact.
pub fn format_duration_ms(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if duration_ms < 0 {
        text.push('-');
    }
    let mut rest = duration_ms.unsigned_abs();
    for (name, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        let whole_only = matches!(name, "y" | "w");
        if whole_only && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        let count = rest / unit_ms;
        if count > 0 {
            let _ = write!(text, "{count}{name}");
            rest -= count * unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_as_in_prometheus() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_duration_ms(text).ok(), want, "{text}");
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("100y", Some(100 * YEAR_MS));
        check("1s500ms", Some(1_500));
        check("0", Some(0));
        check("5", None);
        check("", None);
        check("1m1h", None);
        check("1h1h", None);
        check("-5m", None);
        check("1.5h", None);
        check("99999999999999999999y", None);
        check("999999999999y", None);
    }

    #[test]
    fn durations_print_in_the_form_that_parses() {
        let check = |ms: i64, want: &str| assert_eq!(format_duration_ms(ms), want);
        check(0, "0s");
        check(300_000, "5m");
        check(5_400_000, "1h30m");
        check(YEAR_MS, "1y");
        check(YEAR_MS + DAY_MS, "366d");
        check(2 * WEEK_MS, "2w");
        check(-90_000, "-1m30s");
    }
}
