//! One series' samples, histograms and exemplars: takes the bad ones out of its ranges.
//!
//! Floats and histograms in one series are both kept, as Prometheus does, though the
//! specification of 2.0 tells senders not to mix them.

use std::ops::Range;

use super::describe;
use crate::model::histogram::HistogramError;
use crate::model::series_batch::{BatchSeries, RefusalReason, Refusals};
use crate::model::{Labels, SeriesBatch, TimeRange};

/// Longest label set of an exemplar, in characters of all names and values: the limit of
/// OpenMetrics, which Prometheus applies to remote write too.
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// Shrinks the ranges of `series` to what is good.
pub fn keep_good(
    batch: &mut SeriesBatch,
    series: &mut BatchSeries,
    times: &TimeRange,
    refusals: &mut Refusals,
) {
    keep_floats(batch, series, times, refusals);
    if !series.histograms.is_empty() {
        keep_histograms(batch, series, times, refusals);
    }
    if !series.exemplars.is_empty() {
        keep_exemplars(batch, series, times, refusals);
    }
}

fn keep_floats(
    batch: &mut SeriesBatch,
    series: &mut BatchSeries,
    times: &TimeRange,
    refusals: &mut Refusals,
) {
    let floats = &mut batch.floats[range(&series.floats)];
    if floats.iter().all(|sample| times.contains(sample.timestamp_ms)) {
        return;
    }
    let mut lost = Lost::default();
    let kept = keep(floats, |sample| lost.unless(in_time(times, sample.timestamp_ms), sample.timestamp_ms));
    lost.report("sample", batch, series, refusals);
    series.floats.end = series.floats.start + kept;
}

fn keep_histograms(
    batch: &mut SeriesBatch,
    series: &mut BatchSeries,
    times: &TimeRange,
    refusals: &mut Refusals,
) {
    let mut lost = Lost::default();
    let kept = keep(&mut batch.histograms[range(&series.histograms)], |sample| {
        let verdict = in_time(times, sample.timestamp_ms)
            .and_then(|()| sample.histogram.validate().map_err(Fault::Histogram));
        lost.unless(verdict, sample.timestamp_ms)
    });
    lost.report("histogram", batch, series, refusals);
    series.histograms.end = series.histograms.start + kept;
}

fn keep_exemplars(
    batch: &mut SeriesBatch,
    series: &mut BatchSeries,
    times: &TimeRange,
    refusals: &mut Refusals,
) {
    let mut lost = Lost::default();
    let kept = keep(&mut batch.exemplars[range(&series.exemplars)], |exemplar| {
        let verdict =
            in_time(times, exemplar.timestamp_ms).and_then(|()| judge_exemplar_labels(&exemplar.labels));
        lost.unless(verdict, exemplar.timestamp_ms)
    });
    lost.report("exemplar", batch, series, refusals);
    series.exemplars.end = series.exemplars.start + kept;
}

/// Why a sample, histogram or exemplar is refused.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("older than what is kept (from {oldest_ms})")]
    TooOld { oldest_ms: i64 },
    #[error("too far in the future (after {latest_ms})")]
    TooFarInFuture { latest_ms: i64 },
    #[error("{0}")]
    Histogram(HistogramError),
    #[error("{0}")]
    Exemplar(&'static str),
    #[error("labels of {0} characters, more than {EXEMPLAR_CHARS_MAX}")]
    LongExemplar(usize),
}

impl Fault {
    fn reason(&self) -> RefusalReason {
        match self {
            Self::TooOld { .. } => RefusalReason::TooOld,
            Self::TooFarInFuture { .. } => RefusalReason::TooFarInFuture,
            Self::Histogram(_) => RefusalReason::InvalidHistogram,
            Self::Exemplar(_) | Self::LongExemplar(_) => RefusalReason::InvalidExemplar,
        }
    }
}

fn in_time(times: &TimeRange, timestamp_ms: i64) -> Result<(), Fault> {
    if timestamp_ms < times.start_ms {
        Err(Fault::TooOld { oldest_ms: times.start_ms })
    } else if timestamp_ms > times.end_ms {
        Err(Fault::TooFarInFuture { latest_ms: times.end_ms })
    } else {
        Ok(())
    }
}

/// Decoders sort an exemplar's labels and drop empty values; what is wrong beyond that they leave
/// to be seen here: a name twice, or no name (which is also how they mark what is not UTF-8).
fn judge_exemplar_labels(labels: &Labels) -> Result<(), Fault> {
    let mut previous = None;
    let mut chars = 0;
    for (name, value) in labels {
        if name.is_empty() {
            return Err(Fault::Exemplar("a label without a name, or not UTF-8"));
        }
        if previous == Some(name) {
            return Err(Fault::Exemplar("a label name given twice"));
        }
        previous = Some(name);
        chars += name.chars().count() + value.chars().count();
    }
    if chars > EXEMPLAR_CHARS_MAX { Err(Fault::LongExemplar(chars)) } else { Ok(()) }
}

/// Moves what is good to the front, in order, and returns how many that are.
pub fn keep<T>(items: &mut [T], mut is_good: impl FnMut(&T) -> bool) -> u32 {
    let mut kept = 0;
    for at in 0..items.len() {
        if is_good(&items[at]) {
            items.swap(kept, at);
            kept += 1;
        }
    }
    kept as u32
}

/// What a series lost of one kind: per reason the first fault, its time, and how many there were.
#[derive(Default)]
struct Lost(Vec<(Fault, i64, u64)>);

impl Lost {
    /// Whether the verdict is good; remembers it where it is not.
    fn unless(&mut self, verdict: Result<(), Fault>, timestamp_ms: i64) -> bool {
        let Err(fault) = verdict else { return true };
        match self.0.iter_mut().find(|(first, ..)| first.reason() == fault.reason()) {
            Some((.., count)) => *count += 1,
            None => self.0.push((fault, timestamp_ms, 1)),
        }
        false
    }

    fn report(self, kind: &str, batch: &SeriesBatch, series: &BatchSeries, refusals: &mut Refusals) {
        for (fault, timestamp_ms, count) in self.0 {
            refusals.add(fault.reason(), count, || {
                format!("{kind} at {timestamp_ms} in series {}: {fault}", describe::series(batch, series))
            });
        }
    }
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
