//! Least squares over a window: `deriv` and `predict_linear`.

use super::kahan::KahanSum;

/// Slope per second and the value at `intercept_ms`. At least one sample.
pub fn linear_regression(timestamps_ms: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let first = values[0];
    let constant = values[1..].iter().all(|value| *value == first);
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut n = 0.0;
    let [mut x, mut y, mut xy, mut xx] = [KahanSum::default(); 4];
    for (time, value) in timestamps_ms.iter().zip(values) {
        n += 1.0;
        // With `@`, the step may be any distance away: comes round as Go's integers do.
        let seconds = time.wrapping_sub(intercept_ms) as f64 / 1e3;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let total = |sum: KahanSum| sum.sum + sum.compensation;
    let (x, y, xy, xx) = (total(x), total(y), total(xy), total(xx));
    let covariance = xy - x * y / n;
    let variance = xx - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intercept_at_the_end_of_time_is_no_overflow() {
        for intercept_ms in [i64::MIN, i64::MAX] {
            linear_regression(&[-5000, 1000], &[1.0, 2.0], intercept_ms);
        }
    }

    #[test]
    fn a_line_is_found_again() {
        let times = [0, 1000, 2000, 3000];
        let (slope, intercept) = linear_regression(&times, &[5.0, 7.0, 9.0, 11.0], 4000);
        assert_eq!((slope, intercept), (2.0, 13.0));
    }

    #[test]
    fn constants_are_flat_and_infinities_have_no_slope() {
        assert_eq!(linear_regression(&[0, 1], &[3.0, 3.0], 0), (0.0, 3.0));
        assert!(linear_regression(&[0, 1], &[f64::INFINITY; 2], 0).0.is_nan());
    }
}
