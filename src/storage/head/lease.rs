//! The head's lease: grows in steps as what is counted grows, and shrinks after a flush.
//!
//! Owns how much is leased for how much is counted. What happens where a lease is refused — a new
//! series is turned away, a write must wait, an epoch is sealed early — is the engine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::memory::{MemoryBudget, MemoryExhausted, MemoryLease};

/// Steps of the lease, as a part of the head's limit.
const STEP_SHARE: u64 = 64;
/// A step at most.
const STEP_BYTES_MAX: u64 = 16 << 20;

/// On top of what is counted: the order of the series, made when they are flushed, tables that are
/// moved when they double, and what the allocator rounds up.
const ON_TOP_SHARE: u64 = 4;

/// New series leave at least this part of the head's limit, of the head's own and of the whole.
const LEFT_SHARE: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct HeadLease {
    budget: Arc<MemoryBudget>,
    lease: Mutex<MemoryLease>,
    /// What is covered of what is counted.
    covered_bytes: AtomicU64,
    step_bytes: u64,
}

/// What to lease for so much counted.
pub fn leased_for(counted_bytes: u64) -> u64 {
    counted_bytes.saturating_add(counted_bytes / ON_TOP_SHARE)
}

/// The most that can be counted within a lease of so much.
pub fn counted_within(leased_bytes: u64) -> u64 {
    leased_bytes / (ON_TOP_SHARE + 1) * ON_TOP_SHARE
}

impl HeadLease {
    /// A lease of the head's share of the budget.
    pub fn new(budget: Arc<MemoryBudget>) -> Self {
        let step_bytes = (budget.limit_bytes() / STEP_SHARE).clamp(1, STEP_BYTES_MAX);
        let lease = Mutex::new(budget.lease_regardless(0));
        Self { budget, lease, covered_bytes: AtomicU64::new(0), step_bytes }
    }

    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Leases what is missing for so many counted bytes, a step ahead.
    pub fn cover(&self, counted_bytes: u64) -> Result<(), MemoryExhausted> {
        if counted_bytes <= self.covered_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut lease = self.lease.lock();
        let wanted = leased_for(counted_bytes).saturating_sub(lease.bytes());
        // Near the limit the step ahead may be more than there is.
        lease.grow(wanted.saturating_add(self.step_bytes)).or_else(|_| lease.grow(wanted))?;
        self.covered_bytes.store(counted_within(lease.bytes()).max(counted_bytes), Ordering::Relaxed);
        Ok(())
    }

    /// As [`Self::cover`], for what can be turned away: it leaves what is kept for others, and some to
    /// queries and merges, which hold theirs for a moment only.
    pub fn cover_new(&self, counted_bytes: u64) -> Result<(), MemoryExhausted> {
        if self.budget.spare_bytes() < self.step_bytes + self.budget.limit_bytes() / LEFT_SHARE {
            return Err(MemoryExhausted {
                name: self.budget.name(),
                wanted_bytes: self.step_bytes,
                used_bytes: self.budget.used_bytes(),
                limit_bytes: self.budget.limit_bytes(),
            });
        }
        self.cover(counted_bytes)
    }

    /// Leases for so many counted bytes whatever the limits: what was acknowledged must be held.
    pub fn cover_regardless(&self, counted_bytes: u64) {
        let mut lease = self.lease.lock();
        let wanted = leased_for(counted_bytes).saturating_sub(lease.bytes());
        lease.grow_regardless(wanted);
        self.covered_bytes.fetch_max(counted_bytes, Ordering::Relaxed);
    }

    /// Gives back what is not needed any more for so many counted bytes, but for a step.
    pub fn shrink(&self, counted_bytes: u64) {
        let mut lease = self.lease.lock();
        lease.shrink_to(leased_for(counted_bytes).saturating_add(self.step_bytes));
        let covered = counted_within(lease.bytes()).max(counted_bytes);
        self.covered_bytes.store(covered, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_in_steps_with_a_part_on_top_and_shrinks_after_a_flush() {
        let whole = MemoryBudget::new("process", 100_000);
        let lease = HeadLease::new(whole.share_urgent("head", 64_000));

        lease.cover(4000).expect("fits");
        assert_eq!(whole.used_bytes(), 6000, "a quarter on top, and a step");
        lease.cover(4800).expect("covered by the step");
        assert_eq!(whole.used_bytes(), 6000);
        lease.cover(40_000).expect("fits");
        assert_eq!(whole.used_bytes(), 51_000);

        lease.shrink(100);
        assert_eq!(whole.used_bytes(), 1125);
    }

    #[test]
    fn known_series_may_take_what_new_ones_may_not() {
        let whole = MemoryBudget::keeping("process", 100_000, 20_000);
        let head = HeadLease::new(whole.share_urgent("head", 64_000));
        let _queries = whole.share("queries", 100_000).lease(79_500).expect("fits");

        assert!(head.cover_new(1).is_err());
        head.cover(8000).expect("kept for it");
        assert!(head.cover(50_000).is_err(), "beyond the whole");

        head.cover_regardless(50_000);
        assert!(whole.used_bytes() > whole.limit_bytes());
        head.shrink(0);
        assert_eq!(whole.used_bytes(), 80_500);
    }
}
