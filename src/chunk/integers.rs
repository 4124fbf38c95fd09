//! Columns of signed integers: constant, evenly stepped, or packed as offsets, deltas or deltas
//! of deltas, whichever is smallest; merged ones also as runs of equal integers ([`super::runs`])
//! or entropy-coded ([`super::binned`]).
//!
//! All arithmetic wraps, so that any integers and any bytes are fine.

use std::mem::replace;
use std::ops::Range;

use super::binned::{put_binned_column, take_binned_column};
use super::effort::Effort;
use super::packed::{BLOCK, bit_len, put_block, skip_block, take_block};
use super::runs::{put_runs, take_runs};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::{put_i64, unzigzag, zigzag};

/// How a column is laid down: its first byte.
const CONSTANT: u8 = 0;
const STEPS: u8 = 1;
const OFFSETS: u8 = 2;
const DELTAS: u8 = 3;
const DELTAS_OF_DELTAS: u8 = 4;
const BINNED: u8 = 5;
const RUNS: u8 = 6;

/// Packed columns of fewer bytes are not worth another try: an entropy coder's tables take some
/// tens.
const PACKED_BYTES_MIN: usize = 40;

/// Bytes of which an entropy-coded column must save one: it takes some times as long to decode.
const BYTES_PER_BYTE_SAVED: usize = 32;

/// Appends a column of at least one integer.
pub fn put_integers(out: &mut Vec<u8>, integers: &[i64], effort: Effort) {
    let start = out.len();
    put_packed(out, integers);
    if effort == Effort::Fresh || out.len() - start < PACKED_BYTES_MIN {
        return;
    }
    let runs = out.len();
    out.push(RUNS);
    let are_runs = put_runs(out, integers);
    keep_smaller(out, start, runs, are_runs, 0);
    put_if_smaller_binned(out, start, integers);
}

/// As [`put_integers`], for merged columns that are part of another: never runs.
pub(super) fn put_plain_integers(out: &mut Vec<u8>, integers: &[i64]) {
    let start = out.len();
    put_packed(out, integers);
    if out.len() - start >= PACKED_BYTES_MIN {
        put_if_smaller_binned(out, start, integers);
    }
}

fn put_if_smaller_binned(out: &mut Vec<u8>, start: usize, integers: &[i64]) {
    let margin = (out.len() - start).div_ceil(BYTES_PER_BYTE_SAVED);
    let binned = out.len();
    out.push(BINNED);
    let is_one = put_binned_column(out, integers);
    keep_smaller(out, start, binned, is_one, margin);
}

/// Keeps what stands from `other` on if it is a column and smaller, by a margin, than what stands
/// before it from `start` on.
fn keep_smaller(out: &mut Vec<u8>, start: usize, other: usize, is_one: bool, margin: usize) {
    if is_one && out.len() - other + margin <= other - start {
        out.drain(start..other);
    } else {
        out.truncate(other);
    }
}

fn put_packed(out: &mut Vec<u8>, integers: &[i64]) {
    debug_assert!(!integers.is_empty());
    let first = integers[0];
    let form = choose(integers);
    out.push(form);
    match form {
        CONSTANT => put_i64(out, first),
        STEPS => {
            put_i64(out, first);
            put_i64(out, integers[1].wrapping_sub(first));
        }
        OFFSETS => put_offsets(out, integers),
        DELTAS => {
            put_i64(out, first);
            let mut last = first;
            put_blocks(out, &integers[1..], |integer| {
                zigzag(integer.wrapping_sub(replace(&mut last, integer)))
            });
        }
        _ => {
            let (mut last, mut last_delta) = (integers[1], integers[1].wrapping_sub(first));
            put_i64(out, first);
            put_i64(out, last_delta);
            put_blocks(out, &integers[2..], |integer| {
                let delta = integer.wrapping_sub(replace(&mut last, integer));
                zigzag(delta.wrapping_sub(replace(&mut last_delta, delta)))
            });
        }
    }
}

/// Takes a column of `count` integers, at least one, and gives them in stretches.
pub fn take_integers(
    cursor: &mut Cursor<'_>,
    count: usize,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    take_integers_of(cursor, count, 0..count, each)
}

/// As [`take_integers`], of the slots `wanted` alone, of which there is one at least: those before
/// are passed over as far as the form allows it, and those behind are not looked at, so that the
/// cursor is at the column's end only where the last slot is wanted.
pub fn take_integers_of(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    match cursor.u8()? {
        RUNS => take_runs(cursor, count, wanted, each),
        form => take_form(form, cursor, count, wanted, each),
    }
}

/// Takes what [`put_plain_integers`] appended: anything but runs.
pub(super) fn take_plain_integers(
    cursor: &mut Cursor<'_>,
    count: usize,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    let form = cursor.u8()?;
    take_form(form, cursor, count, 0..count, each)
}

/// Gives `each` what is wanted of a column that comes in stretches.
pub(super) fn clipped<T>(wanted: Range<usize>, mut each: impl FnMut(&[T])) -> impl FnMut(&[T]) {
    let mut at = 0;
    move |stretch: &[T]| {
        let place = |slot: usize| slot.saturating_sub(at).min(stretch.len());
        let (from, to) = (place(wanted.start), place(wanted.end));
        at += stretch.len();
        if from < to {
            each(&stretch[from..to]);
        }
    }
}

fn take_form(
    form: u8,
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    mut each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    match form {
        OFFSETS => return take_offsets_of(cursor, count, wanted, each),
        BINNED => return take_binned_column(cursor, count, clipped::<i64>(wanted, each)),
        _ => {}
    }
    let first = cursor.zigzag()?;
    let mut block = [first; BLOCK];
    if form == CONSTANT || form == STEPS {
        let step = if form == STEPS { cursor.zigzag()? } else { 0 };
        let mut next = first.wrapping_add(step.wrapping_mul(wanted.start as i64));
        for start in wanted.clone().step_by(BLOCK) {
            if step != 0 {
                for integer in &mut block {
                    *integer = next;
                    next = next.wrapping_add(step);
                }
            }
            each(&block[..BLOCK.min(wanted.end - start)]);
        }
        return Ok(());
    }
    let end = wanted.end;
    let mut each = clipped::<i64>(wanted, each);
    let (mut last, mut delta) = (first, 0i64);
    let mut taken_before = 1;
    match form {
        DELTAS => each(&[first]),
        DELTAS_OF_DELTAS => {
            delta = cursor.zigzag()?;
            last = first.wrapping_add(delta);
            taken_before = count.min(2);
            each(&[first, last][..taken_before]);
        }
        _ => return Err(Malformed("unknown form of an integer column")),
    }
    let mut numbers = [0; BLOCK];
    for start in (taken_before..end).step_by(BLOCK) {
        let taken = BLOCK.min(count - start);
        take_block(cursor, taken, &mut numbers)?;
        if form == DELTAS {
            for (integer, number) in block.iter_mut().zip(&numbers) {
                last = last.wrapping_add(unzigzag(*number));
                *integer = last;
            }
        } else {
            for (integer, number) in block.iter_mut().zip(&numbers) {
                delta = delta.wrapping_add(unzigzag(*number));
                last = last.wrapping_add(delta);
                *integer = last;
            }
        }
        // A short block is unpacked to 64 numbers too, but it is the last one: what `last` has
        // become by then is not used again.
        each(&block[..taken]);
    }
    Ok(())
}

/// Appends integers as blocks of offsets from each block's least one.
pub fn put_offsets(out: &mut Vec<u8>, integers: &[i64]) {
    let mut last_base = 0;
    for block in integers.chunks(BLOCK) {
        let base = block.iter().copied().min().unwrap_or(0);
        put_i64(out, base.wrapping_sub(replace(&mut last_base, base)));
        put_blocks(out, block, |integer| integer.wrapping_sub(base) as u64);
    }
}

/// Takes what [`put_offsets`] appended.
pub fn take_offsets(
    cursor: &mut Cursor<'_>,
    count: usize,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    take_offsets_of(cursor, count, 0..count, each)
}

/// As [`take_offsets`], of the slots `wanted` alone: blocks before them are not unpacked.
fn take_offsets_of(
    cursor: &mut Cursor<'_>,
    count: usize,
    wanted: Range<usize>,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    let mut base = 0i64;
    let skipped = wanted.start / BLOCK * BLOCK;
    for _ in (0..skipped).step_by(BLOCK) {
        base = base.wrapping_add(cursor.zigzag()?);
        skip_block(cursor, BLOCK)?;
    }
    let end = wanted.end;
    let mut each = clipped::<i64>(wanted.start - skipped..end - skipped, each);
    let mut numbers = [0; BLOCK];
    let mut block = [0; BLOCK];
    for start in (skipped..end).step_by(BLOCK) {
        let taken = BLOCK.min(count - start);
        base = base.wrapping_add(cursor.zigzag()?);
        take_block(cursor, taken, &mut numbers)?;
        for (integer, number) in block.iter_mut().zip(&numbers) {
            *integer = base.wrapping_add(*number as i64);
        }
        each(&block[..taken]);
    }
    Ok(())
}

/// Bits that offsets from each block's least integer take, outliers not set apart.
pub fn offsets_bits(integers: &[i64]) -> usize {
    let block_bits = |block: &[i64]| {
        let (min, max) = block.iter().fold((i64::MAX, i64::MIN), |(min, max), i| (min.min(*i), max.max(*i)));
        block.len() * bit_len(max.wrapping_sub(min) as u64) + 16
    };
    integers.chunks(BLOCK).map(block_bits).sum()
}

fn put_blocks(out: &mut Vec<u8>, integers: &[i64], mut number_of: impl FnMut(i64) -> u64) {
    let mut numbers = [0; BLOCK];
    for block in integers.chunks(BLOCK) {
        for (number, integer) in numbers.iter_mut().zip(block) {
            *number = number_of(*integer);
        }
        put_block(out, &numbers[..block.len()]);
    }
}

/// The form with the fewest bits by the widest number of each block.
fn choose(integers: &[i64]) -> u8 {
    if integers.len() < 2 {
        return CONSTANT;
    }
    let (mut last, mut last_delta) = (integers[0], integers[1].wrapping_sub(integers[0]));
    let (mut delta_bits, mut second_bits) = (0, 0);
    let (mut any_delta, mut any_second) = (0, 0);
    for block in integers[1..].chunks(BLOCK) {
        let (mut deltas, mut seconds) = (0, 0);
        for integer in block {
            let delta = integer.wrapping_sub(last);
            deltas |= zigzag(delta);
            seconds |= zigzag(delta.wrapping_sub(last_delta));
            (last, last_delta) = (*integer, delta);
        }
        any_delta |= deltas;
        any_second |= seconds;
        delta_bits += block.len() * bit_len(deltas);
        second_bits += block.len() * bit_len(seconds);
    }
    if any_delta == 0 {
        return CONSTANT;
    }
    if any_second == 0 {
        return STEPS;
    }
    let offset_bits = offsets_bits(integers);
    if offset_bits < delta_bits.min(second_bits) {
        OFFSETS
    } else if delta_bits <= second_bits {
        DELTAS
    } else {
        DELTAS_OF_DELTAS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of the column, written with little effort and with much.
    fn round_trip(integers: &[i64]) -> [usize; 2] {
        [Effort::Fresh, Effort::Merged].map(|effort| {
            let mut bytes = Vec::new();
            put_integers(&mut bytes, integers, effort);
            let mut cursor = Cursor::new(&bytes);
            let mut back = Vec::new();
            let taken = take_integers(&mut cursor, integers.len(), |block| back.extend_from_slice(block));
            assert_eq!(taken, Ok(()));
            assert_eq!(back, integers);
            assert_eq!(cursor.end(), Ok(()));
            bytes.len()
        })
    }

    proptest! {
        #[test]
        fn any_integers_come_back(integers in prop::collection::vec(any::<i64>(), 1..300)) {
            round_trip(&integers);
        }

        #[test]
        fn walks_come_back(
            first in any::<i64>(),
            steps in prop::collection::vec(-100i64..1000, 0..300),
            factor in prop::sample::select(vec![0i64, 1, 1 << 20, i64::MAX]),
        ) {
            let mut last = first;
            let walk = std::iter::once(first).chain(steps.iter().map(|step| {
                last = last.wrapping_add(step.wrapping_mul(factor));
                last
            }));
            round_trip(&walk.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_integers_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            form in 0u8..8,
            count in 1usize..400,
        ) {
            let mut framed = vec![form];
            framed.extend(bytes);
            let mut given = 0;
            let _ = take_integers(&mut Cursor::new(&framed), count, |block| given += block.len());
            prop_assert!(given <= count);
        }
    }

    #[test]
    fn regular_columns_take_few_bytes() {
        let check = |integers: &[i64], bytes_max: usize| {
            let [bytes, merged_bytes] = round_trip(integers);
            assert!(merged_bytes <= bytes);
            assert!(bytes <= bytes_max, "{bytes} bytes for {:?}…", &integers[..3]);
        };
        check(&[5; 480], 2);
        check(&(0..480).map(|i| 1_000_000 + 15 * i).collect::<Vec<_>>(), 6);
        check(&(0..480).map(|i| 1_000 + i % 7 % 3).collect::<Vec<_>>(), 150);
        check(&(0..480).map(|i| i / 50).collect::<Vec<_>>(), 90);
    }

    #[test]
    fn merged_columns_of_skewed_numbers_are_smaller() {
        let noise = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64).leading_zeros();
        let [fresh, merged] = round_trip(&(0..1440).map(|i| 1_000 + i64::from(noise(i))).collect::<Vec<_>>());
        assert!(merged * 10 < fresh * 9, "{merged} bytes, packed {fresh}");
    }
}
