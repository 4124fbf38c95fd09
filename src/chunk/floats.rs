//! Columns of floats: the codec that a column gets.
//!
//! Decimals become integers ([`super::decimals`]); true doubles are XORed ([`super::xor`]) or, when
//! they are merged, entropy-coded ([`super::doubles`]). Every candidate is bit-exact, so that size
//! decides, where one that is slower to decode must win by a margin.

use std::ops::Range;

use super::decimals::{self, Decimals, take_decimals};
use super::doubles::{self, put_doubles, take_doubles};
use super::effort::Effort;
use super::families;
use super::xor::{put_xor, take_xor};
use crate::encoding::cursor::{Cursor, Malformed};

/// The codec: a column's first byte.
const RAW: u8 = 0;
const XOR: u8 = 1;
pub(super) const DECIMAL: u8 = 2;
const DOUBLES: u8 = 3;
/// Of a family's bucket, read with the one below: see [`super::families`].
pub(super) const DIFFERENCES: u8 = 4;

/// Decimals that take fewer bytes a value are hardly doubles: then nothing else is tried.
const fn decimal_bytes_max(effort: Effort) -> usize {
    match effort {
        Effort::Fresh => 5,
        Effort::Merged => 3,
    }
}

/// Nobody prints so many places: small doubles happen to be decimals of them.
const DOUBLE_EXPONENT_MIN: usize = 13;

/// Columns shorter than this do not pay for an entropy coder's tables.
const DOUBLES_MIN: usize = 48;

/// Appends a column of at least one float.
pub fn put_floats(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    put_floats_of(out, values, Decimals::of(values).as_ref(), effort);
}

/// As [`put_floats`], of values whose decimals are known; `None` where they are true doubles.
pub fn put_floats_of(out: &mut Vec<u8>, values: &[f64], decimals: Option<&Decimals>, effort: Effort) {
    debug_assert!(!values.is_empty());
    let start = out.len();
    if let Some(decimals) = decimals {
        out.push(DECIMAL);
        decimals.put(out, effort);
        let may_be_doubles = effort == Effort::Merged && decimals.exponent() >= DOUBLE_EXPONENT_MIN;
        if !may_be_doubles && out.len() - start < values.len() * decimal_bytes_max(effort) {
            return;
        }
    }
    try_other(out, start, |out| {
        out.push(XOR);
        put_xor(out, values);
        true
    });
    if effort == Effort::Merged && values.len() >= DOUBLES_MIN {
        // As fast to decode as what is XORed: the smaller one wins.
        try_other(out, start, |out| {
            out.push(DOUBLES);
            put_doubles(out, values)
        });
    }
    if out.len() - start > 1 + 8 * values.len() {
        out.truncate(start);
        out.push(RAW);
        out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    }
}

/// Lets `put` append another form of what stands from `start` on and keeps the smaller of the two;
/// `put` says whether there is one.
fn try_other(out: &mut Vec<u8>, start: usize, put: impl FnOnce(&mut Vec<u8>) -> bool) {
    let other = out.len();
    let is_one = put(out);
    if is_one && (other == start || out.len() - other < other - start) {
        out.drain(start..other);
    } else {
        out.truncate(other);
    }
}

/// Takes a column of `count` floats that fills `bytes` and appends them to `out`. The caller has
/// made sure that so many may be allocated.
pub fn take_floats(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    take_floats_of(bytes, count, 0..count, out)
}

/// As [`take_floats`], of the slots `wanted` alone: what is before them is passed over as far as the
/// codec allows it, what is behind is not looked at.
pub fn take_floats_of(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut cursor = cursor_over(bytes, count, &wanted)?;
    match cursor.u8()? {
        RAW => take_raw(&cursor, count, wanted, out),
        XOR => {
            // Every float but the first takes at least one bit.
            if count > cursor.len().saturating_mul(8) {
                return Err(Malformed("floats end too early"));
            }
            out.reserve(wanted.len());
            take_xor(cursor.rest(), wanted, out)
        }
        DECIMAL => take_decimals(&mut cursor, count, wanted, out),
        DOUBLES => take_doubles(&mut cursor, count, wanted, out),
        DIFFERENCES => Err(Malformed("a bucket of a family without the one below")),
        _ => Err(Malformed("unknown codec of a float column")),
    }
}

/// As [`take_floats_of`] for whoever asks what there is and not how much: staleness markers are
/// where the column has them, and everything else is any other value. Most codecs set NaN apart and
/// need not be decoded, a bucket of a family not even with the one below.
pub fn take_presence(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut cursor = cursor_over(bytes, count, &wanted)?;
    let exceptions = match cursor.u8()? {
        DECIMAL => decimals::take_exceptions(&mut cursor, count)?,
        DOUBLES => doubles::take_exceptions(&mut cursor, count)?,
        DIFFERENCES => families::take_exceptions(&mut cursor, count)?,
        _ => return take_floats_of(bytes, count, wanted, out),
    };
    let start = out.len();
    out.resize(start + wanted.len(), 0.0);
    exceptions.lay_over(wanted.start, &mut out[start..]);
    Ok(())
}

fn cursor_over<'a>(bytes: &'a [u8], count: usize, wanted: &Range<usize>) -> Result<Cursor<'a>, Malformed> {
    debug_assert!(wanted.end <= count);
    if count == 0 {
        return Err(Malformed("a column without values"));
    }
    Ok(Cursor::new(bytes))
}

fn take_raw(
    cursor: &Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let values = cursor.rest().as_chunks::<8>().0;
    match values.get(wanted) {
        Some(values) if cursor.len() == count.saturating_mul(8) => {
            out.extend(values.iter().map(|bytes| f64::from_bits(u64::from_le_bytes(*bytes))));
            Ok(())
        }
        _ => Err(Malformed("raw floats are not as many as they should be")),
    }
}

#[cfg(test)]
mod tests;
