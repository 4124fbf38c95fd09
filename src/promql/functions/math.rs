//! Functions of one float.

use std::f64::consts::PI;

/// Beyond this, hyperbolic sine and cosine are computed as half of the exponential function, which
/// overflows a little before they do: as in Go.
const HALF_EXP_FROM: f64 = 21.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MathFunction {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Deg,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Rad,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
}

impl MathFunction {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "acos" => Self::Acos,
            "acosh" => Self::Acosh,
            "asin" => Self::Asin,
            "asinh" => Self::Asinh,
            "atan" => Self::Atan,
            "atanh" => Self::Atanh,
            "ceil" => Self::Ceil,
            "cos" => Self::Cos,
            "cosh" => Self::Cosh,
            "deg" => Self::Deg,
            "exp" => Self::Exp,
            "floor" => Self::Floor,
            "ln" => Self::Ln,
            "log10" => Self::Log10,
            "log2" => Self::Log2,
            "rad" => Self::Rad,
            "sgn" => Self::Sgn,
            "sin" => Self::Sin,
            "sinh" => Self::Sinh,
            "sqrt" => Self::Sqrt,
            "tan" => Self::Tan,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    /// The function itself: looked up once per column, called in the loop.
    pub fn function(self) -> fn(f64) -> f64 {
        match self {
            Self::Abs => f64::abs,
            Self::Acos => f64::acos,
            Self::Acosh => f64::acosh,
            Self::Asin => f64::asin,
            Self::Asinh => f64::asinh,
            Self::Atan => f64::atan,
            Self::Atanh => f64::atanh,
            Self::Ceil => f64::ceil,
            Self::Cos => f64::cos,
            Self::Cosh => cosh,
            Self::Deg => |v| v * 180.0 / PI,
            Self::Exp => f64::exp,
            Self::Floor => f64::floor,
            Self::Ln => f64::ln,
            Self::Log10 => f64::log10,
            Self::Log2 => f64::log2,
            Self::Rad => |v| v * PI / 180.0,
            Self::Sgn => sign,
            Self::Sin => f64::sin,
            Self::Sinh => sinh,
            Self::Sqrt => f64::sqrt,
            Self::Tan => f64::tan,
            Self::Tanh => f64::tanh,
        }
    }
}

fn sinh(value: f64) -> f64 {
    if value.abs() > HALF_EXP_FROM { (value.abs().exp() * 0.5).copysign(value) } else { value.sinh() }
}

fn cosh(value: f64) -> f64 {
    if value.abs() > HALF_EXP_FROM { value.abs().exp() * 0.5 } else { value.cosh() }
}

/// Zeros and NaN stay what they are.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// To the nearest multiple; ties up. Multiplying by the inverse is what Prometheus does.
pub fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// `max(low, min(high, value))` where any NaN wins.
pub fn clamp(value: f64, low: f64, high: f64) -> f64 {
    maximum(low, minimum(high, value))
}

/// The lesser; NaN if either is, and -0 before 0.
pub fn minimum(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && b == 0.0 {
        return if a.is_sign_negative() { a } else { b };
    }
    if a < b { a } else { b }
}

/// The greater; NaN if either is, and 0 before -0.
pub fn maximum(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && b == 0.0 {
        return if a.is_sign_negative() { b } else { a };
    }
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_round_up_and_nan_survives_a_clamp() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(0.7, 0.5), 0.5);
        assert!(clamp(f64::NAN, 0.0, 1.0).is_nan());
        assert_eq!(clamp(5.0, 0.0, 1.0), 1.0);
        assert_eq!(clamp(5.0, f64::NEG_INFINITY, f64::INFINITY), 5.0);
    }

    #[test]
    fn hyperbolic_functions_overflow_where_the_exponential_does() {
        assert_eq!(sinh(710.0), f64::INFINITY);
        assert_eq!(sinh(-710.0), f64::NEG_INFINITY);
        assert_eq!(cosh(-710.0), f64::INFINITY);
        assert_eq!(sinh(-709.0), -0.5 * 709f64.exp());
        assert_eq!(cosh(1.0), 1f64.cosh());
        assert!(sinh(f64::NAN).is_nan());
        assert!(sinh(-0.0).is_sign_negative());
    }

    #[test]
    fn the_sign_of_zero_and_nan_is_theirs() {
        assert!(sign(-0.0).is_sign_negative());
        assert!(sign(f64::NAN).is_nan());
    }
}
