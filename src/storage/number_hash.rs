//! Tables whose keys are numbers that we gave: one after the other, so that no sender aims them at one place.
//!
//! Made for those that are asked several times for each series of a question.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By numbers, or few of them together.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// See the module.
#[derive(Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_and_of_two_numbers_are_found_again() {
        let numbers = 0..10_000u32;
        let one: NumberMap<u32, u32> = numbers.clone().map(|number| (number, number + 1)).collect();
        let two: NumberMap<(u32, u32), u32> = numbers.map(|number| ((number / 7, number), number)).collect();

        assert_eq!((one.len(), two.len()), (10_000, 10_000));
        assert_eq!((one.get(&77), one.get(&10_000)), (Some(&78), None));
        assert_eq!((two.get(&(11, 77)), two.get(&(77, 11))), (Some(&77), None));
    }
}
