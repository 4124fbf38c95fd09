//! The simulated bucket: a map of objects, and one in front of it that fails.
//!
//! Owns what a single call may answer. When a write lands, how often, and whether its answer arrives, is the
//! world's.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::replication::bucket::{Bucket, BucketError, Entry, Page, Ranged};
use crate::replication::names::NODES;

use super::dice::Dice;

/// Small, so that listings have several pages.
const PAGE_KEYS: usize = 48;

/// Objects and when they were written.
#[derive(Debug, Default)]
pub struct MemoryBucket {
    pub objects: BTreeMap<String, (Bytes, u64)>,
    pub now_ms: u64,
    /// The bucket's wall clock at 0.
    pub epoch_ms: i64,
}

impl Bucket for MemoryBucket {
    fn put(&mut self, key: &str, bytes: &Bytes) -> Result<(), BucketError> {
        self.objects.insert(key.to_owned(), (bytes.clone(), self.now_ms));
        Ok(())
    }

    fn get(&mut self, key: &str) -> Result<Bytes, BucketError> {
        self.objects.get(key).map(|(bytes, _)| bytes.clone()).ok_or(BucketError::NotFound)
    }

    fn get_range(&mut self, key: &str, range: Range<u64>) -> Result<Ranged, BucketError> {
        let object = self.get(key)?;
        let end = (range.end as usize).min(object.len());
        let start = (range.start as usize).min(end);
        Ok(Ranged { bytes: object.slice(start..end), object_bytes: object.len() as u64 })
    }

    fn list(&mut self, prefix: &str, after: Option<&str>) -> Result<Page, BucketError> {
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut keys = self
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let entry = |(key, (bytes, modified)): (&String, &(Bytes, u64))| Entry {
            key: key.clone(),
            bytes: bytes.len() as u64,
            modified_ms: self.epoch_ms + *modified as i64,
            tag: if prefix == NODES { self.tag_of(bytes) } else { None },
        };
        let entries = keys.by_ref().take(PAGE_KEYS).map(entry).collect();
        Ok(Page { entries, more: keys.next().is_some() })
    }

    /// Of its content, as S3's.
    fn tag_of(&self, bytes: &Bytes) -> Option<String> {
        Some(format!("{:016x}", xxh3_64(bytes)))
    }

    fn delete(&mut self, key: &str) -> Result<(), BucketError> {
        self.objects.remove(key);
        Ok(())
    }
}

/// The same bucket on a bad day.
#[derive(Debug)]
pub struct FaultyBucket<'a> {
    pub inner: &'a mut MemoryBucket,
    pub dice: &'a mut Dice,
    pub fault_permille: u64,
    pub flip_permille: u64,
    /// Objects younger than this may be missing in a listing.
    pub list_lag_ms: u64,
}

impl FaultyBucket<'_> {
    fn fail(&mut self) -> Result<(), BucketError> {
        if self.dice.permille(self.fault_permille) {
            return Err(BucketError::Unknown("503 slow down".to_owned()));
        }
        Ok(())
    }
}

impl Bucket for FaultyBucket<'_> {
    fn put(&mut self, key: &str, bytes: &Bytes) -> Result<(), BucketError> {
        self.inner.put(key, bytes)
    }

    fn get(&mut self, key: &str) -> Result<Bytes, BucketError> {
        self.fail()?;
        let object = self.inner.get(key)?;
        if object.is_empty() || !self.dice.permille(self.flip_permille) {
            return Ok(object);
        }
        let mut flipped = object.to_vec();
        let bit = self.dice.range(0, flipped.len() as u64 * 8) as usize;
        flipped[bit / 8] ^= 1 << (bit % 8);
        Ok(flipped.into())
    }

    fn get_range(&mut self, key: &str, range: Range<u64>) -> Result<Ranged, BucketError> {
        self.fail()?;
        self.inner.get_range(key, range)
    }

    fn list(&mut self, prefix: &str, after: Option<&str>) -> Result<Page, BucketError> {
        self.fail()?;
        let mut page = self.inner.list(prefix, after)?;
        if self.list_lag_ms > 0 {
            let young_ms = self.inner.epoch_ms + self.inner.now_ms.saturating_sub(self.list_lag_ms) as i64;
            let dice = &mut self.dice;
            page.entries.retain(|entry| entry.modified_ms <= young_ms || !dice.permille(300));
            page.more &= !page.entries.is_empty();
        }
        Ok(page)
    }

    fn tag_of(&self, bytes: &Bytes) -> Option<String> {
        self.inner.tag_of(bytes)
    }

    fn delete(&mut self, key: &str) -> Result<(), BucketError> {
        self.inner.delete(key)
    }
}
