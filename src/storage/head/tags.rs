//! Hash → number, in eight bytes an entry.
//!
//! An entry holds a tag of 32 bits of the hash, and the number: whoever looks up compares the thing
//! itself. Sharded by other bits of the hash, so that a table that grows moves a small part of all.

use hashbrown::HashTable;

const SHARD_BITS: u32 = 6;

/// Shards smaller than this are not worth shrinking.
const SHRINK_ENTRIES_MIN: usize = 1024;

/// See the module.
pub struct TagTable {
    shards: Vec<HashTable<(u32, u32)>>,
}

impl Default for TagTable {
    fn default() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| HashTable::new()).collect() }
    }
}

impl TagTable {
    /// The number with this hash that is the right one.
    #[inline]
    pub fn find(&self, hash: u64, mut is_right: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash as u32;
        let found = self.shards[shard_of(hash)]
            .find(spread(tag), |&(other, number)| other == tag && is_right(number));
        found.map(|&(_, number)| number)
    }

    /// Adds a number that is not there yet.
    pub fn insert(&mut self, hash: u64, number: u32) {
        let tag = hash as u32;
        self.shards[shard_of(hash)].insert_unique(spread(tag), (tag, number), |&(tag, _)| spread(tag));
    }

    /// Takes out a number; nothing happens where it is not there with this hash.
    pub fn remove(&mut self, hash: u64, number: u32) {
        let entry = (hash as u32, number);
        let shard = &mut self.shards[shard_of(hash)];
        if let Ok(found) = shard.find_entry(spread(entry.0), |other| *other == entry) {
            found.remove();
        }
        // After a burst of series that came and went the room is given back.
        if shard.capacity() > SHRINK_ENTRIES_MIN && shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2, |&(tag, _)| spread(tag));
        }
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARD_BITS)) as usize
}

/// A tag as the table wants it: chosen by the lowest bits, compared by the highest.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
