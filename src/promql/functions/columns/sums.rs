//! What adds up each window in its own order.
//!
//! Compensated sums in another order are other sums, so windows are gone through one by one: four
//! at a time, because each addition waits for the one before. Only where nothing is ever rounded,
//! as with the integers that most gauges and counters are, the order does not matter.

use super::Block;
use crate::promql::functions::kahan::KahanSum;
use crate::promql::functions::over_time::Moments;
use crate::querier::QueryGuard;

/// Samples added up between two questions whether anybody still waits.
const CHECK_SAMPLES: usize = 1 << 16;

/// Integers up to here, and all sums of such that stay below, are exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The compensated sum of every window, and what `finish` makes of it and the window.
pub(super) fn add_up(
    values: &[f64],
    block: Block<'_>,
    sums: &mut Vec<f64>,
    guard: &QueryGuard,
    finish: impl Fn(KahanSum, &[f64]) -> f64,
) {
    let seen = block.seen();
    if block.overlaps() && sum_exactly(seen.of(values), sums) {
        let up_to = |at: usize| sums[at - seen.from];
        block.each(|bound| finish(KahanSum::new(up_to(bound.to) - up_to(bound.from)), bound.of(values)));
    } else {
        fold_windows(values, block, guard, finish);
    }
}

/// Writes the sums up to each sample, if all of them, from whichever sample on, are exact: then the
/// compensation is zero, and the sum of a window is what the sums up to its bounds differ by.
fn sum_exactly(values: &[f64], sums: &mut Vec<f64>) -> bool {
    sums.clear();
    sums.push(0.0);
    let (mut sum, mut magnitude) = (0.0f64, 0.0f64);
    for value in values {
        sum += value;
        magnitude += value.abs();
        // The first does not hold of NaN, the second not of infinities.
        let is_exact = value.trunc() == *value && magnitude < EXACT_MAX;
        if !is_exact {
            return false;
        }
        sums.push(sum);
    }
    true
}

/// What adds up a window, sample by sample.
pub(super) trait Fold: Copy + Default {
    fn fold(&mut self, value: f64);
}

impl Fold for KahanSum {
    #[inline]
    fn fold(&mut self, value: f64) {
        self.add(value);
    }
}

impl Fold for Moments {
    #[inline]
    fn fold(&mut self, value: f64) {
        self.add(value);
    }
}

/// Folds every window on its own, four at a time. Stops where the guard says so.
pub(super) fn fold_windows<F: Fold>(
    values: &[f64],
    block: Block<'_>,
    guard: &QueryGuard,
    finish: impl Fn(F, &[f64]) -> f64,
) {
    let mut unchecked = 0;
    for (out, bounds) in block.out.chunks_mut(4).zip(block.bounds.chunks(4)) {
        unchecked += bounds.iter().map(|bound| bound.len()).sum::<usize>();
        if unchecked >= CHECK_SAMPLES {
            if guard.check().is_err() {
                return;
            }
            unchecked = 0;
        }
        let mut windows: [&[f64]; 4] = [&[]; 4];
        for (window, bound) in windows.iter_mut().zip(bounds) {
            *window = bound.of(values);
        }
        let folded = fold_four::<F>(windows);
        for ((out, window), fold) in out.iter_mut().zip(windows).zip(folded) {
            if !window.is_empty() {
                *out = finish(fold, window);
            }
        }
    }
}

/// Each window in its own order; side by side as far as the shortest of them goes.
fn fold_four<F: Fold>(windows: [&[f64]; 4]) -> [F; 4] {
    let shared = windows.iter().map(|window| window.len()).min().unwrap_or(0);
    let [mut a, mut b, mut c, mut d] = [F::default(); 4];
    let [of_a, of_b, of_c, of_d] = windows.map(|window| &window[..shared]);
    for (((in_a, in_b), in_c), in_d) in of_a.iter().zip(of_b).zip(of_c).zip(of_d) {
        a.fold(*in_a);
        b.fold(*in_b);
        c.fold(*in_c);
        d.fold(*in_d);
    }
    let mut folded = [a, b, c, d];
    for (fold, window) in folded.iter_mut().zip(windows) {
        for value in &window[shared..] {
            fold.fold(*value);
        }
    }
    folded
}
