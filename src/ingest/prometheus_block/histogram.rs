//! Chunks of native histograms, of integer or of float counts.
//!
//! A layout (schema, zero threshold, spans, custom bounds) stands once; then per sample the numbers:
//! whole, then as differences, then as changes of differences, floats as what changed.

use super::chunk::Sample;
use super::varbit::{Xor, take_bits, take_f64, take_int, take_uint};
use crate::encoding::bit_stream::BitReader;
use crate::encoding::cursor::Malformed;
use crate::model::histogram::BUCKETS_MAX;
use crate::model::series_batch::HistogramSample;
use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span, is_stale_nan};

/// The bits of the header that say what is known of counter resets; both set: a gauge.
const RESET_MASK: u8 = 0b1100_0000;

/// Gives the samples of a chunk of integer histograms.
pub fn decode_integers(data: &[u8], each: &mut dyn FnMut(Sample)) -> Result<(), Malformed> {
    decode(data, each, Integers::new, Integers::next)
}

/// Gives the samples of a chunk of float histograms.
pub fn decode_floats(data: &[u8], each: &mut dyn FnMut(Sample)) -> Result<(), Malformed> {
    decode(data, each, Floats::new, Floats::next)
}

fn decode<S>(
    data: &[u8],
    each: &mut dyn FnMut(Sample),
    new: impl Fn(&Layout, &mut BitReader<'_>) -> Result<(S, f64), Malformed>,
    next: impl Fn(&mut S, &mut BitReader<'_>) -> Result<f64, Malformed>,
) -> Result<(), Malformed>
where
    S: Numbers,
{
    let (header, bits) = data.split_first_chunk::<3>().ok_or(Malformed("a chunk without a header"))?;
    let count = u16::from_be_bytes([header[0], header[1]]);
    if count == 0 {
        return Ok(());
    }
    // What the chunk says of resets can be wrong once blocks were merged, so that Prometheus itself
    // looks again when it is asked; only gauges are known to be.
    let is_gauge = header[2] & RESET_MASK == RESET_MASK;
    let reset_hint = if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown };
    let mut reader = BitReader::new(bits);
    let layout = Layout::take(&mut reader)?;
    let (mut timestamp_ms, mut difference) = (take_int(&mut reader)?, 0i64);
    let (mut numbers, mut sum) = new(&layout, &mut reader)?;
    each(layout.sample(timestamp_ms, reset_hint, sum, &numbers));
    for _ in 1..count {
        difference = difference.wrapping_add(take_int(&mut reader)?);
        timestamp_ms = timestamp_ms.wrapping_add(difference);
        sum = next(&mut numbers, &mut reader)?;
        each(layout.sample(timestamp_ms, reset_hint, sum, &numbers));
    }
    Ok(())
}

/// What all histograms of a chunk share.
struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
    positive: usize,
    negative: usize,
}

impl Layout {
    fn take(reader: &mut BitReader<'_>) -> Result<Self, Malformed> {
        let zero_threshold = take_zero_threshold(reader)?;
        let schema = i32::try_from(take_int(reader)?).map_err(|_| Malformed("a schema is out of range"))?;
        let (positive_spans, positive) = take_spans(reader)?;
        let (negative_spans, negative) = take_spans(reader)?;
        let custom_values =
            if schema == CUSTOM_BUCKETS_SCHEMA { take_custom_values(reader)? } else { Vec::new() };
        Ok(Self { schema, zero_threshold, positive_spans, negative_spans, custom_values, positive, negative })
    }

    fn sample(&self, timestamp_ms: i64, reset_hint: ResetHint, sum: f64, numbers: &impl Numbers) -> Sample {
        // The marker has nothing but its sum.
        let histogram = if is_stale_nan(sum) {
            Histogram {
                reset_hint: ResetHint::Unknown,
                schema: 0,
                zero_threshold: 0.0,
                sum,
                positive_spans: Vec::new(),
                negative_spans: Vec::new(),
                custom_values: Vec::new(),
                counts: numbers.none(),
            }
        } else {
            Histogram {
                reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                sum,
                positive_spans: self.positive_spans.clone(),
                negative_spans: self.negative_spans.clone(),
                custom_values: self.custom_values.clone(),
                counts: numbers.counts(),
            }
        };
        Sample::Histogram(HistogramSample { timestamp_ms, start_ms: 0, histogram })
    }
}

/// A byte: 0, an exponent of two, or a float that follows.
fn take_zero_threshold(reader: &mut BitReader<'_>) -> Result<f64, Malformed> {
    match take_bits(reader, 8)? {
        0 => Ok(0.0),
        255 => take_f64(reader),
        byte => Ok(2f64.powi(byte as i32 - 244)),
    }
}

/// Spans, and how many buckets they hold together.
fn take_spans(reader: &mut BitReader<'_>) -> Result<(Vec<Span>, usize), Malformed> {
    let too_many = Malformed("a histogram has too many buckets");
    let count = take_uint(reader)?;
    if count > BUCKETS_MAX as u64 {
        return Err(too_many);
    }
    let (mut spans, mut buckets) = (Vec::new(), 0u64);
    for _ in 0..count {
        let length = take_uint(reader)?;
        let offset = take_int(reader)?;
        buckets = buckets.saturating_add(length);
        if buckets > BUCKETS_MAX as u64 {
            return Err(too_many);
        }
        let offset = i32::try_from(offset).map_err(|_| Malformed("a span's offset is out of range"))?;
        spans.push(Span { offset, length: length as u32 });
    }
    Ok((spans, buckets as usize))
}

/// Bounds: thousandths plus one, or 0 and a float.
fn take_custom_values(reader: &mut BitReader<'_>) -> Result<Vec<f64>, Malformed> {
    let count = take_uint(reader)?;
    if count > BUCKETS_MAX as u64 {
        return Err(Malformed("a histogram has too many custom bounds"));
    }
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(match take_uint(reader)? {
            0 => take_f64(reader)?,
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    Ok(values)
}

/// The numbers of the histogram that was read last.
trait Numbers {
    fn counts(&self) -> Counts;
    /// Of a staleness marker.
    fn none(&self) -> Counts;
}

/// An integer, the difference to the one before, and how that changes.
#[derive(Clone, Copy, Default)]
struct Changing {
    value: i64,
    difference: i64,
}

impl Changing {
    fn first(value: i64) -> Self {
        Self { value, difference: 0 }
    }

    fn next(&mut self, reader: &mut BitReader<'_>) -> Result<(), Malformed> {
        self.difference = self.difference.wrapping_add(take_int(reader)?);
        self.value = self.value.wrapping_add(self.difference);
        Ok(())
    }
}

struct Integers {
    count: Changing,
    zero_count: Changing,
    sum: Xor,
    /// Positive ones, then negative ones.
    buckets: Vec<Changing>,
    positive: usize,
}

impl Integers {
    fn new(layout: &Layout, reader: &mut BitReader<'_>) -> Result<(Self, f64), Malformed> {
        let count = Changing::first(take_uint(reader)? as i64);
        let zero_count = Changing::first(take_uint(reader)? as i64);
        let sum = Xor::first(take_f64(reader)?);
        let mut buckets = Vec::new();
        for _ in 0..layout.positive + layout.negative {
            buckets.push(Changing::first(take_int(reader)?));
        }
        Ok((Self { count, zero_count, sum, buckets, positive: layout.positive }, sum.value()))
    }

    fn next(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Malformed> {
        self.count.next(reader)?;
        self.zero_count.next(reader)?;
        let sum = self.sum.next(reader)?;
        if !is_stale_nan(sum) {
            for bucket in &mut self.buckets {
                bucket.next(reader)?;
            }
        }
        Ok(sum)
    }
}

impl Numbers for Integers {
    fn counts(&self) -> Counts {
        let values = |buckets: &[Changing]| buckets.iter().map(|bucket| bucket.value).collect();
        let (positive, negative) = self.buckets.split_at(self.positive);
        Counts::Integer {
            count: self.count.value as u64,
            zero_count: self.zero_count.value as u64,
            positive_deltas: values(positive),
            negative_deltas: values(negative),
        }
    }

    fn none(&self) -> Counts {
        Counts::Integer { count: 0, zero_count: 0, positive_deltas: Vec::new(), negative_deltas: Vec::new() }
    }
}

struct Floats {
    count: Xor,
    zero_count: Xor,
    sum: Xor,
    buckets: Vec<Xor>,
    positive: usize,
}

impl Floats {
    fn new(layout: &Layout, reader: &mut BitReader<'_>) -> Result<(Self, f64), Malformed> {
        let count = Xor::first(take_f64(reader)?);
        let zero_count = Xor::first(take_f64(reader)?);
        let sum = Xor::first(take_f64(reader)?);
        let mut buckets = Vec::new();
        for _ in 0..layout.positive + layout.negative {
            buckets.push(Xor::first(take_f64(reader)?));
        }
        Ok((Self { count, zero_count, sum, buckets, positive: layout.positive }, sum.value()))
    }

    fn next(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Malformed> {
        self.count.next(reader)?;
        self.zero_count.next(reader)?;
        let sum = self.sum.next(reader)?;
        if !is_stale_nan(sum) {
            for bucket in &mut self.buckets {
                bucket.next(reader)?;
            }
        }
        Ok(sum)
    }
}

impl Numbers for Floats {
    fn counts(&self) -> Counts {
        let values = |buckets: &[Xor]| buckets.iter().map(Xor::value).collect();
        let (positive, negative) = self.buckets.split_at(self.positive);
        Counts::Float {
            count: self.count.value(),
            zero_count: self.zero_count.value(),
            positive: values(positive),
            negative: values(negative),
        }
    }

    fn none(&self) -> Counts {
        Counts::Float { count: 0.0, zero_count: 0.0, positive: Vec::new(), negative: Vec::new() }
    }
}
