//! `smoothed` instant selectors: between two samples, the line that joins them.

use std::sync::Arc;

use super::column::SeriesColumn;
use super::samples::Samples;
use super::step_grid::StepGrid;
use crate::model::ResetHint;
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::functions::extended_histogram::interpolate;
use crate::promql::histogram::Edition;
use crate::promql::plan::node::Shift;
use crate::promql::syntax::ast::Span;

/// What all series of a smoothed selector share.
pub struct Smoothing {
    pub shift: Shift,
    pub lookback_ms: i64,
    pub edition: Edition,
    pub span: Span,
}

/// Evaluates a series without staleness markers over the grid.
pub fn select_smoothed(
    samples: &Samples,
    grid: &StepGrid,
    smoothing: &Smoothing,
    notes: &mut Notes,
) -> Option<SeriesColumn> {
    let mut column = SeriesColumn::absent(samples.labels.clone(), grid.count);
    let metric = samples.labels.metric_name().unwrap_or("");
    let mut any = false;
    for (step, time) in grid.times().enumerate() {
        let seen = smoothing.shift.apply(time);
        let floats = Around::of(&samples.timestamps_ms, |t| *t, seen, smoothing.lookback_ms);
        let histograms = Around::of(&samples.histograms, |h| h.timestamp_ms, seen, smoothing.lookback_ms);
        match (floats, histograms) {
            (Around::Nothing, Around::Nothing) => continue,
            (_, Around::Nothing) => match smooth_float(samples, floats, seen) {
                Some(value) => column.floats[step] = value,
                None => continue,
            },
            (Around::Nothing, _) => {
                let smoothed = match histograms {
                    Around::Between(at) => {
                        let (before, after) = (&samples.histograms[at - 1], &samples.histograms[at]);
                        let counter = before.histogram.reset_hint != ResetHint::Gauge;
                        interpolate(before, after, seen, counter, smoothing.edition).map(Arc::new)
                    }
                    Around::At(at) => Ok(Arc::clone(&samples.histograms[at].histogram)),
                    Around::Nothing | Around::OnlyLater => continue,
                };
                match smoothed {
                    Ok(histogram) => column.set_histogram(step, histogram),
                    Err(mismatch) => {
                        notes.add(Annotation::of_histogram(mismatch.into(), metric, smoothing.span));
                        continue;
                    }
                }
            }
            _ => {
                notes.warn(text::mixed_floats_histograms(metric), smoothing.span);
                continue;
            }
        }
        any = true;
    }
    any.then_some(column)
}

fn smooth_float(samples: &Samples, around: Around, seen_ms: i64) -> Option<f64> {
    match around {
        Around::Nothing | Around::OnlyLater => None,
        Around::At(at) => Some(samples.values[at]),
        Around::Between(at) => {
            let (left, right) = (samples.values[at - 1], samples.values[at]);
            let (before, after) = (samples.timestamps_ms[at - 1], samples.timestamps_ms[at]);
            Some(left + (right - left) * (seen_ms - before) as f64 / (after - before) as f64)
        }
    }
}

/// Which samples within the lookback lie around a time.
#[derive(Clone, Copy)]
enum Around {
    Nothing,
    OnlyLater,
    /// The sample at the time, or the last before it where none comes later.
    At(usize),
    /// Between this sample and the one before.
    Between(usize),
}

impl Around {
    fn of<T>(items: &[T], time: impl Fn(&T) -> i64, seen_ms: i64, lookback_ms: i64) -> Self {
        let low = items.partition_point(|item| time(item) <= seen_ms.saturating_sub(lookback_ms));
        let high = items.partition_point(|item| time(item) <= seen_ms.saturating_add(lookback_ms));
        let inside = &items[low..high];
        let at = low + inside.partition_point(|item| time(item) < seen_ms);
        match (at > low, at < high) {
            (false, false) => Self::Nothing,
            (_, true) if time(&items[at]) == seen_ms => Self::At(at),
            (true, true) => Self::Between(at),
            (true, false) => Self::At(at - 1),
            (false, true) => Self::OnlyLater,
        }
    }
}
