//! Whether an answer is what a script expects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::notation::Item;
use super::script::{Eval, Message, When};
use crate::model::{Labels, ResetHint, is_stale_nan};
use crate::promql::histogram::FloatHistogram;
use crate::promql::{MatrixSeries, PointValue, PromqlError, QueryOutput, Value, VectorPoint};

type Checked = Result<(), String>;

/// Checks a whole answer.
pub fn check(eval: &Eval, result: &Result<QueryOutput, PromqlError>) -> Checked {
    let expected = &eval.expected;
    let output = match (result, &expected.fail) {
        (Err(error), Some(messages)) => {
            let text = error.to_string();
            return match messages.iter().all(|message| message.accepts(&text)) {
                true => Ok(()),
                false => Err(format!("failed otherwise: {text}")),
            };
        }
        (Ok(_), Some(_)) => return Err("should have failed".to_owned()),
        (Err(error), None) => return Err(format!("failed: {error}")),
        (Ok(output), None) => output,
    };
    check_remarks("warnings", &output.warnings, expected.warn.as_deref(), expected.no_warn)?;
    check_remarks("infos", &output.infos, expected.info.as_deref(), expected.no_info)?;
    check_value(eval, &output.value)
}

/// As [`check`] without what is said beside the answer: positions differ in another text.
pub fn check_value_or_failure(eval: &Eval, result: &Result<QueryOutput, PromqlError>) -> Checked {
    match (result, &eval.expected.fail) {
        (Err(_), Some(_)) => Ok(()),
        (Ok(_), Some(_)) => Err("should have failed".to_owned()),
        (Err(error), None) => Err(format!("failed: {error}")),
        (Ok(output), None) => check_value(eval, &output.value),
    }
}

impl Message {
    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)),
        }
    }
}

fn check_remarks(kind: &str, texts: &[String], expected: Option<&[Message]>, none: bool) -> Checked {
    if none && !texts.is_empty() {
        return Err(format!("unexpected {kind}: {texts:?}"));
    }
    let Some(messages) = expected else { return Ok(()) };
    let every_message = messages.iter().all(|message| texts.iter().any(|text| message.accepts(text)));
    let every_text = texts.iter().all(|text| messages.iter().any(|message| message.accepts(text)));
    match every_message && every_text && !texts.is_empty() {
        true => Ok(()),
        false => Err(format!("{kind} do not match: {texts:?}")),
    }
}

fn check_value(eval: &Eval, value: &Value) -> Checked {
    let expected = &eval.expected;
    match (value, eval.when) {
        (Value::Scalar { value, .. }, _) => match expected.scalar {
            Some(wanted) if same_float(wanted, *value) => Ok(()),
            wanted => Err(format!("scalar {value}, expected {wanted:?}")),
        },
        (Value::String { value, .. }, _) => match &expected.string {
            Some(wanted) if wanted == value => Ok(()),
            wanted => Err(format!("string {value:?}, expected {wanted:?}")),
        },
        (Value::Vector(points), _) => check_vector(eval, points),
        (Value::Matrix(series), When::Range { start_ms, step_ms, .. }) => {
            if !series.is_sorted_by(|a, b| a.labels < b.labels) {
                return Err("matrix is not sorted by labels".to_owned());
            }
            check_matrix(&expected.series, series, start_ms, step_ms)
        }
        (Value::Matrix(series), When::Instant { .. }) => {
            let (start_ms, step_ms) = expected.range_vector.ok_or("unexpected range vector")?;
            check_matrix(&expected.series, series, start_ms, step_ms)
        }
    }
}

fn check_vector(eval: &Eval, points: &[VectorPoint]) -> Checked {
    let expected = &eval.expected.series;
    if let Some(scalar) = eval.expected.scalar {
        return Err(format!("vector, expected scalar {scalar}"));
    }
    if eval.expected.ordered {
        let got: Vec<&Labels> = points.iter().map(|point| &point.labels).collect();
        let wanted: Vec<&Labels> = expected.iter().map(|(labels, _)| labels).collect();
        if got != wanted {
            return Err(format!("order {got:?}, expected {wanted:?}"));
        }
    }
    let mut left: BTreeMap<&Labels, &PointValue> =
        points.iter().map(|point| (&point.labels, &point.value)).collect();
    if left.len() != points.len() {
        return Err("a label set twice".to_owned());
    }
    for (labels, items) in expected {
        let got = left.remove(labels).ok_or_else(|| format!("missing {labels}"))?;
        let wanted = items.first().ok_or_else(|| format!("no value for {labels}"))?;
        check_point(labels, wanted, got)?;
    }
    match left.keys().next() {
        Some(labels) => Err(format!("extra {labels}")),
        None => Ok(()),
    }
}

fn check_matrix(
    expected: &[(Labels, Vec<Item>)],
    series: &[MatrixSeries],
    start_ms: i64,
    step_ms: i64,
) -> Checked {
    let mut left: BTreeMap<&Labels, &MatrixSeries> = series.iter().map(|s| (&s.labels, s)).collect();
    for (labels, items) in expected {
        let got = left.remove(labels).ok_or_else(|| format!("missing {labels}"))?;
        let mut points: BTreeMap<i64, PointValue> =
            got.floats.iter().map(|(time, value)| (*time, PointValue::Float(*value))).collect();
        points.extend(got.histograms.iter().map(|(t, h)| (*t, PointValue::Histogram(Arc::clone(h)))));
        for (at, item) in items.iter().enumerate() {
            let time_ms = start_ms + at as i64 * step_ms;
            match (item, points.remove(&time_ms)) {
                (Item::Gap, None) => {}
                (Item::Gap, Some(_)) => return Err(format!("{labels}: point at {time_ms}")),
                (_, None) => return Err(format!("{labels}: no point at {time_ms}")),
                (wanted, Some(got)) => check_point(labels, wanted, &got)?,
            }
        }
        if let Some(time_ms) = points.keys().next() {
            return Err(format!("{labels}: point at {time_ms}"));
        }
    }
    match left.keys().next() {
        Some(labels) => Err(format!("extra {labels}")),
        None => Ok(()),
    }
}

fn check_point(labels: &Labels, wanted: &Item, got: &PointValue) -> Checked {
    match (wanted, got) {
        (Item::Float(wanted), PointValue::Float(got)) if same_float(*wanted, *got) => Ok(()),
        (Item::Histogram(wanted), PointValue::Histogram(got)) if same_histogram(wanted, got) => Ok(()),
        _ => Err(format!("{labels}: got {got:?}, expected {wanted:?}")),
    }
}

/// Relative to the sum of both; zero must be met practically exactly.
fn same_float(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-6;
    if is_stale_nan(a) || is_stale_nan(b) {
        return a.to_bits() == b.to_bits();
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn same_histogram(wanted: &FloatHistogram, got: &FloatHistogram) -> bool {
    let (mut wanted, mut got) = (wanted.clone(), got.clone());
    wanted.compact();
    got.compact();
    let same = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_float(*a, *b));
    let hint = wanted.reset_hint == ResetHint::Unknown || wanted.reset_hint == got.reset_hint;
    hint && wanted.schema == got.schema
        && wanted.zero_threshold == got.zero_threshold
        && wanted.custom_values == got.custom_values
        && wanted.positive_spans == got.positive_spans
        && wanted.negative_spans == got.negative_spans
        && same_float(wanted.count, got.count)
        && same_float(wanted.sum, got.sum)
        && same_float(wanted.zero_count, got.zero_count)
        && same(&wanted.positive, &got.positive)
        && same(&wanted.negative, &got.negative)
}

/// Whether a range query around an instant answers the same at its time.
pub fn same_at(points: &[VectorPoint], range: &Value, time_ms: i64) -> Checked {
    let Value::Matrix(series) = range else { return Err("range query without a matrix".to_owned()) };
    let mut left: BTreeMap<&Labels, PointValue> = BTreeMap::new();
    for series in series {
        if let Some((_, value)) = series.floats.iter().find(|(time, _)| *time == time_ms) {
            left.insert(&series.labels, PointValue::Float(*value));
        }
        if let Some((_, histogram)) = series.histograms.iter().find(|(time, _)| *time == time_ms) {
            left.insert(&series.labels, PointValue::Histogram(Arc::clone(histogram)));
        }
    }
    for point in points {
        let wanted = match &point.value {
            PointValue::Float(value) => Item::Float(*value),
            PointValue::Histogram(histogram) => Item::Histogram(Box::new((**histogram).clone())),
        };
        let got = left
            .remove(&point.labels)
            .ok_or_else(|| format!("as a range query: missing {}", point.labels))?;
        check_point(&point.labels, &wanted, &got).map_err(|e| format!("as a range query: {e}"))?;
    }
    match left.keys().next() {
        Some(labels) => Err(format!("as a range query: extra {labels}")),
        None => Ok(()),
    }
}
