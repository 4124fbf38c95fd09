//! Names that nobody else makes.
//!
//! Owns how randomness becomes names. The seed is drawn from the system's random source at process start,
//! or given by a simulation. The upper bits are the time, so that a listing shows age to people; nothing
//! that protects data reads the time back.

use xxhash_rust::xxh3::xxh3_128;

use crate::encoding::log_file::LogId;

/// A source of fresh names for one process.
#[derive(Clone, Debug)]
pub struct FreshIds {
    seed: [u8; 32],
    drawn: u64,
}

impl FreshIds {
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Another source, for a script of its own.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.draw().to_le_bytes());
        seed[16..].copy_from_slice(&self.draw().to_le_bytes());
        Self::from_seed(seed)
    }

    /// The name of a log: 32 bits of time, 96 random ones.
    pub fn log(&mut self, wall_ms: i64) -> LogId {
        let seconds = (wall_ms.div_euclid(1000) as u128) << 96;
        LogId((seconds | (self.draw() >> 32)).to_be_bytes())
    }

    /// The name of a block, record or tombstone: 48 bits of time, 80 random ones.
    pub fn object(&mut self, wall_ms: i64) -> u128 {
        ((wall_ms as u128) << 80) | (self.draw() >> 48)
    }

    /// The time in the name of a block, record or tombstone, by the clock of whoever made it: for people.
    pub fn time_ms(object: u128) -> i64 {
        (object >> 80) as i64
    }

    /// The time in the name of a log, to the second.
    pub fn log_time_ms(log: LogId) -> i64 {
        let [a, b, c, d, ..] = log.0;
        i64::from(u32::from_be_bytes([a, b, c, d])) * 1000
    }

    /// A number below `limit`, for spreading timers: not uniform to the last bit.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.draw() as u64) % limit.max(1)
    }

    fn draw(&mut self) -> u128 {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(&self.seed);
        bytes[32..].copy_from_slice(&self.drawn.to_le_bytes());
        self.drawn += 1;
        xxh3_128(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_show_their_time() {
        let mut ids = FreshIds::from_seed([7; 32]);
        let names: HashSet<u128> = (0..1000).map(|_| ids.object(5)).collect();

        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| FreshIds::time_ms(*name) == 5));
        assert_eq!(FreshIds::log_time_ms(ids.log(9999)), 9000);
        assert_ne!(ids.log(9000), FreshIds::from_seed([8; 32]).log(9000));
        assert_ne!(ids.fork().object(5), ids.fork().object(5));
    }
}
