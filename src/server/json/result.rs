//! Query results: `{"resultType":…,"result":…}`.
//!
//! A vector is written point by point, a matrix in runs of some hundred points: a single series
//! of a long range can be megabytes.

use std::sync::Arc;

use super::number::{push_integer, push_plain, push_sample, push_timestamp};
use super::rows::{List, Rows};
use super::text::{push_labels, push_string};
use crate::promql::histogram::FloatHistogram;
use crate::promql::{MatrixSeries, PointValue, Value, VectorPoint};

/// Points of one series written per piece.
const POINTS_PER_PIECE: usize = 512;

/// A query's value, and the statistics as JSON where they were asked for.
pub struct ResultRows {
    open: Option<Vec<u8>>,
    rows: Box<dyn Rows>,
    close: Option<Vec<u8>>,
}

impl ResultRows {
    pub fn new(value: Value, stats: Option<serde_json::Value>) -> Self {
        let (result_type, rows): (&str, Box<dyn Rows>) = match value {
            Value::Scalar { timestamp_ms, value } => (
                "scalar",
                Box::new(Once(Some(point(timestamp_ms, |out| push_quoted(out, value, push_plain))))),
            ),
            Value::String { timestamp_ms, value } => {
                ("string", Box::new(Once(Some(point(timestamp_ms, |out| push_string(out, &value))))))
            }
            Value::Vector(points) => ("vector", Box::new(List::new(points, push_vector_point))),
            Value::Matrix(series) => ("matrix", Box::new(Matrix::new(series))),
        };
        let open = format!("{{\"resultType\":\"{result_type}\",\"result\":").into_bytes();
        let close = stats.map_or_else(|| "}".to_owned(), |stats| format!(",\"stats\":{stats}}}"));
        Self { open: Some(open), rows, close: Some(close.into_bytes()) }
    }
}

impl Rows for ResultRows {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(open) = self.open.take() {
            out.extend_from_slice(&open);
        }
        if self.rows.write(out) {
            return true;
        }
        match self.close.take() {
            Some(close) => out.extend_from_slice(&close),
            None => return false,
        }
        true
    }
}

/// One value, complete.
struct Once(Option<Vec<u8>>);

impl Rows for Once {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let piece = self.0.take();
        piece.iter().for_each(|bytes| out.extend_from_slice(bytes));
        piece.is_some()
    }
}

fn point(timestamp_ms: i64, push_value: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    push_point(&mut out, timestamp_ms, push_value);
    out
}

fn push_point(out: &mut Vec<u8>, timestamp_ms: i64, push_value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    push_timestamp(out, timestamp_ms);
    out.push(b',');
    push_value(out);
    out.push(b']');
}

/// `[1700000000,"1.5"]`: most of what is ever answered.
fn push_float_point(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    push_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    push_sample(out, value);
    out.extend_from_slice(b"\"]");
}

fn push_quoted(out: &mut Vec<u8>, value: f64, push: impl FnOnce(&mut Vec<u8>, f64)) {
    out.push(b'"');
    push(out, value);
    out.push(b'"');
}

fn push_vector_point(out: &mut Vec<u8>, point: &VectorPoint) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, &point.labels);
    match &point.value {
        PointValue::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            push_float_point(out, point.timestamp_ms, *value);
        }
        PointValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            push_point(out, point.timestamp_ms, |out| push_histogram(out, histogram));
        }
    }
    out.push(b'}');
}

/// `{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}`, empty buckets left out.
fn push_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    push_quoted(out, histogram.count, push_sample);
    out.extend_from_slice(b",\"sum\":");
    push_quoted(out, histogram.sum, push_sample);
    let mut any = false;
    for bucket in histogram.all_buckets().iter().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if any { b",[" } else { b",\"buckets\":[[" });
        any = true;
        push_integer(out, u64::from(bucket.boundary_rule()));
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            push_quoted(out, number, push_sample);
        }
        out.push(b']');
    }
    out.extend_from_slice(if any { b"]}" } else { b"}" });
}

/// Series after series, each in pieces.
struct Matrix {
    series: std::vec::IntoIter<MatrixSeries>,
    current: Option<Open>,
    opened: bool,
    closed: bool,
}

/// A series that is being written.
struct Open {
    floats: std::vec::IntoIter<(i64, f64)>,
    histograms: std::vec::IntoIter<(i64, Arc<FloatHistogram>)>,
    /// The key of the array that is open.
    array: Option<&'static str>,
}

impl Matrix {
    fn new(series: Vec<MatrixSeries>) -> Self {
        Self { series: series.into_iter(), current: None, opened: false, closed: false }
    }

    fn open_next(&mut self, out: &mut Vec<u8>) {
        let Some(series) = self.series.next() else {
            out.extend_from_slice(if self.opened { b"]" } else { b"[]" });
            self.closed = true;
            return;
        };
        out.push(if self.opened { b',' } else { b'[' });
        self.opened = true;
        out.extend_from_slice(b"{\"metric\":");
        push_labels(out, &series.labels);
        self.current = Some(Open {
            floats: series.floats.into_iter(),
            histograms: series.histograms.into_iter(),
            array: None,
        });
    }
}

impl Open {
    /// Writes some points; returns whether the series is complete.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        for _ in 0..POINTS_PER_PIECE {
            if let Some((timestamp_ms, value)) = self.floats.next() {
                self.enter(out, "values");
                push_float_point(out, timestamp_ms, value);
            } else if let Some((timestamp_ms, histogram)) = self.histograms.next() {
                self.enter(out, "histograms");
                push_point(out, timestamp_ms, |out| push_histogram(out, &histogram));
            } else {
                out.extend_from_slice(if self.array.is_some() { b"]}" } else { b"}" });
                return true;
            }
        }
        false
    }

    fn enter(&mut self, out: &mut Vec<u8>, array: &'static str) {
        if self.array == Some(array) {
            out.push(b',');
            return;
        }
        out.extend_from_slice(if self.array.is_some() { b"],\"" } else { b",\"" });
        out.extend_from_slice(array.as_bytes());
        out.extend_from_slice(b"\":[");
        self.array = Some(array);
    }
}

impl Rows for Matrix {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        if self.closed {
            return false;
        }
        match &mut self.current {
            Some(open) => {
                if open.write(out) {
                    self.current = None;
                }
            }
            None => self.open_next(out),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Span};
    use serde_json::json;

    fn written(value: Value) -> serde_json::Value {
        let mut rows = ResultRows::new(value, None);
        let mut out = Vec::new();
        while rows.write(&mut out) {}
        serde_json::from_slice(&out).expect("JSON")
    }

    fn histogram() -> Arc<FloatHistogram> {
        Arc::new(FloatHistogram {
            schema: 0,
            zero_threshold: 0.5,
            zero_count: 2.0,
            count: 7.0,
            sum: 10.5,
            positive_spans: vec![Span { offset: 1, length: 3 }],
            positive: vec![1.0, 0.0, 3.0],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative: vec![1.0],
            ..FloatHistogram::default()
        })
    }

    #[test]
    fn scalars_and_strings_are_one_point() {
        let got = written(Value::Scalar { timestamp_ms: 1_500, value: 1e21 });
        assert_eq!(got, json!({"resultType": "scalar", "result": [1.5, "1000000000000000000000"]}));
        let got = written(Value::String { timestamp_ms: 0, value: "a\"".into() });
        assert_eq!(got, json!({"resultType": "string", "result": [0, "a\""]}));
    }

    #[test]
    fn vectors_hold_floats_and_histograms() {
        let labels = Labels::from_pairs([("__name__", "x")]);
        let point = |value| VectorPoint { labels: labels.clone(), timestamp_ms: 1_000, value };
        let points = vec![point(PointValue::Float(f64::NAN)), point(PointValue::Histogram(histogram()))];

        assert_eq!(
            written(Value::Vector(points)),
            json!({"resultType": "vector", "result": [
                {"metric": {"__name__": "x"}, "value": [1, "NaN"]},
                {"metric": {"__name__": "x"}, "histogram": [1, {"count": "7", "sum": "10.5", "buckets": [
                    [1, "-2", "-1", "1"], [3, "-0.5", "0.5", "2"], [0, "1", "2", "1"], [0, "4", "8", "3"]]}]},
            ]})
        );
        assert_eq!(written(Value::Vector(vec![])), json!({"resultType": "vector", "result": []}));
    }

    #[test]
    fn a_matrix_names_only_what_a_series_has() {
        let empty = Arc::new(FloatHistogram::default());
        let series = |floats, histograms| MatrixSeries { labels: Labels::empty(), floats, histograms };
        let matrix = vec![
            series(vec![(0, 1.0), (500, 2.0)], vec![]),
            series(vec![], vec![(0, empty.clone())]),
            series(vec![(0, 1.0)], vec![(1_000, empty)]),
        ];
        assert_eq!(
            written(Value::Matrix(matrix))["result"],
            json!([
                {"metric": {}, "values": [[0, "1"], [0.5, "2"]]},
                {"metric": {}, "histograms": [[0, {"count": "0", "sum": "0"}]]},
                {"metric": {}, "values": [[0, "1"]], "histograms": [[1, {"count": "0", "sum": "0"}]]},
            ])
        );
    }

    #[test]
    fn a_long_series_comes_in_pieces_that_fit_together() {
        let count = POINTS_PER_PIECE * 3;
        let floats = (0..count as i64).map(|i| (i, i as f64)).collect();
        let series = vec![MatrixSeries { floats, ..MatrixSeries::default() }];
        let mut rows = ResultRows::new(Value::Matrix(series), Some(json!({"x": 1})));
        let mut out = Vec::new();
        let mut longest = 0;
        let mut before = 0;
        while rows.write(&mut out) {
            longest = longest.max(out.len() - before);
            before = out.len();
        }
        let got: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(got["result"][0]["values"].as_array().map(Vec::len), Some(count));
        assert_eq!(got["stats"], json!({"x": 1}));
        assert!(longest < POINTS_PER_PIECE * 20, "{longest}");
    }
}
