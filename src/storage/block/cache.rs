//! Decoded pages of all blocks and the indexes of their pages, a bounded number of bytes of them.
//!
//! What was asked for again since the hand of the clock passed stays; header, index and symbols do by
//! themselves. Knows no block: a page is its block's id and a number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::layout::PageIndex;
use super::page::Page;

/// Locks, at most: so many queries look for pages without waiting for each other.
const SHARDS_MAX: u64 = 16;
/// Less than this under one lock is kept together, so that a page does not push out all others.
const SHARD_BYTES_MIN: u64 = 4 << 20;
/// What a page takes beside its bytes: its slot and its places in two tables.
const PAGE_OVERHEAD_BYTES: u64 = 160;
/// In the place of a page's number: the index of all. No block has so many pages.
const INDEX: u32 = u32::MAX;

/// A page of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub block: u128,
    pub page: u32,
}

/// What is kept.
#[derive(Clone)]
enum Kept {
    Page(Arc<Page>),
    Index(Arc<PageIndex>),
}

/// See the module.
pub struct PageCache {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: u64,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// What a cache has done so far, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCacheFigures {
    pub hits: u64,
    pub misses: u64,
    /// Pages that made room for others.
    pub evictions: u64,
    pub bytes: u64,
    pub bytes_max: u64,
}

impl PageCache {
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let shards = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        Arc::new(Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / shards,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        })
    }

    pub fn figures(&self) -> PageCacheFigures {
        PageCacheFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            bytes_max: self.shard_bytes_max * self.shards.len() as u64,
            bytes: self.shards.iter().map(|shard| shard.lock().bytes).sum(),
        }
    }

    pub fn get(&self, key: PageKey) -> Option<Arc<Page>> {
        let found = self.shard(key).lock().get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found.and_then(|kept| if let Kept::Page(page) = kept { Some(page) } else { None })
    }

    /// The index of a block's pages. It counts as no hit and no miss.
    pub fn get_index(&self, block: u128) -> Option<Arc<PageIndex>> {
        let key = PageKey { block, page: INDEX };
        let found = self.shard(key).lock().get(key)?;
        if let Kept::Index(index) = found { Some(index) } else { None }
    }

    /// Keeps the index of a block's pages; `false` where it is too large.
    pub fn put_index(&self, block: u128, index: Arc<PageIndex>) -> bool {
        let key = PageKey { block, page: INDEX };
        let bytes = index.heap_bytes() as u64;
        self.keep(key, Kept::Index(index), bytes)
    }

    /// Whether the page is there. It counts as no use.
    pub fn has(&self, key: PageKey) -> bool {
        self.shard(key).lock().places.contains_key(&key)
    }

    /// Keeps a page. One that is larger than what is kept under a lock is not.
    pub fn put(&self, key: PageKey, page: Arc<Page>) {
        let bytes = page.heap_bytes();
        self.keep(key, Kept::Page(page), bytes);
    }

    /// Whether it is kept now.
    fn keep(&self, key: PageKey, kept: Kept, bytes: u64) -> bool {
        let mut shard = self.shard(key).lock();
        let before = shard.evicted;
        let is_kept = shard.put(key, kept, bytes, self.shard_bytes_max);
        self.evictions.fetch_add(shard.evicted - before, Ordering::Relaxed);
        is_kept
    }

    fn shard(&self, key: PageKey) -> &Mutex<Shard> {
        // Ids have random bits; pages that follow each other go to different locks.
        let mixed = (key.block as u64 ^ (key.block >> 64) as u64).wrapping_add(u64::from(key.page));
        &self.shards[(mixed % self.shards.len() as u64) as usize]
    }
}

#[derive(Default)]
struct Shard {
    places: HashMap<PageKey, usize>,
    slots: Vec<Slot>,
    /// The slot that is looked at next when room is needed.
    hand: usize,
    bytes: u64,
    evicted: u64,
}

struct Slot {
    key: PageKey,
    kept: Kept,
    bytes: u64,
    /// Since the hand passed.
    used: bool,
}

impl Shard {
    fn get(&mut self, key: PageKey) -> Option<Kept> {
        let slot = &mut self.slots[*self.places.get(&key)?];
        slot.used = true;
        Some(slot.kept.clone())
    }

    /// Whether it is kept now.
    fn put(&mut self, key: PageKey, kept: Kept, bytes: u64, bytes_max: u64) -> bool {
        let bytes = bytes + PAGE_OVERHEAD_BYTES;
        if bytes > bytes_max {
            return false;
        }
        // Another query may have read the same page at the same time.
        if self.places.contains_key(&key) {
            return true;
        }
        while self.bytes + bytes > bytes_max {
            self.turn();
        }
        self.bytes += bytes;
        self.places.insert(key, self.slots.len());
        self.slots.push(Slot { key, kept, bytes, used: false });
        true
    }

    /// Looks at one slot: it loses its mark, or goes. There is one.
    fn turn(&mut self) {
        self.hand %= self.slots.len();
        let slot = &mut self.slots[self.hand];
        if std::mem::take(&mut slot.used) {
            self.hand += 1;
            return;
        }
        let gone = self.slots.swap_remove(self.hand);
        self.places.remove(&gone.key);
        self.bytes -= gone.bytes;
        self.evicted += 1;
        if let Some(moved) = self.slots.get(self.hand) {
            self.places.insert(moved.key, self.hand);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::PageBuilder;
    use super::*;

    fn page(bytes: usize) -> Arc<Page> {
        let mut builder = PageBuilder::default();
        builder.push(b"k", &vec![0; bytes]);
        let raw = bytes::Bytes::copy_from_slice(builder.bytes());
        Arc::new(Page::parse(raw, b"k", None).expect("own bytes"))
    }

    fn key(page: u32) -> PageKey {
        PageKey { block: 7, page }
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let cache = PageCache::new(100_000);
        for number in 0..1_000 {
            cache.put(key(number), page(1_000));
            assert!(number == 0 || cache.get(key(0)).is_some(), "used all the time");
            assert!(cache.figures().bytes <= 100_000);
        }
        let held = (0..1_000).filter(|number| cache.has(key(*number))).count();
        assert!((70..100).contains(&held), "{held}");
        assert!(cache.has(key(999)) && cache.get(key(1)).is_none());
        let figures = cache.figures();
        assert_eq!((figures.hits, figures.misses, figures.bytes_max), (999, 1, 100_000));
        assert_eq!(figures.evictions, 1_000 - held as u64, "who is not there made room");
    }

    #[test]
    fn a_page_that_is_too_large_pushes_nothing_out() {
        let cache = PageCache::new(10_000);
        cache.put(key(0), page(1_000));
        cache.put(key(1), page(10_000));

        assert!(cache.has(key(0)) && !cache.has(key(1)));
        let bytes = cache.figures().bytes;
        cache.put(key(0), page(1_000));
        assert_eq!(cache.figures().bytes, bytes, "once is enough");
    }

    #[test]
    fn pages_of_a_large_cache_are_found_whatever_lock_they_are_under() {
        let cache = PageCache::new(64 << 20);
        assert_eq!(cache.shards.len(), 16);
        (0..100).for_each(|number| cache.put(key(number), page(10)));
        assert!((0..100).all(|number| cache.get(key(number)).is_some()));
        assert!(cache.get(PageKey { block: 8, page: 0 }).is_none());
    }
}
