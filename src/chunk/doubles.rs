//! True doubles, which no decimal describes, entropy-coded: averages, sums of fractions, values
//! that were single precision once.

use super::entropy::{put_binned_floats, take_binned};
use super::exceptions::Exceptions;
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

/// Takes a column of `count` values and appends them to `out`.
pub fn take_doubles(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    let exceptions = match cursor.u8()? {
        0 => Exceptions::default(),
        EXCEPTIONS => Exceptions::take(cursor, count)?,
        _ => return Err(Malformed("unknown flag of a column of doubles")),
    };
    let start = out.len();
    out.reserve(count);
    take_binned(cursor, count, |batch: &[f64]| out.extend_from_slice(batch))?;
    exceptions.lay_over(&mut out[start..]);
    cursor.end()
}
