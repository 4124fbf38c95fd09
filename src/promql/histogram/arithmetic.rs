//! Adding, subtracting and scaling histograms.
//!
//! Owns the operations on one pair of histograms, their hints and notes. The arithmetic itself
//! is [`super::body`]'s, sums of many are [`super::accumulate`]'s.

use super::body::Body;
use super::custom::CommonBounds;
use super::layout::compact;
use super::{Edition, FloatHistogram, Mismatch, Note, Operation};
use crate::model::ResetHint;
use crate::model::histogram::EXPONENTIAL_SCHEMA_MIN;

impl FloatHistogram {
    /// Adds `other`, in the coarser of both layouts; says what the user should know.
    ///
    /// Buckets may become empty: see [`FloatHistogram::compact`].
    pub fn add(&mut self, other: &Self, edition: Edition) -> Result<Vec<Note>, Mismatch> {
        let notes = self.combine(other, 1.0, Operation::Addition, edition)?;
        self.reset_hint = added_hint(self.reset_hint, other.reset_hint);
        Ok(notes)
    }

    /// Subtracts `other`, as [`FloatHistogram::add`] adds it. The result is a gauge.
    pub fn sub(&mut self, other: &Self, edition: Edition) -> Result<Vec<Note>, Mismatch> {
        let notes = self.combine(other, -1.0, Operation::Subtraction, edition)?;
        self.reset_hint = ResetHint::Gauge;
        Ok(notes)
    }

    fn combine(
        &mut self,
        other: &Self,
        sign: f64,
        operation: Operation,
        edition: Edition,
    ) -> Result<Vec<Note>, Mismatch> {
        let bounds = CommonBounds::between(self.bounds(), other.bounds(), edition)?;
        let mut notes = Vec::new();
        if edition == Edition::V3_14 && hints_conflict(self.reset_hint, other.reset_hint) {
            notes.push(Note::ConflictingResets(operation));
        }
        if bounds.is_some() {
            notes.push(Note::BoundsReconciled(operation));
        }
        let mut body = Body::<f64>::of(std::mem::take(self));
        body.combine(other, sign, bounds);
        *self = body.into_histogram();
        Ok(notes)
    }

    /// Multiplies counts and sum; a negative factor makes the result a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.scale(|number| number * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides counts and sum; by zero, no bucket but the zero bucket remains.
    pub fn divide(&mut self, divisor: f64) {
        self.scale(|number| number / divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive.clear();
            self.negative_spans.clear();
            self.negative.clear();
        }
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Unary minus: a gauge.
    pub fn negate(&mut self) {
        self.multiply(-1.0);
    }

    fn scale(&mut self, scaled: impl Fn(f64) -> f64) {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        for number in totals.into_iter().chain(&mut self.positive).chain(&mut self.negative) {
            *number = scaled(*number);
        }
    }

    /// Drops empty buckets and joins adjacent spans.
    pub fn compact(&mut self) {
        compact(&mut self.positive_spans, &mut self.positive);
        compact(&mut self.negative_spans, &mut self.negative);
    }

    /// Lowers the resolution to `schema`; a schema that is not lower, or custom buckets on either
    /// side, change nothing.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.uses_custom_buckets() || !(EXPONENTIAL_SCHEMA_MIN..self.schema).contains(&schema) {
            return;
        }
        let mut body = Body::<f64>::of(std::mem::take(self));
        body.reduce(schema);
        *self = body.into_histogram();
    }

    /// A copy with at most the resolution of `schema`.
    pub fn copy_to_schema(&self, schema: i32) -> Self {
        let mut copy = self.clone();
        copy.reduce_resolution(schema);
        copy
    }
}

/// A claimed reset on one side and a claimed absence of one on the other.
pub(super) fn hints_conflict(left: ResetHint, right: ResetHint) -> bool {
    matches!((left, right), (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset))
}

/// The hint of a sum: gauges win, then doubt.
pub(super) fn added_hint(left: ResetHint, right: ResetHint) -> ResetHint {
    match (left, right) {
        (left, right) if left == right => left,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
