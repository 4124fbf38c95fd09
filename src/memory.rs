//! One memory budget: whoever is about to allocate much leases it here first.
//!
//! A budget may be a share of another: a lease counts against both, and is given back when it is
//! dropped. A part of a budget may be kept for those of its shares that have leased little, or whose
//! work must go on: the greedy ones cannot starve them. What the process turns out to hold beyond all
//! leases ([`watch`] measures it) counts as used, so that the limit does not rest on estimates alone.
//! Owns the arithmetic only; what is done when a lease is refused is the caller's.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

pub mod plan;
pub mod watch;

/// A limit in bytes and what is leased of it.
#[derive(Debug)]
pub struct MemoryBudget {
    name: &'static str,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    /// What is held though nobody has leased it.
    unleased_bytes: AtomicU64,
    refusals: AtomicU64,
    /// Whether it may take what the budget above keeps.
    urgent: bool,
    /// How many threads of one of its shares wait for what the others give back.
    claimed: AtomicUsize,
    /// How many of its own threads do, if it is that share.
    claims: AtomicUsize,
    parent: Option<Arc<MemoryBudget>>,
    kept: Kept,
    /// Who holds what nobody needs.
    spare: OnceLock<Weak<dyn Spare>>,
}

/// Something held that only saves work: it goes before a lease is refused.
pub trait Spare: fmt::Debug + Send + Sync {
    /// Gives back about so many bytes; whether it gave anything. Asked by whoever leases, under any lock of his.
    fn give_up(&self, bytes: u64) -> bool;
}

/// What is kept of a budget for small and for urgent shares.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    bytes: u64,
    /// A share that has leased no more than this is small.
    small_bytes: u64,
}

/// Who wants a lease, as the budget above sees it.
#[derive(Clone, Copy)]
struct Asker {
    /// With what it wants.
    leased_bytes: u64,
    urgent: bool,
    claims: bool,
}

/// Nobody's share: the owner of the budget.
const OWNER: Asker = Asker { leased_bytes: 0, urgent: true, claims: false };

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
        Self::keeping(name, limit_bytes, 0)
    }

    /// As [`Self::new`]; of it, `kept_bytes` are for urgent shares.
    pub fn keeping(name: &'static str, limit_bytes: u64, kept_bytes: u64) -> Arc<Self> {
        Arc::new(Self::of(name, limit_bytes, Kept { bytes: kept_bytes, small_bytes: 0 }))
    }

    fn of(name: &'static str, limit_bytes: u64, kept: Kept) -> Self {
        Self {
            name,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            unleased_bytes: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            urgent: false,
            claimed: AtomicUsize::new(0),
            claims: AtomicUsize::new(0),
            parent: None,
            kept,
            spare: OnceLock::new(),
        }
    }

    /// A part of this budget with a limit of its own.
    pub fn share(self: &Arc<Self>, name: &'static str, limit_bytes: u64) -> Arc<Self> {
        self.share_keeping(name, limit_bytes, 0, 0)
    }

    /// As [`Self::share`], for work that must go on: it may take what this budget keeps.
    pub fn share_urgent(self: &Arc<Self>, name: &'static str, limit_bytes: u64) -> Arc<Self> {
        let parent = Some(Arc::clone(self));
        Arc::new(Self { parent, urgent: true, ..Self::of(name, limit_bytes, Kept::default()) })
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
        let parent = Some(Arc::clone(self));
        Arc::new(Self { parent, ..Self::of(name, limit_bytes, Kept { bytes: kept_bytes, small_bytes }) })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What is held beyond all leases, as last measured.
    pub fn unleased_bytes(&self) -> u64 {
        self.unleased_bytes.load(Ordering::Relaxed)
    }

    /// Leases that were refused, by this budget or by one that it is a share of.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Leases `bytes` of this budget and of those it is a share of.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Result<MemoryLease, MemoryExhausted> {
        self.take(bytes, OWNER)?;
        Ok(MemoryLease { budget: Arc::clone(self), bytes })
    }

    /// Leases whatever the limits: for what is held anyway, such as the code's own memory.
    pub fn lease_regardless(self: &Arc<Self>, bytes: u64) -> MemoryLease {
        self.add(bytes);
        MemoryLease { budget: Arc::clone(self), bytes }
    }

    /// What this budget has left for somebody who is neither small nor urgent.
    pub fn spare_bytes(&self) -> u64 {
        let taken = self.used_bytes().saturating_add(self.unleased_bytes()).saturating_add(self.kept.bytes);
        let own = self.limit_bytes.saturating_sub(taken);
        self.parent.as_ref().map_or(own, |parent| own.min(parent.spare_bytes()))
    }

    /// What the other shares of the budget above have leased.
    pub fn used_beside_bytes(&self) -> u64 {
        self.parent.as_ref().map_or(0, |parent| parent.used_bytes().saturating_sub(self.used_bytes()))
    }

    /// Claims what is given back to the budget above, as long as the claim lives: the other shares get
    /// nothing meanwhile but what is kept for small ones. For one share at a time, several threads of
    /// which may claim.
    pub fn claim(&self) -> Claim<'_> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.claimed.fetch_add(1, Ordering::Relaxed);
        }
        Claim(self)
    }

    /// Says how much the process holds: what of it nobody has leased counts as used from now on.
    pub fn note_held(&self, held_bytes: u64) {
        self.unleased_bytes.store(held_bytes.saturating_sub(self.used_bytes()), Ordering::Relaxed);
    }

    /// Asks `spare` to give up what it holds of this budget before a lease of it is refused. Once per budget; as long
    /// as it lives.
    pub fn spare(&self, spare: &Arc<dyn Spare>) {
        // Whoever came first stays.
        let _ = self.spare.set(Arc::downgrade(spare));
    }

    fn take(&self, bytes: u64, asker: Asker) -> Result<(), MemoryExhausted> {
        let mut taken = self.try_take(bytes, asker);
        if matches!(&taken, Err(refused) if refused.name == self.name)
            && self.spare.get().and_then(Weak::upgrade).is_some_and(|spare| spare.give_up(bytes))
        {
            taken = self.try_take(bytes, asker);
        }
        if taken.is_err() {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn try_take(&self, bytes: u64, asker: Asker) -> Result<(), MemoryExhausted> {
        let is_greedy = !asker.urgent && asker.leased_bytes > self.kept.small_bytes;
        let is_claimed = is_greedy && !asker.claims && self.claimed.load(Ordering::Relaxed) > 0;
        let kept = if is_greedy { self.kept.bytes } else { 0 };
        let limit_bytes = self.limit_bytes.saturating_sub(kept);
        let unleased = self.unleased_bytes();
        let grown = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let sum = used.checked_add(bytes)?;
            (!is_claimed && sum.saturating_add(unleased) <= limit_bytes).then_some(sum)
        });
        let before = grown.map_err(|used_bytes| MemoryExhausted {
            name: self.name,
            wanted_bytes: bytes,
            used_bytes: used_bytes.saturating_add(unleased),
            limit_bytes,
        })?;
        if let Some(parent) = &self.parent {
            let claims = self.claims.load(Ordering::Relaxed) > 0;
            let asker = Asker { leased_bytes: before + bytes, urgent: self.urgent, claims };
            parent.take(bytes, asker).inspect_err(|_| {
                self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    fn add(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.add(bytes);
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// See [`MemoryBudget::claim`].
#[derive(Debug)]
pub struct Claim<'a>(&'a MemoryBudget);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claims.fetch_sub(1, Ordering::Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.claimed.fetch_sub(1, Ordering::Relaxed);
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
        self.budget.take(more, OWNER)?;
        self.bytes += more;
        Ok(())
    }

    /// As [`Self::grow`], whatever the limits.
    pub fn grow_regardless(&mut self, more: u64) {
        self.budget.add(more);
        self.bytes += more;
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

    #[test]
    fn greedy_shares_leave_what_is_kept_for_urgent_ones() {
        let whole = MemoryBudget::keeping("process", 100, 30);
        let (queries, head) = (whole.share("queries", 100), whole.share_urgent("head", 100));

        let _most = queries.lease(60).expect("within what is not kept");
        assert_eq!((queries.spare_bytes(), head.spare_bytes()), (10, 10));
        assert!(queries.lease(11).is_err());
        let _rest = head.lease(40).expect("is kept for it");

        assert_eq!((queries.refusals(), whole.refusals(), head.refusals()), (1, 1, 0));
        assert_eq!(whole.spare_bytes(), 0);
    }

    #[test]
    fn who_claims_gets_what_the_others_give_back() {
        let queries = MemoryBudget::new("process", 1000).share_keeping("queries", 100, 20, 5);
        let [first, second, small] = [(); 3].map(|()| queries.share("query", 100));
        let most = second.lease(70).expect("fits");
        let mut lease = first.lease(10).expect("fits");
        assert_eq!(first.used_beside_bytes(), 70);
        assert!(lease.grow(60).is_err());

        let claim = first.claim();
        drop(most);
        assert!(second.lease(30).is_err(), "claimed");
        assert!(small.lease(5).is_ok(), "kept for small ones");
        assert!(lease.grow(60).is_ok());
        drop(claim);
        assert!(second.lease(10).is_ok());
    }

    #[test]
    fn a_claim_lasts_as_long_as_any_thread_of_the_share_waits() {
        let queries = MemoryBudget::new("process", 1000).share_keeping("queries", 100, 20, 5);
        let [first, second] = [(); 2].map(|()| queries.share("query", 100));

        let claims = (first.claim(), first.claim());
        drop(claims.0);
        assert!(second.lease(30).is_err(), "claimed by the other thread");
        assert!(first.lease(30).is_ok());
        drop(claims.1);
        assert!(second.lease(30).is_ok());
    }

    /// Holds one lease until it is asked for.
    #[derive(Debug)]
    struct Held(parking_lot::Mutex<Option<MemoryLease>>);

    impl Spare for Held {
        fn give_up(&self, _bytes: u64) -> bool {
            self.0.try_lock().is_some_and(|mut held| held.take().is_some())
        }
    }

    #[test]
    fn what_only_saves_work_goes_before_a_lease_is_refused() {
        let whole = MemoryBudget::new("process", 100);
        let (queries, answers) = (whole.share("queries", 60), whole.share("answers", 60));
        let held = Arc::new(Held(parking_lot::Mutex::new(Some(answers.lease(50).expect("fits")))));
        let spare: Arc<dyn Spare> = Arc::<Held>::clone(&held);
        whole.spare(&spare);

        assert!(queries.lease(70).is_err(), "more than its own limit");
        assert_eq!(answers.used_bytes(), 50, "which nobody can help");
        let _lease = queries.lease(60).expect("room was made");
        assert_eq!((answers.used_bytes(), whole.refusals()), (0, 0));
        assert!(answers.lease(50).is_err(), "nothing is left to give");
    }

    #[test]
    fn what_is_held_beyond_all_leases_counts_as_used() {
        let whole = MemoryBudget::new("process", 100);
        let queries = whole.share("queries", 100);
        let lease = queries.lease(40).expect("fits");

        whole.note_held(70);
        assert_eq!((whole.unleased_bytes(), queries.spare_bytes()), (30, 30));
        let error = queries.lease(31).expect_err("30 bytes are held by nobody");
        assert_eq!((error.name, error.used_bytes), ("process", 70));

        drop(lease);
        whole.note_held(0);
        assert!(queries.lease(100).is_ok());
    }
}
