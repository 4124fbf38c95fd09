//! Columns of start timestamps: mostly one value, or a few for long stretches.

use super::effort::Effort;
use super::integers::{put_integers, take_integers};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::{put_i64, put_u64};

/// How a column is laid down: its first byte.
const RUNS: u8 = 0;
const INTEGERS: u8 = 1;

/// Appends a column of at least one start timestamp; 0 is "none given".
pub fn put_starts(out: &mut Vec<u8>, starts_ms: &[i64]) {
    let runs = || starts_ms.chunk_by(|a, b| a == b);
    if runs().count() > 1 + starts_ms.len() / 16 {
        out.push(INTEGERS);
        put_integers(out, starts_ms, Effort::Fresh);
        return;
    }
    out.push(RUNS);
    let mut last = 0;
    for run in runs() {
        put_u64(out, run.len() as u64);
        put_i64(out, run[0].wrapping_sub(std::mem::replace(&mut last, run[0])));
    }
}

/// Takes a column of `count` start timestamps off the front of the cursor.
pub fn take_starts(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), Malformed> {
    match cursor.u8()? {
        RUNS => {
            let (mut left, mut start_ms) = (count, 0i64);
            while left > 0 {
                let run = cursor.count(left)?;
                if run == 0 {
                    return Err(Malformed("an empty run of start timestamps"));
                }
                start_ms = start_ms.wrapping_add(cursor.zigzag()?);
                out.extend(std::iter::repeat_n(start_ms, run));
                left -= run;
            }
            Ok(())
        }
        INTEGERS if count > 0 => {
            out.reserve(count);
            take_integers(cursor, count, |block| out.extend_from_slice(block))
        }
        _ => Err(Malformed("unknown form of a start timestamp column")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn start_timestamps_come_back(
            runs in prop::collection::vec((any::<i64>(), 1usize..60), 1..20),
            each in any::<bool>(),
        ) {
            let starts_ms: Vec<i64> = match each {
                true => runs.iter().map(|(start, _)| *start).collect(),
                false => runs.iter().flat_map(|(start, len)| vec![*start; *len]).collect(),
            };
            let mut bytes = Vec::new();
            put_starts(&mut bytes, &starts_ms);

            let (mut cursor, mut back) = (Cursor::new(&bytes), Vec::new());
            prop_assert_eq!(take_starts(&mut cursor, starts_ms.len(), &mut back), Ok(()));
            prop_assert_eq!(back, starts_ms);
            prop_assert_eq!(cursor.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_starts_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0usize..1000) {
            let mut starts_ms = Vec::new();
            let _ = take_starts(&mut Cursor::new(&bytes), count, &mut starts_ms);
            prop_assert!(starts_ms.len() <= count);
        }
    }
}
