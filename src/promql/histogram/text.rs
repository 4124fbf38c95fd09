//! Histograms as text: the notation of test scripts, and the one Prometheus prints.

use std::fmt;

use super::{Bucket, FloatHistogram};
use crate::model::histogram::BUCKETS_MAX;
use crate::model::{ResetHint, Span};
use crate::promql::number::format_g;

/// Why `{{…}}` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    #[error("histogram does not have the form {{{{key:value …}}}}")]
    Form,
    #[error("histogram has the key {0:?} twice")]
    Repeated(String),
    #[error("histogram has the unknown key {0:?}")]
    UnknownKey(String),
    #[error("histogram key {key} has the bad value {value:?}")]
    Value { key: String, value: String },
    #[error("histogram has more than {BUCKETS_MAX} buckets")]
    TooManyBuckets,
}

/// Reads `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`; every key may be left out.
///
/// Buckets of a side are one span from its offset; nothing is derived, so `count` is what is
/// written.
pub fn parse_script_histogram(text: &str) -> Result<FloatHistogram, ScriptError> {
    let inner = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
    let mut rest = inner.ok_or(ScriptError::Form)?.trim();
    let mut histogram = FloatHistogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or(ScriptError::Form)?;
        let key = key.trim();
        let after = after.trim_start();
        let end = if after.starts_with('[') { after.find(']').map(|end| end + 1) } else { None };
        let end = end.or_else(|| after.find(char::is_whitespace)).unwrap_or(after.len());
        let (value, next) = after.split_at(end);
        if seen.contains(&key) {
            return Err(ScriptError::Repeated(key.to_owned()));
        }
        seen.push(key);
        let bad = || ScriptError::Value { key: key.to_owned(), value: value.to_owned() };
        let number = || parse_number(value).ok_or_else(bad);
        let integer = || value.parse::<i32>().map_err(|_| bad());
        let list = || parse_list(value).ok_or_else(bad)?.ok_or(ScriptError::TooManyBuckets);
        match key {
            "schema" => histogram.schema = integer()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_values = list()?,
            "buckets" => histogram.positive = list()?,
            "n_buckets" => histogram.negative = list()?,
            "offset" => offset = integer()?,
            "n_offset" => negative_offset = integer()?,
            "counter_reset_hint" => histogram.reset_hint = parse_hint(value).ok_or_else(bad)?,
            _ => return Err(ScriptError::UnknownKey(key.to_owned())),
        }
        rest = next.trim_start();
    }
    histogram.positive_spans = one_span(offset, &histogram.positive);
    histogram.negative_spans = one_span(negative_offset, &histogram.negative);
    Ok(histogram)
}

fn one_span(offset: i32, counts: &[f64]) -> Vec<Span> {
    match u32::try_from(counts.len()) {
        Ok(length) if length > 0 => vec![Span { offset, length }],
        _ => Vec::new(),
    }
}

/// `None` for what is no list, an inner `None` for one that is too long.
fn parse_list(text: &str) -> Option<Option<Vec<f64>>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut numbers = Vec::new();
    for word in inner.split_whitespace() {
        if numbers.len() == BUCKETS_MAX {
            return Some(None);
        }
        numbers.push(parse_number(word)?);
    }
    Some(Some(numbers))
}

/// Rust reads the same decimals, `inf` and `NaN` in any case; only its `infinity` is no number here.
fn parse_number(text: &str) -> Option<f64> {
    if text.to_ascii_lowercase().ends_with("infinity") {
        return None;
    }
    text.parse().ok()
}

fn parse_hint(text: &str) -> Option<ResetHint> {
    match text {
        "unknown" => Some(ResetHint::Unknown),
        "reset" => Some(ResetHint::Reset),
        "not_reset" => Some(ResetHint::NotReset),
        "gauge" => Some(ResetHint::Gauge),
        _ => None,
    }
}

impl fmt::Display for FloatHistogram {
    /// `{count:4, sum:5, [-2,-1):1, [-0.001,0.001]:1, (1,2]:2}`: populated buckets in ascending
    /// order, numbers as Go's `%g` writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        let mut buckets: Vec<_> = self.negative_buckets().collect();
        buckets.reverse();
        buckets.push(self.zero_bucket());
        buckets.extend(self.positive_buckets());
        for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (format_g(self.lower), format_g(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", format_g(self.count))
    }
}
