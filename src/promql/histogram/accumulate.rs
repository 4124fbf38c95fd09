//! Sums and means of many histograms: `sum`, `avg` and their `_over_time` kin.
//!
//! Since 3.14 every number is compensated for rounding (Neumaier); 3.5 adds plainly and moves the
//! mean from sample to sample. Order matters to the last bit, so callers feed a fixed order.

use super::arithmetic::added_hint;
use super::body::Body;
use super::custom::CommonBounds;
use super::layout::Cell;
use super::{Edition, FloatHistogram, Mismatch, Note, Operation};
use crate::model::ResetHint;

/// A running sum and what rounding has taken from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    pub fn total(self) -> f64 {
        self.sum + self.lost
    }

    fn map(self, scaled: impl Fn(f64) -> f64) -> Self {
        Self { sum: scaled(self.sum), lost: scaled(self.lost) }
    }
}

impl Cell for Compensated {
    fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    fn value(self) -> f64 {
        self.sum
    }

    fn plus(self, addend: f64) -> Self {
        let sum = self.sum + addend;
        let lost = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= addend.abs() {
            self.lost + ((self.sum - sum) + addend)
        } else {
            self.lost + ((addend - sum) + self.sum)
        };
        Self { sum, lost }
    }

    fn merge(self, other: Self) -> Self {
        let merged = self.plus(other.sum);
        Self { sum: merged.sum, lost: merged.lost + other.lost }
    }
}

/// What the summands said about resets and bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    reset: bool,
    no_reset: bool,
    bounds_reconciled: bool,
}

impl Seen {
    fn look_at(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.reset_hint == ResetHint::Reset;
        self.no_reset |= histogram.reset_hint == ResetHint::NotReset;
    }

    fn notes(self, edition: Edition) -> Vec<Note> {
        let mut notes = Vec::new();
        if edition == Edition::V3_14 && self.reset && self.no_reset {
            notes.push(Note::ConflictingResets(Operation::Aggregation));
        }
        if self.bounds_reconciled {
            notes.push(Note::BoundsReconciled(Operation::Aggregation));
        }
        notes
    }
}

/// A sum of histograms.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    sum: Body<Compensated>,
    seen: Seen,
    edition: Edition,
}

impl HistogramSum {
    pub fn new(first: &FloatHistogram, edition: Edition) -> Self {
        let mut seen = Seen::default();
        seen.look_at(first);
        Self { sum: Body::of(first.clone()), seen, edition }
    }

    /// After a mismatch the sum is of no use: there is no result.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<(), Mismatch> {
        self.seen.look_at(histogram);
        self.seen.bounds_reconciled |= add_to(&mut self.sum, histogram, self.edition)?;
        Ok(())
    }

    /// The sum, compact, and what is to be said about it.
    pub fn finish(self) -> (FloatHistogram, Vec<Note>) {
        (finish(self.sum, self.edition), self.seen.notes(self.edition))
    }
}

/// A mean of histograms.
#[derive(Clone, Debug)]
pub struct HistogramMean {
    state: MeanState,
    count: f64,
    seen: Seen,
    edition: Edition,
}

#[derive(Clone, Debug)]
enum MeanState {
    /// 3.5: the mean so far, moved by each sample.
    Moving(FloatHistogram),
    /// 3.14: the sum so far, divided in the end.
    Sum(Body<Compensated>),
    /// 3.14, once the sum has overflowed: the mean so far.
    Mean(Body<Compensated>),
}

impl HistogramMean {
    pub fn new(first: &FloatHistogram, edition: Edition) -> Self {
        let mut seen = Seen::default();
        seen.look_at(first);
        let state = match edition {
            Edition::V3_5 => MeanState::Moving(first.clone()),
            Edition::V3_14 => MeanState::Sum(Body::of(first.clone())),
        };
        Self { state, count: 1.0, seen, edition }
    }

    /// After a mismatch the mean is of no use: there is no result.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<(), Mismatch> {
        self.seen.look_at(histogram);
        self.count += 1.0;
        if let MeanState::Moving(mean) = &mut self.state {
            return move_mean(mean, histogram, self.count);
        }
        if let MeanState::Sum(sum) = &mut self.state {
            let before = sum.clone();
            self.seen.bounds_reconciled |= add_to(sum, histogram, self.edition)?;
            if !overflows(sum) {
                return Ok(());
            }
            let previous_count = self.count - 1.0;
            self.state = MeanState::Mean(scaled(before, |number| number / previous_count));
        }
        if let MeanState::Mean(mean) = &mut self.state {
            let weight = (self.count - 1.0) / self.count;
            let mut share = histogram.clone();
            share.divide(self.count);
            *mean = scaled(std::mem::take(mean), |number| number * weight);
            self.seen.bounds_reconciled |= add_to(mean, &share, self.edition)?;
        }
        Ok(())
    }

    /// The mean, compact, and what is to be said about it.
    pub fn finish(self) -> (FloatHistogram, Vec<Note>) {
        let mean = match self.state {
            MeanState::Moving(mut mean) => {
                mean.compact();
                mean
            }
            MeanState::Sum(sum) => finish(scaled(sum, |number| number / self.count), self.edition),
            MeanState::Mean(mean) => finish(mean, self.edition),
        };
        (mean, self.seen.notes(self.edition))
    }
}

/// Adds to a body; whether custom bounds had to be reconciled.
fn add_to(
    body: &mut Body<Compensated>,
    histogram: &FloatHistogram,
    edition: Edition,
) -> Result<bool, Mismatch> {
    let bounds = CommonBounds::between(body.bounds(), histogram.bounds(), edition)?;
    let reconciled = bounds.is_some();
    body.combine(histogram, 1.0, bounds);
    body.reset_hint = added_hint(body.reset_hint, histogram.reset_hint);
    Ok(reconciled)
}

/// The mean moved by the `count`-th histogram, as 3.5 does it: to the bit.
fn move_mean(mean: &mut FloatHistogram, histogram: &FloatHistogram, count: f64) -> Result<(), Mismatch> {
    let hint = added_hint(mean.reset_hint, histogram.reset_hint);
    let mut step = histogram.clone();
    step.divide(count);
    let mut share = mean.clone();
    share.divide(count);
    step.sub(&share, Edition::V3_5)?;
    mean.add(&step, Edition::V3_5)?;
    mean.reset_hint = hint;
    Ok(())
}

fn scaled(mut body: Body<Compensated>, by: impl Fn(f64) -> f64) -> Body<Compensated> {
    for cell in body.cells_mut() {
        *cell = cell.map(&by);
    }
    body
}

fn overflows(body: &mut Body<Compensated>) -> bool {
    body.cells_mut().any(|cell| cell.value().is_infinite())
}

fn finish(mut body: Body<Compensated>, edition: Edition) -> FloatHistogram {
    if edition == Edition::V3_14 {
        for cell in body.cells_mut() {
            *cell = Compensated::of(cell.total());
        }
    }
    let mut histogram = body.into_histogram();
    histogram.compact();
    histogram
}
