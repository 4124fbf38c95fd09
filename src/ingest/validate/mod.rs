//! Judges a batch: makes every good series canonical in place, takes everything bad out by name.
//!
//! Partial writes are the rule: one bad series, sample or exemplar never spoils the rest. What is
//! refused is counted in full and described for the first few. A good batch costs one pass and no
//! allocation. Limits that need to know other series (how many are active) are storage's.
//!
//! - [`labels`]: one series' labels
//! - [`samples`]: its samples, histograms and exemplars
//! - [`describe`]: how refusals name a series

pub(super) mod describe;
mod labels;
mod samples;

#[cfg(test)]
mod tests;

pub use describe::SERIES_TEXT_BYTES_MAX;
pub use samples::EXEMPLAR_CHARS_MAX;
pub(super) use samples::keep;

pub use crate::model::series_batch::LabelLimits;
use crate::model::series_batch::{BatchSeries, RefusalReason, Refusals};
use crate::model::time::MINUTE_MS;
use crate::model::{SeriesBatch, TimeRange};

/// How far ahead of the clock a sample may be by default.
pub const FUTURE_MS: i64 = 10 * MINUTE_MS;

/// What is good, at the moment of a request.
#[derive(Clone, Copy, Debug)]
pub struct ValidationRules {
    pub now_ms: i64,
    /// The oldest time that retention keeps.
    pub oldest_ms: i64,
    /// How far ahead of `now_ms` a sample may be.
    pub future_ms: i64,
    pub limits: LabelLimits,
}

impl ValidationRules {
    /// Rules of a server that keeps `retention_ms`, without limits on labels.
    pub fn at(now_ms: i64, retention_ms: i64) -> Self {
        let oldest_ms = now_ms.saturating_sub(retention_ms);
        Self { now_ms, oldest_ms, future_ms: FUTURE_MS, limits: LabelLimits::default() }
    }

    /// Whether a series brings floats and nothing else, all of them good: then its labels are all that
    /// is left to judge.
    pub fn is_up_to_labels(&self, batch: &SeriesBatch, series: &BatchSeries) -> bool {
        let times = self.times();
        let floats = batch.floats_of(series);
        let is_of_floats = series.histograms.is_empty() && series.exemplars.is_empty() && !floats.is_empty();
        is_of_floats && floats.iter().all(|sample| times.contains(sample.timestamp_ms))
    }

    /// The times that are accepted.
    fn times(&self) -> TimeRange {
        TimeRange::new(self.oldest_ms, self.now_ms.saturating_add(self.future_ms))
    }
}

/// Leaves in `batch` what may be stored, in canonical form, and returns what was refused.
///
/// Of the batch's series only those stay that have a sample, a histogram or an exemplar left.
/// Their labels are sorted by name, unique, without empty values, UTF-8 and named. Those of a series
/// that the store recognised were judged before, by the same limits, and are not looked at: they are in no
/// order where they are there at all.
pub fn validate(batch: &mut SeriesBatch, rules: &ValidationRules) -> Refusals {
    let mut refusals = Refusals::default();
    let times = rules.times();
    // Labels of 1.0 stand apart; those of 2.0 are looked at together.
    let is_apart = batch.series.iter().any(|series| series.span.is_some());
    let is_ascii = !is_apart && labels::spans_ascii(&batch.text, &batch.labels);
    let mut series = std::mem::take(&mut batch.series);
    series.retain_mut(|series| {
        let is_good = keep_good_labels(batch, series, is_ascii, rules, &mut refusals);
        if is_good {
            samples::keep_good(batch, series, &times, &mut refusals);
        }
        is_good && !is_bare(series)
    });
    batch.series = series;
    keep_named_metadata(batch, &mut refusals);
    refusals
}

/// Whether the series is good by its labels, which are canonical then.
fn keep_good_labels(
    batch: &mut SeriesBatch,
    series: &mut BatchSeries,
    is_ascii: bool,
    rules: &ValidationRules,
    refusals: &mut Refusals,
) -> bool {
    if series.known.is_some() {
        return true;
    }
    let is_ascii = is_ascii || series.span.is_some_and(|span| batch.text_of(span).is_ascii());
    let refs = &mut batch.labels[series.labels.start as usize..series.labels.end as usize];
    match labels::canonicalize(&batch.text, refs, is_ascii, &rules.limits) {
        Ok(kept) => {
            series.labels.end = series.labels.start + kept as u32;
            true
        }
        Err(fault) => {
            let lost = series.floats.len() + series.histograms.len() + series.exemplars.len();
            refusals.add(fault.reason(), lost as u64, || {
                format!("{fault} in series {}", describe::series(batch, series))
            });
            false
        }
    }
}

/// A series that brought metadata only, or lost its samples: there is nothing to store.
fn is_bare(series: &BatchSeries) -> bool {
    series.floats.is_empty() && series.histograms.is_empty() && series.exemplars.is_empty()
}

fn keep_named_metadata(batch: &mut SeriesBatch, refusals: &mut Refusals) {
    batch.metadata.retain(|metadata| {
        let is_named = !metadata.metric.is_empty();
        if !is_named {
            refusals.add(RefusalReason::MissingMetricName, 1, || {
                format!("metadata without a metric name, of type {}", metadata.metric_type.as_str())
            });
        }
        is_named
    });
}
