//! `rate`, `increase` and `delta`: the change over a window, extrapolated to its bounds.

use crate::promql::operators::bounds::Bound;
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

/// Values compared at a time: most stretches have no reset, and show that without a branch per value.
const COMPARED_VALUES: usize = 64;

/// Indices of the samples of a series before which its counter was reset.
///
/// Found once per series: a window then costs its resets, not its samples.
pub fn counter_resets(values: &[f64], timestamps_ms: &[i64], starts_ms: &[i64]) -> Vec<usize> {
    let by_value = |at: usize| values[at] < values[at - 1];
    let by_start = |at: usize| {
        is_start_reset(starts_ms[at - 1], timestamps_ms[at - 1], starts_ms[at], timestamps_ms[at])
    };
    if !starts_ms.is_empty() && starts_ms.len() == values.len() {
        return (1..values.len()).filter(|at| by_value(*at) || by_start(*at)).collect();
    }
    let mut resets = Vec::new();
    for from in (1..values.len()).step_by(COMPARED_VALUES) {
        let to = values.len().min(from + COMPARED_VALUES);
        let pairs = values[from - 1..to - 1].iter().zip(&values[from..to]);
        if pairs.fold(false, |any, (before, now)| any | (now < before)) {
            resets.extend((from..to).filter(|at| by_value(*at)));
        }
    }
    resets
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
pub fn extrapolation_factor(
    window: &Window<'_>,
    first_ms: i64,
    last_ms: i64,
    intervals: usize,
    kind: RateKind,
    zero_share: Option<f64>,
) -> f64 {
    let reach = Reach::of(first_ms, last_ms, intervals, (window.start_ms, window.end_ms), kind);
    match zero_share {
        Some(share) if kind.counter && reach.sampled * share < reach.to_start => {
            reach.factor_from(reach.sampled * share, kind)
        }
        _ => reach.factor,
    }
}

/// By how much the zero of a counter must lie beyond where one extrapolates to, to be seen without dividing:
/// far more than rounding takes from a product or a quotient,
const FAR: f64 = 1.000_001;

/// as long as products with changes are numbers of full precision.
const EXACT_CHANGE_MIN: f64 = 1e-280;

/// How far the samples of a window reach, in seconds, and by what their change is to be multiplied:
/// what of an extrapolation depends on times alone, and is the same for all series of a scrape.
///
/// Where samples reach close to a bound (within 110 % of their mean distance), the change is
/// extrapolated to the bound; else by half of that distance, but of a counter never beyond where
/// it was zero: its first value in units of its change says where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    sampled: f64,
    /// How far to extrapolate.
    to_start: f64,
    to_end: f64,
    window: f64,
    /// Of what was never zero inside of the window.
    factor: f64,
}

impl Reach {
    /// Of a window of `(start_ms, end_ms]`.
    fn of(
        first_ms: i64,
        last_ms: i64,
        intervals: usize,
        (start_ms, end_ms): (i64, i64),
        kind: RateKind,
    ) -> Self {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let sampled = seconds(last_ms - first_ms);
        let mean_interval = sampled / intervals as f64;
        let threshold = mean_interval * 1.1;
        let mut to_start = seconds(first_ms - start_ms);
        let mut to_end = seconds(end_ms - last_ms);
        if to_start >= threshold {
            to_start = mean_interval / 2.0;
        }
        if to_end >= threshold {
            to_end = mean_interval / 2.0;
        }
        let mut reach = Self { sampled, to_start, to_end, window: seconds(end_ms - start_ms), factor: 0.0 };
        reach.factor = reach.factor_from(to_start, kind);
        reach
    }

    fn factor_from(&self, to_start: f64, kind: RateKind) -> f64 {
        let factor = (self.sampled + to_start + self.to_end) / self.sampled;
        if kind.per_second { factor / self.window } else { factor }
    }

    /// The factor for a counter, or what is treated as one, by its first value and its change.
    #[inline]
    fn factor_of(&self, first: f64, change: f64, kind: RateKind) -> f64 {
        if !kind.counter {
            return self.factor;
        }
        // Most counters stand still or are far from zero, which no rounding of the division below could hide.
        let is_far = self.sampled * first > self.to_start * change * FAR;
        if (is_far & (change > EXACT_CHANGE_MIN)) | (change <= 0.0) {
            return self.factor;
        }
        // Also where there is no zero to be found: a division is cheaper than a branch that nobody can
        // foretell.
        let to_zero = self.sampled * (first / change);
        let stops_at_zero = (change > 0.0) & (first >= 0.0) & (to_zero < self.to_start);
        if stops_at_zero { self.factor_from(to_zero, kind) } else { self.factor }
    }
}

/// The reach of every window of floats; of those with fewer than two it means nothing.
pub fn reaches<'a>(
    timestamps_ms: &'a [i64],
    bounds: &'a [Bound],
    ranges_ms: impl Iterator<Item = (i64, i64)> + 'a,
    kind: RateKind,
) -> impl Iterator<Item = Reach> + 'a {
    // Where scrapes are as far apart as steps are, all windows are alike: half a dozen divisions are done once.
    let mut alike = None;
    let mut reach = Reach::default();
    bounds.iter().zip(ranges_ms).map(move |(bound, (start_ms, end_ms))| {
        let [first_ms, .., last_ms] = bound.of(timestamps_ms) else { return Reach::default() };
        let distances = (first_ms - start_ms, last_ms - first_ms, end_ms - last_ms, bound.len());
        if alike != Some(distances) {
            alike = Some(distances);
            reach = Reach::of(*first_ms, *last_ms, bound.len() - 1, (start_ms, end_ms), kind);
        }
        reach
    })
}

/// [`extrapolated_floats`] of every window, without start timestamps.
pub fn extrapolated_column(
    values: &[f64],
    bounds: &[Bound],
    reaches: &[Reach],
    kind: RateKind,
    resets: &[usize],
    out: &mut [f64],
) {
    let changes = out.iter_mut().zip(bounds).zip(reaches);
    if resets.is_empty() {
        for ((out, bound), reach) in changes {
            let [first, .., last] = bound.of(values) else { continue };
            let change = last - first;
            *out = change * reach.factor_of(*first, change, kind);
        }
        return;
    }
    let mut next_reset = 0;
    for ((out, bound), reach) in changes {
        let [first, .., last] = bound.of(values) else { continue };
        let mut change = last - first;
        while next_reset < resets.len() && resets[next_reset] <= bound.from {
            next_reset += 1;
        }
        for at in resets[next_reset..].iter().take_while(|at| **at < bound.to) {
            change += values[at - 1];
        }
        *out = change * reach.factor_of(*first, change, kind);
    }
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
    fn resets_are_found_wherever_they_are() {
        for count in [0, 1, 2, 63, 64, 65, 66, 128, 129, 130, 200] {
            for reset in 0..count {
                let value = |at: usize| if at < reset { at as f64 } else { at as f64 - 1.5 };
                let mut values: Vec<f64> = (0..count).map(value).collect();
                let want: Vec<usize> = (reset > 0).then_some(reset).into_iter().collect();
                assert_eq!(counter_resets(&values, &vec![0; count], &[]), want, "{reset} of {count}");
                // Nothing is less than what is no number, nor the other way round.
                values[reset] = f64::NAN;
                assert!(counter_resets(&values, &vec![0; count], &[]).is_empty(), "{reset} of {count}");
            }
        }
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
