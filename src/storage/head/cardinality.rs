//! Which metrics and labels have most series, from the label index alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::index::{LabelIndex, TenantNumber};
use crate::model::METRIC_NAME;

/// Figures of one tenant's active series. Lists begin with the greatest; equal ones stand by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    pub series: u64,
    pub label_pairs: u64,
    pub series_by_metric: Vec<(String, u64)>,
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes that a label's values would take if each series held its own.
    pub bytes_by_label: Vec<(String, u64)>,
    /// By `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Cardinality {
    /// `limit` entries of each list.
    pub(super) fn of(index: &LabelIndex, tenant: TenantNumber, limit: usize) -> Self {
        let tenant = index.tenant(tenant);
        let [mut metrics, mut values, mut bytes, mut pairs] = [(); 4].map(|()| Top::new(limit));
        let mut label_pairs = 0;
        for (name, number) in &tenant.names {
            let mut value_bytes = 0;
            let all = &index.name(*number).values;
            for (value, pair) in all {
                let series = index.pair(*pair).series.len();
                value_bytes += value.len() as u64 * series;
                pairs.add(series, (name, value));
                if **name == *METRIC_NAME {
                    metrics.add(series, (value, ""));
                }
            }
            label_pairs += all.len() as u64;
            values.add(all.len() as u64, (name, ""));
            bytes.add(value_bytes, (name, ""));
        }
        let alone = |(name, _): Named<'_>| name.to_owned();
        Self {
            series: tenant.all.len(),
            label_pairs,
            series_by_metric: metrics.named(alone),
            values_by_label: values.named(alone),
            bytes_by_label: bytes.named(alone),
            series_by_pair: pairs.named(|(name, value)| format!("{name}={value}")),
        }
    }
}

/// A label's name and value; no value where the name is meant, or the other way round.
type Named<'a> = (&'a str, &'a str);

/// The greatest of what was added; of equals the first by name. Texts are copied at the end.
struct Top<'a> {
    limit: usize,
    /// The least on top.
    kept: BinaryHeap<Reverse<(u64, Reverse<Named<'a>>)>>,
}

impl<'a> Top<'a> {
    fn new(limit: usize) -> Self {
        Self { limit, kept: BinaryHeap::new() }
    }

    fn add(&mut self, count: u64, name: Named<'a>) {
        self.kept.push(Reverse((count, Reverse(name))));
        if self.kept.len() > self.limit {
            self.kept.pop();
        }
    }

    fn named(self, text: impl Fn(Named<'_>) -> String) -> Vec<(String, u64)> {
        let sorted = self.kept.into_sorted_vec().into_iter();
        sorted.map(|Reverse((count, Reverse(name)))| (text(name), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first_and_ties_by_name() {
        let mut top = Top::new(2);
        for (count, name) in [(1, "b"), (1, "a"), (2, "c"), (0, "d")] {
            top.add(count, (name, ""));
        }
        let named = top.named(|(name, _)| name.to_owned());
        assert_eq!(named, [("c".to_owned(), 2), ("a".to_owned(), 1)]);
    }
}
