//! The order of rows in a part, by numbers: what [`row_order`] compares, without the texts.
//!
//! [`row_order`]: crate::storage::part::row_order
//!
//! Every pair has a rank in the order of tenants, names and values, so that comparing two series
//! compares a few numbers and no text is copied. Ranks are those of the moment they are taken:
//! whoever sorts by them sorts series that are there and stay.

use std::collections::HashMap;
use std::ops::Range;

use super::index::{LabelIndex, PairNumber, TenantNumber};
use super::registry::{SeriesId, SeriesRef};
use crate::model::METRIC_NAME;
use crate::storage::part::{LE, le_order};

/// See the module.
pub struct RowOrder {
    /// By number of the pair.
    ranks: Vec<u32>,
    tenants: HashMap<TenantNumber, TenantRanks>,
}

/// Where the ranks of a tenant's metric names and buckets' bounds lie.
struct TenantRanks {
    /// Before all others: of series without a metric name.
    no_metric: u32,
    metrics: Range<u32>,
    bounds: Range<u32>,
}

/// Stands before the rank of a bucket's bound, and is less than every rank.
const BEFORE_BOUND: u32 = 0;

impl RowOrder {
    pub fn new(index: &LabelIndex) -> Self {
        let mut ranks = vec![0; index.pair_numbers_end() as usize];
        let mut tenants = HashMap::new();
        let mut sorted: Vec<_> = index.tenants().collect();
        sorted.sort_unstable_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let mut rank = BEFORE_BOUND + 1;
        for (number, tenant) in sorted {
            let mut of_tenant = TenantRanks { no_metric: rank, metrics: rank..rank, bounds: rank..rank };
            for (name, name_number) in &tenant.names {
                let first = rank + 1;
                let mut values: Vec<_> = index.name(*name_number).values.iter().collect();
                if **name == *LE {
                    values.sort_by(|(a, _), (b, _)| le_order(Some(a), Some(b)));
                }
                for (_, pair) in values {
                    rank += 1;
                    ranks[*pair as usize] = rank;
                }
                match &**name {
                    METRIC_NAME => of_tenant.metrics = first..rank + 1,
                    LE => of_tenant.bounds = first..rank + 1,
                    _ => {}
                }
            }
            rank += 1;
            tenants.insert(number, of_tenant);
        }
        Self { ranks, tenants }
    }

    /// Appends what a series is sorted by: the rank of its metric, those of its labels, its bound.
    pub fn key(&self, tenant: TenantNumber, pairs: &[PairNumber], key: &mut Vec<u32>) {
        let tenant = &self.tenants[&tenant];
        let ranks = || pairs.iter().map(|pair| self.ranks[*pair as usize]);
        key.push(ranks().find(|rank| tenant.metrics.contains(rank)).unwrap_or(tenant.no_metric));
        key.extend(ranks().filter(|rank| !tenant.bounds.contains(rank)));
        key.push(BEFORE_BOUND);
        key.extend(ranks().filter(|rank| tenant.bounds.contains(rank)));
    }

    /// Sorts series and leaves each once; `put_key` appends the key of one. Works metric by metric,
    /// so that the keys of one metric are in memory at a time.
    pub fn sort(&self, series: Vec<SeriesRef>, put_key: impl Fn(SeriesId, &mut Vec<u32>)) -> Vec<SeriesRef> {
        let mut keys = Vec::new();
        let mut by_metric: Vec<(u32, SeriesRef)> = Vec::with_capacity(series.len());
        for series in series {
            keys.clear();
            put_key(series.id, &mut keys);
            by_metric.push((keys[0], series));
        }
        by_metric.sort_unstable();
        by_metric.dedup();
        let mut sorted = Vec::with_capacity(by_metric.len());
        for metric in by_metric.chunk_by(|a, b| a.0 == b.0) {
            keys.clear();
            let mut keyed: Vec<(Range<usize>, SeriesRef)> = Vec::with_capacity(metric.len());
            for (_, series) in metric {
                let start = keys.len();
                put_key(series.id, &mut keys);
                keyed.push((start..keys.len(), *series));
            }
            keyed.sort_unstable_by(|(a, _), (b, _)| keys[a.clone()].cmp(&keys[b.clone()]));
            sorted.extend(keyed.into_iter().map(|(_, series)| series));
        }
        sorted
    }
}
