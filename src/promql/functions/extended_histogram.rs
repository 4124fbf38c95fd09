//! `anchored` and `smoothed` windows of native histograms.
//!
//! As for floats in [`super::extended`]; resets are found between samples, never between a sample
//! and a value interpolated from it.

use super::extended::first_at_bound;
use super::rate::RateKind;
use crate::model::ResetHint;
use crate::promql::histogram::{Edition, FloatHistogram, Mismatch, Note};
use crate::promql::operators::samples::HistogramSample;
use crate::promql::operators::window::Window;
use crate::promql::syntax::ast::Extension;

/// The change over the window, and what is to be said about it.
pub fn extended_histogram_change(
    window: &Window<'_>,
    kind: RateKind,
    extension: Extension,
    edition: Edition,
) -> (Option<FloatHistogram>, Vec<Note>) {
    let mut notes = Vec::new();
    match change(window, kind, extension, edition, &mut notes) {
        Ok(change) => (change, notes),
        Err(mismatch) => {
            notes.push(mismatch.into());
            (None, notes)
        }
    }
}

fn change(
    window: &Window<'_>,
    kind: RateKind,
    extension: Extension,
    edition: Edition,
    notes: &mut Vec<Note>,
) -> Result<Option<FloatHistogram>, Mismatch> {
    let samples = window.histograms;
    let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    let (start_ms, end_ms) = (window.start_ms, window.end_ms);
    let smoothed = extension == Extension::Smoothed;
    let Some(newest) = times.len().checked_sub(1) else { return Ok(None) };
    let first = first_at_bound(&times, start_ms);
    let last = if smoothed { times[..newest].partition_point(|t| *t < end_ms) } else { newest };
    if times[last] <= start_ms || times[first] > end_ms {
        return Ok(None);
    }
    let used = &samples[first..=last];
    let custom = used[0].histogram.uses_custom_buckets();
    if used.iter().any(|sample| sample.histogram.uses_custom_buckets() != custom) {
        return Err(Mismatch::Schemas);
    }
    let is_gauge = |sample: &HistogramSample| sample.histogram.reset_hint == ResetHint::Gauge;
    if kind.counter && used.iter().any(is_gauge) {
        notes.push(Note::NotCounter);
    }
    let bounds_are_gauges = is_gauge(&used[0]) && is_gauge(&used[used.len() - 1]);
    if !kind.counter && !bounds_are_gauges {
        notes.push(Note::NotGauge);
    }
    let cuts_left = smoothed && times[first] < start_ms;
    let cuts_right = smoothed && last > 0 && times[last] > end_ms;
    let left = match cuts_left {
        true => interpolate(&samples[first], &samples[first + 1], start_ms, kind.counter, edition)?,
        false => FloatHistogram::clone(&samples[first].histogram),
    };
    let mut change = match cuts_right {
        true => interpolate(&samples[last - 1], &samples[last], end_ms, kind.counter, edition)?,
        false => FloatHistogram::clone(&samples[last].histogram),
    };
    change.sub(&left, edition)?;
    if kind.counter {
        // A reset within the first pair is part of what was interpolated there.
        for pair in used.windows(2).skip(usize::from(cuts_left)) {
            if pair[1].histogram.detect_reset(&pair[0].histogram, edition) {
                change.add(&pair[0].histogram, edition)?;
            }
        }
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    if kind.per_second {
        change.divide((end_ms - start_ms) as f64 / 1000.0);
    }
    Ok(Some(change))
}

/// On the line between two samples; a reset counter starts at zero.
pub fn interpolate(
    before: &HistogramSample,
    after: &HistogramSample,
    time_ms: i64,
    counter: bool,
    edition: Edition,
) -> Result<FloatHistogram, Mismatch> {
    let (from, to) = (&before.histogram, &after.histogram);
    let length = (after.timestamp_ms - before.timestamp_ms) as f64;
    let share = (time_ms - before.timestamp_ms) as f64 / length;
    if from.uses_custom_buckets() != to.uses_custom_buckets() {
        return Err(Mismatch::Schemas);
    }
    let mut value = FloatHistogram::clone(to);
    if counter && to.detect_reset(from, edition) {
        value.multiply(share);
        return Ok(value);
    }
    value.sub(from, edition)?;
    value.multiply(share);
    value.add(from, edition)?;
    value.reset_hint = from.reset_hint;
    Ok(value)
}
