//! Families of buckets: rows that differ in `le` only hold what a bucket has more than the one
//! below.
//!
//! The buckets of a classic histogram are cumulative: each repeats everything below it. The
//! difference to the next lower one is a much smaller number. It is taken between the columns'
//! integers, exceptions apart, so that it comes back exactly whatever the values are.
//!
//! Owns one column; which rows make a family is the part's.

use std::ops::Range;

use super::decimals::{Decimals, end_of, take_whole};
use super::effort::Effort;
use super::exceptions::Exceptions;
use super::floats::{DECIMAL, DIFFERENCES};
use super::integers::{put_integers, take_integers_of};
use crate::encoding::cursor::{Cursor, Malformed};

/// Bits of a column's second byte.
const EXCEPTIONS: u8 = 1;

/// Whether an encoded float column can be the lowest of a family.
pub fn can_be_lowest(bytes: &[u8]) -> bool {
    matches!(bytes, [DECIMAL, head, ..] if head & 0x1f == 0)
}

/// Appends the differences between a column of whole numbers and the one below, which has as many.
pub fn put_differences(out: &mut Vec<u8>, column: &Decimals, below: &Decimals, effort: Effort) {
    debug_assert!(column.are_whole() && below.are_whole());
    out.push(DIFFERENCES);
    if column.exceptions().is_empty() {
        out.push(0);
    } else {
        out.push(EXCEPTIONS);
        column.exceptions().put(out);
    }
    let pairs = column.integers().iter().zip(below.integers());
    let differences: Vec<i64> = pairs.map(|(integer, below)| integer.wrapping_sub(*below)).collect();
    put_integers(out, &differences, effort);
}

/// Takes the lowest column of a family, of `count` values: the integers of the slots `wanted`, and
/// their values to `out`.
pub fn take_lowest(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    integers: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    if count == 0 || cursor.u8()? != DECIMAL {
        return Err(Malformed("a family's lowest bucket is not of whole numbers"));
    }
    take_whole(&mut cursor, count, wanted, integers, out)
}

/// Takes a column of `count` values above another: `integers` are those that the one below has in
/// the slots `wanted` and become its own, its values there go to `out`.
pub fn take_differences(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    integers: &mut [i64],
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    debug_assert_eq!(wanted.len(), integers.len());
    let mut cursor = Cursor::new(bytes);
    if count == 0 || cursor.u8()? != DIFFERENCES {
        return Err(Malformed("a bucket of a family is not a difference"));
    }
    let exceptions = take_exceptions(&mut cursor, count)?;
    let (start, mut at) = (out.len(), 0);
    take_integers_of(&mut cursor, count, wanted.clone(), |block| {
        let stretch = &mut integers[at..at + block.len()];
        at += block.len();
        for (integer, difference) in stretch.iter_mut().zip(block) {
            *integer = integer.wrapping_add(*difference);
        }
    })?;
    out.extend(integers.iter().map(|integer| *integer as f64));
    exceptions.lay_over(wanted.start, &mut out[start..]);
    end_of(&cursor, count, &wanted)
}

/// Takes the exceptions of a column above another, whose first byte is taken, and leaves the
/// differences.
pub(super) fn take_exceptions(cursor: &mut Cursor<'_>, count: usize) -> Result<Exceptions, Malformed> {
    match cursor.u8()? {
        0 => Ok(Exceptions::default()),
        EXCEPTIONS => Exceptions::take(cursor, count),
        _ => Err(Malformed("unknown flag of a bucket's differences")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::floats::put_floats;
    use crate::model::stale_nan;

    /// Encodes a family, decodes it again, gives the bytes of each column.
    fn round_trip(family: &[Vec<f64>], effort: Effort) -> Vec<usize> {
        let (mut sizes, mut integers) = (Vec::new(), Vec::new());
        let mut below: Option<Decimals> = None;
        for values in family {
            let column = Decimals::of(values).expect("whole numbers");
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            match &below {
                None => {
                    put_floats(&mut bytes, values, effort);
                    assert!(can_be_lowest(&bytes));
                    take_lowest(&bytes, values.len(), 0..values.len(), &mut integers, &mut back)
                        .expect("own bytes");
                }
                Some(below) => {
                    put_differences(&mut bytes, &column, below, effort);
                    take_differences(&bytes, values.len(), 0..values.len(), &mut integers, &mut back)
                        .expect("own bytes");
                }
            }
            assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
            assert_eq!(integers, column.integers());
            sizes.push(bytes.len());
            below = Some(column);
        }
        sizes
    }

    proptest! {
        #[test]
        fn families_come_back_to_the_bit(
            increments in prop::collection::vec(prop::collection::vec(0u32..9, 12..300), 1..6),
            stale in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
            effort in prop::sample::select(vec![Effort::Fresh, Effort::Merged]),
        ) {
            let len = increments.iter().map(Vec::len).min().unwrap_or(0);
            let mut family: Vec<Vec<f64>> = Vec::new();
            for own in &increments {
                let mut total = 0.0;
                let own: Vec<f64> = own[..len].iter().map(|i| { total += f64::from(*i); total }).collect();
                let sum = |(at, own): (usize, &f64)| own + family.last().map_or(0.0, |below| below[at]);
                family.push(own.iter().enumerate().map(sum).collect());
            }
            for (bucket, at) in &stale {
                let bucket = bucket.index(family.len());
                family[bucket][at.index(len)] = stale_nan();
            }
            round_trip(&family, effort);
        }

        #[test]
        fn any_bytes_are_a_bucket_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            codec in 0u8..6,
            below in prop::collection::vec(any::<i64>(), 0..500),
        ) {
            let mut framed = vec![codec];
            framed.extend(bytes);
            let (mut integers, mut values) = (below.clone(), Vec::new());
            let count = below.len();
            let _ = take_differences(&framed, count, 0..count, &mut integers, &mut values);
            prop_assert!(values.len() <= count);
            values.clear();
            let _ = take_lowest(&framed, count, 0..count, &mut integers, &mut values);
            prop_assert!(values.len() <= count);
        }
    }

    #[test]
    fn numbers_at_the_ends_of_what_integers_hold_come_back() {
        let lowest: Vec<f64> = (0..8).map(f64::from).collect();
        let highest = vec![9e18, -9e18, 3.0, f64::INFINITY, i64::MIN as f64, 0.0, 9e18, 1.0];
        round_trip(&[lowest.clone(), highest, lowest], Effort::Merged);
    }
}
