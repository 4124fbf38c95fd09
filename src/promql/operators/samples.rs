//! Samples of one series as they lie in storage, ready for selectors.

use std::sync::Arc;

use super::column::{histogram_bytes, is_absent, present};
use crate::model::{Labels, ResetHint, is_stale_nan};
use crate::promql::histogram::{Edition, FloatHistogram};
use crate::querier::Series;

/// A histogram sample.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    pub timestamp_ms: i64,
    pub start_ms: i64,
    pub histogram: Arc<FloatHistogram>,
}

/// One series; both kinds of samples sorted by time, staleness markers included.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub labels: Labels,
    pub timestamps_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// Beside `timestamps_ms`, or empty.
    pub starts_ms: Vec<i64>,
    pub histograms: Vec<HistogramSample>,
    /// It is known that no float is a staleness marker; otherwise one has to look.
    pub floats_are_fresh: bool,
}

impl Samples {
    /// As storage gave them: to be settled before anybody looks at floats.
    pub fn unsettled(series: Series) -> Self {
        let histograms = series
            .histograms
            .iter()
            .map(|point| HistogramSample {
                timestamp_ms: point.timestamp_ms,
                start_ms: point.start_ms,
                histogram: Arc::new(FloatHistogram::from(&*point.histogram)),
            })
            .collect();
        Self {
            labels: series.labels,
            timestamps_ms: series.timestamps_ms,
            values: series.values,
            starts_ms: series.starts_ms,
            histograms,
            floats_are_fresh: false,
        }
    }

    /// Makes floats such as may stand in a column, and finds out whether any are staleness markers: both
    /// with one look at values that are far from the processor.
    pub fn settle(&mut self) {
        if self.floats_are_fresh {
            return;
        }
        self.floats_are_fresh = !any_of(&self.values, |value| is_stale_nan(value) | is_absent(value));
        if !self.floats_are_fresh {
            for value in &mut self.values {
                *value = present(*value);
            }
        }
    }

    pub fn bytes(&self) -> u64 {
        let floats = self.timestamps_ms.capacity() + self.values.capacity() + self.starts_ms.capacity();
        let histograms: usize = self
            .histograms
            .iter()
            .map(|h| size_of::<HistogramSample>() + histogram_bytes(&h.histogram))
            .sum();
        (size_of::<Self>() + self.labels.as_bytes().len() + 8 * floats + histograms) as u64
    }

    /// With reset hints made out by comparing neighbours, where senders gave none.
    pub fn with_found_resets(mut self, edition: Edition) -> Self {
        for at in 1..self.histograms.len() {
            let (before, from) = self.histograms.split_at_mut(at);
            let (before, now) = (&before[at - 1].histogram, &mut from[0].histogram);
            if now.reset_hint == ResetHint::Unknown && !now.is_stale() && !before.is_stale() {
                let is_reset = now.detect_reset(before, edition);
                let hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
                Arc::make_mut(now).reset_hint = hint;
            }
        }
        self
    }

    pub fn has_stale(&self) -> bool {
        self.has_stale_floats() || self.histograms.iter().any(|h| h.histogram.is_stale())
    }

    fn has_stale_floats(&self) -> bool {
        !self.floats_are_fresh && any_of(&self.values, is_stale_nan)
    }

    /// Without staleness markers: what range selectors see.
    pub fn without_stale(mut self) -> Self {
        if self.has_stale_floats() {
            let keep: Vec<bool> = self.values.iter().map(|v| !is_stale_nan(*v)).collect();
            retain_marked(&mut self.timestamps_ms, &keep);
            retain_marked(&mut self.starts_ms, &keep);
            retain_marked(&mut self.values, &keep);
        }
        self.histograms.retain(|h| !h.histogram.is_stale());
        self.floats_are_fresh = true;
        self
    }
}

/// Nearly always there is none: many values are compared at once.
fn any_of(values: &[f64], is_one: impl Fn(f64) -> bool) -> bool {
    values.chunks(64).any(|some| some.iter().fold(false, |any, value| any | is_one(*value)))
}

fn retain_marked<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut marks = keep.iter();
    items.retain(|_| marks.next().copied().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stale_nan;
    use crate::promql::operators::column::ABSENT;

    #[test]
    fn ranges_see_no_stale_markers_and_columns_no_foreign_absence() {
        let series = Series {
            timestamps_ms: vec![1, 2, 3],
            values: vec![1.0, stale_nan(), ABSENT],
            starts_ms: vec![7, 8, 9],
            ..Series::default()
        };

        let mut samples = Samples::unsettled(series);
        samples.settle();
        let samples = samples.without_stale();

        assert_eq!(samples.timestamps_ms, [1, 3]);
        assert_eq!(samples.starts_ms, [7, 9]);
        assert!(samples.values[1].is_nan() && !is_absent(samples.values[1]));
    }
}
