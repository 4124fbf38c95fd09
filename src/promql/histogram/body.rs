//! The arithmetic behind sums of histograms, plain or compensated.
//!
//! Owns [`Body`], a histogram in the course of a calculation, generic over its numbers, and how
//! schemas meet. Zero buckets are [`super::zero_bucket`]'s, custom bounds [`super::custom`]'s.

use super::FloatHistogram;
use super::bounds::exponential_bound;
use super::custom::CommonBounds;
use super::layout::{Cell, Side, coarser_index, entries};
use super::zero_bucket::{ZeroBucket, widened_zero_bucket};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{ResetHint, Span};

/// A histogram in the course of a calculation.
#[derive(Clone, Debug, Default)]
pub(super) struct Body<C> {
    pub reset_hint: ResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: C,
    pub count: C,
    pub sum: C,
    pub positive: Side<C>,
    pub negative: Side<C>,
    pub custom_values: Vec<f64>,
}

impl<C: Cell> Body<C> {
    pub fn of(histogram: FloatHistogram) -> Self {
        let side = |spans, counts: Vec<f64>| Side { spans, cells: counts.into_iter().map(C::of).collect() };
        Self {
            reset_hint: histogram.reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: C::of(histogram.zero_count),
            count: C::of(histogram.count),
            sum: C::of(histogram.sum),
            positive: side(histogram.positive_spans, histogram.positive),
            negative: side(histogram.negative_spans, histogram.negative),
            custom_values: histogram.custom_values,
        }
    }

    pub fn into_histogram(self) -> FloatHistogram {
        let counts = |cells: Vec<C>| cells.into_iter().map(C::value).collect();
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.value(),
            count: self.count.value(),
            sum: self.sum.value(),
            positive_spans: self.positive.spans,
            negative_spans: self.negative.spans,
            positive: counts(self.positive.cells),
            negative: counts(self.negative.cells),
            custom_values: self.custom_values,
        }
    }

    pub fn bounds(&self) -> Option<&Vec<f64>> {
        (self.schema == CUSTOM_BUCKETS_SCHEMA).then_some(&self.custom_values)
    }

    /// All numbers, to scale them.
    pub fn cells_mut(&mut self) -> impl Iterator<Item = &mut C> {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        totals.into_iter().chain(&mut self.positive.cells).chain(&mut self.negative.cells)
    }

    /// Adds `sign * other`. Both use custom buckets or neither does; `bounds` says what they have
    /// in common where they differ.
    pub fn combine(&mut self, other: &FloatHistogram, sign: f64, bounds: Option<CommonBounds>) {
        self.count = self.count.plus(sign * other.count);
        self.sum = self.sum.plus(sign * other.sum);
        if other.uses_custom_buckets() {
            self.combine_custom(other, sign, bounds);
        } else {
            self.combine_exponential(other, sign);
        }
    }

    fn combine_custom(&mut self, other: &FloatHistogram, sign: f64, bounds: Option<CommonBounds>) {
        let counts = (other.positive_spans.as_slice(), other.positive.as_slice());
        let Some(bounds) = bounds else {
            add_side(&mut self.positive, counts, sign, Target::Same);
            return;
        };
        let own = self.positive.entries();
        self.positive =
            Side::collect(own.map(|(index, cell)| (bounds.target(index, &self.custom_values), cell)));
        let target = Target::Custom { from: &other.custom_values, bounds: &bounds };
        add_side(&mut self.positive, counts, sign, target);
        self.custom_values = bounds.into_values();
    }

    fn combine_exponential(&mut self, other: &FloatHistogram, sign: f64) {
        let other_zero_count = self.reconcile_zero_buckets(other);
        self.zero_count = self.zero_count.plus(sign * other_zero_count);
        if other.schema < self.schema {
            self.reduce(other.schema);
        }
        let (schema, zero_threshold) = (self.schema, self.zero_threshold);
        let target = Target::Exponential { steps: steps(other.schema, schema), schema, zero_threshold };
        add_side(&mut self.positive, (&other.positive_spans, &other.positive), sign, target);
        add_side(&mut self.negative, (&other.negative_spans, &other.negative), sign, target);
    }

    pub fn reduce(&mut self, schema: i32) {
        let steps = steps(self.schema, schema);
        for side in [&mut self.positive, &mut self.negative] {
            *side = Side::collect(side.entries().map(|(index, cell)| (coarser_index(index, steps), cell)));
        }
        self.schema = schema;
    }

    /// Widens this zero bucket until it is as wide as the other's may become; returns the count
    /// of the other's zero bucket at that width.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> f64 {
        let mut other_zero = ZeroBucket { threshold: other.zero_threshold, count: other.zero_count };
        while self.zero_threshold != other_zero.threshold {
            if self.zero_threshold > other_zero.threshold {
                other_zero = widened_zero_bucket(other, self.zero_threshold);
            }
            if other_zero.threshold > self.zero_threshold {
                self.widen_zero_bucket(other_zero.threshold);
            }
            if self.zero_threshold.is_nan() || other_zero.threshold.is_nan() {
                break; // No stored histogram has one; a loop must end nevertheless.
            }
        }
        other_zero.count
    }

    fn widen_zero_bucket(&mut self, threshold: f64) {
        let zero = ZeroBucket { threshold: self.zero_threshold, count: self.zero_count };
        let wider =
            zero.widened(threshold, self.schema, || self.positive.entries(), || self.negative.entries());
        self.zero_count = wider.count;
        self.zero_threshold = wider.threshold;
        for side in [&mut self.positive, &mut self.negative] {
            let outside = side
                .entries()
                .filter(|(index, _)| exponential_bound(index - 1, self.schema) >= wider.threshold);
            *side = Side::collect(outside);
        }
    }
}

/// Adds `sign` times the buckets of one side of another histogram, each at its target index.
fn add_side<C: Cell>(side: &mut Side<C>, (spans, counts): (&[Span], &[f64]), sign: f64, target: Target) {
    if side.spans == spans && side.cells.len() == counts.len() && target.keeps_all(spans, counts) {
        for (cell, count) in side.cells.iter_mut().zip(counts) {
            *cell = cell.plus(sign * count);
        }
        return;
    }
    let moved = entries(spans, counts)
        .filter_map(|(index, count)| target.of(index).map(|index| (index, sign * count)));
    let moved: Vec<_> = Side::collect(moved).entries().collect();
    side.add(&moved);
}

/// Where a bucket of the other histogram goes.
#[derive(Clone, Copy)]
enum Target<'a> {
    Same,
    /// Coarser by so many schemas; nowhere if it then lies within the zero bucket.
    ///
    /// A bucket that the zero bucket has swallowed counts again if its coarser bucket reaches
    /// beyond the threshold. Prometheus counts it twice, so we do: it takes a threshold between
    /// bounds and a coarser schema at once.
    Exponential {
        steps: u32,
        schema: i32,
        zero_threshold: f64,
    },
    Custom {
        from: &'a [f64],
        bounds: &'a CommonBounds,
    },
}

impl Target<'_> {
    fn of(self, index: i64) -> Option<i64> {
        match self {
            Self::Same => Some(index),
            Self::Exponential { steps, schema, zero_threshold } => {
                let index = coarser_index(index, steps);
                (exponential_bound(index, schema) > zero_threshold).then_some(index)
            }
            Self::Custom { from, bounds } => Some(bounds.target(index, from)),
        }
    }

    fn keeps_all(self, spans: &[Span], counts: &[f64]) -> bool {
        match self {
            Self::Same => true,
            Self::Exponential { steps, .. } => {
                let lowest = entries(spans, counts).next();
                steps == 0 && lowest.is_none_or(|(index, _)| self.of(index).is_some())
            }
            Self::Custom { .. } => false,
        }
    }
}

/// How many times the resolution of schema `from` must be halved for schema `to`.
pub(super) fn steps(from: i32, to: i32) -> u32 {
    from.saturating_sub(to).clamp(0, 63).unsigned_abs()
}
