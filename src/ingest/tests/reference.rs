//! The decoder by generated types: slow, obvious, and what the real one must agree with.

use prost::Message;

use crate::ingest::Protocol;
use crate::ingest::proto::{prometheus as v1, write_v2 as v2};
use crate::model::series_batch::HistogramSample;
use crate::model::{Counts, FloatSample, Histogram, Labels, ResetHint, SeriesBatch, Span};

/// One series in owned form.
#[derive(Debug)]
pub struct OwnedSeries {
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<(i64, u64, Labels)>,
}

impl PartialEq for OwnedSeries {
    fn eq(&self, other: &Self) -> bool {
        let same_histogram = |(a, b): (&HistogramSample, &HistogramSample)| {
            a.timestamp_ms == b.timestamp_ms
                && a.start_ms == b.start_ms
                && a.histogram.same_bits(&b.histogram)
        };
        self.labels == other.labels
            && self.floats == other.floats
            && self.exemplars == other.exemplars
            && self.histograms.len() == other.histograms.len()
            && self.histograms.iter().zip(&other.histograms).all(same_histogram)
    }
}

/// The series of a batch.
pub fn series_of(batch: &SeriesBatch) -> Vec<OwnedSeries> {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let one = |series| OwnedSeries {
        labels: batch.labels_of(series).map(owned).collect(),
        floats: batch.floats_of(series).to_vec(),
        histograms: batch.histograms_of(series).to_vec(),
        exemplars: batch
            .exemplars_of(series)
            .iter()
            .map(|e| (e.timestamp_ms, e.value.to_bits(), e.labels.clone()))
            .collect(),
    };
    batch.series.iter().map(one).collect()
}

/// What the generated types make of a decompressed request; `None` where they cannot read it, or
/// where it breaks a rule that they do not know.
pub fn decode(protocol: Protocol, text: &[u8]) -> Option<Vec<OwnedSeries>> {
    match protocol {
        Protocol::V1 => v1::WriteRequest::decode(text).ok()?.timeseries.into_iter().map(of_v1).collect(),
        Protocol::V2 => {
            let request = v2::Request::decode(text).ok()?;
            request.timeseries.into_iter().map(|series| of_v2(series, &request.symbols)).collect()
        }
    }
}

fn of_v1(series: v1::TimeSeries) -> Option<OwnedSeries> {
    let pairs = |labels: Vec<v1::Label>| labels.into_iter().map(|l| (l.name, l.value)).collect::<Vec<_>>();
    let float = |s: v1::Sample| FloatSample { timestamp_ms: s.timestamp, start_ms: 0, value: s.value };
    Some(OwnedSeries {
        labels: pairs(series.labels).into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        floats: series.samples.into_iter().map(float).collect(),
        histograms: series.histograms.into_iter().map(|h| histogram(h, 0)).collect(),
        exemplars: series
            .exemplars
            .into_iter()
            .map(|e| (e.timestamp, e.value.to_bits(), exemplar_labels(pairs(e.labels))))
            .collect(),
    })
}

fn of_v2(series: v2::TimeSeries, symbols: &[String]) -> Option<OwnedSeries> {
    let symbol = |at: &u32| symbols.get(*at as usize).cloned();
    let pairs = |refs: &[u32]| -> Option<Vec<(String, String)>> {
        let is_even = refs.len().is_multiple_of(2);
        is_even.then(|| refs.chunks(2).map(|pair| Some((symbol(&pair[0])?, symbol(&pair[1])?))).collect())?
    };
    let started = |start_ms| if start_ms == 0 { series.created_timestamp } else { start_ms };
    let float = |s: &v2::Sample| FloatSample {
        timestamp_ms: s.timestamp,
        start_ms: started(s.start_timestamp),
        value: s.value,
    };
    let floats: Vec<_> = series.samples.iter().map(float).collect();
    let of_histogram = |h: &v2::Histogram| {
        let encoded = v2::Histogram { start_timestamp: 0, ..h.clone() }.encode_to_vec();
        let same = v1::Histogram::decode(encoded.as_slice()).expect("both have the same fields");
        histogram(same, started(h.start_timestamp))
    };
    let histograms: Vec<_> = series.histograms.iter().map(of_histogram).collect();
    let times = floats.iter().map(|s| s.timestamp_ms).chain(histograms.iter().map(|h| h.timestamp_ms));
    let latest_ms = times.max().unwrap_or(0);
    let exemplar = |e: &v2::Exemplar| {
        let timestamp_ms = if e.timestamp == 0 { latest_ms } else { e.timestamp };
        Some((timestamp_ms, e.value.to_bits(), exemplar_labels(pairs(&e.labels_refs)?)))
    };
    Some(OwnedSeries {
        labels: pairs(&series.labels_refs)?.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect::<Option<_>>()?,
        floats,
        histograms,
    })
}

fn exemplar_labels(mut pairs: Vec<(String, String)>) -> Labels {
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Labels::from_sorted(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
}

fn histogram(message: v1::Histogram, start_ms: i64) -> HistogramSample {
    use v1::histogram::{Count, ZeroCount};
    let spans = |spans: Vec<v1::BucketSpan>| {
        spans.into_iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
    };
    let counts = match message.count {
        Some(Count::CountFloat(count)) => Counts::Float {
            count,
            zero_count: match message.zero_count {
                Some(ZeroCount::ZeroCountFloat(zero_count)) => zero_count,
                _ => 0.0,
            },
            positive: message.positive_counts,
            negative: message.negative_counts,
        },
        count => Counts::Integer {
            count: if let Some(Count::CountInt(count)) = count { count } else { 0 },
            zero_count: match message.zero_count {
                Some(ZeroCount::ZeroCountInt(zero_count)) => zero_count,
                _ => 0,
            },
            positive_deltas: message.positive_deltas,
            negative_deltas: message.negative_deltas,
        },
    };
    let reset_hint =
        u8::try_from(message.reset_hint).ok().and_then(ResetHint::from_number).unwrap_or_default();
    let histogram = Histogram {
        reset_hint,
        schema: message.schema,
        zero_threshold: message.zero_threshold,
        sum: message.sum,
        positive_spans: spans(message.positive_spans),
        negative_spans: spans(message.negative_spans),
        custom_values: message.custom_values,
        counts,
    };
    HistogramSample { timestamp_ms: message.timestamp, start_ms, histogram }
}
