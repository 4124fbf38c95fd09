//! The series registry: canonical labels → dense id, and matchers → series.
//!
//! Owns ids, identity and the label index of active series. Ids are local to this process: a
//! series whose last epoch was flushed is forgotten and its id is used again. Samples are
//! [`super::epoch`]'s.
//!
//! Identity is a 128-bit hash, keyed per process, of tenant and canonical label bytes, and the
//! labels are compared on a match: no sender can merge two series.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::encoding::varint;
use crate::model::series_batch::{BatchSeries, RefusalReason, Refusals};
use crate::model::{Labels, Matcher, SeriesBatch, TenantId};

/// A series' number in this process.
pub type SeriesId = u32;

/// What [`Registry::resolve`] gives for a series that was refused.
pub const REFUSED: SeriesId = SeriesId::MAX;

/// Bytes that a new series is reckoned to cost beside its label text: struct, table slot,
/// postings.
const SERIES_OVERHEAD_BYTES: u64 = 300;

/// One active series.
#[derive(Debug)]
pub struct Series {
    pub tenant: TenantId,
    pub labels: Labels,
    hash: u128,
    /// Number of the newest epoch that a sample of this series went to.
    last_epoch: AtomicU64,
}

/// All active series.
pub struct Registry {
    seed: u64,
    inner: RwLock<Inner>,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Inner {
    table: HashTable<(u64, SeriesId)>,
    series: Vec<Option<Arc<Series>>>,
    free_ids: Vec<SeriesId>,
    tenants: HashMap<TenantId, TenantIndex>,
}

/// Label index of one tenant.
#[derive(Default)]
struct TenantIndex {
    all: RoaringBitmap,
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>>,
}

/// May a new series still be registered? The refusal is the reason for those that may not.
pub type Admit<'a> = &'a dyn Fn(&TenantId, u64) -> Result<(), RefusalReason>;

impl Registry {
    pub fn new(seed: u64) -> Self {
        Self { seed, inner: RwLock::default(), bytes: AtomicU64::new(0) }
    }

    /// Number of active series, of all tenants.
    pub fn len(&self) -> u64 {
        let inner = self.inner.read();
        (inner.series.len() - inner.free_ids.len()) as u64
    }

    /// Estimated heap of the registry and its index.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Finds or registers every series of a canonical batch and marks it as used in `epoch`.
    /// `admit(tenant, active series of the tenant)` is asked for each new one; a refused series
    /// gets [`REFUSED`].
    pub fn resolve(
        &self,
        batch: &SeriesBatch,
        epoch: u64,
        admit: Admit<'_>,
        refusals: &mut Refusals,
    ) -> Vec<SeriesId> {
        let mut ids = Vec::with_capacity(batch.series.len());
        let mut packed = Vec::with_capacity(256);
        let mut misses = Vec::new();
        {
            let inner = self.inner.read();
            for (at, series) in batch.series.iter().enumerate() {
                pack_labels(batch, series, &mut packed);
                let hash = self.hash(&batch.tenant, &packed);
                let id = inner.find(hash, &batch.tenant, &packed).unwrap_or_else(|| {
                    misses.push((at, hash));
                    REFUSED
                });
                if id != REFUSED {
                    inner.mark(id, epoch);
                }
                ids.push(id);
            }
        }
        if misses.is_empty() {
            return ids;
        }
        let mut inner = self.inner.write();
        for (at, hash) in misses {
            let series = &batch.series[at];
            pack_labels(batch, series, &mut packed);
            ids[at] = match inner.find(hash, &batch.tenant, &packed) {
                Some(id) => {
                    inner.mark(id, epoch);
                    id
                }
                None => self.register(&mut inner, batch, series, hash, epoch, admit, refusals),
            };
        }
        ids
    }

    #[expect(clippy::too_many_arguments, reason = "the miss path of resolve, which has them all at hand")]
    fn register(
        &self,
        inner: &mut Inner,
        batch: &SeriesBatch,
        series: &BatchSeries,
        hash: u128,
        epoch: u64,
        admit: Admit<'_>,
        refusals: &mut Refusals,
    ) -> SeriesId {
        let text = |bytes| std::str::from_utf8(bytes).expect("validate checked that labels are UTF-8");
        let labels =
            Labels::from_sorted(batch.labels_of(series).map(|(name, value)| (text(name), text(value))));
        let active = inner.tenants.get(&batch.tenant).map_or(0, |index| index.all.len());
        if let Err(reason) = admit(&batch.tenant, active) {
            let samples = series.floats.len() + series.histograms.len() + series.exemplars.len();
            refusals.add(reason, samples as u64, || match reason {
                RefusalReason::MemoryFull => {
                    format!("new series refused, the head's memory is full: {}", bounded(&labels))
                }
                _ => format!(
                    "new series refused by the tenant's limit of active series (active_series): {}",
                    bounded(&labels)
                ),
            });
            return REFUSED;
        }
        self.bytes.fetch_add(series_bytes(&labels), Ordering::Relaxed);
        inner.insert(Series { tenant: batch.tenant.clone(), labels, hash, last_epoch: AtomicU64::new(epoch) })
    }

    /// Finds or registers one series that was acknowledged before: nothing refuses it.
    pub fn resolve_labels(&self, tenant: &TenantId, labels: &Labels, epoch: u64) -> SeriesId {
        let hash = self.hash(tenant, labels.as_bytes());
        let mut inner = self.inner.write();
        if let Some(id) = inner.find(hash, tenant, labels.as_bytes()) {
            inner.mark(id, epoch);
            return id;
        }
        self.bytes.fetch_add(series_bytes(labels), Ordering::Relaxed);
        let (tenant, labels) = (tenant.clone(), labels.clone());
        inner.insert(Series { tenant, labels, hash, last_epoch: AtomicU64::new(epoch) })
    }

    fn hash(&self, tenant: &TenantId, packed: &[u8]) -> u128 {
        // The tenant only has to pick a hash function of its own: equality compares it anyway.
        let seed = if tenant.as_str() == crate::model::tenant::ANONYMOUS {
            self.seed
        } else {
            xxhash_rust::xxh3::xxh3_64_with_seed(tenant.as_str().as_bytes(), self.seed)
        };
        xxh3_128_with_seed(packed, seed)
    }

    /// The series behind an id that [`Self::resolve`] gave and whose epoch is not flushed yet.
    pub fn series(&self, id: SeriesId) -> Arc<Series> {
        let inner = self.inner.read();
        let series = inner.series[id as usize].as_ref();
        Arc::clone(series.expect("a series marked for an epoch stays until that epoch is flushed"))
    }

    /// A consistent view for one question; see [`RegistryView`].
    pub fn view(&self) -> RegistryView<'_> {
        RegistryView { inner: self.inner.read() }
    }

    /// Forgets every series that no epoch after `flushed_epoch` has used.
    pub fn forget_unused(&self, flushed_epoch: u64) -> u64 {
        let mut inner = self.inner.write();
        let unused: Vec<SeriesId> = (0..inner.series.len())
            .filter(|&at| {
                let series = inner.series[at].as_ref();
                series.is_some_and(|s| s.last_epoch.load(Ordering::Relaxed) <= flushed_epoch)
            })
            .map(|at| at as SeriesId)
            .collect();
        for &id in &unused {
            let series = inner.remove(id);
            self.bytes.fetch_sub(series_bytes(&series.labels), Ordering::Relaxed);
        }
        unused.len() as u64
    }

    /// Active series of each tenant.
    pub fn active_by_tenant(&self) -> Vec<(TenantId, u64)> {
        let inner = self.inner.read();
        inner.tenants.iter().map(|(tenant, index)| (tenant.clone(), index.all.len())).collect()
    }
}

/// The registry as it stands while this is held: nothing is registered or forgotten meanwhile.
/// Who reads samples loads the read view *before* letting go of it, so that a series is found
/// either here or in the parts it was flushed to.
pub struct RegistryView<'a> {
    inner: RwLockReadGuard<'a, Inner>,
}

impl RegistryView<'_> {
    /// Active series that all matchers accept.
    pub fn select(&self, tenant: &TenantId, matchers: &[Matcher]) -> Vec<(SeriesId, Arc<Series>)> {
        let Some(index) = self.inner.tenants.get(tenant) else { return Vec::new() };
        let found = |id: SeriesId| {
            let series = self.inner.series[id as usize].as_ref();
            (id, Arc::clone(series.expect("an indexed series is registered")))
        };
        index.select(matchers).iter().map(found).collect()
    }
}

impl Inner {
    fn find(&self, hash: u128, tenant: &TenantId, packed: &[u8]) -> Option<SeriesId> {
        let same = |&(tag, id): &(u64, SeriesId)| {
            tag == hash as u64
                && self.series[id as usize].as_ref().is_some_and(|series| {
                    series.hash == hash && series.tenant == *tenant && series.labels.as_bytes() == packed
                })
        };
        self.table.find(hash as u64, same).map(|&(_, id)| id)
    }

    fn mark(&self, id: SeriesId, epoch: u64) {
        let series = self.series[id as usize].as_ref().expect("found in the table");
        if series.last_epoch.load(Ordering::Relaxed) < epoch {
            series.last_epoch.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    fn insert(&mut self, series: Series) -> SeriesId {
        let hash = series.hash as u64;
        let id = self.free_ids.pop().unwrap_or_else(|| {
            self.series.push(None);
            (self.series.len() - 1) as SeriesId
        });
        let index = self.tenants.entry(series.tenant.clone()).or_default();
        index.all.insert(id);
        for (name, value) in &series.labels {
            index.insert(name, value, id);
        }
        self.series[id as usize] = Some(Arc::new(series));
        self.table.insert_unique(hash, (hash, id), |&(tag, _)| tag);
        id
    }

    fn remove(&mut self, id: SeriesId) -> Arc<Series> {
        let series = self.series[id as usize].take().expect("only registered series are removed");
        if let Ok(entry) = self.table.find_entry(series.hash as u64, |&(_, other)| other == id) {
            entry.remove();
        }
        if let Some(index) = self.tenants.get_mut(&series.tenant) {
            index.all.remove(id);
            for (name, value) in &series.labels {
                index.remove(name, value, id);
            }
            if index.all.is_empty() {
                self.tenants.remove(&series.tenant);
            }
        }
        self.free_ids.push(id);
        series
    }
}

impl TenantIndex {
    fn insert(&mut self, name: &str, value: &str, id: SeriesId) {
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), BTreeMap::new());
        }
        let values = self.names.get_mut(name).expect("inserted above");
        match values.get_mut(value) {
            Some(postings) => {
                postings.insert(id);
            }
            None => {
                values.insert(value.into(), RoaringBitmap::from_iter([id]));
            }
        }
    }

    fn remove(&mut self, name: &str, value: &str, id: SeriesId) {
        let Some(values) = self.names.get_mut(name) else { return };
        if let Some(postings) = values.get_mut(value) {
            postings.remove(id);
            if postings.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.names.remove(name);
        }
    }

    /// Matchers that want a value intersect; those that accept the empty value take series away.
    fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut wanted: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
            let postings = self.postings(matcher, true);
            wanted = Some(match wanted {
                None => postings,
                Some(so_far) => so_far & postings,
            });
            if wanted.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return RoaringBitmap::new();
            }
        }
        let mut selected = wanted.unwrap_or_else(|| self.all.clone());
        for matcher in matchers.iter().filter(|matcher| matcher.matches_empty()) {
            selected -= self.postings(matcher, false);
        }
        selected
    }

    /// Series whose value of the label the matcher accepts (or, with `accepted` false, refuses).
    fn postings(&self, matcher: &Matcher, accepted: bool) -> RoaringBitmap {
        let Some(values) = self.names.get(&*matcher.name) else { return RoaringBitmap::new() };
        if accepted {
            if matcher.op == crate::model::MatchOp::Equal {
                return values.get(&*matcher.value).cloned().unwrap_or_default();
            }
            if let Some(regex) = matcher.regex().filter(|_| matcher.op == crate::model::MatchOp::Regex) {
                if let Some(literals) = regex.literals() {
                    return union(literals.iter().filter_map(|literal| values.get(literal.as_str())));
                }
                let prefix = regex.prefix();
                let from = (Bound::Included(prefix), Bound::Unbounded);
                let in_range =
                    values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(prefix));
                return union(
                    in_range.filter(|(value, _)| matcher.matches(value)).map(|(_, postings)| postings),
                );
            }
        }
        union(
            values
                .iter()
                .filter(|(value, _)| matcher.matches(value) == accepted)
                .map(|(_, postings)| postings),
        )
    }
}

fn union<'a>(postings: impl Iterator<Item = &'a RoaringBitmap>) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    for some in postings {
        all |= some;
    }
    all
}

/// Packs a batch series' labels as [`Labels::as_bytes`] has them.
fn pack_labels(batch: &SeriesBatch, series: &BatchSeries, packed: &mut Vec<u8>) {
    packed.clear();
    for (name, value) in batch.labels_of(series) {
        varint::put_u64(packed, name.len() as u64);
        packed.extend_from_slice(name);
        varint::put_u64(packed, value.len() as u64);
        packed.extend_from_slice(value);
    }
}

fn series_bytes(labels: &Labels) -> u64 {
    labels.as_bytes().len() as u64 + SERIES_OVERHEAD_BYTES
}

/// A series' text for a message, cut where a hostile sender made it long.
fn bounded(labels: &Labels) -> String {
    const SHOWN_CHARS: usize = 300;
    let text = labels.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
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
        let registry = Registry::new(7);
        let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];
        let down: &[(&str, &str)] = &[("__name__", "down")];

        let first = resolve(&registry, &batch("t1", &[up, down, up]), 1);
        let second = resolve(&registry, &batch("t2", &[up]), 1);

        assert_eq!(first[0], first[2]);
        assert_ne!(first[0], first[1]);
        assert!(!first.contains(&second[0]));
        assert_eq!(registry.len(), 3);
    }

    #[test]
    fn a_series_unused_since_the_flush_is_forgotten_and_its_id_serves_again() {
        let registry = Registry::new(7);
        let old: &[(&str, &str)] = &[("__name__", "old")];
        let live: &[(&str, &str)] = &[("__name__", "live")];
        let ids = resolve(&registry, &batch("t", &[old, live]), 1);
        resolve(&registry, &batch("t", &[live]), 2);

        assert_eq!(registry.forget_unused(1), 1);

        let tenant = TenantId::parse("t").expect("valid");
        let names = |registry: &Registry| -> Vec<String> {
            registry.view().select(&tenant, &[]).iter().map(|(_, s)| s.labels.to_string()).collect()
        };
        assert_eq!(names(&registry), ["live"]);
        let again = resolve(&registry, &batch("t", &[&[("__name__", "new")]]), 2);
        assert_eq!(again, [ids[0]]);
    }

    #[test]
    fn matchers_select_as_in_prometheus() {
        let registry = Registry::new(7);
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
            let mut found: Vec<String> = registry
                .view()
                .select(&tenant, &matchers)
                .iter()
                .map(|(_, series)| series.labels.get("job").unwrap_or("").to_owned())
                .collect();
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
