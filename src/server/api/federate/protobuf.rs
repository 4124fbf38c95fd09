//! Messages of `io.prometheus.client`: the exposition that has a form for native histograms.
//!
//! ```text
//! family: uvarint length · 1 name · 3 type · 4 metric…        type: 3 untyped, 4 histogram, 5 gauge histogram
//! metric: 1 label (1 name · 2 value)… · 5 untyped (1 value) · 6 time in ms · 7 histogram
//! histogram: 2 sum · 4 count · 5 schema · 6 zero threshold · 8 zero count
//!            · 9 negative span… · 11 negative bucket… · 12 positive span… · 14 positive bucket…
//! span: 1 offset · 2 length
//! ```
//!
//! All counts are floats, whatever they are stored as, and custom bounds have no field: so does a
//! Prometheus 3.5. Written by hand: it is one message of a dozen fields, and a family's length, which
//! stands before it, is found without holding the family.

use std::borrow::Cow;

use super::names::Escaping;
use super::{INSTANCE, Newest, Value};
use crate::encoding::varint::{len_u64, put_u64, zigzag};
use crate::model::{Counts, Histogram, METRIC_NAME, ResetHint, Span};
use crate::server::json::rows::Rows;

/// What all series of a family share. A metric that has several kinds makes several families, as in
/// Prometheus, whose readers take that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Float(_) => Self::Untyped,
            Value::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge => Self::GaugeHistogram,
            Value::Histogram(_) => Self::Histogram,
        }
    }
}

pub struct Exposition {
    samples: Vec<Newest>,
    escaping: Escaping,
    /// The next sample to write, and where its family ends.
    next: usize,
    family_end: usize,
    metric: Vec<u8>,
}

impl Exposition {
    /// Of samples that are sorted by metric.
    pub fn new(mut samples: Vec<Newest>, escaping: Escaping) -> Self {
        samples.retain(|sample| sample.labels.metric_name().is_some());
        Self { samples, escaping, next: 0, family_end: 0, metric: Vec::new() }
    }

    fn open_family(&mut self, out: &mut Vec<u8>) {
        let Self { samples, escaping, next, family_end, metric } = self;
        let name = samples[*next].labels.metric_name().unwrap_or_default();
        let kind = Kind::of(&samples[*next].value);
        let is_of_family =
            |sample: &&Newest| sample.labels.metric_name() == Some(name) && Kind::of(&sample.value) == kind;

        let mut head = Vec::new();
        push_text(&mut head, 1, &escaping.name(name));
        push_number(&mut head, 3, kind as u64);
        let mut bytes = head.len();
        *family_end = *next;
        for sample in samples[*next..].iter().take_while(is_of_family) {
            metric.clear();
            push_metric(metric, sample, *escaping);
            bytes += 1 + len_u64(metric.len() as u64) + metric.len();
            *family_end += 1;
        }
        put_u64(out, bytes as u64);
        out.extend_from_slice(&head);
    }
}

impl Rows for Exposition {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next >= self.samples.len() {
            return false;
        }
        if self.next >= self.family_end {
            self.open_family(out);
        }
        self.metric.clear();
        push_metric(&mut self.metric, &self.samples[self.next], self.escaping);
        push_bytes(out, 4, &self.metric);
        self.next += 1;
        true
    }
}

fn push_metric(out: &mut Vec<u8>, sample: &Newest, escaping: Escaping) {
    let labels = &sample.labels;
    let instance = labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
    let mut message = Vec::new();
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME).chain(instance) {
        message.clear();
        push_text(&mut message, 1, &escaping.name(name));
        push_text(&mut message, 2, value);
        push_bytes(out, 1, &message);
    }
    message.clear();
    match &sample.value {
        Value::Float(value) => {
            push_float(&mut message, 1, *value);
            push_bytes(out, 5, &message);
            push_number(out, 6, sample.timestamp_ms as u64);
        }
        Value::Histogram(histogram) => {
            push_number(out, 6, sample.timestamp_ms as u64);
            push_histogram(&mut message, histogram);
            push_bytes(out, 7, &message);
        }
    }
}

fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let (count, zero_count, positive, negative) = match &histogram.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            let (positive, negative) = (counts(positive_deltas), counts(negative_deltas));
            (*count as f64, *zero_count as f64, Cow::Owned(positive), Cow::Owned(negative))
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (*count, *zero_count, Cow::Borrowed(positive), Cow::Borrowed(negative))
        }
    };
    push_float(out, 2, histogram.sum);
    push_float(out, 4, count);
    push_signed(out, 5, histogram.schema);
    push_float(out, 6, histogram.zero_threshold);
    push_float(out, 8, zero_count);
    push_spans(out, 9, &histogram.negative_spans);
    negative.iter().for_each(|count| push_float(out, 11, *count));
    push_spans(out, 12, &histogram.positive_spans);
    positive.iter().for_each(|count| push_float(out, 14, *count));
}

/// Buckets as counts, out of each one's difference to the one before.
fn counts(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    let next = |delta: &i64| {
        count = count.wrapping_add(*delta);
        count as f64
    };
    deltas.iter().map(next).collect()
}

fn push_spans(out: &mut Vec<u8>, field: u8, spans: &[Span]) {
    let mut message = Vec::new();
    for span in spans {
        message.clear();
        push_signed(&mut message, 1, span.offset);
        push_number(&mut message, 2, u64::from(span.length));
        push_bytes(out, field, &message);
    }
}

fn push_text(out: &mut Vec<u8>, field: u8, text: &str) {
    push_bytes(out, field, text.as_bytes());
}

fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_float(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_signed(out: &mut Vec<u8>, field: u8, number: i32) {
    push_number(out, field, zigzag(i64::from(number)));
}

fn push_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_u64(out, number);
}
