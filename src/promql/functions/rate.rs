//! `rate`, `increase` and `delta`: the change over a window, extrapolated to its bounds.

use crate::promql::operators::samples::HistogramSample;
use crate::promql::operators::window::Window;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateKind {
    /// Handle counter resets, and do not extrapolate below zero.
    pub counter: bool,
    /// Per second instead of over the range.
    pub per_second: bool,
}

pub const RATE: RateKind = RateKind { counter: true, per_second: true };
pub const INCREASE: RateKind = RateKind { counter: true, per_second: false };
pub const DELTA: RateKind = RateKind { counter: false, per_second: false };

/// Indices of the samples of a series before which its counter was reset.
///
/// Found once per series: a window then costs its resets, not its samples.
pub fn counter_resets(values: &[f64], timestamps_ms: &[i64], starts_ms: &[i64]) -> Vec<usize> {
    let by_value = |at: &usize| values[*at] < values[at - 1];
    let by_start = |at: &usize| {
        starts_ms.len() == values.len()
            && is_start_reset(starts_ms[at - 1], timestamps_ms[at - 1], starts_ms[*at], timestamps_ms[*at])
    };
    (1..values.len()).filter(|at| by_value(at) || by_start(at)).collect()
}

/// Whether a start timestamp tells of a reset between two samples.
///
/// One at the sample before is a reset for deltas, whose samples all say where they start; it is
/// none where the sample before did not know its start. A start at or after its own sample says
/// nothing.
pub fn is_start_reset(previous_start: i64, previous: i64, start: i64, current: i64) -> bool {
    if start == 0 || start >= current || start < previous {
        return false;
    }
    start > previous || previous_start != 0 && previous_start < previous
}

/// Whether a start timestamp lies before the sample before, and is not what that one said.
fn overlaps(previous_start: i64, previous: i64, start: i64) -> bool {
    start != 0 && start < previous && start != previous_start
}

/// Whether any start timestamp of the window contradicts the samples.
pub fn has_overlaps(window: &Window<'_>) -> bool {
    let (starts, times) = (window.starts_ms, window.timestamps_ms);
    let floats = (1..starts.len()).any(|at| overlaps(starts[at - 1], times[at - 1], starts[at]));
    let of_pair =
        |pair: &[HistogramSample]| overlaps(pair[0].start_ms, pair[0].timestamp_ms, pair[1].start_ms);
    floats || window.histograms.windows(2).any(of_pair)
}

/// When the counter was zero, where that is known and inside of the window.
pub fn start_inside(window: &Window<'_>, start_ms: i64, first_ms: i64) -> Option<i64> {
    (start_ms != 0 && start_ms > window.start_ms && start_ms < first_ms).then_some(start_ms)
}

/// Sum of the values before each reset inside of the window: what a counter lost.
fn lost_to_resets(window: &Window<'_>, resets: &[usize], mut change: f64) -> f64 {
    let inside = window.first + 1..window.first + window.values.len();
    let from = resets.partition_point(|at| *at < inside.start);
    for at in resets[from..].iter().take_while(|at| **at < inside.end) {
        change += window.values[at - 1 - window.first];
    }
    change
}

/// The change of floats; at least two of them. `resets` are those of the whole series.
pub fn extrapolated_floats(window: &Window<'_>, kind: RateKind, resets: &[usize]) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let (mut first, last) = (*values.first()?, *values.last()?);
    if values.len() < 2 {
        return None;
    }
    let (mut first_ms, last_ms) = (times[0], times[times.len() - 1]);
    let mut intervals = times.len() - 1;
    let start_ms = window.starts_ms.first().copied().unwrap_or(0);
    if let (true, Some(zero_ms)) = (kind.counter, start_inside(window, start_ms, first_ms)) {
        (first, first_ms, intervals) = (0.0, zero_ms, intervals + 1);
    }
    let mut change = last - first;
    if kind.counter {
        change = lost_to_resets(window, resets, change);
    }
    let zero_share = (change > 0.0 && first >= 0.0).then(|| first / change);
    Some(change * extrapolation_factor(window, first_ms, last_ms, intervals, kind, zero_share))
}

/// By what the change between the first and the last sample is to be multiplied.
///
/// Where samples reach close to a bound (within 110 % of their mean distance), the change is
/// extrapolated to the bound; else by half of that distance, but of a counter never beyond where
/// it was zero: `zero_share` is its first value in units of its change.
pub fn extrapolation_factor(
    window: &Window<'_>,
    first_ms: i64,
    last_ms: i64,
    intervals: usize,
    kind: RateKind,
    zero_share: Option<f64>,
) -> f64 {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last_ms - first_ms);
    let mean_interval = sampled / intervals as f64;
    let threshold = mean_interval * 1.1;
    let mut to_start = seconds(first_ms - window.start_ms);
    let mut to_end = seconds(window.end_ms - last_ms);
    if to_start >= threshold {
        to_start = mean_interval / 2.0;
    }
    if let (true, Some(share)) = (kind.counter, zero_share) {
        let to_zero = sampled * share;
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = mean_interval / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind.per_second {
        factor /= seconds(window.end_ms - window.start_ms);
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'a>(timestamps_ms: &'a [i64], values: &'a [f64], start_ms: i64, end_ms: i64) -> Window<'a> {
        Window {
            time_ms: end_ms,
            start_ms,
            end_ms,
            first: 0,
            timestamps_ms,
            values,
            starts_ms: &[],
            histograms: &[],
        }
    }

    #[test]
    fn a_steady_counter_is_extrapolated_to_both_bounds() {
        let times: Vec<i64> = (1..=5).map(|i| i * 60_000 - 30_000).collect();
        let values: Vec<f64> = (1..=5).map(|i| 100.0 + f64::from(i) * 60.0).collect();
        let window = window(&times, &values, 0, 300_000);

        let resets = counter_resets(&values, &times, &[]);

        assert!(resets.is_empty());
        assert_eq!(extrapolated_floats(&window, INCREASE, &resets), Some(300.0));
        assert_eq!(extrapolated_floats(&window, RATE, &resets), Some(1.0));
    }

    #[test]
    fn a_reset_adds_what_was_counted_before_it() {
        let times = [0, 10_000, 20_000, 30_000];
        let values = [5.0, 10.0, 3.0, 8.0];
        let window = window(&times, &values, -1, 30_000);

        let resets = counter_resets(&values, &times, &[]);

        assert_eq!(resets, [2]);
        let increase = extrapolated_floats(&window, INCREASE, &resets).expect("four samples");
        assert!((increase - 13.0).abs() < 0.01);
        assert!(extrapolated_floats(&window, DELTA, &resets).is_some_and(|d| (d - 3.0).abs() < 0.01));
    }

    #[test]
    fn a_counter_is_not_extrapolated_below_zero() {
        let times = [50_000, 60_000];
        let values = [1.0, 11.0];
        let window = window(&times, &values, 41_000, 60_000);
        // To the start of the range it is 9 s, to zero 1 s.
        assert_eq!(extrapolated_floats(&window, INCREASE, &[]), Some(11.0));
    }

    #[test]
    fn start_timestamps_tell_of_resets_that_values_hide() {
        assert!(is_start_reset(5, 10, 15, 20));
        assert!(!is_start_reset(5, 10, 0, 20));
        assert!(!is_start_reset(5, 10, 5, 20));
        assert!(!is_start_reset(5, 10, 25, 20));
        assert!(is_start_reset(5, 10, 10, 20));
        assert!(!is_start_reset(0, 10, 10, 20));
        assert!(!is_start_reset(10, 10, 10, 20));
        assert!(!is_start_reset(5, 10, 20, 20));
    }
}
