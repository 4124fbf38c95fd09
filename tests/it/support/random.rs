//! A seeded generator (SplitMix64): small, and the same everywhere.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of `ONGGI_SEED`, or of the clock; printed, so that a failure can be repeated.
    pub fn announced(test: &str) -> Self {
        let seed = super::setting("ONGGI_SEED", super::now_ms() as u64);
        eprintln!("{test}: ONGGI_SEED={seed}");
        Self(seed)
    }

    /// A generator of its own for a thread or an image.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number of `0..end_exclusive`.
    pub fn below(&mut self, end_exclusive: u64) -> u64 {
        self.next() % end_exclusive
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
