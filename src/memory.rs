//! One memory budget: whoever is about to allocate much leases it here first.
//!
//! A budget may be a share of another: a lease counts against both, and is given back when it is
//! dropped. Owns the arithmetic only; what is done when a lease is refused is the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit in bytes and what is leased of it.
#[derive(Debug)]
pub struct MemoryBudget {
    name: &'static str,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    parent: Option<Arc<MemoryBudget>>,
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
        Arc::new(Self { name, limit_bytes, used_bytes: AtomicU64::new(0), parent: None })
    }

    /// A part of this budget with a limit of its own.
    pub fn share(self: &Arc<Self>, name: &'static str, limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { name, limit_bytes, used_bytes: AtomicU64::new(0), parent: Some(Arc::clone(self)) })
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Leases `bytes` of this budget and of those it is a share of.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Result<MemoryLease, MemoryExhausted> {
        self.take(bytes)?;
        Ok(MemoryLease { budget: Arc::clone(self), bytes })
    }

    fn take(&self, bytes: u64) -> Result<(), MemoryExhausted> {
        let grown = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes)
        });
        if let Err(used_bytes) = grown {
            return Err(MemoryExhausted {
                name: self.name,
                wanted_bytes: bytes,
                used_bytes,
                limit_bytes: self.limit_bytes,
            });
        }
        if let Some(parent) = &self.parent {
            parent.take(bytes).inspect_err(|_| {
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
        self.budget.take(more)?;
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
}
