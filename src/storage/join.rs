//! The join of equal timestamps: which of two samples of one series at one time stays.
//!
//! A fixed total order decides and the maximum wins: a real value before a staleness marker, then
//! a histogram before a float, then floats by their total order and histograms by canonical bytes,
//! the start timestamp last. The join is associative, commutative and idempotent, so that arrival
//! order, retries, replays and (with replicas) the path of a sample change nothing.
//!
//! Owns sorting and joining of columns; knows nothing of where they came from.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::chunk::histogram_canonical_bytes;
use crate::model::{FloatSample, Histogram, is_stale_nan};
use crate::querier::HistogramPoint;

/// Samples of one series on their way through a join.
#[derive(Clone, Debug, Default)]
pub struct SampleColumns {
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramPoint>,
}

impl SampleColumns {
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    /// Sorts by time and leaves one sample per timestamp.
    pub fn join(&mut self) {
        join_floats(&mut self.floats);
        join_histograms(&mut self.histograms);
        self.resolve_kinds();
    }

    /// At one time a histogram hides a float, except that a stale marker of either kind yields to
    /// a real value of the other.
    fn resolve_kinds(&mut self) {
        if self.floats.is_empty() || self.histograms.is_empty() {
            return;
        }
        let mut stale_histograms = Vec::new();
        {
            let (histograms, mut at) = (&self.histograms, 0);
            self.floats.retain(|float| {
                while at < histograms.len() && histograms[at].timestamp_ms < float.timestamp_ms {
                    at += 1;
                }
                let Some(histogram) = histograms.get(at) else { return true };
                if histogram.timestamp_ms != float.timestamp_ms {
                    return true;
                }
                let float_wins = histogram.histogram.is_stale() && !is_stale_nan(float.value);
                if float_wins {
                    stale_histograms.push(histogram.timestamp_ms);
                }
                float_wins
            });
        }
        self.histograms.retain(|point| stale_histograms.binary_search(&point.timestamp_ms).is_err());
    }
}

/// Sorts floats by time; of equal times the maximum stays.
fn join_floats(floats: &mut Vec<FloatSample>) {
    let increasing = floats.windows(2).all(|pair| pair[0].timestamp_ms < pair[1].timestamp_ms);
    if increasing {
        return;
    }
    floats.sort_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| float_order(b, a)));
    floats.dedup_by_key(|sample| sample.timestamp_ms);
}

fn join_histograms(histograms: &mut Vec<HistogramPoint>) {
    let increasing = histograms.windows(2).all(|pair| pair[0].timestamp_ms < pair[1].timestamp_ms);
    if increasing {
        return;
    }
    histograms.sort_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| histogram_order(b, a)));
    histograms.dedup_by_key(|point| point.timestamp_ms);
}

/// The total order of floats at one time: the staleness marker is the least.
fn float_order(a: &FloatSample, b: &FloatSample) -> Ordering {
    let real = |sample: &FloatSample| !is_stale_nan(sample.value);
    real(a).cmp(&real(b)).then_with(|| a.value.total_cmp(&b.value)).then_with(|| a.start_ms.cmp(&b.start_ms))
}

fn histogram_order(a: &HistogramPoint, b: &HistogramPoint) -> Ordering {
    let real = |point: &HistogramPoint| !point.histogram.is_stale();
    real(a)
        .cmp(&real(b))
        .then_with(|| value_order(&a.histogram, &b.histogram))
        .then_with(|| a.start_ms.cmp(&b.start_ms))
}

fn value_order(a: &Arc<Histogram>, b: &Arc<Histogram>) -> Ordering {
    if Arc::ptr_eq(a, b) {
        return Ordering::Equal;
    }
    histogram_canonical_bytes(a).cmp(&histogram_canonical_bytes(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counts, ResetHint, stale_nan};
    use proptest::prelude::*;

    fn float(timestamp_ms: i64, value: f64) -> FloatSample {
        FloatSample { timestamp_ms, start_ms: 0, value }
    }

    fn histogram(timestamp_ms: i64, sum: f64) -> HistogramPoint {
        let counts =
            Counts::Integer { count: 0, zero_count: 0, positive_deltas: vec![], negative_deltas: vec![] };
        let histogram = Histogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum,
            positive_spans: vec![],
            negative_spans: vec![],
            custom_values: vec![],
            counts,
        };
        HistogramPoint { timestamp_ms, start_ms: 0, histogram: Arc::new(histogram) }
    }

    fn joined(floats: Vec<FloatSample>, histograms: Vec<HistogramPoint>) -> SampleColumns {
        let mut columns = SampleColumns { floats, histograms };
        columns.join();
        columns
    }

    #[test]
    fn the_greatest_value_stays_whatever_came_first() {
        let want = vec![float(1, 5.0), float(2, 7.0)];
        assert_eq!(joined(vec![float(2, 7.0), float(1, 3.0), float(1, 5.0)], vec![]).floats, want);
        assert_eq!(joined(vec![float(1, 5.0), float(2, 7.0), float(1, 3.0)], vec![]).floats, want);
    }

    #[test]
    fn a_stale_marker_yields_to_any_real_value() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        assert_eq!(joined(vec![float(1, stale_nan()), float(1, -1.0)], vec![]).floats, [float(1, -1.0)]);
        assert_eq!(joined(vec![float(1, nan), float(1, stale_nan())], vec![]).floats, [float(1, nan)]);
        assert_eq!(joined(vec![float(1, stale_nan())], vec![]).floats, [float(1, stale_nan())]);
    }

    #[test]
    fn a_histogram_hides_a_float_unless_it_is_stale() {
        let both = joined(vec![float(1, 2.0), float(2, 2.0)], vec![histogram(1, 9.0)]);
        assert_eq!(both.floats, [float(2, 2.0)]);
        assert_eq!(both.histograms.len(), 1);

        let stale = joined(vec![float(1, 2.0)], vec![histogram(1, stale_nan())]);
        assert_eq!(stale.floats, [float(1, 2.0)]);
        assert!(stale.histograms.is_empty());

        let both_stale = joined(vec![float(1, stale_nan())], vec![histogram(1, stale_nan())]);
        assert!(both_stale.floats.is_empty());
        assert_eq!(both_stale.histograms.len(), 1);
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_joins_to_the_same(
            samples in proptest::collection::vec((0i64..6, 0usize..6, 0i64..2), 0..40),
            split in 0usize..40,
        ) {
            let values = [1.0, -0.0, 0.0, stale_nan(), f64::NAN, f64::INFINITY];
            let floats: Vec<_> = samples
                .iter()
                .map(|&(timestamp_ms, value, start_ms)| FloatSample { timestamp_ms, start_ms, value: values[value] })
                .collect();
            let want = joined(floats.clone(), vec![]).floats;

            let mut reversed = floats.clone();
            reversed.reverse();
            prop_assert_eq!(&joined(reversed, vec![]).floats, &want);

            let split = split.min(floats.len());
            let mut parts = joined(floats[..split].to_vec(), vec![]).floats;
            parts.extend(joined(floats[split..].to_vec(), vec![]).floats);
            parts.extend(want.clone());
            prop_assert_eq!(&joined(parts, vec![]).floats, &want);
        }
    }
}
