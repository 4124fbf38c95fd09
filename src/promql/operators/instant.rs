//! Instant selectors: the newest sample within the lookback, at every step.

use std::sync::Arc;

use super::column::{ABSENT, SeriesColumn, is_absent};
use super::samples::Samples;
use super::step_grid::StepGrid;
use crate::model::is_stale_nan;
use crate::promql::plan::node::Shift;

/// Evaluates a series over the grid; `None` where no step has a value.
pub fn select(samples: &Samples, grid: &StepGrid, shift: Shift, lookback_ms: i64) -> Option<SeriesColumn> {
    select_with(samples, grid, shift, lookback_ms, |at| samples.values[at])
}

/// As [`select`], but with the time of the sample, in seconds, in its place; histograms too.
pub fn select_times(
    samples: &Samples,
    grid: &StepGrid,
    shift: Shift,
    lookback_ms: i64,
) -> Option<SeriesColumn> {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut column = SeriesColumn::absent(samples.labels.clone(), grid.count);
    let mut any = false;
    let mut cursor = Cursor::new(samples, lookback_ms);
    for (step, time) in grid.times().enumerate() {
        let timestamp_ms = match cursor.newest(shift.apply(time)) {
            Newest::None => continue,
            Newest::Float(at) => samples.timestamps_ms[at],
            Newest::Histogram(at) => samples.histograms[at].timestamp_ms,
        };
        column.floats[step] = seconds(timestamp_ms);
        any = true;
    }
    any.then_some(column)
}

fn select_with(
    samples: &Samples,
    grid: &StepGrid,
    shift: Shift,
    lookback_ms: i64,
    value: impl Fn(usize) -> f64,
) -> Option<SeriesColumn> {
    let mut column = SeriesColumn::absent(samples.labels.clone(), grid.count);
    if samples.histograms.is_empty() {
        let any = select_floats(samples, grid, shift, lookback_ms, &mut column.floats);
        return any.then_some(column);
    }
    let mut any = false;
    let mut cursor = Cursor::new(samples, lookback_ms);
    for (step, time) in grid.times().enumerate() {
        match cursor.newest(shift.apply(time)) {
            Newest::None => continue,
            Newest::Float(at) => column.set_float(step, value(at)),
            Newest::Histogram(at) => {
                column.set_histogram(step, Arc::clone(&samples.histograms[at].histogram));
            }
        }
        any = true;
    }
    any.then_some(column)
}

/// The common case: floats only.
fn select_floats(
    samples: &Samples,
    grid: &StepGrid,
    shift: Shift,
    lookback_ms: i64,
    out: &mut [f64],
) -> bool {
    let timestamps = samples.timestamps_ms.as_slice();
    let values = &samples.values[..timestamps.len()];
    let mut after = 0;
    let mut any = false;
    for (slot, time) in out.iter_mut().zip(grid.times()) {
        let seen = shift.apply(time);
        while after < timestamps.len() && timestamps[after] <= seen {
            after += 1;
        }
        let Some(newest) = after.checked_sub(1) else { continue };
        let value = values[newest];
        let fresh = timestamps[newest] > seen.saturating_sub(lookback_ms);
        *slot = if fresh && !is_stale_nan(value) { value } else { ABSENT };
        any |= !is_absent(*slot);
    }
    any
}

/// Which sample is the newest at a time.
enum Newest {
    None,
    Float(usize),
    Histogram(usize),
}

/// Walks both kinds of samples forward in time.
struct Cursor<'a> {
    samples: &'a Samples,
    lookback_ms: i64,
    floats: usize,
    histograms: usize,
}

impl<'a> Cursor<'a> {
    fn new(samples: &'a Samples, lookback_ms: i64) -> Self {
        Self { samples, lookback_ms, floats: 0, histograms: 0 }
    }

    fn newest(&mut self, seen_ms: i64) -> Newest {
        let timestamps = &self.samples.timestamps_ms;
        let histograms = &self.samples.histograms;
        while self.floats < timestamps.len() && timestamps[self.floats] <= seen_ms {
            self.floats += 1;
        }
        while self.histograms < histograms.len() && histograms[self.histograms].timestamp_ms <= seen_ms {
            self.histograms += 1;
        }
        let oldest = seen_ms.saturating_sub(self.lookback_ms);
        let float = self.floats.checked_sub(1).filter(|at| timestamps[*at] > oldest);
        let histogram = self.histograms.checked_sub(1).filter(|at| histograms[*at].timestamp_ms > oldest);
        let histogram_is_newer = match (float, histogram) {
            (Some(float), Some(histogram)) => histograms[histogram].timestamp_ms > timestamps[float],
            (None, Some(_)) => true,
            _ => false,
        };
        match (float, histogram) {
            (_, Some(at)) if histogram_is_newer && !histograms[at].histogram.is_stale() => {
                Newest::Histogram(at)
            }
            (Some(at), _) if !histogram_is_newer && !is_stale_nan(self.samples.values[at]) => {
                Newest::Float(at)
            }
            _ => Newest::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, stale_nan};

    fn series(points: &[(i64, f64)]) -> Samples {
        Samples {
            labels: Labels::empty(),
            timestamps_ms: points.iter().map(|p| p.0).collect(),
            values: points.iter().map(|p| p.1).collect(),
            ..Samples::default()
        }
    }

    #[test]
    fn the_lookback_is_left_open_and_stale_markers_end_a_series() {
        let samples = series(&[(0, 1.0), (10, 2.0), (30, stale_nan())]);
        let grid = StepGrid::range(0, 40, 5).expect("small");

        let column = select(&samples, &grid, Shift::default(), 15).expect("has values");

        let seen: Vec<Option<f64>> = column.floats.iter().map(|v| (!is_absent(*v)).then_some(*v)).collect();
        let (one, two) = (Some(1.0), Some(2.0));
        assert_eq!(seen, [one, one, two, two, two, None, None, None, None]);
    }

    #[test]
    fn at_and_offset_shift_what_is_seen() {
        let samples = series(&[(0, 1.0), (10, 2.0)]);
        let grid = StepGrid::range(0, 20, 10).expect("small");
        let check = |shift: Shift, want: &[f64]| {
            let column = select(&samples, &grid, shift, 15).expect("has values");
            assert_eq!(column.floats, want);
        };
        check(Shift { offset_ms: 0, at_ms: Some(10) }, &[2.0, 2.0, 2.0]);
        check(Shift { offset_ms: -10, at_ms: Some(5) }, &[2.0, 2.0, 2.0]);
        check(Shift { offset_ms: 0, at_ms: Some(0) }, &[1.0, 1.0, 1.0]);
    }
}
