//! Builds remote write requests for tests and benches, as a sender does.
//!
//! A [`Request`] says what is sent; [`Request::body`] puts it into the words of a protocol, by the
//! generated types and not by the code that it tests. Nothing is checked or sorted: a test may
//! describe what no good sender sends.

use std::collections::HashMap;

use prost::Message;

use super::Protocol;
use super::proto::{prometheus as v1, write_v2 as v2};
use crate::model::series_batch::HistogramSample;
use crate::model::{Counts, FloatSample, Histogram, METRIC_NAME, MetricType, ResetHint, Span};

/// What a request brings.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub series: Vec<Series>,
}

/// One series of a request.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<SentExemplar>,
    pub metadata: Option<SentMetadata>,
}

/// An exemplar as it is sent, with labels in any order and form.
#[derive(Clone, Debug)]
pub struct SentExemplar {
    pub labels: Vec<(String, String)>,
    pub timestamp_ms: i64,
    pub value: f64,
}

/// Metadata of the family that a series belongs to.
#[derive(Clone, Debug)]
pub struct SentMetadata {
    pub metric_type: MetricType,
    pub help: String,
    pub unit: String,
}

impl Request {
    pub fn of(series: impl IntoIterator<Item = Series>) -> Self {
        Self { series: series.into_iter().collect() }
    }

    /// The compressed body of the request.
    pub fn body(&self, protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::V1 => body_of(&self.to_v1()),
            Protocol::V2 => body_of(&self.to_v2()),
        }
    }

    /// Start times are lost: 1.0 has none. Metadata goes by the name of its series.
    pub fn to_v1(&self) -> v1::WriteRequest {
        let timeseries = self.series.iter().map(series_v1).collect();
        let mut metadata: Vec<v1::MetricMetadata> = Vec::new();
        for entry in self.series.iter().filter_map(metadata_v1) {
            if !metadata.contains(&entry) {
                metadata.push(entry);
            }
        }
        v1::WriteRequest { timeseries, metadata }
    }

    pub fn to_v2(&self) -> v2::Request {
        let mut symbols = Symbols::new();
        let timeseries = self.series.iter().map(|series| series_v2(series, &mut symbols)).collect();
        v2::Request { symbols: symbols.texts, timeseries }
    }

    /// As before release candidate 4: a series' start time stands once, beside its samples.
    pub fn to_v2_with_created_timestamps(&self) -> v2::Request {
        let mut request = self.to_v2();
        for series in &mut request.timeseries {
            for start in series.samples.iter_mut().map(|s| &mut s.start_timestamp) {
                series.created_timestamp = std::mem::take(start).max(series.created_timestamp);
            }
            for start in series.histograms.iter_mut().map(|h| &mut h.start_timestamp) {
                series.created_timestamp = std::mem::take(start).max(series.created_timestamp);
            }
        }
        request
    }
}

impl Series {
    pub fn new(labels: &[(&str, &str)]) -> Self {
        Self { labels: owned(labels), ..Self::default() }
    }

    pub fn sample(self, timestamp_ms: i64, value: f64) -> Self {
        self.started_sample(0, timestamp_ms, value)
    }

    pub fn started_sample(mut self, start_ms: i64, timestamp_ms: i64, value: f64) -> Self {
        self.floats.push(FloatSample { timestamp_ms, start_ms, value });
        self
    }

    pub fn histogram(self, timestamp_ms: i64, histogram: Histogram) -> Self {
        self.started_histogram(0, timestamp_ms, histogram)
    }

    pub fn started_histogram(mut self, start_ms: i64, timestamp_ms: i64, histogram: Histogram) -> Self {
        self.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram });
        self
    }

    pub fn exemplar(mut self, labels: &[(&str, &str)], timestamp_ms: i64, value: f64) -> Self {
        self.exemplars.push(SentExemplar { labels: owned(labels), timestamp_ms, value });
        self
    }

    pub fn metadata(mut self, metric_type: MetricType, help: &str, unit: &str) -> Self {
        self.metadata = Some(SentMetadata { metric_type, help: help.to_owned(), unit: unit.to_owned() });
        self
    }
}

/// An integer histogram with these buckets on the positive side, counted per bucket, in one span
/// from index 0; `schema` is exponential.
pub fn integer_histogram(schema: i32, buckets: &[u64], zero_count: u64, sum: f64) -> Histogram {
    let spans = |len: usize| match len {
        0 => Vec::new(),
        _ => vec![Span { offset: 0, length: len as u32 }],
    };
    let mut before = 0;
    let deltas = buckets.iter().map(|count| {
        let delta = *count as i64 - before;
        before = *count as i64;
        delta
    });
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold: if zero_count > 0 { 1e-128 } else { 0.0 },
        sum,
        positive_spans: spans(buckets.len()),
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: buckets.iter().sum::<u64>() + zero_count,
            zero_count,
            positive_deltas: deltas.collect(),
            negative_deltas: Vec::new(),
        },
    }
}

/// Encodes and compresses a message: the body of a request.
pub fn body_of(message: &impl Message) -> Vec<u8> {
    compress(&message.encode_to_vec())
}

/// A snappy block.
pub fn compress(text: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(text).expect("a request is far shorter than 4 GiB")
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn labels_v1(labels: &[(String, String)]) -> Vec<v1::Label> {
    labels.iter().map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() }).collect()
}

fn series_v1(series: &Series) -> v1::TimeSeries {
    let sample = |s: &FloatSample| v1::Sample { value: s.value, timestamp: s.timestamp_ms };
    let exemplar = |e: &SentExemplar| v1::Exemplar {
        labels: labels_v1(&e.labels),
        value: e.value,
        timestamp: e.timestamp_ms,
    };
    v1::TimeSeries {
        labels: labels_v1(&series.labels),
        samples: series.floats.iter().map(sample).collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
        histograms: series.histograms.iter().map(histogram_v1).collect(),
    }
}

fn metadata_v1(series: &Series) -> Option<v1::MetricMetadata> {
    let metadata = series.metadata.as_ref()?;
    let name = series.labels.iter().find(|(name, _)| name == METRIC_NAME);
    Some(v1::MetricMetadata {
        r#type: metadata.metric_type as i32,
        metric_family_name: name.map(|(_, value)| value.clone()).unwrap_or_default(),
        help: metadata.help.clone(),
        unit: metadata.unit.clone(),
    })
}

fn histogram_v1(sample: &HistogramSample) -> v1::Histogram {
    use v1::histogram::{Count, ZeroCount};
    let histogram = &sample.histogram;
    let span = |s: &Span| v1::BucketSpan { offset: s.offset, length: s.length };
    let mut message = v1::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: histogram.negative_spans.iter().map(span).collect(),
        positive_spans: histogram.positive_spans.iter().map(span).collect(),
        reset_hint: histogram.reset_hint as i32,
        timestamp: sample.timestamp_ms,
        custom_values: histogram.custom_values.clone(),
        ..v1::Histogram::default()
    };
    match &histogram.counts {
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

/// The symbol table of a request that is being built.
struct Symbols {
    texts: Vec<String>,
    refs: HashMap<String, u32>,
}

impl Symbols {
    fn new() -> Self {
        Self { texts: vec![String::new()], refs: HashMap::from([(String::new(), 0)]) }
    }

    fn of(&mut self, text: &str) -> u32 {
        if let Some(symbol) = self.refs.get(text) {
            return *symbol;
        }
        let symbol = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.refs.insert(text.to_owned(), symbol);
        symbol
    }

    fn of_labels(&mut self, labels: &[(String, String)]) -> Vec<u32> {
        labels.iter().flat_map(|(name, value)| [name, value]).map(|text| self.of(text)).collect()
    }
}

fn series_v2(series: &Series, symbols: &mut Symbols) -> v2::TimeSeries {
    let sample = |s: &FloatSample| v2::Sample {
        value: s.value,
        timestamp: s.timestamp_ms,
        start_timestamp: s.start_ms,
    };
    let metadata = series.metadata.as_ref().map(|metadata| v2::Metadata {
        r#type: metadata.metric_type as i32,
        help_ref: symbols.of(&metadata.help),
        unit_ref: symbols.of(&metadata.unit),
    });
    let labels_refs = symbols.of_labels(&series.labels);
    let exemplar = |e: &SentExemplar| v2::Exemplar {
        labels_refs: symbols.of_labels(&e.labels),
        value: e.value,
        timestamp: e.timestamp_ms,
    };
    v2::TimeSeries {
        labels_refs,
        exemplars: series.exemplars.iter().map(exemplar).collect(),
        samples: series.floats.iter().map(sample).collect(),
        histograms: series.histograms.iter().map(histogram_v2).collect(),
        // Prometheus sends the message always, empty where it knows nothing.
        metadata: Some(metadata.unwrap_or_default()),
        created_timestamp: 0,
    }
}

/// The message of 2.0 is that of 1.0 with a start time.
fn histogram_v2(sample: &HistogramSample) -> v2::Histogram {
    let encoded = histogram_v1(sample).encode_to_vec();
    let message = v2::Histogram::decode(encoded.as_slice()).expect("both have the same fields");
    v2::Histogram { start_timestamp: sample.start_ms, ..message }
}
