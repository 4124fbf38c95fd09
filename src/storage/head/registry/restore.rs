//! Series of the log back into the registry, many under one lock.
//!
//! A log file numbers its label pairs: what each is here is looked up once, and a series is then a
//! translation of a few numbers. The series that followed the last one when it came before is tried first: where
//! it is the one, its labels are compared and nothing is looked up. Nothing is refused: all of it was acknowledged.

use std::sync::atomic::Ordering;

use super::{Inner, Registry, SeriesId, SeriesRef, epoch_number};
use crate::model::TenantId;
use crate::storage::head::index::{Neighbour, PairNumber, TenantNumber};
use crate::storage::log::DefinedLabels;

/// Series entered under one lock: writes wait for no more than these.
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
            let mut inner = self.inner.write();
            if labels.forgettings != inner.forgettings {
                labels.known.fill(None);
                labels.forgettings = inner.forgettings;
            }
            let tenant = inner.index.add_tenant(tenant);
            // Nothing is forgotten under the lock.
            let mut before = None;
            for logged in series.by_ref().take(RESTORE_AT_ONCE) {
                let series = inner.restore(labels, tenant, logged, epoch, before);
                before = Some(series.id);
                found.push(series);
            }
            self.note_bytes(&inner);
        }
    }
}

impl Inner {
    fn restore(
        &mut self,
        labels: &mut LoggedLabels,
        tenant: TenantNumber,
        logged: &[u32],
        epoch: u32,
        before: Option<SeriesId>,
    ) -> SeriesRef {
        let guess = before.map(|before| self.entries[before].next.load(Ordering::Relaxed));
        let guessed = guess.and_then(|id| self.entries.get(id)).filter(|entry| entry.tenant == tenant);
        let mut near = Neighbour::new(guessed.map_or(&[], |entry| &entry.pairs));
        labels.pairs.clear();
        for &number in logged {
            let known = &mut labels.known[number as usize];
            let pair = match known {
                Some(known) if known.tenant == tenant => known.pair,
                _ => {
                    let (name, value) = labels.labels.label(number);
                    // One that is new gets this series: no other has it.
                    let pair = self.index.add(tenant, name.as_bytes(), value.as_bytes(), &mut near);
                    *known = Some(KnownPair { tenant, pair });
                    pair
                }
            };
            labels.pairs.push(pair);
        }
        let id = match guess.filter(|id| self.is(*id, tenant, &labels.pairs)) {
            Some(id) => {
                self.mark(id, epoch);
                id
            }
            None => self.find_or_enter(tenant, &labels.pairs, epoch),
        };
        if let Some(before) = before.filter(|_| guess != Some(id)) {
            self.entries[before].next.store(id, Ordering::Relaxed);
        }
        SeriesRef { id, generation: self.entries[id].generation }
    }

    fn find_or_enter(&mut self, tenant: TenantNumber, pairs: &[PairNumber], epoch: u32) -> SeriesId {
        let hash = self.keys.series(tenant, pairs);
        match self.find_hashed(hash, tenant, pairs) {
            Some(id) => {
                self.mark(id, epoch);
                id
            }
            None => self.enter(tenant, pairs.into(), hash, epoch),
        }
    }
}
