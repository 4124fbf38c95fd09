//! Logarithm and power to the base 2, rounded as Go rounds them.
//!
//! The library's own differ from Go's in the last digit, and so would quantiles and fractions.

use super::bounds::scale;

/// Logarithm of a positive number: exponent plus a scaled natural logarithm.
pub(super) fn log2(value: f64) -> f64 {
    let (fraction, exponent) = split(value);
    if fraction == 0.5 {
        return f64::from(exponent) - 1.0;
    }
    fraction.ln() * (1.0 / std::f64::consts::LN_2) + f64::from(exponent)
}

/// `value = fraction * 2^exponent` with a fraction in 0.5..1; zero, infinities and NaN stay whole.
fn split(value: f64) -> (f64, i32) {
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    let (normal, shift) = if value < f64::MIN_POSITIVE { (value * 2f64.powi(64), 64) } else { (value, 0) };
    let exponent = (normal.to_bits() >> 52) as i32 - 1022;
    let fraction = f64::from_bits((normal.to_bits() & !(0x7ff << 52)) | (1022 << 52));
    (fraction, exponent - shift)
}

/// `2^power`: an integer power times `e^r` with |r| up to ln(2)/2, from the rational approximation
/// of FreeBSD's mathematical library.
pub(super) fn exp2(power: f64) -> f64 {
    if power.is_nan() || power == f64::INFINITY {
        return power;
    }
    if power > 1024.0 {
        return f64::INFINITY;
    }
    if power < -1074.0 {
        return 0.0;
    }
    let whole = (power + 0.5f64.copysign(power)).trunc();
    let rest = power - whole;
    let (high, low) = (rest * LN_2_HIGH, -rest * LN_2_LOW);
    let r = high - low;
    let square = r * r;
    let series = APPROXIMATION.iter().rev().fold(0.0, |series, factor| square * (factor + series));
    let c = r - series;
    let mantissa = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    let (mantissa, exponent) = if mantissa < 1.0 { (mantissa * 2.0, -1) } else { (mantissa, 0) };
    scale(mantissa, whole as i64 + exponent)
}

/// ln(2) in two parts, so that a small integer times the high part is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Factors of r², r⁴, … in the approximation. Go's first one is 1/6 itself.
const APPROXIMATION: [f64; 5] = [
    1.666_666_666_666_666_6e-1,
    -2.777_777_777_701_559_3e-3,
    6.613_756_321_437_934e-5,
    -1.653_390_220_546_525_2e-6,
    4.138_136_797_057_238_5e-8,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in -1074..=1023 {
            let power = scale(1.0, exponent);
            assert_eq!(exp2(exponent as f64), power, "2^{exponent}");
            assert_eq!(log2(power), exponent as f64, "2^{exponent}");
        }
    }

    #[test]
    fn others_are_within_a_last_digit_of_the_library() {
        let close =
            |actual: f64, want: f64| (actual - want).abs() <= 4.0 * f64::EPSILON * want.abs().max(1.0);
        for step in -2000..2000 {
            let power = f64::from(step) * 0.013;
            assert!(close(exp2(power) / power.exp2(), 1.0), "2^{power}");
            assert!(close(log2(power.exp2()), power), "{power}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(exp2(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp2(-2000.0), 0.0);
        assert_eq!(exp2(1024.0), f64::INFINITY);
        assert_eq!(exp2(f64::INFINITY), f64::INFINITY);
        assert!(exp2(f64::NAN).is_nan());
        assert_eq!(log2(0.0), f64::NEG_INFINITY);
        assert_eq!(log2(f64::INFINITY), f64::INFINITY);
        assert!(log2(-1.0).is_nan());
        assert_eq!(log2(f64::MAX), 1024.0);
    }
}
