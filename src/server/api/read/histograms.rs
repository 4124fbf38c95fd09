//! Prometheus' histogram chunks: native histograms in a streamed answer.
//!
//! One layout for integers (encoding 2) and floats (encoding 3); `varint`, `varbit` and `xor` are those
//! of [`super::bits`].
//!
//! ```text
//! count: u16 big endian · flags: u8, the two highest bits say what is known of a counter reset
//!        before the first histogram: 00 nothing, 10 there was one, 01 there was none, 11 gauges
//! layout: zero threshold · varbit schema · positive spans · negative spans [· custom bounds]
//!   zero threshold: u8: 0 → 0, 1..=254 → 2^(n - 244), 255 → 64 bits follow
//!   spans:  unsigned varbit count, each: unsigned varbit length · varbit offset
//!   bounds (schema -53 only): unsigned varbit count, each: unsigned varbit of 1000 times the bound and
//!           1 where that is a whole number up to 33554431, else "0" and 64 bits
//! integers, first: varbit time · unsigned varbit count and zero count · 64 bits of the sum
//!                  · varbit buckets, as they are stored: each the difference to the bucket before
//!   others:        varbit ΔΔ of time, count and zero count · xor sum · varbit ΔΔ of each bucket
//! floats, first:   varbit time · 64 bits each of count, zero count, sum and buckets
//!   others:        varbit ΔΔtime · xor each of count, zero count, sum and buckets
//! ```
//!
//! A staleness marker is its sum alone: nothing of a layout, no buckets.
//!
//! A reader takes it for certain that within a chunk no counter was reset: [`fitting`] decides how many
//! histograms may share one.

use super::bits::{Bits, Xor};
use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span};
use crate::querier::HistogramPoint;

/// Histograms of thousands of buckets make a chunk of fewer samples.
const CHUNK_NUMBERS_MAX: usize = 1 << 16;

/// What follows from one histogram to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The same layout, and nothing became less.
    On,
    Reset,
    /// Another layout or kind: nothing can be said.
    Apart,
}

/// How many of the histograms, at least one, go into one chunk.
pub fn fitting(points: &[HistogramPoint]) -> usize {
    let mut numbers = 0;
    let mut taken = 0;
    for (at, point) in points.iter().enumerate() {
        numbers += numbers_of(&point.histogram);
        let is_cut = at > 0
            && (numbers > CHUNK_NUMBERS_MAX || step(&points[at - 1].histogram, &point.histogram) != Step::On);
        if is_cut {
            break;
        }
        taken = at + 1;
    }
    taken
}

fn numbers_of(histogram: &Histogram) -> usize {
    let buckets = match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            positive_deltas.len() + negative_deltas.len()
        }
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    buckets + histogram.custom_values.len() + 4
}

fn step(before: &Histogram, next: &Histogram) -> Step {
    let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let same_kind = matches!(
        (&before.counts, &next.counts),
        (Counts::Integer { .. }, Counts::Integer { .. }) | (Counts::Float { .. }, Counts::Float { .. })
    );
    match (before.is_stale(), next.is_stale()) {
        (_, true) if same_kind => return Step::On,
        // What was before the marker is not in this chunk.
        (true, false) | (false, true) | (true, true) => return Step::Apart,
        (false, false) => {}
    }
    if !same_kind || is_gauge(before) != is_gauge(next) || !same_layout(before, next) {
        return Step::Apart;
    }
    if is_gauge(next) {
        return Step::On;
    }
    if next.reset_hint == ResetHint::Reset || is_less(before, next) { Step::Reset } else { Step::On }
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.custom_values) == bits(&b.custom_values)
}

/// Whether any count of two histograms of one layout has become less.
fn is_less(before: &Histogram, next: &Histogram) -> bool {
    match (&before.counts, &next.counts) {
        (
            Counts::Integer { count: c1, zero_count: z1, positive_deltas: p1, negative_deltas: n1 },
            Counts::Integer { count: c2, zero_count: z2, positive_deltas: p2, negative_deltas: n2 },
        ) => c2 < c1 || z2 < z1 || bucket_is_less(p1, p2) || bucket_is_less(n1, n2),
        (
            Counts::Float { count: c1, zero_count: z1, positive: p1, negative: n1 },
            Counts::Float { count: c2, zero_count: z2, positive: p2, negative: n2 },
        ) => {
            let less = |before: &[f64], next: &[f64]| before.iter().zip(next).any(|(a, b)| b < a);
            c2 < c1 || z2 < z1 || less(p1, p2) || less(n1, n2)
        }
        _ => true,
    }
}

fn bucket_is_less(before: &[i64], next: &[i64]) -> bool {
    let mut gained = 0i64;
    before.iter().zip(next).any(|(before, next)| {
        gained = gained.wrapping_add(next.wrapping_sub(*before));
        gained < 0
    })
}

/// A chunk of histograms that [`fitting`] has found to fit, and whether they are of floats. `before` is
/// the histogram that the series had just before them.
pub fn encode(points: &[HistogramPoint], before: Option<&Histogram>) -> (Vec<u8>, bool) {
    let mut out = Bits::default();
    out.push(points.len().min(usize::from(u16::MAX)) as u64, 16);
    let Some(first) = points.first() else { return (out.bytes, false) };
    out.push(flags(&first.histogram, before), 8);
    let is_float = matches!(first.histogram.counts, Counts::Float { .. });
    push_layout(&mut out, &first.histogram);
    if is_float {
        push_floats(&mut out, points)
    } else {
        push_integers(&mut out, points)
    }
    (out.bytes, is_float)
}

fn flags(first: &Histogram, before: Option<&Histogram>) -> u64 {
    if first.reset_hint == ResetHint::Gauge {
        return 0b1100_0000;
    }
    match before.map(|before| step(before, first)) {
        Some(Step::Reset) => 0b1000_0000,
        Some(Step::On) if !first.is_stale() => 0b0100_0000,
        _ if first.reset_hint == ResetHint::Reset => 0b1000_0000,
        _ => 0,
    }
}

fn push_layout(out: &mut Bits, first: &Histogram) {
    if first.is_stale() {
        push_zero_threshold(out, 0.0);
        out.push_varbit(0);
        push_spans(out, &[]);
        push_spans(out, &[]);
        return;
    }
    push_zero_threshold(out, first.zero_threshold);
    out.push_varbit(i64::from(first.schema));
    push_spans(out, &first.positive_spans);
    push_spans(out, &first.negative_spans);
    if first.schema == CUSTOM_BUCKETS_SCHEMA {
        out.push_varbit_unsigned(first.custom_values.len() as u64);
        first.custom_values.iter().for_each(|bound| push_bound(out, *bound));
    }
}

/// The byte of a threshold that is a power of two, counted from the exponent's bits of the float.
fn push_zero_threshold(out: &mut Bits, threshold: f64) {
    const EXPONENT_BIAS: i64 = 1023;
    let bits = threshold.to_bits();
    let byte = (bits >> 52) as i64 - EXPONENT_BIAS + 244;
    let is_power_of_two = bits & ((1 << 52) - 1) == 0;
    if threshold == 0.0 {
        out.push(0, 8);
    } else if is_power_of_two && (1..=254).contains(&byte) {
        out.push(byte as u64, 8);
    } else {
        out.push(255, 8);
        out.push_float(threshold);
    }
}

fn push_spans(out: &mut Bits, spans: &[Span]) {
    out.push_varbit_unsigned(spans.len() as u64);
    for span in spans {
        out.push_varbit_unsigned(u64::from(span.length));
        out.push_varbit(i64::from(span.offset));
    }
}

fn push_bound(out: &mut Bits, bound: f64) {
    let thousandths = bound * 1000.0;
    let is_short = (0.0..=33_554_430.0).contains(&thousandths) && thousandths.floor() == thousandths;
    if is_short && bound.is_sign_positive() {
        out.push_varbit_unsigned(thousandths as u64 + 1);
    } else {
        out.push(0, 1);
        out.push_float(bound);
    }
}

/// A whole number that is written as the change of its change.
#[derive(Clone, Copy, Debug, Default)]
struct Changing {
    value: i64,
    change: i64,
}

impl Changing {
    fn from(value: i64) -> Self {
        Self { value, change: 0 }
    }

    fn push(&mut self, out: &mut Bits, value: i64) {
        let change = value.wrapping_sub(self.value);
        out.push_varbit(change.wrapping_sub(self.change));
        *self = Self { value, change };
    }
}

fn push_integers(out: &mut Bits, points: &[HistogramPoint]) {
    let (mut time, mut counts) = (Changing::default(), [Changing::default(); 2]);
    let mut buckets: Vec<Changing> = Vec::new();
    let mut sum = Xor::after(0.0);
    for (at, point) in points.iter().enumerate() {
        let histogram = &*point.histogram;
        let Counts::Integer { count, zero_count, positive_deltas, negative_deltas } = &histogram.counts
        else {
            continue;
        };
        let numbers = [*count, *zero_count];
        let is_stale = histogram.is_stale();
        let stored = positive_deltas.iter().chain(negative_deltas).filter(|_| !is_stale);
        if at == 0 {
            out.push_varbit(point.timestamp_ms);
            for (changing, number) in counts.iter_mut().zip(numbers) {
                let number = if is_stale { 0 } else { number };
                out.push_varbit_unsigned(number);
                *changing = Changing::from(number as i64);
            }
            out.push_float(histogram.sum);
            stored.clone().for_each(|bucket| out.push_varbit(*bucket));
            buckets.extend(stored.map(|bucket| Changing::from(*bucket)));
            time = Changing::from(point.timestamp_ms);
            sum = Xor::after(histogram.sum);
            continue;
        }
        time.push(out, point.timestamp_ms);
        for (changing, number) in counts.iter_mut().zip(numbers) {
            if is_stale {
                out.push_varbit(0);
            } else {
                changing.push(out, number as i64);
            }
        }
        sum.push(out, histogram.sum);
        buckets.iter_mut().zip(stored).for_each(|(changing, bucket)| changing.push(out, *bucket));
    }
}

fn push_floats(out: &mut Bits, points: &[HistogramPoint]) {
    let mut time = Changing::default();
    let mut numbers: Vec<Xor> = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let histogram = &*point.histogram;
        let Counts::Float { count, zero_count, positive, negative } = &histogram.counts else { continue };
        let is_stale = histogram.is_stale();
        let heads = if is_stale { [0.0, 0.0] } else { [*count, *zero_count] };
        let buckets = positive.iter().chain(negative).filter(|_| !is_stale);
        let values = heads.iter().chain([&histogram.sum]).chain(buckets);
        if at == 0 {
            out.push_varbit(point.timestamp_ms);
            time = Changing::from(point.timestamp_ms);
            values.clone().for_each(|value| out.push_float(*value));
            numbers.extend(values.map(|value| Xor::after(*value)));
            continue;
        }
        time.push(out, point.timestamp_ms);
        numbers.iter_mut().zip(values).for_each(|(number, value)| number.push(out, *value));
    }
}

#[cfg(test)]
mod tests;
