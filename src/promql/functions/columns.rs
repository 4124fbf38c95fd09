//! Range functions of series that have floats alone: a column at a time.
//!
//! Windows overlap, and most functions need not look at a sample once per window: what two bounds
//! say of a window is one subtraction of counts, an extreme is passed on in a queue, and what a
//! rate makes of times is worked out once for all series of a target. Sums and their kin add up
//! each window in its order, because another order is another result, unless there is nothing to
//! round: see [`sums`].
//!
//! Everything is to the bit what the functions of one window make of it: [`super::over_time`],
//! [`super::counter`], [`super::rate`]. Histograms, extended selectors and functions without a
//! kernel here are [`super::range`]'s.

mod sums;

use self::sums::{add_up, fold_windows};
use super::over_time::{self, Moments};
use super::range::{RangeCall, RangeFunction};
use super::rate::{self, Reach};
use crate::promql::operators::bounds::{BLOCK_STEPS, Bound, Bounds};
use crate::promql::operators::column::{ABSENT, SeriesColumn};
use crate::promql::operators::samples::Samples;
use crate::promql::operators::step_grid::StepGrid;
use crate::promql::operators::window::{Evaluated, WindowSpec, any_present};
use crate::promql::syntax::ast::Extension;

/// How often a sample must be in a window before it pays to look at it apart from windows.
const OVERLAP_MIN: u64 = 4;

/// What a thread keeps from one series of a call to the next: bounds that the next series may have
/// in common with it, and buffers.
#[derive(Default)]
pub struct Scratch {
    bounds: Bounds,
    reaches: Vec<Reach>,
    counts: Vec<u32>,
    sums: Vec<f64>,
    queue: Vec<usize>,
}

/// Some steps of a column.
struct Block<'a> {
    /// Number of the first step.
    first: usize,
    bounds: &'a [Bound],
    /// Samples of all windows.
    samples: u64,
    /// The bounds are those of the series before.
    known: bool,
    out: &'a mut [f64],
}

/// One series under a selector.
struct Walk<'a> {
    samples: &'a Samples,
    grid: &'a StepGrid,
    spec: &'a WindowSpec<'a>,
}

/// Evaluates the call for a series; `None` where there is no kernel for it.
pub fn evaluate(
    call: &RangeCall<'_>,
    samples: &Samples,
    grid: &StepGrid,
    spec: &WindowSpec<'_>,
    scratch: &mut Scratch,
) -> Option<Evaluated> {
    use RangeFunction as F;
    if !samples.histograms.is_empty() || spec.extension != Extension::None {
        return None;
    }
    let walk = Walk { samples, grid, spec };
    let (times, values) = (samples.timestamps_ms.as_slice(), samples.values.as_slice());
    let starts = if call.use_starts { samples.starts_ms.as_slice() } else { &[] };
    let by_start = |at: usize| {
        starts.len() == values.len()
            && rate::is_start_reset(starts[at - 1], times[at - 1], starts[at], times[at])
    };
    let Scratch { bounds, reaches, counts, sums, queue } = scratch;
    Some(match call.function {
        F::Rate | F::Increase | F::Delta if starts.is_empty() => {
            rates(&walk, kind_of(call.function), bounds, reaches)
        }
        F::Irate => walk.each(bounds, |bound| last_change(times, values, bound, true, by_start)),
        F::Idelta => walk.each(bounds, |bound| last_change(times, values, bound, false, by_start)),
        F::SumOverTime => walk.fill(bounds, |block| {
            add_up(values, block, sums, spec.guard, |sum, _| sum.total());
        }),
        F::AvgOverTime => walk.fill(bounds, |block| {
            add_up(values, block, sums, spec.guard, over_time::mean_of_sum);
        }),
        F::StdvarOverTime => walk.fill(bounds, |block| {
            fold_windows(values, block, spec.guard, |moments: Moments, _| moments.variance());
        }),
        F::StddevOverTime => walk.fill(bounds, |block| {
            fold_windows(values, block, spec.guard, |moments: Moments, _| moments.variance().sqrt());
        }),
        F::MaxOverTime => walk.fill(bounds, |block| match block.overlaps() {
            true => extremes(values, block, queue, |kept, value| kept < value, |at| values[at]),
            false => block.each(|bound| over_time::max(bound.of(values))),
        }),
        F::MinOverTime => walk.fill(bounds, |block| match block.overlaps() {
            true => extremes(values, block, queue, |kept, value| kept > value, |at| values[at]),
            false => block.each(|bound| over_time::min(bound.of(values))),
        }),
        F::TsOfMaxOverTime => walk.fill(bounds, |block| {
            extremes(values, block, queue, |kept, value| kept <= value, |at| seconds(times[at]));
        }),
        F::TsOfMinOverTime => walk.fill(bounds, |block| {
            extremes(values, block, queue, |kept, value| kept >= value, |at| seconds(times[at]));
        }),
        F::CountOverTime => walk.each(bounds, |bound| bound.len() as f64),
        F::PresentOverTime => walk.each(bounds, |_| 1.0),
        F::FirstOverTime => walk.each(bounds, |bound| values[bound.from]),
        F::LastOverTime => walk.each(bounds, |bound| values[bound.to - 1]),
        F::TsOfFirstOverTime => walk.each(bounds, |bound| seconds(times[bound.from])),
        F::TsOfLastOverTime => walk.each(bounds, |bound| seconds(times[bound.to - 1])),
        F::Resets => {
            count_pairs(values.len(), counts, |at| values[at] < values[at - 1] || by_start(at));
            walk.each(bounds, |bound| pairs_of(counts, bound))
        }
        F::Changes => {
            let differ = |now: f64, before: f64| now != before && !(now.is_nan() && before.is_nan());
            count_pairs(values.len(), counts, |at| differ(values[at], values[at - 1]));
            walk.each(bounds, |bound| pairs_of(counts, bound))
        }
        _ => return None,
    })
}

impl Walk<'_> {
    /// A column that `kernel` fills block by block. Stops early where the guard says so.
    fn fill(&self, bounds: &mut Bounds, mut kernel: impl FnMut(Block<'_>)) -> Evaluated {
        let mut column = SeriesColumn::absent(self.samples.labels.clone(), self.grid.count);
        let mut looked_at = 0;
        for (number, out) in column.floats.chunks_mut(BLOCK_STEPS).enumerate() {
            if number > 0 && self.spec.guard.check().is_err() {
                break;
            }
            let first = number * BLOCK_STEPS;
            let steps = first..first + out.len();
            let known = bounds.find(&self.samples.timestamps_ms, self.grid, self.spec, steps);
            let samples = bounds.samples();
            looked_at += samples;
            if samples > 0 {
                kernel(Block { first, bounds: bounds.steps(), samples, known, out });
            }
        }
        let any = any_present(&column.floats);
        Evaluated { column: any.then_some(column), looked_at }
    }

    /// A column with `value` of every window that has samples.
    fn each(&self, bounds: &mut Bounds, value: impl Fn(Bound) -> f64) -> Evaluated {
        self.fill(bounds, |block| block.each(&value))
    }
}

impl Block<'_> {
    fn each(self, value: impl Fn(Bound) -> f64) {
        for (out, bound) in self.out.iter_mut().zip(self.bounds) {
            if !bound.is_empty() {
                *out = value(*bound);
            }
        }
    }

    /// The samples that some window may have.
    fn seen(&self) -> Bound {
        let from = self.bounds.first().map_or(0, |bound| bound.from);
        Bound { from, to: self.bounds.last().map_or(from, |bound| bound.to) }
    }

    /// Whether samples are, on average, in several windows.
    fn overlaps(&self) -> bool {
        self.samples >= OVERLAP_MIN * self.seen().len() as u64
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn kind_of(function: RangeFunction) -> rate::RateKind {
    match function {
        RangeFunction::Rate => rate::RATE,
        RangeFunction::Increase => rate::INCREASE,
        _ => rate::DELTA,
    }
}

fn rates(walk: &Walk<'_>, kind: rate::RateKind, bounds: &mut Bounds, reaches: &mut Vec<Reach>) -> Evaluated {
    let Walk { samples, grid, spec } = walk;
    let resets = match kind.counter {
        true => rate::counter_resets(&samples.values, &samples.timestamps_ms, &[]),
        false => Vec::new(),
    };
    walk.fill(bounds, |block| {
        if !block.known {
            let ranges_ms = (block.first..).map(|step| spec.range_of(grid.time(step)));
            reaches.clear();
            reaches.extend(rate::reaches(&samples.timestamps_ms, block.bounds, ranges_ms, kind));
        }
        rate::extrapolated_column(&samples.values, block.bounds, reaches, kind, &resets, block.out);
    })
}

/// `irate` and `idelta`.
fn last_change(
    times: &[i64],
    values: &[f64],
    bound: Bound,
    per_second: bool,
    by_start: impl Fn(usize) -> bool,
) -> f64 {
    if bound.len() < 2 {
        return ABSENT;
    }
    let last = bound.to - 1;
    let (before, now) = (values[last - 1], values[last]);
    let interval_ms = times[last] - times[last - 1];
    if interval_ms == 0 {
        return ABSENT;
    }
    let reset = per_second && (now < before || by_start(last));
    let change = if reset { now } else { now - before };
    if per_second { change / seconds(interval_ms) } else { change }
}

/// Counts, up to each sample, how often one and the one before are as asked for.
fn count_pairs(samples: usize, counts: &mut Vec<u32>, holds: impl Fn(usize) -> bool) {
    counts.clear();
    counts.push(0);
    let mut count = 0;
    counts.extend((1..samples).map(|at| {
        count += u32::from(holds(at));
        count
    }));
}

/// Pairs inside of a window that has samples.
fn pairs_of(counts: &[u32], bound: Bound) -> f64 {
    f64::from(counts[bound.to - 1] - counts[bound.from])
}

/// The extreme of every window. A sample is of no more interest once one comes that is as good and
/// stays longer: the rest waits in a queue, the best in front. NaN never enters it, so that it is
/// the extreme only where there is nothing else; then the last one is.
fn extremes(
    values: &[f64],
    block: Block<'_>,
    queue: &mut Vec<usize>,
    gives_way: impl Fn(f64, f64) -> bool,
    value: impl Fn(usize) -> f64,
) {
    queue.clear();
    let (mut front, mut next) = (0, 0);
    for (out, bound) in block.out.iter_mut().zip(block.bounds) {
        if bound.is_empty() {
            continue;
        }
        next = next.max(bound.from);
        while next < bound.to {
            if !values[next].is_nan() {
                while queue.len() > front && gives_way(values[queue[queue.len() - 1]], values[next]) {
                    queue.pop();
                }
                queue.push(next);
            }
            next += 1;
        }
        while front < queue.len() && queue[front] < bound.from {
            front += 1;
        }
        *out = value(queue.get(front).copied().unwrap_or(bound.to - 1));
    }
}

#[cfg(test)]
mod tests;
