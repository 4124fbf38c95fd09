//! Floats of a window folded into one number.

use super::kahan::{KahanMean, KahanSum};
use super::quantile::quantile;

pub fn sum(values: &[f64]) -> f64 {
    let mut sum = KahanSum::default();
    for value in values {
        sum.add(*value);
    }
    sum.total()
}

pub fn mean(values: &[f64]) -> f64 {
    let mut sum = KahanSum::default();
    for value in values {
        sum.add(*value);
    }
    mean_of_sum(sum, values)
}

/// The mean of values whose sum is known. Only where that overflowed they are looked at again.
pub fn mean_of_sum(sum: KahanSum, values: &[f64]) -> f64 {
    if sum.sum.is_finite() {
        let count = values.len() as f64;
        return sum.sum / count + sum.compensation / count;
    }
    let mut mean = KahanMean::default();
    for value in values {
        mean.add(*value);
    }
    mean.mean()
}

/// Of equal values the first; NaN only where there is nothing else.
pub fn max(values: &[f64]) -> f64 {
    let mut max = values[0];
    for value in values {
        if *value > max || max.is_nan() {
            max = *value;
        }
    }
    max
}

pub fn min(values: &[f64]) -> f64 {
    let mut min = values[0];
    for value in values {
        if *value < min || min.is_nan() {
            min = *value;
        }
    }
    min
}

/// Where the greatest value lies; of equal ones the last.
pub fn last_max(values: &[f64]) -> usize {
    let mut at = 0;
    for (i, value) in values.iter().enumerate() {
        if *value >= values[at] || values[at].is_nan() {
            at = i;
        }
    }
    at
}

/// Where the smallest value lies; of equal ones the last.
pub fn last_min(values: &[f64]) -> usize {
    let mut at = 0;
    for (i, value) in values.iter().enumerate() {
        if *value <= values[at] || values[at].is_nan() {
            at = i;
        }
    }
    at
}

pub fn variance(values: &[f64]) -> f64 {
    let mut moments = Moments::default();
    for value in values {
        moments.add(*value);
    }
    moments.variance()
}

/// Population variance by Welford, compensated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: f64,
    mean: KahanSum,
    squares: KahanSum,
}

impl Moments {
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - (self.mean.sum + self.mean.compensation);
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - (self.mean.sum + self.mean.compensation)));
    }

    pub fn variance(self) -> f64 {
        (self.squares.sum + self.squares.compensation) / self.count
    }
}

/// Median of the absolute deviations from the median.
pub fn median_deviation(values: &[f64], buffer: &mut Vec<f64>) -> f64 {
    buffer.clear();
    buffer.extend_from_slice(values);
    let median = quantile(0.5, buffer);
    buffer.clear();
    buffer.extend(values.iter().map(|value| (value - median).abs()));
    quantile(0.5, buffer)
}

/// Holt's linear method: a smoothed value and a smoothed trend. At least two values.
pub fn double_exponential(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let mut before = 0.0;
    let mut smoothed = values[0];
    let mut trend = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (smoothed - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + trend);
        before = smoothed;
        smoothed = next;
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_prefer_numbers_to_nan() {
        assert_eq!(max(&[f64::NAN, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(min(&[f64::NAN, 2.0, 1.0]), 1.0);
        assert!(max(&[f64::NAN]).is_nan());
        assert_eq!(last_max(&[3.0, 1.0, 3.0]), 2);
        assert_eq!(last_min(&[1.0, 1.0, 3.0]), 1);
    }

    #[test]
    fn a_mean_is_that_of_the_plain_definition_also_where_sums_overflow() {
        let check = |values: &[f64]| {
            let mut plain = KahanMean::default();
            values.iter().for_each(|value| plain.add(*value));
            let (got, want) = (mean(values), plain.mean());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{values:?}: {got}");
        };
        check(&[-0.0]);
        check(&[-0.0, 0.0]);
        check(&[0.1, 0.2, 0.3, 1e17]);
        check(&[f64::MAX, f64::MAX, -f64::MAX]);
        check(&[1.0, f64::INFINITY, 1.0]);
        check(&[f64::INFINITY, f64::NEG_INFINITY]);
        check(&[1.0, f64::NAN]);
    }

    #[test]
    fn variance_of_equal_values_is_zero() {
        assert_eq!(variance(&[4.0; 5]), 0.0);
        assert_eq!(variance(&[1.0, 3.0]), 1.0);
    }
}
