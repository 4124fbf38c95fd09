//! What is kept of answers: bounded by memory, the least recently used goes first.
//!
//! Owns the table, the order of use and the counts. What is kept counts against a budget of its own and the whole of
//! the process; before a lease of the whole is refused to anybody it goes, for it only saves work.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::kept::Kept;
use crate::memory::{MemoryBudget, MemoryLease, Spare};

/// One answer takes no more than this part of all memory for answers.
const ANSWER_SHARE: u64 = 4;

/// What a table's entry takes beside its texts, twice.
const ENTRY_BYTES: usize = 256;

/// Steps that may be taken for each other: of the same expression, at times that differ by whole steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub scope: String,
    pub expression: String,
    pub lookback_ms: i64,
    pub step_ms: i64,
    pub phase_ms: i64,
    /// Of the number of steps: a short window does not push a long one out.
    pub magnitude: u32,
}

impl Key {
    pub fn bytes(&self) -> u64 {
        (ENTRY_BYTES + self.scope.len() + self.expression.len()) as u64
    }
}

/// See the module.
pub struct Results {
    memory: Arc<MemoryBudget>,
    table: Mutex<Table>,
    hits: AtomicU64,
    misses: AtomicU64,
    steps: AtomicU64,
    evictions: AtomicU64,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Arc<Key>, Entry>,
    /// The key of each use that is an entry's last.
    by_use: BTreeMap<u64, Arc<Key>>,
    uses: u64,
}

struct Entry {
    kept: Arc<Kept>,
    used: u64,
}

/// Counts since the start, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Queries that went on from steps that were kept.
    pub hits: u64,
    /// Queries whose steps can be kept, and none that still held was there.
    pub misses: u64,
    /// Steps that were not evaluated again.
    pub steps: u64,
    /// Answers that went because memory was wanted.
    pub evictions: u64,
    pub entries: u64,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Results {
    /// All of `memory` may be taken.
    pub fn new(memory: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            table: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        })
    }

    pub fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    pub fn figures(&self) -> Figures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            hits: get(&self.hits),
            misses: get(&self.misses),
            steps: get(&self.steps),
            evictions: get(&self.evictions),
            entries: self.table.lock().entries.len() as u64,
        }
    }

    pub(super) fn count_hit(&self, steps: usize) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.steps.fetch_add(steps as u64, Ordering::Relaxed);
    }

    pub(super) fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Kept>> {
        self.table.lock().touch(key)
    }

    pub(super) fn forget(&self, key: &Key) {
        let gone = self.table.lock().remove(key);
        // Its columns are freed outside of the lock.
        drop(gone);
    }

    /// Leases what an answer will take, at the cost of those that were not used for longest. `None` where it is too large.
    pub(super) fn make_room(&self, key: &Key, bytes: u64) -> Option<MemoryLease> {
        self.forget(key);
        if bytes > self.memory.limit_bytes() / ANSWER_SHARE {
            return None;
        }
        loop {
            if let Ok(lease) = self.memory.lease(bytes) {
                return Some(lease);
            }
            let gone = self.table.lock().remove_oldest()?;
            self.evictions.fetch_add(1, Ordering::Relaxed);
            drop(gone);
        }
    }

    /// Keeps what [`Self::make_room`] has leased for.
    pub(super) fn put(&self, key: Key, kept: Arc<Kept>) {
        let mut table = self.table.lock();
        let before = table.remove(&key);
        table.insert(Arc::new(key), kept);
        drop(table);
        drop(before);
    }
}

impl Spare for Results {
    /// Does not wait: whoever leases may be the one who has the table.
    fn give_up(&self, bytes: u64) -> bool {
        let mut gone = Vec::new();
        {
            let Some(mut table) = self.table.try_lock() else { return false };
            let mut freed = 0;
            while freed < bytes
                && let Some(kept) = table.remove_oldest()
            {
                freed += kept.leased_bytes();
                gone.push(kept);
            }
        }
        self.evictions.fetch_add(gone.len() as u64, Ordering::Relaxed);
        !gone.is_empty()
    }
}

impl Table {
    fn touch(&mut self, key: &Key) -> Option<Arc<Kept>> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let shared = self.by_use.remove(&entry.used)?;
        entry.used = self.uses;
        self.by_use.insert(self.uses, shared);
        Some(Arc::clone(&entry.kept))
    }

    fn insert(&mut self, key: Arc<Key>, kept: Arc<Kept>) {
        self.uses += 1;
        self.by_use.insert(self.uses, Arc::clone(&key));
        self.entries.insert(key, Entry { kept, used: self.uses });
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Kept>> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        Some(entry.kept)
    }

    fn remove_oldest(&mut self) -> Option<Arc<Kept>> {
        let (_, key) = self.by_use.pop_first()?;
        self.entries.remove(&key).map(|entry| entry.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::operators::step_grid::StepGrid;
    use crate::querier::Moment;

    fn key(name: &str) -> Key {
        let (scope, expression) = ("a".to_owned(), name.to_owned());
        Key { scope, expression, lookback_ms: 1, step_ms: 1, phase_ms: 0, magnitude: 3 }
    }

    fn put(results: &Results, name: &str, bytes: u64) -> bool {
        let Some(lease) = results.make_room(&key(name), bytes) else { return false };
        let kept = Kept::new(&[], StepGrid::instant(0), Moment(0), 0, Vec::new()).expect("plain");
        results.put(key(name), Arc::new(kept.leased(lease)));
        true
    }

    fn has(results: &Results, name: &str) -> bool {
        results.table.lock().entries.contains_key(&key(name))
    }

    #[test]
    fn what_was_not_used_for_longest_goes_and_what_is_too_large_does_not_come() {
        let results = Results::new(MemoryBudget::new("results", 100));
        assert!(["a", "b", "c", "d"].iter().all(|name| put(&results, name, 25)));
        assert!(results.get(&key("a")).is_some());

        assert!(put(&results, "e", 20));

        assert!(!has(&results, "b") && ["a", "c", "d", "e"].iter().all(|name| has(&results, name)));
        assert!(put(&results, "f", 10), "another one goes");
        assert!(!has(&results, "c"));
        assert!(!put(&results, "g", 26));
        assert_eq!((results.figures().evictions, results.memory().used_bytes()), (2, 80));
    }

    #[test]
    fn the_same_again_takes_the_place_of_what_was_there() {
        let results = Results::new(MemoryBudget::new("results", 100));
        for bytes in [25, 10, 20] {
            assert!(put(&results, "a", bytes));
            assert_eq!((results.memory().used_bytes(), results.figures().entries), (bytes, 1));
        }
        assert_eq!(results.figures().evictions, 0);
        results.forget(&key("a"));
        assert!(results.get(&key("a")).is_none() && results.memory().used_bytes() == 0);
    }

    #[test]
    fn all_of_it_is_given_up_when_memory_runs_short_and_nothing_is_kept_while_it_is() {
        let whole = MemoryBudget::new("process", 100);
        let results = Results::new(whole.share("results", 80));
        let spare: Arc<dyn Spare> = Arc::<Results>::clone(&results);
        whole.spare(&spare);
        assert!(["a", "b", "c"].iter().all(|name| put(&results, name, 20)));

        let some = whole.lease(40).expect("fits");
        assert_eq!(results.figures().evictions, 0);
        let more = whole.lease(20).expect("one goes");
        assert!(!has(&results, "a") && has(&results, "b") && has(&results, "c"));
        let rest = whole.lease(40).expect("all go");

        assert_eq!((results.figures().entries, results.figures().evictions), (0, 3));
        assert!(!put(&results, "d", 20), "there is no room");
        drop((some, more, rest));
        assert!(put(&results, "d", 20));
    }
}
