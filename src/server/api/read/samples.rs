//! The answer as one compressed message of samples.

use prost::Message as _;

use crate::ingest::proto::prometheus as proto;
use crate::model::{Counts, Labels, Span};
use crate::querier::{HistogramPoint, QueryGuard, Series};
use crate::server::error::{ApiError, ApiResult};

pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// One result per query, compressed.
pub fn encode(results: Vec<Vec<Series>>, guard: &QueryGuard) -> ApiResult<Vec<u8>> {
    let mut answer = proto::ReadResponse::default();
    for result in results {
        guard.check()?;
        let timeseries = result.into_iter().map(time_series).collect();
        answer.results.push(proto::QueryResult { timeseries });
    }
    let message = answer.encode_to_vec();
    guard.reserve(message.len() as u64)?;
    let compressed = snap::raw::Encoder::new().compress_vec(&message);
    compressed.map_err(|e| ApiError::new(crate::error::ErrorKind::Execution, format!("compress answer: {e}")))
}

fn time_series(series: Series) -> proto::TimeSeries {
    let samples = series.timestamps_ms.iter().zip(&series.values);
    proto::TimeSeries {
        labels: labels(&series.labels),
        samples: samples
            .map(|(timestamp, value)| proto::Sample { timestamp: *timestamp, value: *value })
            .collect(),
        histograms: series.histograms.iter().map(histogram).collect(),
        ..proto::TimeSeries::default()
    }
}

pub fn labels(labels: &Labels) -> Vec<proto::Label> {
    labels
        .iter()
        .map(|(name, value)| proto::Label { name: name.to_owned(), value: value.to_owned() })
        .collect()
}

fn histogram(point: &HistogramPoint) -> proto::Histogram {
    use proto::histogram::{Count, ZeroCount};
    let stored = &*point.histogram;
    let mut message = proto::Histogram {
        sum: stored.sum,
        schema: stored.schema,
        zero_threshold: stored.zero_threshold,
        positive_spans: spans(&stored.positive_spans),
        negative_spans: spans(&stored.negative_spans),
        custom_values: stored.custom_values.clone(),
        reset_hint: stored.reset_hint as i32,
        timestamp: point.timestamp_ms,
        ..proto::Histogram::default()
    };
    match &stored.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            message.count = Some(Count::CountInt(*count));
            message.zero_count = Some(ZeroCount::ZeroCountInt(*zero_count));
            message.positive_deltas.clone_from(positive_deltas);
            message.negative_deltas.clone_from(negative_deltas);
        }
        Counts::Float { count, zero_count, positive, negative } => {
            message.count = Some(Count::CountFloat(*count));
            message.zero_count = Some(ZeroCount::ZeroCountFloat(*zero_count));
            message.positive_counts.clone_from(positive);
            message.negative_counts.clone_from(negative);
        }
    }
    message
}

fn spans(spans: &[Span]) -> Vec<proto::BucketSpan> {
    spans.iter().map(|span| proto::BucketSpan { offset: span.offset, length: span.length }).collect()
}
