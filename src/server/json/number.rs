//! Numbers as Go's `strconv` writes them: the shortest digits that read back.

/// Appends a sample value: `1.5`, `+Inf`, `NaN`; with an exponent below 1e-6 and from 1e21 on.
pub fn push_sample(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    let exponent = magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude);
    push_float(out, value, exponent);
}

/// Appends a number without an exponent, whatever its size: the form of scalar results.
pub fn push_plain(out: &mut Vec<u8>, value: f64) {
    push_float(out, value, false);
}

/// Appends a value as the text exposition has it: with an exponent below 1e-4 and from 1e6 on, and zero
/// without its sign.
pub fn push_exposed(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        out.push(b'0');
        return;
    }
    push_float(out, value, !(1e-4..1e6).contains(&magnitude));
}

/// Appends milliseconds as seconds: `1700000000`, `1700000000.050`.
pub fn push_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    let magnitude = timestamp_ms.unsigned_abs();
    push_integer(out, magnitude / 1000);
    let fraction = magnitude % 1000;
    if fraction != 0 {
        let digit = |n: u64| b'0' + n as u8;
        out.extend([b'.', digit(fraction / 100), digit(fraction / 10 % 10), digit(fraction % 10)]);
    }
}

pub fn push_integer(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[rest as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// `00` to `99`: half the divisions.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Whole numbers up to here are exact, and most samples are whole.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Where the printer of shortest digits sets the point as we do, unless the number is whole.
const PRINTED_AS_IS: std::ops::Range<f64> = 1e-4..1e15;

fn push_float(out: &mut Vec<u8>, value: f64, with_exponent: bool) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if !with_exponent && magnitude <= EXACT_INTEGER_MAX && magnitude.trunc() == magnitude {
        push_integer(out, magnitude as u64);
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let printed = buffer.format_finite(magnitude);
    if !with_exponent && PRINTED_AS_IS.contains(&magnitude) {
        out.extend_from_slice(printed.as_bytes());
        return;
    }
    let decimal = Decimal::read(printed);
    if with_exponent { decimal.push_scientific(out) } else { decimal.push_positional(out) }
}

/// Digits without zeros at either end, and the power of ten of the first of them.
struct Decimal {
    digits: [u8; 24],
    len: usize,
    exponent: i32,
}

impl Decimal {
    /// Reads a positive number in any notation.
    fn read(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().expect("printed exponents are integers");
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut decimal = Self { digits: [0; 24], len: 0, exponent: exponent + whole.len() as i32 - 1 };
        for digit in whole.bytes().chain(fraction.bytes()) {
            if decimal.len == 0 && digit == b'0' {
                decimal.exponent -= 1;
            } else if decimal.len < decimal.digits.len() {
                // Digits beyond the seventeenth are zeros that only place the point.
                decimal.digits[decimal.len] = digit;
                decimal.len += 1;
            }
        }
        while decimal.len > 1 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        decimal
    }

    fn push_scientific(&self, out: &mut Vec<u8>) {
        out.push(self.digits[0]);
        if self.len > 1 {
            out.push(b'.');
            out.extend_from_slice(&self.digits[1..self.len]);
        }
        out.extend_from_slice(if self.exponent < 0 { b"e-" } else { b"e+" });
        if self.exponent.abs() < 10 {
            out.push(b'0');
        }
        push_integer(out, u64::from(self.exponent.unsigned_abs()));
    }

    fn push_positional(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.len];
        match usize::try_from(self.exponent) {
            Ok(exponent) => {
                let whole = exponent + 1;
                out.extend_from_slice(&digits[..whole.min(digits.len())]);
                out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(digits.len())));
                if digits.len() > whole {
                    out.push(b'.');
                    out.extend_from_slice(&digits[whole..]);
                }
            }
            Err(_) => {
                out.extend_from_slice(b"0.");
                out.extend(std::iter::repeat_n(b'0', self.exponent.unsigned_abs() as usize - 1));
                out.extend_from_slice(digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn samples_print_as_in_go() {
        let check = |value: f64, want: &str| assert_eq!(text(|out| push_sample(out, value)), want);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.1, "0.1");
        check(0.30000000000000004, "0.30000000000000004");
        check(100.0, "100");
        check(123456789.125, "123456789.125");
        check(1e-6, "0.000001");
        check(9.999999e-7, "9.999999e-07");
        check(1e-7, "1e-07");
        check(1.5e-300, "1.5e-300");
        check(5e-324, "5e-324");
        check(1e15, "1000000000000000");
        check(1e20, "100000000000000000000");
        check(1.2345e20, "123450000000000000000");
        check(1e21, "1e+21");
        check(-1.5e21, "-1.5e+21");
        check(f64::MAX, "1.7976931348623157e+308");
        check(9007199254740992.0, "9007199254740992");
        check(9007199254740993.0, "9007199254740992");
        check(9007199254740994.0, "9007199254740994");
        check(18446744073709552000.0, "18446744073709552000");
        check(2.5e-5, "0.000025");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn scalars_have_no_exponent() {
        let check = |value: f64, want: &str| assert_eq!(text(|out| push_plain(out, value)), want);
        check(1e21, "1000000000000000000000");
        check(1.25e-7, "0.000000125");
        check(1e-10, "0.0000000001");
        check(-0.0, "-0");
    }

    #[test]
    fn exposed_values_have_an_exponent_sooner() {
        let check = |value: f64, want: &str| assert_eq!(text(|out| push_exposed(out, value)), want);
        check(-0.0, "0");
        check(1.0, "1");
        check(999_999.0, "999999");
        check(123_456.75, "123456.75");
        check(1e6, "1e+06");
        check(12_345_678.0, "1.2345678e+07");
        check(1_795_308_227_500.0, "1.7953082275e+12");
        check(1e-4, "0.0001");
        check(1e-5, "1e-05");
        check(5e-324, "5e-324");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn timestamps_have_three_decimals_or_none() {
        let check = |ms: i64, want: &str| assert_eq!(text(|out| push_timestamp(out, ms)), want);
        check(0, "0");
        check(1_700_000_000_000, "1700000000");
        check(1_700_000_000_781, "1700000000.781");
        check(1_700_000_000_050, "1700000000.050");
        check(1_100, "1.100");
        check(-500, "-0.500");
        check(i64::MIN, "-9223372036854775.808");
    }

    #[test]
    fn integers_print_whole() {
        let check = |number: u64| assert_eq!(text(|out| push_integer(out, number)), number.to_string());
        let mut power = 1u64;
        for _ in 0..20 {
            [power - 1, power, power + 1, power * 5 / 3].into_iter().for_each(check);
            power = power.saturating_mul(10).min(u64::MAX / 10);
        }
        check(u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_as_is_has_its_digits_and_its_point(
            mantissa in proptest::prelude::any::<u64>(),
            exponent in -5i32..17,
        ) {
            let value = mantissa as f64 / 1e20 * 10f64.powi(exponent);
            let mut buffer = zmij::Buffer::new();
            let placed = Decimal::read(buffer.format_finite(value));
            let want = text(|out| if value == 0.0 { out.push(b'0') } else { placed.push_positional(out) });
            proptest::prop_assert_eq!(text(|out| push_plain(out, value)), want);
        }

        #[test]
        fn every_text_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            let exposed = text(|out| push_exposed(out, value));
            proptest::prop_assert_eq!(exposed.parse::<f64>().expect("a number"), value);
            for printed in [text(|out| push_sample(out, value)), text(|out| push_plain(out, value))] {
                let back: f64 = printed.parse().expect("a number");
                proptest::prop_assert_eq!(back.to_bits(), bits, "{}", printed);
            }
        }
    }
}
