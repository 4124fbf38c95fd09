//! Which samples each step of a range selector sees, as indices into its series.
//!
//! Worked out in one loop, and kept for the next series: those of a target have the timestamps of
//! its scrapes in common, and comparing these is quicker than walking them again. Owns no samples;
//! what is made of a window is [`crate::promql::functions`]'.

use std::ops::Range;

use super::step_grid::StepGrid;
use super::window::WindowSpec;

/// Steps whose bounds are held at a time: what a thread keeps beside a column stays small however
/// long the grid is.
pub const BLOCK_STEPS: usize = 4096;

/// Below this many steps, walking is as quick as comparing.
const KEPT_STEPS_MIN: usize = 4;

/// Timestamps of longer series are not copied to be compared: that would be memory that nobody
/// accounts for.
const KEPT_SAMPLES_MAX: usize = 1 << 16;

/// After so many series of which none had the timestamps of the one before, as where each is of another
/// target, only one of so many is copied to be compared.
const MISSES_MAX: u32 = 8;

/// Whether what is worked out for so many steps and samples is kept for the next series, after so many that
/// could do nothing with what was there.
pub fn is_kept(steps: usize, grid: &StepGrid, samples: usize, misses: u32) -> bool {
    let is_hopeful = misses <= MISSES_MAX || misses.is_multiple_of(MISSES_MAX);
    steps == grid.count && steps >= KEPT_STEPS_MIN && samples <= KEPT_SAMPLES_MAX && is_hopeful
}

/// The samples `from..to` of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub from: usize,
    pub to: usize,
}

impl Bound {
    pub fn len(self) -> usize {
        self.to - self.from
    }

    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    pub fn of<T>(self, items: &[T]) -> &[T] {
        &items[self.from..self.to]
    }
}

/// The first place from `at` on whose time is after `until_ms`; times ascend. `stride` is by how much the step
/// before went on: where scrapes are regular, one look there says what a look at each time on the way would.
#[inline]
pub fn advance(times_ms: &[i64], mut at: usize, stride: usize, until_ms: i64) -> usize {
    for guess in [stride, stride.saturating_sub(1)] {
        if guess > 0
            && let Some(last_ms) = times_ms.get(at + guess - 1)
            && *last_ms <= until_ms
        {
            at += guess;
            break;
        }
    }
    while at < times_ms.len() && times_ms[at] <= until_ms {
        at += 1;
    }
    at
}

/// The bounds of a block of steps. All series that are asked for have the same grid and selector.
#[derive(Default)]
pub struct Bounds {
    steps: Vec<Bound>,
    samples: u64,
    /// Of the series that they were worked out for, where they are good for another one.
    timestamps_ms: Vec<i64>,
    kept: bool,
    misses: u32,
}

impl Bounds {
    /// Works out the bounds of the steps of `block`. Returns whether those of the series before are
    /// as good: then nothing has changed.
    pub fn find(
        &mut self,
        timestamps_ms: &[i64],
        grid: &StepGrid,
        spec: &WindowSpec<'_>,
        block: Range<usize>,
    ) -> bool {
        if self.kept && self.timestamps_ms == timestamps_ms {
            self.misses = 0;
            return true;
        }
        self.misses = self.misses.saturating_add(1);
        self.kept = is_kept(block.len(), grid, timestamps_ms.len(), self.misses);
        self.timestamps_ms.clear();
        if self.kept {
            self.timestamps_ms.extend_from_slice(timestamps_ms);
        }
        self.walk(timestamps_ms, grid, spec, block);
        false
    }

    fn walk(&mut self, timestamps_ms: &[i64], grid: &StepGrid, spec: &WindowSpec<'_>, block: Range<usize>) {
        self.steps.clear();
        self.samples = 0;
        let (start_ms, end_ms) = spec.range_of(grid.time(block.start));
        let mut to = timestamps_ms.partition_point(|t| *t <= end_ms);
        let mut from = timestamps_ms[..to].partition_point(|t| *t <= start_ms);
        let (mut from_stride, mut to_stride) = (0, 0);
        for step in block {
            let (start_ms, end_ms) = spec.range_of(grid.time(step));
            let next_to = advance(timestamps_ms, to, to_stride, end_ms);
            let next_from = advance(&timestamps_ms[..next_to], from, from_stride, start_ms);
            (from_stride, to_stride) = (next_from - from, next_to - to);
            (from, to) = (next_from, next_to);
            let bound = Bound { from, to };
            self.samples += bound.len() as u64;
            self.steps.push(bound);
        }
    }

    /// One per step of the block.
    pub fn steps(&self) -> &[Bound] {
        &self.steps
    }

    /// Samples of all windows, each as often as a step sees it.
    pub fn samples(&self) -> u64 {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::plan::node::Shift;
    use crate::promql::syntax::ast::Extension;
    use crate::querier::QueryGuard;

    #[test]
    fn bounds_are_left_open_and_right_closed_in_every_block() {
        let guard = QueryGuard::unlimited();
        let spec = WindowSpec {
            range_ms: 20,
            shift: Shift::default(),
            extension: Extension::None,
            lookback_ms: 300_000,
            guard: &guard,
        };
        let grid = StepGrid::range(0, 60, 10).expect("small");
        let times = [0, 10, 20, 30];
        let want: [(usize, usize); 7] = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (4, 4), (4, 4)];

        for block in [0..7, 0..3, 3..7, 6..7] {
            let mut bounds = Bounds::default();
            assert!(!bounds.find(&times, &grid, &spec, block.clone()));
            let got: Vec<_> = bounds.steps().iter().map(|bound| (bound.from, bound.to)).collect();
            assert_eq!(got, want[block]);
        }
    }

    #[test]
    fn whatever_the_stride_the_place_is_the_same() {
        let times: Vec<i64> = (0..40).map(|at| at * 10 + i64::from(at % 7 == 0)).collect();
        for at in 0..=times.len() {
            for until_ms in [-1, 0, 9, 10, 70, 71, 200, 389, 390, 1000] {
                let want = times.partition_point(|time_ms| *time_ms <= until_ms).max(at);
                for stride in 0..45 {
                    assert_eq!(advance(&times, at, stride, until_ms), want, "{at} {stride} {until_ms}");
                }
            }
        }
    }

    #[test]
    fn the_next_series_of_a_target_finds_its_bounds_done() {
        let guard = QueryGuard::unlimited();
        let spec = WindowSpec {
            range_ms: 20,
            shift: Shift::default(),
            extension: Extension::None,
            lookback_ms: 300_000,
            guard: &guard,
        };
        let grid = StepGrid::range(0, 60, 10).expect("small");
        let mut bounds = Bounds::default();

        let mut knows = |times: &[i64]| bounds.find(times, &grid, &spec, 0..grid.count);

        assert!(!knows(&[0, 10, 20]));
        assert!(knows(&[0, 10, 20]));
        assert!(!knows(&[0, 10, 21]));
        assert!(!knows(&[0, 10]));
        assert!(!knows(&[]));
        assert!(knows(&[]));
        assert_eq!(bounds.samples(), 0);
    }

    #[test]
    fn a_target_of_many_series_is_known_again_after_many_of_one() {
        let guard = QueryGuard::unlimited();
        let spec = WindowSpec {
            range_ms: 20,
            shift: Shift::default(),
            extension: Extension::None,
            lookback_ms: 300_000,
            guard: &guard,
        };
        let grid = StepGrid::range(0, 60, 10).expect("small");
        let mut bounds = Bounds::default();
        let mut knows = |times: &[i64]| bounds.find(times, &grid, &spec, 0..grid.count);

        for first_ms in 0..40 {
            assert!(!knows(&[first_ms, 50]));
        }
        let known = (0..20).filter(|_| knows(&[45, 50])).count();

        assert!(known >= 10, "{known}");
    }
}
