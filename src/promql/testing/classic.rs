//! `load_with_nhcb`: classic histograms stored as native ones with custom buckets too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::notation::{Item, stored};
use super::store::{MemoryStore, StoredSample, StoredValue};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Span};
use crate::promql::histogram::FloatHistogram;

/// Parts of one classic histogram at one time.
#[derive(Default)]
struct Parts {
    buckets: Vec<(f64, f64)>,
    sum: f64,
    count: Option<f64>,
}

/// Which part of a histogram a series is, and what the histogram is called.
enum Role {
    Bucket(f64),
    Sum,
    Count,
}

fn role(labels: &Labels) -> Option<(Role, Labels)> {
    let name = labels.metric_name()?;
    let (base, role) = if let Some(base) = name.strip_suffix("_bucket") {
        (base, Role::Bucket(labels.get("le")?.parse().ok()?))
    } else if let Some(base) = name.strip_suffix("_sum") {
        (base, Role::Sum)
    } else {
        (name.strip_suffix("_count")?, Role::Count)
    };
    let mut builder = LabelsBuilder::from_labels(labels);
    Some((role, builder.set(METRIC_NAME, base).remove("le").build()))
}

/// Adds the native form of the classic histograms among the series of a `load`.
pub fn convert(series: &[(Labels, Vec<Item>)], step_ms: i64, store: &mut MemoryStore) {
    let mut groups: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, items) in series {
        let Some((role, base)) = role(labels) else { continue };
        let group = groups.entry(base).or_default();
        for (at, item) in items.iter().enumerate() {
            let Item::Float(value) = item else { continue };
            let parts = group.entry(at as i64 * step_ms).or_default();
            match role {
                Role::Bucket(bound) => parts.buckets.push((bound, *value)),
                Role::Sum => parts.sum = *value,
                Role::Count => parts.count = Some(*value),
            }
        }
    }
    for (labels, times) in groups {
        for (timestamp_ms, parts) in times {
            let Some(histogram) = parts.into_histogram() else { continue };
            let value = StoredValue::Histogram(Arc::new(stored(&histogram)));
            store.insert(&labels, timestamp_ms, StoredSample { start_ms: 0, value });
        }
    }
}

impl Parts {
    fn into_histogram(mut self) -> Option<FloatHistogram> {
        if self.buckets.is_empty() && self.count.is_none() {
            return None;
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(highest);
        let mut below = 0.0;
        let mut counts = Vec::new();
        let mut bounds = Vec::new();
        for (bound, cumulative) in self.buckets.iter().filter(|(bound, _)| bound.is_finite()) {
            bounds.push(*bound);
            counts.push(cumulative - below);
            below = *cumulative;
        }
        counts.push(count - below);
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive: counts,
            custom_values: bounds,
            ..FloatHistogram::default()
        };
        histogram.compact();
        Some(histogram)
    }
}
