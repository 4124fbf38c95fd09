//! Runs of equal integers: what each repeats and how often, as two columns.
//!
//! For what seldom changes: a gauge that holds its value between two events, a counter of rare
//! ones. It is read in a fraction of the time that a code for every integer takes.

use super::integers::{put_plain_integers, take_plain_integers};
use super::packed::BLOCK;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;

/// Integers that a run must have on average: of fewer, the lengths take more than they save.
const RUN_MEAN_MIN: usize = 3;

/// Appends a column; says whether it is worth it. Where it is not, nothing was appended.
pub fn put_runs(out: &mut Vec<u8>, integers: &[i64]) -> bool {
    let runs = integers.chunk_by(|a, b| a == b).count();
    if runs * RUN_MEAN_MIN > integers.len() {
        return false;
    }
    let (mut repeats, mut values) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for run in integers.chunk_by(|a, b| a == b) {
        repeats.push(run.len() as i64 - 1);
        values.push(run[0]);
    }
    put_u64(out, runs as u64);
    put_plain_integers(out, &repeats);
    put_plain_integers(out, &values);
    true
}

/// Takes a column of `count` integers, at least one, and gives them in stretches.
pub fn take_runs(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    let runs = cursor.count(count)?;
    if runs == 0 {
        return Err(Malformed("a column of no runs"));
    }
    let mut ends = Vec::with_capacity(runs);
    let (mut end, mut too_long) = (0usize, false);
    take_plain_integers(cursor, runs, |block| {
        for repeats in block {
            let len = usize::try_from(*repeats).unwrap_or(usize::MAX).saturating_add(1);
            end = end.saturating_add(len);
            ends.push(end);
            too_long |= end > count;
        }
    })?;
    if too_long || end != count {
        return Err(Malformed("runs are not as long as their column"));
    }
    let mut ends = ends.into_iter();
    let mut from = 0;
    take_plain_integers(cursor, runs, |block| {
        for (value, end) in block.iter().zip(&mut ends) {
            let repeated = [*value; BLOCK];
            for at in (from..end).step_by(BLOCK) {
                each(&repeated[..BLOCK.min(end - at)]);
            }
            from = end;
        }
    })
}
