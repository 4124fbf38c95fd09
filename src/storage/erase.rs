//! Takes samples of a range of time out of a series.

use super::part::RowSamples;
use crate::model::TimeRange;

/// Leaves what lies outside of the range.
pub fn erase(samples: &mut RowSamples, range: TimeRange) {
    let RowSamples { timestamps_ms, values, starts_ms, histograms } = samples;
    // Times ascend: what lies in the range stands together.
    let from = timestamps_ms.partition_point(|t| *t < range.start_ms);
    let to = timestamps_ms.partition_point(|t| *t <= range.end_ms);
    if from < to {
        timestamps_ms.drain(from..to);
        values.drain(from..to);
        if !starts_ms.is_empty() {
            starts_ms.drain(from..to);
        }
    }
    histograms.retain(|point| !range.contains(point.timestamp_ms));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_range_goes_with_its_value_and_start() {
        let samples = |starts_ms: &[i64]| RowSamples {
            timestamps_ms: vec![1, 3, 5, 7],
            values: vec![0.1, 0.3, 0.5, 0.7],
            starts_ms: starts_ms.to_vec(),
            histograms: Vec::new(),
        };
        let check = |start_ms, end_ms, want: &[i64]| {
            let mut left = samples(&[10, 30, 50, 70]);
            erase(&mut left, TimeRange::new(start_ms, end_ms));
            assert_eq!(left.timestamps_ms, want);
            assert_eq!(left.values, want.iter().map(|t| *t as f64 / 10.0).collect::<Vec<_>>());
            assert_eq!(left.starts_ms, want.iter().map(|t| t * 10).collect::<Vec<_>>());
        };
        check(3, 5, &[1, 7]);
        check(4, 4, &[1, 3, 5, 7]);
        check(i64::MIN, i64::MAX, &[]);
        check(6, 2, &[1, 3, 5, 7]);

        let mut without = samples(&[]);
        erase(&mut without, TimeRange::new(0, 3));
        assert_eq!((without.timestamps_ms, without.starts_ms), (vec![5, 7], vec![]));
    }
}
