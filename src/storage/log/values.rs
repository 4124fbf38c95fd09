//! Float values, packed without loss: a code of four bits each, then the bytes that the codes ask for.
//!
//! Owns the sixteen codes. Does not look at the values around one: a log is written once and read
//! at most once, cheap counts for more than small.

use crate::encoding::varint::{unzigzag, zigzag};
use crate::model::sample::STALE_NAN_BITS;

use super::malformed::Malformed;

/// Codes 0..=7: a whole number, zigzag, in so many bytes.
const CODE_WHOLE_MAX: u8 = 7;
/// Codes 8..=12: thousandths, zigzag, in 2..=6 bytes. A quotient by 1000 is exact in IEEE arithmetic.
const CODE_THOUSANDTHS: u8 = 8;
const CODE_RAW: u8 = 13;
const CODE_STALE: u8 = 14;
/// The two highest bytes, the others zero: infinities, the usual NaN, negative zero.
const CODE_HIGH: u8 = 15;

/// Bytes that follow a code.
const CODE_BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 8, 0, 2];

/// Code and payload of a value.
#[inline]
fn code_of(value: f64) -> (u8, u64) {
    let bits = value.to_bits();
    let whole = value as i64;
    if (whole as f64).to_bits() == bits {
        let number = zigzag(whole);
        let bytes = bytes_of(number);
        if bytes <= CODE_WHOLE_MAX {
            return (bytes, number);
        }
    }
    if bits == STALE_NAN_BITS {
        return (CODE_STALE, 0);
    }
    if bits << 16 == 0 {
        return (CODE_HIGH, bits >> 48);
    }
    let thousandths = (value * 1000.0).round_ties_even() as i64;
    if (thousandths as f64 / 1000.0).to_bits() == bits {
        let number = zigzag(thousandths);
        let bytes = bytes_of(number).max(2);
        if bytes <= 6 {
            return (CODE_THOUSANDTHS + bytes - 2, number);
        }
    }
    (CODE_RAW, bits)
}

#[inline]
fn bytes_of(number: u64) -> u8 {
    (71 - number.leading_zeros() as u8) / 8
}

/// Appends the values: their codes, two a byte, then their payloads.
pub fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let codes_at = out.len();
    let mut at = codes_at + values.len().div_ceil(2);
    // Room for eight bytes each, so that every payload is one store of eight bytes.
    out.resize(at + 8 * values.len(), 0);
    for (index, value) in values.iter().enumerate() {
        let (code, payload) = code_of(*value);
        out[codes_at + index / 2] |= code << (4 * (index & 1));
        out[at..at + 8].copy_from_slice(&payload.to_le_bytes());
        at += usize::from(CODE_BYTES[usize::from(code)]);
    }
    out.truncate(at);
}

/// Takes `count` values off the front of `rest` and gives each to `each` with its position.
#[inline]
pub fn take_values(
    rest: &mut &[u8],
    count: usize,
    mut each: impl FnMut(usize, f64),
) -> Result<(), Malformed> {
    let cut = Malformed::What("values are cut off");
    let (codes, mut data) = rest.split_at_checked(count.div_ceil(2)).ok_or(cut)?;
    if count % 2 == 1 && codes[count / 2] >> 4 != 0 {
        return Err(Malformed::What("a value code follows the last value"));
    }
    for index in 0..count {
        let code = (codes[index / 2] >> (4 * (index & 1))) & 15;
        let bytes = usize::from(CODE_BYTES[usize::from(code)]);
        let payload = match data.first_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut padded = [0; 8];
                padded[..data.len()].copy_from_slice(data);
                u64::from_le_bytes(padded)
            }
        };
        data = data.get(bytes..).ok_or(cut)?;
        let payload = if bytes == 8 { payload } else { payload & ((1 << (8 * bytes)) - 1) };
        let value = match code {
            0..=CODE_WHOLE_MAX => unzigzag(payload) as f64,
            CODE_RAW => f64::from_bits(payload),
            CODE_STALE => f64::from_bits(STALE_NAN_BITS),
            CODE_HIGH => f64::from_bits(payload << 48),
            _ => unzigzag(payload) as f64 / 1000.0,
        };
        each(index, value);
    }
    *rest = data;
    Ok(())
}

/// Takes `count` values into a vector; the count is checked against the bytes there are.
pub fn take_values_vec(rest: &mut &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    if count.div_ceil(2) > rest.len() {
        return Err(Malformed::What("more values than bytes"));
    }
    let mut values = Vec::with_capacity(count);
    take_values(rest, count, |_, value| values.push(value))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut bytes = vec![9];
        put_values(&mut bytes, values);
        let mut rest = &bytes[1..];
        let back = take_values_vec(&mut rest, values.len()).expect("own bytes");
        assert!(rest.is_empty());
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values), "{values:?}");
        bytes.len() - 1
    }

    #[test]
    fn values_come_back_to_the_bit_in_few_bytes() {
        let check = |value: f64, want: usize| assert_eq!(round_trip(&[value]), 1 + want, "{value}");
        check(0.0, 0);
        check(1.0, 1);
        check(-128.0, 1);
        check(300.0, 2);
        check(1e15, 7);
        check(-0.0, 2);
        check(0.5, 2);
        check(f64::INFINITY, 2);
        check(f64::from_bits(STALE_NAN_BITS), 0);
        check(f64::NAN, 2);
        check(f64::from_bits(0x7ff8_0000_0000_0001), 8);
        check(12_345.67, 4);
        check(0.1 + 0.2, 8);
        check(f64::MAX, 8);
        check(f64::MIN_POSITIVE, 2);
        check(f64::from_bits(1), 8);
        check(i64::MAX as f64, 2);
        check((1i64 << 53) as f64 + 2.0, 7);
    }

    #[test]
    fn values_that_are_cut_off_are_refused() {
        let mut bytes = Vec::new();
        put_values(&mut bytes, &[1e9, 0.1 + 0.2, 3.0]);
        for len in 0..bytes.len() {
            assert!(take_values_vec(&mut &bytes[..len], 3).is_err(), "{len}");
        }
        assert!(take_values_vec(&mut [0x10].as_slice(), 1).is_err(), "a second code");
    }

    proptest! {
        #[test]
        fn any_values_come_back(
            values in prop::collection::vec(
                prop_oneof![
                    any::<u64>().prop_map(f64::from_bits),
                    any::<i64>().prop_map(|v| v as f64),
                    (any::<i64>(), 0u32..63, 0i32..5).prop_map(|(v, s, e)| (v >> s) as f64 / 10f64.powi(e)),
                ],
                0..70,
            )
        ) {
            round_trip(&values);
        }
    }
}
