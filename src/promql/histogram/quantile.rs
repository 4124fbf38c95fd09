//! `histogram_quantile` of native histograms.

use std::ptr;

use super::base_two::{exp2, log2};
use super::fraction::total_count;
use super::{Bucket, FloatHistogram, Note};

/// The value below which the fraction `q` of the observations lies.
///
/// Within a bucket the observations are taken to be spread exponentially; linearly in the zero
/// bucket and in custom buckets. -Inf for `q < 0`, +Inf for `q > 1`, NaN without observations.
pub fn histogram_quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<Note>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if q.is_nan() || histogram.count == 0.0 {
        return (f64::NAN, None);
    }
    // Observations of NaN count, yet fall into no bucket; the sum tells. Ranks are then true from
    // below only. Otherwise the nearer end loses less precision.
    let has_nan = histogram.sum.is_nan();
    let from_below = has_nan || q < 0.5;
    let mut rank = if from_below { q } else { 1.0 - q } * histogram.count;

    let buckets = histogram.all_buckets();
    let (found, reached) =
        if from_below { find(rank, buckets.iter()) } else { find(rank, buckets.iter().rev()) };
    let mut bucket = found.copied().unwrap_or_default();
    if histogram.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        histogram.cut_to_populated_side(&mut bucket);
    }
    let reached = if reached > histogram.count { histogram.count } else { reached };
    if reached < rank {
        return if has_nan { (f64::NAN, Some(Note::QuantileIsNan)) } else { (bucket.upper, None) };
    }
    rank = if from_below { rank - (reached - bucket.count) } else { reached - rank };
    if let Some(highest) = buckets.last().filter(|highest| has_nan && !is_at(found, highest)) {
        // Prometheus walks on to see whether observations are missing, and then interpolates in
        // the bucket where it ended. The note warns of the result.
        bucket = *highest;
    }
    let value = interpolate(&bucket, rank / bucket.count, histogram.uses_custom_buckets());
    // A NaN sum may also come from infinities of both signs: only missing observations skew.
    let is_skewed = has_nan && total_count(&buckets) < histogram.count;
    (value, is_skewed.then_some(Note::QuantileSkewed))
}

/// The first populated bucket at which the running count reaches the rank, and that count. If
/// none does, the last bucket, even an empty one.
fn find<'a>(rank: f64, buckets: impl Iterator<Item = &'a Bucket>) -> (Option<&'a Bucket>, f64) {
    let mut count = 0.0;
    let mut found = None;
    for bucket in buckets {
        found = Some(bucket);
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    (found, count)
}

fn is_at(found: Option<&Bucket>, bucket: &Bucket) -> bool {
    found.is_some_and(|found| ptr::eq(found, bucket))
}

/// The value at `fraction` of the way through a bucket.
fn interpolate(bucket: &Bucket, fraction: f64, custom: bool) -> f64 {
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (log_lower, log_upper) = (log2(bucket.lower.abs()), log2(bucket.upper.abs()));
    if bucket.lower > 0.0 {
        exp2(log_lower + (log_upper - log_lower) * fraction)
    } else {
        -exp2(log_upper + (log_lower - log_upper) * (1.0 - fraction))
    }
}

impl FloatHistogram {
    /// With buckets on one side of zero only, the zero bucket is taken to hold nothing of the
    /// other side.
    pub(super) fn cut_to_populated_side(&self, zero_bucket: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => zero_bucket.lower = 0.0,
            (false, true) => zero_bucket.upper = 0.0,
            _ => {}
        }
    }
}
