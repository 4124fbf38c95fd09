//! `anchored` and `smoothed` windows: values at the very bounds, taken from samples around them.

use super::rate::RateKind;
use crate::promql::operators::window::Window;
use crate::promql::syntax::ast::Extension;

/// The change over the window; `None` where no sample lies in it or after it.
pub fn extended_change(window: &Window<'_>, kind: RateKind, extension: Extension) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let (start_ms, end_ms) = (window.start_ms, window.end_ms);
    let smoothed = extension == Extension::Smoothed;
    let newest = times.len().checked_sub(1)?;
    let mut first = first_at_bound(times, start_ms);
    let mut last = newest;
    if smoothed {
        last = times[..newest].partition_point(|t| *t < end_ms);
    }
    if times[last] <= start_ms || times[first] > end_ms {
        return None;
    }
    let left = if smoothed && times[first] < start_ms {
        interpolate(window, first, start_ms, kind.counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end_ms {
        interpolate(window, last - 1, end_ms, kind.counter)
    } else {
        values[last]
    };
    let mut change = right - left;
    if kind.counter {
        // The bounds have dealt with resets there: only what lies strictly inside counts.
        if times[first] <= start_ms {
            first += 1;
        }
        let inside_end = if times[last] >= end_ms { last } else { last + 1 };
        change += lost_to_resets(left, right, values.get(first..inside_end).unwrap_or(&[]));
    }
    if kind.per_second {
        change /= (end_ms - start_ms) as f64 / 1000.0;
    }
    Some(change)
}

/// The last sample at or before the bound, else the first.
pub fn first_at_bound(times: &[i64], start_ms: i64) -> usize {
    let newest = times.len().saturating_sub(1);
    times[..newest].partition_point(|t| *t <= start_ms).saturating_sub(1)
}

/// On the line from sample `at` to the next; a reset counter starts at zero.
fn interpolate(window: &Window<'_>, at: usize, time_ms: i64, counter: bool) -> f64 {
    let (times, values) = (window.timestamps_ms, window.values);
    let (mut from, to) = (values[at], values[at + 1]);
    if counter && to < from {
        from = 0.0;
    }
    from + (to - from) * (time_ms - times[at]) as f64 / (times[at + 1] - times[at]) as f64
}

fn lost_to_resets(left: f64, right: f64, inside: &[f64]) -> f64 {
    let mut lost = 0.0;
    let mut previous = left;
    for value in inside.iter().chain(std::iter::once(&right)) {
        if *value < previous {
            lost += previous;
        }
        previous = *value;
    }
    lost
}

/// What a bare `anchored` or `smoothed` range selector returns: both bounds and what lies between.
pub fn extended_points(
    times: &[i64],
    values: &[f64],
    start_ms: i64,
    end_ms: i64,
    smoothed: bool,
) -> Vec<(i64, f64)> {
    let Some(newest) = times.len().checked_sub(1) else { return Vec::new() };
    let mut first = first_at_bound(times, start_ms);
    let last = if smoothed { times[..newest].partition_point(|t| *t < end_ms) } else { newest };
    if times[last] <= start_ms {
        return Vec::new();
    }
    let line = |at: usize, time_ms: i64| {
        let share = (time_ms - times[at]) as f64 / (times[at + 1] - times[at]) as f64;
        values[at] + (values[at + 1] - values[at]) * share
    };
    let left = if smoothed && times[first] < start_ms { line(first, start_ms) } else { values[first] };
    let right =
        if smoothed && last > 0 && times[last] > end_ms { line(last - 1, end_ms) } else { values[last] };
    if times[first] <= start_ms {
        first += 1;
    }
    let inside_end = if times[last] >= end_ms { last } else { last + 1 };
    let inside = (first..inside_end.max(first)).map(|at| (times[at], values[at]));
    std::iter::once((start_ms, left)).chain(inside).chain(std::iter::once((end_ms, right))).collect()
}
