//! Quantiles of plain numbers.

use std::cmp::Ordering;

/// NaN first, then ascending.
pub fn nan_first(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// The `q`-quantile, between two values their weighted mean. Reorders `values`.
///
/// NaN for no values or a NaN `q`; infinities for a `q` outside `[0, 1]`.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor() as usize;
    let weight = rank - rank.floor();
    let (_, low, above) = values.select_nth_unstable_by(lower, |a, b| nan_first(*a, *b));
    let low = *low;
    let high = above.iter().copied().min_by(|a, b| nan_first(*a, *b)).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        let check = |q: f64, values: &[f64], want: f64| {
            let got = quantile(q, &mut values.to_vec());
            assert!(got == want || got.is_nan() && want.is_nan(), "{q} of {values:?}: {got}");
        };
        check(0.5, &[3.0, 1.0, 2.0], 2.0);
        check(0.5, &[4.0, 1.0, 2.0, 3.0], 2.5);
        check(1.0, &[4.0, 1.0], 4.0);
        check(0.0, &[4.0, 1.0], 1.0);
        check(-0.1, &[1.0], f64::NEG_INFINITY);
        check(1.1, &[1.0], f64::INFINITY);
        check(f64::NAN, &[1.0], f64::NAN);
        check(0.0, &[1.0, f64::NAN], f64::NAN);
        check(1.0, &[1.0, f64::NAN], 1.0);
        check(0.5, &[], f64::NAN);
    }
}
