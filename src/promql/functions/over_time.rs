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

/// Population variance by Welford, compensated.
pub fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let mut mean = KahanSum::default();
    let mut squares = KahanSum::default();
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.compensation);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.compensation)));
    }
    (squares.sum + squares.compensation) / count
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
    fn variance_of_equal_values_is_zero() {
        assert_eq!(variance(&[4.0; 5]), 0.0);
        assert_eq!(variance(&[1.0, 3.0]), 1.0);
    }
}
