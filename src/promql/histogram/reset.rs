//! Counter resets between two histograms of a series.

use super::body::steps;
use super::bounds::exponential_bound;
use super::custom::CommonBounds;
use super::layout::{Side, coarser_index, entries};
use super::zero_bucket::widened_zero_bucket;
use super::{Edition, FloatHistogram};
use crate::model::{ResetHint, Span};

impl FloatHistogram {
    /// Whether the counter behind this histogram was reset since `previous`.
    ///
    /// The hint decides if it claims anything. Otherwise everything that a counter cannot do is a
    /// reset: a lower count anywhere, a finer schema, a narrower zero bucket, another kind of
    /// buckets. Other custom bounds are a reset in 3.5; later, counts are compared between the
    /// common bounds.
    pub fn detect_reset(&self, previous: &Self, edition: Edition) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.uses_custom_buckets() != previous.uses_custom_buckets() {
            return true;
        }
        if self.uses_custom_buckets() {
            return self.custom_reset(previous, edition);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let previous_zero = widened_zero_bucket(previous, self.zero_threshold);
        if previous_zero.threshold != self.zero_threshold || self.zero_count < previous_zero.count {
            return true;
        }
        let steps = steps(previous.schema, self.schema);
        let side_reset = |(now_spans, now): (&[Span], &[f64]), (then_spans, then): (&[Span], &[f64])| {
            let outside =
                |(index, _): &(i64, f64)| exponential_bound(*index, self.schema) > self.zero_threshold;
            let then = entries(then_spans, then).map(|(index, count)| (coarser_index(index, steps), count));
            counts_fell(entries(now_spans, now), Side::collect(then).entries().filter(outside))
        };
        side_reset((&self.positive_spans, &self.positive), (&previous.positive_spans, &previous.positive))
            || side_reset(
                (&self.negative_spans, &self.negative),
                (&previous.negative_spans, &previous.negative),
            )
    }

    fn custom_reset(&self, previous: &Self, edition: Edition) -> bool {
        let now = entries(&self.positive_spans, &self.positive);
        let then = entries(&previous.positive_spans, &previous.positive);
        match CommonBounds::between(self.bounds(), previous.bounds(), edition) {
            Err(_) => true,
            Ok(None) => counts_fell(now, then),
            Ok(Some(bounds)) => {
                let now = now.map(|(index, count)| (bounds.target(index, &self.custom_values), count));
                let then = then.map(|(index, count)| (bounds.target(index, &previous.custom_values), count));
                counts_fell(Side::collect(now).entries(), Side::collect(then).entries())
            }
        }
    }
}

/// Whether any bucket of `then` has lost observations; a bucket that is gone has lost them all.
fn counts_fell(now: impl Iterator<Item = (i64, f64)>, then: impl Iterator<Item = (i64, f64)>) -> bool {
    let mut now = now.peekable();
    for (index, then_count) in then {
        while now.next_if(|(own, _)| *own < index).is_some() {}
        let fell = match now.peek() {
            Some((own, now_count)) if *own == index => *now_count < then_count,
            _ => then_count != 0.0,
        };
        if fell {
            return true;
        }
    }
    false
}
