//! Values and times as texts, both ways, bit for bit.

/// What `NaN` alone stands for: the NaN that Go makes.
pub const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Reads a sample's value.
pub fn parse_value(text: &str) -> Option<f64> {
    if let Some(bits) = text.strip_prefix("NaN(0x").and_then(|rest| rest.strip_suffix(')')) {
        let is_hex = bits.len() == 16 && bits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(bits, 16).ok().filter(|_| is_hex)?;
        return Some(f64::from_bits(bits)).filter(|value| value.is_nan());
    }
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() { f64::from_bits(NAN_BITS) } else { value })
}

/// Writes a value so that [`parse_value`] gives the same bits.
pub fn push_value(out: &mut String, value: f64) {
    use std::fmt::Write as _;
    let written = match value.to_bits() {
        NAN_BITS => write!(out, "NaN"),
        bits if value.is_nan() => write!(out, "NaN(0x{bits:016x})"),
        _ if value == f64::INFINITY => write!(out, "+Inf"),
        _ if value == f64::NEG_INFINITY => write!(out, "-Inf"),
        _ if value == 0.0 || (1e-5..1e17).contains(&value.abs()) => write!(out, "{value}"),
        _ => write!(out, "{value:e}"),
    };
    written.expect("a text takes everything");
}

/// Reads whole milliseconds.
pub fn parse_ms(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Reads seconds as milliseconds: exactly where there are at most three decimals, else to the nearest.
pub fn parse_seconds(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = !whole.is_empty() && are_digits(whole) && are_digits(fraction) && fraction.len() <= 3;
    if !is_plain {
        let ms = (text.parse::<f64>().ok()? * 1000.0).round();
        // Beyond, floats are no milliseconds any more.
        return (ms.abs() < 9e15).then_some(ms as i64);
    }
    let mut ms = 0i64;
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    for digit in whole.bytes().chain(thousandths) {
        let digit = i64::from(digit - b'0');
        // Downwards, since there is one more number below zero than above.
        ms = ms.checked_mul(10)?.checked_sub(digit)?;
    }
    if is_negative { Some(ms) } else { ms.checked_neg() }
}

/// Writes milliseconds as seconds.
pub fn push_seconds(out: &mut String, timestamp_ms: i64) {
    use std::fmt::Write as _;
    let sign = if timestamp_ms < 0 { "-" } else { "" };
    let magnitude = timestamp_ms.unsigned_abs();
    let (seconds, ms) = (magnitude / 1000, magnitude % 1000);
    let written = match ms {
        0 => write!(out, "{sign}{seconds}"),
        _ => write!(out, "{sign}{seconds}.{ms:03}"),
    };
    written.expect("a text takes everything");
}
