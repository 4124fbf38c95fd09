//! Entropy-coded columns of integers: differences of the order that suits them, in the narrowest
//! type, handed to [`super::entropy`].
//!
//! The narrow type matters: an entropy coder's table names each bin's lowest number in full, and
//! a column of some hundred samples has to earn that table.

use std::mem::replace;

use super::entropy::{Binned, put_binned_integers, take_binned};
use super::packed::bit_len;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::{put_i64, zigzag};

/// Orders of differences: none, differences, differences of differences.
const ORDERS: usize = 3;

/// An order is tried beside the best one if its bits are estimated at no more than this many
/// tenths of the best.
const NEAR_TENTHS: usize = 12;

/// Appends a column; says whether it could. Where it could not, `out` may have grown.
pub fn put_binned_column(out: &mut Vec<u8>, integers: &[i64]) -> bool {
    let start = out.len();
    let mut smallest = None;
    for order in worthwhile_orders(integers) {
        let begun = out.len();
        if !put_order(out, integers, order) {
            out.truncate(begun);
            continue;
        }
        let bytes = out.len() - begun;
        if smallest.is_none_or(|smallest| bytes < smallest) {
            out.drain(start..begun);
            smallest = Some(bytes);
        } else {
            out.truncate(begun);
        }
    }
    smallest.is_some()
}

/// The order of the fewest bits by estimate and those near it.
fn worthwhile_orders(integers: &[i64]) -> Vec<usize> {
    let mut bits = [0usize; ORDERS];
    // What varies around a level is measured from one of its values: any will do.
    let level = integers[integers.len() / 2];
    let (mut last, mut last_delta) = (integers[0], 0i64);
    for integer in integers {
        let delta = integer.wrapping_sub(last);
        bits[0] += bit_len(zigzag(integer.wrapping_sub(level)));
        bits[1] += bit_len(zigzag(delta));
        bits[2] += bit_len(zigzag(delta.wrapping_sub(last_delta)));
        (last, last_delta) = (*integer, delta);
    }
    let best = bits.iter().min().copied().unwrap_or(0);
    let near = |order: &usize| bits[*order] * 10 <= best * NEAR_TENTHS && *order < integers.len();
    (0..ORDERS).filter(near).collect()
}

fn put_order(out: &mut Vec<u8>, integers: &[i64], order: usize) -> bool {
    let mut numbers = integers.to_vec();
    let mut firsts = [0i64; ORDERS];
    for first in &mut firsts[..order] {
        *first = numbers[0];
        for at in 1..numbers.len() {
            numbers[at - 1] = numbers[at].wrapping_sub(numbers[at - 1]);
        }
        numbers.pop();
    }
    let base = numbers.iter().copied().min().unwrap_or(0);
    let most = numbers.iter().map(|number| number.wrapping_sub(base) as u64).max().unwrap_or(0);
    let head = out.len();
    out.push(order as u8);
    firsts[..order].iter().for_each(|first| put_i64(out, *first));
    put_i64(out, base);
    let (class, put): (u8, bool) = match most {
        0..=0xff => (0, put_narrow(out, &numbers, base, |n| n as u8)),
        0x100..=0xffff => (1, put_narrow(out, &numbers, base, |n| n as u16)),
        0x1_0000..=0xffff_ffff => (2, put_narrow(out, &numbers, base, |n| n as u32)),
        _ => (3, put_narrow(out, &numbers, base, |n| n)),
    };
    out[head] |= class << 2;
    put
}

fn put_narrow<T: Binned>(out: &mut Vec<u8>, numbers: &[i64], base: i64, narrow: impl Fn(u64) -> T) -> bool {
    let narrowed: Vec<T> = numbers.iter().map(|number| narrow(number.wrapping_sub(base) as u64)).collect();
    put_binned_integers(out, &narrowed)
}

/// Takes a column of `count` integers, at least one, and gives them in stretches.
pub fn take_binned_column(
    cursor: &mut Cursor<'_>,
    count: usize,
    each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    let head = cursor.u8()?;
    let (order, class) = (usize::from(head & 3), head >> 2);
    if order >= ORDERS || order >= count || class > 3 {
        return Err(Malformed("unknown form of an entropy-coded column"));
    }
    let mut sums = Sums { order, sums: [0; ORDERS], base: 0 };
    for sum in &mut sums.sums[..order] {
        *sum = cursor.zigzag()?;
    }
    sums.base = cursor.zigzag()?;
    match class {
        0 => sums.take(cursor, count, |n: u8| u64::from(n), each),
        1 => sums.take(cursor, count, |n: u16| u64::from(n), each),
        2 => sums.take(cursor, count, |n: u32| u64::from(n), each),
        _ => sums.take(cursor, count, |n: u64| n, each),
    }
}

/// What differences are added to.
struct Sums {
    order: usize,
    /// The next integer and, for order 2, the next difference.
    sums: [i64; ORDERS],
    base: i64,
}

impl Sums {
    fn take<T: Binned>(
        mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        widen: impl Fn(T) -> u64,
        mut each: impl FnMut(&[i64]),
    ) -> Result<(), Malformed> {
        let mut stretch = [0i64; pco::FULL_BATCH_N];
        let base = self.base;
        let [mut sum, mut delta, _] = self.sums;
        take_binned(cursor, count - self.order, |numbers: &[T]| {
            let stretch = &mut stretch[..numbers.len()];
            for (integer, number) in stretch.iter_mut().zip(numbers) {
                *integer = base.wrapping_add(widen(*number) as i64);
            }
            match self.order {
                0 => {}
                1 => {
                    for integer in &mut *stretch {
                        let next = sum.wrapping_add(*integer);
                        *integer = replace(&mut sum, next);
                    }
                }
                _ => {
                    for integer in &mut *stretch {
                        let next = delta.wrapping_add(*integer);
                        let step = replace(&mut delta, next);
                        let ahead = sum.wrapping_add(step);
                        *integer = replace(&mut sum, ahead);
                    }
                }
            }
            each(stretch);
        })?;
        // Differences are fewer than integers: what they lead to comes last.
        self.sums = [sum, sum.wrapping_add(delta), 0];
        if self.order > 0 {
            each(&self.sums[..self.order]);
        }
        Ok(())
    }
}
