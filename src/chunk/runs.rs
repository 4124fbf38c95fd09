//! Runs of equal integers: what each repeats and how often, as two columns.
//!
//! For what seldom changes: a gauge that holds its value between two events, a counter of rare
//! ones. It is read in a fraction of the time that a code for every integer takes.

use std::ops::Range;

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

/// Takes a column of `count` integers, at least one, and gives those of the slots `wanted` in
/// stretches.
pub fn take_runs(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
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
            let run = from.max(wanted.start)..end.min(wanted.end);
            from = end;
            if run.is_empty() {
                continue;
            }
            let repeated = [*value; BLOCK];
            for at in run.clone().step_by(BLOCK) {
                each(&repeated[..BLOCK.min(run.end - at)]);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Effort;
    use crate::chunk::integers::{put_integers, take_integers};

    fn taken(bytes: &[u8], count: usize) -> Result<Vec<i64>, Malformed> {
        let (mut cursor, mut back) = (Cursor::new(bytes), Vec::new());
        take_runs(&mut cursor, count, 0..count, |block| back.extend_from_slice(block))?;
        cursor.end()?;
        Ok(back)
    }

    fn column(repeats: &[i64], values: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, repeats.len() as u64);
        put_plain_integers(&mut bytes, repeats);
        put_plain_integers(&mut bytes, values);
        bytes
    }

    #[test]
    fn runs_of_any_length_come_back() {
        let integers: Vec<i64> =
            (0..40i64).flat_map(|i| vec![i * i - 500; 1 + (i as usize * 37) % 300]).collect();
        let mut bytes = Vec::new();
        assert!(put_runs(&mut bytes, &integers));
        assert_eq!(taken(&bytes, integers.len()), Ok(integers));
    }

    #[test]
    fn what_changes_often_is_not_worth_it() {
        let mut bytes = Vec::new();
        assert!(!put_runs(&mut bytes, &(0..600).map(|i| i / 2).collect::<Vec<_>>()));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_gauge_that_holds_its_value_takes_less_than_its_differences() {
        let noise = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i64 % 4_000;
        let held: Vec<i64> = (0..2_880u64).map(|i| 1 << 20 | noise(i / 5)).collect();
        let (mut merged, mut back) = (Vec::new(), Vec::new());
        put_integers(&mut merged, &held, Effort::Merged);
        let mut fresh = Vec::new();
        put_integers(&mut fresh, &held, Effort::Fresh);
        assert!(merged.len() * 3 < fresh.len(), "{} bytes, packed {}", merged.len(), fresh.len());
        let taken =
            take_integers(&mut Cursor::new(&merged), held.len(), |block| back.extend_from_slice(block));
        assert_eq!((taken, back), (Ok(()), held));
    }

    #[test]
    fn lengths_that_do_not_fill_the_column_are_refused() {
        assert_eq!(taken(&column(&[1, 2], &[7, 8]), 5), Ok(vec![7, 7, 8, 8, 8]));
        let other = Err(Malformed("runs are not as long as their column"));
        assert_eq!(taken(&column(&[1, 2], &[7, 8]), 6), other);
        assert_eq!(taken(&column(&[1, 2], &[7, 8]), 4), other);
        assert_eq!(taken(&column(&[i64::MAX, 1], &[7, 8]), 4), other);
        assert_eq!(taken(&column(&[-1, 2], &[7, 8]), 4), other);
        assert_eq!(taken(&[0], 4), Err(Malformed("a column of no runs")));
        assert!(taken(&column(&[0; 9], &[1; 9]), 8).is_err());
    }

    #[test]
    fn runs_within_runs_are_refused() {
        let mut bytes = vec![2, 6];
        bytes.extend(column(&[1], &[1]));
        assert_eq!(taken(&bytes, 4), Err(Malformed("unknown form of an integer column")));
    }
}
