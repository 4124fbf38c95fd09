//! Series of the log back into the registry, many under one lock.
//!
//! A log file numbers its label pairs: what each is here is looked up once, and a series is then a
//! translation of a few numbers. The series that followed the last one when it came before is tried first: where
//! it is the one, its labels are compared and nothing is looked up. Nobody waits for series that are all there: they are
//! looked up as questions are, beside others. Nothing is refused: all of it was acknowledged.

use std::iter::Peekable;
use std::sync::atomic::Ordering;

use super::{Inner, Registry, SeriesId, SeriesRef, epoch_number};
use crate::model::TenantId;
use crate::storage::head::index::{Neighbour, PairNumber, TenantNumber};
use crate::storage::log::DefinedLabels;

/// Series looked up or entered under one lock: writes wait for no more than these.
const RESTORE_AT_ONCE: usize = 2048;

/// The labels of a log file so far, and which pairs they are here.
#[derive(Default)]
pub struct LoggedLabels {
    labels: DefinedLabels,
    /// By number in the file: the pair of the tenant that had it last. Most files have one tenant,
    /// and what is not known is looked up.
    known: Vec<Option<KnownPair>>,
    /// What is known was so before the registry forgot something again.
    forgettings: u64,
    /// The pairs of the series that is entered.
    pairs: Vec<PairNumber>,
}

#[derive(Clone, Copy)]
struct KnownPair {
    tenant: TenantNumber,
    pair: PairNumber,
}

impl LoggedLabels {
    pub fn clear(&mut self) {
        self.labels.clear();
        self.known.clear();
    }

    /// Adds what the next frame of the file defines.
    pub fn append(&mut self, later: &DefinedLabels) {
        self.labels.append(later);
        self.known.resize(self.labels.pairs(), None);
    }

    /// Takes what a fresh frame defines, which refers to no other, and leaves other memory for it.
    pub fn replace(&mut self, fresh: &mut DefinedLabels) {
        std::mem::swap(&mut self.labels, fresh);
        self.known.clear();
        self.known.resize(self.labels.pairs(), None);
    }

    /// Name and value of a pair, by its number in the file.
    pub fn label(&self, number: u32) -> (&str, &str) {
        self.labels.label(number)
    }

    /// Forgets what pairs were here, where numbers of pairs may stand for others since.
    fn follow(&mut self, inner: &Inner) {
        if self.forgettings != inner.forgettings {
            self.known.fill(None);
            self.forgettings = inner.forgettings;
        }
    }

    /// The pair of a tenant that a number was found to be.
    fn pair_of(&self, number: u32, tenant: TenantNumber) -> Option<PairNumber> {
        self.known[number as usize].filter(|known| known.tenant == tenant).map(|known| known.pair)
    }
}

impl Registry {
    /// Finds or registers a tenant's series by the numbers of their pairs, which `labels` has, and
    /// marks them as used in `epoch`. Appends them to `found` in order.
    pub fn restore<'a>(
        &self,
        labels: &mut LoggedLabels,
        tenant: &TenantId,
        series: impl Iterator<Item = &'a [u32]>,
        epoch: u64,
        found: &mut Vec<SeriesRef>,
    ) {
        let epoch = epoch_number(epoch);
        let mut series = series.peekable();
        while series.peek().is_some() {
            let is_known_so_far = self.find_logged(labels, tenant, &mut series, epoch, found);
            if !is_known_so_far {
                self.enter_logged(labels, tenant, &mut series, epoch, found);
            }
        }
    }

    /// Finds series up to one that is not there; whether there was none.
    fn find_logged<'a>(
        &self,
        labels: &mut LoggedLabels,
        tenant: &TenantId,
        series: &mut Peekable<impl Iterator<Item = &'a [u32]>>,
        epoch: u32,
        found: &mut Vec<SeriesRef>,
    ) -> bool {
        let inner = self.inner.read();
        labels.follow(&inner);
        let Some(tenant) = inner.index.tenant_number(tenant) else { return false };
        // Nothing is forgotten under the lock.
        let mut before = None;
        for _ in 0..RESTORE_AT_ONCE {
            let Some(logged) = series.peek() else { return true };
            let Some(known) = inner.find_logged(labels, tenant, logged, epoch, before) else { return false };
            before = Some(known.id);
            found.push(known);
            series.next();
        }
        true
    }

    fn enter_logged<'a>(
        &self,
        labels: &mut LoggedLabels,
        tenant: &TenantId,
        series: &mut Peekable<impl Iterator<Item = &'a [u32]>>,
        epoch: u32,
        found: &mut Vec<SeriesRef>,
    ) {
        let mut inner = self.inner.write();
        labels.follow(&inner);
        let tenant = inner.index.add_tenant(tenant);
        let mut before = None;
        for logged in series.take(RESTORE_AT_ONCE) {
            let entered = inner.find_or_enter_logged(labels, tenant, logged, epoch, before);
            before = Some(entered.id);
            found.push(entered);
        }
        self.note_bytes(&inner);
    }
}

impl Inner {
    /// The series with these labels, if it is there.
    fn find_logged(
        &self,
        labels: &mut LoggedLabels,
        tenant: TenantNumber,
        logged: &[u32],
        epoch: u32,
        before: Option<SeriesId>,
    ) -> Option<SeriesRef> {
        let guess = self.guess_logged(before);
        let mut near = Neighbour::new(guess.map_or(&[], |id| self.pairs_near(id, tenant)));
        labels.pairs.clear();
        for &number in logged {
            let pair = match labels.pair_of(number, tenant) {
                Some(pair) => pair,
                None => {
                    let (name, value) = labels.label(number);
                    let pair = self.index.find(tenant, name.as_bytes(), value.as_bytes(), &mut near)?;
                    labels.known[number as usize] = Some(KnownPair { tenant, pair });
                    pair
                }
            };
            labels.pairs.push(pair);
        }
        let is_guessed = guess.filter(|id| self.is(*id, tenant, &labels.pairs));
        let id = is_guessed.or_else(|| self.find_pairs(tenant, &labels.pairs))?;
        self.mark(id, epoch);
        self.note_next_logged(before, guess, id);
        Some(SeriesRef { id, generation: self.entries[id].generation })
    }

    fn find_or_enter_logged(
        &mut self,
        labels: &mut LoggedLabels,
        tenant: TenantNumber,
        logged: &[u32],
        epoch: u32,
        before: Option<SeriesId>,
    ) -> SeriesRef {
        if let Some(known) = self.find_logged(labels, tenant, logged, epoch, before) {
            return known;
        }
        labels.pairs.clear();
        for &number in logged {
            let pair = labels.pair_of(number, tenant).unwrap_or_else(|| {
                let (name, value) = labels.label(number);
                // One that is new gets this series: no other has it.
                self.index.add(tenant, name.as_bytes(), value.as_bytes(), &mut Neighbour::default())
            });
            labels.known[number as usize] = Some(KnownPair { tenant, pair });
            labels.pairs.push(pair);
        }
        let hash = self.keys.series(tenant, &labels.pairs);
        let id = self.enter(tenant, labels.pairs.as_slice().into(), hash, epoch);
        self.note_next_logged(before, self.guess_logged(before), id);
        SeriesRef { id, generation: self.entries[id].generation }
    }

    /// The series that came after one when it came in a log before.
    fn guess_logged(&self, before: Option<SeriesId>) -> Option<SeriesId> {
        before.map(|before| self.next_logged(before).load(Ordering::Relaxed))
    }

    /// Notes which series came after which one, if that was not what was guessed.
    fn note_next_logged(&self, before: Option<SeriesId>, guess: Option<SeriesId>, id: SeriesId) {
        if let Some(before) = before.filter(|_| guess != Some(id)) {
            self.next_logged(before).store(id, Ordering::Relaxed);
        }
    }
}
