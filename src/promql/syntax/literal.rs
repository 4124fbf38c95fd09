//! What numbers, durations and strings are worth.
//!
//! The lexer has checked their outer form; the error texts here are those of Go's `strconv` and
//! Prometheus' `model.ParseDuration`.

use super::go_text;

/// A number: integers as Go's `ParseInt` with base 0 reads them (hexadecimal, octal by a leading
/// zero, underscores), anything else as its `ParseFloat` does.
pub fn number(text: &str) -> Result<f64, String> {
    if let Some(value) = integer(text) {
        return Ok(value as f64);
    }
    let refused = |why: &str| {
        Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", go_text::quote(text)))
    };
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    let Some(digits) = without_underscores(&lower) else { return refused("invalid syntax") };
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => refused("value out of range"),
        Err(_) => refused("invalid syntax"),
    }
}

fn integer(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = without_underscores(&lower)?;
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hexadecimal, 16).ok();
    }
    match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok(),
        _ => digits.parse().ok(),
    }
}

/// Underscores may only separate digits, or follow the base prefix.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_prefix = |at: usize| text.starts_with("0x") && at == 1;
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'_') {
        if at == 0 || !(is_digit(at - 1) || is_prefix(at - 1)) || !is_digit(at + 1) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// A duration in milliseconds. Units come in falling order, each once.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    const UNITS_MS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    /// Go counts nanoseconds in 63 bits.
    const MS_MAX: u64 = i64::MAX as u64 / 1_000_000;
    let invalid = || format!("not a valid duration string: {}", go_text::quote(text));
    let mut total_ms = 0u64;
    let mut units = UNITS_MS.as_slice();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let amount: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let (unit, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        rest = tail;
        if unit.is_empty() {
            return Err(invalid());
        }
        let Some((_, unit_ms)) = UNITS_MS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (go_text::quote(unit), go_text::quote(text));
            return Err(format!("unknown unit {unit} in duration {text}"));
        };
        let Some(at) = units.iter().position(|(name, _)| *name == unit) else { return Err(invalid()) };
        units = &units[at + 1..];
        total_ms = amount
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= MS_MAX)
            .ok_or("duration out of range")?;
    }
    i64::try_from(total_ms).map_err(|_| "duration out of range".to_owned())
}

/// The value of a string token, quotes included in `text`. Escaped bytes that are no UTF-8
/// together become U+FFFD, as they do in every answer of Prometheus.
pub fn string(text: &str) -> String {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if text.starts_with('`') || !inner.contains('\\') {
        return inner.to_owned();
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        value.extend_from_slice(&rest.as_bytes()[..at]);
        rest = push_escape(&rest[at + 1..], &mut value);
    }
    value.extend_from_slice(rest.as_bytes());
    String::from_utf8(value).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Appends what the escape at the start of `text` means; returns what follows it.
fn push_escape<'a>(text: &'a str, value: &mut Vec<u8>) -> &'a str {
    let Some(c) = text.chars().next() else { return text };
    let (skipped, digits, base) = match c {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => {
            let plain = match c {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                other => other,
            };
            value.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
            return &text[c.len_utf8()..];
        }
    };
    // The lexer has counted the digits and checked the range.
    let end = (skipped + digits).min(text.len());
    let code = u32::from_str_radix(&text[skipped..end], base).unwrap_or(0xfffd);
    if matches!(c, 'u' | 'U') {
        let c = char::from_u32(code).unwrap_or('\u{fffd}');
        value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        value.push(code as u8);
    }
    &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let check = |text: &str, want: f64| assert_eq!(number(text), Ok(want), "{text}");
        check("1", 1.0);
        check("1_000", 1000.0);
        check("0755", 493.0);
        check("08", 8.0);
        check("0x1F", 31.0);
        check("0X_1f", 31.0);
        check("1e-400", 0.0);
        check(".5", 0.5);
        check("5.", 5.0);
        check("9223372036854775808", 9_223_372_036_854_775_808.0);
        check("iNf", f64::INFINITY);
        assert!(number("NaN").is_ok_and(f64::is_nan));
    }

    #[test]
    fn what_is_no_number_is_refused_in_gos_words() {
        let check = |text: &str, why: &str| {
            let want = format!("error parsing number: strconv.ParseFloat: parsing \"{text}\": {why}");
            assert_eq!(number(text), Err(want));
        };
        check("1e400", "value out of range");
        check("1e", "invalid syntax");
        check("0x", "invalid syntax");
        check("5_", "invalid syntax");
        check("0x1ffffffffffffffff", "invalid syntax");
    }

    #[test]
    fn durations_have_falling_units() {
        let check = |text: &str, want: i64| assert_eq!(duration_ms(text), Ok(want), "{text}");
        check("5m", 300_000);
        check("1h30m", 5_400_000);
        check("0s", 0);
        check("1y1w1d1h1m1s1ms", 31_536_000_000 + 604_800_000 + 86_400_000 + 3_661_001);
        let check = |text: &str, want: &str| assert_eq!(duration_ms(text), Err(want.to_owned()));
        check("1m1h", r#"not a valid duration string: "1m1h""#);
        check("1m1m", r#"not a valid duration string: "1m1m""#);
        check("1.5m", r#"unknown unit "." in duration "1.5m""#);
        check("1hs", r#"unknown unit "hs" in duration "1hs""#);
        check("293y", "duration out of range");
        check("99999999999999999999s", r#"not a valid duration string: "99999999999999999999s""#);
    }

    #[test]
    fn escapes_are_bytes_or_code_points() {
        let check = |text: &str, want: &str| assert_eq!(string(text), want, "{text}");
        check(r#""a\"b\n""#, "a\"b\n");
        check(r#"'\''"#, "'");
        check(r"`a\n`", r"a\n");
        check(r#""\xc3\xa9""#, "é");
        check(r#""\303\251""#, "é");
        check(r#""\u00e9\U0001F600""#, "é😀");
        check(r#""\xff""#, "\u{fffd}");
    }
}
