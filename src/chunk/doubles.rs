//! True doubles, which no decimal describes, entropy-coded: averages, sums of fractions, values
//! that were single precision once.

use std::ops::Range;

use super::decimals::end_of;
use super::entropy::{put_binned_floats, take_binned};
use super::exceptions::Exceptions;
use super::integers::clipped;
use crate::encoding::cursor::{Cursor, Malformed};

/// Bits of a column's head.
const EXCEPTIONS: u8 = 1;

/// Appends a column; says whether it could. Where it could not, `out` is as it was.
pub fn put_doubles(out: &mut Vec<u8>, values: &[f64]) -> bool {
    let start = out.len();
    let exceptions = exceptions_of(values);
    if exceptions.is_empty() {
        out.push(0);
        return put_binned_floats(out, values) || undo(out, start);
    }
    out.push(EXCEPTIONS);
    exceptions.put(out);
    // The value before is repeated: the cheapest filling.
    let mut last = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
    let fill = |value: &f64| {
        last = if value.is_finite() { *value } else { last };
        last
    };
    put_binned_floats(out, &values.iter().map(fill).collect::<Vec<_>>()) || undo(out, start)
}

fn undo(out: &mut Vec<u8>, start: usize) -> bool {
    out.truncate(start);
    false
}

/// NaN and infinities would widen the range of all.
fn exceptions_of(values: &[f64]) -> Exceptions {
    let mut exceptions = Exceptions::default();
    for (at, value) in values.iter().enumerate().filter(|(_, value)| !value.is_finite()) {
        exceptions.push(at, *value);
    }
    exceptions
}

/// Takes a column of `count` values and appends those of the slots `wanted` to `out`.
pub fn take_doubles(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let exceptions = take_exceptions(cursor, count)?;
    let start = out.len();
    out.reserve(wanted.len());
    let into_out = |batch: &[f64]| out.extend_from_slice(batch);
    take_binned::<f64>(cursor, count, clipped::<f64>(wanted.clone(), into_out))?;
    exceptions.lay_over(wanted.start, &mut out[start..]);
    end_of(cursor, count, &wanted)
}

/// Takes the exceptions of a column of `count` values, every NaN among them, and leaves what it
/// holds for all others.
pub fn take_exceptions(cursor: &mut Cursor<'_>, count: usize) -> Result<Exceptions, Malformed> {
    match cursor.u8()? {
        0 => Ok(Exceptions::default()),
        EXCEPTIONS => Exceptions::take(cursor, count),
        _ => Err(Malformed("unknown flag of a column of doubles")),
    }
}
