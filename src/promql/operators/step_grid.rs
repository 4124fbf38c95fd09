//! The times at which an expression is evaluated.

use crate::promql::error::{PromqlError, Result};

/// Most steps of one evaluation: 2^31 columns of eight bytes are beyond any memory budget.
const STEPS_MAX: i128 = 1 << 31;

/// `count` times from `start_ms` on, `step_ms` apart. An instant is a grid of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepGrid {
    pub start_ms: i64,
    pub step_ms: i64,
    pub count: usize,
}

impl StepGrid {
    pub fn instant(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, count: 1 }
    }

    /// From `start_ms` up to `end_ms`, both included; empty where the end comes first.
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Self> {
        if step_ms <= 0 {
            return Err(PromqlError::Range(format!("step {step_ms} ms is not positive")));
        }
        if end_ms < start_ms {
            return Ok(Self { start_ms, step_ms, count: 0 });
        }
        let count = (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms) + 1;
        match usize::try_from(count) {
            Ok(steps) if count <= STEPS_MAX => Ok(Self { start_ms, step_ms, count: steps }),
            _ => Err(PromqlError::Range(format!("{count} steps are too many"))),
        }
    }

    pub fn time(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    pub fn times(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        (0..self.count).map(|step| self.time(step))
    }

    /// Last time; the start of an empty grid.
    pub fn end_ms(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub fn is_instant(&self) -> bool {
        self.count == 1
    }

    /// The grid of the first time only.
    pub fn first(&self) -> Self {
        Self { count: self.count.min(1), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_ends_at_or_before_its_end() {
        let check = |start: i64, end: i64, step: i64, want: &[i64]| {
            let grid = StepGrid::range(start, end, step).expect("small");
            assert_eq!(grid.times().collect::<Vec<_>>(), want);
        };
        check(0, 10, 5, &[0, 5, 10]);
        check(0, 9, 5, &[0, 5]);
        check(-5, -5, 7, &[-5]);
        check(1, 0, 1, &[]);
        assert!(StepGrid::range(0, 1, 0).is_err());
        assert!(StepGrid::range(i64::MIN, i64::MAX, 1).is_err());
    }
}
