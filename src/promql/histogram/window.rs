//! Histograms in a range: `rate`, `increase`, `delta`, and `irate`, `idelta`.
//!
//! Owns the change between histograms, resets included. Extrapolation, and the division by time,
//! belong to the engine's rate kernel, which scales the result.

use super::{Edition, FloatHistogram, Mismatch, Note};
use crate::model::ResetHint;

/// The change over a window of at least two histograms, not extrapolated: `last - first`, for
/// counters plus what was there before each reset.
///
/// `None` where the histograms do not fit each other; the notes then say why.
pub fn histogram_rate(
    points: &[(i64, &FloatHistogram)],
    is_counter: bool,
    edition: Edition,
) -> (Option<FloatHistogram>, Vec<Note>) {
    let mut notes = Vec::new();
    let change = window_change(points, is_counter, edition, &mut notes);
    match change {
        Ok(change) => (change, notes),
        Err(mismatch) => {
            notes.push(mismatch.into());
            (None, notes)
        }
    }
}

fn window_change(
    points: &[(i64, &FloatHistogram)],
    is_counter: bool,
    edition: Edition,
    notes: &mut Vec<Note>,
) -> Result<Option<FloatHistogram>, Mismatch> {
    let [(_, first), between @ .., (_, last)] = points else { return Ok(None) };
    let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        notes.push(Note::NotCounter);
    }
    // A reset right after the first histogram makes it irrelevant, and with it its layout.
    let second = points[1].1;
    let restarted = (is_counter && second.detect_reset(first, edition)).then(|| empty_like(second));
    let first = restarted.as_ref().unwrap_or(first);

    let uses_custom_buckets = first.uses_custom_buckets();
    if last.uses_custom_buckets() != uses_custom_buckets {
        return Err(Mismatch::Schemas);
    }
    let mut schema = first.schema.min(last.schema);
    if is_counter {
        for (_, histogram) in between {
            if is_gauge(histogram) && !notes.contains(&Note::NotCounter) {
                notes.push(Note::NotCounter);
            }
            if histogram.uses_custom_buckets() != uses_custom_buckets {
                return Err(Mismatch::Schemas);
            }
            schema = schema.min(histogram.schema);
        }
    }
    let mut change = last.copy_to_schema(schema);
    note_bounds(change.sub(first, edition)?, notes);
    if is_counter {
        let mut previous = first;
        for (_, histogram) in &points[1..] {
            if histogram.detect_reset(previous, edition) {
                note_bounds(change.add(previous, edition)?, notes);
            }
            previous = histogram;
        }
    } else if !is_gauge(points[0].1) || !is_gauge(last) {
        notes.push(Note::NotGauge);
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Ok(Some(change))
}

/// The change between the last two histograms of a window, for `irate` (`is_counter`) and
/// `idelta`; after a reset, the later histogram itself.
pub fn histogram_change(
    previous: &FloatHistogram,
    last: &FloatHistogram,
    is_counter: bool,
    edition: Edition,
) -> (Option<FloatHistogram>, Vec<Note>) {
    let mut notes = Vec::new();
    let gauges = [previous, last].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if is_counter && gauges.contains(&true) {
        notes.push(Note::NotCounter);
    }
    if !is_counter && gauges.contains(&false) {
        notes.push(Note::NotGauge);
    }
    let mut change = last.clone();
    if !is_counter || !last.detect_reset(previous, edition) {
        match change.sub(previous, edition) {
            Ok(said) => note_bounds(said, &mut notes),
            Err(mismatch) => {
                notes.push(mismatch.into());
                return (None, notes);
            }
        }
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    (Some(change), notes)
}

/// Resets are handled here, so what the hints claim is not worth a word; bounds are.
fn note_bounds(said: Vec<Note>, notes: &mut Vec<Note>) {
    for note in said {
        if matches!(note, Note::BoundsReconciled(_)) && !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// No observations, in buckets that fit `histogram`.
fn empty_like(histogram: &FloatHistogram) -> FloatHistogram {
    FloatHistogram {
        schema: histogram.schema,
        custom_values: histogram.custom_values.clone(),
        ..FloatHistogram::default()
    }
}
