//! Samples in memory behind the seam that storage implements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Histogram, Labels, Matcher, Metadata, ResetHint, TimeRange, is_stale_nan};
use crate::promql::histogram::{Edition, FloatHistogram};
use crate::querier::{
    ExemplarSeries, FloatsWanted, HistogramPoint, LabelsWanted, Querier, QueryError, QueryGuard,
    SelectRequest, Series, SeriesIter,
};

/// A sample of either kind with its start timestamp (0 for none).
#[derive(Clone, Debug)]
pub struct StoredSample {
    pub start_ms: i64,
    pub value: StoredValue,
}

#[derive(Clone, Debug)]
pub enum StoredValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Series by labels, samples by time: both always in order, nothing twice.
#[derive(Default)]
pub struct MemoryStore {
    series: BTreeMap<Labels, BTreeMap<i64, StoredSample>>,
    /// Gives every float and label as it is instead of the least that a question's hints allow.
    pub generous: bool,
}

impl MemoryStore {
    /// Adds a sample; one that is there at that time is replaced.
    pub fn insert(&mut self, labels: &Labels, timestamp_ms: i64, sample: StoredSample) {
        self.series.entry(labels.clone()).or_default().insert(timestamp_ms, sample);
    }

    /// Takes samples of a range out of the series that are accepted.
    pub fn remove(&mut self, accepts: impl Fn(&Labels) -> bool, range: TimeRange) {
        for (_, samples) in self.series.iter_mut().filter(|(labels, _)| accepts(labels)) {
            samples.retain(|timestamp_ms, _| !range.contains(*timestamp_ms));
        }
    }

    pub fn clear(&mut self) {
        self.series.clear();
    }

    fn matching<'a>(
        &'a self,
        matcher_sets: &'a [Vec<Matcher>],
        range: TimeRange,
    ) -> impl Iterator<Item = &'a Labels> {
        let accepted = |labels: &Labels| {
            matcher_sets.is_empty() || matcher_sets.iter().any(|matchers| accepts(matchers, labels))
        };
        let inside = move |samples: &BTreeMap<i64, StoredSample>| {
            !range.is_empty() && samples.range(range.start_ms..=range.end_ms).next().is_some()
        };
        self.series
            .iter()
            .filter(move |(labels, samples)| accepted(labels) && inside(samples))
            .map(|(labels, _)| labels)
    }
}

fn accepts(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}

fn read(labels: &Labels, samples: &BTreeMap<i64, StoredSample>, range: TimeRange) -> Option<Series> {
    let mut series = Series { labels: labels.clone(), ..Series::default() };
    let mut any_start = false;
    let mut before: Option<&Arc<Histogram>> = None;
    for (timestamp_ms, sample) in samples {
        let inside = range.contains(*timestamp_ms);
        match &sample.value {
            StoredValue::Float(value) => {
                before = None;
                if inside {
                    series.timestamps_ms.push(*timestamp_ms);
                    series.values.push(*value);
                    series.starts_ms.push(sample.start_ms);
                    any_start |= sample.start_ms != 0;
                }
            }
            StoredValue::Histogram(histogram) => {
                if inside {
                    series.histograms.push(HistogramPoint {
                        timestamp_ms: *timestamp_ms,
                        start_ms: sample.start_ms,
                        histogram: Arc::new(with_known_hint(histogram, before)),
                    });
                }
                before = Some(histogram);
            }
        }
    }
    if !any_start {
        series.starts_ms.clear();
    }
    (!series.timestamps_ms.is_empty() || !series.histograms.is_empty()).then_some(series)
}

/// What stands for a float of which only the presence is wanted: nobody stored it.
const SOME_VALUE: f64 = -777.25;

/// The least of the floats that hints allow.
fn with_wanted_floats(mut series: Series, wanted: FloatsWanted) -> Series {
    if wanted.latest_only {
        let older = series.timestamps_ms.len().saturating_sub(1);
        series.timestamps_ms.drain(..older);
        series.values.drain(..older);
        series.starts_ms.drain(..older.min(series.starts_ms.len()));
    }
    if wanted.presence_only {
        series.values.iter_mut().filter(|v| !is_stale_nan(**v)).for_each(|v| *v = SOME_VALUE);
    }
    series
}

/// The reset hint that a store knows: a histogram that continues the one before without a reset
/// says so, others do not know.
fn with_known_hint(histogram: &Histogram, before: Option<&Arc<Histogram>>) -> Histogram {
    if histogram.reset_hint == ResetHint::Gauge {
        return histogram.clone();
    }
    let continues = before.is_some_and(|before| {
        let (before, now) = (FloatHistogram::from(&**before), FloatHistogram::from(histogram));
        before.reset_hint != ResetHint::Gauge
            && before.schema == now.schema
            && before.zero_threshold == now.zero_threshold
            && before.custom_values == now.custom_values
            && !now.detect_reset(&before, Edition::V3_5)
    });
    let reset_hint = if continues { ResetHint::NotReset } else { ResetHint::Unknown };
    Histogram { reset_hint, ..histogram.clone() }
}

impl Querier for MemoryStore {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError> {
        let SelectRequest { matchers, range, hints } = request.clone();
        let (wanted, labels_wanted) = match self.generous {
            true => (FloatsWanted::ALL, LabelsWanted::All),
            false => (hints.floats, hints.labels),
        };
        if range.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        let series = self
            .series
            .iter()
            .filter(move |(labels, _)| accepts(&matchers, labels))
            .filter_map(move |(labels, samples)| read(labels, samples, range))
            .map(move |series| with_wanted_floats(series, wanted))
            .map(move |series| Series { labels: labels_wanted.of(&series.labels), ..series })
            .map(move |series| guard.reserve(series.bytes()).map(|()| series));
        Ok(Box::new(series))
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        _guard: &QueryGuard,
    ) -> Result<Vec<Labels>, QueryError> {
        Ok(self.matching(matcher_sets, range).take(limit).cloned().collect())
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        _guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        let names: BTreeSet<&str> = self
            .matching(matcher_sets, range)
            .flat_map(|labels| labels.iter().map(|(name, _)| name))
            .collect();
        Ok(names.into_iter().take(limit).map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        _guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        let values: BTreeSet<&str> =
            self.matching(matcher_sets, range).filter_map(|labels| labels.get(name)).collect();
        Ok(values.into_iter().take(limit).map(str::to_owned).collect())
    }

    fn exemplars(
        &self,
        _matcher_sets: &[Vec<Matcher>],
        _range: TimeRange,
        _guard: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _metric: Option<&str>) -> Result<Vec<Metadata>, QueryError> {
        Ok(Vec::new())
    }
}
