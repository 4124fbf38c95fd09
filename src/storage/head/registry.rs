//! The series registry: canonical labels → dense id, and matchers → series.
//!
//! Owns which series are active and by what they are known. Ids are local to this process: a series
//! whose last epoch was flushed is forgotten and its id is used again. Labels stand in
//! [`super::index`]; samples are [`super::epoch`]'s.
//!
//! A series is the numbers of its pairs, which are its tenant's: two series are the same where these
//! are, so that no sender can merge two. Requests of 2.0 look each pair of symbols up once. In front
//! of that stand two caches for the bytes that 1.0 repeats with every scrape: each series keeps the
//! keyed hash of the span that its labels came in, which is first compared at the series that last
//! followed the one before, then looked up. Both are part of the series and go with it: what was
//! forgotten is not found.
//!
//! A batch is resolved after [`validate`] judged it. Before that, [`Registry::recognise`] looks for its series
//! among those that were judged already: by a span that was learned from a batch judged by the same
//! limits, or, of labels that came in pieces, where exactly these are a series that such a batch has
//! had. So the hash of a span is one of its *context*, too: tenant, limits, and whether a label was
//! taken off, as of senders of an HA pair, whose series are recognised as such: their labels need not be
//! judged, but be looked at. Limits that change need no more than that: under others nothing is found that
//! was learned, until the next epoch has learned it again.
//!
//! What the log needs labels for has them as numbers from [`numbered`], which also knows what a replica has of each
//! series; [`restore`] brings series of the log back.
//!
//! [`validate`]: mod@crate::ingest::validate

mod numbered;
mod restore;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};

use super::cardinality::{Cardinality, Suspect};
use super::index::{LabelIndex, Neighbour, PairNumber, TenantNumber};
use super::keys::{Keys, LabelForm, SpanContext, SpanHash};
use super::matching;
use super::row_order::RowOrder;
use super::slab::Slab;
use super::tags::TagTable;
use crate::model::series_batch::{BatchSeries, LabelLimits, LabelRef, LabelsSize, RefusalReason, Refusals};
use crate::model::{Labels, LabelsBuffer, Matcher, SeriesBatch, TenantId};
use crate::storage::label_numbers::LabelNumbers;
use crate::storage::number_hash::NumberMap;

use numbered::Placed;
pub use restore::LoggedLabels;

/// A series' number in this process.
pub type SeriesId = u32;

/// What [`Registry::resolve`] gives for a series that was refused.
pub const REFUSED: SeriesId = SeriesId::MAX;

/// Series forgotten under one lock: writes wait for no more than these.
const FORGET_AT_ONCE: usize = 2048;

/// Labels of a request that are looked up once only: a hostile one has millions of them.
const SYMBOL_PAIRS_MAX: usize = 1 << 16;

/// A series as long as it is registered: no other series has both its id and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesRef {
    pub id: SeriesId,
    /// Never 0.
    pub generation: u32,
}

/// What a series is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub tenant: TenantId,
    pub labels: Labels,
}

/// One active series.
struct Entry {
    pairs: Box<[PairNumber]>,
    /// Of the bytes that its labels came in and their context, or the stamp of the context alone where
    /// they came in pieces.
    span: Option<SpanHash>,
    tenant: TenantNumber,
    generation: u32,
    /// The series that came after this one in a request: a guess.
    next: AtomicU32,
    /// Number of the newest epoch that a sample of this series went to.
    last_epoch: AtomicU32,
}

/// All active series.
pub struct Registry {
    keys: Keys,
    /// Held for reading while found series must stay what they are, for writing to forget some.
    keeping: RwLock<()>,
    inner: RwLock<Inner>,
    bytes: AtomicU64,
}

struct Inner {
    keys: Keys,
    index: LabelIndex,
    entries: Slab<Entry>,
    placed: Placed,
    by_pairs: TagTable,
    by_span: TagTable,
    last_generation: u32,
    /// How often series were forgotten: numbers of pairs may stand for others since.
    forgettings: u64,
    /// The series that was registered last, as a neighbour of the next.
    last_registered: SeriesId,
    /// Heap of the entries, tables and postings.
    series_bytes: u64,
}

/// May a new series still be registered? The refusal is the reason for those that may not.
pub type Admit<'a> = &'a dyn Fn(&TenantId, u64) -> Result<(), RefusalReason>;

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    pub fn new() -> Self {
        Self::with(Placed::default())
    }

    fn with(placed: Placed) -> Self {
        let keys = Keys::random();
        let inner = Inner {
            keys: keys.clone(),
            index: LabelIndex::new(keys.clone()),
            entries: Slab::default(),
            placed,
            by_pairs: TagTable::default(),
            by_span: TagTable::default(),
            last_generation: 0,
            forgettings: 0,
            last_registered: REFUSED,
            series_bytes: 0,
        };
        Self { keys, keeping: RwLock::default(), inner: RwLock::new(inner), bytes: AtomicU64::new(0) }
    }

    /// Number of active series, of all tenants.
    pub fn active(&self) -> u64 {
        self.inner.read().entries.len() as u64
    }

    /// Estimated heap of the registry and its index.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes the numbers of those series of a batch, among those that are asked for, whose labels were
    /// judged before to be good by these limits, and marks them as used in `epoch`. As long as that is not
    /// flushed they stay what they are. Says how many that are.
    pub fn recognise(
        &self,
        batch: &mut SeriesBatch,
        limits: &LabelLimits,
        epoch: u64,
        is_asked: impl Fn(&SeriesBatch, &BatchSeries) -> bool,
    ) -> usize {
        let epoch = epoch_number(epoch);
        let contexts = Contexts::new(&self.keys, &batch.tenant, Some(*limits));
        let hash_of = |series: &BatchSeries| {
            is_asked(batch, series).then(|| contexts.hash_of(&self.keys, batch, series)).flatten()
        };
        let hashes: Vec<Option<SpanHash>> = batch.series.iter().map(hash_of).collect();
        let mut series = std::mem::take(&mut batch.series);
        let found = self.inner.read().recognise(batch, &mut series, &contexts, &hashes, epoch);
        batch.series = series;
        found
    }

    /// Finds or registers every series of a canonical batch and marks it as used in `epoch`.
    /// `admit(tenant, active series of the tenant)` is asked for each new one; a refused series
    /// gets [`REFUSED`]. Series that were recognised are found already.
    pub fn resolve(
        &self,
        batch: &SeriesBatch,
        epoch: u64,
        admit: Admit<'_>,
        refusals: &mut Refusals,
    ) -> Vec<SeriesId> {
        let known: Option<Vec<SeriesId>> = batch.series.iter().map(|series| series.known).collect();
        if let Some(known) = known {
            self.mark_used(&known, epoch);
            return known;
        }
        let epoch = epoch_number(epoch);
        let contexts = Contexts::new(&self.keys, &batch.tenant, batch.judged_by);
        let hash_of = |series: &BatchSeries| match series.known {
            Some(_) => None,
            None => contexts.hash_of(&self.keys, batch, series),
        };
        let hashes: Vec<Option<SpanHash>> = batch.series.iter().map(hash_of).collect();
        let mut found = self.inner.read().find_batch(batch, &hashes, epoch);
        if found.unknown.is_empty() && found.to_learn.is_empty() {
            return found.ids;
        }
        let mut inner = self.inner.write();
        for &at in &found.to_learn {
            if let Some(hash) = hashes[at] {
                inner.learn(found.ids[at], hash, batch.series[at].span.is_some());
            }
        }
        for &at in &found.unknown {
            let series = &batch.series[at];
            let id = inner.find_or_register(batch, series, epoch, admit, refusals);
            found.ids[at] = id;
            if let Some(hash) = hashes[at].filter(|_| id != REFUSED) {
                inner.learn(id, hash, series.span.is_some());
            }
            // What the next one is admitted by.
            self.note_bytes(&inner);
        }
        found.ids
    }

    fn note_bytes(&self, inner: &Inner) {
        self.bytes.store(inner.index.bytes() + inner.series_bytes, Ordering::Relaxed);
    }

    /// Marks series as used in `epoch`. They were not forgotten since they were resolved.
    pub fn mark_used(&self, ids: &[SeriesId], epoch: u64) {
        let epoch = epoch_number(epoch);
        let inner = self.inner.read();
        for id in ids.iter().filter(|id| **id != REFUSED) {
            inner.mark(*id, epoch);
        }
    }

    /// The generation of the series that an id stands for now.
    pub fn generation(&self, id: SeriesId) -> u32 {
        self.inner.read().entries[id].generation
    }

    /// The series behind an id that [`Self::resolve`] gave and whose epoch is not flushed yet.
    pub fn series(&self, id: SeriesId) -> Series {
        let inner = self.inner.read();
        let entry = &inner.entries[id];
        Series { tenant: inner.index.tenant(entry.tenant).id.clone(), labels: inner.labels(entry) }
    }

    /// How much the labels of such a series are, which costs a fraction of having them.
    pub fn labels_size(&self, id: SeriesId) -> LabelsSize {
        let inner = self.inner.read();
        LabelsSize::of(inner.entries[id].pairs.iter().map(|pair| inner.index.label_bytes(*pair)))
    }

    /// Series that wait to be flushed, each once, in the order of rows in a part: by tenant, metric
    /// name and labels.
    pub fn in_row_order(&self, series: Vec<SeriesRef>) -> Vec<SeriesRef> {
        let order = RowOrder::new(&self.inner.read().index);
        order.sort(series, |id, keys| {
            let inner = self.inner.read();
            let entry = &inner.entries[id];
            order.key(entry.tenant, &entry.pairs, keys)
        })
    }

    /// For one question; see [`RegistryView`].
    pub fn view(&self) -> RegistryView<'_> {
        RegistryView { registry: self, _kept: self.keeping.read() }
    }

    /// Forgets every series that no epoch after `flushed_epoch` has used.
    pub fn forget_unused(&self, flushed_epoch: u64) -> u64 {
        let flushed_epoch = epoch_number(flushed_epoch);
        let _nobody_looks = self.keeping.write();
        let unused: Vec<SeriesId> = {
            let inner = self.inner.read();
            // The highest first, so that the lowest ids serve again first: neighbours stay together.
            let ids = (0..inner.entries.numbers_end()).rev();
            ids.filter(|id| inner.entries.get(*id).is_some_and(|e| e.is_unused(flushed_epoch))).collect()
        };
        let mut forgotten = 0;
        for ids in unused.chunks(FORGET_AT_ONCE) {
            let mut inner = self.inner.write();
            inner.forgettings += 1;
            for &id in ids {
                // It may have been used meanwhile.
                if inner.entries[id].is_unused(flushed_epoch) {
                    inner.remove(id);
                    forgotten += 1;
                }
            }
            self.note_bytes(&inner);
        }
        forgotten
    }

    /// Active series of each tenant.
    pub fn active_by_tenant(&self) -> Vec<(TenantId, u64)> {
        let inner = self.inner.read();
        inner.index.tenants().map(|(_, tenant)| (tenant.id.clone(), tenant.all.len())).collect()
    }

    /// Which metrics and labels of a tenant have most series, at most `limit` of each.
    pub fn cardinality(&self, tenant: &TenantId, limit: usize) -> Cardinality {
        let inner = self.inner.read();
        let tenant = inner.index.tenant_number(tenant);
        tenant.map(|tenant| Cardinality::of(&inner.index, tenant, limit)).unwrap_or_default()
    }
}

/// The registry while this is held: series may be added, but nothing is forgotten, so that what
/// [`Self::select`] found stays what it is. Who reads samples loads the read view *before* letting
/// go of it: then a series is found either here or in the parts it was flushed to.
pub struct RegistryView<'a> {
    registry: &'a Registry,
    _kept: RwLockReadGuard<'a, ()>,
}

impl RegistryView<'_> {
    /// Active series that all matchers accept.
    pub fn select(&self, tenant: &TenantId, matchers: &[Matcher]) -> Vec<SeriesRef> {
        let inner = self.registry.inner.read();
        let Some(tenant) = inner.index.tenant_number(tenant) else { return Vec::new() };
        let found = matching::select(&inner.index, tenant, matchers, |id| &inner.entries[id].pairs);
        found.iter().map(|id| SeriesRef { id, generation: inner.entries[id].generation }).collect()
    }

    /// Names of the labels that active series have, sorted.
    pub fn label_names(&self, tenant: &TenantId) -> Vec<String> {
        let inner = self.registry.inner.read();
        let Some(tenant) = inner.index.tenant_number(tenant) else { return Vec::new() };
        inner.index.tenant(tenant).names.keys().map(|name| name.to_string()).collect()
    }

    /// The first `limit` values of a label that active series have, sorted.
    pub fn label_values(&self, tenant: &TenantId, name: &str, limit: usize) -> Vec<String> {
        let inner = self.registry.inner.read();
        let Some(tenant) = inner.index.tenant_number(tenant) else { return Vec::new() };
        let Some(name) = inner.index.tenant(tenant).names.get(name) else { return Vec::new() };
        inner.index.name(*name).values.keys().take(limit).map(|value| value.to_string()).collect()
    }

    /// The labels of a series that was selected.
    pub fn labels(&self, series: SeriesRef) -> Labels {
        let inner = self.registry.inner.read();
        inner.labels(&inner.entries[series.id])
    }

    /// The labels of some series that were selected, in the same order. Writes that register a series
    /// wait meanwhile: not to be asked for very many at once.
    pub fn labels_of(&self, series: &[SeriesRef]) -> Vec<Labels> {
        let inner = self.registry.inner.read();
        let mut packed = LabelsBuffer::default();
        let labels = |series: &SeriesRef| {
            packed.clear();
            for pair in inner.entries[series.id].pairs.iter() {
                let (name, value) = inner.index.label(*pair);
                packed.push(name, value);
            }
            packed.labels()
        };
        series.iter().map(labels).collect()
    }

    /// As [`Self::labels_of`], as numbers; `known` has those of the pairs of series that came before.
    pub fn label_numbers_of(
        &self,
        series: &[SeriesRef],
        known: &mut NumberMap<PairNumber, u32>,
        sets: &mut LabelNumbers,
    ) {
        let inner = self.registry.inner.read();
        let mut own: Vec<u32> = Vec::new();
        for series in series {
            own.clear();
            for pair in inner.entries[series.id].pairs.iter() {
                let number = known.entry(*pair).or_insert_with(|| {
                    let (name, value) = inner.index.label(*pair);
                    sets.add_label(name, value)
                });
                own.push(*number);
            }
            sets.add_set(&own);
        }
    }
}

/// What the spans of a batch are hashed with, by the form of their series' labels.
struct Contexts {
    span: u128,
    reduced_span: u128,
    /// Of judged labels that came in pieces.
    stamp: Option<SpanHash>,
}

impl Contexts {
    fn new(keys: &Keys, tenant: &TenantId, judged_by: Option<LabelLimits>) -> Self {
        let of = |form| keys.context(&SpanContext { tenant, form, judged_by });
        Self {
            span: of(LabelForm::Span),
            reduced_span: of(LabelForm::ReducedSpan),
            stamp: judged_by.map(|_| keys.stamp(of(LabelForm::Pieces))),
        }
    }

    /// What a series is known by that came like this.
    #[inline]
    fn hash_of(&self, keys: &Keys, batch: &SeriesBatch, series: &BatchSeries) -> Option<SpanHash> {
        match series.span {
            Some(span) => {
                let context = if series.is_reduced { self.reduced_span } else { self.span };
                Some(keys.span(context, batch.text_of(span)))
            }
            None => self.stamp.filter(|_| !series.is_reduced),
        }
    }

    /// What a span with this hash is known by where something was taken off it.
    #[inline]
    fn reduced(&self, hash: SpanHash) -> SpanHash {
        SpanHash::new(hash.get() ^ self.span ^ self.reduced_span).unwrap_or(SpanHash::MIN)
    }
}

/// What [`Inner::find_batch`] found, by place in the batch.
struct FoundBatch {
    ids: Vec<SeriesId>,
    unknown: Vec<usize>,
    /// Found by their labels, though their span could have told.
    to_learn: Vec<usize>,
}

impl Inner {
    /// Notes the numbers of series that are known by their hash; see [`Registry::recognise`].
    fn recognise(
        &self,
        batch: &SeriesBatch,
        series: &mut [BatchSeries],
        contexts: &Contexts,
        hashes: &[Option<SpanHash>],
        epoch: u32,
    ) -> usize {
        let Some(tenant) = self.index.tenant_number(&batch.tenant) else { return 0 };
        let mut symbols = SymbolPairs::new(self, tenant);
        let mut before: Option<&Entry> = None;
        let mut found = 0;
        for (series, hash) in series.iter_mut().zip(hashes) {
            let Some(hash) = *hash else { continue };
            let guess = before.map(|before| before.next.load(Ordering::Relaxed));
            let id = match series.span {
                Some(_) => self.find_span(tenant, hash, guess).or_else(|| {
                    let reduced = self.find_span(tenant, contexts.reduced(hash), guess);
                    series.is_reduced = reduced.is_some();
                    reduced
                }),
                // What nobody has judged yet may name a long text again and again.
                None if symbols.is_full() => None,
                // The labels of a series are canonical: what is sent just so needs no judgement to be.
                None => symbols.find(batch, series, guess).filter(|id| self.entries[*id].span == Some(hash)),
            };
            let Some(id) = id else { continue };
            let entry = &self.entries[id];
            entry.mark(epoch);
            if let Some(before) = before.filter(|_| guess != Some(id)) {
                before.next.store(id, Ordering::Relaxed);
            }
            series.known = Some(id);
            before = Some(entry);
            found += 1;
        }
        found
    }

    /// Looks up all series of a batch and marks those that are there.
    fn find_batch(&self, batch: &SeriesBatch, hashes: &[Option<SpanHash>], epoch: u32) -> FoundBatch {
        let mut found =
            FoundBatch { ids: vec![REFUSED; hashes.len()], unknown: Vec::new(), to_learn: Vec::new() };
        let Some(tenant) = self.index.tenant_number(&batch.tenant) else {
            found.unknown.extend(0..hashes.len());
            return found;
        };
        let mut symbols = SymbolPairs::new(self, tenant);
        let mut before: Option<SeriesId> = None;
        for (at, series) in batch.series.iter().enumerate() {
            let guess = before.map(|before| self.entries[before].next.load(Ordering::Relaxed));
            let id = match (series.known, series.span) {
                (Some(known), _) => Some(known),
                (None, Some(_)) => {
                    hashes[at].and_then(|hash| self.find_span(tenant, hash, guess)).or_else(|| {
                        let near = before.unwrap_or(REFUSED);
                        self.find_labels(&batch.tenant, batch.labels_of(series), near, &mut symbols.pairs)
                    })
                }
                (None, None) => symbols.find(batch, series, guess),
            };
            let Some(id) = id else {
                found.unknown.push(at);
                continue;
            };
            let is_first = self.mark(id, epoch);
            let learned = self.entries[id].span;
            if hashes[at].is_some() && learned != hashes[at] {
                // Senders may write the same labels differently: the first of an epoch counts, so
                // that two of them do not overwrite each other's spans all the time.
                let is_wanted = is_first || learned.is_none();
                found.to_learn.extend(is_wanted.then_some(at));
            }
            self.note_next(before, guess, id);
            found.ids[at] = id;
            before = Some(id);
        }
        found
    }

    /// Notes which series came after which one, if that was not what was guessed.
    #[inline]
    fn note_next(&self, before: Option<SeriesId>, guess: Option<SeriesId>, id: SeriesId) {
        if let Some(before) = before.filter(|_| guess != Some(id)) {
            self.entries[before].next.store(id, Ordering::Relaxed);
        }
    }

    /// The series whose labels came in these bytes, if that is known.
    #[inline]
    fn find_span(&self, tenant: TenantNumber, span: SpanHash, guess: Option<SeriesId>) -> Option<SeriesId> {
        let is_it = |id: SeriesId| {
            self.entries.get(id).is_some_and(|entry| entry.span == Some(span) && entry.tenant == tenant)
        };
        guess.filter(|id| is_it(*id)).or_else(|| self.by_span.find(tag_of(span), is_it))
    }

    fn find_pairs(&self, tenant: TenantNumber, pairs: &[PairNumber]) -> Option<SeriesId> {
        self.find_hashed(self.keys.series(tenant, pairs), tenant, pairs)
    }

    fn find_hashed(&self, hash: u64, tenant: TenantNumber, pairs: &[PairNumber]) -> Option<SeriesId> {
        self.by_pairs.find(hash, |id| self.is(id, tenant, pairs))
    }

    fn is(&self, id: SeriesId, tenant: TenantNumber, pairs: &[PairNumber]) -> bool {
        self.entries.get(id).is_some_and(|entry| *entry.pairs == *pairs && entry.tenant == tenant)
    }

    /// The series with these canonical labels. `near` may be one with many of them. Leaves in
    /// `pairs` those of the first labels, up to one that no series has.
    fn find_labels<'a>(
        &self,
        tenant: &TenantId,
        labels: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        near: SeriesId,
        pairs: &mut Vec<PairNumber>,
    ) -> Option<SeriesId> {
        pairs.clear();
        let tenant = self.index.tenant_number(tenant)?;
        let mut near = Neighbour::new(self.pairs_near(near, tenant));
        for (name, value) in labels {
            pairs.push(self.index.find(tenant, name, value, &mut near)?);
        }
        self.find_pairs(tenant, pairs)
    }

    /// The pairs of a series, if it is there and the tenant's.
    fn pairs_near(&self, id: SeriesId, tenant: TenantNumber) -> &[PairNumber] {
        let entry = self.entries.get(id).filter(|entry| entry.tenant == tenant);
        entry.map_or(&[], |entry| &entry.pairs)
    }

    /// Marks a series as used in an epoch; whether it was not yet.
    fn mark(&self, id: SeriesId, epoch: u32) -> bool {
        self.entries[id].mark(epoch)
    }

    /// Remembers what a series' labels came in, instead of what it knew. A stamp, which many series
    /// have, is nothing to find them by.
    fn learn(&mut self, id: SeriesId, hash: SpanHash, is_of_span: bool) {
        let known = self.entries[id].span.replace(hash);
        if known == Some(hash) {
            return;
        }
        if let Some(known) = known {
            self.by_span.remove(tag_of(known), id);
        }
        if is_of_span {
            self.by_span.insert(tag_of(hash), id);
        }
    }

    fn find_or_register(
        &mut self,
        batch: &SeriesBatch,
        series: &BatchSeries,
        epoch: u32,
        admit: Admit<'_>,
        refusals: &mut Refusals,
    ) -> SeriesId {
        let mut pairs = Vec::with_capacity(series.labels.len());
        let near = self.last_registered;
        if let Some(id) = self.find_labels(&batch.tenant, batch.labels_of(series), near, &mut pairs) {
            self.mark(id, epoch);
            return id;
        }
        let tenant = self.index.tenant_number(&batch.tenant);
        let active = tenant.map_or(0, |tenant| self.index.tenant(tenant).all.len());
        if let Err(reason) = admit(&batch.tenant, active) {
            let samples = series.floats.len() + series.histograms.len() + series.exemplars.len();
            refusals.add(reason, samples as u64, || self.refusal(reason, batch, series));
            return REFUSED;
        }
        self.register(&batch.tenant, batch.labels_of(series), near, pairs, epoch)
    }

    /// Enters a series that is not there yet, with what [`Self::find_labels`] left in `pairs`.
    fn register<'a>(
        &mut self,
        tenant: &TenantId,
        labels: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        near: SeriesId,
        mut pairs: Vec<PairNumber>,
        epoch: u32,
    ) -> SeriesId {
        let tenant = self.index.add_tenant(tenant);
        let mut missing = labels.skip(pairs.len()).peekable();
        if missing.peek().is_some() {
            let near: Box<[PairNumber]> = self.pairs_near(near, tenant).into();
            let mut near = Neighbour::new(&near);
            pairs.extend(missing.map(|(name, value)| self.index.add(tenant, name, value, &mut near)));
        }
        let hash = self.keys.series(tenant, &pairs);
        self.enter(tenant, pairs.into_boxed_slice(), hash, epoch)
    }

    /// Enters a series that is not there yet; `hash` is that of its pairs.
    fn enter(&mut self, tenant: TenantNumber, pairs: Box<[PairNumber]>, hash: u64, epoch: u32) -> SeriesId {
        // Who compares generations does not do so for as long as it takes to count to 2^32.
        self.last_generation = self.last_generation.checked_add(1).unwrap_or(1);
        self.series_bytes += entry_bytes(&pairs) + self.placed.entry_bytes();
        let id = self.entries.insert(Entry {
            pairs,
            span: None,
            tenant,
            generation: self.last_generation,
            next: AtomicU32::new(REFUSED),
            last_epoch: AtomicU32::new(epoch),
        });
        self.index.enter(tenant, &self.entries[id].pairs, id);
        self.placed.enter(&self.index, tenant, &self.entries[id].pairs, id);
        self.by_pairs.insert(hash, id);
        self.last_registered = id;
        id
    }

    fn remove(&mut self, id: SeriesId) {
        let entry = self.entries.remove(id);
        self.by_pairs.remove(self.keys.series(entry.tenant, &entry.pairs), id);
        if let Some(span) = entry.span {
            self.by_span.remove(tag_of(span), id);
        }
        self.index.leave(entry.tenant, &entry.pairs, id);
        self.placed.leave(id);
        self.series_bytes -= entry_bytes(&entry.pairs) + self.placed.entry_bytes();
    }

    /// Why a new series was refused: which label has too many values, and the series.
    fn refusal(&self, reason: RefusalReason, batch: &SeriesBatch, series: &BatchSeries) -> String {
        let why = match reason {
            RefusalReason::MemoryFull => "the head's memory is full",
            _ => "the tenant's limit of active series (active_series) is reached",
        };
        let tenant = self.index.tenant_number(&batch.tenant);
        let suspect = tenant.map(|tenant| Suspect::of(&self.index, tenant, texts_of(batch, series)));
        let suspect =
            suspect.map_or_else(String::new, |suspect| format!(": {}", shortened(suspect.to_string())));
        let shown = shortened(Labels::from_sorted(texts_of(batch, series)).to_string());
        format!("new series refused, {why}{suspect}: {shown}")
    }

    fn labels(&self, entry: &Entry) -> Labels {
        Labels::from_sorted(entry.pairs.iter().map(|pair| self.index.label(*pair)))
    }
}

impl Entry {
    /// Marks the series as used in an epoch; whether it was not yet.
    #[inline]
    fn mark(&self, epoch: u32) -> bool {
        self.last_epoch.load(Ordering::Relaxed) < epoch
            && self.last_epoch.fetch_max(epoch, Ordering::Relaxed) < epoch
    }

    fn is_unused(&self, flushed_epoch: u32) -> bool {
        self.last_epoch.load(Ordering::Relaxed) <= flushed_epoch
    }
}

/// Labels of a request whose texts stand in it once: what a pair of them is, is looked up once.
struct SymbolPairs<'a> {
    inner: &'a Inner,
    tenant: TenantNumber,
    /// Which pair a label of the request is; `None` where no series has it.
    known: HashTable<(LabelRef, Option<PairNumber>)>,
    /// Those of the series that is looked up.
    pairs: Vec<PairNumber>,
}

impl<'a> SymbolPairs<'a> {
    fn new(inner: &'a Inner, tenant: TenantNumber) -> Self {
        Self { inner, tenant, known: HashTable::new(), pairs: Vec::new() }
    }

    fn find(
        &mut self,
        batch: &SeriesBatch,
        series: &BatchSeries,
        guess: Option<SeriesId>,
    ) -> Option<SeriesId> {
        self.pairs.clear();
        for label in batch.label_refs(series) {
            let pair = self.pair(batch, *label)?;
            self.pairs.push(pair);
        }
        let guess = guess.filter(|id| self.inner.is(*id, self.tenant, &self.pairs));
        guess.or_else(|| self.inner.find_pairs(self.tenant, &self.pairs))
    }

    /// Whether labels that are not known yet are looked up each time they come.
    fn is_full(&self) -> bool {
        self.known.len() >= SYMBOL_PAIRS_MAX
    }

    fn pair(&mut self, batch: &SeriesBatch, label: LabelRef) -> Option<PairNumber> {
        let keys = &self.inner.keys;
        let hash = |label: &LabelRef| keys.mix(u64::from(label.name.start), u64::from(label.value.start));
        if let Some((_, pair)) = self.known.find(hash(&label), |(known, _)| *known == label) {
            return *pair;
        }
        let (name, value) = (batch.text_of(label.name), batch.text_of(label.value));
        let pair = self.inner.index.find(self.tenant, name, value, &mut Neighbour::default());
        if !self.is_full() {
            self.known.insert_unique(hash(&label), (label, pair), |(label, _)| hash(label));
        }
        pair
    }
}

fn tag_of(span: SpanHash) -> u64 {
    span.get() as u64
}

/// Epochs are numbered from 1 in every process.
fn epoch_number(epoch: u64) -> u32 {
    u32::try_from(epoch).expect("no process seals 2^32 epochs")
}

/// Estimated heap of one series: its entry, its places in two tables and in its postings.
fn entry_bytes(pairs: &[PairNumber]) -> u64 {
    const TABLE_ENTRY_BYTES: u64 = 16;
    const POSTING_BYTES: u64 = 4;
    size_of::<Entry>() as u64
        + 2 * TABLE_ENTRY_BYTES
        + pairs.len() as u64 * (size_of::<PairNumber>() as u64 + POSTING_BYTES)
}

/// Labels of a series as texts.
fn texts_of<'a>(
    batch: &'a SeriesBatch,
    series: &'a BatchSeries,
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    batch.labels_of(series).map(|(name, value)| (text(name), text(value)))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("validate checked that labels are UTF-8")
}

/// At most so many characters, where a hostile sender made it long.
fn shortened(mut text: String) -> String {
    const SHOWN_CHARS: usize = 300;
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp;
    use bytes::Bytes;

    fn batch(tenant: &str, sets: &[&[(&str, &str)]]) -> SeriesBatch {
        let mut batch = SeriesBatch::new(TenantId::parse(tenant).expect("valid"), Bytes::new());
        for set in sets {
            batch.push_owned(&Labels::from_pairs(set.iter().copied()), &[], &[], &[]);
        }
        batch
    }

    fn resolve(registry: &Registry, batch: &SeriesBatch, epoch: u64) -> Vec<SeriesId> {
        registry.resolve(batch, epoch, &|_, _| Ok(()), &mut Refusals::default())
    }

    #[test]
    fn the_same_labels_have_the_same_id_and_tenants_are_apart() {
        let registry = Registry::new();
        let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];
        let down: &[(&str, &str)] = &[("__name__", "down")];

        let first = resolve(&registry, &batch("t1", &[up, down, up]), 1);
        let second = resolve(&registry, &batch("t2", &[up]), 1);

        assert_eq!(first[0], first[2]);
        assert_ne!(first[0], first[1]);
        assert!(!first.contains(&second[0]));
        assert_eq!(registry.active(), 3);
    }

    #[test]
    fn a_series_unused_since_the_flush_is_forgotten_and_its_id_serves_again() {
        let registry = Registry::new();
        let old: &[(&str, &str)] = &[("__name__", "old")];
        let live: &[(&str, &str)] = &[("__name__", "live")];
        let ids = resolve(&registry, &batch("t", &[old, live]), 1);
        resolve(&registry, &batch("t", &[live]), 2);

        assert_eq!(registry.forget_unused(1), 1);

        let tenant = TenantId::parse("t").expect("valid");
        let names = |registry: &Registry| -> Vec<String> {
            let view = registry.view();
            view.select(&tenant, &[]).into_iter().map(|found| view.labels(found).to_string()).collect()
        };
        assert_eq!(names(&registry), ["live"]);
        let again = resolve(&registry, &batch("t", &[&[("__name__", "new")]]), 2);
        assert_eq!(again, [ids[0]]);
    }

    #[test]
    fn a_refusal_names_the_label_that_has_most_values_and_the_metric() {
        let registry = Registry::new();
        let pods = ["a", "b", "c"];
        for pod in pods {
            resolve(&registry, &batch("t", &[&[("__name__", "hits"), ("job", "web"), ("pod", pod)]]), 1);
        }
        let mut refusals = Refusals::default();
        let one_more = batch("t", &[&[("__name__", "hits"), ("job", "web"), ("pod", "d")]]);
        registry.resolve(&one_more, 1, &|_, _| Err(RefusalReason::MemoryFull), &mut refusals);

        let text = &refusals.examples[0];
        for words in
            ["label \"pod\" has 3 values", "metric \"hits\" has 3 series", "pod=\"d\"", "memory is full"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn matchers_select_as_in_prometheus() {
        let registry = Registry::new();
        let sets: &[&[(&str, &str)]] = &[
            &[("__name__", "up"), ("job", "a")],
            &[("__name__", "up"), ("job", "b"), ("zone", "x")],
            &[("__name__", "down"), ("job", "abc")],
        ];
        resolve(&registry, &batch("t", sets), 1);
        let tenant = TenantId::parse("t").expect("valid");
        let check = |matchers: &[(&str, MatchOp, &str)], want: &[&str]| {
            let matchers: Vec<Matcher> =
                matchers.iter().map(|(n, op, v)| Matcher::new(n, *op, v).expect("valid")).collect();
            let view = registry.view();
            let job = |found| view.labels(found).get("job").unwrap_or("").to_owned();
            let mut found: Vec<String> = view.select(&tenant, &matchers).into_iter().map(job).collect();
            found.sort();
            assert_eq!(found, want, "{matchers:?}");
        };
        check(&[("__name__", MatchOp::Equal, "up")], &["a", "b"]);
        check(&[("job", MatchOp::Regex, "a.*")], &["a", "abc"]);
        check(&[("job", MatchOp::Regex, "a|b")], &["a", "b"]);
        check(&[("job", MatchOp::NotRegex, "a.*")], &["b"]);
        check(&[("zone", MatchOp::Equal, "")], &["a", "abc"]);
        check(&[("zone", MatchOp::NotEqual, "")], &["b"]);
        check(&[("zone", MatchOp::NotEqual, "x")], &["a", "abc"]);
        check(&[("zone", MatchOp::Regex, "x?")], &["a", "abc", "b"]);
        check(&[("nope", MatchOp::Equal, "x")], &[]);
        check(&[("nope", MatchOp::NotEqual, "x"), ("job", MatchOp::NotEqual, "a")], &["abc", "b"]);
    }
}
