//! Exceptions of a float column: values that its codec does not describe, by position and bits.
//!
//! Staleness markers, other NaN, infinities, −0, a stray double among decimals. The column holds
//! something cheap in their place, over which they are laid.

use std::mem::replace;

use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;
use crate::model::STALE_NAN_BITS;

/// What follows the positions: the lowest two bits of a list's head.
const OWN_BITS: u64 = 0;
const EQUAL_BITS: u64 = 1;
const STALENESS_MARKERS: u64 = 2;

/// Positions, ascending, and bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<(usize, u64)>);

impl Exceptions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one behind those there are.
    pub fn push(&mut self, at: usize, value: f64) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < at));
        self.0.push((at, value.to_bits()));
    }

    /// How many of the column's first values are exceptions.
    pub fn at_front(&self) -> usize {
        self.0.iter().zip(0..).take_while(|((at, _), front)| at == front).count()
    }

    /// Appends at least one: count and kind, gaps between positions, bits.
    pub fn put(&self, out: &mut Vec<u8>) {
        let one_for_all = self.0.iter().all(|(_, bits)| *bits == self.0[0].1);
        let (kind, listed) = match (one_for_all, self.0[0].1) {
            (true, STALE_NAN_BITS) => (STALENESS_MARKERS, 0),
            (true, _) => (EQUAL_BITS, 1),
            (false, _) => (OWN_BITS, self.0.len()),
        };
        put_u64(out, (self.0.len() as u64) << 2 | kind);
        let mut next = 0;
        for (at, _) in &self.0 {
            put_u64(out, (at - replace(&mut next, at + 1)) as u64);
        }
        for (_, bits) in &self.0[..listed] {
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }

    /// Takes those of a column of `count` values.
    pub fn take(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, Malformed> {
        let head = cursor.varint()?;
        let (many, kind) = (head >> 2, head & 3);
        if kind > STALENESS_MARKERS {
            return Err(Malformed("unknown kind of exceptions of a float column"));
        }
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
        let mut bits = if kind == EQUAL_BITS { cursor.u64_le()? } else { STALE_NAN_BITS };
        for exception in &mut exceptions {
            if kind == OWN_BITS {
                bits = cursor.u64_le()?;
            }
            exception.1 = bits;
        }
        Ok(Self(exceptions))
    }

    /// Lays them over the stretch of their column that begins with a slot.
    pub fn lay_over(&self, first_slot: usize, stretch: &mut [f64]) {
        for (at, bits) in &self.0 {
            let in_stretch = at.checked_sub(first_slot).and_then(|at| stretch.get_mut(at));
            if let Some(value) = in_stretch {
                *value = f64::from_bits(*bits);
            }
        }
    }
}
