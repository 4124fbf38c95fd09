//! Reads one setting's text as one kind of value. A refusal says why where the expectation alone,
//! which the table has, does not.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::LogFormat;
use crate::model::METRIC_NAME;
use crate::model::time::{HOUR_MS, SECOND_MS, YEAR_MS, parse_duration_ms};

/// Below this there is no room for the database's fixed parts and one request beside them.
const MEMORY_LIMIT_BYTES_MIN: u64 = 64 << 20;
const RETENTION_MS_MAX: i64 = 100 * YEAR_MS;
const CONCURRENCY_MAX: usize = 1024;

pub type Parsed<T> = Result<T, String>;

pub fn duration(text: &str) -> Parsed<Duration> {
    let ms = parse_duration_ms(text).map_err(|e| e.to_string())?;
    u64::try_from(ms).map(Duration::from_millis).map_err(|_| String::new())
}

pub fn positive_duration(text: &str) -> Parsed<Duration> {
    duration(text).and_then(|d| if d.is_zero() { Err("it is 0".to_owned()) } else { Ok(d) })
}

pub fn lookback_ms(text: &str) -> Parsed<i64> {
    let ms = parse_duration_ms(text).map_err(|e| e.to_string())?;
    if ms > 0 { Ok(ms) } else { Err("it is 0".to_owned()) }
}

pub fn retention_ms(text: &str) -> Parsed<i64> {
    let ms = parse_duration_ms(text).map_err(|e| e.to_string())?;
    if (HOUR_MS..=RETENTION_MS_MAX).contains(&ms) { Ok(ms) } else { Err("out of range".to_owned()) }
}

/// `2006-01-02T15:04:05.5+01:00`, or seconds since 1970.
pub fn time_ms(text: &str) -> Parsed<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let seconds = text.parse::<f64>().map_err(|_| String::new())?;
    let ms = seconds * SECOND_MS as f64;
    // Beyond it a number has no milliseconds any more.
    if ms.abs() < 2f64.powi(53) { Ok(ms.round() as i64) } else { Err("out of range".to_owned()) }
}

pub fn epoch_age_ms(text: &str) -> Parsed<i64> {
    let ms = parse_duration_ms(text).map_err(|e| e.to_string())?;
    if ms >= SECOND_MS { Ok(ms) } else { Err("too short".to_owned()) }
}

pub fn log_bytes(text: &str) -> Parsed<u64> {
    const LOG_BYTES_MIN: u64 = 4 << 10;
    bytes(text).and_then(|n| if n < LOG_BYTES_MIN { Err("too small".to_owned()) } else { Ok(n) })
}

/// `64MiB`, `1.5GiB`, `10MB`, `4096`: units of 1024 with an `i`, and, as in Prometheus, without.
pub fn bytes(text: &str) -> Parsed<u64> {
    const UNITS: [(&str, u32); 11] = [
        ("KiB", 10),
        ("MiB", 20),
        ("GiB", 30),
        ("TiB", 40),
        ("KB", 10),
        ("MB", 20),
        ("GB", 30),
        ("TB", 40),
        ("B", 0),
        ("G", 30),
        ("M", 20),
    ];
    let (number, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, *shift)))
        .unwrap_or((text, 0));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |part: &str| !part.is_empty() && part.len() <= 19 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err("not a number of bytes".to_owned());
    }
    let too_large = || "too large".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
    let part = format!("0.{fraction}").parse::<f64>().unwrap_or(0.0) * (1u64 << shift) as f64;
    whole.checked_add(part as u64).ok_or_else(too_large)
}

pub fn positive_bytes(text: &str) -> Parsed<u64> {
    bytes(text).and_then(|n| if n == 0 { Err("it is 0".to_owned()) } else { Ok(n) })
}

pub fn memory_limit(text: &str) -> Parsed<u64> {
    bytes(text).and_then(|n| if n < MEMORY_LIMIT_BYTES_MIN { Err("too small".to_owned()) } else { Ok(n) })
}

pub fn count(text: &str) -> Parsed<usize> {
    match text.parse::<usize>() {
        Ok(0) => Err("it is 0".to_owned()),
        Ok(number) => Ok(number),
        Err(e) => Err(e.to_string()),
    }
}

pub fn concurrency(text: &str) -> Parsed<usize> {
    count(text).and_then(|n| if n > CONCURRENCY_MAX { Err("too many".to_owned()) } else { Ok(n) })
}

pub fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// An empty text names no file.
pub fn optional_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A replica's name becomes part of an object's.
pub fn replica_name(text: &str) -> Parsed<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
    if is_name { Ok(text.to_owned()) } else { Err("it has other characters, or too many".to_owned()) }
}

/// A label by which samples are told apart before they are stored. Any text is a label's name.
pub fn label_name(text: &str) -> Parsed<String> {
    match text {
        "" => Err("it is empty".to_owned()),
        METRIC_NAME => Err("it is the name of the metric".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// A name in front of the port is resolved; of several addresses the first counts.
pub fn listen_address(text: &str) -> Parsed<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| "not a port".to_owned())?;
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let mut addresses = text.to_socket_addrs().map_err(|e| e.to_string())?;
    addresses.next().ok_or_else(|| "the name has no address".to_owned())
}

pub fn external_url(text: &str) -> Parsed<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"<>".contains(c);
    if authority.is_empty() || text.contains(odd) {
        return Err(String::new());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The path of a URL that [`external_url`] accepted, in the form of [`route_prefix`].
pub fn path_of_url(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    after_scheme.find('/').map_or_else(String::new, |at| after_scheme[at..].to_owned())
}

pub fn route_prefix(text: &str) -> Parsed<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !text.starts_with('/') || text.contains("//") || !text.chars().all(plain) {
        return Err(String::new());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub fn regex(text: &str) -> Parsed<String> {
    crate::model::regex::AnchoredRegex::new(text).map_err(|e| e.to_string())?;
    Ok(text.to_owned())
}

pub fn log_level(text: &str) -> Parsed<tracing::Level> {
    match text {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(String::new()),
    }
}

pub fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "logfmt" => Ok(LogFormat::Logfmt),
        "json" => Ok(LogFormat::Json),
        _ => Err(String::new()),
    }
}

pub fn switch(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| String::new())
}

/// For a switch that stands for something that is never off.
pub fn always_on(text: &str) -> Parsed<()> {
    if text == "true" { Ok(()) } else { Err(String::new()) }
}

/// What `--enable-feature` switches on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub experimental_functions: bool,
    pub delayed_name_removal: bool,
}

pub fn features(text: &str) -> Parsed<Features> {
    let mut features = Features::default();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "promql-experimental-functions" => features.experimental_functions = true,
            "promql-delayed-name-removal" => features.delayed_name_removal = true,
            unknown => return Err(format!("unknown feature {unknown:?}")),
        }
    }
    Ok(features)
}
