//! `histogram_avg`, `histogram_stdvar` and `histogram_stddev`.

use super::accumulate::Compensated;
use super::layout::Cell;
use super::{Bucket, FloatHistogram};

/// Mean of the observations; NaN without any.
pub fn histogram_average(histogram: &FloatHistogram) -> f64 {
    histogram.sum / histogram.count
}

/// Variance of the observations, each taken to lie in the middle of its bucket: geometric for
/// exponential buckets, arithmetic for custom ones, zero for the zero bucket.
pub fn histogram_variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram_average(histogram);
    let mut squares = Compensated::default();
    for bucket in histogram.all_buckets().iter().filter(|bucket| bucket.count != 0.0) {
        let distance = middle(bucket, histogram.uses_custom_buckets()) - mean;
        squares = squares.plus(bucket.count * distance * distance);
    }
    squares.total() / histogram.count
}

/// Square root of the variance.
pub fn histogram_standard_deviation(histogram: &FloatHistogram) -> f64 {
    histogram_variance(histogram).sqrt()
}

fn middle(bucket: &Bucket, custom: bool) -> f64 {
    if custom {
        return (bucket.upper + bucket.lower) / 2.0;
    }
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        return 0.0;
    }
    (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
}
