//! Reads parameter values as Prometheus does: times, durations, limits.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::model::time;

/// What Prometheus' own client sends for "the beginning" and "the end of time".
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Unix seconds as a number, rounded to milliseconds, or RFC 3339.
pub fn parse_time_ms(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_number(text) {
        let whole = seconds.trunc();
        let fraction_ms = ((seconds - whole) * 1000.0).round();
        return Ok((whole as i64).saturating_mul(1000).saturating_add(fraction_ms as i64));
    }
    match text {
        MIN_TIME_TEXT => Ok(i64::MIN),
        MAX_TIME_TEXT => Ok(i64::MAX),
        _ => parse_rfc3339_ms(text).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// Seconds as a number, or a Prometheus duration.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_number(text) {
        // Prometheus counts durations in nanoseconds.
        if (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok((seconds * 1000.0) as i64);
    }
    time::parse_duration_ms(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// A whole number; 0 means none.
pub fn parse_limit(text: &str) -> Result<Option<usize>, String> {
    let number = parse_integer(text)?;
    match usize::try_from(number) {
        Ok(0) => Ok(None),
        Ok(limit) => Ok(Some(limit)),
        Err(_) => Err("limit must be non-negative".to_owned()),
    }
}

/// A whole number, refused in the words of Go's `strconv.Atoi`.
pub fn parse_integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
    }
    text.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: value out of range"))
}

/// A finite number; "now" and "Inf" are none.
fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `2006-01-02T15:04:05[.fraction](Z|±hh:mm)`, nothing looser.
fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i16> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let literal = |at: usize, byte: u8| (*text.as_bytes().get(at)? == byte).then_some(());
    for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        literal(at, byte)?;
    }
    let small = |range| number(range).and_then(|n| i8::try_from(n).ok());
    let (year, month, day) = (number(0..4)?, small(5..7)?, small(8..10)?);
    let (hour, minute, second) = (small(11..13)?, small(14..16)?, small(17..19)?);

    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0i64;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let milliseconds = format!("{:0<3}", &fraction[..digits.min(3)]);
        fraction_ms = milliseconds.parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_ms = match rest.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let (hours, minutes) = (i64::from(number(at..at + 2)?), i64::from(number(at + 3..at + 5)?));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * time::HOUR_MS + minutes * time::MINUTE_MS;
            if *sign == b'-' { -ahead } else { ahead }
        }
        _ => return None,
    };
    let local = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let instant = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(instant.as_millisecond() + fraction_ms - offset_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc3339() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_time_ms(text).ok(), want, "{text}");
        check("1700000000", Some(1_700_000_000_000));
        check("1700000000.781", Some(1_700_000_000_781));
        check("1700000000.99951", Some(1_700_000_001_000));
        check("1.7e9", Some(1_700_000_000_000));
        check("-62135596800", Some(-62_135_596_800_000));
        check("-0.5", Some(-500));
        check("1e300", Some(i64::MAX));
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check("2023-11-14T22:13:20.123456789Z", Some(1_700_000_000_123));
        check("2023-11-14T22:13:20.5+02:00", Some(1_699_992_800_500));
        check("2023-11-14T22:13:20-01:30", Some(1_700_005_400_000));
        check("1969-12-31T23:59:59.5Z", Some(-500));
        check(MIN_TIME_TEXT, Some(i64::MIN));
        check(MAX_TIME_TEXT, Some(i64::MAX));
        for bad in
            ["abc", "", "1s", "NaN", "Inf", "2020-01-01", "2020-01-01T00:00:00", "2020-02-30T00:00:00Z"]
        {
            check(bad, None);
        }
        for bad in [
            "2020-01-01 00:00:00Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00+2:00",
            "2020-01-01T24:00:00Z",
        ] {
            check(bad, None);
        }
        check("2020-01-01T00:00:00+é0:00", None);
        assert_eq!(parse_time_ms("abc"), Err("cannot parse \"abc\" to a valid timestamp".to_owned()));
    }

    #[test]
    fn durations_are_seconds_or_units() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_duration_ms(text).ok(), want, "{text}");
        check("15.5", Some(15_500));
        check("1e1", Some(10_000));
        check("-1", Some(-1_000));
        check("1m30s", Some(90_000));
        check("1e10", None);
        check("PT1M", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn limits_are_whole_and_not_negative() {
        let check = |text: &str, want: Result<Option<usize>, &str>| {
            assert_eq!(parse_limit(text), want.map_err(str::to_owned), "{text}");
        };
        check("2", Ok(Some(2)));
        check("0", Ok(None));
        check("-1", Err("limit must be non-negative"));
        check("abc", Err("strconv.Atoi: parsing \"abc\": invalid syntax"));
        check("1.5", Err("strconv.Atoi: parsing \"1.5\": invalid syntax"));
        check(
            "99999999999999999999",
            Err("strconv.Atoi: parsing \"99999999999999999999\": value out of range"),
        );
    }
}
