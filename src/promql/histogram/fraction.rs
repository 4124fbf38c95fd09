//! `histogram_fraction` of native histograms.

use super::base_two::log2;
use super::{Bucket, Edition, FloatHistogram, Note};

/// The fraction of the observations between `lower` and `upper`.
///
/// The inverse of [`super::histogram_quantile`], interpolating as it does. NaN without
/// observations. Observations of NaN lie in no range.
pub fn histogram_fraction(
    lower: f64,
    upper: f64,
    histogram: &FloatHistogram,
    edition: Edition,
) -> (f64, Option<Note>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let buckets = histogram.all_buckets();
    let has_nan = histogram.sum.is_nan();
    let observed = if has_nan { total_count(&buckets) } else { histogram.count };
    let rank =
        |value| rank_of(value, &buckets, histogram, edition).map_or(observed, |rank| at_most(rank, observed));
    let note = (has_nan && observed < histogram.count).then_some(Note::FractionExcludesNan);
    ((rank(upper) - rank(lower)) / histogram.count, note)
}

/// Counted from 0.0: an empty `sum()` would be -0.0.
pub(super) fn total_count(buckets: &[Bucket]) -> f64 {
    buckets.iter().fold(0.0, |total, bucket| total + bucket.count)
}

/// Not `f64::min`: a NaN rank stays NaN.
pub(super) fn at_most(rank: f64, limit: f64) -> f64 {
    if rank > limit { limit } else { rank }
}

/// How many observations lie below `value`; `None` if all do.
fn rank_of(value: f64, buckets: &[Bucket], histogram: &FloatHistogram, edition: Edition) -> Option<f64> {
    let mut rank = 0.0;
    for bucket in buckets {
        let mut bucket = *bucket;
        let holds_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if holds_zero {
            histogram.cut_to_populated_side(&mut bucket);
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            let linear = histogram.uses_custom_buckets() || holds_zero;
            let below = if linear {
                bucket.linear_count_below(value, edition)
            } else {
                bucket.count * bucket.exponential_fraction_below(value)
            };
            return Some(rank + below);
        }
        rank += bucket.count;
    }
    None
}

impl Bucket {
    /// How many of the observations lie below a value within the bucket, if they are spread
    /// evenly. In a bucket without a finite end that says nothing; since 3.14 all of them then
    /// lie at the finite end.
    pub(super) fn linear_count_below(&self, value: f64, edition: Edition) -> f64 {
        if edition == Edition::V3_14 && self.lower == f64::NEG_INFINITY {
            return self.count;
        }
        if edition == Edition::V3_14 && self.upper == f64::INFINITY {
            return 0.0;
        }
        self.count * (value - self.lower) / (self.upper - self.lower)
    }

    /// Which fraction of the bucket lies below a value within it, on a logarithmic scale.
    pub(super) fn exponential_fraction_below(&self, value: f64) -> f64 {
        let (log_lower, log_upper) = (log2(self.lower.abs()), log2(self.upper.abs()));
        let log_value = log2(value.abs());
        if value > 0.0 {
            (log_value - log_lower) / (log_upper - log_lower)
        } else {
            1.0 - (log_value - log_upper) / (log_lower - log_upper)
        }
    }
}
