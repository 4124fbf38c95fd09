//! Requests out of a seed: good and bad, small, with every kind of content.

use super::NOW_MS;
use crate::ingest::testing::{Request, SentExemplar, SentMetadata, Series};
use crate::model::series_batch::HistogramSample;
use crate::model::time::DAY_MS;
use crate::model::{Counts, FloatSample, Histogram, MetricType, ResetHint, STALE_NAN_BITS, Span};

/// SplitMix64: small, and the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end_exclusive`, which is not 0.
    pub fn below(&mut self, end_exclusive: usize) -> usize {
        (self.bits() % end_exclusive as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn many<T>(&mut self, max: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max + 1)).map(|_| one(self)).collect()
    }

    fn value(&mut self) -> f64 {
        let special =
            [0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(STALE_NAN_BITS)];
        if self.one_in(3) { self.pick(&special) } else { f64::from_bits(self.bits()) }
    }

    /// Mostly good times, sometimes any.
    fn timestamp_ms(&mut self) -> i64 {
        match self.below(20) {
            0 => self.bits() as i64,
            1 => NOW_MS + DAY_MS,
            _ => NOW_MS - self.below(DAY_MS as usize) as i64,
        }
    }

    fn text(&mut self) -> String {
        self.pick(&[
            "",
            "a",
            "b",
            "job",
            "le",
            "trace_id",
            "0.5",
            "äöü 🌍",
            "a\nb\"c\\",
            "a_longer_text_of_some_kind",
        ])
        .to_owned()
    }

    fn labels(&mut self, max: usize) -> Vec<(String, String)> {
        self.many(max, |r| (r.text(), r.text()))
    }
}

/// A request with up to a dozen series, most of them good.
pub fn request(random: &mut Random) -> Request {
    Request { series: random.many(12, series) }
}

fn series(random: &mut Random) -> Series {
    let mut labels = random.labels(5);
    if !random.one_in(10) {
        let name = random.pick(&["up", "requests_total", "latency", "cpu.usage", "温度"]);
        labels.insert(random.below(labels.len() + 1), ("__name__".to_owned(), name.to_owned()));
    }
    if random.one_in(2) {
        labels.sort();
        labels.dedup_by(|a, b| a.0 == b.0);
    }
    Series {
        labels,
        floats: random.many(3, |r| FloatSample {
            timestamp_ms: r.timestamp_ms(),
            start_ms: if r.one_in(2) { 0 } else { r.timestamp_ms() },
            value: r.value(),
        }),
        histograms: if random.one_in(3) { random.many(2, histogram_sample) } else { Vec::new() },
        exemplars: random.many(2, |r| SentExemplar {
            labels: r.labels(3),
            timestamp_ms: r.timestamp_ms(),
            value: r.value(),
        }),
        metadata: if random.one_in(2) { None } else { Some(metadata(random)) },
    }
}

/// Never the metadata that says nothing, which only 1.0 can send at all.
fn metadata(random: &mut Random) -> SentMetadata {
    let types = [MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Summary];
    SentMetadata { metric_type: random.pick(&types), help: random.text(), unit: random.text() }
}

fn histogram_sample(random: &mut Random) -> HistogramSample {
    HistogramSample {
        timestamp_ms: random.timestamp_ms(),
        start_ms: random.timestamp_ms(),
        histogram: histogram(random),
    }
}

fn histogram(random: &mut Random) -> Histogram {
    let span = |r: &mut Random| Span { offset: r.below(9) as i32 - 2, length: r.below(4) as u32 };
    let (positive_spans, negative_spans) = (random.many(3, span), random.many(2, span));
    let len = |spans: &[Span]| spans.iter().map(|s| s.length as usize).sum::<usize>();
    let (positive_len, negative_len) = (len(&positive_spans), len(&negative_spans));
    let counts = if random.one_in(2) {
        let mut deltas = |len: usize| (0..len).map(|_| random.below(50) as i64 - 5).collect::<Vec<_>>();
        let (positive_deltas, negative_deltas) = (deltas(positive_len), deltas(negative_len));
        let (count, zero_count) = (random.below(500) as u64, random.below(3) as u64);
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas }
    } else {
        let mut counts = |len: usize| (0..len).map(|_| random.value()).collect::<Vec<_>>();
        let (positive, negative) = (counts(positive_len), counts(negative_len));
        Counts::Float { count: random.value(), zero_count: random.value(), positive, negative }
    };
    Histogram {
        reset_hint: random.pick(&[
            ResetHint::Unknown,
            ResetHint::Reset,
            ResetHint::NotReset,
            ResetHint::Gauge,
        ]),
        schema: random.pick(&[-53, -4, 0, 3, 8, 9]),
        zero_threshold: random.pick(&[0.0, 1e-128, 0.001]),
        sum: random.value(),
        positive_spans,
        negative_spans,
        custom_values: random.many(2, Random::value),
        counts,
    }
}
