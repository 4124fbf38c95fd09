//! The buckets of a histogram as intervals with counts.

use super::FloatHistogram;
use super::bounds::exponential_bound;
use super::layout::entries;

/// One bucket: how many observations fell between two bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// The API's number for which ends belong to the bucket: 0 the upper one, 1 the lower one, 2
    /// neither, 3 both.
    pub fn boundary_rule(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }
}

impl FloatHistogram {
    /// All buckets in ascending order, empty ones too: the negative ones, the zero bucket if its
    /// count is positive, the positive ones. Those that overlap the zero bucket are cut at it.
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let mut buckets: Vec<_> = self.negative_buckets().collect();
        buckets.reverse();
        if self.zero_count > 0.0 {
            buckets.push(self.zero_bucket());
        }
        buckets.extend(self.positive_buckets());
        if !self.uses_custom_buckets() {
            for bucket in &mut buckets {
                self.cut_at_zero_bucket(bucket);
            }
        }
        buckets
    }

    fn cut_at_zero_bucket(&self, bucket: &mut Bucket) {
        let threshold = self.zero_threshold;
        if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        }
    }

    /// The positive buckets, from zero upwards.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket> {
        entries(&self.positive_spans, &self.positive).map(|(index, count)| self.positive_bucket(index, count))
    }

    /// The negative buckets, from zero downwards.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket> {
        entries(&self.negative_spans, &self.negative).map(|(index, count)| {
            let mirror = self.positive_bucket(index, count);
            let (lower, upper) = (-mirror.upper, -mirror.lower);
            Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
        })
    }

    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn positive_bucket(&self, index: i64, count: f64) -> Bucket {
        let (lower, upper) = (self.upper_bound(index - 1), self.upper_bound(index));
        let lower_inclusive = self.uses_custom_buckets() && index == 0;
        Bucket { lower, upper, lower_inclusive, upper_inclusive: true, count }
    }

    /// Where positive bucket `index` ends.
    pub(super) fn upper_bound(&self, index: i64) -> f64 {
        if !self.uses_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(index) => self.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }
}
