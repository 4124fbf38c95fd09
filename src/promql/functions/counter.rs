//! `resets` and `changes`, and the last two samples for `irate` and `idelta`.

use super::rate::is_start_reset;
use crate::promql::histogram::{Edition, FloatHistogram};
use crate::promql::operators::samples::HistogramSample;
use crate::promql::operators::window::Window;

/// A sample of either kind.
#[derive(Clone, Copy)]
pub enum Sample<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// Counts what `differs` between each sample and the one before, floats and histograms in the
/// order of time.
fn count_pairs(window: &Window<'_>, mut differs: impl FnMut(Pair<'_>) -> bool) -> f64 {
    let (mut float, mut histogram) = (0, 0);
    let mut previous: Option<Timed<'_>> = None;
    let mut count = 0u32;
    loop {
        let next_float = window.timestamps_ms.get(float);
        let next_histogram = window.histograms.get(histogram);
        let current = match (next_float, next_histogram) {
            (None, None) => return f64::from(count),
            (Some(time), other) if other.is_none_or(|h| *time < h.timestamp_ms) => {
                float += 1;
                Timed {
                    time_ms: *time,
                    start_ms: window.starts_ms.get(float - 1).copied().unwrap_or(0),
                    sample: Sample::Float(window.values[float - 1]),
                }
            }
            (_, Some(HistogramSample { timestamp_ms, start_ms, histogram: h })) => {
                histogram += 1;
                Timed { time_ms: *timestamp_ms, start_ms: *start_ms, sample: Sample::Histogram(h) }
            }
            (Some(_), None) => unreachable!("the guard of the second arm holds without a histogram"),
        };
        if let Some(previous) = previous
            && differs(Pair { previous, current })
        {
            count += 1;
        }
        previous = Some(current);
    }
}

#[derive(Clone, Copy)]
struct Timed<'a> {
    time_ms: i64,
    start_ms: i64,
    sample: Sample<'a>,
}

#[derive(Clone, Copy)]
struct Pair<'a> {
    previous: Timed<'a>,
    current: Timed<'a>,
}

/// How often a counter was reset. A change of kind is one too.
pub fn resets(window: &Window<'_>, use_starts: bool, edition: Edition) -> f64 {
    count_pairs(window, |Pair { previous, current }| {
        let by_start = use_starts
            && is_start_reset(previous.start_ms, previous.time_ms, current.start_ms, current.time_ms);
        by_start
            || match (previous.sample, current.sample) {
                (Sample::Float(before), Sample::Float(now)) => now < before,
                (Sample::Histogram(before), Sample::Histogram(now)) => now.detect_reset(before, edition),
                _ => true,
            }
    })
}

/// How often a value changed. NaN to NaN is no change.
pub fn changes(window: &Window<'_>) -> f64 {
    count_pairs(window, |Pair { previous, current }| match (previous.sample, current.sample) {
        (Sample::Float(before), Sample::Float(now)) => now != before && !(now.is_nan() && before.is_nan()),
        (Sample::Histogram(before), Sample::Histogram(now)) => !now.equals(before),
        _ => true,
    })
}

/// The last two samples of a window.
pub enum LastTwo<'a> {
    TooFew,
    Floats { before: f64, now: f64, reset_by_start: bool, interval_ms: i64 },
    Histograms { before: &'a FloatHistogram, now: &'a FloatHistogram, reset_by_start: bool, interval_ms: i64 },
    Mixed,
}

pub fn last_two<'a>(window: &Window<'a>, use_starts: bool) -> LastTwo<'a> {
    let mut newest: Vec<Timed<'a>> = Vec::with_capacity(4);
    let floats = window.values.len();
    for at in floats.saturating_sub(2)..floats {
        newest.push(Timed {
            time_ms: window.timestamps_ms[at],
            start_ms: window.starts_ms.get(at).copied().unwrap_or(0),
            sample: Sample::Float(window.values[at]),
        });
    }
    for h in &window.histograms[window.histograms.len().saturating_sub(2)..] {
        let (time_ms, start_ms) = (h.timestamp_ms, h.start_ms);
        newest.push(Timed { time_ms, start_ms, sample: Sample::Histogram(&h.histogram) });
    }
    newest.sort_by_key(|timed| timed.time_ms);
    let [.., previous, current] = newest.as_slice() else { return LastTwo::TooFew };
    let interval_ms = current.time_ms - previous.time_ms;
    if interval_ms == 0 {
        return LastTwo::TooFew;
    }
    let reset_by_start =
        use_starts && is_start_reset(previous.start_ms, previous.time_ms, current.start_ms, current.time_ms);
    match (previous.sample, current.sample) {
        (Sample::Float(before), Sample::Float(now)) => {
            LastTwo::Floats { before, now, reset_by_start, interval_ms }
        }
        (Sample::Histogram(before), Sample::Histogram(now)) => {
            LastTwo::Histograms { before, now, reset_by_start, interval_ms }
        }
        _ => LastTwo::Mixed,
    }
}
