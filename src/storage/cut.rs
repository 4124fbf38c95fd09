//! Cuts a series along the times of the parts that it goes into.

use super::part::PartSeries;
use crate::model::TimeRange;

/// The pieces of a series that hold something, each with the number of its range. Ranges ascend and
/// do not overlap; what lies in none of them is numbered after the last.
pub fn cut(whole: PartSeries, ranges: &[TimeRange]) -> Vec<(usize, PartSeries)> {
    let place = |t: i64| {
        let at = ranges.partition_point(|range| range.end_ms < t);
        if ranges.get(at).is_some_and(|range| range.contains(t)) { at } else { ranges.len() }
    };
    if let Some(only) = only_range(&whole, place).filter(|only| *only < ranges.len()) {
        return vec![(only, whole)];
    }
    let mut pieces: Vec<PartSeries> =
        (0..=ranges.len()).map(|_| PartSeries::new(whole.tenant.clone(), whole.labels.clone())).collect();
    for (at, timestamp_ms) in whole.timestamps_ms.iter().enumerate() {
        let piece = &mut pieces[place(*timestamp_ms)];
        piece.timestamps_ms.push(*timestamp_ms);
        piece.values.push(whole.values[at]);
        if let Some(start_ms) = whole.starts_ms.get(at) {
            piece.starts_ms.push(*start_ms);
        }
    }
    for point in whole.histograms {
        pieces[place(point.timestamp_ms)].histograms.push(point);
    }
    for exemplar in whole.exemplars {
        pieces[place(exemplar.timestamp_ms)].exemplars.push(exemplar);
    }
    let holds = |piece: &PartSeries| {
        !piece.timestamps_ms.is_empty() || !piece.histograms.is_empty() || !piece.exemplars.is_empty()
    };
    pieces.into_iter().enumerate().filter(|(_, piece)| holds(piece)).collect()
}

/// The one place of both ends: where it is a range, everything between them is in it, too.
fn only_range(whole: &PartSeries, place: impl Fn(i64) -> usize) -> Option<usize> {
    let floats = [whole.timestamps_ms.first(), whole.timestamps_ms.last()];
    let histograms = [whole.histograms.first(), whole.histograms.last()];
    let exemplars = [whole.exemplars.first(), whole.exemplars.last()];
    let mut places = (floats.into_iter().flatten().copied())
        .chain(histograms.into_iter().flatten().map(|point| point.timestamp_ms))
        .chain(exemplars.into_iter().flatten().map(|exemplar| exemplar.timestamp_ms))
        .map(place);
    let first = places.next()?;
    places.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, TenantId};

    fn series(timestamps_ms: &[i64]) -> PartSeries {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let mut series = PartSeries::new(TenantId::anonymous(), labels);
        series.timestamps_ms = timestamps_ms.to_vec();
        series.values = timestamps_ms.iter().map(|t| *t as f64).collect();
        series
    }

    #[test]
    fn every_sample_goes_to_its_range_and_the_others_behind_the_last() {
        let ranges = [TimeRange::new(0, 9), TimeRange::new(10, 19), TimeRange::new(30, 39)];
        let check = |timestamps_ms: &[i64], want: &[(usize, &[i64])]| {
            let pieces = cut(series(timestamps_ms), &ranges);
            let got: Vec<(usize, &[i64])> =
                pieces.iter().map(|(at, piece)| (*at, piece.timestamps_ms.as_slice())).collect();
            assert_eq!(got, want);
            assert!(pieces.iter().all(|(_, piece)| piece.values.len() == piece.timestamps_ms.len()));
        };
        check(&[0, 5, 9], &[(0, &[0, 5, 9])]);
        check(&[-1, 9, 10, 25, 30, 40], &[(0, &[9]), (1, &[10]), (2, &[30]), (3, &[-1, 25, 40])]);
        check(&[-5, 12, 50], &[(1, &[12]), (3, &[-5, 50])]);
        check(&[20, 29], &[(3, &[20, 29])]);
        check(&[], &[]);
    }
}
