//! Floats as decimals: integers over a power of ten.
//!
//! Most metrics are decimals with few digits: counts, bytes, seconds printed with three places.
//! The encoder looks for a power of ten that makes the column integers which, divided by it, give
//! the same bits again; powers of two common to all are shifted out. What does not fit is an
//! exception. Every value is checked to come back to the bit before it is taken for a decimal.

use std::ops::Range;

use super::effort::Effort;
use super::exceptions::Exceptions;
use super::integers::{put_integers, take_integers_of};
use crate::encoding::cursor::{Cursor, Malformed};

/// Bits of a column's head beside the exponent.
const EXPONENT_MASK: u8 = 0x1f;
const SHIFTED: u8 = 0x20;
const EXCEPTIONS: u8 = 0x40;

/// Powers of ten that a double holds exactly and that are tried.
pub const POWERS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// A column that is decimals but for a few exceptions.
#[derive(Clone, Debug)]
pub struct Decimals {
    exponent: usize,
    /// In an exception's place the integer before is repeated, at the front the one behind.
    integers: Vec<i64>,
    exceptions: Exceptions,
}

impl Decimals {
    /// `None` where the values are true doubles.
    pub fn of(values: &[f64]) -> Option<Self> {
        if let Some(integers) = whole_numbers(values) {
            return Some(Self { exponent: 0, integers, exceptions: Exceptions::default() });
        }
        Self::searched(values)
    }

    /// As [`Self::of`], by the exponent that suits most values.
    fn searched(values: &[f64]) -> Option<Self> {
        let exponent = find_exponent(values)?;
        let mut integers = Vec::with_capacity(values.len());
        let mut exceptions = Exceptions::default();
        let mut last = 0;
        for (at, value) in values.iter().enumerate() {
            match to_integer(*value, exponent) {
                Some(integer) => last = integer,
                None => exceptions.push(at, *value),
            }
            integers.push(last);
        }
        let front = exceptions.at_front();
        if let Some(filling) = integers.get(front).copied() {
            integers[..front].fill(filling);
        }
        Some(Self { exponent, integers, exceptions })
    }

    /// Whether the integers are the values themselves.
    pub fn are_whole(&self) -> bool {
        self.exponent == 0
    }

    /// Places behind the point.
    pub fn exponent(&self) -> usize {
        self.exponent
    }

    pub fn integers(&self) -> &[i64] {
        &self.integers
    }

    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// Appends the column.
    pub fn put(&self, out: &mut Vec<u8>, effort: Effort) {
        let all = self.integers.iter().fold(0, |all, integer| all | integer);
        let shift = if all == 0 { 0 } else { all.trailing_zeros() as u8 };
        let mut head = self.exponent as u8;
        head |= if shift > 0 { SHIFTED } else { 0 };
        head |= if self.exceptions.is_empty() { 0 } else { EXCEPTIONS };
        out.push(head);
        if shift > 0 {
            out.push(shift);
        }
        if !self.exceptions.is_empty() {
            self.exceptions.put(out);
        }
        if shift > 0 {
            let shifted: Vec<i64> = self.integers.iter().map(|integer| integer >> shift).collect();
            put_integers(out, &shifted, effort);
        } else {
            put_integers(out, &self.integers, effort);
        }
    }
}

/// What stands before a column's integers.
struct Head {
    exponent: usize,
    shift: u32,
    exceptions: Exceptions,
}

fn take_head(cursor: &mut Cursor<'_>, count: usize) -> Result<Head, Malformed> {
    let head = cursor.u8()?;
    let exponent = usize::from(head & EXPONENT_MASK);
    if exponent >= POWERS.len() {
        return Err(Malformed("unknown exponent of a float column"));
    }
    if head & !(EXPONENT_MASK | SHIFTED | EXCEPTIONS) != 0 {
        return Err(Malformed("unknown flag of a float column"));
    }
    let shift = if head & SHIFTED != 0 { u32::from(cursor.u8()?) } else { 0 };
    if shift > 63 {
        return Err(Malformed("a shift of more than 63 bits"));
    }
    let exceptions =
        if head & EXCEPTIONS != 0 { Exceptions::take(cursor, count)? } else { Exceptions::default() };
    Ok(Head { exponent, shift, exceptions })
}

/// Takes a column of `count` values and appends those of the slots `wanted` to `out`.
pub fn take_decimals(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let Head { exponent, shift, exceptions } = take_head(cursor, count)?;
    let power = POWERS[exponent];
    let start = out.len();
    let of = wanted.clone();
    out.reserve(wanted.len());
    match (exponent, shift) {
        (0, 0) => take_integers_of(cursor, count, of, |block| out.extend(block.iter().map(|i| *i as f64)))?,
        (0, _) => take_integers_of(cursor, count, of, |block| {
            out.extend(block.iter().map(|i| (i << shift) as f64));
        })?,
        _ => take_integers_of(cursor, count, of, |block| {
            out.extend(block.iter().map(|i| (i << shift) as f64 / power));
        })?,
    }
    exceptions.lay_over(wanted.start, &mut out[start..]);
    end_of(cursor, count, &wanted)
}

/// That a column ends with its last slot, where that one was wanted.
pub(super) fn end_of(cursor: &Cursor<'_>, count: usize, wanted: &Range<usize>) -> Result<(), Malformed> {
    if wanted.end == count { cursor.end() } else { Ok(()) }
}

/// Takes the exceptions of a column of `count` values and leaves what it holds for all others.
pub fn take_exceptions(cursor: &mut Cursor<'_>, count: usize) -> Result<Exceptions, Malformed> {
    Ok(take_head(cursor, count)?.exceptions)
}

/// Takes a column of `count` values that are whole numbers: those of the slots `wanted` as integers,
/// and as floats to `out`.
pub fn take_whole(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    integers: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let Head { exponent, shift, exceptions } = take_head(cursor, count)?;
    if exponent != 0 {
        return Err(Malformed("a family's lowest bucket is not of whole numbers"));
    }
    let start = out.len();
    integers.clear();
    integers.reserve(wanted.len());
    out.reserve(wanted.len());
    let shifted = |block: &[i64]| integers.extend(block.iter().map(|i| i << shift));
    take_integers_of(cursor, count, wanted.clone(), shifted)?;
    out.extend(integers.iter().map(|integer| *integer as f64));
    exceptions.lay_over(wanted.start, &mut out[start..]);
    end_of(cursor, count, &wanted)
}

#[inline]
fn to_integer(value: f64, exponent: usize) -> Option<i64> {
    let integer = (value * POWERS[exponent]).round_ties_even() as i64;
    let same = (integer as f64 / POWERS[exponent]).to_bits() == value.to_bits();
    same.then_some(integer)
}

/// The values, if all of them are whole, as those of most columns are: without a quotient for each.
fn whole_numbers(values: &[f64]) -> Option<Vec<i64>> {
    let is_whole = |value: &f64| (*value as i64 as f64).to_bits() == value.to_bits();
    values.iter().all(is_whole).then(|| values.iter().map(|value| *value as i64).collect())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(column: Option<Decimals>) -> Option<Vec<u8>> {
        let column = column?;
        let mut bytes = Vec::new();
        column.put(&mut bytes, Effort::Fresh);
        Some(bytes)
    }

    proptest! {
        #[test]
        fn whole_columns_are_what_a_search_makes_of_them(
            values in prop::collection::vec(
                prop_oneof![
                    8 => (-1_000i64..1_000).prop_map(|integer| integer as f64),
                    4 => any::<i64>().prop_map(|integer| integer as f64),
                    1 => any::<f64>(),
                    1 => prop::sample::select(vec![-0.0, 9_223_372_036_854_775_808.0, f64::NAN, 1e300, 0.5]),
                ],
                1..20,
            ),
        ) {
            prop_assert_eq!(written(Decimals::of(&values)), written(Decimals::searched(&values)));
        }
    }
}
