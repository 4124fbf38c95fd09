//! Columns of floats: decimals become integers, true doubles are XORed.
//!
//! Most metrics are decimals with few digits: counts, bytes, seconds printed with three places.
//! The encoder looks for a power of ten that makes the column integers which, divided by it, give
//! the same bits again; powers of two common to all are shifted out. What does not fit (staleness
//! markers, other NaN, infinities, −0, a stray double) is listed apart. Every value is checked to
//! come back to the bit before it is taken for a decimal.

use super::integers::{put_integers, take_integers};
use super::xor::{put_xor, take_xor};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;

/// The codec: a column's first byte.
const RAW: u8 = 0;
const XOR: u8 = 1;
const DECIMAL: u8 = 2;

/// Bits of a decimal column's second byte beside the exponent.
const EXPONENT_MASK: u8 = 0x1f;
const SHIFTED: u8 = 0x20;
const EXCEPTIONS: u8 = 0x40;

/// Powers of ten that a double holds exactly and that are tried.
const POWERS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// Appends a column of at least one float.
pub fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    debug_assert!(!values.is_empty());
    let start = out.len();
    if let Some(exponent) = find_exponent(values) {
        put_decimals(out, values, exponent);
    }
    // Decimals of many digits are hardly smaller than doubles: then both are tried.
    let worth_a_try = values.len() * 5;
    let decimal_bytes = out.len() - start;
    if decimal_bytes != 0 && decimal_bytes < worth_a_try {
        return;
    }
    let xor_start = out.len();
    out.push(XOR);
    put_xor(out, values);
    let xor_bytes = out.len() - xor_start;
    if decimal_bytes != 0 && decimal_bytes <= xor_bytes {
        out.truncate(xor_start);
    } else {
        out.drain(start..xor_start);
    }
    if out.len() - start > 1 + 8 * values.len() {
        out.truncate(start);
        out.push(RAW);
        out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    }
}

/// Takes a column of `count` floats that fills `bytes` and appends them to `out`. The caller has
/// made sure that so many may be allocated.
pub fn take_floats(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    if count == 0 {
        return Err(Malformed("a column without values"));
    }
    let mut cursor = Cursor::new(bytes);
    match cursor.u8()? {
        RAW => {
            if cursor.len() != count.saturating_mul(8) {
                return Err(Malformed("raw floats are not as many as they should be"));
            }
            let bits = |chunk: &[u8; 8]| f64::from_bits(u64::from_le_bytes(*chunk));
            out.extend(cursor.rest().as_chunks::<8>().0.iter().map(bits));
            Ok(())
        }
        XOR => {
            // Every float but the first takes at least one bit.
            if count > cursor.len().saturating_mul(8) {
                return Err(Malformed("floats end too early"));
            }
            out.reserve(count);
            take_xor(cursor.rest(), count, out)
        }
        DECIMAL => take_decimals(&mut cursor, count, out),
        _ => Err(Malformed("unknown codec of a float column")),
    }
}

#[inline]
fn to_integer(value: f64, exponent: usize) -> Option<i64> {
    let integer = (value * POWERS[exponent]).round_ties_even() as i64;
    let same = (integer as f64 / POWERS[exponent]).to_bits() == value.to_bits();
    same.then_some(integer)
}

/// NaN, infinities and −0 are never decimals, whatever the exponent.
fn is_special(value: f64) -> bool {
    !value.is_finite() || value.to_bits() == (-0.0f64).to_bits()
}

/// The exponent that makes integers of all values but a few; `None` where they are true doubles.
fn find_exponent(values: &[f64]) -> Option<usize> {
    let misfits_max = values.len() / 8;
    let specials_max = values.len() / 2 + 1;
    let (mut misfits, mut specials) = (0, 0);
    let mut exponent = 0;
    for value in values {
        if to_integer(*value, exponent).is_some() {
            continue;
        }
        if is_special(*value) {
            specials += 1;
        } else {
            match (exponent + 1..POWERS.len()).find(|e| to_integer(*value, *e).is_some()) {
                Some(larger) => exponent = larger,
                None => misfits += 1,
            }
        }
        if misfits > misfits_max || specials > specials_max {
            return None;
        }
    }
    Some(exponent)
}

fn put_decimals(out: &mut Vec<u8>, values: &[f64], exponent: usize) {
    let mut integers = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    let (mut last, mut all) = (0, 0);
    for (at, value) in values.iter().enumerate() {
        match to_integer(*value, exponent) {
            Some(integer) => {
                last = integer;
                all |= integer;
            }
            // The integer before is repeated: the cheapest filling.
            None => exceptions.push((at, value.to_bits())),
        }
        integers.push(last);
    }
    // Exceptions at the front repeat what follows them.
    if let Some(first) = (0..values.len()).find(|at| exceptions.get(*at).is_none_or(|(e, _)| e != at)) {
        let filling = integers[first];
        integers[..first].fill(filling);
    }
    let shift = if all == 0 { 0 } else { all.trailing_zeros() as u8 };
    if shift > 0 {
        integers.iter_mut().for_each(|integer| *integer >>= shift);
    }
    out.push(DECIMAL);
    let mut head = exponent as u8;
    head |= if shift > 0 { SHIFTED } else { 0 };
    head |= if exceptions.is_empty() { 0 } else { EXCEPTIONS };
    out.push(head);
    if shift > 0 {
        out.push(shift);
    }
    if !exceptions.is_empty() {
        put_exceptions(out, &exceptions);
    }
    put_integers(out, &integers);
}

/// Count and whether all have equal bits, gaps between positions, then the bits.
fn put_exceptions(out: &mut Vec<u8>, exceptions: &[(usize, u64)]) {
    let one_for_all = exceptions.iter().all(|(_, bits)| *bits == exceptions[0].1);
    put_u64(out, (exceptions.len() as u64) << 1 | u64::from(one_for_all));
    let mut next = 0;
    for (at, _) in exceptions {
        put_u64(out, (at - std::mem::replace(&mut next, at + 1)) as u64);
    }
    let distinct = if one_for_all { 1 } else { exceptions.len() };
    for (_, bits) in &exceptions[..distinct] {
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn take_decimals(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    let head = cursor.u8()?;
    let exponent = usize::from(head & EXPONENT_MASK);
    let power = *POWERS.get(exponent).ok_or(Malformed("unknown exponent of a float column"))?;
    if head & !(EXPONENT_MASK | SHIFTED | EXCEPTIONS) != 0 {
        return Err(Malformed("unknown flag of a float column"));
    }
    let shift = if head & SHIFTED != 0 { u32::from(cursor.u8()?) } else { 0 };
    if shift > 63 {
        return Err(Malformed("a shift of more than 63 bits"));
    }
    let exceptions = if head & EXCEPTIONS != 0 { take_exceptions(cursor, count)? } else { Vec::new() };
    let start = out.len();
    out.reserve(count);
    if exponent == 0 {
        take_integers(cursor, count, |block| out.extend(block.iter().map(|i| (i << shift) as f64)))?;
    } else {
        take_integers(cursor, count, |block| out.extend(block.iter().map(|i| (i << shift) as f64 / power)))?;
    }
    for (at, bits) in exceptions {
        out[start + at] = f64::from_bits(bits);
    }
    cursor.end()
}

fn take_exceptions(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(usize, u64)>, Malformed> {
    let head = cursor.varint()?;
    let (many, one_for_all) = (head >> 1, head & 1 == 1);
    // Each takes a byte at least.
    if many == 0 || many > count.min(cursor.len()) as u64 {
        return Err(Malformed("too many exceptions of a float column"));
    }
    let mut exceptions = Vec::with_capacity(many as usize);
    let mut next = 0usize;
    for _ in 0..many {
        let at = next + cursor.count(count)?;
        if at >= count {
            return Err(Malformed("an exception beyond the end of its column"));
        }
        exceptions.push((at, 0));
        next = at + 1;
    }
    let mut bits = 0;
    for (at, exception) in exceptions.iter_mut().enumerate() {
        if at == 0 || !one_for_all {
            bits = cursor.u64_le()?;
        }
        exception.1 = bits;
    }
    Ok(exceptions)
}

#[cfg(test)]
mod tests;
