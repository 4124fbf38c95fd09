//! Which metrics and labels have most series, from the label index alone; and which label is to blame
//! where there are too many.

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

/// Of a series that is one too many: the label that has most values, and how many series its metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspect<'a> {
    pub label: &'a str,
    pub values: u64,
    pub metric: &'a str,
    pub series: u64,
}

impl<'a> Suspect<'a> {
    /// Looks up the labels of one series, whatever the number of all others. Of equals the first counts.
    pub(super) fn of(
        index: &LabelIndex,
        tenant: TenantNumber,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let names = &index.tenant(tenant).names;
        let mut suspect = Self { label: METRIC_NAME, values: 0, metric: "", series: 0 };
        for (name, value) in labels {
            let Some(number) = names.get(name) else { continue };
            let values = index.name(*number).values.len() as u64;
            if values > suspect.values {
                suspect = Self { label: name, values, ..suspect };
            }
            if name == METRIC_NAME {
                let pair = index.find_value(*number, value.as_bytes());
                suspect.metric = value;
                suspect.series = pair.map_or(0, |pair| index.pair(pair).series.len());
            }
        }
        suspect
    }
}

impl std::fmt::Display for Suspect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { label, values, metric, series } = self;
        write!(f, "label {label:?} has {values} values, metric {metric:?} has {series} series")
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
