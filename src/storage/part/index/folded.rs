//! Hashes of a few numbers by one multiplication each, for a table that is asked twenty times a row.
//!
//! The factor is drawn for each table: whoever chooses the numbers cannot aim at one place of it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes the hashers of one table.
#[derive(Clone, Debug)]
pub struct FoldedState {
    factor: u64,
}

impl Default for FoldedState {
    fn default() -> Self {
        Self { factor: RandomState::new().hash_one("folded") | 1 }
    }
}

impl BuildHasher for FoldedState {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded { hash: self.factor.rotate_left(32), factor: self.factor }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Folded {
    hash: u64,
    factor: u64,
}

impl Folded {
    #[inline]
    fn fold(&mut self, number: u64) {
        let product = u128::from(self.hash.rotate_left(23) ^ number) * u128::from(self.factor);
        self.hash = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.fold(u64::from(*byte)));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    #[inline]
    fn write_i64(&mut self, number: i64) {
        self.fold(number as u64);
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.fold(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_numbers_spread_over_a_table() {
        let state = FoldedState::default();
        let hashes = || (0..1u32 << 16).map(|n| state.hash_one((20_000i64, n >> 10, n & 0x3ff)));
        // Tables choose a place by the lowest bits and compare the highest.
        for shift in [0, 54] {
            let mut places = vec![0u32; 1 << 10];
            hashes().for_each(|hash| places[(hash >> shift) as usize & 0x3ff] += 1);
            let most = places.iter().max().copied();
            assert!(most < Some(200), "64 each if all were even, {most:?} in one");
        }
    }
}
