//! Range selectors: the samples within a range, at every step.
//!
//! A window is a view of the series' columns; walking the grid moves two pointers, so that a step
//! costs what its function looks at and nothing else. Series of floats alone go a quicker way where
//! their function has one: see [`crate::promql::functions::columns`].

use std::sync::Arc;

use super::column::{ABSENT, SeriesColumn, is_absent};
use super::samples::{HistogramSample, Samples};
use super::step_grid::StepGrid;
use crate::promql::histogram::FloatHistogram;
use crate::promql::plan::node::Shift;
use crate::promql::syntax::ast::Extension;
use crate::querier::QueryGuard;

/// Samples looked at between two questions whether anybody still waits: long ranges at many steps
/// take minutes for a single series.
const CHECK_SAMPLES: u64 = 1 << 16;

/// How a range selector or subquery looks at a series.
#[derive(Clone, Copy, Debug)]
pub struct WindowSpec<'q> {
    pub range_ms: i64,
    pub shift: Shift,
    pub extension: Extension,
    pub lookback_ms: i64,
    pub guard: &'q QueryGuard,
}

impl WindowSpec<'_> {
    /// Start (excluded) and end (included) of the range that a step sees.
    pub fn range_of(&self, time_ms: i64) -> (i64, i64) {
        let end_ms = self.shift.apply(time_ms);
        (end_ms.saturating_sub(self.range_ms), end_ms)
    }
}

/// What one step sees of one series: samples of `(start_ms, end_ms]`, and for extended selectors
/// of the lookback around.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Time of the step.
    pub time_ms: i64,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Index of the first float in its series.
    pub first: usize,
    pub timestamps_ms: &'a [i64],
    pub values: &'a [f64],
    /// Beside `timestamps_ms`, or empty.
    pub starts_ms: &'a [i64],
    pub histograms: &'a [HistogramSample],
}

/// What a range function makes of a window.
#[derive(Clone, Debug)]
pub enum Point {
    None,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<Option<f64>> for Point {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::None, Self::Float)
    }
}

/// A column and how many samples were looked at for it.
pub struct Evaluated {
    pub column: Option<SeriesColumn>,
    pub looked_at: u64,
}

/// Calls `function` with the window of every step that has samples. Stops early where the guard
/// says so: whoever takes the result asks the guard, too.
pub fn evaluate_windows(
    samples: &Samples,
    grid: &StepGrid,
    spec: &WindowSpec<'_>,
    mut function: impl FnMut(usize, &Window<'_>) -> Point,
) -> Evaluated {
    let mut column = SeriesColumn::absent(samples.labels.clone(), grid.count);
    let mut any = false;
    let mut looked_at = 0u64;
    let mut next_check = CHECK_SAMPLES;
    let mut floats = Pointers::default();
    let mut histograms = Pointers::default();
    let (before_ms, after_ms) = match spec.extension {
        Extension::None => (0, 0),
        Extension::Anchored => (spec.lookback_ms, 0),
        Extension::Smoothed => (spec.lookback_ms, spec.lookback_ms),
    };
    for (step, time_ms) in grid.times().enumerate() {
        let (start_ms, end_ms) = spec.range_of(time_ms);
        let (low_ms, high_ms) = (start_ms.saturating_sub(before_ms), end_ms.saturating_add(after_ms));
        let of_floats = floats.advance(&samples.timestamps_ms, |t| *t, low_ms, high_ms);
        let of_histograms = histograms.advance(&samples.histograms, |h| h.timestamp_ms, low_ms, high_ms);
        if of_floats.is_empty() && of_histograms.is_empty() {
            continue;
        }
        let window = Window {
            time_ms,
            start_ms,
            end_ms,
            first: of_floats.start,
            timestamps_ms: &samples.timestamps_ms[of_floats.clone()],
            values: &samples.values[of_floats.clone()],
            starts_ms: samples.starts_ms.get(of_floats).unwrap_or(&[]),
            histograms: &samples.histograms[of_histograms],
        };
        looked_at += window.samples();
        if looked_at >= next_check {
            if spec.guard.check().is_err() {
                break;
            }
            next_check = looked_at + CHECK_SAMPLES;
        }
        match function(step, &window) {
            Point::None => continue,
            Point::Float(value) => column.floats[step] = value,
            Point::Histogram(histogram) => column.set_histogram(step, histogram),
        }
        any = true;
    }
    Evaluated { column: any.then_some(column), looked_at }
}

impl Window<'_> {
    fn samples(&self) -> u64 {
        let histograms: usize = self.histograms.iter().map(|h| h.histogram.sample_weight()).sum();
        (self.values.len() + histograms) as u64
    }
}

/// Bounds of a window that only ever move forward.
#[derive(Default)]
struct Pointers {
    low: usize,
    high: usize,
}

impl Pointers {
    fn advance<T>(
        &mut self,
        items: &[T],
        time: impl Fn(&T) -> i64,
        after_ms: i64,
        until_ms: i64,
    ) -> std::ops::Range<usize> {
        while self.high < items.len() && time(&items[self.high]) <= until_ms {
            self.high += 1;
        }
        while self.low < self.high && time(&items[self.low]) <= after_ms {
            self.low += 1;
        }
        self.low..self.high
    }
}

/// What a subquery gives to the function around it: the points of a column as samples.
pub fn samples_of_column(column: SeriesColumn, grid: &StepGrid) -> Samples {
    let histograms = column
        .histograms
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(step, histogram)| {
            let histogram = without_reset_hint(histogram?);
            Some(HistogramSample { timestamp_ms: grid.time(step), start_ms: 0, histogram })
        })
        .collect();
    let mut samples = Samples { labels: column.labels, histograms, ..Samples::default() };
    if column.floats.iter().any(|v| is_absent(*v)) {
        for (step, value) in column.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            samples.timestamps_ms.push(grid.time(step));
            samples.values.push(*value);
        }
    } else {
        samples.timestamps_ms = grid.times().collect();
        samples.values = column.floats;
    }
    samples
}

/// A subquery may skip or repeat samples: what a hint says about the one before holds no more.
fn without_reset_hint(histogram: Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    use crate::model::ResetHint;
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => histogram,
        ResetHint::Reset | ResetHint::NotReset => {
            let mut copy = FloatHistogram::clone(&histogram);
            copy.reset_hint = ResetHint::Unknown;
            Arc::new(copy)
        }
    }
}

/// Whether a column has a value at any step: kernels that write floats directly ask this last.
pub fn any_present(floats: &[f64]) -> bool {
    floats.iter().any(|v| v.to_bits() != ABSENT.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_left_open_and_right_closed() {
        let samples = Samples {
            timestamps_ms: vec![0, 10, 20, 30],
            values: vec![0.0, 1.0, 2.0, 3.0],
            ..Samples::default()
        };
        let grid = StepGrid::range(0, 50, 10).expect("small");
        let guard = QueryGuard::unlimited();
        let spec = WindowSpec {
            range_ms: 20,
            shift: Shift::default(),
            extension: Extension::None,
            lookback_ms: 300_000,
            guard: &guard,
        };
        let mut seen = Vec::new();

        let evaluated = evaluate_windows(&samples, &grid, &spec, |_, window| {
            seen.push(window.timestamps_ms.to_vec());
            Point::Float(window.values.len() as f64)
        });

        assert_eq!(seen, [vec![0], vec![0, 10], vec![10, 20], vec![20, 30], vec![30]]);
        assert_eq!(evaluated.looked_at, 8);
        let column = evaluated.column.expect("has values");
        assert!(is_absent(column.floats[5]));
        assert_eq!(column.floats[..5], [1.0, 2.0, 2.0, 2.0, 1.0]);
    }
}
