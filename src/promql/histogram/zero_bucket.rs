//! Zero buckets that must become wider.

use super::FloatHistogram;
use super::bounds::exponential_bound;
use super::layout::{Cell, entries};

/// The zero bucket of `histogram` at a threshold of at least `threshold`.
pub(super) fn widened_zero_bucket(histogram: &FloatHistogram, threshold: f64) -> ZeroBucket<f64> {
    let zero = ZeroBucket { threshold: histogram.zero_threshold, count: histogram.zero_count };
    zero.widened(
        threshold,
        histogram.schema,
        || entries(&histogram.positive_spans, &histogram.positive),
        || entries(&histogram.negative_spans, &histogram.negative),
    )
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ZeroBucket<C> {
    pub threshold: f64,
    pub count: C,
}

impl<C: Cell> ZeroBucket<C> {
    /// Swallows the buckets below `threshold`. A populated bucket that straddles the threshold is
    /// swallowed whole and moves the threshold to its end, on both sides.
    pub fn widened<P, N>(
        self,
        threshold: f64,
        schema: i32,
        positive: impl Fn() -> P,
        negative: impl Fn() -> N,
    ) -> Self
    where
        P: Iterator<Item = (i64, C)>,
        N: Iterator<Item = (i64, C)>,
    {
        if threshold == self.threshold {
            return self;
        }
        let mut wider = Self { threshold, count: self.count };
        loop {
            wider.count = self.count;
            wider.swallow(schema, positive());
            let threshold_before = wider.threshold;
            wider.swallow(schema, negative());
            if wider.threshold == threshold_before {
                return wider;
            }
            // The negative side moved the threshold, which may reach further positive buckets.
        }
    }

    fn swallow(&mut self, schema: i32, side: impl Iterator<Item = (i64, C)>) {
        for (index, cell) in side {
            if exponential_bound(index - 1, schema) >= self.threshold {
                return;
            }
            self.count = self.count.merge(cell);
            let end = exponential_bound(index, schema);
            if end > self.threshold {
                if cell.value() != 0.0 {
                    self.threshold = end;
                }
                return;
            }
        }
    }
}
