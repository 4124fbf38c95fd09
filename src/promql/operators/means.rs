//! Means of a group, in columns: what `avg` keeps per step.
//!
//! Compensated sums and counts, several steps at a time, as long as no sum overflows; then step by
//! step, as [`KahanMean`] defines it.

use super::accumulator::fold_sum;
use super::column::{ABSENT, is_absent};
use crate::promql::functions::kahan::{KahanMean, KahanSum};

pub struct Means {
    /// [`ABSENT`] before the first value.
    sums: Vec<f64>,
    compensations: Vec<f64>,
    counts: Vec<f64>,
    /// Steps whose sum overflowed, and is a mean since; empty where there are none.
    incremental: Vec<bool>,
}

impl Means {
    pub const BYTES_PER_STEP: usize = 3 * size_of::<f64>() + size_of::<bool>();

    pub fn new(steps: usize) -> Self {
        Self {
            sums: vec![ABSENT; steps],
            compensations: vec![0.0; steps],
            counts: vec![0.0; steps],
            incremental: Vec::new(),
        }
    }

    pub fn fold(&mut self, floats: &[f64]) {
        let sums = self.sums.iter().zip(floats);
        let overflows = sums.fold(false, |any, (sum, value)| any | (sum + value).is_infinite());
        if overflows || !self.incremental.is_empty() {
            self.fold_cells(floats);
            return;
        }
        fold_sum(&mut self.sums, &mut self.compensations, floats);
        for (count, value) in self.counts.iter_mut().zip(floats) {
            *count += if is_absent(*value) { 0.0 } else { 1.0 };
        }
    }

    fn fold_cells(&mut self, floats: &[f64]) {
        self.incremental.resize(floats.len(), false);
        for (step, value) in floats.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            let mut mean = self.mean(step);
            mean.add(*value);
            let KahanSum { sum, compensation } = mean.state;
            (self.sums[step], self.compensations[step]) = (sum, compensation);
            (self.counts[step], self.incremental[step]) = (mean.count, mean.incremental);
        }
    }

    fn mean(&self, step: usize) -> KahanMean {
        KahanMean {
            state: KahanSum { sum: self.sums[step], compensation: self.compensations[step] },
            count: self.counts[step],
            incremental: self.incremental.get(step).copied().unwrap_or(false),
        }
    }

    /// A value per step.
    pub fn finish(&self) -> Vec<f64> {
        let of_step = |step: usize| if self.counts[step] == 0.0 { ABSENT } else { self.mean(step).mean() };
        (0..self.counts.len()).map(of_step).collect()
    }
}
