//! Label sets as keys of tables, by a hash that nobody outside can foresee.
//!
//! Labels come from outside: under a known hash a sender could aim them all at one place of a table.
//! So every process draws its own secret. What a hash finds is compared, too.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_secret;

use super::Labels;

pub type LabelsMap<V> = HashMap<Labels, V, LabelsHash>;
pub type LabelsSet = HashSet<Labels, LabelsHash>;

const SECRET_BYTES: usize = 192;

static SECRET: LazyLock<[u8; SECRET_BYTES]> = LazyLock::new(|| {
    // The standard library's keyed hash, under keys of the system's.
    let random = RandomState::new();
    let mut secret = [0; SECRET_BYTES];
    for (at, word) in secret.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&random.hash_one(at).to_le_bytes());
    }
    secret
});

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelsHash;

impl LabelsHash {
    /// The hash of [`Labels::as_bytes`].
    #[inline]
    pub fn of(self, packed: &[u8]) -> u64 {
        xxh3_64_with_secret(packed, SECRET.as_slice())
    }
}

impl BuildHasher for LabelsHash {
    type Hasher = LabelsHasher;

    fn build_hasher(&self) -> LabelsHasher {
        LabelsHasher(0)
    }
}

/// Made for keys that are written at once, as label sets are.
pub struct LabelsHasher(u64);

impl Hasher for LabelsHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(23) ^ LabelsHash.of(bytes);
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
    fn a_set_and_its_bytes_have_one_hash() {
        let labels = Labels::from_pairs([("job", "a"), ("instance", "b")]);
        let same = Labels::from_pairs([("instance", "b"), ("job", "a")]);

        assert_eq!(LabelsHash.hash_one(&labels), LabelsHash.of(same.as_bytes()));
        let mut set = LabelsSet::default();
        assert!(set.insert(labels) && !set.insert(same) && set.insert(Labels::empty()));
    }
}
