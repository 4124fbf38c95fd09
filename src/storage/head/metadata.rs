//! The metadata table: type, help and unit of each metric family of each tenant.
//!
//! Holds what is durable: loaded from the catalogue's database at start, changed when a frame that
//! brings something else is durable. Owns the rule which of two descriptions stays (the later
//! received, then the greater); writing it down is `flush`'s.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;

use crate::model::{Metadata, SeriesBatch, TenantId};

/// Most families remembered per tenant: metadata must not grow with a label explosion.
pub const FAMILIES_PER_TENANT_MAX: usize = 200_000;

/// A description and when it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub received_ms: i64,
    pub metadata: Metadata,
}

/// See the module.
#[derive(Default)]
pub struct MetadataTable {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tenants: HashMap<TenantId, BTreeMap<String, Described>>,
    /// Changed since it was last taken for the catalogue.
    dirty: HashSet<(TenantId, String)>,
}

impl MetadataTable {
    /// Takes out of a batch what is known already: senders repeat metadata all the time, the log
    /// need not. What was received before `stale_ms` is news again: some of its log may be gone.
    pub fn retain_news(&self, batch: &mut SeriesBatch, stale_ms: i64) {
        if batch.metadata.is_empty() {
            return;
        }
        let inner = self.inner.lock();
        let known = inner.tenants.get(&batch.tenant);
        batch.metadata.dedup();
        batch.metadata.retain(|news| {
            let Some(known) = known else { return true };
            match known.get(&news.metric) {
                Some(described) => described.metadata != *news || described.received_ms < stale_ms,
                None => known.len() < FAMILIES_PER_TENANT_MAX,
            }
        });
    }

    /// Joins durable descriptions in.
    pub fn apply(&self, tenant: &TenantId, metadata: &[Metadata], received_ms: i64) {
        if metadata.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for news in metadata {
            let news = Described { received_ms, metadata: news.clone() };
            if inner.join(tenant, news.clone()) {
                inner.dirty.insert((tenant.clone(), news.metadata.metric));
            }
        }
    }

    /// Puts back what the catalogue's database holds.
    pub fn load(&self, tenant: &TenantId, described: Described) {
        self.inner.lock().join(tenant, described);
    }

    /// What changed since the last call, for the next catalogue batch.
    pub fn take_dirty(&self) -> Vec<(TenantId, Described)> {
        let mut inner = self.inner.lock();
        let dirty = std::mem::take(&mut inner.dirty);
        let described = |(tenant, metric): (TenantId, String)| {
            let described = inner.tenants.get(&tenant)?.get(&metric)?.clone();
            Some((tenant, described))
        };
        dirty.into_iter().filter_map(described).collect()
    }

    /// Gives back what could not be written.
    pub fn put_back_dirty(&self, dirty: Vec<(TenantId, Described)>) {
        let keys = dirty.into_iter().map(|(tenant, described)| (tenant, described.metadata.metric));
        self.inner.lock().dirty.extend(keys);
    }

    /// All that is known, of all tenants.
    pub fn all(&self) -> Vec<(TenantId, Described)> {
        let inner = self.inner.lock();
        let of_tenants = inner.tenants.iter();
        let described =
            of_tenants.flat_map(|(tenant, families)| families.values().map(move |one| (tenant, one)));
        described.map(|(tenant, one)| (tenant.clone(), one.clone())).collect()
    }

    /// A tenant's metadata, sorted by metric.
    pub fn of_tenant(&self, tenant: &TenantId, metric: Option<&str>) -> Vec<Metadata> {
        let inner = self.inner.lock();
        let Some(families) = inner.tenants.get(tenant) else { return Vec::new() };
        match metric {
            Some(metric) => families.get(metric).map(|d| d.metadata.clone()).into_iter().collect(),
            None => families.values().map(|d| d.metadata.clone()).collect(),
        }
    }
}

impl Inner {
    /// Whether the description changed anything.
    fn join(&mut self, tenant: &TenantId, news: Described) -> bool {
        let families = self.tenants.entry(tenant.clone()).or_default();
        match families.get_mut(&news.metadata.metric) {
            Some(known) => {
                let rank = |d: &Described| (d.received_ms, d.metadata.clone());
                let newer = rank(&news) > rank(known);
                if newer {
                    *known = news;
                }
                newer
            }
            None => {
                families.insert(news.metadata.metric.clone(), news);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    fn described(metric: &str, help: &str) -> Metadata {
        Metadata {
            metric: metric.into(),
            metric_type: MetricType::Counter,
            help: help.into(),
            unit: String::new(),
        }
    }

    #[test]
    fn repeated_metadata_is_no_news_and_the_later_description_stays() {
        let table = MetadataTable::default();
        let tenant = TenantId::anonymous();
        table.apply(&tenant, &[described("a", "old")], 10);
        table.apply(&tenant, &[described("a", "new")], 20);
        table.apply(&tenant, &[described("a", "late arrival")], 15);

        let mut batch = SeriesBatch::new(tenant.clone(), bytes::Bytes::new());
        batch.metadata = vec![described("a", "new"), described("b", "x")];
        table.retain_news(&mut batch, i64::MIN);

        assert_eq!(batch.metadata, [described("b", "x")]);
        assert_eq!(table.of_tenant(&tenant, None), [described("a", "new")]);
        assert_eq!(table.take_dirty().len(), 1);
        assert!(table.take_dirty().is_empty());
    }

    #[test]
    fn what_was_received_long_ago_is_news_again_and_any_order_gives_the_same() {
        let tenant = TenantId::anonymous();
        let received = [(10, "a help"), (20, "a help"), (15, "another")];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let table = MetadataTable::default();
            for (received_ms, help) in order.map(|at| received[at]) {
                table.apply(&tenant, &[described("a", help)], received_ms);
            }
            assert_eq!(table.of_tenant(&tenant, None), [described("a", "a help")], "{order:?}");
            let is_news = |stale_ms| {
                let mut batch = SeriesBatch::new(tenant.clone(), bytes::Bytes::new());
                batch.metadata = vec![described("a", "a help")];
                table.retain_news(&mut batch, stale_ms);
                !batch.metadata.is_empty()
            };
            assert!(!is_news(20) && is_news(21), "{order:?}");
        }
    }
}
