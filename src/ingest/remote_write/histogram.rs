//! Native histograms: the same message in both protocols, but for its start time.
//!
//! The `count` that is set says what the sender counts in; the buckets of the other kind are
//! ignored, as Prometheus does.

use super::DecodeError;
use super::wire::{Field, Message, Value, zigzag32, zigzag64};
use crate::model::series_batch::HistogramSample;
use crate::model::{Counts, Histogram, ResetHint, Span};

/// A message as it is read: both kinds of counts, of which one will count.
#[derive(Default)]
struct Fields {
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    negative_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    negative_counts: Vec<f64>,
    custom_values: Vec<f64>,
    reset_hint: ResetHint,
    timestamp_ms: i64,
    start_ms: i64,
}

/// One of two alternatives; the one that comes last on the wire is meant.
#[derive(Clone, Copy)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Integer(0)
    }
}

/// Reads a histogram; where the protocol has no start time, the caller clears it.
pub fn read_histogram(mut message: Message<'_>) -> Result<HistogramSample, DecodeError> {
    let mut fields = Fields::default();
    while let Some(field) = message.next_field()? {
        fields.read(&field)?;
    }
    Ok(fields.into_sample())
}

impl Fields {
    fn read(&mut self, field: &Field<'_>) -> Result<(), DecodeError> {
        match (field.number, field.value) {
            (1, Value::Varint(count)) => self.count = Count::Integer(count),
            (2, Value::Fixed64(bits)) => self.count = Count::Float(f64::from_bits(bits)),
            (3, Value::Fixed64(bits)) => self.sum = f64::from_bits(bits),
            (4, Value::Varint(schema)) => self.schema = zigzag32(schema),
            (5, Value::Fixed64(bits)) => self.zero_threshold = f64::from_bits(bits),
            (6, Value::Varint(count)) => self.zero_count = Count::Integer(count),
            (7, Value::Fixed64(bits)) => self.zero_count = Count::Float(f64::from_bits(bits)),
            (8, Value::Bytes(span)) => self.negative_spans.push(read_span(span)?),
            (9, value) => read_deltas(field, value, &mut self.negative_deltas)?,
            (10, value) => read_doubles(field, value, &mut self.negative_counts)?,
            (11, Value::Bytes(span)) => self.positive_spans.push(read_span(span)?),
            (12, value) => read_deltas(field, value, &mut self.positive_deltas)?,
            (13, value) => read_doubles(field, value, &mut self.positive_counts)?,
            (14, Value::Varint(hint)) => self.reset_hint = reset_hint(hint),
            (15, Value::Varint(timestamp)) => self.timestamp_ms = timestamp as i64,
            (16, value) => read_doubles(field, value, &mut self.custom_values)?,
            (17, Value::Varint(start)) => self.start_ms = start as i64,
            (1..=17, _) => return Err(field.wrong_type(MESSAGE)),
            _ => {}
        }
        Ok(())
    }

    fn into_sample(self) -> HistogramSample {
        let counts = match (self.count, self.zero_count) {
            (Count::Integer(count), zero_count) => Counts::Integer {
                count,
                zero_count: if let Count::Integer(zero_count) = zero_count { zero_count } else { 0 },
                positive_deltas: self.positive_deltas,
                negative_deltas: self.negative_deltas,
            },
            (Count::Float(count), zero_count) => Counts::Float {
                count,
                zero_count: if let Count::Float(zero_count) = zero_count { zero_count } else { 0.0 },
                positive: self.positive_counts,
                negative: self.negative_counts,
            },
        };
        let histogram = Histogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            custom_values: self.custom_values,
            counts,
        };
        HistogramSample { timestamp_ms: self.timestamp_ms, start_ms: self.start_ms, histogram }
    }
}

const MESSAGE: &str = "Histogram";

fn read_span(mut message: Message<'_>) -> Result<Span, DecodeError> {
    let mut span = Span::default();
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Varint(offset)) => span.offset = zigzag32(offset),
            (2, Value::Varint(length)) => span.length = length as u32,
            (1..=2, _) => return Err(field.wrong_type("BucketSpan")),
            _ => {}
        }
    }
    Ok(span)
}

/// Repeated numbers come packed into one field, or as a field each.
fn read_deltas(field: &Field<'_>, value: Value<'_>, deltas: &mut Vec<i64>) -> Result<(), DecodeError> {
    match value {
        Value::Varint(delta) => deltas.push(zigzag64(delta)),
        Value::Bytes(mut packed) => {
            deltas.reserve(packed.count_varints());
            while let Some(delta) = packed.next_varint()? {
                deltas.push(zigzag64(delta));
            }
        }
        _ => return Err(field.wrong_type(MESSAGE)),
    }
    Ok(())
}

fn read_doubles(field: &Field<'_>, value: Value<'_>, doubles: &mut Vec<f64>) -> Result<(), DecodeError> {
    match value {
        Value::Fixed64(bits) => doubles.push(f64::from_bits(bits)),
        Value::Bytes(mut packed) => {
            doubles.reserve(packed.bytes().len() / 8);
            while let Some(double) = packed.next_double()? {
                doubles.push(double);
            }
        }
        _ => return Err(field.wrong_type(MESSAGE)),
    }
    Ok(())
}

/// A hint that we do not know tells nothing, which is what [`ResetHint::Unknown`] means. Enums
/// have 32 bits.
fn reset_hint(number: u64) -> ResetHint {
    u8::try_from(number as i32).ok().and_then(ResetHint::from_number).unwrap_or_default()
}
