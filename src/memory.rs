//! One memory budget: whoever is about to allocate much leases it here first.
//!
//! A budget may be a share of another: a lease counts against both, and is given back when it is
//! dropped. A part of a budget may be kept for those of its shares that have leased little: the
//! greedy ones cannot starve them. Owns the arithmetic only; what is done when a lease is refused is
//! the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit in bytes and what is leased of it.
#[derive(Debug)]
pub struct MemoryBudget {
    name: &'static str,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    parent: Option<Arc<MemoryBudget>>,
    kept: Kept,
}

/// What is kept of a budget for small shares.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    bytes: u64,
    /// A share that has leased no more than this is small.
    small_bytes: u64,
}

/// A lease was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory budget {name:?} is exhausted: {wanted_bytes} more bytes wanted, {used_bytes} of {limit_bytes} in use"
)]
pub struct MemoryExhausted {
    pub name: &'static str,
    pub wanted_bytes: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

impl MemoryBudget {
    pub fn new(name: &'static str, limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            parent: None,
            kept: Kept::default(),
        })
    }

    /// A part of this budget with a limit of its own.
    pub fn share(self: &Arc<Self>, name: &'static str, limit_bytes: u64) -> Arc<Self> {
        self.share_keeping(name, limit_bytes, 0, 0)
    }

    /// As [`Self::share`]; of it, `kept_bytes` are for those of its own shares that have leased no
    /// more than `small_bytes`.
    pub fn share_keeping(
        self: &Arc<Self>,
        name: &'static str,
        limit_bytes: u64,
        kept_bytes: u64,
        small_bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            parent: Some(Arc::clone(self)),
            kept: Kept { bytes: kept_bytes, small_bytes },
        })
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Leases `bytes` of this budget and of those it is a share of.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Result<MemoryLease, MemoryExhausted> {
        self.take(bytes, 0)?;
        Ok(MemoryLease { budget: Arc::clone(self), bytes })
    }

    /// `of_share` is what the share that asks has with this lease; 0 where no share asks.
    fn take(&self, bytes: u64, of_share: u64) -> Result<(), MemoryExhausted> {
        let kept = if of_share > self.kept.small_bytes { self.kept.bytes } else { 0 };
        let limit_bytes = self.limit_bytes.saturating_sub(kept);
        let grown = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= limit_bytes)
        });
        let before = grown.map_err(|used_bytes| MemoryExhausted {
            name: self.name,
            wanted_bytes: bytes,
            used_bytes,
            limit_bytes,
        })?;
        if let Some(parent) = &self.parent {
            parent.take(bytes, before + bytes).inspect_err(|_| {
                self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// Bytes leased from a budget; dropping gives them back.
#[derive(Debug)]
pub struct MemoryLease {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryLease {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leases `more` bytes on top.
    pub fn grow(&mut self, more: u64) -> Result<(), MemoryExhausted> {
        self.budget.take(more, 0)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back all but `bytes`; does nothing where less is leased.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.budget.give_back(self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_against_the_whole_and_gives_back() {
        let whole = MemoryBudget::new("process", 100);
        let queries = whole.share("queries", 80);
        let head = whole.share("head", 80);

        let mut first = queries.lease(60).expect("within both");
        assert!(head.lease(50).is_err(), "the whole has only 40 left");
        assert_eq!(head.used_bytes(), 0, "a refused lease leaves no trace");
        assert!(first.grow(30).is_err(), "beyond the share");

        drop(first);
        assert_eq!((whole.used_bytes(), queries.used_bytes()), (0, 0));
        assert!(head.lease(80).is_ok());
    }

    #[test]
    fn greedy_shares_leave_what_is_kept_for_small_ones() {
        let whole = MemoryBudget::new("process", 1000);
        let queries = whole.share_keeping("queries", 100, 20, 5);
        let (greedy, small) = (queries.share("query", 100), queries.share("query", 100));

        let most = greedy.lease(80).expect("all but what is kept");
        assert!(greedy.lease(1).is_err());
        let mut little = small.lease(5).expect("is kept for it");
        assert!(little.grow(1).is_err(), "it is not small any more");
        assert_eq!((queries.used_bytes(), whole.used_bytes()), (85, 85));

        drop(most);
        assert!(little.grow(75).is_ok());
    }
}
