//! The trim operators `</` and `>/`: a histogram without its observations above or below a value.

use super::{Bucket, FloatHistogram};

/// Which observations a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `</`
    Below,
    /// `>/`
    Above,
}

impl FloatHistogram {
    /// Keeps the observations below or above `cut`.
    ///
    /// A bucket that contains `cut` is divided as quantiles would divide it. If any bucket
    /// changes, count and sum are estimated anew from what is left, each bucket standing for its
    /// middle; otherwise they stay as they are.
    pub fn trimmed(&self, cut: f64, keep: Keep) -> Self {
        let mut trimmed = self.clone();
        let trim = Trim { cut, keep, custom: self.uses_custom_buckets() };
        let mut totals = Totals::default();
        let (mut has_positive, mut has_negative) = (false, false);
        for (bucket, count) in self.positive_buckets().zip(&mut trimmed.positive) {
            has_positive |= *count != 0.0;
            totals.replace(count, trim.regular(&bucket));
        }
        for (bucket, count) in self.negative_buckets().zip(&mut trimmed.negative) {
            has_negative |= *count != 0.0;
            totals.replace(count, trim.regular(&bucket));
        }
        if self.zero_count > 0.0 {
            let mut zero_bucket = self.zero_bucket();
            match (has_negative, has_positive) {
                (true, false) => zero_bucket.upper = 0.0,
                (false, true) => zero_bucket.lower = 0.0,
                _ => {}
            }
            totals.replace(&mut trimmed.zero_count, trim.zero(&zero_bucket));
        }
        if totals.changed {
            trimmed.count = totals.count;
            trimmed.sum = totals.sum;
            trimmed.compact();
        }
        trimmed
    }
}

/// What is left of a bucket: how many observations, and the value that stands for each.
struct Rest {
    count: f64,
    value: f64,
}

impl Rest {
    const NOTHING: Self = Self { count: 0.0, value: 0.0 };
}

#[derive(Default)]
struct Totals {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Totals {
    fn replace(&mut self, count: &mut f64, rest: Rest) {
        if *count == 0.0 {
            return;
        }
        self.changed |= *count != rest.count;
        *count = rest.count;
        self.count += rest.count;
        self.sum += rest.value * rest.count;
    }
}

#[derive(Clone, Copy)]
struct Trim {
    cut: f64,
    keep: Keep,
    custom: bool,
}

impl Trim {
    fn regular(self, bucket: &Bucket) -> Rest {
        let (kept_whole, contains_cut) = match self.keep {
            Keep::Below => (bucket.upper <= self.cut, bucket.lower < self.cut),
            Keep::Above => (bucket.lower >= self.cut, bucket.upper > self.cut),
        };
        if kept_whole {
            return Rest { count: bucket.count, value: self.middle(bucket.lower, bucket.upper) };
        }
        if !contains_cut {
            return Rest::NOTHING;
        }
        if bucket.lower == f64::NEG_INFINITY {
            return self.lowest_custom(bucket);
        }
        if bucket.upper == f64::INFINITY {
            // How the observations are spread up to +Inf is unknown: all are above the cut.
            return match self.keep {
                Keep::Below => Rest::NOTHING,
                Keep::Above => Rest { count: bucket.count, value: self.cut },
            };
        }
        let below = bucket.count * self.fraction_below(bucket);
        match self.keep {
            Keep::Below => Rest { count: below, value: self.middle(bucket.lower, self.cut) },
            Keep::Above => Rest { count: bucket.count - below, value: self.middle(self.cut, bucket.upper) },
        }
    }

    /// The custom bucket from -Inf. One that reaches above zero starts at zero, as for quantiles,
    /// unless the cut is negative: then nothing is known and nothing is kept. One that ends at or
    /// below zero lies below the cut as a whole.
    fn lowest_custom(self, bucket: &Bucket) -> Rest {
        let Bucket { upper, count, .. } = *bucket;
        let starts_at_zero = upper > 0.0 && upper.is_finite();
        match self.keep {
            Keep::Above if self.cut == f64::NEG_INFINITY => {
                Rest { count, value: self.middle(bucket.lower, upper) }
            }
            Keep::Below if starts_at_zero && self.cut > 0.0 => {
                Rest { count: count * self.cut / upper, value: self.cut / 2.0 }
            }
            Keep::Above if starts_at_zero && self.cut >= 0.0 => {
                Rest { count: count * (1.0 - self.cut / upper), value: (self.cut + upper) / 2.0 }
            }
            Keep::Below if upper <= 0.0 => Rest { count, value: self.cut },
            _ => Rest::NOTHING,
        }
    }

    fn zero(self, bucket: &Bucket) -> Rest {
        let Bucket { lower, upper, count, .. } = *bucket;
        let cut = self.cut;
        let whole = Rest { count, value: (lower + upper) / 2.0 };
        let part = |from: f64, to: f64| Rest {
            count: count * ((to - from) / (upper - lower)),
            value: (from + to) / 2.0,
        };
        match self.keep {
            Keep::Below if cut <= lower => Rest::NOTHING,
            Keep::Below if cut >= upper => whole,
            Keep::Below => part(lower, cut),
            Keep::Above if cut <= lower => whole,
            Keep::Above if cut >= upper => Rest::NOTHING,
            Keep::Above => part(cut, upper),
        }
    }

    fn fraction_below(self, bucket: &Bucket) -> f64 {
        if self.custom {
            (self.cut - bucket.lower) / (bucket.upper - bucket.lower)
        } else {
            bucket.exponential_fraction_below(self.cut)
        }
    }

    /// The value that stands for the observations between two bounds.
    fn middle(self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.custom => (lower + upper) / 2.0,
            (false, false) => (lower * upper).abs().sqrt().copysign(upper),
        }
    }
}
