//! `histogram_quantile` and `histogram_fraction` of classic histograms: cumulative counts by `le`.
//!
//! Which series form a histogram is the engine's to decide; here are its buckets alone.

use std::cmp::Ordering;

use super::fraction::at_most;
use super::{Bucket, Edition};

/// Count differences below this (relative) come from float arithmetic, not from observations.
const SMALL_DELTA: f64 = 1e-12;

/// How many observations were at most `upper_bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassicBucket {
    pub upper_bound: f64,
    pub count: f64,
}

/// A quantile, and whether counts that fell with rising bounds had to be lifted for it
/// ([`super::Note::ForcedMonotonicity`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassicQuantile {
    pub value: f64,
    pub forced_monotonic: bool,
}

/// The value below which the fraction `q` of the observations lies, linearly interpolated.
///
/// The lowest bucket starts at 0 if it ends above; in the bucket up to +Inf the answer is its
/// lower bound. NaN without a bucket up to +Inf, another bucket, or observations. Sorts `buckets`
/// and merges those with the same bound.
pub fn classic_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> ClassicQuantile {
    let plain = |value| ClassicQuantile { value, forced_monotonic: false };
    if q.is_nan() {
        return plain(f64::NAN);
    }
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if !sort_and_coalesce(buckets) {
        return plain(f64::NAN);
    }
    let forced_monotonic = make_monotonic(buckets);
    let [lower @ .., last] = buckets.as_slice() else { return plain(f64::NAN) };
    let Some(second_last) = lower.last().filter(|_| last.count != 0.0) else { return plain(f64::NAN) };
    let rank = q * last.count;
    // A NaN count does not reach the rank either.
    let found = lower.partition_point(|bucket| bucket.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    let value = match lower.get(found) {
        None => second_last.upper_bound,
        Some(first) if found == 0 && first.upper_bound <= 0.0 => first.upper_bound,
        Some(bucket) => {
            let below = found.checked_sub(1).map(|index| lower[index]);
            let start = below.map_or(0.0, |below| below.upper_bound);
            let count_below = below.map_or(0.0, |below| below.count);
            let fraction = (rank - count_below) / (bucket.count - count_below);
            start + (bucket.upper_bound - start) * fraction
        }
    };
    ClassicQuantile { value, forced_monotonic }
}

/// The fraction of the observations between `lower` and `upper`, linearly interpolated. Sorts
/// `buckets` and merges those with the same bound.
pub fn classic_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>, edition: Edition) -> f64 {
    if !sort_and_coalesce(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value| rank_of(value, buckets, edition).map_or(count, |rank| at_most(rank, count));
    (rank(upper) - rank(lower)) / count
}

/// How many observations lie below `value`; `None` if all do.
fn rank_of(value: f64, buckets: &[ClassicBucket], edition: Edition) -> Option<f64> {
    let mut rank = 0.0;
    let mut lower = match buckets.first() {
        Some(first) if edition == Edition::V3_14 && first.upper_bound > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if lower >= value {
            return Some(rank);
        }
        let upper = bucket.upper_bound;
        if upper > value {
            let count = bucket.count - rank;
            let within = Bucket { lower, upper, lower_inclusive: false, upper_inclusive: true, count };
            return Some(rank + within.linear_count_below(value, edition));
        }
        rank = bucket.count;
        lower = upper;
    }
    None
}

/// Sorts by bound and adds up buckets with the same one; whether the last bound is +Inf.
fn sort_and_coalesce(buckets: &mut Vec<ClassicBucket>) -> bool {
    // Not a total order, but no `le` that parses to NaN gets here, and equal zeros stay put.
    buckets.sort_by(|a, b| a.upper_bound.partial_cmp(&b.upper_bound).unwrap_or(Ordering::Equal));
    buckets.dedup_by(|next, kept| {
        let same = next.upper_bound == kept.upper_bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.upper_bound == f64::INFINITY)
}

/// Lifts counts that are lower than those of lower bounds; whether any was lower by more than
/// float arithmetic explains.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> bool {
    let mut forced = false;
    let mut previous = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == previous {
            continue;
        }
        if nearly_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            bucket.count = previous;
            forced = true;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

/// Equal but for rounding, relative to the sum of both; next to zero, absolutely.
fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}
