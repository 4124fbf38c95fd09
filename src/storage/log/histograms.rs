//! Histograms of a frame, complete to the bit: layout, counts, times.
//!
//! Owns the section `histograms`. Judges no histogram: what was accepted must come back.

use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u32, take_u64};
use crate::model::histogram::{Counts, Histogram, ResetHint, Span};
use crate::model::series_batch::HistogramSample;

use super::malformed::{Malformed, Weight, histogram_weight};
use super::values::{put_values, take_values_vec};

const FLAG_FLOAT: u8 = 1;

/// Where the differences of the next histogram start from.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistogramBase {
    local: u32,
    timestamp_ms: i64,
    start_ms: i64,
}

pub fn put_histogram(out: &mut Vec<u8>, base: &mut HistogramBase, local: u32, sample: &HistogramSample) {
    put_i64(out, i64::from(local) - i64::from(base.local));
    put_i64(out, sample.timestamp_ms.wrapping_sub(base.timestamp_ms));
    put_i64(out, sample.start_ms.wrapping_sub(base.start_ms));
    *base = HistogramBase { local, timestamp_ms: sample.timestamp_ms, start_ms: sample.start_ms };

    let histogram = &sample.histogram;
    let is_float = matches!(histogram.counts, Counts::Float { .. });
    out.push(u8::from(is_float) | (histogram.reset_hint as u8) << 1);
    put_i64(out, i64::from(histogram.schema));
    put_values(out, &[histogram.zero_threshold, histogram.sum]);
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    put_floats(out, &histogram.custom_values);
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            put_u64(out, *count);
            put_u64(out, *zero_count);
            put_deltas(out, positive_deltas);
            put_deltas(out, negative_deltas);
        }
        Counts::Float { count, zero_count, positive, negative } => {
            put_values(out, &[*count, *zero_count]);
            put_floats(out, positive);
            put_floats(out, negative);
        }
    }
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_u64(out, spans.len() as u64);
    for span in spans {
        put_i64(out, i64::from(span.offset));
        put_u64(out, u64::from(span.length));
    }
}

fn put_deltas(out: &mut Vec<u8>, deltas: &[i64]) {
    put_u64(out, deltas.len() as u64);
    deltas.iter().for_each(|delta| put_i64(out, *delta));
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_u64(out, values.len() as u64);
    put_values(out, values);
}

/// Decodes the section onto `out`; `series` are defined.
pub fn decode_histograms(
    mut rest: &[u8],
    series: u32,
    weight: &mut Weight,
    out: &mut Vec<(u32, HistogramSample)>,
) -> Result<(), Malformed> {
    let mut base = HistogramBase::default();
    while !rest.is_empty() {
        base.local = take_local(&mut rest, base.local, series)?;
        base.timestamp_ms = base.timestamp_ms.wrapping_add(take_i64(&mut rest)?);
        base.start_ms = base.start_ms.wrapping_add(take_i64(&mut rest)?);
        let histogram = take_histogram(&mut rest)?;
        weight.add(histogram_weight(&histogram))?;
        out.push((
            base.local,
            HistogramSample { timestamp_ms: base.timestamp_ms, start_ms: base.start_ms, histogram },
        ));
    }
    Ok(())
}

/// Takes the number of a defined series, written as the difference to `previous`.
pub fn take_local(rest: &mut &[u8], previous: u32, series: u32) -> Result<u32, Malformed> {
    i64::from(previous)
        .checked_add(take_i64(rest)?)
        .and_then(|local| u32::try_from(local).ok())
        .filter(|local| *local < series)
        .ok_or(Malformed::What("a sample of a series that is not defined"))
}

fn take_histogram(rest: &mut &[u8]) -> Result<Histogram, Malformed> {
    let (flags, ahead) = rest.split_first().ok_or(Malformed::What("a histogram is cut off"))?;
    *rest = ahead;
    let reset_hint =
        ResetHint::from_number(flags >> 1).ok_or(Malformed::What("unknown flags of a histogram"))?;
    let schema = take_i32(rest)?;
    let (zero_threshold, sum) = take_two(rest)?;
    let positive_spans = take_spans(rest)?;
    let negative_spans = take_spans(rest)?;
    let custom_values = take_floats(rest)?;
    let counts = if flags & FLAG_FLOAT == 0 {
        Counts::Integer {
            count: take_u64(rest)?,
            zero_count: take_u64(rest)?,
            positive_deltas: take_deltas(rest)?,
            negative_deltas: take_deltas(rest)?,
        }
    } else {
        let (count, zero_count) = take_two(rest)?;
        Counts::Float { count, zero_count, positive: take_floats(rest)?, negative: take_floats(rest)? }
    };
    Ok(Histogram {
        reset_hint,
        schema,
        zero_threshold,
        sum,
        positive_spans,
        negative_spans,
        custom_values,
        counts,
    })
}

fn take_two(rest: &mut &[u8]) -> Result<(f64, f64), Malformed> {
    take_values_vec(rest, 2).map(|two| (two[0], two[1]))
}

fn take_i32(rest: &mut &[u8]) -> Result<i32, Malformed> {
    i32::try_from(take_i64(rest)?).map_err(|_| Malformed::What("a number that does not fit 32 bits"))
}

/// Takes a count of things that take at least `bytes_min` each: what it allocates is there.
fn take_count(rest: &mut &[u8], bytes_min: usize) -> Result<usize, Malformed> {
    let count = take_u64(rest)?;
    let fits = count <= (rest.len() / bytes_min) as u64;
    if fits { Ok(count as usize) } else { Err(Malformed::What("a histogram has more parts than bytes")) }
}

fn take_spans(rest: &mut &[u8]) -> Result<Vec<Span>, Malformed> {
    let count = take_count(rest, 2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        spans.push(Span { offset: take_i32(rest)?, length: take_u32(rest)? });
    }
    Ok(spans)
}

fn take_deltas(rest: &mut &[u8]) -> Result<Vec<i64>, Malformed> {
    let count = take_count(rest, 1)?;
    let mut deltas = Vec::with_capacity(count);
    for _ in 0..count {
        deltas.push(take_i64(rest)?);
    }
    Ok(deltas)
}

fn take_floats(rest: &mut &[u8]) -> Result<Vec<f64>, Malformed> {
    let count = usize::try_from(take_u64(rest)?).map_err(|_| Malformed::TooLarge)?;
    take_values_vec(rest, count)
}
