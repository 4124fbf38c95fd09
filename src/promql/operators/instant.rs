//! Instant selectors: the newest sample within the lookback, at every step.

use std::ops::Range;
use std::sync::Arc;

use super::bounds::{BLOCK_STEPS, advance, is_kept};
use super::column::{ABSENT, SeriesColumn};
use super::samples::Samples;
use super::step_grid::StepGrid;
use super::window::any_present;
use crate::model::is_stale_nan;
use crate::promql::plan::node::Shift;

/// Evaluates a series over the grid; `None` where no step has a value. `sights` has seen none but
/// series of the same selector on the same grid.
pub fn select(
    samples: &Samples,
    grid: &StepGrid,
    shift: Shift,
    lookback_ms: i64,
    sights: &mut Sights,
) -> Option<SeriesColumn> {
    let mut column = SeriesColumn::absent(samples.labels.clone(), grid.count);
    if samples.histograms.is_empty() {
        for (number, out) in column.floats.chunks_mut(BLOCK_STEPS).enumerate() {
            let first = number * BLOCK_STEPS;
            let steps = first..first + out.len();
            sights.find(&samples.timestamps_ms, grid, steps, shift, lookback_ms);
            sights.copy(&samples.values, out);
        }
        return any_present(&column.floats).then_some(column);
    }
    let mut any = false;
    let mut cursor = Cursor::new(samples, lookback_ms);
    for (step, time) in grid.times().enumerate() {
        match cursor.newest(shift.apply(time)) {
            Newest::None => continue,
            Newest::Float(at) => column.set_float(step, samples.values[at]),
            Newest::Histogram(at) => {
                column.set_histogram(step, Arc::clone(&samples.histograms[at].histogram));
            }
        }
        any = true;
    }
    any.then_some(column)
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

/// No sample at this step.
const NONE: usize = usize::MAX;

/// Which float each step sees. Worked out in one walk over grid and timestamps, and kept for the
/// next series: those of a target have the timestamps of its scrapes in common.
#[derive(Default)]
pub struct Sights {
    /// Index of the newest within the lookback, or [`NONE`].
    newest: Vec<usize>,
    /// What the first step sees, where each step sees the sample after that of the step before.
    in_step: Option<usize>,
    /// Of the series that this was worked out for, where it is good for another one.
    timestamps_ms: Vec<i64>,
    kept: bool,
    misses: u32,
}

impl Sights {
    fn find(
        &mut self,
        timestamps_ms: &[i64],
        grid: &StepGrid,
        steps: Range<usize>,
        shift: Shift,
        lookback_ms: i64,
    ) {
        if self.kept && self.timestamps_ms == timestamps_ms {
            self.misses = 0;
            return;
        }
        self.misses = self.misses.saturating_add(1);
        self.kept = is_kept(steps.len(), grid, timestamps_ms.len(), self.misses);
        self.timestamps_ms.clear();
        if self.kept {
            self.timestamps_ms.extend_from_slice(timestamps_ms);
        }
        self.newest.clear();
        let first_ms = shift.apply(grid.time(steps.start));
        let mut after = timestamps_ms.partition_point(|t| *t <= first_ms);
        let mut stride = 0;
        for step in steps {
            let seen_ms = shift.apply(grid.time(step));
            let next = advance(timestamps_ms, after, stride, seen_ms);
            (stride, after) = (next - after, next);
            let oldest_ms = seen_ms.saturating_sub(lookback_ms);
            let newest = after.checked_sub(1).filter(|at| timestamps_ms[*at] > oldest_ms);
            self.newest.push(newest.unwrap_or(NONE));
        }
        let follows = |pair: &[usize]| pair[0] != NONE && pair[1] == pair[0] + 1;
        let in_step = self.newest.windows(2).all(follows);
        self.in_step = self.newest.first().copied().filter(|first| in_step && *first != NONE);
    }

    /// Writes what the steps see; nothing where that is a staleness marker.
    fn copy(&self, values: &[f64], out: &mut [f64]) {
        let present = |value: f64| if is_stale_nan(value) { ABSENT } else { value };
        match self.in_step {
            Some(first) => {
                for (out, value) in out.iter_mut().zip(&values[first..]) {
                    *out = present(*value);
                }
            }
            None => {
                for (out, at) in out.iter_mut().zip(&self.newest) {
                    *out = values.get(*at).map_or(ABSENT, |value| present(*value));
                }
            }
        }
    }
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
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Labels, stale_nan};
    use crate::promql::operators::column::is_absent;

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

        let column =
            select(&samples, &grid, Shift::default(), 15, &mut Sights::default()).expect("has values");

        let seen: Vec<Option<f64>> = column.floats.iter().map(|v| (!is_absent(*v)).then_some(*v)).collect();
        let (one, two) = (Some(1.0), Some(2.0));
        assert_eq!(seen, [one, one, two, two, two, None, None, None, None]);
    }

    #[test]
    fn at_and_offset_shift_what_is_seen() {
        let samples = series(&[(0, 1.0), (10, 2.0)]);
        let grid = StepGrid::range(0, 20, 10).expect("small");
        let check = |shift: Shift, want: &[f64]| {
            let column = select(&samples, &grid, shift, 15, &mut Sights::default()).expect("has values");
            assert_eq!(column.floats, want);
        };
        check(Shift { offset_ms: 0, at_ms: Some(10) }, &[2.0, 2.0, 2.0]);
        check(Shift { offset_ms: -10, at_ms: Some(5) }, &[2.0, 2.0, 2.0]);
        check(Shift { offset_ms: 0, at_ms: Some(0) }, &[1.0, 1.0, 1.0]);
    }

    /// Step by step, as the language defines it.
    fn plain(samples: &Samples, grid: &StepGrid, lookback_ms: i64) -> Vec<u64> {
        let seen = |time_ms: i64| {
            let points = samples.timestamps_ms.iter().zip(&samples.values);
            let (newest_ms, value) = points.rev().find(|(t, _)| **t <= time_ms)?;
            (*newest_ms > time_ms - lookback_ms && !is_stale_nan(*value)).then_some(*value)
        };
        grid.times().map(|time_ms| seen(time_ms).unwrap_or(ABSENT).to_bits()).collect()
    }

    proptest! {
        #[test]
        fn every_step_sees_what_it_would_see_alone(
            gaps in prop::collection::vec((prop_oneof![4 => Just(10i64), 1 => 1i64..60], 0u8..5), 0..60),
            start_ms in -50i64..400,
            step_ms in prop_oneof![Just(10i64), 1i64..50],
            steps in 1usize..40,
        ) {
            let mut time_ms = 0i64;
            let points: Vec<(i64, f64)> = gaps
                .iter()
                .map(|(gap_ms, value)| {
                    time_ms += gap_ms;
                    (time_ms, if *value == 0 { stale_nan() } else { f64::from(*value) })
                })
                .collect();
            let first = series(&points);
            let mut second = first.clone();
            second.values.reverse();
            let third = series(&points[..points.len() / 2]);
            let grid = StepGrid { start_ms, step_ms, count: steps };
            let mut sights = Sights::default();
            for samples in [&first, &second, &third, &first] {
                let want = plain(samples, &grid, 25);
                let got = select(samples, &grid, Shift::default(), 25, &mut sights);
                let none = vec![ABSENT.to_bits(); steps];
                let got = got.map_or(none, |column| column.floats.iter().map(|v| v.to_bits()).collect());
                prop_assert_eq!(got, want);
            }
        }
    }
}
