//! One native histogram with float counts: PromQL's second kind of value.
//!
//! Owns the shape, the way in from the stored form, and equality. Arithmetic is in
//! [`super::arithmetic`], what the buckets cover in [`super::buckets`].

use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{Counts, Histogram, ResetHint, Span};

/// A native histogram with absolute float counts.
///
/// Counts may be negative or not finite: a difference of histograms is one too. Spans and counts
/// of a side belong together; where they disagree (hostile input), the shorter one ends the side.
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    pub reset_hint: ResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    pub positive: Vec<f64>,
    pub negative: Vec<f64>,
    /// Upper bounds of custom buckets without +Inf; empty for exponential schemas.
    pub custom_values: Vec<f64>,
}

impl FloatHistogram {
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The bounds of custom buckets.
    pub(super) fn bounds(&self) -> Option<&Vec<f64>> {
        self.uses_custom_buckets().then_some(&self.custom_values)
    }

    /// Whether this is the staleness marker of a histogram series.
    pub fn is_stale(&self) -> bool {
        crate::model::is_stale_nan(self.sum)
    }

    /// How many float samples this histogram counts for in the limit on samples and in the
    /// query statistics: Prometheus' own sizes in bytes, a sample being 16.
    pub fn sample_weight(&self) -> usize {
        let parts = self.positive_spans.len()
            + self.negative_spans.len()
            + self.positive.len()
            + self.negative.len()
            + self.custom_values.len();
        (168 + 8 * parts + 8) / 16
    }

    /// Equal as PromQL's `==` and `changes` see it: same layout, numbers equal to the bit (so a
    /// NaN equals itself). The reset hint does not take part. Both sides should be compact.
    pub fn equals(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && (!self.uses_custom_buckets() || same_bits(&self.custom_values, &other.custom_values))
            && same_layout(&self.positive_spans, &other.positive_spans)
            && same_layout(&self.negative_spans, &other.negative_spans)
            && same_bits(&self.positive, &other.positive)
            && same_bits(&self.negative, &other.negative)
    }
}

impl From<&Histogram> for FloatHistogram {
    fn from(stored: &Histogram) -> Self {
        let (count, zero_count, positive, negative) = match &stored.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                (*count as f64, *zero_count as f64, absolute(positive_deltas), absolute(negative_deltas))
            }
            Counts::Float { count, zero_count, positive, negative } => {
                (*count, *zero_count, positive.clone(), negative.clone())
            }
        };
        Self {
            reset_hint: stored.reset_hint,
            schema: stored.schema,
            zero_threshold: stored.zero_threshold,
            zero_count,
            count,
            sum: stored.sum,
            positive_spans: stored.positive_spans.clone(),
            negative_spans: stored.negative_spans.clone(),
            positive,
            negative,
            custom_values: stored.custom_values.clone(),
        }
    }
}

fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut bucket = 0i64;
    deltas
        .iter()
        .map(|delta| {
            bucket = bucket.wrapping_add(*delta);
            bucket as f64
        })
        .collect()
}

/// Bitwise equality of two lists of numbers.
pub(super) fn same_bits(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.to_bits() == r.to_bits())
}

/// Whether two lists of spans mean the same buckets; spans of length 0 only shift what follows.
fn same_layout(left: &[Span], right: &[Span]) -> bool {
    left == right || normal(left).eq(normal(right))
}

fn normal(spans: &[Span]) -> impl Iterator<Item = (i64, u32)> {
    let mut skipped = 0i64;
    spans.iter().filter_map(move |span| {
        skipped += i64::from(span.offset);
        (span.length > 0).then(|| (std::mem::take(&mut skipped), span.length))
    })
}
